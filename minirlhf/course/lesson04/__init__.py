"""Lesson 04: From rankings to numbers.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
"""
