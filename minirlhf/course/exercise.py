"""What an exercise is: a function to write or a question, with the mistakes that are known."""

from dataclasses import dataclass
from typing import NamedTuple

RTOL = 1e-7  # float64 results agree to about 15 digits; float32 ones to 7


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
