"""The course's tools: exercises that check themselves, hints, solutions, pictures, grading.

    engine.py     check a function against the library's, name the mistake
    lessonNN.py   the exercises of lesson NN: reference, cases, known mistakes, hints; its terms
    drawNN.py     the pictures of lesson NN, from plain arrays
    notebook.py   what the notebooks call
    grading.py    a folder of submitted notebooks -> a table
"""

from minirlhf.classroom.engine import Choice, Exercise, Mistake, Property, close, finite
from minirlhf.classroom.notebook import (
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
]  # fmt: skip
