"""One helpful sentence about a result that is wrong in a way that no one foresaw."""

import inspect
import linecache
import os
import traceback

import numpy as np

from minirlhf.course.compare import as_numbers, precise, same
from minirlhf.course.exercise import Verdict


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
        )
    if got.value is None:
        return Verdict("none", f"{exercise.name} returned None. Did you forget `return`?")
    if got.changed:
        return Verdict(
            "changed input", f"{exercise.name} changes its argument number {got.changed}. Work "
            "on a copy, or make a new array: the caller still needs the old one."
        )
    problem = order_problem(got.value, wanted.value)
    if problem:
        return Verdict("order", problem)
    problem = shape_problem(exercise, got.value, wanted.value)
    if problem:
        return Verdict("shape", problem)
    if same(got.value, wanted.value, 1e-4) and not precise(got.value, wanted.value):
        return Verdict("precision", "Right to 7 digits only: somewhere it becomes float32.")
    return Verdict("value", value_problem(case, got.value, expected, all_got, number))


def order_problem(got, expected):
    """-> a sentence if a list of texts has the right entries in a wrong order, else ""."""
    unordered = isinstance(got, (set, frozenset))
    if not isinstance(expected, list) or not (unordered or isinstance(got, list)):
        return ""
    if as_numbers(expected) is not None or sorted(map(repr, got)) != sorted(map(repr, expected)):
        return ""
    if unordered:
        return "The right entries, but in a set, and a set has no order. Return a list, in order."
    return "The right entries, in the wrong order. A set, or sorting, loses the order they came in."


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
    with np.errstate(invalid="ignore"):
        difference = np.where(a == b, 0, np.abs(a.astype(float) - b.astype(float)))  # inf = inf
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


# ---- in words -------------------------------------------------------------------------------


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
