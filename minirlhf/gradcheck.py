"""Numerical gradients, to prove the hand-written ones.

Central differences, (f(x + h) - f(x - h)) / 2h, in float64.  Their error is about h^2 from
truncation plus 1e-16 / h from rounding: with h = 1e-5 roughly ten digits are right.
"""

import math

import numpy as np

from minirlhf.gpt import Params


def numerical_gradient(f, x: np.ndarray, h=1e-5) -> np.ndarray:
    """f: function of no argument that reads x and returns a float; x: float64 array of any shape.

    -> array like x.  Every entry is nudged in place, by +h and by -h, and put back.
    """
    if x.dtype != np.float64:
        raise TypeError(f"gradient checks need float64, got {x.dtype}")
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + h
        above = f()
        x[index] = kept - h
        below = f()
        x[index] = kept
        gradient[index] = (above - below) / (2 * h)
    return gradient


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """max |a - b| / max(|a|, |b|): one number for two arrays of one shape; 0 if both are 0.

    Infinite if either holds NaN or infinity: a comparison with NaN would call it right.
    """
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    return float(np.abs(a - b).max(initial=0) / scale) if scale > 0 else 0.0


def compare_params(grads: Params, numerical: Params) -> dict[str, float]:
    """Two Params (analytic, numerical) -> {tensor name: relative error}."""
    errors = {}
    for name in grads.shapes:
        errors[name] = relative_error(grads[name], numerical[name])
    return errors
