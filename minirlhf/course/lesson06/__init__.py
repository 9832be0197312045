"""Lesson 06: PPO, one step at a time.

    exercises.py   what is to be written, and the mistakes that are known
    figures.py     its pictures, from plain arrays
    runs.py        its longer runs
"""
