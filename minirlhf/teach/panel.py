"""The widgets of the notebook's panel: four answers with their buttons, two fields, table and plot.

What the buttons do is in teach_desk.py, what is shown is made by teach_view.py.  A callback is a
bound method, found in the table `actions`, so a debugger can stop in it and a test can press it.
Whatever goes wrong in one is written in the panel: Jupyter itself would show nothing.
"""

import asyncio

from minirlhf.errors import InputError
from minirlhf.teach.actions import Desk
from minirlhf.teach.agreement import self_consistency
from minirlhf.teach.panel_html import (
    answer_html,
    comparisons_html,
    corrections_html,
    history_html,
    history_png,
    place_name,
    question_html,
    status_html,
    title_html,
)
from minirlhf.teach.records import session_rankings, votes_of
from minirlhf.teach.typed import history_line

ENTER_SECONDS = 0.3  # how long an Enter waits for the text that was typed before it


class Panel:
    """The widgets of a session and what they do.  `box` is what is shown."""

    def __init__(self, session, ipywidgets):
        """ipywidgets: the module, which is imported only where a panel is shown."""
        self.session, self.lang, self.kit = session, session.lang, ipywidgets
        self.desk = Desk(session)
        self.actions = {}  # Button or Text -> (method, its arguments)
        self.entered = None  # a Text in which Enter was pressed, while what was typed is under way
        self.shown = session.round  # the Round that the person sees
        self.drawn, self.png = [], None  # the history of which the plot is, and its PNG
        self.make_widgets()
        self.do(self.desk.start)

    # ---- widgets ----------------------------------------------------------------------------

    def make_widgets(self):
        """All widgets, in the order in which the Tab key reaches them."""
        kit, desk, w = self.kit, self.desk, self.desk.words
        title = kit.HTML(title_html(
            self.lang, self.session.annotator, self.session.simulated, self.session.path
        ))
        self.question, self.answers = kit.HTML(), []  # answers: of (HTML, four Buttons, their box)
        self.answer_box = kit.VBox()
        self.all_natural = self.button(w("all natural", "都自然"), "110px", desk.natural)
        self.skip_button = self.button(w("skip", "跳过"), "90px", desk.skip)
        self.undo_button = self.button(w("undo", "撤销"), "90px", self.undo)
        self.correction, self.correct_button = self.field(
            w("Say it right:", "正确的回答："), w("keep", "保存"), self.correct)
        self.corrections = kit.HTML()
        self.own, self.own_button = self.field(
            w("Ask your own:", "自己提问："), w("ask", "提问"), self.ask)
        self.learn_button = self.button(w("Rufus, learn!", "Rufus，学吧！"), "150px", self.learn)
        self.learn_button.button_style = "primary"
        self.next_button = self.button(w("next question", "下一题"), "150px", desk.go_on)
        self.bar = kit.IntProgress(layout=kit.Layout(display="none", width="300px"))
        self.status, self.table, self.history = kit.HTML(), kit.HTML(), kit.HTML()
        self.status.add_class("rufus-said")
        self.box = kit.VBox([
            title, self.question, self.answer_box,
            self.in_line(self.all_natural, self.skip_button, self.undo_button),
            self.in_line(self.correction, self.correct_button, self.corrections),
            self.in_line(self.own, self.own_button),
            self.in_line(self.learn_button, self.next_button, self.bar),
            self.status, self.table, self.history,
        ])
        self.box.add_class("rufus")

    def in_line(self, *widgets):
        """-> widgets side by side, or below each other on a narrow page."""
        layout = self.kit.Layout(flex_flow="row wrap", align_items="center", width="100%")
        line = self.kit.HBox(widgets, layout=layout)
        line.add_class("rufus-line")
        return line

    def button(self, description, width, method, *arguments, tooltip=""):
        """-> a Button that calls method(*arguments)."""
        button = self.kit.Button(
            description=description, tooltip=tooltip or description,
            layout=self.kit.Layout(width=width),
        )
        self.actions[button] = (method, arguments)
        button.on_click(self.pressed)
        return button

    def field(self, description, word, method):
        """-> a Text and the Button beside it; Enter in the Text does what the Button does."""
        text = self.kit.Text(
            description=description, continuous_update=False, layout=self.kit.Layout(width="460px"),
            style={"description_width": "110px"},
        )
        text.on_msg(self.key_in_field)
        text.observe(self.field_changed, "value")
        self.actions[text] = (method, (text,))
        return text, self.button(word, "90px", method, text)

    def add_answer(self):
        """The widgets of one more answer."""
        i, n = len(self.answers), len(self.answers) + 1
        text = self.kit.HTML(layout=self.kit.Layout(flex="1 1 300px", min_width="200px"))
        desk, w = self.desk, self.desk.words
        buttons = [
            self.button("", "70px", desk.rank, i, tooltip=w(
                f"answer {n} takes this place", f"第 {n} 句得到这个名次")),
            self.button("", "80px", desk.tie, i, tooltip=w(
                f"answer {n} is as good as the one ranked before", f"第 {n} 句与刚才那句一样好")),
            self.button("", "80px", desk.best, i, tooltip=w(
                f"answer {n} is the best", f"第 {n} 句最好")),
            self.button("", "115px", desk.unnatural, i, tooltip=w(
                f"answer {n} sounds unnatural", f"第 {n} 句不自然")),
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
            finally:
                self.bar.layout.display = "none"
                self.show()
            wrong = False
        except InputError as error:
            said = str(error)
        except KeyboardInterrupt:
            said = self.desk.words("Interrupted. Every label is kept; press a button to go on.",
                                   "已中断。所有标注都已保存；按按钮继续。")
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        self.status.value = status_html(said, wrong)

    def look_again(self):
        """Raises InputError if another cell has asked a question that the person has not seen."""
        if self.session.round != self.shown:
            self.desk.tiers = []
            raise InputError(self.desk.words("Another question was asked meanwhile. Here it is.",
                                             "别处问了另一个问题，就是这个。"))

    # ---- actions that need a widget ---------------------------------------------------------

    def correct(self, text):
        """Keep what stands in the field."""
        said = self.desk.correct(text.value)
        text.value = ""
        return said

    def ask(self, text):
        """Ask what stands in the field."""
        said = self.desk.ask(text.value)
        text.value = ""
        return said

    def undo(self):
        """Take the last press or label back."""
        return self.desk.undo(self.progress)

    def learn(self):
        """Rufus learns, and the bar shows how far he is."""
        learning = self.desk.words("Rufus is learning ...", "Rufus 正在学习……")
        self.status.value = status_html(learning, False)
        self.set_busy(True)
        try:
            return self.desk.learn(self.progress)
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
        session, asked = self.session, self.session.round
        self.shown = asked
        count = sum(number <= asked.number for number in session.rounds) if asked else 0
        self.question.value = question_html(self.lang, count, asked) if asked else ""
        self.show_answers(asked)
        self.corrections.value = corrections_html(self.lang, votes_of(session.labels)[3])
        comparisons = self.desk.learned.comparisons if self.desk.learned else []
        self.table.value = comparisons_html(self.lang, comparisons)
        self.show_history()

    def show_answers(self, asked):
        """The answers of a Round (None: none), and on their buttons what was said about them."""
        texts, w = asked.responses if asked else [], self.desk.words
        k = len(texts)
        while len(self.answers) < k:
            self.add_answer()
        ranks, natural, best, _ = votes_of(self.session.labels)
        if self.desk.tiers:
            ranks = [0] * k
            for place, tier in enumerate(self.desk.tiers, start=1):
                for i in tier:
                    ranks[i] = place
        for i, (text, buttons, _) in enumerate(self.answers[:k]):
            text.value = answer_html(i + 1, texts[i])
            place = ranks[i] if ranks else 0
            free = place_name(self.lang, len(self.desk.tiers) + 1)
            mark(buttons[0], place_name(self.lang, place) if place else free, place)
            mark(buttons[1], w("= tie", "= 并列"), False)
            mark(buttons[2], w("best", "最好"), best and best[i] == 1)
            mark(buttons[3], w("unnatural", "不自然"), natural and not natural[i], "danger")
        rows = tuple(row for _, _, row in self.answers[:k])
        if rows != self.answer_box.children:  # drawing them again would take the focus away
            self.answer_box.children = rows

    def show_history(self):
        """The plot, the last learning in words, and whether the person agrees with himself."""
        rows, simulated = self.session.history, self.session.simulated
        lines = [history_line(self.lang, simulated, row) for row in rows[-1:]]
        share, pairs = self_consistency(session_rankings(self.session.rows))
        if pairs:
            who = "The SIMULATED annotator" if simulated else "You"
            who_zh = "模拟标注者" if simulated else "你"
            lines.append(self.desk.words(
                f"{who} judged {pairs} pairs twice, and {100 * share:.0f} % of them alike.",
                f"{who_zh}有 {pairs} 对判断过两次，其中 {100 * share:.0f} % 前后一致。"))
        if rows != self.drawn:
            self.drawn, self.png = rows, history_png(rows, self.lang, simulated)
        self.history.value = history_html(lines, self.png, lines[0] if lines else "")


def mark(button, word, on, style="success"):
    """The word on a Button; pressed ones have a tick, not a colour alone."""
    button.description = f"✓ {word}" if on else word
    button.button_style = style if on else ""
