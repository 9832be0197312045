"""Lesson 08: What goes wrong.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
    runs.py       its longer runs
"""
