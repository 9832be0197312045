# %% [markdown]
# # 03 Score or rank? Annotators are noisy
#
# The story of this course collects several responses to each prompt, and lets people rank them. It
# says: do not ask for scores, because annotators are noisy. Here that is tested.
#
# - Collect candidates from two versions of Rufus.
# - Know what happens between the eye of a simulated annotator and the score on the page.
# - See which distortions ranks survive, and which they do not.
# - Measure how far annotators agree, and read the measures with care.
# - Find out by experiment when ranks recover the true order better, and when scores do.
#
# All annotators here are simulated. Nothing below shows what real people do.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads are slower for small matrices
try:
    import minirlhf
except ModuleNotFoundError:
    print("minirlhf is missing here. Run this in a cell of its own, then all cells again:\n"
          "%pip install matplotlib git+https://github.com/OWNER/minirlhf")

# %%
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from minirlhf import step2_reward_model as step2
from minirlhf.course import check, hint, play, pretrained, show, where
from minirlhf.course.lesson03 import figures
from minirlhf.data import DATA, read_demonstrations
from minirlhf.rufus import pipeline
from minirlhf.rufus.answers import ask, collect_answers
from minirlhf.rufus.people import Annotator, make_annotators
from minirlhf.rufus.world import World

# %% [markdown]
# **Terms**
#
# - **rank** is the place of an answer among those shown; the rank of the best is 1.
# - **tie** means that two answers get the same value. With ties, equal answers share the average of
#   their places.
# - **bias** is a number of points that one annotator adds to every score. Each annotator has their
#   own bias: generous or strict.
# - **scale** is how much of the points an annotator uses. A person with a small own scale gives
#   3, 4 and 5 only.
# - **noise** is what changes when the same person looks at the same answer again. A careful
#   person has little noise.
# - **monotone** means that larger stays larger: such a function never swaps two values.
# - **Pearson correlation** is 1 when two lists lie on a rising straight line, 0 when they have
#   nothing to do with each other.
# - **Kendall's tau** is the share of pairs in the same order minus the share in opposite order.
# - **z-score** is a score minus the mean of its annotator, divided by that annotator's deviation.
# - **agreement** is how similar the verdicts of two annotators are. Below, the agreement between
#   people is measured in three ways.

# %%
world, QUESTION = World.load("en"), "Who are you?"
panel, rng = make_annotators(np.random.default_rng(0)), np.random.default_rng(1)
said = ["I am a robot.", "I am an a robot.", "I, a robot.", "unit: robot."]
print(" | ".join(said), "\n\nsimulated annotator   scores        ranks")
for person in panel:
    scores = person.score(world, QUESTION, said, rng)
    print(f"{person.name:21} {scores}     {person.rank(world, QUESTION, said, rng)}")

# %% [markdown]
# **Before 1.** Ann gives three answers 5, 6 and 7 points. Ben gives the same answers 1, 2 and 3.
# What do they disagree about?
#
# - A. About which answer is best.
# - B. About nothing that a ranking would show.
# - C. About everything, since no two numbers are equal.
#
# <details><summary>Answer</summary>
#
# **B.** Both put the answers into the same order, with the same distances. Only their zero differs.
# C takes a score for a measurement with a common unit.
#
# </details>

# %% [markdown]
# **Before 2.** Every annotator scores every answer, and we average. One of them now becomes two
# points more generous. What happens to the order of the averages?
#
# - A. The answers that this person likes move up.
# - B. The answers that were good already move up.
# - C. Nothing.
#
# <details><summary>Answer</summary>
#
# **C.** Every average gets the same gift, unless a score hits the limit of 7. A generous person
# does harm only where some answers were shown to this person and others were not. That is the usual
# case: nobody has time for all.
#
# </details>

# %% [markdown]
# ## Candidates from several models
#
# One model alone repeats itself. Two versions of it offer more to choose from: Rufus as he was
# pretrained, and Rufus after a short fine-tuning.
#
# **Exercise 03.1.** Merge what the models said: in turn, no text twice, at most k. About 2 lines.
# Help: `hint("03.1")`.

# %%
def make_candidates(samples, k):
    """samples: one list of n texts per model -> at most k different texts, models in turn."""
    ### BEGIN SOLUTION
    turns = [text for turn in zip(*samples) for text in turn]
    return list(dict.fromkeys(turns))[:k]
    ### END SOLUTION

# %%
make_candidates = check(make_candidates)

# %%
base, demos = pretrained("en"), read_demonstrations(DATA / "en" / "sft.jsonl")
with tempfile.TemporaryDirectory() as folder:
    run = pipeline.Run(out=Path(folder), seed=0)
    tuned, _ = pipeline.run_sft(base, demos[: pipeline.DEMONSTRATIONS], run)
VERSIONS = {"pretrained": base, "fine-tuned": tuned}

# %%
def said_by(model, question, rng, n=50):
    """-> n finished responses, out of 60 samples."""
    answers = ask(model, [question] * 60, rng)
    good = [a.text for a in answers if a.finished and a.text.strip() and "<" not in a.text]
    assert len(good) >= n
    return good[:n]

# %%
QUESTIONS = [q for q in world.questions() if world.asked[q].person == "Rufus"]
rng, candidates, gold = np.random.default_rng(0), {}, {}
for question in QUESTIONS:
    samples = [said_by(model, question, rng) for model in VERSIONS.values()]
    candidates[question] = texts = make_candidates(samples, 20)
    gold[question] = np.array([world.naturalness(question, text) for text in texts])  # (20,)
    different = ", ".join(f"{len(set(texts))} of {len(texts)}" for texts in samples)
    print(f"{question:19} different: {different}; kept {len(candidates[question])}")
for i in np.argsort(-gold[QUESTION], kind="stable")[::4]:
    print(f"   naturalness {gold[QUESTION][i]:.2f}   {candidates[QUESTION][i]}")
assert all(len(texts) == 20 for texts in candidates.values())
where(collect_answers)

# %% [markdown]
# ## From the eye to the page
#
# A simulated annotator feels $f = $ naturalness $+$ small likings $+$ noise, and writes down
#
# $$\text{score} = \text{round}\,(4 + \text{bias} + 6 \cdot \text{scale} \cdot (f - 0.5)),
# \quad \text{never below 1 or above 7}$$
#
# A ranking only orders what was felt. Bias, scale and rounding cannot touch it.

# %%
print("naturalness     0.2    0.4    0.6    0.8    1.0")
for person in panel:
    felt = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
    points = np.clip(np.rint(4 + person.bias + 6 * person.scale * (felt - 0.5)), 1, 7)
    print(f"{person.name}, bias {person.bias:5.2f}, scale {person.scale:.2f}: {points.astype(int)}")
    calm = replace(person, noise=0.0, greeting_taste=0.0, length_taste=0.0)
    given = calm.score(world, QUESTION, candidates[QUESTION], rng)  # (20,)
    wanted = 4 + person.bias + 6 * person.scale * (gold[QUESTION] - 0.5)
    assert (given == np.clip(np.rint(wanted), 1, 7)).all()
where(Annotator)

# %% [markdown]
# **Exercise 03.2.** Turn numbers into ranks: 1 for the largest, equal numbers share the average of
# their places. About 3 lines.

# %%
def ranks(values):
    """values (K,), larger is better -> ranks (K,) floats, best = 1, ties averaged."""
    ### BEGIN SOLUTION
    better = (values > values[:, None]).sum(axis=1)  # (K,) how many are better than this one
    equal = (values == values[:, None]).sum(axis=1)  # (K,) this one included
    return better + (equal + 1) / 2
    ### END SOLUTION

# %%
ranks = check(ranks)

# %%
texts, levels = candidates[QUESTION], np.unique(gold[QUESTION])
points, places = np.zeros((5, len(levels))), np.zeros((5, len(levels)))
for a, person in enumerate(panel):
    looks = np.array([person.score(world, QUESTION, texts, rng) for _ in range(20)])  # (20, 20)
    seen = np.array([person.rank(world, QUESTION, texts, rng) for _ in range(20)])  # (20, 20)
    for i, level in enumerate(levels):
        points[a, i] = looks[:, gold[QUESTION] == level].mean()
        places[a, i] = seen[:, gold[QUESTION] == level].mean()

# %%
gaps = np.ptp(points, axis=0).max(), np.ptp(places, axis=0).max()
parts = 100 * gaps[0] / 6, 100 * gaps[1] / 19  # of the ranges 1 to 7 and 1 to 20
see = (f"Means of 20 looks. Left, the scores: for equally natural answers, five people are up to "
       f"{gaps[0]:.1f} points apart, {parts[0]:.0f} % of the range. Right, the ranks of the same "
       f"people: nearly one line, at most {gaps[1]:.1f} places or {parts[1]:.0f} %.")
assert 2 * parts[1] < parts[0]
show(figures.scores_and_ranks(levels, points, places, [p.name for p in panel]), see)

# %% [markdown]
# ## What ranks survive
#
# Bias and scale are monotone. So are many stranger habits, such as a person who is stingy with high
# points. A monotone function never changes a rank.

# %%
felt = panel[0].perceive(world, QUESTION, texts, rng)  # (20,)
again = panel[0].perceive(world, QUESTION, texts, rng)  # (20,)
habits = {"3 points more": felt + 3, "half the scale": felt / 2, "stingy: cubed": felt**3,
          "rounded to 7 points": np.rint(6 * felt), "a second look": again}
print("                      Pearson  ranks that changed")
for name, written in habits.items():
    changed = (ranks(written) != ranks(felt)).sum()
    print(f"{name:20} {np.corrcoef(felt, written)[0, 1]:8.3f}  {changed:9} of 20")
assert all((ranks(habits[name]) == ranks(felt)).all() for name in list(habits)[:3])

# %% [markdown]
# Rounding is the borderline: it swaps nobody, but it makes ties. Noise is no distortion of the
# scale. It swaps neighbours, and ranks suffer from it as scores do.
#
# ## Agreement
#
# **Exercise 03.3.** Write Kendall's tau for two lists that may have ties. Let $C$ pairs be in the
# same order, $D$ in opposite order, and let $n_x$, $n_y$ pairs not be tied in x, in y. Then
# $\tau = (C - D) / \sqrt{n_x n_y}$. About 2 lines.

# %%
def kendall_tau(x, y):
    """Two (n,) arrays -> Kendall's tau-b (Kendall 1945), between -1 and 1."""
    ### BEGIN SOLUTION
    a, b = np.sign(x[:, None] - x), np.sign(y[:, None] - y)  # (n, n) who is above whom
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))
    ### END SOLUTION

# %%
kendall_tau = check(kendall_tau)

# %%
judges, rng = panel + [Annotator("brief", length_taste=-1.5)], np.random.default_rng(2)
scores = np.array([person.score(world, QUESTION, texts, rng) for person in judges])  # (6, 20)
places = np.array([person.rank(world, QUESTION, texts, rng) for person in judges])  # (6, 20)
same = (scores[:, None] == scores).mean(axis=-1)  # (6, 6)
pearson = np.corrcoef(scores)  # (6, 6)
tau = np.array([[kendall_tau(x, y) for y in places] for x in places])  # (6, 6)
off = ~np.eye(6, dtype=bool) & (np.arange(6) < 5) & (np.arange(6)[:, None] < 5)  # the five
means = [table[off].mean() for table in (same, pearson, tau)]

# %%
names = [person.name for person in judges[:5]] + ["brief"]
titles = ["Same score: share", "Pearson of scores", "Kendall's tau of ranks"]
see = ("20 answers, 5 people and one who loves brevity. Mean over two of the five: same score "
       f"{means[0]:.2f}, Pearson {means[1]:.2f}, tau {means[2]:.2f}. Tau with the sixth: "
       f"{tau[5, :5].mean():.2f}.")
show(figures.agreement([same, pearson, tau], titles, names), see)

# %%
print(f"tau {means[2]:.2f}: two of the five order {50 * (1 + means[2]):.0f} % of pairs alike; "
      "the people of InstructGPT did so with 72.6 %")  # Ouyang et al. 2022, section 3.4
bell = 2 / np.pi * np.arcsin(means[1])  # Greiner 1909, for a bell-shaped cloud without ties
print(f"a Pearson correlation of {means[1]:.2f} corresponds to a tau of {bell:.2f}")
assert abs(bell - means[2]) < 0.05
gift = scores[:5] + np.array([2, 0, 0, 0, 0])[:, None]  # (5, 20)  a1 is generous now
assert (ranks(scores[:5].sum(axis=0)) == ranks(gift.sum(axis=0))).all()  # question 2

# %% [markdown]
# Read this with care. Two people write the same number for one answer in four. Pearson
# forgives every bias and scale, and finds much in common. Tau is smaller, but it is another unit:
# translated, both say the same. In this table rankings agree no better than scores do. Their
# strength must lie elsewhere: a score means something else for each person, a rank does not.
#
# The sixth column is a person with another criterion. No change of format cures that.
#
# ## Repairing scores
#
# If a person's bias and scale stay the same, they can be measured and removed.
#
# **Exercise 03.4.** Turn scores into z-scores, for each annotator apart. About 3 lines.

# %%
def zscore_per_annotator(scores):
    """scores (A, n), a row per annotator -> (A, n), each row with mean 0 and deviation 1."""
    ### BEGIN SOLUTION
    centred = scores - scores.mean(axis=1, keepdims=True)  # (A, n)
    spread = scores.std(axis=1, keepdims=True)  # (A, 1)
    return centred / np.where(spread > 0, spread, 1)
    ### END SOLUTION

# %%
zscore_per_annotator = check(zscore_per_annotator)

# %% [markdown]
# ## The experiment
#
# Answers are shown in sets of four, as they would be. One person scores a set, and ranks it in a
# separate look. One label is one answer that one person looked at, so a set costs four labels
# either way. From the labels we recover an order of all 20 candidates in three ways:
#
# - **mean score**: the plain average;
# - **z-scored**: the average of the z-scores;
# - **wins**: from the ranks alone, the share of the others in its sets that an answer beat.

# %%
def people(rng, spread, noise=0.12, count=5):
    """The package's people, their biases times `spread`; 0: no bias and the same scale for all."""
    made = make_annotators(rng, count, noise)
    if spread == 0:
        return [replace(person, bias=0.0, scale=1.0) for person in made]
    return [replace(person, bias=spread * person.bias) for person in made]

# %%
def mean_of(which, numbers):
    """Average for each answer; one that nobody has seen gets the overall mean -> (20,)."""
    seen = np.bincount(which.ravel(), minlength=20)
    total = np.bincount(which.ravel(), numbers.ravel(), minlength=20)
    return np.where(seen > 0, total / np.maximum(seen, 1), numbers.mean())

# %%
def gather(question, rng, labels, mood=0.0, **settings):
    """-> which answers (A, S, 4) were shown, their scores, their ranks; A people, S sets each."""
    panel = people(rng, **settings)
    shuffled = np.concatenate([rng.permutation(20) for _ in range(labels // 20)])
    which = shuffled.reshape(-1, len(panel), 4).swapaxes(0, 1)  # (A, S, 4)
    scores, places = np.zeros(which.shape), np.zeros(which.shape)
    for a, s in np.ndindex(which.shape[:2]):
        person = replace(panel[a], bias=panel[a].bias + rng.normal(0, mood))
        shown = [candidates[question][i] for i in which[a, s]]
        scores[a, s] = person.score(world, question, shown, rng)
        places[a, s] = person.rank(world, question, shown, rng)
    return which, scores, places

# %%
def three_ways(which, scores, places):
    """-> three estimates (20,) of how good each answer is."""
    z = zscore_per_annotator(scores.reshape(len(scores), -1)).reshape(scores.shape)
    won = (places[..., None] < places[..., None, :]).sum(axis=-1) / 3  # (A, S, 4)
    return [mean_of(which, numbers) for numbers in (scores, z, won)]

# %%
def one_run(settings, ways, labels, seed):
    """New people, one of the six questions -> shares (labels, ways)."""
    rng, question = np.random.default_rng([3, seed]), QUESTIONS[seed % 6]
    which, scores, places = gather(question, rng, max(labels), **settings)
    shares = []
    for n in labels:
        m = n // (4 * len(which))  # sets per person so far
        found = ways(which[:, :m], scores[:, :m], places[:, :m])
        shares.append([step2.pair_accuracy([u], [-gold[question]]) for u in found])
    return shares

# %%
LABELS = [20, 40, 60, 100, 160, 240, 320]

def experiment(settings, ways=three_ways, labels=LABELS, seeds=96):
    """-> share of the pairs that were put in the right order (seeds, labels, ways)."""
    return np.array([one_run(settings, ways, labels, seed) for seed in range(seeds)])

where(step2.pair_accuracy)

# %% [markdown]
# **Predict before you run.** Five people with strong biases (standard deviation 2 points, twice
# what the package has) give 100 labels. Which way orders most pairs right?
#
# - A. The mean score.
# - B. The z-scores.
# - C. The wins, which come from rankings.
#
# <details><summary>Answer, after you have run the next cell</summary>
#
# **B.** Twenty scores of one person are enough to find this person's bias and scale. Once they are
# gone, a score says a little more than a place among four. C is the story's answer. It is right
# against A, the naive use of scores.
#
# </details>

# %%
CASES = {
    "all alike": {"spread": 0}, "own bias, spread 2": {"spread": 2},
    "moods, spread 2": {"spread": 0, "mood": 2.0},
    "one careful person": {"spread": 1, "noise": 0.03, "count": 1},
}
results = {name: experiment(settings) for name, settings in CASES.items()}
print("share of pairs in the right order, mean of 96 seeds: mean score, z-scored, wins")
for name, shares in results.items():
    at = [LABELS.index(n) for n in (20, 100, 320)]
    cells = ["  ".join(f"{x:.2f}" for x in shares[:, i].mean(axis=0)) for i in at]
    print(f"{name:19}", "   |   ".join(cells))

# %%
MEAN, Z, WINS = range(3)

def crossing(shares):
    """Labels at which wins and the better use of scores change places, or None if they do not."""
    mean = shares.mean(axis=0)  # (L, 3)
    ahead = mean[:, :WINS].max(axis=1) - mean[:, WINS]  # (L,) lead of the scores
    for i in range(len(LABELS) - 1):
        if ahead[i] * ahead[i + 1] < 0:
            part = ahead[i] / (ahead[i] - ahead[i + 1])
            return LABELS[i] + part * (LABELS[i + 1] - LABELS[i])
    return None

# %%
cross = {name: crossing(shares) for name, shares in results.items()}
panels = [(name, shares, cross[name]) for name, shares in results.items()]
see = ("Means of 96 seeds; bars: 10th to 90th percentile; dotted: scores and wins change places. "
       "All alike: scores lead. Own bias: the mean score is last, z-scores pass wins at "
       f"{cross['own bias, spread 2']:.0f} labels. Moods: wins lead. One careful person: scores, "
       f"raw or z alike, lead up to {cross['one careful person']:.0f} labels.")
show(figures.learning_curves(LABELS, panels), see)

# %%
def surely(name, one, other, labels):
    """Does one way lead the other by more than 3 standard errors?"""
    shares = results[name][:, LABELS.index(labels)]  # (seeds, 3)
    lead = shares[:, one] - shares[:, other]
    return lead.mean() > 3 * lead.std() / np.sqrt(len(lead))

assert cross["all alike"] is None and cross["moods, spread 2"] is None
assert all(surely("all alike", MEAN, WINS, n) for n in LABELS)
assert surely("own bias, spread 2", WINS, MEAN, 100)
assert surely("own bias, spread 2", Z, WINS, 60)
assert all(surely("moods, spread 2", WINS, Z, n) for n in LABELS[1:])
assert surely("one careful person", MEAN, WINS, 20)
assert surely("one careful person", WINS, MEAN, 320)

# %% [markdown]
# So "rank, do not score" is neither true nor false. It depends on the annotators' faults:
#
# - **Nothing, or the same for all.** Scores win. A score also compares answers that were never
#   shown together; a place among four does not.
# - **A lasting bias.** Raw scores lose clearly. From about 30 labels on, their z-scores win, by
#   little.
# - **A bias that changes from sitting to sitting.** One number per person cannot repair that. Ranks
#   do not notice.
# - **One careful person.** Scores win while labels are few. Later the seven points are the limit:
#   rounding makes ties that more labels cannot break.
#
# ## How much bias does it take?
#
# Above, the spread was 2 points, or 0. The people of the package have a spread of 1.

# %%
SPREADS = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0]
own, moods = [], []
for x in SPREADS:
    own.append(experiment({"spread": x}, labels=[60], seeds=24)[:, 0])
    moods.append(experiment({"spread": 0, "mood": x}, labels=[60], seeds=24)[:, 0])
own, moods = np.stack(own, axis=1), np.stack(moods, axis=1)  # (seeds, spreads, 3)

# %%
panels = [("Own bias, for ever", "spread of the biases (points)", own),
          ("The same spread as moods", "spread of the moods (points)", moods)]

for title, _, shares in panels:
    print(f"{title}: mean score, z-scored, wins")
    for x, row in zip(SPREADS, shares.mean(axis=0)):
        print(f"   spread {x:.1f}:", "  ".join(f"{share:.2f}" for share in row))

# %%
falls, flat = 100 * own[:, [0, -1], MEAN].mean(axis=0), 100 * own[:, :, WINS].mean()
see = (f"60 labels. Wins stay at {flat:.0f} % whatever the spread; the mean score falls from "
       f"{falls[0]:.0f} to {falls[1]:.0f} %. z-scores resist a lasting bias, not moods.")
show(figures.sweep(SPREADS, panels, house=1.0), see)

# %% [markdown]
# An open question: why do z-scores weaken at a spread of 3? Count how many scores stand at 1 or 7.
#
# ## Is it the ranking, or our use of it?
#
# Wins are a crude use of ranks: who met weak opponents wins more. The package's ranking loss
# accounts for the opponents (lesson 04 explains how). Same rankings, better use:

# %%
def fitted(which, scores, places, steps=100, rate=40.0):
    """Gradient descent on the package's loss for rankings -> four ways, the fit last."""
    u, shown, place = np.zeros(20), which.reshape(-1, 4), places.reshape(-1, 4)
    for _ in range(steps):
        slopes = step2.ranking_loss(u[shown], place)[1]  # (sets, 4)
        u = u - rate * np.bincount(shown.ravel(), slopes.ravel(), minlength=20)
    return three_ways(which, scores, places) + [u]

print("labels                   mean   z-scored  wins   fit")
for name in ("own bias, spread 2", "one careful person"):
    four = experiment(CASES[name], fitted, [20, 60, 240], seeds=24).mean(axis=0)  # (3, 4)
    for n, row in zip((20, 60, 240), four):
        print(f"{n:4} {name:18}", "   ".join(f"{x:.3f}" for x in row))
assert four[0, MEAN] > four[0, 3] + 0.03 and four[1, MEAN] < four[1, 3]
where(step2.ranking_loss)

# %% [markdown]
# With strong biases the fit nearly catches up with the z-scores. With one careful person scores
# still win at 20 labels, but the fit is ahead at 60. Part of what looked like a weakness of ranks
# was a weakness of our counting.
#
# ## A silent bug
#
# Two people without any bias share the work: one scores what the pretrained model said, the other
# what the fine-tuned one said. Then z-scores, as above. Which model is better?

# %%
rng, written = np.random.default_rng(4), []
for name, model in VERSIONS.items():
    person = Annotator(f"scores the {name} model")
    points = [person.score(world, q, said_by(model, q, rng), rng) for q in QUESTIONS]  # 6 x (50,)
    written.append(np.concatenate(points))
repaired = zscore_per_annotator(np.array(written, float))
for name, raw, z in zip(VERSIONS, written, repaired):
    print(f"{name:11} mean score {raw.mean():.2f}, mean z-score {abs(z.mean()):.2f}")
assert written[1].mean() > written[0].mean() + 0.3 and np.allclose(repaired.mean(axis=1), 0)

# %% [markdown]
# Nothing failed, and the difference between the models is gone. Why? Would rankings have kept it?
#
# <details><summary>Answer</summary>
#
# A z-score removes the mean of an annotator. Here that is also the mean of a model, so the repair
# takes the finding with it. Rankings of sets from one model would have lost it as well. The cure is
# in the design: everyone sees all models, mixed. `collect_answers` shuffles for this reason.
#
# </details>
#
# ## Play with the annotators
#
# Five people, their own biases, and the noise of a single look. Where do the lines cross?

# %%
def redraw(bias_spread, noise):
    shares = experiment({"spread": bias_spread, "noise": noise}, seeds=12)
    at = shares[:, LABELS.index(100)].mean(axis=0)
    title = f"bias spread {bias_spread}, noise {noise}"
    show(figures.learning_curves(LABELS, [(title, shares, crossing(shares))], columns=1),
         f"At 100 labels: mean score {100 * at[0]:.0f} %, z-scored {100 * at[1]:.0f} %, "
         f"wins {100 * at[2]:.0f} % of the pairs in the right order.")

# %%
panels = []
for spread, noise in ((0, 0.03), (2, 0.03), (0, 0.3), (2, 0.3)):
    shares = experiment({"spread": spread, "noise": noise}, seeds=12)
    panels.append((f"bias spread {spread}, noise {noise}", shares, crossing(shares)))

# %%
at = [100 * shares[:, LABELS.index(100)].mean(axis=0) for _, shares, _ in panels]
see = (f"At 100 labels, mean score against wins. No bias: {at[0][0]:.0f} against {at[0][2]:.0f} % "
       f"with little noise, {at[2][0]:.0f} against {at[2][2]:.0f} % with much. Bias 2: "
       f"{at[1][0]:.0f} against {at[1][2]:.0f} %, and {at[3][0]:.0f} against {at[3][2]:.0f} %. "
       "Much noise hurts every way.")
show(figures.learning_curves(LABELS, panels), see)
play(redraw, bias_spread=[0, 0.5, 1, 2, 3], noise=[0.03, 0.12, 0.3])

# %% [markdown] tags=["essay"]
# **Essay.** You lead the labelling for a new robot. In which situation would you ask for scores
# instead of ranks? State the condition on the annotators, on the number of labels, and on who sees
# what. Support each with one number from this lesson. Name one thing about real people that these
# simulated annotators cannot tell you. (100 words or more; replace this cell.)

# %% [markdown]
# **After 1.** The Pearson correlation of scores was 0.75, the tau of ranks 0.56. What follows?
#
# - A. Nothing yet: the two numbers have different units.
# - B. Scores agree better, so ask for scores.
# - C. Scores may be averaged as they are.
#
# <details><summary>Answer</summary>
#
# **A.** For a bell-shaped cloud, 0.75 in the one unit is 0.54 in the other. C is worse: Pearson
# forgives biases, an average does not.
#
# </details>

# %% [markdown]
# **After 2.** Everyone's mood shifts their scores from one sitting to the next. Which labels lose
# nothing?
#
# - A. Mean scores, because moods average out.
# - B. z-scores, because they remove biases.
# - C. Ranks of answers seen in one sitting.
#
# <details><summary>Answer</summary>
#
# **C.** A mood moves a whole set, and its order stays. A is true in the end, with many more labels.
# B removes one mean per person, not one per sitting.
#
# </details>

# %% [markdown]
# **After 3.** With few labels, one careful person does better with scores than with ranks. Why?
#
# - A. A score also compares answers that were never shown together.
# - B. This person feels less noise when scoring than when ranking.
# - C. Careful people have no bias.
#
# <details><summary>Answer</summary>
#
# **A.** Two sets of four share no scale if they are only ranked. B: both looks had the same noise.
# C: this person had a bias; but one bias for all answers changes no order.
#
# </details>

# %% [markdown]
# **At scale.** InstructGPT (Ouyang et al. 2022) had about 40 people rank 4 to 9 responses at a
# time. Its trained annotators agreed with each other on 72.6 % of pairs. HelpSteer2 (Wang et al.
# 2024) asked for scores from 0 to 4 instead, and trained a reward model on them. So both are done.
# Our simulated people never tire, and rank as finely as they feel; real people do tire, and their
# rankings are not free of mistakes either.
#
# Next, lesson 04 turns rankings into numbers.
