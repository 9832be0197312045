# %% [markdown]
# # 09 Beyond PPO, and where to go next
#
# PPO is one way to raise a score at a price per nat. This lesson looks at the others.
#
# - Compute the best policy there is, and measure every method against it.
# - Drop parts of PPO one by one, and see what each of them was worth.
# - Train on pairs alone, without a reward model.
# - Count what each method costs.
# - Find every name of this package again in a library for large models.

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

from minirlhf.beyond import best_of_n, dpo, optimum
from minirlhf.beyond import policy_gradient as pg
from minirlhf.course import check, hint, play, show, solution, where
from minirlhf.course.lesson09 import exercises, figures, runs
from minirlhf.data import DATA

# %% [markdown]
# **Terms**
#
# - **exact optimum** is the best policy there is for one KL coefficient, computed, not trained.
# - **partition function** ($Z$) is the sum that makes its probabilities add up to 1.
# - **frontier** is the line of the highest expected score for each KL.
# - **regret** is how far a policy is from the optimum for its price, in nats.
# - **best-of-n** is sampling n answers and keeping the one with the best score.
# - **rejection sampling** is fine-tuning on such best answers.
# - **REINFORCE** is the plain policy gradient: reward times the gradient of the log-prob.
# - **baseline** is a number taken off the reward, so that only the surprise counts.
# - **RLOO** is REINFORCE whose baseline is the mean of the other answers to the same prompt.
# - **GRPO** is PPO's clip with a group's mean and deviation in place of a value function.
# - **gradient variance** is how much a gradient differs from one rollout to the next.
# - **DPO** is a loss on preference pairs that trains the policy directly.
# - **implicit reward** is $\beta$ times the log-ratio: what a policy behaves as if it were paid.
# - **IPO** is DPO with a squared error, so that the margin has a goal and stops there.

# %%
ANSWERS = ("I, a robot.", "I robot.", "I am robot.", "I am a robot.")
REF, SCORES = np.log([0.4, 0.3, 0.2, 0.1]), np.array([-1.0, 0.0, 0.5, 1.0])  # (N,)
for text, logprob, score in zip(ANSWERS, REF, SCORES):
    print(f"{text:14} reference {np.exp(logprob):.1f}   score {score:+.1f}")
print(f"expected score {np.exp(REF) @ SCORES:.2f}")

# %% [markdown]
# **Before 1.** Rufus earns the score and pays $\beta$ for each nat of KL. With unlimited training,
# what would he say?
#
# - A. The answer with the highest score, always.
# - B. The same as the reference, because leaving it costs.
# - C. All the answers of the reference, in new proportions.
#
# <details><summary>Answer</summary>
#
# **C.** Always saying one answer is expensive. Nothing is ruled out; good answers become likelier
# by a factor, bad ones rarer.
#
# </details>

# %% [markdown]
# **Before 2.** You sample 8 answers and keep the best one. Nothing is trained. How far is this from
# the reference?
#
# - A. KL is 0: the weights are the same.
# - B. Less than $\log 8$ nats.
# - C. There is no limit.
#
# <details><summary>Answer</summary>
#
# **B.** What counts is what is said, and that has changed. But no answer becomes more than 8 times
# as likely.
#
# </details>

# %% [markdown]
# ## The best policy
#
# Every method here wants the same thing: expected score minus $\beta$ KL, as high as possible. With
# all answers in a list, the best policy can be written down:
#
# $$\pi^*(y) = \pi_{ref}(y)\, e^{score(y)/\beta} / Z$$
#
# **Exercise 09.1.** Write it with logarithms. About 3 lines. Stuck? `hint("09.1")`.

# %%
def optimal_policy(ref_logprobs, scores, beta):
    """ref_logprobs, scores (N,) of all answers -> log-probs (N,) of the best policy, log Z."""
    ### BEGIN SOLUTION
    weights = ref_logprobs + scores / beta  # (N,)
    log_z = np.logaddexp.reduce(weights)
    return weights - log_z, log_z
    ### END SOLUTION

# %%
optimal_policy = check(optimal_policy)

# %%
def on_plane(probs):
    score, kl = runs.place(probs, REF, SCORES)
    return kl, score

print("beta    " + "".join(f"{text:>15}" for text in ANSWERS) + "     KL  score")
for beta in (2, 1, 0.5, 0.25):
    best = np.exp(optimal_policy(REF, SCORES, beta)[0])  # (N,)
    kl, score = on_plane(best)
    print(f"{beta:5}   " + "".join(f"{p:15.2f}" for p in best) + f"  {kl:5.2f}  {score:5.2f}")
for k, goal in ((2, [1 / 2, 1 / 2]), (1, [3 / 4, 1 / 4])):  # the two tokens of lesson 06
    two, _ = optimal_policy(np.log([1 / 4, 3 / 4]), np.array([1.0, -1.0]), k / np.log(3))
    assert np.allclose(np.exp(two), goal)

# %% [markdown]
# How good is any other policy? Let $J$ be its score minus $\beta$ KL. The best $J$ is
# $\beta \log Z$. The missing part, divided by $\beta$, is the regret. It is also a distance:
# KL(policy, optimum).

# %%
beta = 0.5
best, log_z = optimal_policy(REF, SCORES, beta)
best_of_4 = best_of_n.best_of_n_distribution(np.exp(REF), SCORES, 4)  # (N,)
rows = {"reference": np.exp(REF), "best-of-4": best_of_4, "optimum": np.exp(best)}
for name, probs in rows.items():
    kl, score = on_plane(probs)
    regret = log_z - (score - beta * kl) / beta
    print(f"{name:10} score {score:5.2f}  KL {kl:.2f}  regret {abs(regret):.3f}")
    assert np.isclose(regret, probs @ (np.log(probs) - best))

# %% [markdown]
# ### Rufus's best policy
#
# A transformer can say very many things. But its likely answers can be listed: a search follows
# every beginning until it has become too rare. So the exact optimum of the small Chinese Rufus is
# known, nearly.

# %%
task = runs.prepare("zh")  # reference, reward model, six questions; annotators are simulated
worlds = optimum.explore(task.models, task.prompts, task.limit, -1.0, 0.0, smallest=1e-5)
for question, world in zip(task.questions, worlds):
    print(f"{question}\t{len(world.scores):6} answers, together "
          f"{100 - 100 * world.texts.uncovered:.1f} %")
BETAS = np.geomspace(0.06, 20, 40)
FRONTIER = [(row.kl, row.reward) for row in (optimum.optimum(worlds, b) for b in BETAS)]
where(optimum.enumerate_texts)

# %%
FIRST = [(row.kl, row.reward) for row in (optimum.optimum(worlds[:1], b) for b in BETAS)]

def redraw(beta):
    texts, scores = worlds[0].texts, worlds[0].scores
    logprobs, _ = optimal_policy(texts.logprobs, scores, beta)  # (M,)
    top = np.argsort(-logprobs, kind="stable")[:8]
    rows = [texts.examples[k].ids[texts.examples[k].prompt_length : -1] for k in top]
    here = optimum.optimum(worlds[:1], beta)
    show(figures.best_policy({
        "answers": [task.sft.tokenizer.decode(row).strip() for row in rows],
        "ref": np.exp(texts.logprobs[top]), "best": np.exp(logprobs[top]),
        "curve": FIRST, "here": (here.kl, here.reward), "beta": beta}),
        f"Who are you? At a price of {beta:g} the favourite has {np.exp(logprobs[top[0]]):.0%}, in "
        f"the reference {np.exp(texts.logprobs[top[0]]):.1%}. The score rises to "
        f"{here.reward:.2f}, at {here.kl:.2f} nats.")

# %%
redraw(beta=0.2)

# %%
play(redraw, beta=[2.0, 1.0, 0.5, 0.2, 0.1, 0.06])

# %%
texts = worlds[0].texts
logprobs, _ = optimal_policy(texts.logprobs, worlds[0].scores, 0.06)  # (M,)
k = int(logprobs.argmax())
favourite = texts.examples[k]
said = task.sft.tokenizer.decode(favourite.ids[favourite.prompt_length : -1]).strip()
print(f"price 0.06: the favourite is {said}  {np.exp(logprobs[k]):.0%}, in the reference "
      f"{np.exp(texts.logprobs[k]):.1%}")
assert said == "我是是一个机器人。"  # is is

# %% [markdown]
# Move the price down and read the answers. At 0.06 the best policy says "is" twice. A cheap nat
# buys answers that the reference hardly ever gave, and the reward model may be wrong about those.
#
# ## Best-of-n: no training at all
#
# Sample n answers, let the reward model keep one. A formula for its KL is quoted everywhere:
#
# $$\log n - (n-1)/n$$
#
# It is an upper bound ([Beirami et al. 2024](https://arxiv.org/abs/2401.01879)). Here are the exact
# values.

# %%
COUNTS = (1, 2, 4, 8, 16, 32, 64)
bound = [(n, best_of_n.best_of_n_kl_bound(n)) for n in COUNTS]
rufus = runs.best_of_n_rows(task, worlds, COUNTS)
four = []
for n in COUNTS:
    kl, score = on_plane(best_of_n.best_of_n_distribution(np.exp(REF), SCORES, n))
    four.append((n, score, kl))
print("n        " + "".join(f"{n:7}" for n in COUNTS))
for name, row in (("bound", [b for _, b in bound]), ("Rufus", [r[2] for r in rufus]),
                  ("four", [r[2] for r in four])):
    print(f"KL {name:6}" + "".join(f"{abs(kl):7.3f}" for kl in row))

# %%
assert np.allclose([b for _, b in bound[:4]], [0, 0.193, 0.636, 1.204], atol=5e-4)
assert all(b[1] >= r[2] and b[1] >= f[2] for b, r, f in zip(bound[1:], rufus[1:], four[1:]))
kls, rewards = np.array(FRONTIER[::-1]).T  # (B,) each, KL rising
behind = np.interp([r[2] for r in rufus], kls, rewards) - [r[1] for r in rufus]
assert min(behind) > -0.01 and max(behind) < 0.1
show(figures.best_of(bound, {"Rufus": rufus, "four answers": four}, FRONTIER),
     f"Left: at n = 64 the bound says {bound[-1][1]:.2f} nats, Rufus moves {rufus[-1][2]:.2f}, the "
     f"four answers {four[-1][2]:.2f}, the log of 1 / 0.1. Right: best-of-n stays within "
     f"{max(behind):.2f} of the frontier.")

# %% [markdown]
# With four answers there is an end: always the best one, and then n does nothing more. Best-of-n is
# hard to beat. But its n answers are paid for at every question, for ever. Rejection sampling pays
# once and then fine-tunes.
#
# ## Without a value function
#
# PPO's value network guesses what to expect. REINFORCE needs no guess: reward times gradient of the
# log-prob is right on average. But it is noisy. A baseline helps, and other answers to the *same
# prompt* are a good one.
#
# **Exercise 09.2.** RLOO: each reward minus the mean of the others in its row. About 3 lines.

# %%
def rloo_advantage(rewards):
    """rewards (N, K), K answers to each of N prompts -> advantages (N, K)."""
    ### BEGIN SOLUTION
    K = rewards.shape[1]
    others = (rewards.sum(axis=1, keepdims=True) - rewards) / (K - 1)  # (N, K)
    return rewards - others
    ### END SOLUTION

# %%
rloo_advantage = check(rloo_advantage)

# %% [markdown]
# GRPO takes the row's mean away, and divides by the row's deviation. Rows where all agree need
# care.
#
# **Exercise 09.3.** Write it with the deviation of a sample (K - 1), plus 1e-4. About 3 lines.

# %%
def grpo_advantage(scores):
    """scores (N, K) -> advantages (N, K): mean 0, deviation about 1 in each row."""
    ### BEGIN SOLUTION
    centred = scores - scores.mean(axis=1, keepdims=True)  # (N, K)
    deviation = scores.std(axis=1, keepdims=True, ddof=1)  # (N, 1)
    return centred / (deviation + 1e-4)
    ### END SOLUTION

# %%
grpo_advantage = check(grpo_advantage)

# %%
rows = np.array([[1.0, -1, -1, -1], [1, 0.99, 0.99, 0.99], [1, 1, 1, 1]])  # (N, K)
for row, a, b in zip(rows, rloo_advantage(rows), grpo_advantage(rows)):
    print(f"{row!s:22} RLOO {np.round(a, 3) + 0.0!s:34} GRPO {np.round(b, 3) + 0.0}")
assert np.allclose(pg.rloo_advantages(rows), rloo_advantage(rows))

# %% [markdown]
# Look at the second row. Its answers differ by 0.01, and GRPO shouts as loudly as in the first.
#
# ### What do they aim at?
#
# Let every rollout be infinite, so that chance is gone. Where does each method end? RLOO and GRPO
# run on *your* functions.

# %%
aims = {"PPO": [], "DPO": [], "RLOO": [], "GRPO": []}
for beta in (2, 1, 0.5):
    aims["PPO"].append(on_plane(runs.ppo_limit(REF, SCORES, beta)))
    aims["DPO"].append(on_plane(runs.dpo_limit(REF, SCORES, beta)))
    for name, function in (("RLOO", rloo_advantage), ("GRPO", grpo_advantage)):
        ends = runs.group_limit(function, REF, SCORES, beta, 4, kl_in_loss=name == "GRPO")
        aims[name].append(on_plane(ends))
goals = [on_plane(np.exp(optimal_policy(REF, SCORES, b)[0])) for b in (2, 1, 0.5)]
for name, points in aims.items():
    print(f"{name:5}" + "".join(f"   KL {kl:.3f} score {s:.3f}" for kl, s in points))

# %%
assert all(np.allclose(aims[name], goals, atol=1e-4) for name in ("PPO", "DPO", "RLOO"))
curve = [on_plane(np.exp(optimal_policy(REF, SCORES, b)[0])) for b in np.geomspace(0.2, 20, 60)]
height = np.interp(aims["GRPO"][2][0], *np.array(curve[::-1]).T)
assert aims["GRPO"][2][0] > goals[2][0] and height - aims["GRPO"][2][1] > 0.05
show(figures.aims(curve, aims, four[1:5]),
     f"PPO, DPO and RLOO end on the frontier, on the optimum itself, for prices 2, 1 and 0.5. GRPO "
     f"ends elsewhere: at 0.5 it moves {aims['GRPO'][2][0]:.2f} nats instead of "
     f"{goals[2][0]:.2f}, and lands {height - aims['GRPO'][2][1]:.2f} below the line.")

# %%
lost = {}
for name, function, in_loss in (("penalty in the loss", rloo_advantage, True),
                                ("division", grpo_advantage, False)):
    ends = runs.group_limit(function, REF, SCORES, 0.5, 4, kl_in_loss=in_loss)
    kl, score = on_plane(ends)
    lost[name] = np.interp(kl, *np.array(curve[::-1]).T) - score
    print(f"GRPO with only its {name:20} KL {kl:.2f}  below the line {lost[name]:.3f}")
assert lost["penalty in the loss"] > 10 * abs(lost["division"])

# %% [markdown]
# Its penalty stands in the loss, as an estimate whose gradient is that of KL(reference, policy):
# the other direction. That takes it off the line. Dividing by a deviation changes what a score is
# worth; alone, it hardly leaves the line, but stops elsewhere on it.
#
# ### How noisy is one gradient?
#
# Now chance is back. Each method gets the *same* 48 answers of Rufus, many times. To the scores we
# add 2 (not for PPO, whose network has learned them as they are).

# %%
fitted = runs.fit_values(task)
# 24 rollouts of 48 answers for each seed
tables = [runs.noise(task, fitted, 2.0, repeats=24, seed=seed) for seed in range(3)]
mean = {name: np.mean([table[name] for table in tables]) for name in tables[0]}
plain, learned = mean["REINFORCE"], mean["PPO, values learned"]
assert plain > 2 * mean["RLOO"] and learned < 0.9 * mean["RLOO"]
assert mean["PPO, values as at the start"] > mean["RLOO"]
show(figures.noise_bars(tables),
     f"Bars are means of 3 seeds, dots the seeds. Plain REINFORCE has {plain:.1f} times as much "
     f"noise as signal; with a baseline {mean['REINFORCE with baseline']:.1f}, RLOO "
     f"{mean['RLOO']:.1f}, GRPO {mean['GRPO']:.1f}. PPO has {learned:.1f} with learned values, but "
     f"{mean['PPO, values as at the start']:.1f} before.")

# %% [markdown]
# Adding 2 changes nothing in the task, yet it ruins plain REINFORCE. Without the 2 it would stand
# where the baseline stands: step 2 has already made the mean score 0. PPO's value network does earn
# its place, once it has learned. Before that, a simple baseline is better.
#
# ## Without a reward model
#
# Turn the formula of the optimum round:
#
# $$score(y) = \beta \log \frac{\pi^*(y)}{\pi_{ref}(y)} + \beta \log Z$$
#
# Every policy is the best one for *some* reward: its implicit reward. $Z$ would need all answers,
# but within a pair it cancels. So the Bradley-Terry loss of lesson 04 can train the policy itself:
#
# $$L = -\log \sigma\big(\beta\,(\text{chosen moved} - \text{rejected moved})\big)$$
#
# An answer has moved by its log-ratio: policy minus reference, summed over its tokens.
#
# **Exercise 09.4.** Write DPO's loss. About 3 lines.

# %%
def dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta):
    """Log-probs (P, T) of P pairs, 0 outside the answers -> loss, a mean over pairs."""
    ### BEGIN SOLUTION
    chosen_moved = (chosen - ref_chosen).sum(axis=1)  # (P,)
    rejected_moved = (rejected - ref_rejected).sum(axis=1)  # (P,)
    return np.logaddexp(0, -beta * (chosen_moved - rejected_moved)).mean()
    ### END SOLUTION

# %%
dpo_loss = check(dpo_loss)

# %%
best, log_z = optimal_policy(REF, SCORES, 0.5)
implicit = 0.5 * (best - REF)  # (N,)
print("implicit reward         ", np.round(implicit, 3))
print("  plus beta log Z       ", np.round(implicit + 0.5 * log_z, 3), " the scores")
assert np.allclose(implicit + 0.5 * log_z, SCORES)
one, other = best[3:, None], best[:1, None]  # (P, T)  a pair: best answer, worst answer
mine = dpo_loss(one, other, REF[3:, None], REF[:1, None], 0.5)
assert np.isclose(mine, np.log(1 + np.exp(-2.0)))  # Bradley-Terry with a margin of 2
where(dpo.dpo_loss)

# %% [markdown]
# **Predict before you run.** DPO trains on the bundled rankings of simulated people. Its price is
# low, 0.1. What happens to the log-prob of the *chosen* answers?
#
# - A. It rises, and that of the rejected falls.
# - B. Both fall, the rejected faster.
# - C. Both rise, the chosen faster.
#
# <details><summary>Answer, after you have run the next cell</summary>
#
# **B.** The loss sees only the difference. Pushing one answer down is a cheap way to a larger
# margin, and what both have in common goes down with it. The lost probability goes elsewhere,
# perhaps to answers that nobody has judged.
#
# </details>

# %%
histories, placed = {}, {}
for beta in (0.1, 0.5):
    models, histories[beta] = runs.dpo_from_rankings(task, "zh", beta, steps=120, seed=0)
    placed[beta] = runs.measure(task, models)
    last = {k: np.mean([row[k] for row in histories[beta][-20:]]) for k in histories[beta][0]}
    print(f"beta {beta}: chosen {last['chosen_moved']:+.2f}  rejected {last['rejected_moved']:+.2f}"
          f"  score {placed[beta].reward:.2f}  KL {placed[beta].kl:.2f}")
    assert last["chosen_moved"] < 0 and last["rejected_moved"] < last["chosen_moved"] - 0.5

# %%
low, high = placed[0.1], placed[0.5]
assert low.kl > 2 * high.kl and abs(low.reward - high.reward) < 0.1
assert abs(rufus[0][1]) < 0.02 and min(low.reward, high.reward) > 0.4  # from 0
show(figures.dpo_curves(histories),
     f"Thick lines are running means over batches. At a price of 0.1 both curves fall, the chosen "
     f"one after a short rise, and Rufus moves {low.kl:.1f} nats. At 0.5 the chosen answers lose "
     f"little, and he moves {high.kl:.1f}.")

# %% [markdown]
# DPO has never seen the reward model, and still the score rises from about 0. IPO asks for a fixed
# margin, so that pairs on which everybody agrees cannot drive it on
# ([Azar et al. 2023](https://arxiv.org/abs/2310.12036)).
#
# ## All on one plane
#
# One task, one price, 2,880 answers each. DPO gets its pairs from the reward model here, so that
# all look for the same optimum.

# %%
METHODS = {"PPO": 0.5, "RLOO": 0.5, "REINFORCE": 0.5, "GRPO": 0.5, "DPO": 0.5,
           "rejection sampling": 8}
mine, meters = {}, {}
for name, price in METHODS.items():
    models, meters[name] = runs.metered(task, name, price, answers=2880)
    found = runs.measure(task, models)
    mine[name] = (found.kl, found.reward)
    below = np.interp(found.kl, kls, rewards) - found.reward
    print(f"{name:20} KL {found.kl:.2f}  score {found.reward:.2f}  below the line {below:.2f}")
    assert -0.01 < below < 0.12

# %%
file = DATA.parent / "benchmarks" / "frontier_zh.json"
committed = json.loads(file.read_text(encoding="utf-8"))["summary"]
kept = {(row["method"], row["price"]): row for row in committed}
cheap = {name: kept[name, 0.1]["regret"] for name in ("PPO", "RLOO", "GRPO", "DPO")}
assert min(cheap, key=cheap.get) == "PPO" and max(cheap, key=cheap.get) == "DPO"
assert all(kept[name, 0.1]["regret"] > 2 * kept[name, 0.5]["regret"] for name in cheap)
show(figures.all_methods(FRONTIER, mine, rufus[:5], committed),
     f"Left: one run each at a price of 0.5. Right: the lower the price, the larger the regret of "
     f"every method; at 0.1 it is {cheap['PPO']:.1f} nats for PPO, {cheap['RLOO']:.1f} for RLOO, "
     f"{cheap['GRPO']:.1f} for GRPO, {cheap['DPO']:.1f} for DPO.")

# %% [markdown]
# Do not read a ranking of methods for all times into this. It is one small task, and settings that
# were chosen once. DPO's regret at a low price is no error of its formula: you saw it aim at the
# optimum. Its pairs come from the reference only, and its steps were over before it arrived.
#
# ### What does it cost?

# %%
print(f"{'':20} models  trained  forward  backward  seconds\n{'':28}       tokens per answer")
for name, meter in meters.items():
    seconds = kept[name, METHODS[name]]["cpu_seconds"]
    print(f"{name:20} {len(meter.used):6} {len(meter.trained):8} {meter.forward / 2880:8.0f} "
          f"{meter.backward / 2880:9.0f} {seconds:8.1f}")
asked, meter = runs.answering(task, 8)
print(f"{'best-of-8':20} {len(meter.used):6} {0:8} {meter.forward / asked:8.0f}         0   "
      "for each question, for ever")
assert len(meters["PPO"].used) == 4 and len(meters["RLOO"].used) == 3

# %% [markdown]
# Counted while the cell above ran; seconds are from the committed runs. PPO keeps four models and
# trains two. RLOO pays for one network less (its table still has a value pass that nobody reads).
# DPO needed the reward model only to make pairs. With rankings from people it keeps two models.

# %% [markdown]
# **After 1.** A DPO run: the margin grows, the log-prob of the chosen answers has fallen by 1 nat.
# Is this a bug?
#
# - A. Yes: chosen answers must become likelier.
# - B. Not by itself: the loss sees only the difference.
# - C. Yes: the reference must have changed.
#
# <details><summary>Answer</summary>
#
# **B.** But look where the probability went. Read samples, and measure the KL.
#
# </details>

# %% [markdown]
# **After 2.** All 8 answers of a group get the score 1. What do RLOO and GRPO learn from them?
#
# - A. To repeat them: 1 is a good score.
# - B. GRPO learns a lot: it divides by a tiny deviation.
# - C. Nothing: each advantage is 0.
#
# <details><summary>Answer</summary>
#
# **C.** Compared with each other they are equal. The small number under the fraction keeps 0 by 0
# away.
#
# </details>

# %% [markdown]
# **After 3.** Method P reaches a score of 0.7 at 1 nat, method Q 0.8 at 3 nats. Which is better?
#
# - A. Not known: compare at equal KL, or each with the optimum for its price.
# - B. Q: it has the higher score.
# - C. P: it has the lower KL.
#
# <details><summary>Answer</summary>
#
# **A.** More nats buy more score. The frontier tells how much would have been possible.
#
# </details>

# %% [markdown] tags=["essay"]
# **Essay.** Your class has 600 rankings and one small computer. Choose a method of this lesson. In
# at most ten sentences: what do you save, what do you risk, and which number here supports you?

# %% [markdown]
# ## Where to go next: TRL
#
# [TRL](https://github.com/huggingface/trl) does all this for large models, on GPUs. It has trainers
# for fine-tuning, reward models, DPO, RLOO and GRPO. It has **no PPO trainer any more**. The
# maintainers removed it in autumn 2026: unmaintained and hardly used, they write
# ([their reasons](https://github.com/huggingface/trl/pull/7020)). Tutorials that import
# `PPOTrainer` need an old version. `RLOOTrainer` is the nearest: KL in the reward, PPO's clip, no
# value model.

# %%
print(f"TRL {exercises.TRL_VERSION}, read on {exercises.TRL_READ}.  "
      "PG is PolicyGradientSettings.\n")
print(f"{'here':26}{'TRL':34}to know")
for here, there, note in exercises.TRL_MAP:
    print(f"{here.replace('PolicyGradientSettings', 'PG'):26}{there:34}{note}")

# %% [markdown]
# Two defaults to look at: GRPO's `beta` is 0, so there is no reference at all. And its `loss_type`
# is not the paper's. Here is this course as a TRL script, on the same files. **It is not run
# here**; a test compares its names with TRL's own.
#
# ```python
# from datasets import Dataset, load_dataset
# from trl import RewardConfig, RewardTrainer, RLOOConfig, RLOOTrainer, SFTConfig, SFTTrainer
#
# MODEL = "Qwen/Qwen2.5-0.5B-Instruct"  # or any other causal language model
#
#
# def read(name, columns):
#     rows = load_dataset("json", data_files=f"data/zh/{name}.jsonl", split="train")
#     return rows.select_columns(columns)
#
#
# # step 1: lesson 02
# sft = SFTTrainer(
#     model=MODEL,
#     args=SFTConfig(output_dir="sft", max_steps=24, per_device_train_batch_size=8),
#     train_dataset=read("sft", ["prompt", "completion"]),
# )
# sft.train()
# sft.save_model("sft")
#
# # step 2: lesson 05.  A ranking becomes pairs.
# pairs = []
# for row in read("rankings", ["prompt", "responses", "ranks"]):
#     answers = list(zip(row["ranks"], row["responses"]))
#     for better, chosen in answers:
#         for worse, rejected in answers:
#             if better < worse:
#                 pairs.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
# reward = RewardTrainer(
#     model="sft",
#     args=RewardConfig(output_dir="reward", num_train_epochs=4),
#     train_dataset=Dataset.from_list(pairs),
# )
# reward.train()
# reward.save_model("reward")
#
# # step 3: lesson 06, RLOO in the place of PPO.  (Or DPOTrainer on `pairs`, without step 2.)
# prompts = [row for row in read("prompts", ["prompt", "split"]) if row["split"] == "train"]
# rloo = RLOOTrainer(
#     model="sft",
#     reward_funcs="reward",
#     args=RLOOConfig(
#         output_dir="rloo", beta=0.1, num_generations=8, per_device_train_batch_size=48,
#         max_completion_length=14, max_steps=60,
#     ),
#     train_dataset=Dataset.from_list(prompts),
# )
# rloo.train()
# ```

# %% [markdown]
# **To read on.** RLOO: [Ahmadian et al. 2024](https://arxiv.org/abs/2402.14740). GRPO:
# [Shao et al. 2024](https://arxiv.org/abs/2402.03300). DPO:
# [Rafailov et al. 2023](https://arxiv.org/abs/2305.18290). Best-of-n:
# [Gao et al. 2022](https://arxiv.org/abs/2210.10760). `python -m minirlhf frontier` runs the whole
# comparison again, and `python -m minirlhf teach` lets you be the annotator.
#
# You have built all three steps by hand. Whatever library you use next, you know what it should do
# inside, and how to notice when it does not.
