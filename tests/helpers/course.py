"""Reading the course for its tests: sources, committed notebooks, and running cells in process."""

import contextlib
import io
import json
import linecache
import re
from pathlib import Path

REPO = Path(__file__).parents[2]
NOTEBOOKS = REPO / "notebooks"
SOURCES = sorted((NOTEBOOKS / "src").glob("[0-9][0-9]_*.py"))
NAMES = [path.stem for path in SOURCES]
GLOSSARY = NOTEBOOKS / "src" / "glossary.json"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


def load(name, solutions=False):
    """Name such as "04_from_rankings" -> the committed notebook as a dict."""
    folder = NOTEBOOKS / "solutions" if solutions else NOTEBOOKS
    return json.loads((folder / f"{name}.ipynb").read_text(encoding="utf-8"))


def text_of(cell):
    """Source of a cell as one text."""
    return "".join(cell["source"])


def cells_of(notebook, kind):
    """-> list of the sources of all cells of one kind: "code" or "markdown"."""
    return [text_of(cell) for cell in notebook["cells"] if cell["cell_type"] == kind]


def printed(cell):
    """What the committed cell printed."""
    streams = [o for o in cell["outputs"] if o["output_type"] == "stream"]
    return "".join("".join(output["text"]) for output in streams)


def source_cells(name):
    """The source file split at `# %%` by hand, without jupytext -> list of (kind, text)."""
    text = (NOTEBOOKS / "src" / f"{name}.py").read_text(encoding="utf-8")
    found = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        body = body.strip("\n")
        if "[markdown]" in head:
            lines = [re.sub("^# ?", "", line) for line in body.split("\n")]
            found.append(("markdown", "\n".join(lines).strip("\n")))
        else:
            found.append(("code", body))
    return found


def glossary():
    """-> {lesson, such as "04": {term that its box defines: pattern that finds it in prose}}."""
    return json.loads(GLOSSARY.read_text(encoding="utf-8"))


def solution_parts(name):
    """-> list of the texts between BEGIN and END SOLUTION of a lesson."""
    text = (NOTEBOOKS / "src" / f"{name}.py").read_text(encoding="utf-8")
    return re.findall(rf"{BEGIN}\n(.*?)\n *{END}", text, flags=re.DOTALL)


def run_cells(name, notebook, namespace=None):
    """Run every code cell in this process -> list of what each printed.

    A cell that fails raises as pytest likes it: with the cell's own lines.
    """
    namespace = {"__name__": "__main__"} if namespace is None else namespace
    texts = []
    for number, source in enumerate(cells_of(notebook, "code"), start=1):
        file = f"{name}[code cell {number}]"
        linecache.cache[file] = (len(source), None, source.splitlines(True), file)
        stdout = io.StringIO()
        with contextlib.redirect_stdout(stdout):
            exec(compile(source, file, "exec"), namespace)
        texts.append(stdout.getvalue())
    return texts


NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]?\d+)?")


def close_enough(text, other):
    """Same words, and every number the same but for one unit of its last printed digit."""
    if text == other:
        return True
    if " ".join(NUMBER.sub("#", text).split()) != " ".join(NUMBER.sub("#", other).split()):
        return False
    for a, b in zip(NUMBER.findall(text), NUMBER.findall(other)):
        digits = len(a.split("e")[0].partition(".")[2])
        unit = 10.0 ** (-digits + (int(a.split("e")[1]) if "e" in a else 0))
        exact = "." not in a and "e" not in a and abs(float(a)) < 20  # a count is a count
        if abs(float(a) - float(b)) > (0 if exact else 1.01 * unit):
            return False
    return True
