"""Make the notebooks from their sources, check them, grade a class.

    python notebooks/build.py build [NN ...]     generate and run the lessons and their solutions
    python notebooks/build.py check [NN ...]     has anything changed since they were generated?
    python notebooks/build.py grade SUBMISSIONS --out grades.csv
    python notebooks/build.py measure            words, pictures, lines: how long is each lesson?

notebooks/src/NN_name.py is the only file of a lesson to be edited: cells begin with `# %%`
(VS Code and PyCharm run them one by one).  What stands between `### BEGIN SOLUTION` and
`### END SOLUTION` goes into notebooks/solutions/NN_name.ipynb only; the lesson,
notebooks/NN_name.ipynb, has a stub there.  `build` and `check` need jupytext (for maintainers:
pip install jupytext); `grade` needs nothing beyond the package.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

NOTEBOOKS = Path(__file__).resolve().parent
SRC = NOTEBOOKS / "src"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SECONDS_PER_NOTEBOOK = 600
STUB = re.compile(rf"^( *){BEGIN}\n(.*?)^ *{END}\n?", re.DOTALL | re.MULTILINE)
CHECKS = re.compile(r"= check\((\w+)\)|answer\(\"([\d.]+)\"")


# ---- source -> notebook ---------------------------------------------------------------------


def sources(numbers=()):
    """-> paths of the lessons' sources, all or those whose number is given."""
    paths = sorted(SRC.glob("[0-9][0-9]_*.py"))
    return [path for path in paths if not numbers or path.name[:2] in numbers]


def target(source, solutions):
    """-> where the notebook of a source is written."""
    return NOTEBOOKS / ("solutions" if solutions else ".") / f"{source.stem}.ipynb"


def generate(source, solutions):
    """Path of a source -> NotebookNode without outputs."""
    import jupytext

    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{source.name[:2]}-{number:02d}"
        kept = {key: cell.metadata[key] for key in ("tags",) if key in cell.metadata}
        if cell.cell_type == "code":
            kept |= nbgrader(cell.source)
            cell.source = without_markers(cell.source) if solutions else with_stubs(cell.source)
        elif "essay" in cell.metadata.get("tags", ()):
            kept["nbgrader"] = nbgrader_fields(cell.id, solution=True, grade=True, points=5)
        cell.metadata = kept
    if solutions:
        first = notebook.cells[0]
        first.source = first.source.replace("\n", ": solutions\n", 1)
    digest = hashlib.sha256(source.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    notebook.metadata = {
        "kernelspec": KERNEL, "language_info": {"name": "python"},
        "minirlhf": {"source": f"src/{source.name}", "sha256": digest},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def with_stubs(code):
    """Cut the solutions out: a function raises NotImplementedError, an answer is None."""
    return STUB.sub(stub, code + "\n").rstrip("\n")


def stub(match):
    """One solution (a match of STUB) -> the line that stands in the lesson instead."""
    indent, body = match.group(1), match.group(2)
    if indent:
        return f"{indent}raise NotImplementedError  # your code\n"
    name = body.split("=")[0].strip()
    return f"{name} = None  # your answer\n"


def without_markers(code):
    """The code with its solutions."""
    lines = [line for line in code.split("\n") if line.strip() not in (BEGIN, END)]
    return "\n".join(lines)


def nbgrader_fields(name, solution, grade, points=0):
    """nbgrader's metadata of one cell, schema version 3."""
    fields = {
        "grade": grade, "grade_id": name, "locked": grade and not solution, "schema_version": 3,
        "solution": solution, "task": False,
    }
    return fields | ({"points": points} if grade else {})


def nbgrader(code):
    """Code of a cell -> {"nbgrader": ...} for a cell to be filled in or one that checks it."""
    from minirlhf.course.registry import find

    checked = CHECKS.search(code)
    if checked:
        exercise = find(checked.group(1) or checked.group(2))
        name = f"check-{exercise.id}"
        return {"nbgrader": nbgrader_fields(name, False, True, exercise.points)}
    if BEGIN in code:
        body = code[: code.index(BEGIN)]
        names = re.findall(r"^def (\w+)", body, re.MULTILINE)
        name = find(names[-1]).id if names else code.split(BEGIN)[1].split("=")[0].strip()
        return {"nbgrader": nbgrader_fields(f"write-{name}", True, False)}
    return {}


# ---- running --------------------------------------------------------------------------------


def execute(notebook):
    """Run a notebook in a kernel of its own, in an empty folder; outputs are kept in it.

    Raises nbclient's CellExecutionError if a cell fails.  -> seconds.
    """
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    started = time.perf_counter()
    settings = {
        "OPENBLAS_NUM_THREADS": "1", "MINIRLHF_STATIC": "1", "PYTHONHASHSEED": "0",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        with tempfile.TemporaryDirectory() as folder:
            # sockets are files in the folder: no port is opened, and no warning printed about it
            words = {"transport": "ipc", "ip": f"{folder}/kernel"} if os.name == "posix" else {}
            client = NotebookClient(
                notebook, timeout=SECONDS_PER_NOTEBOOK, record_timing=False,
                store_widget_state=False, coalesce_streams=True,
                km=AsyncKernelManager(kernel_name="python3", **words),
                resources={"metadata": {"path": folder}},
            )
            client.execute()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return time.perf_counter() - started


def tidy(notebook):
    """Drop what differs from run to run: versions, warnings, timestamps."""
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]


def write(notebook, path):
    """Write a notebook whole or not at all."""
    import nbformat

    nbformat.validate(notebook)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    text = json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)


def build(numbers):
    """Generate, run and write lessons and solutions."""
    total = 0.0
    for source in sources(numbers):
        for solutions in (False, True):
            notebook = generate(source, solutions)
            seconds = execute(notebook)
            tidy(notebook)
            path = target(source, solutions)
            write(notebook, path)
            size = path.stat().st_size / 1000
            print(f"{path.relative_to(NOTEBOOKS)}  {seconds:.0f} s  {size:.0f} kB", flush=True)
            total += seconds
    print(f"{total:.0f} s in all")


# ---- checking -------------------------------------------------------------------------------


def bare(notebook):
    """-> what must not differ: cells and metadata without outputs, as JSON text."""
    cells = []
    for cell in notebook["cells"]:
        kept = {key: cell[key] for key in ("cell_type", "id", "metadata", "source")}
        kept["source"] = "".join(kept["source"])
        cells.append(kept)
    return json.dumps([cells, notebook["metadata"]], ensure_ascii=False, sort_keys=True, indent=1)


def check(numbers):
    """-> list of what is wrong with the committed notebooks, without running them."""
    wrong = []
    for source in sources(numbers):
        for solutions in (False, True):
            path = target(source, solutions)
            if not path.exists():
                wrong.append(f"{path.name}: missing; run build")
                continue
            stored = json.loads(path.read_text(encoding="utf-8"))
            if bare(stored) != bare(generate(source, solutions)):
                wrong.append(f"{path.relative_to(NOTEBOOKS)}: not what its source gives; run build")
            counts = [c["execution_count"] for c in stored["cells"] if c["cell_type"] == "code"]
            if counts != list(range(1, len(counts) + 1)):
                wrong.append(f"{path.relative_to(NOTEBOOKS)}: not run from top to bottom")
    return wrong


# ---- measuring ------------------------------------------------------------------------------

MEASURES = ("lesson", "words", "pictures", "words/picture", "exercises", "words/exercise",
            "cells", "first result", "lines: median", "lines: most", "alt texts", "kB")


def measure(source):
    """Path of a source -> its committed lesson's figures, in the order of MEASURES, as texts."""
    from minirlhf.course.registry import exercises

    path = target(source, solutions=False)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    prose = re.sub(r"```.*?```|\$\$.*?\$\$|`[^`]*`|\$[^$]*\$|<[^>]*>", " ", prose, flags=re.DOTALL)
    words = len(re.findall(r"[A-Za-z'’]+", re.sub(r"\]\([^)]*\)", "]", prose)))
    code = [c for c in cells if c["cell_type"] == "code"]
    lines = sorted(len("".join(c["source"]).split("\n")) for c in code)
    pictures = [o for c in code for o in c["outputs"] if "image/png" in o.get("data", {})]
    with_alt = sum(bool(o["metadata"]["image/png"].get("alt")) for o in pictures)
    asked = len(exercises(source.name[:2]))
    first = next(n for n, c in enumerate(cells, start=1) if c.get("outputs"))
    figures = (words, len(pictures), words // max(len(pictures), 1), asked, words // asked,
               len(cells), f"cell {first}", lines[len(lines) // 2], lines[-1],
               f"{with_alt} of {len(pictures)}", path.stat().st_size // 1000)
    return [source.name[:2], *map(str, figures)]


def print_measures(numbers):
    """Print one row for each lesson."""
    rows = [MEASURES, *(measure(source) for source in sources(numbers))]
    widths = [max(len(row[k]) for row in rows) for k in range(len(MEASURES))]
    for row in rows:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths)))


def main(words=None):
    """The command line -> exit code."""
    from minirlhf.course import grading

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, text in (("build", "generate and run"), ("check", "compare with the sources"),
                       ("measure", "length and pictures of each lesson")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("lessons", nargs="*", metavar="NN", help="lesson numbers; default: all")
    grading.add_arguments(
        verbs.add_parser("grade", help="a folder of student notebooks -> a table")
    )
    args = parser.parse_args(words)
    if args.verb == "grade":
        return grading.grade_class(args.submissions, args.out, args.seconds, args.same_cases)
    unknown = set(args.lessons) - {path.name[:2] for path in sources()}
    if unknown:
        parser.error(f"no lesson {', '.join(sorted(unknown))} in {SRC.name}/")
    if args.verb == "measure":
        print_measures(args.lessons)
        return 0
    if args.verb == "build":
        build(args.lessons)
    wrong = check(args.lessons)
    print("\n".join(wrong) or "Lessons and solutions are what their sources give.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
