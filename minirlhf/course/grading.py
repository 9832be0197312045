"""Grade a folder of submitted notebooks: a table with a reason for every exercise.

The functions that a student wrote are taken out of the notebook by its syntax tree, so moved,
split, copied or broken cells do no harm, and nothing else of the notebook is run.  Each notebook is
graded in a process of its own with a time limit for each exercise.  THIS IS NO SANDBOX: a
student's function can do whatever a program can do.  Grade in a container, or people you trust.

Every student's functions meet random cases of their own (seeded by a hash of the student's name),
so numbers copied into a function do not pass.
"""

import ast
import contextlib
import csv
import hashlib
import io
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import numpy as np

from minirlhf.course.engine import judge, judge_choice
from minirlhf.course.exercise import Choice, Verdict
from minirlhf.course.registry import exercises, find, lessons

COLUMNS = ("student", "notebook", "exercise", "name", "verdict", "points", "of", "message")
START_SECONDS = 60  # until the first answer of a process that still imports NumPy


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


# ---- one notebook, in a process of its own --------------------------------------------------


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


# ---- a class --------------------------------------------------------------------------------


def grade_notebook(path, student="", seconds=10.0):
    """Path of a notebook -> list of (exercise, Verdict), one for each exercise of its lessons.

    student: whose random cases; empty: those that the notebook shows.  seconds: time limit of one
    exercise.  Raises ValueError if the file is no notebook.
    """
    verdicts, todo = {}, None
    while todo is None or todo:
        process = subprocess.Popen(
            [sys.executable, "-m", "minirlhf.course.grading", str(path), student, *verdicts],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
            encoding="utf-8", env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        lines = queue.Queue()
        reader = threading.Thread(target=pass_on, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            row = lines.get(timeout=START_SECONDS)
            if row is None:
                raise ValueError("the grading process did not start")
            if "broken" in row:
                raise ValueError(row["broken"])
            todo = row["todo"]
            while todo:
                row = lines.get(timeout=seconds)
                if row is None:
                    verdicts[todo[0]] = Verdict("crash", "The function ended the program.")
                    break
                verdicts[row["id"]] = Verdict(row["tag"], row["message"])
                todo = todo[1:]
        except queue.Empty:
            if not todo:
                raise ValueError("the grading process did not start") from None
            message = f"Stopped after {seconds:g} seconds: does a loop never end?"
            verdicts[todo[0]] = Verdict("timeout", message)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        todo = [name for name in todo if name not in verdicts]
    return [(find(name), verdict) for name, verdict in verdicts.items()]


def pass_on(stream, lines):
    """Put every JSON line of a stream into a queue, and None at its end."""
    try:
        for line in stream:
            lines.put(json.loads(line))
    except ValueError:
        pass  # half a line of a process that was stopped, or a stream that was closed
    lines.put(None)


def find_notebooks(folder):
    """-> list of (student, path): FOLDER/student.ipynb or FOLDER/student/.../notebook.ipynb."""
    found = []
    for path in sorted(folder.rglob("*.ipynb")):
        inside = path.relative_to(folder)
        if not any(part.startswith(".") for part in inside.parts):
            found.append((inside.parts[0].removesuffix(".ipynb"), path))
    return found


def grade_class(folder, out, seconds=10.0, same_cases=False):
    """Grade every notebook below folder; write the table to out (CSV).  -> exit code.

    Prints a line for each student, and how often each mistake was made: the next lecture.
    """
    notebooks = find_notebooks(folder) if folder.is_dir() else []
    if not notebooks:
        print(f"{folder}: no .ipynb files in it", file=sys.stderr)
        return 1
    rows, mistakes = [], Counter()
    for number, (student, path) in enumerate(notebooks, start=1):
        place = path.relative_to(folder).as_posix()
        try:
            graded = grade_notebook(path, "" if same_cases else student, seconds)
        except ValueError as error:
            graded = []
            rows.append([student, place, "", "", "unreadable", 0, 0, str(error)])
            mistakes["", "unreadable"] += 1
        for exercise, verdict in graded:
            points = exercise.points if verdict.tag == "ok" else 0
            rows.append(
                [student, place, exercise.id, exercise.name, verdict.tag, points,
                 exercise.points, verdict.message]
            )
            mistakes[f"{exercise.id} {exercise.name}".strip(), verdict.tag] += 1
        got = sum(row[5] for row in rows if row[1] == place)
        of = sum(row[6] for row in rows if row[1] == place)
        print(f"{number}/{len(notebooks)}  {place}: {got} of {of} points", flush=True)
    write_table(out, rows)
    print_histogram(mistakes)
    print(f"{len(rows)} rows in {out}")
    return 0


def write_table(out, rows):
    """Write the CSV whole or not at all; utf-8 with a mark, so that spreadsheets read Chinese."""
    temporary = out.with_name(f".{out.name}.tmp")
    with open(temporary, "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([guarded(value) for value in row] for row in rows)
    os.replace(temporary, out)


def guarded(value):
    """A text that a spreadsheet would read as a formula gets a quote in front."""
    risky = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if risky else value


def print_histogram(mistakes):
    """mistakes: Counter of (exercise, verdict)."""
    width = max(len(name) for name, _ in mistakes)
    for (name, tag), count in sorted(mistakes.items()):
        print(f"{name:<{width}}  {tag:<20} {count:4d}  {'#' * min(count, 40)}")


if __name__ == "__main__":
    main(sys.argv[1:])
