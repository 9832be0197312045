"""The notebook's panel: every button pressed, in pytest.  tests/browser has the real pages.

`Button.click()` runs the same callbacks as a press in Jupyter.  No front end is here, so nothing is
drawn; what stands in the widgets is what a front end would draw.
"""

import asyncio
import html
import io
import os
import pty
import re
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from minirlhf.errors import InputError
from minirlhf.messages import load_messages
from minirlhf.teach import panel as panels
from minirlhf.teach.actions import ranks_of
from minirlhf.teach.learning import TeachSettings
from minirlhf.teach.panel import ENTER_SECONDS, Panel, tell
from minirlhf.teach.panel_html import answer_html, comparisons_html, history_png, safe, title_html
from minirlhf.teach.records import session_corrections, session_rankings, votes_of
from minirlhf.teach.rounds import Comparison
from minirlhf.teach.session import open_session

ipywidgets = pytest.importorskip("ipywidgets", reason="comes with jupyter")
TINY = TeachSettings(
    iterations=2, rollout_size=12, ppo_epochs=1, minibatch_size=6, sft_steps=2, reward_steps=4,
    repeat_every=0,
)
FLOAT64 = TeachSettings(**asdict(TINY) | {"dtype": "float64"})
ENGLISH, CHINESE = load_messages("en"), load_messages("zh")
EVIL = "<img src=x onerror=alert(1)>&\"'\x1b[2J"


@pytest.fixture
def panel(tmp_path):
    return new_panel(tmp_path / "s.jsonl")


def new_panel(path, lang="en", **more):
    """A panel whose open question has four answers."""
    session = open_session(path, lang, "Ann", settings=TINY, **more)
    while session.round is None or len(session.round.responses) < 4:
        session.ask()
    return Panel(session, ipywidgets)


def press(panel, word, i=0):
    """Press a button of answer i."""
    place = {"rank": 0, "tie": 1, "best": 2, "unnatural": 3}[word]
    panel.answers[i][1][place].click()


def enter(text, value=None):
    """What a front end sends when Enter is pressed: the key first, then the text, if it is new."""
    if value is not None:
        text.set_trait("value", value)
    text._handle_custom_msg({"event": "submit"}, [])


def words(panel, i):
    """What stands on the buttons of answer i."""
    return [button.description for button in panel.answers[i][1]]


def said(panel):
    return html.unescape(re.sub("<[^>]+>", "", panel.status.value))


def failed(panel):
    return 'role="alert"' in panel.status.value


def kinds(panel):
    return [row["kind"] for row in panel.session.labels]


# ---- ranking --------------------------------------------------------------------------------


def test_four_answers_are_ranked_by_pressing_them_from_best_to_worst(panel):
    assert [words(panel, i)[0] for i in range(4)] == ["1st"] * 4
    for count, i in enumerate((2, 0, 3), start=1):
        press(panel, "rank", i)
        assert words(panel, 1)[0] == ["2nd", "3rd", "4th"][count - 1]
        assert kinds(panel) == []
    assert [words(panel, i)[0] for i in range(4)] == ["✓ 2nd", "4th", "✓ 1st", "✓ 3rd"]
    press(panel, "rank", 1)
    assert said(panel) == "Kept: 3 > 1 > 4 > 2"
    assert panel.session.labels[0]["ranks"] == [2, 4, 1, 3]
    assert [words(panel, i)[0] for i in range(4)] == ["✓ 2nd", "✓ 4th", "✓ 1st", "✓ 3rd"]
    on_disk = open_session(panel.session.path)
    assert session_rankings(on_disk.rows)[0].ranks == [2, 4, 1, 3]


def test_ties_share_a_place(panel):
    for word, i in (("rank", 1), ("tie", 3), ("rank", 0), ("tie", 2)):
        press(panel, word, i)
    assert panel.session.labels[0]["ranks"] == [2, 1, 2, 1]
    assert said(panel) == "Kept: 2 = 4 > 1 = 3"


def test_a_tie_moves_an_answer_that_had_a_place(panel):
    press(panel, "rank", 0)
    press(panel, "rank", 1)
    press(panel, "tie", 0)
    assert panel.conversation.tiers == [[1, 0]]
    press(panel, "tie", 0)
    assert panel.conversation.tiers == [[1, 0]] and said(panel) == "So far: 2 = 1."


def test_a_tie_with_nothing_is_a_plain_sentence(panel):
    press(panel, "tie", 2)
    assert failed(panel) and said(panel).startswith("Rank another answer first")
    assert panel.conversation.tiers == [] and kinds(panel) == []


def test_pressing_a_place_again_gives_it_back(panel):
    for i in (0, 1, 2):
        press(panel, "rank", i)
    press(panel, "rank", 1)
    assert panel.conversation.tiers == [[0], [2]]
    assert [words(panel, i)[0] for i in range(4)] == ["✓ 1st", "3rd", "✓ 2nd", "3rd"]


def test_a_ranking_half_done_is_kept_when_the_question_is_left(panel):
    press(panel, "rank", 3)
    press(panel, "rank", 0)
    number = panel.session.round.number
    panel.next_button.click()
    assert panel.session.round.number != number
    assert panel.session.rows[-2]["ranks"] == [2, 3, 3, 1]


def test_one_answer_ranked_alone_is_the_best(panel):
    press(panel, "rank", 3)
    panel.learn_button.click()
    assert kinds(panel) == ["best"] and panel.session.labels[0]["ranks"] == [2, 2, 2, 1]


def test_the_ranking_can_be_done_again(panel):
    for i in (0, 1, 2, 3, 3, 2, 1, 0):
        press(panel, "rank", i)
    assert kinds(panel) == ["rank", "rank"]
    assert votes_of(panel.session.labels)[0] == [4, 3, 2, 1]


def test_ranks_of_partial_tiers():
    assert ranks_of([[2], [0, 1]], 4) == [2, 2, 1, 3]
    assert ranks_of([[0, 1, 2, 3]], 4) == [1, 1, 1, 1]
    assert ranks_of([[1]], 2) == [2, 1]


# ---- the other labels -----------------------------------------------------------------------


def test_best(panel):
    press(panel, "best", 1)
    assert panel.session.labels[0]["ranks"] == [2, 1, 2, 2]
    assert [words(panel, i)[2] for i in range(4)] == ["best", "✓ best", "best", "best"]


def test_unnatural_is_pressed_on_and_off(panel):
    press(panel, "unnatural", 0)
    press(panel, "unnatural", 2)
    assert panel.session.labels[-1]["natural"] == [False, True, False, True]
    assert words(panel, 2)[3] == "✓ unnatural" and said(panel) == "Kept: unnatural: 1, 3."
    press(panel, "unnatural", 0)
    assert panel.session.labels[-1]["natural"] == [True, True, False, True]
    panel.all_natural.click()
    assert panel.session.labels[-1]["natural"] == [True] * 4
    assert words(panel, 2)[3] == "unnatural" and said(panel) == "Kept: unnatural: none."


def test_a_correction_by_the_button(panel):
    panel.correction.value = "I am a robot."
    assert kinds(panel) == []
    panel.correct_button.click()
    assert [text for _, text in session_corrections(panel.session.rows)] == ["I am a robot."]
    assert panel.correction.value == "" and "I am a robot." in panel.corrections.value


def test_a_correction_by_enter(panel):
    enter(panel.correction, "I am a robot.")
    assert [text for _, text in session_corrections(panel.session.rows)] == ["I am a robot."]
    assert panel.correction.value == "" and panel.entered is None


@pytest.mark.parametrize("blurred", ["", "I am", "I am a robot."])
def test_enter_waits_for_the_text_which_a_browser_sends_after_it(panel, blurred):
    """blurred: what stood in the field when it was last left, and has been sent."""
    panel.correction.value = blurred
    asyncio.run(press_enter(panel, "I am a robot."))
    assert [text for _, text in session_corrections(panel.session.rows)] == ["I am a robot."]
    assert panel.correction.value == "" and not failed(panel)


async def press_enter(panel, text):
    """As a browser sends it while a kernel runs: the key, then the text if it is new."""
    panel.correction._handle_custom_msg({"event": "submit"}, [])
    assert kinds(panel) == []
    panel.correction.value = text
    await asyncio.sleep(2 * ENTER_SECONDS)


def test_leaving_a_field_keeps_nothing(panel):
    rows = len(panel.session.rows)
    panel.correction.value = "I am"
    panel.own.value = "Who"
    assert len(panel.session.rows) == rows


@pytest.mark.parametrize("typed, sentence", [
    ("", "the correction is empty"),
    ("I am ☃.", "Rufus does not know '☃'"),
    ("a" * 200, "characters are too many"),
])
def test_a_wrong_correction_is_a_plain_sentence_and_stays_in_the_field(panel, typed, sentence):
    size = panel.session.path.stat().st_size
    enter(panel.correction, typed)
    assert failed(panel) and sentence in said(panel)
    assert "Error" not in said(panel) and "Traceback" not in said(panel)
    assert panel.correction.value == typed and panel.session.path.stat().st_size == size


def test_own_question(panel):
    press(panel, "rank", 1)
    enter(panel.own, "Who is Mia?")
    assert panel.session.round.prompt == "Who is Mia?" and "Who is Mia?" in panel.question.value
    assert panel.own.value == "" and panel.conversation.tiers == []
    assert panel.session.rows[-2]["ranks"] == [2, 1, 2, 2]  # what was pressed before is kept
    panel.own.value = "☃?"
    panel.own_button.click()
    assert failed(panel) and panel.session.round.prompt == "Who is Mia?"
    assert panel.own.value == "☃?"


def test_skip(panel):
    number = panel.session.round.number
    press(panel, "rank", 1)
    panel.skip_button.click()
    assert panel.session.rows[-2]["kind"] == "skip" and panel.session.round.number > number
    assert panel.conversation.tiers == [] and said(panel) == "Skipped."


def test_next_question_wants_a_judgement_first(panel):
    number = panel.session.round.number
    panel.next_button.click()
    assert failed(panel) and panel.session.round.number == number
    panel.all_natural.click()
    panel.next_button.click()
    assert not failed(panel) and panel.session.round.number > number


# ---- undo -----------------------------------------------------------------------------------


def test_undo_takes_presses_back_one_by_one_and_then_labels(panel):
    press(panel, "best", 2)
    for word, i in (("rank", 1), ("tie", 3), ("rank", 0)):
        press(panel, word, i)
    for tiers in ([[1, 3]], [[1]], []):
        panel.undo_button.click()
        assert panel.conversation.tiers == tiers and kinds(panel) == ["best"]
    panel.undo_button.click()
    assert kinds(panel) == [] and words(panel, 2)[2] == "best"
    panel.undo_button.click()
    assert said(panel) == "There is no label to take back."


def test_undo_of_a_skip_brings_its_question_back(panel):
    asked = panel.session.round
    panel.skip_button.click()
    panel.undo_button.click()
    assert panel.session.round == asked and safe(asked.prompt) in panel.question.value


def test_undo_of_something_learned_brings_the_old_rufus_back(panel):
    press(panel, "best", 2)
    panel.learn_button.click()
    assert panel.session.version == 1 and "rufus-table" in panel.table.value
    panel.undo_button.click()
    assert panel.session.version == 0 and "version 0" in said(panel)
    assert "rufus-table" not in panel.table.value and "<img" not in panel.history.value


# ---- learning -------------------------------------------------------------------------------


def judge(panel):
    press(panel, "unnatural", 0)
    for i in (1, 0, 2, 3)[: len(panel.session.round.responses)]:
        press(panel, "rank", i)


def test_learning_updates_table_and_plot(panel):
    assert "appears here" in panel.table.value and "<img" not in panel.history.value
    judge(panel)
    panel.learn_button.click()
    assert not failed(panel), said(panel)
    assert re.fullmatch(r"Rufus has learned, in \d+\.\d s\. He is now version 1\.", said(panel))
    same, other = panel.conversation.learned.comparisons
    assert same.prompt == panel.session.round.prompt and not other.taught
    for comparison in (same, other):
        for text in (comparison.prompt, *comparison.before, *comparison.after):
            assert safe(text) in panel.table.value
    first, picture = panel.history.value, panel.png
    assert '<img alt="Version 0: natural by your votes: 3 of 4;' in first
    assert "data:image/png;base64," in first
    panel.next_button.click()
    assert panel.history.value == first and "rufus-table" in panel.table.value
    table = panel.table.value
    judge(panel)
    panel.learn_button.click()
    assert panel.session.version == 2 == len(panel.session.history)
    assert panel.png != picture and panel.table.value != table
    assert '<img alt="Version 1:' in panel.history.value


def test_the_bar_moves_while_he_learns_and_no_button_can_be_pressed(panel):
    judge(panel)
    seen = []
    panel.bar.observe(seen.append, "value")
    disabled = []
    panel.learn_button.observe(disabled.append, "disabled")
    panel.learn_button.click()
    assert [change["new"] for change in seen] == [1, 2] and panel.bar.max == 2
    assert [change["new"] for change in disabled] == [True, False]
    assert panel.bar.layout.display == "none"
    assert not any(widget.disabled for widget in panel.actions)


def test_nothing_new_is_a_plain_sentence(panel):
    panel.learn_button.click()
    assert failed(panel) and said(panel).startswith("Nothing new has been said")
    assert not any(widget.disabled for widget in panel.actions)


def test_going_on_with_a_session(panel):
    judge(panel)
    panel.learn_button.click()
    other = Panel(open_session(panel.session.path), ipywidgets)
    assert said(other) == "Going on after 1 rounds, with version 1 of Rufus."
    assert "<img" in other.history.value


# ---- errors ---------------------------------------------------------------------------------


def test_any_exception_is_named_in_the_panel_and_never_raised(panel, monkeypatch):
    for error, sentence in ((ZeroDivisionError("<b>"), "ZeroDivisionError: <b>"),
                            (KeyboardInterrupt(), "Interrupted. Every label is kept"),
                            (InputError("no <i>"), "no <i>")):
        monkeypatch.setattr(panel.session, "learn", Raises(error))
        press(panel, "best", 1)
        panel.learn_button.click()
        assert failed(panel) and said(panel).startswith(sentence)
        assert "<b>" not in panel.status.value and "<i>" not in panel.status.value
        assert not any(widget.disabled for widget in panel.actions)
        assert panel.bar.layout.display == "none"


class Raises:
    def __init__(self, error):
        self.error = error

    def __call__(self, *_):
        raise self.error


def test_a_file_that_another_program_has_changed(panel):
    with open(panel.session.path, "a", encoding="utf-8") as file:
        file.write("\n")
    press(panel, "best", 1)
    assert failed(panel) and "changed by another program" in said(panel)


def test_a_question_asked_in_another_cell_is_shown_before_it_is_judged(panel):
    press(panel, "rank", 0)
    asked = panel.session.ask("Who is Mia?")
    press(panel, "best", 0)
    assert failed(panel) and "Here it is" in said(panel) and kinds(panel) == []
    assert panel.conversation.tiers == [] and safe(asked.prompt) in panel.question.value
    press(panel, "best", 0)
    assert kinds(panel) == ["best"]


def test_rufus_without_an_answer_leaves_a_panel_that_says_so(tmp_path, monkeypatch):
    session = open_session(tmp_path / "s.jsonl", "zh", settings=TINY)
    monkeypatch.setattr(session, "ask", Raises(InputError("Rufus found no answer")))
    panel = Panel(session, ipywidgets)
    assert failed(panel) and said(panel) == "Rufus found no answer"
    assert panel.answer_box.children == ()
    monkeypatch.undo()
    panel.next_button.click()
    assert not failed(panel) and panel.answer_box.children


# ---- what is shown --------------------------------------------------------------------------


def test_texts_of_model_person_and_file_are_escaped(tmp_path):
    shown = [
        answer_html(1, EVIL),
        title_html(EVIL, EVIL, False),
        title_html(EVIL, EVIL, True),
        comparisons_html(ENGLISH, [Comparison(EVIL, True, [EVIL], [EVIL + "!"])]),
    ]
    for text in shown:
        assert "<img" not in text and "onerror" in text and "&lt;img" in text and "\x1b" not in text


def test_an_evil_session_is_shown_escaped(panel, monkeypatch):
    asked = panel.session.round
    evil = asked._replace(prompt=EVIL, responses=[EVIL, EVIL + "2", "c", "d"])
    panel.session.round = panel.session.rounds[asked.number] = panel.shown = evil
    panel.all_natural.click()
    values = [panel.question.value, panel.status.value, panel.answers[0][0].value]
    assert "&lt;img" in values[0] and "&lt;img" in values[2]
    assert not any("<img" in value or "\x1b" in value for value in values)
    panel.own.value = EVIL
    panel.own_button.click()  # the sentence of the error repeats some of it
    assert failed(panel) and "<img" not in panel.status.value


def every_word(panel):
    found = [panel.box.children[0].value, panel.status.value, panel.table.value]
    found += [w.description + (w.tooltip or "") for w in panel.actions]
    return re.sub("<style>.*</style>|<[^>]+>", "", " ".join(found), flags=re.S)


def test_the_panel_speaks_the_sessions_language(tmp_path):
    english = every_word(new_panel(tmp_path / "en.jsonl", "en"))
    assert not re.search("[\u4e00-\u9fff]", english)
    panel = new_panel(tmp_path / "zh.jsonl", "zh")
    judge(panel)
    panel.learn_button.click()
    assert words(panel, 0) == ["✓ 第 2", "= 并列", "最好", "✓ 不自然"]
    chinese = every_word(panel).replace(str(panel.session.path), "")
    assert set(re.findall("[A-Za-z]+", chinese)) <= {"Ann", "Rufus"}
    assert said(panel).startswith("Rufus 学完了")


def test_simulated_sessions_are_labelled(tmp_path):
    panel = new_panel(tmp_path / "s.jsonl", simulated=True)
    assert "SIMULATED annotator Ann teaches Rufus" in panel.box.children[0].value
    judge(panel)
    panel.learn_button.click()
    assert "by its votes" in panel.history.value and "your" not in panel.history.value


def test_everything_can_be_reached_by_keyboard(panel):
    """All controls are Buttons and Texts, which a browser puts into the order of the Tab key."""
    found, todo = [], [panel.box]
    while todo:
        widget = todo.pop(0)
        todo = list(getattr(widget, "children", ())) + todo
        if isinstance(widget, (ipywidgets.Button, ipywidgets.Text)):
            found.append(widget)
            assert widget.description and widget.tabbable is not False
        else:
            assert isinstance(widget, (ipywidgets.Box, ipywidgets.HTML, ipywidgets.IntProgress))
    assert len(found) == 4 * 4 + 9 and set(found) == set(panel.actions)


def row(rounds, natural, agreement, **more):
    start = {"version": rounds, "judged": rounds - 1, "record": rounds, "rounds": rounds}
    votes = {"natural": natural, "votes": 4, "agreement": agreement, "pairs": 6}
    return start | votes | more


def test_the_plot_leaves_out_what_was_not_said():
    nothing = row(1, None, None, votes=0, pairs=0)
    assert history_png(ENGLISH, [nothing], False) is None
    one = history_png(ENGLISH, [nothing, row(2, 0.5, None)], False)
    two = history_png(ENGLISH, [nothing, row(2, 0.5, 0.75)], False)
    simulated = history_png(ENGLISH, [nothing, row(2, 0.5, 0.75)], True)
    assert one[:4] == two[:4] == b"\x89PNG" and len({one, two, simulated}) == 3
    many = [row(n, n % 5 / 4, n % 7 / 6) for n in range(1, 61)]
    assert history_png(CHINESE, many, False)[:4] == b"\x89PNG"


# ---- without widgets ------------------------------------------------------------------------


def test_a_script_gets_one_line_and_the_session_is_left_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("2\n"))
    session = open_session(tmp_path / "s.jsonl", "zh", settings=TINY)
    assert panels.teach_panel(session) is None
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1 and "tell(session" in shown and "teach --session" in shown
    assert len(session.rows) == 1


@pytest.mark.parametrize("why", ["MINIRLHF_STATIC", "nobody to ask"])
def test_a_kernel_in_which_nobody_can_type(tmp_path, capsys, monkeypatch, why):
    session = open_session(tmp_path / "s.jsonl", "en", settings=TINY)
    monkeypatch.setattr(panels, "in_kernel", Always(True))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr("builtins.input", Raises(NotImplementedError("stdin")))
    if why == "MINIRLHF_STATIC":
        monkeypatch.setenv("MINIRLHF_STATIC", "1")
    panels.teach_panel(session)
    assert "In Jupyter a panel appears here." in capsys.readouterr().out


class Always:
    def __init__(self, value):
        self.value = value

    def __call__(self, *_):
        return self.value


def test_a_kernel_without_ipywidgets_reads_typed_lines(tmp_path, capsys, monkeypatch):
    session = open_session(tmp_path / "s.jsonl", "en", settings=TINY)
    lines = ["2 > 1", "nonsense", "x"]
    monkeypatch.setattr(panels, "in_kernel", Always(True))
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    monkeypatch.setattr("builtins.input", lambda _: lines.pop(0))
    panels.teach_panel(session)
    shown = capsys.readouterr().out
    assert kinds_of(session) == ["rank"] and "That is not understood" in shown and not lines


def kinds_of(session):
    return [row["kind"] for row in session.labels]


def test_with_widgets_the_panel_is_displayed(tmp_path, monkeypatch):
    session = open_session(tmp_path / "s.jsonl", "en", settings=TINY)
    import IPython.display
    shown = []
    monkeypatch.delenv("MINIRLHF_STATIC", raising=False)
    monkeypatch.setattr(panels, "in_kernel", Always(True))
    monkeypatch.setattr(IPython.display, "display", shown.append)
    assert panels.teach_panel(session) is None
    assert isinstance(shown[0], ipywidgets.VBox) and session.round is not None


def test_a_terminal_reads_typed_lines(tmp_path):
    code = (
        "from minirlhf.teach.session import open_session; "
        "from minirlhf.teach.panel import teach_panel; "
        f"s = open_session({str(tmp_path / 's.jsonl')!r}, 'zh'); teach_panel(s); print(len(s.rows))"
    )
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=subprocess.PIPE,
                               encoding="utf-8")
    os.write(ours, b"ok\nx\n")
    assert process.communicate(timeout=1200)[0].endswith("3\n")  # session, round, label
    os.close(ours)
    os.close(theirs)


def test_typed_lines_one_at_a_time(tmp_path, capsys):
    session = open_session(tmp_path / "s.jsonl", "en", settings=TINY)
    tell(session, "2 > 1")
    assert "Kept: 2 > 1" in capsys.readouterr().out
    tell(session, "= I am a robot.")
    tell(session, "9 > 1")
    assert "9 is no answer" in capsys.readouterr().out
    assert kinds_of(session) == ["rank", "correction"]
    first = session.round
    tell(session, "")
    shown = capsys.readouterr().out
    assert session.version == 1 and "before:" in shown and session.round != first
    assert f"Rufus is asked: {session.round.prompt}" in shown
    tell(session, "x")
    tell(session, "s")
    tell(session, "z")
    assert session.rows[-1]["kind"] == "undo"


def test_the_panel_teaches_as_the_session_does(tmp_path):
    """The same labels by buttons and by calls give the same Rufus, bit for bit."""
    policies = []
    for by_buttons in (True, False):
        session = open_session(tmp_path / f"{by_buttons}.jsonl", "zh", "Ann", settings=FLOAT64)
        if by_buttons:
            panel = Panel(session, ipywidgets)
            for i in range(len(session.round.responses)):
                press(panel, "rank", i)
            panel.learn_button.click()
        else:
            session.ask()
            session.label("rank", [i + 1 for i in range(len(session.round.responses))])
            session.learn()
        policies.append(session.rufus.params.flat.copy())
    assert np.array_equal(*policies)
