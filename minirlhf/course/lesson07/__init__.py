"""Lesson 07: Teach Rufus yourself.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
    runs.py       its longer runs
"""
