"""One conversation of teaching: what a person can do with the answers that Rufus gave.

It has two faces, terminal.py and panel.py: they read lines or presses, call it and show what it
returns.  Every action does one thing to the session and says it in the session's language; where it
makes no sense it raises InputError and changes nothing.  The session is the truth (session.py):
nothing is kept here but a ranking that is half done, and what the last learning has changed.
"""

import time

from minirlhf.errors import InputError
from minirlhf.messages import load_messages
from minirlhf.plots import percent
from minirlhf.teach.agreement import self_consistency
from minirlhf.teach.records import dense, session_rankings, votes_of
from minirlhf.teach.typed import in_words, plain, tiers_in_words


class Conversation:
    """A Session, and a ranking that is half done."""

    def __init__(self, session):
        self.session, self.say = session, load_messages(session.lang)
        self.tiers = []  # the ranking so far: list of lists of indices, the best first
        self.learned = None  # Learned: what the last learning changed

    # ---- who and where ----------------------------------------------------------------------

    def who_teaches(self):
        """The annotator, and whether a person is one."""
        name = plain(self.session.annotator)
        if self.session.simulated:
            return self.say("SIMULATED annotator {name} teaches Rufus. No person types here.",
                            name=name)
        return self.say("{name} teaches Rufus.", name=name)

    def kept_where(self):
        """The file of the labels."""
        return self.say("Every label is kept at once in {path}.", path=self.session.path)

    def going_on(self):
        """What an earlier day has left."""
        return self.say("Going on after {rounds} rounds, with version {version} of Rufus.",
                        rounds=len(self.session.rounds), version=self.session.version)

    # ---- the question -----------------------------------------------------------------------

    def open(self):
        """-> the open Round; the next question, where none is open."""
        return self.session.round or self.session.ask()

    def asked(self):
        """The question of the open round."""
        number, prompt = self.session.round.number, self.session.round.prompt
        count = sum(other <= number for other in self.session.rounds)
        return self.say("Round {count}. Rufus is asked: {prompt}", count=count,
                        prompt=plain(prompt))

    def ask(self, text):
        """The person's own question."""
        self.keep_ranking()
        self.session.ask(text)
        return self.say("Rufus answers your question.")

    def skip(self):
        """Nothing can be said about this question: the next one is to be opened."""
        said = self.label("skip")
        self.close()
        return said

    def go_on(self):
        """The question is judged: the next one is to be opened, without learning."""
        self.keep_ranking()
        if self.session.round is not None and not self.session.labels:
            raise InputError(self.nothing_new())
        self.close()
        return self.say("The next question.")

    def close(self):
        """No question is open any more."""
        self.session.round = None

    def nothing_new(self):
        """Why Rufus does not learn, and no next question comes."""
        return self.say("Nothing new has been said. Judge an answer, or skip.")

    # ---- judging ----------------------------------------------------------------------------

    def label(self, kind, value=None):
        """One label, as Session.label takes it -> what was kept."""
        self.session.label(kind, value)
        if kind in ("rank", "best", "skip"):  # a whole ranking is the session's
            self.tiers = []
        if kind == "rank":
            return self.say("Kept: {order}", order=in_words(value))
        if kind == "best":
            return self.say("Kept: {number} is the best.", number=value + 1)
        if kind == "unnatural":
            marked = ", ".join(str(i + 1) for i in value) or self.say("none")
            return self.say("Kept: unnatural: {marked}.", marked=marked)
        if kind == "correction":
            return self.say("Kept: the right answer is: {text}", text=plain(value))
        return self.say("Skipped.")

    def best(self, i):
        """Answer i is the best."""
        return self.label("best", i)

    def unnatural(self, i):
        """Answer i sounds unnatural; or natural, if it was marked."""
        marked = {j for j, fine in enumerate(votes_of(self.session.labels)[1]) if not fine}
        return self.label("unnatural", sorted(marked ^ {i}))

    def natural(self):
        """All answers sound natural."""
        return self.label("unnatural", [])

    def correct(self, text):
        """The right answer was written."""
        return self.label("correction", text)

    def rank(self, i):
        """Answer i takes the next place; or gives its place back, if it had one."""
        if any(i in tier for tier in self.tiers):
            self.take_out(i)
        else:
            self.tiers.append([i])
        return self.ranked()

    def tie(self, i):
        """Answer i shares the place that was given last."""
        if not self.tiers:
            raise InputError(self.say("Rank another answer first; this one can share its place."))
        if i not in self.tiers[-1]:
            self.take_out(i)
            self.tiers[-1].append(i)
        return self.ranked()

    def take_out(self, i):
        """Answer i has no place any more."""
        tiers = [[j for j in tier if j != i] for tier in self.tiers]
        self.tiers = [tier for tier in tiers if tier]

    def ranked(self):
        """A ranking of all answers is kept at once; of some, it waits for the others."""
        if sum(len(tier) for tier in self.tiers) == len(self.session.round.responses):
            return self.keep_ranking()
        order = tiers_in_words(self.tiers) or self.say("no ranking")
        return self.say("So far: {order}.", order=order)

    def keep_ranking(self):
        """Keep the ranking; answers without a place share the last one.  -> what was kept."""
        if not self.tiers:
            return ""
        k = len(self.session.round.responses)
        if len(self.tiers) == 1 and len(self.tiers[0]) == 1 < k:
            return self.best(self.tiers[0][0])
        return self.label("rank", ranks_of(self.tiers, k))

    def undo(self, progress=iter):
        """Take back the last press of a ranking half done, else the last label."""
        if self.tiers:
            self.tiers[-1].pop()
            self.tiers = [tier for tier in self.tiers if tier]
            return self.ranked()
        before = self.session.states[-1]
        if self.session.undo(progress) is None:
            return self.say("There is no label to take back.")
        said = self.say("The last label is taken back.")
        if self.session.states[-1].key == before.key:
            return said
        self.learned = None
        return said + "\n" + self.say(
            "Rufus had learned from it. He is version {version}, without it.",
            version=self.session.version)

    # ---- learning ---------------------------------------------------------------------------

    def start_learning(self):
        """What to show while `learn` works.  Raises InputError if there is nothing to learn."""
        self.keep_ranking()
        if not self.session.unlearned:
            raise InputError(self.nothing_new())
        return self.say("Rufus is learning ...")

    def learn(self, progress=iter):
        """Rufus learns from all labels since the last time; `learned` says what has changed."""
        self.start_learning()
        started = time.perf_counter()
        self.learned = self.session.learn(progress)
        return self.say("Rufus has learned, in {seconds:.1f} s. He is now version {version}.",
                        seconds=time.perf_counter() - started, version=self.learned.version)

    def look_back(self, row):
        """A row of session.history: the annotator's own votes, and the reward model's agreement
        with them."""
        say, votes = self.say, row["votes"]
        natural, agreement = say("not said"), say("not yet")
        if votes:
            natural = say("{count} of {votes}", count=round(row["natural"] * votes), votes=votes)
        if row["agreement"] is not None:
            agreement = say("{share} of {pairs} new pairs", share=percent(row["agreement"]),
                            pairs=row["pairs"])
        values = {"version": row["judged"], "natural": natural, "agreement": agreement}
        if self.session.simulated:
            return say("Version {version}: natural by its votes: {natural}; the reward model "
                       "agreed with it: {agreement}.", **values)
        return say("Version {version}: natural by your votes: {natural}; the reward model "
                   "agreed with you: {agreement}.", **values)

    def history(self, rows):
        """Rows of session.history -> list of sentences: one for each, and one on whether the
        annotator agrees with himself, where he has judged something twice."""
        sentences = [self.look_back(row) for row in rows]
        share, pairs = self_consistency(session_rankings(self.session.rows))
        values = {"pairs": pairs, "share": percent(share)}
        if pairs and self.session.simulated:
            sentences.append(self.say("The SIMULATED annotator judged {pairs} pairs twice, and "
                                      "{share} of them alike.", **values))
        elif pairs:
            sentences.append(self.say("You judged {pairs} pairs twice, and {share} of them alike.",
                                      **values))
        return sentences


def what_is_compared(say, comparison):
    """The question of a Comparison, and whether it was taught."""
    prompt = plain(comparison.prompt)
    if comparison.taught:
        return say("The same question: {prompt}", prompt=prompt)
    return say("A question he was never taught: {prompt}", prompt=prompt)


def ranks_of(tiers, k):
    """list of lists of indices, best first -> list of k ranks; who is left out shares the last."""
    places = {i: place for place, tier in enumerate(tiers) for i in tier}
    return dense([places.get(i, k) for i in range(k)])
