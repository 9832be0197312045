"""Lesson 01: A character transformer by hand.

    exercises.py   what is to be written, and the mistakes that are known
    figures.py     its pictures, from plain arrays
"""
