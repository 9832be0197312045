"""Grade the lessons in one student's repository: what classroom.yml beside it runs.

    python .github/classroom/grade.py STUDENT 03 04

Writes grades.csv, and the points as GitHub's annotations and summary.  Exit status 0: every point.
STUDENT decides which random cases the functions meet.
"""

import csv
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from minirlhf.course.grading import grade_class

NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "notebooks"
OUT = Path("grades.csv")


def collect(student, lessons, folder):
    """Copy the student's notebooks of these lessons, and not the solutions, to folder/STUDENT."""
    for lesson in lessons:
        for path in NOTEBOOKS.glob(f"{lesson}_*.ipynb"):
            (folder / student).mkdir(exist_ok=True)
            shutil.copy(path, folder / student)


def report(rows):
    """Rows of grades.csv -> points, of how many.  Prints annotations, writes the run's summary."""
    got, of = (sum(int(row[name]) for row in rows) for name in ("points", "of"))
    print(f"::notice title=Autograding complete::Points {got}/{of}")
    print(f"::notice title=Autograding report::{json.dumps({'totalPoints': got, 'maxPoints': of})}")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        lines = [f"**Points {got}/{of}**", "", "| exercise | | points | |", "|---|---|---|---|"]
        for row in rows:
            message = row["message"].replace("|", "\\|").replace("\n", " ")
            lines.append(f"| {row['exercise']} {row['name']} | {row['verdict']} "
                         f"| {row['points']}/{row['of']} | {message} |")
        Path(summary).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return got, of


def main(words):
    """The command line -> exit status."""
    student, *lessons = words
    with tempfile.TemporaryDirectory() as folder:
        collect(student, lessons, Path(folder))
        if grade_class(Path(folder), OUT) != 0:
            return 1
    with open(OUT, encoding="utf-8-sig", newline="") as file:
        got, of = report(list(csv.DictReader(file)))
    return 0 if got == of > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
