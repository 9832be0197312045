"""Lesson 06: its exercises, its figures, and its longer runs where it has some."""
