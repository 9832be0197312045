"""Lesson 03: Score or rank? Annotators are noisy.

    exercises.py   what is to be written, and the mistakes that are known
    figures.py     its pictures, from plain arrays
"""
