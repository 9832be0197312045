"""All exercises of the course, found by id or by the name of the function to be written."""

from importlib import import_module
from pathlib import Path

from minirlhf.course.exercise import Choice


def lessons():
    """-> list of lesson numbers, such as "04": one for each folder lessonNN beside this file."""
    files = sorted(Path(__file__).parent.glob("lesson[0-9][0-9]/exercises.py"))
    return [path.parent.name.removeprefix("lesson") for path in files]


def exercises(lesson=None):
    """lesson: "04", or None for all -> list of Exercise and Choice, in course order."""
    found = []
    for number in lessons() if lesson is None else (lesson,):
        found += import_module(f"minirlhf.course.lesson{number}.exercises").EXERCISES
    return found


def find(name):
    """Id ("04.1") or function name -> Exercise or Choice.  Raises KeyError that lists the names."""
    everything = exercises()
    for exercise in everything:
        if name in (exercise.id, exercise.name):
            return exercise
    known = ", ".join(exercise.name for exercise in everything)
    raise KeyError(f"no exercise {name!r}; there are {known}")


def find_function(function):
    """The reader's function -> its Exercise, by name."""
    exercise = find(function.__name__)
    if isinstance(exercise, Choice):
        raise KeyError(f"{exercise.id} is a question: answer it with answer()")
    return exercise
