"""Lesson 09: Beyond PPO, and where to go next.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
    runs.py       its longer runs
"""
