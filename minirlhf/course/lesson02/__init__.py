"""Lesson 02: Pretraining and SFT.

    exercises.py   what is to be written, and the mistakes that are known
    figures.py     its pictures, from plain arrays
"""
