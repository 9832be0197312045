"""Lesson 00: Rufus in one minute.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
"""
