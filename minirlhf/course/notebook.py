"""What the notebooks call: check, hint, solution, answer; show, play, where, pretrained.

Nothing here imports Jupyter.  Pictures and sliders use what a notebook has already loaded; a
script, a test or a debugger gets the printed sentences and goes on.
"""

import base64
import inspect
import os
import sys

import numpy as np

from minirlhf.checkpoint import load_model
from minirlhf.course.compare import as_numbers, run_case, same
from minirlhf.course.engine import (
    HINTS_GIVEN,
    TRIES,
    TRIES_BEFORE_THE_SOLUTION,
    judge,
    judge_choice,
    remember_try,
    report,
)
from minirlhf.course.exercise import Choice
from minirlhf.course.explain import short, show_arguments, where_text
from minirlhf.course.registry import find, find_function
from minirlhf.data import DATA
from minirlhf.gpt import Params
from minirlhf.teach.show import in_kernel, png_of

SHOWN_WIDTH = 760  # pixels


# ---- exercises ------------------------------------------------------------------------------


def check(function):
    """The reader's function -> the same function if it is right, else the library's.

    Prints one line: OK, or NOT YET and what is wrong.  It never stops the notebook.
    """
    exercise = find_function(function)
    verdict = judge(exercise, function)
    remember_try(exercise, verdict, function)
    report(exercise, verdict, " (The notebook goes on with the library's version.)")
    return function if verdict.tag == "ok" else exercise.reference


def answer(name, letters):
    """Check the answer to a question, such as answer("06.4", "B").  None: not answered yet."""
    choice = find(name)
    if not isinstance(choice, Choice):
        raise KeyError(f"{choice.id} is a function to write: {choice.name} = check({choice.name})")
    verdict = judge_choice(choice, letters)
    remember_try(choice, verdict, letters)
    report(choice, verdict)


def hint(name):
    """Print the next hint of an exercise, given by id or by function name."""
    exercise = find(name)
    given = HINTS_GIVEN.get(exercise.id, 0)
    number = min(given, len(exercise.hints) - 1)
    HINTS_GIVEN[exercise.id] = given + 1
    print(f"Hint {number + 1} of {len(exercise.hints)}: {exercise.hints[number]}")
    if given >= len(exercise.hints):
        print(f'That was all. solution("{exercise.id}", now=True) shows the answer.')


def solution(name, now=False):
    """Print the answer: after three different tries that failed, or at once with now=True."""
    exercise = find(name)
    tries = len(TRIES.get(exercise.id, ()))
    if tries < TRIES_BEFORE_THE_SOLUTION and not now:
        print(
            f"{exercise.id} opens after {TRIES_BEFORE_THE_SOLUTION} different tries; so far "
            f'{tries}. To see it now: solution("{exercise.id}", now=True)'
        )
    elif isinstance(exercise, Choice):
        print(f"{exercise.right}. {exercise.options[exercise.right[0]]}".strip())
    else:
        print(inspect.getsource(exercise.reference).rstrip())


def difference(function):
    """Print the first case in which the reader's function differs: input, yours, expected."""
    exercise = find_function(function)
    for case in exercise.cases(np.random.default_rng(0)):
        expected, got = run_case(exercise.reference, case), run_case(function, case)
        if got.raised or not same(got.value, expected.value):
            print(f"input     {show_arguments(case)}")
            print(f"yours     {short(got.value, 400)}")
            print(f"expected  {short(expected.value, 400)}")
            a, b = as_numbers(got.value), as_numbers(expected.value)
            if a is not None and b is not None and a.shape == b.shape:
                print(f"yours - expected  {short(a.astype(float) - b, 400)}")
            return
    print("No difference in any case.")


def where(function):
    """Print where in the package a function is: file and line, for the editor or the debugger."""
    print(where_text(function))


# ---- pictures and sliders -------------------------------------------------------------------


def show(figure, see):
    """Show a matplotlib Figure in the notebook, and print below it what the reader should see.

    The sentence is also the picture's alternative text.
    """
    see = " ".join(see.split())
    display = getattr(sys.modules.get("IPython.display"), "display", None)
    if display is not None and in_kernel():
        data = base64.b64encode(png_of(figure)).decode("ascii")
        about = {"alt": see, "width": SHOWN_WIDTH, "needs_background": "light"}
        display({"image/png": data, "text/plain": see}, raw=True, metadata={"image/png": about})
    print(f"What you should see: {see}")


def play(draw, **choices):
    """Call draw(...) again whenever the reader moves a slider.  choices: name=[its values].

    Where there are no widgets (a page on the web, a script, MINIRLHF_STATIC=1), says how to call
    it by hand; the picture above the cell shows the main settings.
    """
    first = {name: values[0] for name, values in choices.items()}
    call = ", ".join(f"{name}={value!r}" for name, value in first.items())
    try:
        if not in_kernel() or os.environ.get("MINIRLHF_STATIC") == "1":
            raise ImportError
        import ipywidgets
    except ImportError:
        print(f"In Jupyter, sliders appear here. Without them: {draw.__name__}({call})")
        return
    controls = {}
    for name, values in choices.items():
        controls[name] = ipywidgets.SelectionSlider(
            options=list(values), value=values[0], description=name.replace("_", " "),
            continuous_update=False, style={"description_width": "initial"},
        )
        if isinstance(values[0], str):
            controls[name] = ipywidgets.Dropdown(
                options=list(values), description=name.replace("_", " "),
                style={"description_width": "initial"},
            )
    shown = ipywidgets.interactive_output(draw, controls)
    sys.modules["IPython.display"].display(ipywidgets.VBox([*controls.values(), shown]))


# ---- models ---------------------------------------------------------------------------------


def pretrained(lang="en"):
    """The bundled pretrained language model (data/LANG/pretrained.npz), in float64.

    With float64 a lesson prints the same digits on every machine: in float32 the last bits differ
    between processors, and one sampled character is enough to take another path.
    """
    model = load_model(DATA / lang / "pretrained.npz", "language model")
    params = Params(model.params.shapes, np.float64)
    params.flat[...] = model.params.flat
    return model._replace(params=params)
