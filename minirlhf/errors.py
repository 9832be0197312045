"""The two errors that end a run with one plain line instead of a traceback."""


class InputError(ValueError):
    """The user's file, text or setting is wrong.  The message names file, line and value."""


class NotFiniteError(ArithmeticError):
    """A number became NaN or infinite.  The message names the step and the tensor."""


class at:
    """`with at("corpus.txt, line 3"):` puts the place before the message of an InputError inside.

    So a function need not know whose text it reads; the caller who knows says it.
    """

    def __init__(self, place):
        self.place = place

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is InputError:
            raise InputError(f"{self.place}: {error}") from None
