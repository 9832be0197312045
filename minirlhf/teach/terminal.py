"""`python -m minirlhf teach`: teach Rufus on the terminal, in plain lines.

Works over ssh and with a screen reader: no colours, no cursor, no bars; every line says what it is.
What a person types is read by teach_lines.py; a wrong line gets one plain sentence and the question
again.  Texts of the model, the person or an old file are shown without control characters.
With --simulate a SIMULATED annotator types instead, and every such line is marked.
"""

import re
import time
from pathlib import Path

from minirlhf.errors import InputError
from minirlhf.plots import text_cells
from minirlhf.teach.agreement import export_session, self_consistency
from minirlhf.teach.records import read_session, session_rankings
from minirlhf.teach.replay import checksum, replay
from minirlhf.teach.session import open_session
from minirlhf.teach.simulated import check_name, judge, make_person
from minirlhf.teach.typed import (
    HELP,
    HELP_ZH,
    as_typed,
    history_line,
    kept_line,
    plain,
    read_line,
    say,
)

SIMULATED_ROUNDS = 10  # where --rounds does not say
COLUMN = 30  # width of "before", in Latin characters


# ---- what is shown --------------------------------------------------------------------------


class Teller:
    """Prints a session, line by line."""

    def __init__(self, session):
        self.session = session
        self.lang = session.lang

    def say(self, english, chinese):
        """Print one of the two texts."""
        print(say(self.lang, english, chinese), flush=True)

    def welcome(self):
        """Who teaches, where it is kept, and what can be typed."""
        session, name = self.session, plain(self.session.annotator)
        if session.simulated:
            self.say(f"SIMULATED annotator {name} teaches Rufus. No person types here.",
                     f"由模拟标注者 {name} 教 Rufus，没有真人参与。")
        else:
            self.say(f"{name} teaches Rufus. Judge what he says; he learns from it.",
                     f"{name} 来教 Rufus。请评价他说的话，他会从中学习。")
        self.say(f"Every label is kept at once in {session.path}.",
                 f"每个标注立即保存在 {session.path}。")
        if len(session.rows) > 1:
            self.say(f"Going on after {len(session.rounds)} rounds, with version "
                     f"{session.version} of Rufus.",
                     f"接着上次：已有 {len(session.rounds)} 轮，Rufus 是第 {session.version} 版。")
        print(say(self.lang, HELP, HELP_ZH) if not session.simulated else "", flush=True)

    def round(self, asked):
        """A question and its answers; who said them is not told."""
        count = sum(number <= asked.number for number in self.session.rounds)
        self.say(f"\nRound {count}. Rufus is asked: {plain(asked.prompt)}",
                 f"\n第 {count} 轮。问 Rufus：{plain(asked.prompt)}")
        for i, response in enumerate(asked.responses, start=1):
            print(f"  {i}  {plain(response)}", flush=True)

    def kept(self, kind, value):
        """What was understood and is now on the disk."""
        print(kept_line(self.lang, kind, value), flush=True)

    def learned(self, learned, seconds):
        """Before and after side by side, also where it got worse."""
        self.say(f"Rufus has learned, in {seconds:.1f} s. He is now version {learned.version}.",
                 f"Rufus 学完了，用时 {seconds:.1f} 秒，现在是第 {learned.version} 版。")
        for comparison in learned.comparisons:
            if comparison.taught:
                self.say(f"The same question: {plain(comparison.prompt)}",
                         f"同一个问题：{plain(comparison.prompt)}")
            else:
                self.say(f"A question he was never taught: {plain(comparison.prompt)}",
                         f"从没教过的问题：{plain(comparison.prompt)}")
            for before, after in zip(comparison.before, comparison.after):
                gap = " " * max(2, COLUMN - text_cells(plain(before)))
                self.say(f"  before: {plain(before)}{gap}after: {plain(after)}",
                         f"  之前：{plain(before)}{gap}之后：{plain(after)}")
        self.history_line(learned.figures)

    def history_line(self, row):
        """One learning: the person's own votes, and the reward model's agreement with them."""
        print(history_line(self.lang, self.session.simulated, row), flush=True)

    def history(self):
        """All learnings, and whether the person agrees with himself."""
        if not self.session.history:
            self.say("Rufus has not learned anything yet.", "Rufus 还没有学过。")
        for row in self.session.history:
            self.history_line(row)
        share, pairs = self_consistency(session_rankings(self.session.rows))
        if pairs:
            self.say(f"You judged {pairs} pairs twice, and {100 * share:.0f} % of them alike.",
                     f"你有 {pairs} 对判断过两次，其中 {100 * share:.0f} % 前后一致。")


# ---- the loop -------------------------------------------------------------------------------


class Keyboard:
    """Reads a person's lines."""

    def __init__(self, lang):
        self.lang = lang

    def line(self, asked):
        """-> the next line; "x" where there is none any more (Ctrl-D, the end of a pipe)."""
        try:
            return input(say(self.lang, "Your judgement: ", "你的评价："))
        except EOFError:
            print()
            return "x"


class SimulatedHands:
    """Types the lines of a SIMULATED annotator, and an empty one at the end of each round."""

    def __init__(self, person, done):
        self.person = person
        self.lines = []
        self.done = done  # labels of the open round that a crash has left
        self.at = None

    def line(self, asked):
        """-> the next line about a Round."""
        if not self.lines and self.at != asked.number:
            k = len(asked.responses)
            self.lines = [as_typed(kind, value, k) for kind, value in judge(self.person, asked)]
            if self.lines != ["s"]:
                self.lines.append("")
            self.lines, self.done = self.lines[self.done :], 0
        self.at = asked.number
        line = self.lines.pop(0)
        print(f"[SIMULATED {self.person.name}] {line or '(Enter)'}", flush=True)
        return line


def teach(session, hands, rounds=None):
    """Ask, read lines, learn, until the person ends it or `rounds` rounds are done."""
    teller = Teller(session)
    teller.welcome()
    done, shown = 0, None
    while rounds is None or done < rounds:
        if session.round is None:
            session.ask()
        if session.round != shown:
            teller.round(session.round)
            shown = session.round
        try:
            action, value = read_line(hands.line(shown), len(shown.responses), session.lang)
            if action == "end":
                break
            done += act(session, teller, action, value)
        except InputError as error:
            print(plain(str(error)), flush=True)
    if session.version:
        path = session.save_rufus()
        teller.say(f"Talk to him: python -m minirlhf chat {path}",
                   f"和他聊聊：python -m minirlhf chat {path}")
    teller.say("Everything is kept. Start again to go on.", "一切都已保存。再次运行即可继续。")


def act(session, teller, action, value):
    """Do what was typed -> 1 if that ended a round, else 0."""
    if action == "help":
        print(say(session.lang, HELP, HELP_ZH), flush=True)
    elif action == "history":
        teller.history()
    elif action == "undo":
        undo(session, teller)
    elif action == "question":
        session.ask(value)
    elif action in ("learn", "done"):
        if session.news:
            teller.say("Rufus is learning ...", "Rufus 正在学习……")
            started = time.perf_counter()
            learned = session.learn()
            teller.learned(learned, time.perf_counter() - started)
        elif action == "learn" or not session.labels:
            teller.say("Nothing new has been said. Judge an answer, or type s to skip.",
                       "还没有新的标注。请评价，或输入 s 跳过。")
            return 0
        if action == "done":
            session.round = None
            return 1
    else:
        session.label(action, value)
        teller.kept(action, value)
        if action == "skip":
            session.round = None
            return 1
    return 0


def undo(session, teller):
    """Take back the last label.  Its round is open again."""
    before = session.states[-1]
    asked = session.undo()
    if asked is None:
        teller.say("There is no label to take back.", "没有可以撤销的标注。")
        return
    teller.say("The last label is taken back.", "上一个标注已撤销。")
    if session.states[-1].key != before.key:
        teller.say(f"Rufus had learned from it. He is version {session.version}, without it.",
                   f"Rufus 学过它；现在是没有它的第 {session.version} 版。")


# ---- the verb -------------------------------------------------------------------------------


def run_teach(args):
    """The verb: teach, replay or export a session."""
    name = args.simulate or args.annotator
    path = args.session
    if path is None:
        whose = ("simulated-" if args.simulate else "") + re.sub(r"\W+", "-", name or "me")
        path = Path(f"runs/teach/{whose}-{Path(args.lang or 'en').stem}.jsonl")
    if args.replay:
        return tell_replay(path)
    if args.export:
        for written in export_session(read_session(path), args.export):
            print(f"wrote {written}")
        return None
    if args.simulate:
        check_name(args.simulate)  # before a file is made
    session = open_session(path, args.lang, name, args.seed, bool(args.simulate))
    rounds, hands = args.rounds, Keyboard(session.lang)
    if args.simulate:
        person = make_person(args.simulate, session.lang, session.setup.seed)
        hands = SimulatedHands(person, len(session.labels))
        rounds = rounds or SIMULATED_ROUNDS
    return teach(session, hands, rounds)


def tell_replay(path):
    """Compute every version from the records alone, and print a checksum of each policy."""
    setup, states = replay(path)
    for state in states:
        print(f"version {state.version}: checksum of the policy {checksum(state.policy):08x}")
    print(f"computed from {path} alone, seed {setup.seed}, {setup.settings.dtype}")
