"""One submitted notebook: what the student wrote in it, and what it is worth.

The functions are taken out of the notebook by its syntax tree, so moved, split, copied or broken
cells do no harm, and nothing else of the notebook is run.  Every student's functions meet random
cases of their own (seeded by a hash of the student's name), so numbers copied into a function do
not pass.

    python -m minirlhf.course.submission NOTEBOOK STUDENT [EXERCISE ...]

grades it but for the exercises named, and prints one JSON line for each: grading.py starts this
program for each notebook.  THIS IS NO SANDBOX, see there.
"""

import ast
import contextlib
import hashlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np

from minirlhf.course.engine import judge, judge_choice
from minirlhf.course.exercise import Choice, Verdict
from minirlhf.course.registry import exercises, lessons

# ---- reading a notebook ---------------------------------------------------------------------


def read_cells(path):
    """A notebook file -> list of the sources of its code cells.  Raises ValueError."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8-sig"))
        cells = notebook["cells"]
        sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a notebook ({type(error).__name__})") from None
    return sources


def top_level(sources):
    """list of cells -> list of the statements of those that are Python, in order."""
    statements = []
    for number, source in enumerate(sources, start=1):
        lines = source.split("\n")
        plain = ["" if line.lstrip().startswith(("%", "!")) else line for line in lines]
        try:
            tree = ast.parse("\n".join(plain), filename=f"cell {number}")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        statements += tree.body
    return statements


def student_code(sources):
    """list of cells -> {name: value} of the student's own definitions.

    Runs imports, function definitions and assignments of plain constants; nothing else.
    """
    namespace = {"__name__": "submission", "np": np}
    for node in top_level(sources):
        constant = isinstance(node, ast.Assign) and is_constant(node.value)
        wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
        if not constant and not isinstance(node, wanted):
            continue
        try:
            module = ast.Module(body=[node], type_ignores=[])
            exec(compile(module, "submission", "exec"), namespace)
        except Exception:  # a broken import or definition harms only what needs it
            continue
    return namespace


def is_constant(node):
    """Is it a number, a text, None, or a tuple, list or dict of such?"""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def given_answers(sources, namespace):
    """-> {exercise id: letters} from the calls answer("00.2", letters); the last one counts."""
    answers = {}
    for statement in top_level(sources):
        for node in ast.walk(statement):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "answer":
                continue
            if len(node.args) == 2 and isinstance(node.args[0], ast.Constant):
                value = node.args[1]
                if isinstance(value, ast.Name):
                    answers[node.args[0].value] = namespace.get(value.id)
                elif is_constant(value):
                    answers[node.args[0].value] = ast.literal_eval(value)
    return answers


def lessons_of(sources):
    """-> the lessons whose exercises the notebook mentions, such as ["04"]."""
    text = "\n".join(sources)
    found = []
    for lesson in lessons():
        for exercise in exercises(lesson):
            called = f'answer("{exercise.id}"' in text or f"= check({exercise.name})" in text
            if (called or f"def {exercise.name}(" in text) and lesson not in found:
                found.append(lesson)
    return found


# ---- grading it -----------------------------------------------------------------------------


def student_rng(student):
    """A student's own random cases: the same today and tomorrow, on every machine."""
    digest = hashlib.sha256(student.encode("utf-8")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def grade_one(exercise, namespace, answers, student):
    """One exercise of one student -> Verdict."""
    if isinstance(exercise, Choice):
        return judge_choice(exercise, answers.get(exercise.id))
    function = namespace.get(exercise.name)
    if not callable(function):
        return Verdict("missing", f"{exercise.name} is not in the notebook.")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return judge(exercise, function, student_rng(student) if student else None)


def main(words):
    """What the process of one notebook does: prints one JSON line for each exercise.

    words: path, student, then the ids of the exercises that are graded already.
    """
    path, student, done = Path(words[0]), words[1], set(words[2:])
    report_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # where a student's prints go
    try:
        sources = read_cells(path)
    except ValueError as error:
        print(json.dumps({"broken": str(error)}), file=report_to, flush=True)
        return
    asked = [e for lesson in lessons_of(sources) for e in exercises(lesson) if e.id not in done]
    print(json.dumps({"todo": [e.id for e in asked]}), file=report_to, flush=True)
    namespace = student_code(sources)
    answers = given_answers(sources, namespace)
    for exercise in asked:
        verdict = grade_one(exercise, namespace, answers, student)
        row = {"id": exercise.id, "tag": verdict.tag, "message": verdict.message}
        print(json.dumps(row), file=report_to, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
