"""The person's desk: what can be done with the answers that Rufus gave, one action at a time.

The panel's buttons call it (teach_widgets.py); no widget is here.  Every action does one thing to
the session and says it in a sentence; it raises InputError, and changes nothing, where it makes no
sense.  The session is the truth (teach.py): the desk keeps nothing but a ranking that is half done.
"""

import time

from minirlhf.errors import InputError
from minirlhf.teach.records import dense, votes_of
from minirlhf.teach.typed import kept_line, say


class Desk:
    """A Session and a ranking that is half done."""

    def __init__(self, session):
        self.session, self.lang = session, session.lang
        self.tiers = []  # the ranking so far: list of lists of indices, the best first
        self.learned = None  # Learned: what the last learning changed

    def words(self, english, chinese):
        """One of two texts, in the session's language."""
        return say(self.lang, english, chinese)

    def start(self):
        """The first question, or the one that was open."""
        if self.session.round is None:
            self.session.ask()
        if self.session.version:
            return self.words(f"Going on with version {self.session.version} of Rufus.",
                              f"接着上次：Rufus 是第 {self.session.version} 版。")
        return self.words("Rank the answers from best to worst, mark what sounds unnatural, or "
                          "write the right answer. Then let Rufus learn.",
                          "请从最好到最差排序，标出不自然的，或写出正确的回答。然后让 Rufus 学习。")

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
            raise InputError(self.words("Rank another answer first; this one can share its place.",
                                        "请先给另一句名次，这一句才能与它并列。"))
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
        so_far = " > ".join(" = ".join(str(i + 1) for i in tier) for tier in self.tiers)
        return self.words(f"So far: {so_far or 'no ranking'}.", f"目前：{so_far or '没有排序'}。")

    def keep_ranking(self):
        """Keep the ranking; answers without a place share the last one.  -> what was kept."""
        if not self.tiers:
            return ""
        k = len(self.session.round.responses)
        if len(self.tiers) == 1 and len(self.tiers[0]) == 1 < k:
            return self.best(self.tiers[0][0])
        return self.label("rank", ranks_of(self.tiers, k))

    def label(self, kind, value=None):
        """One label -> its sentence.  A whole ranking is then the session's."""
        self.session.label(kind, value)
        if kind in ("rank", "best", "skip"):
            self.tiers = []
        return kept_line(self.lang, kind, value)

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

    def ask(self, text):
        """The person's own question."""
        self.keep_ranking()
        self.session.ask(text)
        return self.words("Rufus answers your question.", "Rufus 回答你的问题。")

    def skip(self):
        """Nothing can be said about this question."""
        said = self.label("skip")
        self.session.ask()
        return said

    def go_on(self):
        """The next question, without learning."""
        self.keep_ranking()
        if self.session.round is not None and not self.session.labels:
            raise InputError(self.words("Nothing has been said yet. Judge an answer, or skip.",
                                        "还没有标注。请评价，或按“跳过”。"))
        self.session.ask()
        return self.words("The next question.", "下一题。")

    def undo(self, progress=iter):
        """Take back the last press of a ranking half done, else the last label."""
        if self.tiers:
            self.tiers[-1].pop()
            self.tiers = [tier for tier in self.tiers if tier]
            return self.ranked()
        before = self.session.states[-1]
        if self.session.undo(progress) is None:
            return self.words("There is no label to take back.", "没有可以撤销的标注。")
        if self.session.states[-1].key == before.key:
            return self.words("The last label is taken back.", "上一个标注已撤销。")
        self.learned = None
        number = self.session.version
        return self.words(
            f"The last label is taken back. Rufus had learned from it; now he is version {number}.",
            f"上一个标注已撤销。Rufus 学过它；现在是没有它的第 {number} 版。")

    def learn(self, progress=iter):
        """Rufus learns from all labels since the last time."""
        self.keep_ranking()
        started = time.perf_counter()
        learned = self.session.learn(progress)
        if learned is None:
            raise InputError(self.words("Nothing new has been said since Rufus last learned.",
                                        "上次学习之后没有新的标注。"))
        self.learned, seconds = learned, time.perf_counter() - started
        return self.words(
            f"Rufus has learned, in {seconds:.1f} s. He is now version {learned.version}.",
            f"Rufus 学完了，用时 {seconds:.1f} 秒，现在是第 {learned.version} 版。")


def ranks_of(tiers, k):
    """list of lists of indices, best first -> list of k ranks; who is left out shares the last."""
    places = {i: place for place, tier in enumerate(tiers) for i in tier}
    return dense([places.get(i, k) for i in range(k)])
