"""Lesson 02: Pretraining and SFT.

    exercises.py  reference, cases, known mistakes and hints of each exercise
    figures.py    its pictures
"""
