"""Running a reader's function and comparing results: numbers within a relative tolerance."""

import copy

import numpy as np

from minirlhf.course.exercise import RTOL, Outcome

ATOL = 1e-12  # for numbers that should be 0


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
        return type(a) is type(b) and a == b
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


def finite(value):
    """Is every number in it finite?  For properties such as stability."""
    numbers = as_numbers(value)
    return numbers is not None and bool(np.isfinite(numbers).all())


def close(a, b, rtol=1e-7):
    """Are two numbers or arrays equal within rtol (or 1e-12)?  For properties."""
    return same(a, b, rtol)
