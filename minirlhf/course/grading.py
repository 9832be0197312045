"""Grade a folder of submitted notebooks: a table with a reason for every exercise.

    python -m minirlhf.course.grading SUBMISSIONS --out grades.csv

Each notebook is graded by submission.py in a process of its own, with a time limit for each
exercise.  THIS IS NO SANDBOX: a student's function can do whatever a program can do.  Grade in a
container, or people you trust.
"""

import argparse
import csv
import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from minirlhf.course.exercise import Verdict
from minirlhf.course.registry import find

COLUMNS = ("student", "notebook", "exercise", "name", "verdict", "points", "of", "message")
START_SECONDS = 300  # until the first answer of a process that still imports NumPy


# ---- one notebook ---------------------------------------------------------------------------


def grade_notebook(path, student="", seconds=10.0):
    """Path of a notebook -> list of (exercise, Verdict), one for each exercise of its lessons.

    student: whose random cases; empty: those that the notebook shows.  seconds: time limit of one
    exercise.  Raises ValueError if the file is no notebook.
    """
    verdicts, todo = {}, None
    while todo is None or todo:
        process = subprocess.Popen(
            [sys.executable, "-m", "minirlhf.course.submission", str(path), student, *verdicts],
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


# ---- a class --------------------------------------------------------------------------------


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


# ---- the command line -----------------------------------------------------------------------


def add_arguments(parser):
    """What `grading` and notebooks/build.py grade may be told."""
    parser.add_argument("submissions", type=Path, help="folder with NAME.ipynb or NAME/...ipynb")
    parser.add_argument("--out", type=Path, default=Path("grades.csv"))
    parser.add_argument("--seconds", type=float, default=10, help="time limit of one exercise")
    parser.add_argument(
        "--same-cases", action="store_true",
        help="give every student the random cases of the notebook, not cases of their own",
    )


def main(words=None):
    """The command line -> exit code."""
    parser = argparse.ArgumentParser(description="a folder of student notebooks -> a table")
    add_arguments(parser)
    args = parser.parse_args(words)
    return grade_class(args.submissions, args.out, args.seconds, args.same_cases)


if __name__ == "__main__":
    sys.exit(main())
