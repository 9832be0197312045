"""Lesson 05: The reward model.

    exercises.py   what is to be written, and the mistakes that are known
    figures.py     its pictures, from plain arrays
"""
