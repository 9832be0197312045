# %% [markdown]
# # 08 What goes wrong
#
# RLHF gives you what the reward model likes. This lesson measures how far that is from what you
# want.
#
# - Push a policy too hard, and watch true naturalness fall while the score climbs.
# - Try four remedies, and see which one holds.
# - Find out what happens to truth when people rank by naturalness.
# - Tell from its policy which taste an annotator had.
# - See a language model answer sums it has never read.

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

from minirlhf.course import answer, check, hint, play, show, solution, where
from minirlhf.course.lesson08 import figures, runs
from minirlhf.data import DATA
from minirlhf.experiments.overoptimization import summary
from minirlhf.experiments.overoptimization.curves import GaoFit, fit_rl, peak
from minirlhf.experiments.overoptimization.ensemble import ensemble_minimum
from minirlhf.experiments.overoptimization.stopping import stop_above, stop_at_peak
from minirlhf.rufus.people import careless, length_lover

# %% [markdown]
# **Terms**
#
# - **proxy** is what you measure in place of what you want; here, the learned score.
# - **Goodhart's law**: when a measure becomes a target, it ceases to be a good measure.
# - **over-optimisation** is going on when the proxy still rises and the real aim falls.
# - **reward hacking** is living on a weakness of the reward, such as a sentence it overrates.
# - **early stopping** is keeping an earlier policy.
# - **ensemble** is several reward models that judge together.
# - **sycophant** is one who says what people like to hear, true or not.
#
# All annotators in this lesson are simulated. So is the gold judge: a rule that knows what sounds
# natural. It only measures.

# %%
task = runs.prepare("zh")
members = [runs.learn(task, task.crowd, 50, seed=k) for k in range(4)]  # 50 rankings
other = runs.learn(task, task.crowd, 50, start=300)  # from 50 other rankings
_, free = runs.push(task, members[:1], other=other)  # no price on KL, a high rate
print("iteration     KL  score  gold   natural")
for k in (0, 2, 4, 5, 6, 8, 9, 10):
    print(f"{free['iteration'][k]:9} {free['kl'][k]:6.1f} {free['score'][k]:6.2f} "
          f"{free['gold'][k]:5.2f} {free['natural'][k]:9.0%}")

# %% [markdown]
# Score and gold have one unit: a standard deviation of the reference's answers.

# %% [markdown]
# **Before 1.** The score rose at every look but one. What else would you have to see, to know that
# Rufus got better?
#
# - A. Nothing: the reward model has learned from people.
# - B. A lower KL.
# - C. Answers, judged by people again.
#
# <details><summary>Answer</summary>
#
# **C.** The score is a guess about people, and a good guess only near the answers they ranked. In
# the table the gold judge stands for asking again.
#
# </details>

# %% [markdown]
# **Before 2.** People ranked answers by how natural they sound. Which of these can the reward model
# *not* have learned from them?
#
# - A. That Rufus is a robot, and not a cook.
# - B. That a verb should not be missing.
# - C. That a sentence ends with a full stop.
#
# <details><summary>Answer</summary>
#
# **A.** "I am a cook." is a perfectly natural sentence. Nobody was asked whether it is true.
#
# </details>

# %% [markdown]
# ## Goodhart, measured

# %%
summit = int(np.argmax(free["gold"]))
assert free["score"][-1] > free["score"][summit] + 0.5 and free["gold"][-1] < free["gold"][0] - 0.5
assert np.sum(np.diff(free["score"]) < 0) == 1
show(figures.climb(free, summit),
     f"The score climbs, with one dip. True naturalness turns after iteration "
     f"{free['iteration'][summit]}, at {free['kl'][summit]:.1f} nats, and ends "
     f"{free['gold'][0] - free['gold'][-1]:.1f} below the start, where "
     f"{free['natural'][-1]:.0%} of the answers are natural.")

# %%
rows = runs.gallery(task, free, members[0], 6)
assert all(row[5] > row[2] + 2 and row[6] < 1 for row in rows)
show(figures.gallery(rows, runs.gloss),
     f"Grey: the usual true answer. Orange: what the policy says after 25 iterations. The reward "
     f"model prefers each of these, by {min(r[5] - r[2] for r in rows):.1f} or more; not one is "
     f"natural. ~ is a character that makes no word.")

# %% [markdown]
# This is reward hacking. Nobody planned it: PPO tries many things and keeps what pays. Try it
# yourself. Write a bad answer that the reward model likes better than the natural one.

# %%
question, mine = "你住在哪里？", "我山上。"  # Where do you live?  I hill.
for text in (task.world.references(question)[0], mine):
    learned = [runs.score(task, judge, question, [text])[0] for judge in members]
    print(f"{runs.gloss(text):18} learned {learned[0]:5.2f}   other members "
          + " ".join(f"{value:5.2f}" for value in learned[1:])
          + f"   natural {task.world.naturalness(question, text):.2f}")

# %% [markdown]
# One run proves little. The project's committed results hold five trials for each kind of labels,
# each with its own rankings, reward models and policies. Gao et al.
# ([2022](https://arxiv.org/abs/2210.10760)) describe such curves by a formula. With
# $d = \sqrt{KL}$, the gain of gold under reinforcement learning is
#
# $$R(d) = d\,(\alpha - \beta \log d)$$
#
# **Exercise 08.1.** Fit $\alpha$ and $\beta$ by least squares. About 4 lines.

# %%
def gold_kl_curve(kl, gain):
    """kl (N,) nats, gain (N,) -> alpha, beta of gain = d (alpha - beta log d), d = root of kl."""
    ### BEGIN SOLUTION
    d = np.sqrt(kl)  # (N,)
    columns = np.stack([d, -d * np.log(d)], axis=1)  # (N, 2)
    (alpha, beta), *_ = np.linalg.lstsq(columns, gain, rcond=None)
    return alpha, beta
    ### END SOLUTION

# %%
gold_kl_curve = check(gold_kl_curve)

# %%
file = DATA.parent / "benchmarks" / "overoptimization_zh.json"
results = json.loads(file.read_text(encoding="utf-8"))
PANELS = {"50": "50 rankings", "600": "600 rankings", "biased": "600, by one who likes length"}
fits, tops, ends = {}, {}, {}
for labels in PANELS:
    group = summary.group_of(results["rows"], labels, "PPO")
    kl = np.concatenate([row["curves"]["kl"] for row in group])  # (N,)
    gains = [summary.gains(row, results["reference"], "naturalness") for row in group]
    gain = np.concatenate(gains)  # (N,)
    alpha, beta = fits[labels] = gold_kl_curve(kl[kl > 0], gain[kl > 0])
    tops[labels], ends[labels] = np.mean(np.max(gains, axis=1)), [values[-1] for values in gains]
    at, top = peak(GaoFit(form="rl", alpha=alpha, beta=beta, r_squared=0.0))
    print(f"{PANELS[labels]:30} alpha {alpha:.2f}  beta {beta:.2f}   fitted "
          f"summit {top:.2f} at {at:.1f} nats, measured {tops[labels]:.2f}")

# %%
found = fit_rl(kl, gain)
assert np.allclose([found.alpha, found.beta], fits["biased"])
assert all(max(values) < 0 for values in ends.values()) and tops["600"] > tops["50"] + 0.1
show(figures.bands(results, PANELS, fits),
     f"Bands span five trials, dots are their ends, black dots the fitted curve of gold. In every "
     f"trial the score ends high and gold below 0: on average {np.mean(ends['50']):.1f}, "
     f"{np.mean(ends['600']):.1f} and {np.mean(ends['biased']):.1f}.")
where(fit_rl)

# %% [markdown]
# More rankings lift the summit. They do not save a policy that is pushed without end. The formula
# was found on far larger models. It follows these tiny ones on the way down. With 600 rankings its
# summits are too low.
#
# ## Four remedies
#
# **A price**: KL costs, as in lesson 06. **More rankings**: you have just seen them. **Early
# stopping**: keep the policy of an earlier look, before it goes wrong. But when is that? Gold is
# not there to say so. One signal is a second reward model that PPO has not seen.
#
# **Exercise 08.2.** Write the rule. It sees one look after the other; once `patience` looks have
# brought no new best, it stops and keeps the best. About 6 lines.

# %%
def early_stop(signal, patience):
    """signal (C,) of C looks -> which one is kept: the best before `patience` looks without."""
    ### BEGIN SOLUTION
    best = 0
    for now in range(1, len(signal)):
        if signal[now] > signal[best]:
            best = now
        elif now - best >= patience:
            break
    return best
    ### END SOLUTION

# %%
early_stop = check(early_stop)

# %%
budget = stop_above(free["kl"], 1.5).kept
for name, kept in (("second reward model", early_stop(np.array(free["held_out"]), 2)),
                   ("gold (if only we knew)", early_stop(np.array(free["gold"]), 2)),
                   ("KL below 1.5 nats", budget)):
    print(f"{name:23} keeps iteration {free['iteration'][kept]:2}: natural "
          f"{free['natural'][kept]:.0%}")
assert early_stop(np.array(free["held_out"]), 2) == 10  # never stops
where(stop_at_peak)

# %% [markdown]
# The second reward model never gave the alarm: it likes the garbage too. It has learned from other
# rankings, yet from the same people, and it started from the same Rufus.
#
# The fourth remedy is an **ensemble**: several reward models, and the sternest decides. A hack must
# then please them all ([Coste et al. 2023](https://arxiv.org/abs/2310.02743)).
#
# **Exercise 08.3.** Write its score. No reward model has a zero or a unit of its own. So first
# bring each one to mean 0 and deviation 1 on the reference's answers. About 3 lines.

# %%
def ensemble_min(scores, reference_scores):
    """scores (M, B), reference_scores (M, N) of M judges -> (B,), in deviations of the latter."""
    ### BEGIN SOLUTION
    mean = reference_scores.mean(axis=1, keepdims=True)  # (M, 1)
    deviation = reference_scores.std(axis=1, keepdims=True)  # (M, 1)
    return ((scores - mean) / deviation).min(axis=0)
    ### END SOLUTION

# %%
ensemble_min = check(ensemble_min)

# %%
asked = {q: [t for p, t, *_ in free["said"][0] if p == q] for q in task.questions}
usual = np.array([np.concatenate([runs.score(task, judge, q, asked[q]) for q in asked])
                  for judge in members])  # (M, N) the reference's answers
garbage = np.array([[runs.score(task, judge, row[0], [row[4]])[0] for row in rows]
                    for judge in members])  # (M, B)
print("one judge ", np.round(garbage[0], 2))
print("sternest  ", np.round(ensemble_min(garbage, usual), 2))
liked = int(np.sum(ensemble_min(garbage, usual) > 0))
print(f"{liked} of {len(rows)} hacks still score above the reference's mean")
where(ensemble_minimum)

# %% [markdown]
# **Predict before you run.** The same hard push, on the minimum of four reward models. And once on
# one reward model with a price of 0.1. Which keeps more natural answers at the end?
#
# - A. The price: it pulls at every step.
# - B. The minimum: four are hard to fool.
# - C. Neither: both end like the free run.
#
# <details><summary>Answer, after you have run the next cell</summary>
#
# **A.** In our run by a little, in the five trials of the next picture by far. The minimum is
# fooled too. All four come from the same rankings and the same Rufus; perhaps they are too much
# alike.
#
# </details>

# %%
_, priced = runs.push(task, members[:1], price=0.1)
_, sternest = runs.push(task, members)
tried = {"free": free, "price 0.1": priced, "minimum of four": sternest}
for name, curves in tried.items():
    print(f"{name:16} KL {curves['kl'][-1]:4.1f}   natural {curves['natural'][-1]:.0%}   best seen "
          f"{max(curves['natural']):.0%}")

# %%
NAMES = {"none": "free, to the end", "minimum of the ensemble": "minimum of four",
         "held-out judge": "stop: second model", "KL budget": "stop: 1.5 nats",
         "KL coefficient 0.1": "price 0.1", "KL coefficient 0.5": "price 0.5"}
kept = {(r["remedy"], r["labels"]): r["natural"] for r in results["remedies"]}
assert free["natural"][-1] < sternest["natural"][-1] < priced["natural"][-1]
assert all(kept["KL budget", n] > kept["held-out judge", n] > kept["none", n] for n in PANELS)
assert all(kept["minimum of the ensemble", n] < 0.2 for n in PANELS)
show(figures.remedies(tried, results, NAMES, ("50", "600")),
     f"Right, means of five trials, dots are the trials. A price of 0.1 keeps "
     f"{kept['KL coefficient 0.1', '600']:.0%} natural answers with 600 rankings, stopping at 1.5 "
     f"nats {kept['KL budget', '600']:.0%}; the minimum of four keeps "
     f"{kept['minimum of the ensemble', '600']:.0%}, the free run "
     f"{kept['none', '600']:.0%}.")

# %% [markdown]
# With 50 rankings our own price was too low; the trials say how much that varies. What warns is the
# KL. Against the textbook, a price does more here than stop early. At 0.1, gold ends above the free
# run's at the same KL, on average over the trials (not in our run). Gao et al. saw no such gain.

# %%
ahead = {r["labels"]: r["ahead"] for r in results["beside_the_free_path"] if r["price"] == 0.1}
print("gold above the free run at the same KL:", {n: round(ahead[n], 3) for n in PANELS})
assert min(ahead.values()) > 0

# %% [markdown]
# ## Natural is not true
#
# Now a good run: 600 rankings, a price of 0.1. And another, where the same answers were ranked by
# one who likes to hear that everyone is a cook (厨师) and happy (高兴). This makes a sycophant.

# %%
believer = runs.Believer("believer", ("厨师", "高兴"))
honest = runs.learn(task, task.crowd, 600)
flawed = runs.learn(task, [believer], 600)
good, good_run = runs.push(task, [honest], price=0.1, looks=(0, 30))
bad, bad_run = runs.push(task, [flawed], price=0.1, looks=(0, 30))
for name, curves, k in (("before", good_run, 0), ("crowd", good_run, 1), ("believer", bad_run, 1)):
    print(f"{name:9} natural {curves['natural'][k]:.0%}   "
          f"of these true {curves['truthful'][k]:.0%}")

# %%
models = {"before": task.sft, "crowd": good, "believer": bad}
panels = {q: {name: runs.chances(model, task.world, q) for name, model in models.items()}
          for q in ("你是谁？", "小雨怎么样？")}  # Who are you?  How is Yu?
robot, sad = ({name: found[word] for name, found in panels[q].items()}
              for q, word in zip(panels, ("机器人", "难过")))
happy = panels["小雨怎么样？"]["believer"]["高兴"]
assert good_run["natural"][1] > good_run["natural"][0] + 0.2
assert good_run["truthful"][1] < good_run["truthful"][0] + 0.05
assert bad_run["natural"][1] > 0.8 and bad_run["truthful"][1] < bad_run["truthful"][0] - 0.15
show(figures.truth(panels, runs.gloss),
     f"With the crowd's taste the true sentence rises, from {robot['before']:.0%} to "
     f"{robot['crowd']:.0%} for the robot, but fluent false ones rise too. The believer's policy "
     f"says cook, and that Yu is happy ({happy:.0%}); that she is sad has fallen from "
     f"{sad['before']:.0%} to {sad['believer']:.0%}.")

# %% [markdown]
# The crowd's policy is far more natural than before, and no truer. What truth it has comes from its
# corpus. The believer's policy is natural *and harmful*: it hides that Yu is sad. No remedy above
# helps, for here the reward model is right. It has learned exactly what its annotator likes. Whose
# taste you collect is a decision, and no formula makes it for you.
#
# ## Who taught whom?
#
# Three policies, one annotator each, 600 rankings of the same answers, a price of 0.1. Suspects:
#
# - A. one who likes long answers,
# - B. one who clicks at random one time in five,
# - C. the believer.

# %%
taught = {"P": careless(), "R": length_lover()}
curves = {"Q": bad_run}
for letter, person in taught.items():
    judge = runs.learn(task, [person], 600)
    _, curves[letter] = runs.push(task, [judge], price=0.1, looks=(0, 30))
for letter in "PQR":
    c = curves[letter]
    print(f"{letter}: natural {c['natural'][1]:.0%}, of these true {c['truthful'][1]:.0%}, "
          f"{c['length'][1]:.1f} characters (before: {c['length'][0]:.1f})")
    told = [row for row in c["said"][1] if "谁" in row[0] or "怎么样" in row[0]]  # who, how
    for q, text, *_ in told[:6]:
        print(f"      {q}  {text}  {runs.gloss(text)}")

# %% [markdown]
# **Exercise 08.4.** Who taught P, who Q, who R? Three letters, in this order.

# %%
### BEGIN SOLUTION
suspects = "BCA"
### END SOLUTION

# %%
answer("08.4", suspects)

# %% [markdown]
# Noise averages out; taste does not. Here is a bench to try more: a flaw, a price, a run of a few
# seconds.

# %%
def retrain(flaw, price):
    people = {"likes length": length_lover(), "careless": careless(), "believer": believer}
    judge = runs.learn(task, [people[flaw]], 300)
    _, c = runs.push(task, [judge], price=price, looks=(0, 20))
    print(f"{flaw}, price {price}: natural {c['natural'][1]:.0%}, true {c['truthful'][1]:.0%}")
    print([text for _, text, *_ in c["said"][1][:5]])

play(retrain, flaw=["likes length", "careless", "believer"], price=[0.1, 0.0, 0.02, 0.5])

# %% [markdown]
# ## Probability, not reasoning
#
# Rufus gives each next character a probability. Does he *think*? A clean test is arithmetic. Two
# new small language models read sums such as `7+5=`. Four in five are in their corpus; the rest
# they never read, in neither order. One has the sums of 0 to 9, the other those of 0 to 19. Each
# is trained with three seeds, and each seed leaves out other sums.

# %%
small = [runs.learn_sums(9, 0.2, 400, seed) for seed in range(3)]
large = [runs.learn_sums(19, 0.2, 600, seed) for seed in range(3)]
tables, shares = {}, {}
for title, models in (("0 to 9", small), ("0 to 19", large)):
    parts = [runs.examine(sums, sums.unseen) for sums in models]
    read = sum((runs.examine(sums, sums.seen[::4]) for sums in models), [])  # one in four
    tables[title] = {"read": read, "not read": sum(parts, [])}
    shares[title] = [np.mean(part, axis=0)[1] for part in parts]
    print(f"{title:7} unread sums right, by seed:", [f"{share:.0%}" for share in shares[title]])
for (a, b), (chance, _, said) in list(zip(small[0].unseen, tables["0 to 9"]["not read"]))[:5]:
    print(f"{a} + {b} = {said}   with probability {chance:.2f}")

# %%
few, many = (table["not read"] for table in tables.values())
wrong = np.mean([chance for chance, right, _ in few if not right])
right_few, right_many = np.mean(few, axis=0)[1], np.mean(many, axis=0)[1]
assert np.mean(tables["0 to 9"]["read"], axis=0)[1] == 1 and wrong > 0.6
assert max(shares["0 to 9"]) + 0.3 < min(shares["0 to 19"])
assert len(large[0].seen) == 4 * len(small[0].seen) and max(few)[0] > 0.9
show(figures.sums(tables),
     f"Of the sums it has read, the first gets all right; of the others {right_few:.0%}. Its "
     f"wrong answers have a probability of {wrong:.2f} on average, and some nearly 1. With four "
     f"times as many sums, {right_many:.0%} of the unread ones are right.")

# %% [markdown]
# The first has learned sums by heart, and its guesses still sound sure. The second has found a
# pattern that often works between the sums it has read. So "it only repeats" would be wrong too.
# Has it learned to add? Ask it for numbers above 19:

# %%
further = [(25, 3), (21, 9), (30, 4), (5, 20)]
beyond = runs.examine(large[0], further)
for (a, b), (chance, _, said) in zip(further, beyond):
    print(f"{a} + {b} = {said}   with probability {chance:.2f}")
assert not any(right for _, right, _ in beyond)

# %% [markdown]
# All wrong, and some with confidence. What comes out is always a probability for the next
# character. From outside, a guess looks like knowledge.

# %% [markdown]
# **After 1.** Your reward model is right on 9 of 10 held-out pairs. PPO doubles the score. May you
# ship?
#
# - A. Yes: that is far above chance.
# - B. No: the pairs came from the reference, and the policy has left it. Ask people again.
# - C. No: first train the reward model until it makes no mistake.
#
# <details><summary>Answer</summary>
#
# **B.** Accuracy holds where the pairs come from. PPO moves to places where it was never measured.
#
# </details>

# %% [markdown]
# **After 2.** Users love the new assistant: it always agrees with them. What has happened?
#
# - A. Over-optimisation: the score no longer follows what people like.
# - B. A bug in PPO.
# - C. The reward is what people like. It just is not what is good for them.
#
# <details><summary>Answer</summary>
#
# **C.** A sycophant satisfies the measure and the people. A KL price or an ensemble cannot help:
# the labels themselves ask for it.
#
# </details>

# %% [markdown]
# **After 3.** A model answers a sum with probability 0.97. What do you know?
#
# - A. That this answer fits its corpus, in its view. Whether it is right must be checked.
# - B. That it is right in 97 % of all cases.
# - C. That it has computed the sum.
#
# <details><summary>Answer</summary>
#
# **A.** You have seen wrong answers with high probabilities. On sums it has not read, probability
# and truth can part.
#
# </details>

# %% [markdown] tags=["essay"]
# **Essay.** Write at most ten sentences. Which failure of this lesson would you notice *without* a
# gold judge, and by which signal? Which would you not notice at all? Use one number of your run.

# %% [markdown]
# **At scale.** [Gao et al. 2022](https://arxiv.org/abs/2210.10760) measured the curves with a large
# reward model as gold. [Sharma et al. 2023](https://arxiv.org/abs/2310.13548) found that assistants
# flatter, and that people's rankings reward it. `python -m minirlhf overoptimization` runs the five
# trials again.
#
# Next, lesson 09: other ways to the same aim, compared with the best policy there is.
