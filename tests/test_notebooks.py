"""The lessons: readable on the web, true to their sources, and running from top to bottom.

Style rules are checked on the committed notebooks.  Each lesson is run unsolved in this process
(failures show the cell's own lines), each solution once through a real Jupyter kernel; what they
print must be what the committed notebook shows.
"""

import ast
import base64
import hashlib
import importlib
import json
import os
import re
import statistics
import subprocess
import sys
import time

import pytest
from helpers import course

from minirlhf.course.explain import where_text
from minirlhf.course.registry import exercises, lessons

BOTH = [(name, solved) for name in course.NAMES for solved in (False, True)]
QUICK = "04"  # the lesson that the quick tests run, too


def code_cells(name, solved=False):
    return [c for c in course.load(name, solved)["cells"] if c["cell_type"] == "code"]


def prose(name):
    """Markdown of a lesson without code, formulas, links and folded answers' tags."""
    text = "\n\n".join(course.cells_of(course.load(name), "markdown"))
    text = re.sub(r"```.*?```", " ", text, flags=re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", " x ", text)
    text = re.sub(r"\$[^$\n]*\$", " x ", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"<[^>]*>", " ", text)


# ---- one source -----------------------------------------------------------------------------


def test_all_lessons_are_there():
    assert [name[:2] for name in course.NAMES] == lessons()
    assert [name[:2] for name in course.NAMES][:7] == ["00", "01", "02", "03", "04", "05", "06"]


@pytest.mark.parametrize("name, solved", BOTH)
def test_notebooks_come_from_their_sources(name, solved):
    """Split by hand here; build.py, which uses jupytext, must agree."""
    notebook = course.load(name, solved)
    source = course.NOTEBOOKS / "src" / f"{name}.py"
    digest = hashlib.sha256(source.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    assert notebook["metadata"]["minirlhf"] == {"sha256": digest, "source": f"src/{name}.py"}
    wanted = course.source_cells(name)
    assert [c["cell_type"] for c in notebook["cells"]] == [kind for kind, _ in wanted]
    for cell, (kind, text) in zip(notebook["cells"], wanted):
        found = course.text_of(cell)
        if course.BEGIN not in text:
            assert found == text or (solved and found.startswith("# ") and ": solutions" in found)
        elif solved:
            lines = [x for x in text.split("\n") if x.strip() not in (course.BEGIN, course.END)]
            assert found == "\n".join(lines)
        else:
            before, _, rest = text.partition(course.BEGIN)
            assert found.startswith(before.rstrip()) and ("# your" in found)
            assert found.endswith(rest.partition(course.END)[2].rstrip())
        assert kind == cell["cell_type"]


@pytest.mark.slow
def test_the_builder_agrees():
    pytest.importorskip("jupytext")
    done = subprocess.run(
        [sys.executable, str(course.NOTEBOOKS / "build.py"), "check"],
        capture_output=True, encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name, solved", BOTH)
def test_committed_outputs_are_whole(name, solved):
    cells = code_cells(name, solved)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    text = json.dumps(course.load(name, solved))
    for pattern in (r"/home/", r"/tmp/", r"/root/", r"/work/", r"[A-Z]:\\\\\\\\", r"0x[0-9a-f]{6}"):
        assert not re.search(pattern, re.sub(r'"image/png": "[^"]*"', "", text)), pattern
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data"}
    if solved:
        assert "NOT YET" not in text
    else:
        told = "".join(course.printed(cell) for cell in cells)
        for exercise in exercises(name[:2]):
            assert re.search(rf"NOT YET  {exercise.id}  .* is not (written|answered) yet", told)


@pytest.mark.parametrize("name", course.NAMES)
def test_lesson_and_solutions_differ_only_where_something_is_asked(name):
    pairs = zip(course.load(name)["cells"], course.load(name, True)["cells"])
    different = [(a, b) for a, b in pairs if a["source"] != b["source"] and a["id"][-2:] != "00"]
    assert len(different) == len(exercises(name[:2]))
    for lesson, _ in different:
        assert lesson["metadata"]["nbgrader"]["solution"]


@pytest.mark.parametrize("name", course.NAMES)
def test_no_solution_leaks_into_the_lesson(name):
    lesson = "".join("\n".join(map(course.text_of, course.load(name)["cells"])).split())
    parts = course.solution_parts(name)
    assert len(parts) == len(exercises(name[:2]))
    for part in parts:
        for line in part.split("\n"):
            code = "".join(line.split("#")[0].split())
            if len(code) > 12:
                assert code not in lesson, line


@pytest.mark.parametrize("name", course.NAMES)
def test_nbgrader_can_read_it(name):
    for solved in (False, True):
        found = {}
        for cell in course.load(name, solved)["cells"]:
            fields = cell["metadata"].get("nbgrader")
            if fields:
                assert fields["schema_version"] == 3 and fields["grade_id"] not in found
                assert ("points" in fields) == fields["grade"]
                found[fields["grade_id"]] = fields
        for exercise in exercises(name[:2]):
            check = found[f"check-{exercise.id}"]
            assert check["grade"] and check["locked"] and check["points"] == exercise.points


# ---- the first cell -------------------------------------------------------------------------


def test_every_lesson_begins_with_the_same_set_up():
    for name, solved in BOTH:
        kinds = [cell["cell_type"] for cell in course.load(name, solved)["cells"]]
        assert kinds[:3] == ["markdown", "code", "code"]
    cells = {course.cells_of(course.load(name, solved), "code")[0] for name, solved in BOTH}
    (setup,) = cells
    assert setup.index("OPENBLAS_NUM_THREADS") < setup.index("import minirlhf")
    (address,) = re.findall(r"git\+(\S+?)\"", setup)
    assert f'"{address}"' in (course.REPO / "pyproject.toml").read_text(encoding="utf-8")


def test_the_first_cell_says_how_to_get_the_package(capsys, monkeypatch):
    setup = course.cells_of(course.load(course.NAMES[0]), "code")[0]
    exec(compile(setup, "set-up", "exec"), {})
    assert capsys.readouterr().out == ""
    assert os.environ["OPENBLAS_NUM_THREADS"]
    monkeypatch.setitem(sys.modules, "minirlhf", None)
    exec(compile(setup, "set-up", "exec"), {})
    assert "minirlhf is missing" in capsys.readouterr().out


# ---- written to be read ---------------------------------------------------------------------


@pytest.mark.parametrize("name", course.NAMES)
def test_a_lesson_has_its_size(name):
    notebook = course.load(name)
    sizes = [len(text.split("\n")) for text in course.cells_of(notebook, "code")]
    words = len(re.findall(r"[A-Za-z'’]+", prose(name)))
    pictures = sum("image/png" in o.get("data", {}) for c in code_cells(name) for o in c["outputs"])
    assert max(sizes) <= 15 and statistics.median(sizes) <= 8
    assert 20 <= len(notebook["cells"]) <= 60
    assert words <= 1800
    assert 2 <= pictures <= 8 and words / pictures <= 350
    for solved in (False, True):
        folder = course.NOTEBOOKS / "solutions" if solved else course.NOTEBOOKS
        assert (folder / f"{name}.ipynb").stat().st_size <= 500_000


@pytest.mark.parametrize("name", course.NAMES)
def test_a_lesson_shows_something_within_five_cells(name):
    assert any(cell.get("outputs") for cell in course.load(name)["cells"][:5])


@pytest.mark.parametrize("name", course.NAMES)
def test_pictures_say_what_to_see(name):
    for solved in (False, True):
        for cell in code_cells(name, solved):
            for output in cell["outputs"]:
                if output["output_type"] == "display_data":
                    alt = output["metadata"]["image/png"]["alt"]
                    assert len(alt) >= 40 and re.search(r"\d", alt)
                    assert "".join(output["data"]["text/plain"]) == alt
                    assert f"What you should see: {alt}" in course.printed(cell)
                    data = "".join(output["data"]["image/png"])
                    assert base64.b64decode(data)[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", course.NAMES)
def test_plain_code_and_plain_prose(name):
    notebook = course.load(name)
    for number, source in enumerate(course.cells_of(notebook, "code")):
        tree = ast.parse(source)  # so no magics
        imports = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
        assert number < 2 or not imports, f"{source}: imports belong below the set-up"
        assert max(map(len, source.split("\n"))) <= 100
        assert not re.search(r"\b(input|display|plt)\(|\bplt\.|np\.random\.(?!default_rng)", source)
    for text in course.cells_of(notebook, "markdown"):
        tags = set(re.findall(r"</?(\w+)", re.sub(r"`[^`\n]*`|\$[^$]*\$", "", text)))
        assert tags <= {"details", "summary"}, tags


@pytest.mark.parametrize("name", course.NAMES)
def test_questions_before_and_after(name):
    texts = course.cells_of(course.load(name), "markdown")
    asked = [t for t in texts if re.match(r"\*\*(Before|After) \d\.\*\*", t)]
    heads = [re.match(r"\*\*(\w+) (\d)", text).groups() for text in asked]
    assert heads == [("Before", "1"), ("Before", "2"), ("After", "1"), ("After", "2"),
                     ("After", "3")]
    for text in asked:
        letters = re.findall(r"^- ([A-D])\. ", text, flags=re.MULTILINE)
        assert letters in (list("ABC"), list("ABCD"))
        assert re.search(r"<details><summary>Answer</summary>\n\n\*\*[A-D]\.\*\*", text)
        assert text.rstrip().endswith("</details>")


def test_right_answers_are_spread():
    right = []
    for name in course.NAMES:
        text = "\n".join(course.cells_of(course.load(name), "markdown"))
        right += re.findall(r"<summary>Answer</summary>\n\n\*\*([A-D])\.\*\*", text)
    assert len(right) == 5 * len(course.NAMES)
    for letter in "ABC":
        assert 0.15 <= right.count(letter) / len(right) <= 0.5


def test_every_term_is_defined_before_it_is_used():
    defined, patterns, glossary = set(), {}, course.glossary()
    assert list(glossary) == lessons()
    for terms in glossary.values():
        for term, pattern in terms.items():
            assert term not in patterns, f"{term}: defined twice"
            patterns[term] = re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)
    wrong = []
    for name in course.NAMES:
        seen_box = False
        for text in course.cells_of(course.load(name), "markdown"):
            if text.startswith("**Terms**"):
                seen_box = True
                listed = re.findall(r"^- \*\*(.+?)\*\*", text, flags=re.MULTILINE)
                assert sorted(listed) == sorted(glossary[name[:2]]), f"{name}: box and glossary"
                for term in listed:
                    assert patterns[term].search(text), f"{name}: pattern of {term}"
                defined |= set(listed)
            plain = re.sub(r"```.*?```|`[^`\n]*`|\$[^$]*\$|\]\([^)]*\)", " ", text, flags=re.DOTALL)
            for term, pattern in patterns.items():
                if term not in defined and pattern.search(plain):
                    wrong.append(f"{name}: {term}: ...{pattern.search(plain).group()}...")
        assert seen_box, f"{name}: no box of terms"
    assert not wrong, "\n".join(wrong)


YEAR_OR_PAPER = re.compile(r"(?:19|20)\d\d|arXiv:? ?\d+\.\d+|\d{4}\.\d{4,5}|section \d+(\.\d+)?|"
                           r"[Ll]essons? 0\d(?:(?:,| and| to|-) ?0\d)*|\b0\d\b|Exercise 0\d\.\d|"
                           r"\b0\d\.\d\b|\beq(?:uation)?\.? ?\d+")


@pytest.mark.parametrize("name", course.NAMES)
def test_numbers_in_prose_come_from_the_notebook(name):
    """A number in prose stands in a cell's code (an assertion, a setting) or in its output."""
    notebook = course.load(name, True)
    seen = "\n".join(course.cells_of(notebook, "code"))
    seen += "\n".join(course.printed(cell) for cell in code_cells(name, True))
    known = {float(number) for number in re.findall(r"\d+\.?\d*", seen.replace("_", ""))}
    known |= {100 * number for number in known}
    text = YEAR_OR_PAPER.sub(" ", prose(name))
    wrong = []
    for found in re.findall(r"(?<![\w.])\d[\d,]*\.?\d*", text):
        number = float(found.rstrip(".,").replace(",", ""))
        if not (number == int(number) and number <= 10) and number not in known:
            wrong.append(found)
    assert not wrong


@pytest.mark.parametrize("name", course.NAMES)
def test_lines_of_the_package_are_where_the_lesson_says(name):
    """`where` printed file and line; an edit of the package that moves them needs a new build."""
    told = "".join(course.printed(cell) for cell in code_cells(name, True))
    places = re.findall(r"(\w[\w.]*) in minirlhf/([\w/]+)\.py, line (\d+)", told)
    assert places, "nothing is found again in the package"
    for function, file, line in places:
        module = importlib.import_module(f"minirlhf.{file.replace('/', '.')}")
        assert where_text(getattr(module, function)).endswith(f"line {line}"), function


# ---- running --------------------------------------------------------------------------------


def compare(texts, committed):
    """Printed now against printed then, cell by cell."""
    for number, (now, cell) in enumerate(zip(texts, committed), start=1):
        then = course.printed(cell)
        assert course.close_enough(now, then), f"code cell {number}:\nnow  {now}\nthen {then}"


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=[] if name.startswith(QUICK) else pytest.mark.slow)
    for name in course.NAMES
])
def test_a_lesson_runs_unsolved_and_prints_the_same(name, lesson_seconds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what lesson 07 keeps of a reader's session stays out of it
    started = time.perf_counter()
    texts = course.run_cells(name, course.load(name))
    lesson_seconds[name] = time.perf_counter() - started
    compare(texts, code_cells(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", course.NAMES)
def test_solutions_run_in_a_real_kernel(name, lesson_seconds, build):
    import nbformat

    path = course.NOTEBOOKS / "solutions" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    lesson_seconds[f"{name}, in a kernel"] = build.execute(notebook)
    build.tidy(notebook)
    now = [cell for cell in notebook.cells if cell.cell_type == "code"]
    compare([course.printed(cell) for cell in now], code_cells(name, True))
    for new, old in zip(now, code_cells(name, True)):
        kinds = [[o["output_type"] for o in cell["outputs"]] for cell in (new, old)]
        assert kinds[0] == kinds[1]
