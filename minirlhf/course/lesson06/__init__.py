"""Lesson 06: PPO, one step at a time.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
    runs.py       its longer runs
"""
