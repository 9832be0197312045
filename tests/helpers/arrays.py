"""Small questions to arrays, and padding."""

import numpy as np


def floating_dtypes(thing):
    """Every floating dtype inside nested tuples and lists of arrays and NumPy scalars."""
    if isinstance(thing, (tuple, list)):
        return set().union(*map(floating_dtypes, thing))
    dtype = getattr(thing, "dtype", np.dtype(int))
    return {dtype} if np.issubdtype(dtype, np.floating) else set()


def widen(array, columns, fill):
    """Append columns that hold `fill`."""
    return np.pad(array, [(0, 0), (0, columns)], constant_values=fill)


def deepen(array, rows, fill):
    """Append rows that hold `fill`."""
    return np.pad(array, [(0, rows), (0, 0)], constant_values=fill)
