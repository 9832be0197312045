"""Teach Rufus in a notebook: buttons, a field for the right answer, a table and a plot.

    session = open_session("runs/teach/me.jsonl", lang="en", annotator="Ann")
    teach_panel(session)

In JupyterLab and Notebook 7 this shows a panel.  Everything in it can be reached with the Tab key;
Enter in a field does the same as the button beside it.  Whatever goes wrong is written in the
panel.  Where there are no widgets, the same lines as on the terminal are typed:

    tell(session, "2 > 1 > 3 = 4")
"""

import os
import sys

from minirlhf.course.notebook import in_kernel
from minirlhf.errors import InputError
from minirlhf.teach.panel import Panel
from minirlhf.teach.terminal import Keyboard, Teller, act, teach
from minirlhf.teach.typed import read_line


def teach_panel(session):
    """Show the panel of a Session -> None.

    A kernel without ipywidgets, or a terminal, gets typed lines instead.  Where nobody can type (a
    notebook that is built for the web, a test, MINIRLHF_STATIC=1) one line says what to call.
    """
    nobody = os.environ.get("MINIRLHF_STATIC") == "1"
    try:
        if nobody or not in_kernel():
            raise ImportError
        import ipywidgets
    except ImportError:
        if nobody or not (in_kernel() or sys.stdin.isatty()):
            return how_to_go_on(session)
        try:
            return teach(session, Keyboard(session.lang))
        except NotImplementedError:  # a kernel whose front end asks nobody
            return how_to_go_on(session)
    sys.modules["IPython.display"].display(Panel(session, ipywidgets).box)


def how_to_go_on(session):
    """Print how to teach without a panel."""
    Teller(session).say(
        f'In Jupyter a panel appears here. Without it: tell(session, "2 > 1"), tell(session, "?"); '
        f"or on a terminal: python -m minirlhf teach --session {session.path}",
        f'在 Jupyter 里，这里会出现一个面板。没有面板时：tell(session, "2 > 1")，'
        f'tell(session, "?")；或在终端：python -m minirlhf teach --session {session.path}',
    )


def tell(session, line):
    """One typed line (teach_lines.HELP) in place of the panel: prints what came of it.

    An empty line learns and asks the next question.  A line that makes no sense gets a sentence.
    """
    teller = Teller(session)
    try:
        if session.round is None:
            session.ask()
        before = session.round
        action, value = read_line(line, len(before.responses), session.lang)
        if action != "end" and act(session, teller, action, value):
            session.ask()
        if session.round != before or len(line.strip()) == 0:
            teller.round(session.round)
    except InputError as error:
        teller.say(str(error), str(error))
