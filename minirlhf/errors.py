"""The two errors that end a run with one plain line instead of a traceback."""


class InputError(ValueError):
    """The user's file, text or setting is wrong.  The message names file, line and value."""


class NotFiniteError(ArithmeticError):
    """A number became NaN or infinite.  The message names the step and the tensor."""
