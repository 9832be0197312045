"""Lesson 08: What goes wrong.

    exercises.py   what is to be written, and the mistakes that are known
    figures.py     its pictures, from plain arrays
    runs.py        its longer runs
"""
