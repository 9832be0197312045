"""`python -m minirlhf teach`: teach Rufus on the terminal, in plain lines.

Works over ssh and with a screen reader: no colours, no cursor, no bars; every line says what it is.
What a person types is read by typed.py and done by actions.py; a wrong line gets one plain sentence
and the question again.  Texts of the model, the person or an old file are shown without control
characters.  With --simulate a SIMULATED annotator types instead, and every such line is marked.
"""

import re
from pathlib import Path

from minirlhf.errors import InputError
from minirlhf.plots import text_cells
from minirlhf.teach.actions import Conversation, what_is_compared
from minirlhf.teach.agreement import export_session
from minirlhf.teach.records import read_session
from minirlhf.teach.replay import checksum, replay
from minirlhf.teach.session import open_session
from minirlhf.teach.simulated import check_name, judge, make_person
from minirlhf.teach.typed import HELP, as_typed, plain, read_line

SIMULATED_ROUNDS = 10  # where --rounds does not say
COLUMN = 30  # width of "before", in Latin characters


# ---- what is shown --------------------------------------------------------------------------


def show(*lines):
    """Print lines at once, also into a pipe."""
    print(*lines, sep="\n", flush=True)


def show_welcome(conversation):
    """Who teaches, where it is kept, and what can be typed."""
    session, say, who = conversation.session, conversation.say, conversation.who_teaches()
    if not session.simulated:
        who = say("{who} Judge what he says; he learns from it.", who=who)
    show(who, conversation.kept_where())
    if len(session.rows) > 1:
        show(conversation.going_on())
    show("" if session.simulated else say(HELP))


def show_round(conversation):
    """The open question and its answers; who said them is not told."""
    show("", conversation.asked())
    for i, response in enumerate(conversation.session.round.responses, start=1):
        show(f"  {i}  {plain(response)}")


def show_learning(conversation):
    """Let Rufus learn; then before and after side by side, also where it got worse."""
    show(conversation.start_learning())
    show(conversation.learn())
    for comparison in conversation.learned.comparisons:
        show(what_is_compared(conversation.say, comparison))
        for before, after in zip(map(plain, comparison.before), map(plain, comparison.after)):
            gap = " " * max(2, COLUMN - text_cells(before))
            show(conversation.say("  before: {before}{gap}after: {after}", before=before, gap=gap,
                                  after=after))
    show(conversation.look_back(conversation.learned.figures))


# ---- the loop -------------------------------------------------------------------------------


class Keyboard:
    """Reads a person's lines."""

    def line(self, conversation):
        """-> the next line; "x" where there is none any more (Ctrl-D, the end of a pipe)."""
        try:
            return input(conversation.say("Your judgement: "))
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

    def line(self, conversation):
        """-> the next line about the open round."""
        asked = conversation.session.round
        if not self.lines and self.at != asked.number:
            k = len(asked.responses)
            self.lines = [as_typed(kind, value, k) for kind, value in judge(self.person, asked)]
            if self.lines != ["s"]:
                self.lines.append("")
            self.lines, self.done = self.lines[self.done :], 0
        self.at = asked.number
        line = self.lines.pop(0)
        show(f"[SIMULATED {self.person.name}] {line or '(Enter)'}")
        return line


def teach(session, hands, rounds=None):
    """Ask, read lines, learn, until the person ends it or `rounds` rounds are done."""
    conversation = Conversation(session)
    show_welcome(conversation)
    done, shown = 0, None
    while rounds is None or done < rounds:
        if conversation.open() != shown:
            show_round(conversation)
            shown = session.round
        line = hands.line(conversation)
        if not follow(conversation, line):
            break
        done += session.round is None
    if session.version:
        path = session.save_rufus()
        show(conversation.say("Talk to him: python -m minirlhf chat {path}", path=path))
    show(conversation.say("Everything is kept. Start again to go on."))


def follow(conversation, line):
    """Do what a line says, and print what came of it -> False if it says to end.

    The session has no open round where that has ended it.
    """
    session, k = conversation.session, len(conversation.session.round.responses)
    try:
        action, value = read_line(line, k, conversation.say)
        if action == "end":
            return False
        if action == "help":
            show(conversation.say(HELP))
        elif action == "history":
            if not session.history:
                show(conversation.say("Rufus has not learned anything yet."))
            for sentence in conversation.history(session.history):
                show(sentence)
        elif action == "undo":
            show(conversation.undo())
        elif action == "question":
            conversation.ask(value)  # the answers follow
        elif action == "skip":
            show(conversation.skip())
        elif action == "learn":
            show_learning(conversation)
        elif action == "done" and session.unlearned:
            show_learning(conversation)
            conversation.close()
        elif action == "done":
            conversation.go_on()
        else:
            show(conversation.label(action, value))
    except InputError as error:
        show(plain(str(error)))
    return True


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
    rounds, hands = args.rounds, Keyboard()
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
