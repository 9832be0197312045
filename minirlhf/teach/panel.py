"""Teach Rufus in a notebook: buttons, a field for the right answer, a table and a plot.

    session = open_session("runs/teach/me.jsonl", lang="en", annotator="Ann")
    teach_panel(session)

In JupyterLab and Notebook 7 this shows a panel.  Everything in it can be reached with the Tab key;
Enter in a field does the same as the button beside it.  Where there are no widgets, the same lines
as on the terminal are typed:

    tell(session, "2 > 1 > 3 = 4")

What the buttons do is in actions.py, what is shown is made by panel_html.py.  A callback is a
bound method, found in the table `actions`, so a debugger can stop in it and a test can press it.
Whatever goes wrong in one is written in the panel: Jupyter itself would show nothing.
"""

import asyncio
import os
import sys

from minirlhf.errors import InputError
from minirlhf.teach import panel_html
from minirlhf.teach.actions import Conversation
from minirlhf.teach.records import votes_of
from minirlhf.teach.show import in_kernel
from minirlhf.teach.terminal import Keyboard, follow, show_round, teach
from minirlhf.teach.typed import plain

ENTER_SECONDS = 0.3  # how long an Enter waits for the text that was typed before it


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
            return teach(session, Keyboard())
        except NotImplementedError:  # a kernel whose front end asks nobody
            return how_to_go_on(session)
    sys.modules["IPython.display"].display(Panel(session, ipywidgets).box)


def how_to_go_on(session):
    """Print how to teach without a panel."""
    print(Conversation(session).say(
        'In Jupyter a panel appears here. Without it: tell(session, "2 > 1"), '
        'tell(session, "?"); or on a terminal: python -m minirlhf teach --session {path}',
        path=session.path))


def tell(session, line):
    """One typed line (typed.HELP) in place of the panel: prints what came of it.

    An empty line learns and asks the next question.  A line that makes no sense gets a sentence.
    """
    conversation = Conversation(session)
    try:
        before = conversation.open()
        follow(conversation, line)
        if conversation.open() != before or not line.strip():
            show_round(conversation)
    except InputError as error:  # Rufus has no answer
        print(plain(str(error)))


class Panel:
    """The widgets of a session and what they do.  `box` is what is shown."""

    def __init__(self, session, ipywidgets):
        """ipywidgets: the module, which is imported only where a panel is shown."""
        self.session, self.kit = session, ipywidgets
        self.conversation = Conversation(session)
        self.say = self.conversation.say
        self.actions = {}  # Button or Text -> (method, its arguments)
        self.entered = None  # a Text in which Enter was pressed, while what was typed is under way
        self.shown = session.round  # the Round that the person sees
        self.drawn, self.png = [], None  # the history of which the plot is, and its PNG
        self.make_widgets()
        self.do(self.greet)

    # ---- widgets ----------------------------------------------------------------------------

    def make_widgets(self):
        """All widgets, in the order in which the Tab key reaches them."""
        kit, talk, say = self.kit, self.conversation, self.say
        title = kit.HTML(
            panel_html.title_html(talk.who_teaches(), talk.kept_where(), self.session.simulated))
        self.question, self.answers = kit.HTML(), []  # answers: of (HTML, four Buttons, their box)
        self.answer_box = kit.VBox()
        self.all_natural = self.button(say("all natural"), "110px", talk.natural)
        self.skip_button = self.button(say("skip"), "90px", talk.skip)
        self.undo_button = self.button(say("undo"), "90px", talk.undo, self.progress)
        self.correction, self.correct_button = self.field(
            say("Say it right:"), say("keep"), talk.correct)
        self.corrections = kit.HTML()
        self.own, self.own_button = self.field(say("Ask your own:"), say("ask"), talk.ask)
        self.learn_button = self.button(say("Rufus, learn!"), "150px", self.learn)
        self.learn_button.button_style = "primary"
        self.next_button = self.button(say("next question"), "150px", talk.go_on)
        self.bar = kit.IntProgress(layout=kit.Layout(display="none", width="300px"))
        self.status, self.table, self.history = kit.HTML(), kit.HTML(), kit.HTML()
        self.status.add_class("rufus-said")
        self.box = kit.VBox([title, self.question, self.answer_box,
                             self.in_line(self.all_natural, self.skip_button, self.undo_button),
                             self.in_line(self.correction, self.correct_button, self.corrections),
                             self.in_line(self.own, self.own_button),
                             self.in_line(self.learn_button, self.next_button, self.bar),
                             self.status, self.table, self.history])
        self.box.add_class("rufus")

    def in_line(self, *widgets):
        """-> widgets side by side, or below each other on a narrow page."""
        layout = self.kit.Layout(flex_flow="row wrap", align_items="center", width="100%")
        line = self.kit.HBox(widgets, layout=layout)
        line.add_class("rufus-line")
        return line

    def button(self, description, width, method, *arguments, tooltip=""):
        """-> a Button that calls method(*arguments)."""
        button = self.kit.Button(description=description, tooltip=tooltip or description,
                                 layout=self.kit.Layout(width=width))
        self.actions[button] = (method, arguments)
        button.on_click(self.pressed)
        return button

    def field(self, description, word, method):
        """-> a Text and the Button beside it; Enter in the Text does what the Button does."""
        text = self.kit.Text(description=description, continuous_update=False,
                             layout=self.kit.Layout(width="460px"),
                             style={"description_width": "110px"})
        text.on_msg(self.key_in_field)
        text.observe(self.field_changed, "value")
        self.actions[text] = (self.take, (method, text))
        return text, self.button(word, "90px", self.take, method, text)

    def add_answer(self):
        """The widgets of one more answer."""
        i, n = len(self.answers), len(self.answers) + 1
        text = self.kit.HTML(layout=self.kit.Layout(flex="1 1 300px", min_width="200px"))
        talk, say = self.conversation, self.say
        buttons = [
            self.button("", "70px", talk.rank, i, tooltip=say("answer {n} takes this place", n=n)),
            self.button("", "80px", talk.tie, i, tooltip=say(
                "answer {n} is as good as the one ranked before", n=n)),
            self.button("", "80px", talk.best, i, tooltip=say("answer {n} is the best", n=n)),
            self.button("", "115px", talk.unnatural, i, tooltip=say(
                "answer {n} sounds unnatural", n=n)),
        ]
        row = self.in_line(text, *buttons)
        row.add_class("rufus-row")
        self.answers.append((text, buttons, row))

    # ---- what the front end says ------------------------------------------------------------

    def pressed(self, button):
        """A Button was pressed, or Enter in a Text."""
        method, arguments = self.actions[button]
        self.do(method, *arguments)

    def key_in_field(self, text, content, buffers):
        """Enter in a Text arrives before the text that was typed; field_changed waits for it.

        If nothing has changed since the text was last sent, it does not come: then a clock rings.
        """
        if content.get("event") != "submit":
            return
        self.entered = text
        try:
            asyncio.get_running_loop().call_later(ENTER_SECONDS, self.enter, text)
        except RuntimeError:  # no kernel: a test
            self.enter(text)

    def field_changed(self, change):
        """The text of a Text has come: it was left, or Enter was pressed in it."""
        self.enter(change["owner"])

    def enter(self, text):
        """Do what Enter in this Text is for, once."""
        if self.entered is text:
            self.entered = None
            self.pressed(text)

    def do(self, method, *arguments):
        """One action: its sentence, or what went wrong, is written in the panel; never raised."""
        said, wrong = "", True
        try:
            try:
                self.look_again()
                said = method(*arguments)
                self.conversation.open()
            finally:
                self.bar.layout.display = "none"
                self.show()
            wrong = False
        except InputError as error:
            said = str(error)
        except KeyboardInterrupt:
            said = self.say("Interrupted. Every label is kept; press a button to go on.")
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        self.status.value = panel_html.status_html(said, wrong)

    def look_again(self):
        """Raises InputError if another cell has asked a question that the person has not seen."""
        if self.session.round != self.shown:
            self.conversation.tiers = []
            raise InputError(self.say("Another question was asked meanwhile. Here it is."))

    # ---- actions that need a widget ---------------------------------------------------------

    def greet(self):
        """What can be done here, or what was done before."""
        if self.session.version:
            return self.conversation.going_on()
        return self.say("Rank the answers from best to worst, mark what sounds unnatural, or write "
                        "the right answer. Then let Rufus learn.")

    def take(self, method, text):
        """An action with what stands in a Text, which is empty then."""
        said = method(text.value)
        text.value = ""
        return said

    def learn(self):
        """Rufus learns, and the bar shows how far he is."""
        self.status.value = panel_html.status_html(self.conversation.start_learning(), False)
        self.set_busy(True)
        try:
            return self.conversation.learn(self.progress)
        finally:
            self.set_busy(False)

    def progress(self, iterations):
        """Wraps PPO's iterations: the bar follows."""
        self.bar.value, self.bar.max = 0, max(1, len(iterations))
        self.bar.layout.display = ""
        for done, iteration in enumerate(iterations, start=1):
            yield iteration
            self.bar.value = done

    def set_busy(self, busy):
        """While Rufus learns no button can be pressed; then the Tab key goes on from `next`."""
        for button in self.actions:
            button.disabled = busy
        if busy:
            self.bar.value, self.bar.layout.display = 0, ""
        else:
            self.next_button.focus()

    # ---- the session, as it is now ----------------------------------------------------------

    def show(self):
        """Write everything that depends on the session into the widgets."""
        session, talk, asked = self.session, self.conversation, self.session.round
        self.shown = asked
        self.question.value = panel_html.question_html(talk.asked(), asked.prompt) if asked else ""
        self.show_answers(asked.responses if asked else [])
        self.corrections.value = panel_html.corrections_html(self.say, votes_of(session.labels)[3])
        comparisons = talk.learned.comparisons if talk.learned else []
        self.table.value = panel_html.comparisons_html(self.say, comparisons)
        if session.history != self.drawn:
            self.drawn = session.history
            self.png = panel_html.history_png(self.say, self.drawn, session.simulated)
        self.history.value = panel_html.history_html(talk.history(session.history[-1:]), self.png)

    def show_answers(self, texts):
        """The answers of the open round, and on their buttons what was said about them."""
        say, k, tiers = self.say, len(texts), self.conversation.tiers
        while len(self.answers) < k:
            self.add_answer()
        ranks, natural, best, _ = votes_of(self.session.labels)
        if tiers:
            places = {i: place for place, tier in enumerate(tiers, start=1) for i in tier}
            ranks = [places.get(i, 0) for i in range(k)]
        for i, (text, buttons, _) in enumerate(self.answers[:k]):
            text.value = panel_html.answer_html(i + 1, texts[i])
            place = ranks[i] if ranks else 0
            mark(buttons[0], panel_html.place_name(say, place or len(tiers) + 1), place)
            mark(buttons[1], say("= tie"), False)
            mark(buttons[2], say("best"), best and best[i] == 1)
            mark(buttons[3], say("unnatural"), natural and not natural[i], "danger")
        rows = tuple(row for _, _, row in self.answers[:k])
        if rows != self.answer_box.children:  # drawing them again would take the focus away
            self.answer_box.children = rows


def mark(button, word, on, style="success"):
    """The word on a Button; pressed ones have a tick, not a colour alone."""
    button.description = f"✓ {word}" if on else word
    button.button_style = style if on else ""
