"""The exercises check themselves; these tests check the exercises.

Every stub, every solution, every known mistake and a set of mistakes that nobody registered is
given to the same judge that a reader meets.
"""

import ast
import csv
import inspect
import json
import os
import re
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from helpers import course

from minirlhf.course import check, grading, hint, solution
from minirlhf.course.compare import as_numbers, close, finite, run_case, same
from minirlhf.course.engine import HINTS_GIVEN, TRIES, judge, judge_choice
from minirlhf.course.exercise import Choice, Exercise, Mistake
from minirlhf.course.registry import exercises, find, lessons
from minirlhf.course.submission import student_rng

ALL = exercises()
FUNCTIONS = [exercise for exercise in ALL if isinstance(exercise, Exercise)]
CHOICES = [exercise for exercise in ALL if isinstance(exercise, Choice)]
MISTAKES = [(exercise, mistake) for exercise in FUNCTIONS for mistake in exercise.mistakes]


def label(value):
    """Readable test ids."""
    if isinstance(value, (Exercise, Choice)):
        return f"{value.id}-{value.name}"
    return value.tag if isinstance(value, Mistake) else str(value)


def lesson_name(exercise):
    """Exercise -> the name of its notebook."""
    return next(name for name in course.NAMES if name.startswith(exercise.id[:2]))


def written(exercise, solutions):
    """The function as it stands in the lesson or in the solutions, compiled."""
    notebook = course.load(lesson_name(exercise), solutions)
    imports = course.cells_of(notebook, "code")[:2]
    source = next(
        s for s in course.cells_of(notebook, "code") if s.startswith(f"def {exercise.name}(")
    )
    namespace = {"np": np}
    exec(compile("\n".join(imports), "imports", "exec"), namespace)
    exec(compile(source, exercise.name, "exec"), namespace)
    return namespace[exercise.name]


# ---- the list of exercises ------------------------------------------------------------------


def test_ids_and_names_are_unique_and_in_order():
    ids = [exercise.id for exercise in ALL]
    assert ids == sorted(set(ids))
    assert len({exercise.name for exercise in ALL}) == len(ALL)
    assert len(lessons()) == len(course.NAMES)
    for number in lessons():
        mine = exercises(number)
        assert [e.id for e in mine] == [f"{number}.{k}" for k in range(1, len(mine) + 1)]
        assert 1 <= len(mine) <= 4


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=label)
def test_an_exercise_is_small_and_has_help(exercise):
    tree = ast.parse(textwrap.dedent(inspect.getsource(exercise.reference))).body[0]
    body = tree.body[1:] if ast.get_docstring(tree) else tree.body
    assert body[-1].end_lineno - body[0].lineno + 1 <= 8
    assert len(exercise.mistakes) >= 3 and len(exercise.hints) >= 2
    assert len({m.tag for m in exercise.mistakes}) == len(exercise.mistakes)
    assert len({m.message for m in exercise.mistakes}) == len(exercise.mistakes)
    assert exercise.task.endswith(".") and exercise.name in exercise.example


# ---- stubs, solutions, mistakes -------------------------------------------------------------


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=label)
def test_the_stub_is_told_that_it_is_not_written(exercise):
    verdict = judge(exercise, written(exercise, solutions=False))
    assert verdict.tag == "todo" and "not written yet" in verdict.message
    assert exercise.example in verdict.message
    for body in ("...", "pass", "raise NotImplementedError('later')"):
        namespace = {}
        arguments = str(inspect.signature(exercise.reference))
        exec(f"def {exercise.name}{arguments}:\n    'text'\n    {body}", namespace)
        assert judge(exercise, namespace[exercise.name]).tag == "todo"


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=label)
def test_the_solution_is_right_and_is_the_reference(exercise):
    solved = written(exercise, solutions=True)
    verdict = judge(exercise, solved)
    assert verdict.tag == "ok", verdict.message
    notebook = course.load(lesson_name(exercise), solutions=True)
    source = next(
        s for s in course.cells_of(notebook, "code") if s.startswith(f"def {exercise.name}(")
    )
    bodies = []
    for text in (source, textwrap.dedent(inspect.getsource(exercise.reference))):
        tree = ast.parse(text).body[0]
        body = tree.body[1:] if ast.get_docstring(tree) else tree.body
        bodies.append([ast.dump(statement) for statement in body])
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("exercise", FUNCTIONS, ids=label)
def test_the_reference_is_right_for_every_students_numbers(exercise, seed):
    assert judge(exercise, exercise.reference, np.random.default_rng(seed)).tag == "ok"


@pytest.mark.parametrize("exercise, mistake", MISTAKES, ids=label)
def test_a_known_mistake_gets_its_own_message(exercise, mistake):
    for seed in (0, 1, 2):
        verdict = judge(exercise, mistake.wrong, np.random.default_rng(seed))
        assert (verdict.tag, verdict.message) == (mistake.tag, mistake.message)


def changed(value, how):
    """One result, spoiled.  None where that cannot be done to this kind of result."""
    if isinstance(value, tuple):
        parts = [changed(part, how) for part in value]
        return None if all(p is None for p in parts) else tuple(
            old if new is None else new for old, new in zip(value, parts)
        )
    if isinstance(value, list):
        spoiled = {"zero": [], "negated": value[::-1], "halved": value[: len(value) // 2],
                   "shifted": value[1:] + value[:1]}
        return spoiled.get(how)
    array = as_numbers(value)
    if array is None:
        return None
    if how == "zero":
        return np.zeros_like(array)
    if how == "negated":
        return ~array if array.dtype.kind == "b" else -array
    if how == "halved":
        return None if array.dtype.kind == "b" else array / 2
    if how == "transposed":
        return array.T if array.ndim > 1 else None
    if how == "shifted":
        return np.roll(array, 1, axis=0) if array.ndim else None
    return array.astype(np.float32) if array.dtype.kind == "f" else None  # "float32"


@pytest.mark.parametrize("how", ["zero", "negated", "halved", "transposed", "shifted", "float32"])
@pytest.mark.parametrize("exercise", FUNCTIONS, ids=label)
def test_a_mistake_that_nobody_foresaw_is_caught(exercise, how):
    def mutant(*arguments):
        value = exercise.reference(*arguments)
        spoiled = changed(value, how)
        return value if spoiled is None else spoiled

    cases = exercise.cases(np.random.default_rng(0))
    results = [run_case(exercise.reference, case) for case in cases]
    spoiled = [None if r.raised else changed(r.value, how) for r in results]
    if all(s is None for s in spoiled):
        pytest.skip(f"a result of {exercise.name} cannot be {how}")
    verdict = judge(exercise, mutant)
    assert verdict.tag not in ("ok", "todo")


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=label)
def test_no_message_gives_the_solution_away(exercise):
    texts = [m.message for m in exercise.mistakes] + [p.message for p in exercise.properties]
    texts += [exercise.task, *exercise.hints]
    told = ["".join(text.split()) for text in texts]
    for line in inspect.getsource(exercise.reference).split("\n")[1:]:
        code = "".join(line.split("#")[0].split())
        code = re.sub(r"^(return|\w+=)", "", code)
        if len(code) > 12 and not code.startswith('"""'):
            assert not [text for text in told if code in text], code


# ---- questions ------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", CHOICES, ids=label)
def test_a_question_has_a_reason_for_every_answer(choice):
    assert len(choice.options) >= 3 and len(choice.hints) >= 1
    assert all(len(reason) >= 20 for reason in choice.options.values())
    assert judge_choice(choice, None).tag == "todo"
    assert judge_choice(choice, choice.right.lower()).tag == "ok"
    assert judge_choice(choice, "Z").tag == judge_choice(choice, "nothing").tag == "unreadable"
    for letter in choice.options:
        given = letter + choice.right[1:]
        if given != choice.right:
            verdict = judge_choice(choice, given)
            assert verdict.tag == f"chose {given}" and choice.options[letter] in verdict.message


# ---- the engine, on an exercise of its own --------------------------------------------------


def double(x):
    """x (N,) -> 2x."""
    return 2 * x


def tripled(x):
    return 3 * x


def small_cases(rng):
    return [(np.array([1.0, 2.0]),), (rng.normal(size=5),)]


TOY = Exercise(
    id="99.1", reference=double, task="Doubles x (N,).", example="double([1]) is [2].",
    cases=small_cases, mistakes=(Mistake("tripled", "Three times is too much.", tripled),),
    hints=("Think.", "Twice."), axes=("N",),
)


def fails(x):
    y = x + 1
    return y / undefined  # noqa: F821


def nothing(x):
    2 * x


def in_place(x):
    x *= 2
    return x


def a_matrix(x):
    return 2 * x[None]


def a_text(x):
    return "2x"


def not_finite(x):
    return 2 * x / 0


def single(x):
    return (2 * x).astype(np.float32)


def a_quarter(x):
    return x / 2


def plus_one(x):
    return 2 * x + 1


@pytest.mark.parametrize(
    "function, tag, words",
    [
        (double, "ok", "is right"),
        (tripled, "tripled", "Three times"),
        (fails, "exception", "In line 3 of fails (`return y / undefined"),
        (nothing, "none", "forget `return`"),
        (in_place, "changed input", "argument number 1"),
        (a_matrix, "shape", "shape (1, 2), expected (2,) (N)"),
        (a_text, "shape", "Expected numbers"),
        (not_finite, "value", "NaN or infinity"),
        (single, "precision", "float32"),
        (a_quarter, "value", "0.25 times the expected"),
        (plus_one, "value", "For ([1. 2.]) yours is [3. 5.], expected [2. 4.]"),
    ],
)
def test_the_judge_says_what_is_wrong(function, tag, words):
    verdict = judge(TOY, function)
    assert verdict.tag == tag and words in verdict.message
    assert "\n" not in verdict.message


def pairs_from_a_set(corrections):
    return {(question, better, worse) for question, worse, better in corrections if better != worse}


def shuffled_pairs(corrections):
    return sorted(pairs_from_a_set(corrections), reverse=True)


def test_right_pairs_in_the_wrong_order_are_called_so():
    for function, words in ((pairs_from_a_set, "has no order"), (shuffled_pairs, "wrong order")):
        verdict = judge(find("00.1"), function)
        assert verdict.tag == "order" and words in verdict.message


def test_results_are_compared_strictly():
    assert same(1.0, np.float64(1)) and same([1, 2], (1, 2)) and same("a", "a")
    assert not same(np.ones((1, 3)), np.ones(3)) and not same(np.ones(3), 1.0)
    assert not same(1.0, 1.0 + 1e-6) and same(0.0, 1e-13) and not same(0.0, 1e-9)
    assert same(np.nan, np.nan) and not same(np.nan, 1.0) and not same(None, 0)
    assert same({"a": 1.0}, {"a": 1.0}) and not same({"a": 1.0}, {"b": 1.0})
    assert close(1.0, 1.0) and finite(np.ones(2)) and not finite(np.array([np.inf]))
    assert as_numbers(["a"]) is None and as_numbers([[1], [1, 2]]) is None


def test_check_gives_back_what_works(capsys, monkeypatch):
    exercise = FUNCTIONS[0]
    monkeypatch.setattr(sys.modules["minirlhf.course.notebook"], "find_function", only_toy)
    assert check(double) is double
    assert check(tripled) is double
    printed = capsys.readouterr().out.split("\n")
    assert printed[0].startswith("OK       99.1")
    assert printed[1].startswith("NOT YET  99.1  Three times is too much. (The notebook goes on")
    monkeypatch.setenv("MINIRLHF_GRADE", "1")
    with pytest.raises(AssertionError, match=r"\[tripled\] Three times"):
        check(tripled)
    assert find(exercise.name) is find(exercise.id) is exercise
    with pytest.raises(KeyError, match="no exercise 'nonsense'"):
        find("nonsense")


def only_toy(function):
    return TOY


def test_hints_are_pulled_and_the_solution_opens_after_three_tries(capsys):
    exercise = FUNCTIONS[0]
    HINTS_GIVEN.pop(exercise.id, None)
    TRIES.pop(exercise.id, None)
    for _ in range(len(exercise.hints) + 1):
        hint(exercise.id)
    text = capsys.readouterr().out
    assert f"Hint 1 of {len(exercise.hints)}" in text and "That was all" in text
    solution(exercise.id)
    assert "opens after 3 different tries" in capsys.readouterr().out
    TRIES[exercise.id] = {b"1", b"2", b"3"}
    solution(exercise.id)
    assert f"def {exercise.name}" in capsys.readouterr().out
    TRIES.pop(exercise.id)
    solution(exercise.id, now=True)
    assert f"def {exercise.name}" in capsys.readouterr().out


def test_the_course_needs_no_jupyter():
    code = (
        "import sys, minirlhf.course, minirlhf.course.grading; "
        "from minirlhf.course.registry import exercises; exercises(); "
        "print({'IPython', 'ipywidgets', 'nbformat', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=course.REPO, capture_output=True, encoding="utf-8"
    )
    assert done.stdout.strip() == "set()", done.stderr


# ---- grading a class ------------------------------------------------------------------------


def submission(path, replace=(), lesson=None):
    """Write a student's notebook: the solutions, with some functions replaced by other code."""
    name = lesson or next(n for n in course.NAMES if n.startswith("04"))
    notebook = course.load(name, solutions=True)
    for cell in notebook["cells"]:
        text = course.text_of(cell)
        for start, new in replace:
            if text.startswith(start):
                cell["source"] = new
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def graded(folder, seconds=100):
    """-> exit code, rows of the table."""
    out = folder.parent / "grades.csv"
    code = grading.grade_class(folder, out, seconds)
    with open(out, encoding="utf-8-sig", newline="") as file:
        return code, list(csv.DictReader(file))


@pytest.mark.slow
def test_a_class_is_graded(tmp_path, capsys):
    folder = tmp_path / "submitted"
    first, second = [e for e in FUNCTIONS if e.id.startswith("04")][:2]
    arguments = str(inspect.signature(first.reference))
    start = f"def {first.name}("
    submission(folder / "anna.ipynb")
    submission(folder / "ben" / "04" / "lesson.ipynb", [
        (start, f"def {first.name}{arguments}:\n    while True:\n        pass"),
        (f"def {second.name}(", "def broken(:\n"),
    ])
    submission(folder / "chen.ipynb", [
        (start, f"import sys\ndef {first.name}{arguments}:\n    sys.exit(0)")
    ])
    submission(folder / "dora.ipynb", [
        (start, inspect.getsource(first.mistakes[0].wrong).replace(
            first.mistakes[0].wrong.__name__, first.name, 1)),
    ])
    (folder / "emil.ipynb").write_text("{not json", encoding="utf-8")
    (folder / "fay.ipynb").write_text('{"cells": [{"cell_type": "code"}]}', encoding="utf-8")
    code, rows = graded(folder, seconds=10)
    assert code == 0
    found = {(row["student"], row["exercise"]): row for row in rows}
    of_04 = [e for e in ALL if e.id.startswith("04")]
    assert all(found["anna", e.id]["verdict"] == "ok" for e in of_04)
    assert found["ben", first.id]["verdict"] == "timeout"
    assert found["ben", second.id]["verdict"] == "missing"
    assert all(found["ben", e.id]["verdict"] == "ok" for e in of_04[2:])
    assert found["chen", first.id]["verdict"] == "crash"
    assert all(found["chen", e.id]["verdict"] == "ok" for e in of_04[1:])
    assert found["dora", first.id]["verdict"] == first.mistakes[0].tag
    assert found["dora", first.id]["message"] == first.mistakes[0].message
    assert found["emil", ""]["verdict"] == found["fay", ""]["verdict"] == "unreadable"
    text = capsys.readouterr().out
    assert "anna.ipynb: " in text and first.mistakes[0].tag in text and "#" in text


@pytest.mark.slow
def test_every_lesson_can_be_graded(tmp_path):
    for name in course.NAMES:
        submission(tmp_path / "in" / "all-right" / f"{name}.ipynb", lesson=name)
    _, rows = graded(tmp_path / "in")
    assert [row["exercise"] for row in rows] == [exercise.id for exercise in ALL]
    assert {row["verdict"] for row in rows} == {"ok"}


@pytest.mark.slow
def test_unsolved_lessons_get_no_points(tmp_path):
    folder = tmp_path / "in" / "lazy"
    folder.mkdir(parents=True)
    for name in course.NAMES:
        text = json.dumps(course.load(name))
        (folder / f"{name}.ipynb").write_text(text, encoding="utf-8")
    _, rows = graded(tmp_path / "in")
    assert {row["verdict"] for row in rows} == {"todo"} and len(rows) == len(ALL)


def test_answers_copied_from_the_screen_do_not_pass():
    """Random cases differ from student to student."""
    different = 0
    for exercise in FUNCTIONS:
        mine = exercise.cases(student_rng("anna"))
        other = exercise.cases(student_rng("ben"))
        again = exercise.cases(student_rng("anna"))
        assert len(mine) == len(again)
        different += not all(same(a, b) for a, b in zip(mine, other) if not callable(a[0]))
    assert different >= 0.7 * len(FUNCTIONS)


def test_an_empty_folder_and_a_formula_in_a_cell(tmp_path, capsys):
    assert grading.grade_class(tmp_path, tmp_path / "out.csv") == 1
    assert "no .ipynb files" in capsys.readouterr().err
    assert grading.guarded("=1+1") == "'=1+1" and grading.guarded("fine") == "fine"


def test_a_class_is_graded_by_one_command_from_any_folder(tmp_path):
    """What GitHub Classroom runs; nothing of the repository is near."""
    submission(tmp_path / "in" / "anna.ipynb")
    words = ["-m", "minirlhf.course.grading", "in", "--out", "grades.csv", "--same-cases"]
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, encoding="utf-8",
        env=os.environ | {"PYTHONPATH": str(course.REPO)},
    )
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "grades.csv", encoding="utf-8-sig", newline="") as file:
        assert {row["verdict"] for row in csv.DictReader(file)} == {"ok"}


@pytest.mark.slow
def test_every_student_of_a_class_has_every_row(tmp_path):
    for number in range(5):
        submission(tmp_path / "in" / f"s{number}.ipynb")
    code, rows = graded(tmp_path / "in")
    of_04 = [e.id for e in ALL if e.id.startswith("04")]
    assert code == 0 and {row["verdict"] for row in rows} == {"ok"}
    assert [(row["student"], row["exercise"]) for row in rows] == [
        (f"s{number}", name) for number in range(5) for name in of_04
    ]
