"""check(): runs a reader's function against the library's, and says in one sentence what is wrong.

An exercise is a function of at most eight lines.  The reader's version and the reference get the
same inputs; every known mistake is itself a function, so the reader's numbers are compared with
the numbers that the mistake would give.  That is how a message can name the mistake.

`f = check(f)` never stops the notebook: it gives back the reader's function if it passes, else the
reference, so the cells below work either way.  With MINIRLHF_GRADE=1 in the environment it raises
AssertionError("[tag] message") instead, which is what graders such as nbgrader want.
"""

import copy
import dis
import inspect
import linecache
import os
import traceback
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RTOL = 1e-7  # float64 results agree to about 15 digits; float32 ones to 7
ATOL = 1e-12  # for numbers that should be 0
TRIES_BEFORE_THE_SOLUTION = 3
TRIES = {}  # exercise id -> set of the different answers that failed, in this session
HINTS_GIVEN = {}  # exercise id -> number of hints read, in this session


class Mistake(NamedTuple):
    """A known wrong answer: a function that makes the mistake, and the sentence that names it."""

    tag: str
    message: str
    wrong: object  # function with the arguments of the reference


class Property(NamedTuple):
    """Something that must hold beyond the cases, such as invariance or stability."""

    tag: str
    message: str
    holds: object  # function(answer function) -> bool


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A function to write."""

    id: str  # "04.1": lesson, number
    reference: object  # the right function; its name is the name to be written
    task: str  # what it takes and gives, in one sentence
    example: str  # the smallest case, with its result
    cases: object  # function(Generator) -> list of argument tuples, the smallest first
    mistakes: tuple  # of Mistake, at least three
    hints: tuple  # of str, from a nudge to nearly everything
    properties: tuple = ()  # of Property
    axes: tuple = ()  # names of the axes of the result, for messages about its shape
    package: object = None  # the function of the package that does the same, to be found by name
    points: int = 2
    rtol: float = RTOL

    @property
    def name(self):
        """Name of the function to be written."""
        return self.reference.__name__


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A question with lettered options: a prediction, or a silent bug to be found.

    right may have several letters, one for each part of the question.
    """

    id: str
    task: str
    options: dict  # letter -> what to say to the reader who chose it
    right: str
    hints: tuple
    points: int = 1

    @property
    def name(self):
        """Choices go by their id."""
        return self.id


class Verdict(NamedTuple):
    """What check() found.  tag: "ok", "todo", a mistake's own tag, or a general one."""

    tag: str
    message: str


class Outcome(NamedTuple):
    """What a function did with one case."""

    value: object  # its result; the exception if it raised
    raised: bool
    changed: int  # number of the argument that it changed, from 1; 0 if none


# ---- running --------------------------------------------------------------------------------


def run_case(function, arguments):
    """function, tuple of arguments -> Outcome.  The function gets copies of its own."""
    given = copy.deepcopy(arguments)
    try:
        with np.errstate(all="ignore"):
            value = function(*given)
    except Exception as error:  # whatever a reader's function may raise
        return Outcome(error, True, 0)
    changed = 0
    for number, (before, after) in enumerate(zip(arguments, given), start=1):
        comparable = not callable(before) and not isinstance(before, np.random.Generator)
        if comparable and not same(after, before, 0):
            changed = number
    return Outcome(value, False, changed)


def same(a, b, rtol=RTOL):
    """Do two results agree?  Numbers within rtol, shapes and texts exactly."""
    if isinstance(b, (tuple, list)) or isinstance(a, (tuple, list)):
        if not isinstance(a, (tuple, list)) or not isinstance(b, (tuple, list)):
            return False
        return len(a) == len(b) and all(same(x, y, rtol) for x, y in zip(a, b))
    if isinstance(b, dict) or isinstance(a, dict):
        if not isinstance(a, dict) or not isinstance(b, dict) or set(a) != set(b):
            return False
        return all(same(a[key], b[key], rtol) for key in b)
    if isinstance(b, (str, type(None))) or isinstance(a, (str, type(None))):
        return a is b if a is None or b is None else a == b
    if callable(b) or callable(a):
        return a is b
    a, b = as_numbers(a), as_numbers(b)
    if a is None or b is None or a.shape != b.shape:
        return False
    return bool(np.allclose(a, b, rtol=rtol, atol=ATOL if rtol else 0, equal_nan=True))


def as_numbers(value):
    """-> array of numbers, or None if it is none.  Masked arrays, objects and texts are none."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array if array.dtype.kind in "biufc" else None


def same_outcome(a, b, rtol):
    """Did two functions do the same with a case?"""
    if a.raised or b.raised:
        return a.raised and b.raised and type(a.value) is type(b.value)
    return a.changed == b.changed and same(a.value, b.value, rtol) and precise(a.value, b.value)


def precise(got, expected):
    """False where float64 was expected and a shorter float came."""
    if isinstance(expected, (tuple, list)) and isinstance(got, (tuple, list)):
        return all(precise(x, y) for x, y in zip(got, expected))
    got, expected = as_numbers(got), as_numbers(expected)
    if got is None or expected is None or got.dtype.kind != "f" or expected.dtype.kind != "f":
        return True
    return got.dtype.itemsize >= expected.dtype.itemsize


# ---- judging --------------------------------------------------------------------------------


def judge(exercise, function, rng=None):
    """Exercise, the reader's function -> Verdict.  rng: makes the random cases; seed 0 if None."""
    todo = Verdict(
        "todo",
        f"{exercise.name} is not written yet. {exercise.task} For instance, {exercise.example}",
    )
    if is_stub(function):
        return todo
    cases = exercise.cases(rng or np.random.default_rng(0))
    expected = [run_case(exercise.reference, case) for case in cases]
    got = [run_case(function, case) for case in cases]
    if any(outcome.raised and is_todo(outcome.value) for outcome in got):
        return todo
    agree = [same_outcome(a, b, exercise.rtol) for a, b in zip(got, expected)]
    if all(agree):
        return judge_properties(exercise, function)
    for mistake in exercise.mistakes:
        wrong = [run_case(mistake.wrong, case) for case in cases]
        if all(same_outcome(a, b, 10 * exercise.rtol) for a, b in zip(got, wrong)):
            return Verdict(mistake.tag, mistake.message)
    number = agree.index(False)
    return explain(exercise, function, cases[number], got[number], expected, got, number)


def judge_properties(exercise, function):
    """All cases agree: -> Verdict on the properties."""
    for rule in exercise.properties:
        try:
            with np.errstate(all="ignore"):
                holds = rule.holds(function)
        except Exception as error:  # whatever a reader's function may raise
            return Verdict(rule.tag, f"{rule.message} ({first_line(error)})")
        if not holds:
            return Verdict(rule.tag, rule.message)
    return Verdict("ok", right_message(exercise))


def right_message(exercise):
    """What a reader who got it right is told: where the package does the same."""
    if exercise.package is None:
        return f"{exercise.name} is right."
    return f"{exercise.name} is right. The package has it too: {where_text(exercise.package)}."


def explain(exercise, function, case, got, expected, all_got, number):
    """The first case that differs -> Verdict with the most helpful sentence there is."""
    wanted = expected[number]
    if got.raised:
        place = place_of(got.value, function)
        return Verdict("exception", f"{place}{first_line(got.value)}")
    if wanted.raised:
        return Verdict(
            "no error", f"For {show_arguments(case)} an error was expected "
            f"({first_line(wanted.value)}), yours returned {short(got.value)}."
        )  # fmt: skip
    if got.value is None:
        return Verdict("none", f"{exercise.name} returned None. Did you forget `return`?")
    if got.changed:
        return Verdict(
            "changed input", f"{exercise.name} changes its argument number {got.changed}. Work "
            "on a copy, or make a new array: the caller still needs the old one."
        )  # fmt: skip
    problem = shape_problem(exercise, got.value, wanted.value)
    if problem:
        return Verdict("shape", problem)
    if same(got.value, wanted.value, 1e-4) and not precise(got.value, wanted.value):
        return Verdict("precision", "Right to 7 digits only: somewhere it becomes float32.")
    return Verdict("value", value_problem(case, got.value, expected, all_got, number))


def shape_problem(exercise, got, expected):
    """-> a sentence if kind or shape of the result is wrong, else ""."""
    if isinstance(expected, (tuple, list)):
        if not isinstance(got, (tuple, list)):
            return f"Expected {len(expected)} results, got one {type(got).__name__}."
        if len(got) != len(expected):
            return f"Expected {len(expected)} results, got {len(got)}."
        for number, (one, wanted) in enumerate(zip(got, expected), start=1):
            problem = shape_problem(exercise, one, wanted)
            if problem:
                return f"Result {number}: {problem}"
        return ""
    a, b = as_numbers(got), as_numbers(expected)
    if b is None:
        kinds = type(expected).__name__, type(got).__name__
        return "" if kinds[0] == kinds[1] else f"Expected a {kinds[0]}, got a {kinds[1]}."
    if a is None:
        return f"Expected numbers, got {short(got)}."
    if a.shape == b.shape:
        return ""
    axes = f" ({', '.join(exercise.axes)})" if len(exercise.axes) == b.ndim and b.ndim else ""
    return f"The result has shape {a.shape}, expected {b.shape}{axes}."


def value_problem(case, got, expected, all_got, number):
    """-> a sentence about wrong numbers, with the smallest case that shows them."""
    wanted = expected[number].value
    text = f"For {show_arguments(case)} yours is {short(got)}, expected {short(wanted)}"
    a, b = as_numbers(got), as_numbers(wanted)
    if a is None or b is None:
        return text + "."
    if not np.isfinite(a).all() and np.isfinite(b).all():
        return text + ": NaN or infinity."
    factor = common_factor(all_got, expected)
    if factor is not None:
        return text + f". In every case, yours is {factor:.4g} times the expected result."
    if b.ndim == 2 and b.shape[0] == b.shape[1] and same(a.T, b):
        return text + ". It is the transpose of what was expected."
    difference = np.abs(a.astype(float) - b.astype(float))
    if b.ndim == 0:
        return text + f" (difference {float(difference):.4g})."
    place = np.unravel_index(int(difference.argmax()), b.shape)
    index = ", ".join(str(int(i)) for i in place)
    return text + f". The largest difference is {float(difference.max()):.4g}, at [{index}]."


def common_factor(all_got, expected):
    """-> c if every result is c times the expected one, else None."""
    a, b = flat(all_got), flat(expected)
    if a is None or b is None or a.shape != b.shape or not np.abs(b).max(initial=0) > 0:
        return None
    c = float((a * b).sum() / (b * b).sum())
    return c if np.allclose(a, c * b, rtol=1e-6, atol=1e-10) else None


def flat(outcomes):
    """list of Outcome -> all their numbers in one float vector (N,), or None."""
    parts = []
    for outcome in outcomes:
        values = outcome.value if isinstance(outcome.value, (tuple, list)) else [outcome.value]
        for value in values:
            numbers = None if outcome.raised else as_numbers(value)
            if numbers is None or numbers.dtype.kind == "c" or not np.isfinite(numbers).all():
                return None
            parts.append(numbers.astype(float).ravel())
    return np.concatenate(parts) if parts else None


# ---- reading a function ---------------------------------------------------------------------


def is_stub(function):
    """Is there nothing but a docstring and `...` or `pass`?  (Raising shows when it is run.)"""
    code = getattr(function, "__code__", None)
    if code is None or code.co_names:
        return False
    constants = [c for c in code.co_consts if c not in (None, ..., function.__doc__)]
    reads = [i for i in dis.get_instructions(code) if i.opname.startswith("LOAD_FAST")]
    return not constants and not reads


def is_todo(error):
    """Did the function say itself that it is not written?"""
    return isinstance(error, NotImplementedError)


def place_of(error, function):
    """-> "In line 3 of your function (`x = y`): ", or "" where that is unknown."""
    code = getattr(function, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    mine = [frame for frame in frames if code and frame.filename == code.co_filename]
    if not mine:
        return ""
    line = mine[-1].lineno
    source = linecache.getline(code.co_filename, line).strip()
    shown = f" (`{source}`)" if source else ""
    if not code.co_firstlineno <= line:
        return f"In your line {line}{shown}: "
    return f"In line {line - code.co_firstlineno + 1} of {code.co_name}{shown}: "


def first_line(error):
    """-> "ValueError: message", one line."""
    text = str(error).split("\n")[0].strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def short(value, width=90):
    """A value on one line, four digits, cut where it is too long."""
    if isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, np.ndarray) or np.isscalar(value):
        array = np.asarray(value)
        text = np.array2string(array, precision=4, suppress_small=True, threshold=12)
    elif isinstance(value, (tuple, list)):
        inside = ", ".join(short(item, width) for item in value)
        text = f"({inside})" if isinstance(value, tuple) else f"[{inside}]"
    else:
        text = getattr(value, "__name__", None) or repr(value)
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def show_arguments(case):
    """The arguments of a case on one line; a big array by its shape."""
    parts = []
    for argument in case:
        big = isinstance(argument, np.ndarray) and argument.size > 8
        parts.append(f"an array {argument.shape}" if big else short(argument, 60))
    return "(" + ", ".join(parts) + ")"


def where_text(function):
    """A function of the package -> "softmax_backward in minirlhf/layers.py, line 236"."""
    file = inspect.getsourcefile(function).replace(os.sep, "/")
    _, line = inspect.getsourcelines(function)
    return f"{function.__qualname__} in minirlhf/{file.split('/minirlhf/')[-1]}, line {line}"


# ---- choices --------------------------------------------------------------------------------


def judge_choice(choice, given):
    """Choice, the reader's letters (or None) -> Verdict."""
    if given is None or not str(given).strip(" ?"):
        letters = " ".join(choice.options)
        parts = "" if len(choice.right) == 1 else f", {len(choice.right)} of them"
        return Verdict("todo", f"{choice.id} is not answered yet: choose from {letters}{parts}.")
    letters = str(given).strip().upper().replace(" ", "").replace(",", "")
    unknown = [letter for letter in letters if letter not in choice.options]
    if unknown or len(letters) != len(choice.right):
        expected = f"{len(choice.right)} of the letters {' '.join(choice.options)}"
        return Verdict("unreadable", f"{choice.id}: {given!r} should be {expected}.")
    for number, (letter, right) in enumerate(zip(letters, choice.right), start=1):
        if letter != right:
            part = f"Part {number}: " if len(choice.right) > 1 else ""
            return Verdict(f"chose {letters}", f"{part}{letter} is not it. {choice.options[letter]}")
    reason = choice.options[choice.right] if len(choice.right) == 1 else ""
    return Verdict("ok", f"{letters} is right. {reason}".strip())


# ---- what a reader sees ---------------------------------------------------------------------


def report(exercise, verdict, fallback=""):
    """Print the verdict; in grading mode raise AssertionError unless it is ok."""
    if verdict.tag == "ok":
        print(f"OK       {exercise.id}  {verdict.message}")
        return
    if os.environ.get("MINIRLHF_GRADE") == "1":
        raise AssertionError(f"[{verdict.tag}] {verdict.message}")
    print(f"NOT YET  {exercise.id}  {verdict.message}{fallback}")


def remember_try(exercise, verdict, given):
    """Count the different answers that failed; only they open the solution."""
    if verdict.tag not in ("ok", "todo"):
        code = getattr(given, "__code__", None)
        TRIES.setdefault(exercise.id, set()).add(code.co_code if code else str(given))


def finite(value):
    """Is every number in it finite?  For properties such as stability."""
    numbers = as_numbers(value)
    return numbers is not None and bool(np.isfinite(numbers).all())


def close(a, b, rtol=1e-7):
    """Are two numbers or arrays equal within rtol (or 1e-12)?  For properties."""
    return same(a, b, rtol)
