"""Lesson 03: Score or rank? Annotators are noisy.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
"""
