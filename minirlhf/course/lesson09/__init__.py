"""Lesson 09: Beyond PPO, and where to go next.

    exercises.py   what is to be written, and the mistakes that are known
    figures.py     its pictures, from plain arrays
    runs.py        its longer runs
"""
