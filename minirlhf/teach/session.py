"""The human loop: Rufus speaks, a person judges and corrects, Rufus learns and speaks again.

No terminal and no buttons are here; the conversation with a person (actions.py) calls it:

    session = open_session(path, lang="en", annotator="Ann", seed=0)
    asked = session.ask()                      a Round: a question and K answers
    session.label("rank", [2, 1, 3, 3])        or best, unnatural, correction, skip
    session.undo()                             takes the last label back, learned or not
    learned = session.learn()                  a second or two; before and after, side by side

Every call that says something appends one record to the session's file (records.py) before
anything else happens.  The models follow from the records alone (learning.py); the file
NAME.models.npz beside the session only saves computing them again.  So a crash at any moment loses
nothing: open_session goes on where it stopped, and computes again what was cut.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf.checkpoint import save_model
from minirlhf.errors import InputError
from minirlhf.rufus.pipeline import LANGUAGE_MODEL, REWARD_MODEL
from minirlhf.rufus.world import data_folder
from minirlhf.teach import learning, records, rounds
from minirlhf.teach.replay import compute_states, learnings, load_states


class Learned(NamedTuple):
    """What a learning has done."""

    version: int
    comparisons: list  # of Comparison: the round's question, and one that was never taught
    figures: dict  # the new row of session.history


def open_session(path, lang=None, annotator=None, seed=0, simulated=False,
                 settings=learning.TeachSettings(), progress=iter):
    """Start a session in a new file, or go on with an old one -> Session.

    lang and annotator of a new one are "en" and "me" where None is given.  An old one keeps its own
    seed and settings.  progress wraps the iterations of what a crash has cut off and is computed
    again.  Raises InputError if the file is another annotator's or language's, or cannot be read.
    """
    path = Path(path)
    if path.exists() and path.stat().st_size:
        records.mend(path)
    if not path.exists() or not path.stat().st_size:
        start_session(path, lang or "en", annotator or "me", seed, simulated, settings)
    rows = records.read_session(path)
    kept = rows[0]["annotator"], rows[0]["simulated"]
    if kept != (annotator or kept[0], simulated):
        who = "simulated annotator" if kept[1] else "annotator"
        raise InputError(f"{path}: is a session of the {who} {kept[0]!r}; name another file")
    session = Session(path, rows, progress)
    if lang not in (None, session.lang):
        raise InputError(f"{path}: was started with --lang {session.lang}; name another file")
    return session


def start_session(path, lang, annotator, seed, simulated, settings):
    """Write the first record of a new session's file.  Raises InputError before it writes."""
    model = data_folder(lang) / "pretrained.npz"
    if not model.is_file():
        raise InputError(f"--lang {lang}: {model} is missing; the verb pretrain makes it")
    if not annotator.strip() or not annotator.isprintable():
        raise InputError(f"the annotator's name {annotator!r} should be one line of text")
    text = learning.first_settings(lang, seed, settings)
    row = records.make_row("session", 0, annotator, simulated, 0, settings=text)
    learning.load_setup([row], path)
    records.append_row(path, row, 0)


class Session:
    """A session in progress.  Its file is the truth; this holds what was read from it."""

    def __init__(self, path, rows, progress=iter):
        """Computes what a crash has cut off.  Call open_session instead."""
        self.path = path
        self.models_path = path.with_suffix(".models.npz")
        self.rows = rows
        self.size = path.stat().st_size
        self.setup = learning.load_setup(rows, path)
        self.lang = json.loads(rows[0]["settings"])["lang"]
        self.annotator, self.simulated = rows[0]["annotator"], rows[0]["simulated"]
        asked = [row for row in rows if row["kind"] == "round"]
        self.rounds = {row["number"]: records.as_round(row) for row in asked}
        self.states = []  # of State: the versions that count, the pretrained model first
        self._compute(load_states(self.models_path, self.setup), progress)
        self.round = self._unfinished_round()  # the Round that labels are for, or None

    def __repr__(self):
        who = "simulated " * self.simulated + f"annotator {self.annotator!r}"
        return f"Session({self.path}: {who}, {len(self.rounds)} rounds, version {self.version})"

    # ---- what there is ----------------------------------------------------------------------

    @property
    def version(self):
        """Number of the current version of Rufus; 0 is the pretrained model."""
        return self.states[-1].version

    @property
    def history(self):
        """list of dict, one for each learning (learning.look_back says what they hold)."""
        return self.states[-1].history

    @property
    def rufus(self):
        """The current policy, a Model for pipeline.ask."""
        return learning.model_of(self.setup, self.states[-1].policy)

    @property
    def reward_model(self):
        """The current reward model, for pipeline.score_texts; None before the first ranking."""
        base, params = self.setup.base, self.states[-1].reward
        return None if params is None else base._replace(kind=REWARD_MODEL, params=params)

    @property
    def labels(self):
        """Rows of the labels of the open round that count."""
        return records.labels_of(self.rows, self.round.number) if self.round else []

    @property
    def news(self):
        """Are there labels that Rufus has not learned from?"""
        numbers = learnings(self.rows)
        last = numbers[-1] if numbers else 0
        new = [row for row in records.without_undone(self.rows) if row["number"] > last]
        return any(row["kind"] in records.LABELS[:-1] for row in new)

    @property
    def unlearned(self):
        """Is there something to learn: new labels, or a learning that was interrupted?"""
        done = learnings(self.rows)
        return self.news or bool(done) and self.rows[done[-1]]["version"] != self.version

    # ---- a round ----------------------------------------------------------------------------

    def ask(self, question=None, again=None):
        """Ask Rufus -> Round, which is now the open one.

        question: the annotator's own; None: the next of the world's questions.  again: a Round
        (of any session) whose answers are shown once more, in another order.  Raises InputError
        if the question has a character that Rufus does not know, or is too long.
        """
        number = len(self.rows)
        rng = np.random.default_rng([self.setup.seed, number])
        if question is None and again is None:
            again = rounds.due_again(self.setup, self.rounds, self.rows)
        if again is not None:
            prompt, texts, names = again.prompt, again.responses, again.models
        else:
            if question is None:
                prompt = rounds.next_question(self.setup, self.rounds)
            else:
                prompt = rounds.read_question(self.setup.base, question)
            texts, names = rounds.speak(self.setup, self.states, prompt, rng)
        order = rng.permutation(len(texts))
        mine = again is not None and self.rounds.get(again.number) == again
        self._append("round", prompt=prompt, responses=[texts[i] for i in order],
                     models=[names[i] for i in order], of=again.number if mine else -1)
        self.rounds[number] = self.round = records.as_round(self.rows[-1])
        return self.round

    def label(self, kind, value=None):
        """One label of the open round, kept at once.

        kind and value: "rank", K ints, 1 is best, equal for ties; "best", an index from 0;
        "unnatural", a list of indices, [] says that all are natural; "correction", a text;
        "skip".  Raises InputError, and keeps nothing, if the value makes no sense.
        """
        if self.round is None:
            raise InputError("no question is open; ask one first")
        fields = rounds.label_fields(self.setup.base, self.round, kind, value)
        self._append(kind, of=self.round.number, prompt=self.round.prompt, **fields)

    def undo(self, progress=iter):
        """Take the last label back -> its Round, which is open again; None if there is no label.

        Where Rufus had learned from it, the models of before come back.
        """
        given = [row for row in records.without_undone(self.rows) if row["kind"] in records.LABELS]
        if not given:
            return None
        self._append("undo", of=given[-1]["number"], prompt=given[-1]["prompt"])
        self.round = self.rounds[given[-1]["of"]]
        self._compute(self.states, progress)
        return self.round

    # ---- learning ---------------------------------------------------------------------------

    def learn(self, progress=iter):
        """Learn from the labels since the last time -> Learned, or None if there are none.

        If it is interrupted, the labels and the wish to learn are kept: the next call of learn, or
        open_session after a crash, computes it.
        """
        if not self.unlearned:
            return None
        before = self.states[-1]
        if self.news:
            number = 1 + sum(row["kind"] == "learn" for row in self.rows)
            self._append("learn", version=number)
        self._compute(self.states, progress)
        comparisons = self.compare(before)
        return Learned(version=self.version, comparisons=comparisons, figures=self.history[-1])

    def compare(self, before):
        """State of before -> list of Comparison with now: the last question and one never taught.

        Both versions draw with the same random numbers.
        """
        asked = {row["prompt"] for row in self.rows}
        fresh = [prompt for prompt in self.setup.untaught if prompt not in asked]
        prompts = [(self.round.prompt, True)] if self.round else []
        if fresh:
            prompts.append((fresh[self.version % len(fresh)], False))
        now, seed = self.states[-1], [self.setup.seed, len(self.rows), self.version]
        return [rounds.compare(self.setup, before, now, prompt, taught, seed)
                for prompt, taught in prompts]

    def save_rufus(self, path=None):
        """Write the current policy where `chat` and `evaluate` can read it -> path."""
        path = path or self.path.with_suffix(".rufus.npz")
        rufus = self.rufus
        save_model(path, LANGUAGE_MODEL, rufus.params, rufus.config, rufus.tokenizer, rufus.extra)
        return path

    # ---- inside -----------------------------------------------------------------------------

    def _append(self, kind, version=None, **fields):
        """One record, into the file first."""
        version = self.version if version is None else version
        row = records.make_row(kind, len(self.rows), self.annotator, self.simulated, version,
                               **fields)
        self.size = records.append_row(self.path, row, self.size)
        self.rows.append(row)

    def _compute(self, known, progress):
        """States from rows; the models file follows."""
        self.states = compute_states(self.setup, self.rows, known, progress, self.models_path)

    def _unfinished_round(self):
        """The Round to go on with after a start: the last one, unless skipped or learned from."""
        last = max(self.rounds, default=None)
        if last is None:
            return None
        kinds = {row["kind"] for row in records.labels_of(self.rows, last)}
        done = "skip" in kinds or (kinds and not self.news)
        return None if done else self.rounds[last]
