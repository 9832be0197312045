"""Lesson 01: A character transformer by hand.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
"""
