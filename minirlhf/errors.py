"""The two errors that end a run with one plain line instead of a traceback, and their place."""


class InputError(ValueError):
    """The user's file, text or setting is wrong.  The message names file, line and value."""


class NotFiniteError(ArithmeticError):
    """A number became NaN or infinite.  The message names the step and the tensor."""


class at:
    """`with at("corpus.txt, line 3"):` puts the place before the message of an error inside.

    So a function need not know whose text it reads; the caller who knows says it.  Places add up:
    "corpus.txt, line 3: ...".
    """

    def __init__(self, place: str):
        self.place = place

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind in (InputError, NotFiniteError):
            raise placed(self.place, error) from None


def placed(place: str, error: Exception) -> Exception:
    """InputError or NotFiniteError -> the same with a place before its message."""
    joint = ", " if hasattr(error, "place") else ": "
    named = type(error)(f"{place}{joint}{error}")
    named.place = place
    return named
