"""Lesson 05: The reward model.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
"""
