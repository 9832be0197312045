"""The course's tools: exercises that check themselves, hints, solutions, pictures, grading.

    exercise.py   what an exercise is        compare.py   are two results the same?
    engine.py     judge a function           explain.py   one sentence about what is wrong
    registry.py   all exercises by name
    lessonNN.py   the exercises of lesson NN: reference, cases, known mistakes, hints; its terms
    drawNN.py     the pictures of lesson NN, from plain arrays
    notebook.py   what the notebooks call
    grading.py    a folder of submitted notebooks -> a table
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
