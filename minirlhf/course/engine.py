"""check(): runs a reader's function against the library's, and says in one sentence what is wrong.

An exercise is a function of at most eight lines.  The reader's version and the reference get the
same inputs; every known mistake is itself a function, so the reader's numbers are compared with
the numbers that the mistake would give.  That is how a message can name the mistake.

`f = check(f)` never stops the notebook: it gives back the reader's function if it passes, else the
reference, so the cells below work either way.  With MINIRLHF_GRADE=1 in the environment it raises
AssertionError("[tag] message") instead, which is what graders such as nbgrader want.
"""

import dis
import os

import numpy as np

from minirlhf.course.compare import run_case, same_outcome
from minirlhf.course.exercise import Verdict
from minirlhf.course.explain import explain, first_line, where_text

TRIES_BEFORE_THE_SOLUTION = 3
TRIES = {}  # exercise id -> set of the different answers that failed, in this session
HINTS_GIVEN = {}  # exercise id -> number of hints read, in this session


# ---- functions ------------------------------------------------------------------------------


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


def is_stub(function):
    """Is there nothing but a docstring and `...` or `pass`?  (Raising shows when it is run.)"""
    code = getattr(function, "__code__", None)
    if code is None or code.co_names:
        return False
    constants = [c for c in code.co_consts if c not in (None, ..., function.__doc__)]
    works = ("LOAD_FAST", "JUMP")  # reads an argument, or is a loop
    busy = [i for i in dis.get_instructions(code) if i.opname.startswith(works)]
    return not constants and not busy


def is_todo(error):
    """Did the function say itself that it is not written?"""
    return isinstance(error, NotImplementedError)


# ---- questions ------------------------------------------------------------------------------


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
            message = f"{part}{letter} is not it. {choice.options[letter]}"
            return Verdict(f"chose {letters}", message)
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
