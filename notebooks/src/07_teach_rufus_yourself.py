# %% [markdown]
# # 07 Teach Rufus yourself
#
# Until now somebody else has ranked. Today it is you: Rufus speaks, you judge, he learns.
#
# - Be the annotator, and watch how your own wishes come back.
# - Read a whole course of teaching from its file, and compute Rufus from it again.
# - Measure how far an annotator agrees with himself, and what that is worth.
# - Put the votes of several people together.
# - Teach four Rufuses with the same answers and different wishes.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads are slower for small matrices
try:
    import minirlhf
except ModuleNotFoundError:
    print("minirlhf is missing here. Run this in a cell of its own, then all cells again:\n"
          "%pip install matplotlib git+https://github.com/OWNER/minirlhf")

# %%
import json

import numpy as np

from minirlhf.course import answer, check, hint, show, solution, where
from minirlhf.course.lesson07 import figures, runs
from minirlhf.data import DATA
from minirlhf.rufus.people import Annotator
from minirlhf.rufus.world import World
from minirlhf.teach import agreement, records
from minirlhf.teach.panel import teach_panel, tell
from minirlhf.teach.records import LABELS, as_round, labels_of, session_rankings, votes_of
from minirlhf.teach.replay import compute_states
from minirlhf.teach.session import open_session
from minirlhf.teach.simulated import TASTES, make_person, pleases

# %% [markdown]
# **Terms**
#
# - **session** is everything that one annotator and Rufus said, in one file of records.
# - **replay** is computing all models again from such a file alone.
# - **self-consistency** is the share of pairs that an annotator judges as he did before.
# - **majority vote** is the order of a pair that most annotators chose.
# - **taste** is a lasting wish of one person, such as short answers. Noise goes, a taste stays.

# %%
rows = runs.recorded("en")  # 12 rounds with a1, a simulated annotator; no person
first = labels_of(rows, 1)
ranks, natural, _, corrections = votes_of(first)
print("Question:", rows[1]["prompt"])
for rank, text in sorted(zip(ranks, rows[1]["responses"])):
    print(f"   rank {rank}   {text}")
print("   better:  ", corrections[0])

# %% [markdown]
# **Before 1.** A careful annotator ranks the same four answers twice, an hour apart. What do you
# expect?
#
# - A. The same order. If not, he was not careful.
# - B. The same, except for answers that are nearly as good.
# - C. Two orders that have little to do with each other.
#
# <details><summary>Answer</summary>
#
# **B.** Everybody has noise. It decides where the difference is small. You will measure how often.
#
# </details>

# %% [markdown]
# **Before 2.** You take back a label from which Rufus has already learned. What should the program
# do?
#
# - A. Take a training step in the other direction.
# - B. Nothing. What is learned is learned.
# - C. Compute the models again from the labels that are left.
#
# <details><summary>Answer</summary>
#
# **C.** A step back does not undo a step, because later steps started from there. This is why the
# records are kept, and not only the weights.
#
# </details>

# %% [markdown]
# ## Part A: you are the annotator
#
# The next cell opens a panel. Rank four answers, mark what sounds unnatural, or type the right
# answer. Then press the button to learn: Rufus needs a second or two. Try twelve rounds, like a1.
# While you teach, notice three things:
#
# 1. When do you get tired, and what do you do then?
# 2. In round 10 you see old answers again. Do you remember what you said?
# 3. Which rule do you follow that nobody gave you?

# %%
session = open_session("runs/teach/lesson07.jsonl", lang="en", annotator="me")
teach_panel(session)

# %% [markdown]
# On a page on the web there is no panel. So here is a recorded session, all of it: the rank, the
# answer, and `x` if it was called unnatural; then what should have been said.

# %%
def tell_round(number, row):
    ranks, natural, _, corrections = votes_of(labels_of(rows, row["number"]))
    again = "   (these answers again)" if row["of"] >= 0 else ""
    print(f"{number:2}  {row['prompt']}{again}")
    for rank, text, fine in sorted(zip(ranks, row["responses"], natural)):
        print(f"      {rank} {' ' if fine else 'x'} {text}")
    print(f"      = {corrections[0]}")

shown = [row for row in rows if row["kind"] == "round"]
for number, row in enumerate(shown, start=1):
    tell_round(number, row)

# %% [markdown]
# ### Taking back
#
# A session's file is never rewritten. To take a label back, one more record is added: an `undo`,
# whose field `of` is the number of the label. For a label, `of` is the number of its round.
#
# **Exercise 07.1.** Which labels count? About 2 lines. Stuck? `hint("07.1")`.

# %%
def standing_labels(kinds, of):
    """kinds, of: one str and one int for each record -> numbers of the labels that count."""
    ### BEGIN SOLUTION
    undone = [of[n] for n, kind in enumerate(kinds) if kind == "undo"]
    return [n for n, kind in enumerate(kinds) if kind in LABELS and n not in undone]
    ### END SOLUTION

# %%
standing_labels = check(standing_labels)

# %%
undo = records.make_row("undo", len(rows), "a1", True, 12, of=4)  # the first correction
for name, log in (("recorded", rows), ("with an undo", [*rows, undo])):
    mine = standing_labels([r["kind"] for r in log], [r["of"] for r in log])
    package = [r["number"] for r in records.without_undone(log) if r["kind"] in LABELS]
    print(f"{name:13} {len(mine)} labels count, the first are {mine[:4]}")
    assert mine == package
where(records.without_undone)

# %% [markdown]
# ### Replay
#
# Who can compute Rufus from the records alone needs no faith in saved weights. Here we learn after
# every second round, with fewer steps than the real program, so that it takes seconds. The labels
# are those above.

# %%
setup = runs.lesson_setup(rows)
fewer = runs.learn_every(rows, 2)
states = compute_states(setup, fewer)  # the pretrained model, then one for each learning
again = compute_states(setup, fewer[:10])  # the first learning, once more
print(f"{len(states) - 1} learnings; the first one twice, bit for bit:",
      np.array_equal(again[1].policy.flat, states[1].policy.flat))
assert np.array_equal(again[1].policy.flat, states[1].policy.flat)

# %%
world = World.load("en")
wanted = list(dict.fromkeys(records.session_corrections(rows)))  # (question, sentence)
new = [(q, world.references(q)[0]) for q in world.questions("held_out")]
table = runs.favourites(setup, states, wanted)  # (S, N)
elsewhere = runs.favourites(setup, states, new).mean(axis=1)  # (S,)
asked = [row["prompt"] for row in shown]
taught = [1 + asked.index(question) for question, _ in wanted]
agreed = [(row["rounds"], row["agreement"], row["pairs"]) for row in states[-1].history[1:]]
start, end = table[0].mean(), table[-1].mean()
print(f"favourites {start:.0%} to {end:.0%}; never taught {elsewhere[0]:.0%} to "
      f"{elsewhere[-1]:.0%}; the reward model agrees on "
      f"{np.average([a[1] for a in agreed], weights=[a[2] for a in agreed]):.0%}")

# %%
assert end > 3 * start and 1.2 < elsewhere[-1] / elsewhere[0] < 2 and len(wanted) == 11
show(figures.favourites(2 * np.arange(len(states)), table, taught, elsewhere, agreed),
     f"Left: grey, the 11 sentences that a1 typed, with a point in their round. Their mean rises "
     f"from {start:.0%} to {end:.0%}, and some rise before they are taught. On questions never "
     f"taught the usual sentence goes from {elsewhere[0]:.0%} to {elsewhere[-1]:.0%} only. Right: "
     f"the reward model meets new labels. It agrees on {min(a[1] for a in agreed):.0%} to "
     f"{max(a[1] for a in agreed):.0%} of so few pairs.")

# %% [markdown]
# Rufus learns the sentence, and something of the manner. A second look at the right side is sober.
# After twelve rounds the reward model is still a poor guesser of a1's next ranking, and it need not
# improve from one learning to the next.
#
# ### Ranking or correcting?
#
# The same, with the real program, 60 rounds and five seeds (`benchmarks/teach_curves.py`). The
# annotator is a1 again, simulated. "Seed labels alone" is a Rufus who learns from 60 rankings by
# other simulated annotators, and from nothing of a1's.

# %%
text = (DATA.parent / "benchmarks" / "teach_curves_en.json").read_text(encoding="utf-8")
sixty = [run for run in json.loads(text)["runs"] if run["who"] == "a1"]  # 60 rounds, 5 seeds

def curves(way, key):
    """-> rounds (N,), values (seeds, N)."""
    points = [run["points"] for run in sixty if run["gives"] == way]
    return [p["round"] for p in points[0]], np.array([[p[key] for p in seed] for seed in points])

natural = {way: curves(way, "natural_held_out") for way in figures.WAYS}
true = {way: curves(way, "true") for way in figures.WAYS}
for way in figures.WAYS:
    k = natural[way][0].index(20)
    low, middle, high = np.quantile(natural[way][1][:, k], [0, 0.5, 1])
    print(f"{way:18} 20 rounds: natural {middle:.1%} ({low:.1%} to {high:.1%}), of these true "
          f"{np.median(true[way][1][:, k]):.1%}")

# %%
at = {way: np.median(natural[way][1][:, natural[way][0].index(20)]) for way in natural}
truth = {way: np.median(true[way][1][:, true[way][0].index(20)]) for way in true}
assert at["corrections"] > at["rankings"] > at["seed labels alone"] > 0.7
assert truth["corrections"] < truth["rankings"] < true["rankings"][1][:, 0].min()
show(figures.ways_to_teach([("natural, on questions never taught", natural),
                            ("of the natural answers: true", true)]),
     f"Lines are medians of 5 seeds, the shade is their whole range. Left: after 20 rounds "
     f"corrections reach {at['corrections']:.0%}, rankings {at['rankings']:.0%}, other people's "
     f"labels alone {at['seed labels alone']:.0%}; the ranges overlap. Right: the price. True "
     f"answers fall from {np.median(true['both'][1][:, 0]):.0%} to {truth['corrections']:.0%} "
     "with corrections after 20 rounds.")

# %% [markdown]
# Do not be too proud of twenty rounds: other people's rankings alone do most of it. And nobody
# asked whether the answers are true. The annotator judges how they sound, and a Rufus who sounds
# right need not be right.
#
# ## Part B: do you agree with yourself?
#
# A pair of answers has a sign: 1 if the first is better, -1 if the second, 0 for a tie.
#
# **Exercise 07.2.** Compare the signs of two times. The same counts 1, a tie against an order one
# half, the opposite 0. Take the mean. One line.

# %%
def self_consistency(before, after):
    """before, after (P,): signs 1, -1 or 0 of the same pairs -> share of agreement, 0 to 1."""
    ### BEGIN SOLUTION
    return float(np.mean(1 - np.abs(before - after) / 2))
    ### END SOLUTION

# %%
self_consistency = check(self_consistency)

# %%
def signs(ranks):
    """ranks (K,) -> signs of all pairs (i, j), i before j."""
    i, j = np.triu_indices(len(ranks), 1)
    return np.sign(np.asarray(ranks)[j] - np.asarray(ranks)[i])

once, twice = as_round(shown[4]), as_round(shown[9])  # the same answers
r1, r2 = (votes_of(labels_of(rows, r.number))[0] for r in (once, twice))
moved = [r2[twice.responses.index(text)] for text in once.responses]
print("compared by place:", round(self_consistency(signs(r1), signs(r2)), 2))
print("compared by text: ", round(self_consistency(signs(r1), signs(moved)), 2))

# %% [markdown]
# The second time the answers stood in another order, so that you cannot just repeat your typing.
# Whoever compares places, not texts, gets a wrong number and no error.
#
# Now your own session. A typed correction makes more pairs, so there are more than six.

# %%
for name, log in (("a1, recorded", rows), ("you", session.rows)):
    rankings = session_rankings(log)
    share, pairs = agreement.self_consistency(rankings)
    told = f"{pairs} pairs twice, {share:.0%} the same" if pairs else "no pair twice so far"
    print(f"{name:13} {len(rankings):2} rankings, {told}")
where(agreement.self_consistency)

# %% [markdown]
# One repeated round says little. Simulated annotators do not get tired, so let them judge all the
# answers twice, ten times over. Three kinds: growing noise, growing carelessness (a share of rounds
# clicked at random), and somebody who loves long answers, with growing noise.

# %%
rounds = [as_round(row) for row in shown if row["of"] < 0]
GOLD = np.concatenate([signs([-world.naturalness(r.prompt, text) for text in r.responses])
                       for r in rounds])  # (P,)

def judge_all(annotator, rng):
    """-> signs (P,) of all pairs of all rounds."""
    ranks = [annotator.rank(world, r.prompt, r.responses, rng) for r in rounds]
    return np.concatenate([signs(row) for row in ranks])

def right(signs):
    """-> share of the pairs that the gold judge orders in the same way."""
    return np.mean(signs[GOLD != 0] == GOLD[GOLD != 0])

# %%
def person(**habits):
    return Annotator("simulated", **habits)

people = [(f"noise {n:g}", person(noise=n), "noise") for n in (0, 0.06, 0.12, 0.24, 0.48)]
people += [(f"clicks {c:.0%}", person(careless=c), "clicks") for c in (0.2, 0.5, 1)]
people += [(f"long, noise {n:g}", person(noise=n, length_taste=0.6), "length")
           for n in (0, 0.12, 0.24)]
points = []
for name, who, group in people:
    rng = np.random.default_rng(0)
    times = [(judge_all(who, rng), judge_all(who, rng)) for _ in range(10)]
    same = np.mean([self_consistency(*pair) for pair in times])
    points.append((name, same, np.mean([right(pair[0]) for pair in times]), group))
    print(f"{name:16} himself {same:.0%}   gold judge {points[-1][2]:.0%}")

# %%
by = {name: (same, good) for name, same, good, _ in points}
assert by["long, noise 0"][0] == 1 and by["long, noise 0"][1] < by["noise 0.12"][1]
assert abs(by["clicks 100%"][0] - 0.5) < 0.05 and by["noise 0.12"][0] < 0.9
show(figures.consistency(points),
     "To the right: more self-consistent; up: closer to the gold judge. The usual annotator, "
     f"noise 0.12, agrees with himself on {by['noise 0.12'][0]:.0%} and with the gold judge on "
     f"{by['noise 0.12'][1]:.0%}. The lover of long answers without noise agrees with himself on "
     f"100%, yet with the gold judge only on {by['long, noise 0'][1]:.0%}.")

# %% [markdown]
# Two things to remember. First, half is the floor: it is what clicking at random gives. Second,
# self-consistency measures noise, not taste. A person can be perfectly consistent and want
# something else than you.
#
# ## Part C: several annotators
#
# Noise differs from person to person, so a majority vote should remove it.
#
# **Exercise 07.3.** Write it with weights, for people whom you trust more. One line.

# %%
def majority_vote(votes, weights):
    """votes (A, P): signs by A annotators, weights (A,) -> signs (P,), 0 where they balance."""
    ### BEGIN SOLUTION
    return np.sign(weights @ votes)
    ### END SOLUTION

# %%
majority_vote = check(majority_vote)

# %% [markdown]
# Whom do you trust? Nobody knows the gold judge. But you can count how often, $p$, a person agrees
# with the plain majority, and give the weight $\log(p / (1-p))$: at one half it is 0.

# %%
rng, COUNTS = np.random.default_rng(0), (1, 3, 5, 7, 9, 11)

def panel(who, size):
    """-> votes (10, size, P): ten panels of people who are all like this one."""
    return np.array([[judge_all(who, rng) for _ in range(size)] for _ in range(10)])

noisy = panel(person(noise=0.24), 11)
long = panel(person(noise=0.24, length_taste=0.6), 11)
grow = [(name, [np.mean([right(majority_vote(v[:n], np.ones(n))) for v in votes]) for n in COUNTS])
        for name, votes in (("noise", noisy), ("same taste", long))]

# %%
mixed = np.concatenate([noisy[:, :3], panel(person(careless=1.0), 6)], axis=1)
table = []
for votes in mixed:  # (A, P)
    plain = majority_vote(votes, np.ones(9))
    p = np.mean(votes == plain, axis=1)  # (A,)
    weighted = majority_vote(votes, np.log(p / (1 - p)))
    table.append([right(votes[0]), right(plain), right(weighted)])
bars = dict(zip(("one careful", "plain vote", "weighted"), np.mean(table, axis=0)))
assert grow[0][1][-1] > 0.95 and grow[1][1][-1] < 0.9 and bars["weighted"] > bars["plain vote"]
show(figures.votes(COUNTS, grow, bars),
     f"Left: from 1 to 11 noisy annotators the vote rises from {grow[0][1][0]:.0%} to "
     f"{grow[0][1][-1]:.0%} right pairs. People who all love long answers get from "
     f"{grow[1][1][0]:.0%} to {grow[1][1][-1]:.0%}: more of them do not help. Right: weights from "
     f"agreement lift nine from {bars['plain vote']:.0%} to {bars['weighted']:.0%}.")

# %% [markdown]
# ## Part D: four people, four Rufuses
#
# The same questions and the same answers are put before four simulated people. a1 has nearly no
# taste. `greets` wants a greeting first, `brief` the bare answer, and `pirate` speaks like one.
# Each teaches a Rufus of his own, who learns once, at the end. A fifth Rufus has two teachers,
# `greets` and `brief`, who take turns.

# %%
names = ("a1", *TASTES)
persons = {name: make_person(name, "en", seed) for seed, name in enumerate(names)}
pair = [persons["greets"], persons["brief"]]
sessions = {name: runs.judged_by([persons[name]], rows, setup) for name in names}
sessions["both"] = runs.judged_by(pair, rows, setup)
rufus = {name: compute_states(setup, log)[-1] for name, log in sessions.items()}
asked = world.questions("train")
said = {name: runs.answers_of(setup, state, asked, 10, 1) for name, state in rufus.items()}
for name in names:
    print(f"{name:7}", " | ".join(said[name][q][0] for q in asked[:4]))

# %% [markdown]
# **Predict before you run.** What does the Rufus with two teachers say?
#
# - A. The middle: a greeting, then the bare answer.
# - B. Now what the one wants, now what the other wants.
# - C. The plain sentence, which offends neither.
#
# **Exercise 07.4.** One letter.

# %%
### BEGIN SOLUTION
two_teachers = "B"
### END SOLUTION

# %%
answer("07.4", two_teachers)

# %%
def manner(question, text):
    """-> which wish an answer fulfils."""
    for name in ("greets", "brief", "a1"):
        if pleases(persons[name], question, text):
            return "plain" if name == "a1" else name
    bare = text.removeprefix(world.greetings[0]).strip()
    return "middle" if bare != text and pleases(persons["brief"], question, bare) else "broken"

KINDS, share = ("greets", "brief", "plain", "middle", "broken"), {}
for name in ("greets", "brief", "both"):
    found = [manner(q, text) for q in asked for text in said[name][q]]
    share[name] = {kind: found.count(kind) / len(found) for kind in KINDS}
    print(f"taught by {name:7}" + "".join(f"  {k} {share[name][k]:.0%}" for k in KINDS))

# %%
mix = share["both"]
assert min(mix["greets"], mix["brief"]) > 0.15 and max(mix["middle"], mix["plain"]) < 0.1
assert abs(mix["broken"] - share["greets"]["broken"]) < 0.05
assert all(mix[name] < 0.5 * share[name][name] for name in ("greets", "brief"))
print(said["both"]["How are you?"])

# %% [markdown]
# He does not find the middle; he mixes, and each teacher is pleased less than half as often as by a
# Rufus of his own. Each also had only half of the rounds. About as many sentences are broken as in
# the Rufus of `greets`.
#
# Now compare the people, and then the Rufuses that they made.

# %%
ranked = {name: session_rankings(sessions[name]) for name in names}
taus = [[agreement.agreement(ranked[a], ranked[b])[0] for b in names] for a in names]
others = {name: runs.answers_of(setup, rufus[name], asked, 10, 2) for name in names}
same = [[runs.overlap(said[a], others[b]) for b in names] for a in names]
happy = [[np.mean([pleases(persons[b], q, text) for q in asked for text in said[a][q]])
          for b in names] for a in names]
print(f"greets and pirate: tau {taus[1][3]:.2f}, the same sentence in {same[1][3]:.0%}")

# %%
heard = [text for r in rounds for text in r.responses]
assert sum("Hi!" in text for text in heard) <= 3 and not any("Arr" in text for text in heard)
assert all(same[k][k] == max(same[k]) for k in range(4))
assert taus[1][3] == max(taus[1][0], taus[1][2], taus[1][3]) and same[1][3] < 0.01
show(figures.people_and_rufuses(names, np.array(taus), np.array(same), np.array(happy)),
     f"Left: greets and pirate rank the same answers with tau {taus[1][3]:.2f}. Middle: share of "
     f"same sentences; the diagonal compares two draws of one Rufus, {same[0][0]:.2f} for a1; the "
     f"Rufuses of greets and pirate have {same[1][3]:.2f}. Right: the brief Rufus pleases brief in "
     f"{happy[2][2]:.0%}, the pirate Rufus the pirate in {happy[3][3]:.0%}.")

# %% [markdown]
# Greets and pirate rank alike, and yet their Rufuses have nothing in common. Hardly any of these
# answers had a greeting, and none a pirate's call. What nobody says cannot be ranked. Their wishes
# came in by the corrections. The pirate has the longest way to go and would need more rounds.

# %%
# rankings of the same answers only: each typed correction would make another set of answers
ranks_only = [[row for row in sessions[name] if row["kind"] != "correction"]
              for name in ("greets", "brief")]
merged, _ = agreement.merge_sessions(ranks_only)
print(f"{len(merged)} rankings by {merged[0].annotator}; the first question: {merged[0].prompt}")
three = [session_rankings(log)[0] for log in ranks_only] + [merged[0]]
for name, ranking in zip(("greets", "brief", "both"), three):
    order = sorted(zip(ranking.ranks, ranking.responses))
    print(f"   {name:7}" + "  ".join(f"{rank} {text}" for rank, text in order))

# %% [markdown]
# **In class: swap sessions.** Give your file to a neighbour and take theirs. Replay it. Can you
# tell from what Rufus says which rule they followed? `agreement` counts where you differ;
# `merge_sessions` makes one data set, with mean ranks, as in lesson 03.

# %% [markdown]
# **After 1.** Two annotators each agree with themselves on every repeated pair. Their orders have
# nothing to do with each other. What do you know?
#
# - A. One of them does not pay attention.
# - B. A majority vote of the two will show who is right.
# - C. They have different tastes. Somebody must decide what Rufus should be.
#
# <details><summary>Answer</summary>
#
# **C.** No noise, so it is taste. Two votes that oppose each other give 0, and no formula can
# choose.
#
# </details>

# %% [markdown]
# **After 2.** All your annotators like long answers. You hire ten times as many of the same kind.
# What becomes better?
#
# - A. The noise goes. The taste for length stays.
# - B. Both go: the more people, the nearer to the truth.
# - C. Nothing: their votes were consistent before.
#
# <details><summary>Answer</summary>
#
# **A.** See the orange line: it rises while noise averages out, and stays below the other. What all
# have in common does not average out.
#
# </details>

# %% [markdown]
# **After 3.** In this lesson Rufus was taught by corrections and by rankings. Which sentence does
# the measurement support?
#
# - A. Rankings teach him more facts than corrections do.
# - B. After 20 rounds corrections lead, in the median; the seeds overlap, and truth has fallen.
# - C. Without his own annotator Rufus learns nothing.
#
# <details><summary>Answer</summary>
#
# **B.** With rankings truth falls less, but it falls: nothing is added. And C is far off: 60
# rankings by other people do most of it.
#
# </details>

# %% [markdown]
# **In a terminal.** `python -m minirlhf teach --annotator YOU` goes on for as long as you like.
# `teach --simulate pirate` lets you watch, and `teach --replay` computes a session again. In a
# notebook without a panel, `tell(session, "2 > 1 > 3 = 4")` does the same.
#
# **At scale.** Annotators of InstructGPT agreed with each other on about three pairs of four
# ([Ouyang et al. 2022](https://arxiv.org/abs/2203.02155), section 3.4).
# Comparing while a model learns comes from
# [Christiano et al. 2017](https://arxiv.org/abs/1706.03741). Weights for annotators are as old as
# [Dawid and Skene 1979](https://doi.org/10.2307/2346806).
#
# Next, lesson 08: what goes wrong.
