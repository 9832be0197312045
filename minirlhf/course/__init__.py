"""The course's tools: exercises that check themselves, hints, solutions, pictures, grading.

    exercise.py    what an exercise is
    compare.py     are two results the same?
    engine.py      judge a function
    explain.py     one sentence about what is wrong
    registry.py    all exercises by name
    drawing.py     what the lessons' pictures share
    notebook.py    what the notebooks call
    submission.py  one submitted notebook -> what is right in it
    grading.py     a folder of submitted notebooks -> a table
    lessonNN/      exercises.py: reference, cases, known mistakes and hints of each exercise;
                   figures.py: its pictures; runs.py: its longer runs, where it has some
"""

from minirlhf.course.compare import close, finite
from minirlhf.course.exercise import Choice, Exercise, Mistake, Property
from minirlhf.course.notebook import (
    answer,
    check,
    difference,
    hint,
    play,
    pretrained,
    show,
    solution,
    where,
)

__all__ = [
    "Choice", "Exercise", "Mistake", "Property", "answer", "check", "close", "difference",
    "finite", "hint", "play", "pretrained", "show", "solution", "where",
]
