"""Lesson 03: its exercises, its figures, and its longer runs where it has some."""
