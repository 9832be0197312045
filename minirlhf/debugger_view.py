"""How a record shows itself in a debugger: one line of names and shapes, not pages of numbers."""

import numpy as np

REPR_WIDTH = 100  # columns


def one_line(record):
    """NamedTuple -> "Name(field (B, T), ..)"."""
    parts = []
    for name, value in zip(record._fields, record):
        if isinstance(value, np.ndarray):
            parts.append(f"{name} {value.shape}")
        elif isinstance(value, (bool, int, float)):
            parts.append(f"{name} {value:.4g}")
        elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
            parts.append(f"{name} {type(value).__name__} of {len(value)}")
        else:
            parts.append(f"{name} {type(value).__name__}")
    return fit(f"{type(record).__name__}(", parts)


def fit(head, parts):
    """A head and texts -> "Name(text, text, +3 more)", as many as REPR_WIDTH has room for."""
    shown = len(parts)
    text = head + ", ".join(parts) + ")"
    while len(text) > REPR_WIDTH and shown > 0:
        shown -= 1
        text = head + ", ".join([*parts[:shown], f"+{len(parts) - shown} more"]) + ")"
    return text
