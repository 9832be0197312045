# %% [markdown]
# # 04 From rankings to numbers
#
# Annotators give rankings, training needs numbers. Here you turn one into the other, with one idea
# that has three famous forms.
#
# - Derive a probability, its loss and its gradient, then find them in the package by name and line.
# - Fit numbers to rankings, by simulated annotators, of answers to "Who are you?".
# - See what rankings leave open: where zero is.
# - See what no list of numbers can express: a circle.
#
# The story of this course says that rankings are then *normalised into quantitative data*.
# This lesson is that one sentence.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads are slower for small matrices
try:
    import minirlhf
except ModuleNotFoundError:
    print("minirlhf is missing here. Run this in a cell of its own, then all cells again:\n"
          "%pip install matplotlib git+https://github.com/OWNER/minirlhf")

# %%
from fractions import Fraction
from itertools import permutations

import numpy as np

from minirlhf import step2_reward_model as step2
from minirlhf.course import check, hint, play, show, solution, where
from minirlhf.course.lesson04 import figures
from minirlhf.data import DATA, read_rankings
from minirlhf.gpt import Params, scalar_head_forward
from minirlhf.rufus.world import World

# %% [markdown]
# **Terms**
#
# - **utility** is the one number per answer that we look for: larger means better. Its exponential
#   is called the worth.
# - **preference pair** is two answers to one prompt, with the word which of them is better. A
#   ranking of 4 answers without ties holds 6 of them.
# - **margin** is the utility of the winner minus the utility of the loser.
# - **logistic function** (or sigmoid) is $1 / (1 + e^{-x})$: it turns a margin into a probability.
# - **Bradley-Terry** is the model in which that probability says how often the winner wins.
# - **likelihood** is the probability that a model gives to the labels we have seen. Maximum
#   likelihood means: take the numbers that make it largest.
# - **NLL** is minus the logarithm of the likelihood, in nats; here the mean over the pairs.
# - **identifiable** means that the data can tell it.
# - **Elo** is a rating, made for chess, that moves after every single comparison.
# - **K factor** is the largest number of Elo points that one comparison can move.
# - **Plackett-Luce** is the model of a whole order: the best of all, then the best of the rest.
# - **noise ceiling** is an upper limit on the share of labels that any fixed order can agree with.

# %%
QUESTION = "Who are you?"
rankings = [r for r in read_rankings(DATA / "en" / "rankings.jsonl") if r.prompt == QUESTION]
for ranking in rankings[:4]:
    ordered = [text for _, text in sorted(zip(ranking.ranks, ranking.responses))]
    print(f"{ranking.annotator}: {'  >  '.join(ordered)}")
print(f"{len(rankings)} rankings of answers to {QUESTION!r}, by simulated annotators")

# %% [markdown]
# **Before 1.** Judges prefer A to B in 75 % of comparisons, and B to C in 75 %. Each answer has one
# number, and noise does the rest. How often does A beat C?
#
# - A. 56 %, because 75 % of 75 % is 56 %.
# - B. 75 %, because both steps are equal.
# - C. 90 %, because odds multiply: three to one, twice.
#
# <details><summary>Answer</summary>
#
# **C.** Odds of 3 and of 3 give odds of 9, and 9 in 10 is 90 %. The product 56 % would make A worse
# against the weaker C than against B.
#
# </details>

# %% [markdown]
# **Before 2.** We add 100 to the utility of every answer. What happens to the predicted winners?
#
# - A. Nothing at all.
# - B. Every answer wins more often.
# - C. Good answers gain more than bad ones.
#
# <details><summary>Answer</summary>
#
# **A.** Only differences enter the model. B forgets that when both sides rise, nobody gains.
#
# </details>

# %% [markdown]
# ## One number per answer
#
# Bradley-Terry (1952) gives each answer $i$ a utility $u_i$ and says
#
# $$P(i \text{ beats } j) = \frac{1}{1 + e^{-(u_i - u_j)}} = \frac{w_i}{w_i + w_j}, \qquad w = e^u$$
#
# So one quantity has three faces. A difference of utilities is a proportion of worths, and in other
# units a difference of Elo points. One unit of utility is $400 / \ln 10$ points.

# %%
print("margin     worths   Elo points    wins")
for name, margin in (("0", 0), ("ln 2", np.log(2)), ("ln 3", np.log(3)), ("2 ln 3", np.log(9))):
    wins = 1 / (1 + np.exp(-margin))
    points = 400 / np.log(10) * margin
    print(f"{name:8} {np.exp(margin):4.0f} : 1   {points:10.1f}   {100 * wins:5.1f} %")
assert round(75 * 75 / 100) == 56  # the tempting answer to question 1

show(
    figures.logistic_and_elo(np.array([0.0, np.log(3)])),
    "One curve with two axes. It rises from 0 to 100 %; at a margin of ln 3 = 1.10, which is "
    "190.8 Elo points, the better answer wins 75 % of the time.",
)

# %% [markdown]
# ## The loss
#
# One pair has the NLL $-\ln P = \ln(1 + e^{-m})$ with the margin $m$. Equal utilities cost
# $\ln 2$, a sure winner costs nothing, a badly wrong margin costs about $-m$.
#
# **Exercise 04.1.** Write the mean loss of n pairs. It must survive a margin of $-1600$, where
# $e^{1600}$ does not. About 2 lines. Help: `hint("04.1")`.

# %%
def bradley_terry_loss(r_chosen, r_rejected):
    """Utilities of the winners (n,), of the losers (n,) -> mean loss in nats, a float."""
    ### BEGIN SOLUTION
    margin = r_chosen - r_rejected  # (n,)
    return float(np.logaddexp(0, -margin).mean())
    ### END SOLUTION

# %%
bradley_terry_loss = check(bradley_terry_loss)

# %% [markdown]
# ## The gradient
#
# Let $s = 1 / (1 + e^{m})$, the probability of an upset: that the loser wins. The slope of one
# pair's loss along its margin is $-s$. The margin is winner minus loser, so
#
# $$\frac{\partial L}{\partial u_{winner}} = -\frac{s}{n}, \qquad
# \frac{\partial L}{\partial u_{loser}} = +\frac{s}{n}$$
#
# The more surprising the result, the harder the push. What one gains, the other loses.
#
# **Exercise 04.2.** The same answer may occur in many pairs: its pushes add up. About 5 lines.

# %%
def bt_gradient(utilities, winners, losers):
    """utilities (K,), winners (n,), losers (n,) ints -> gradient of the mean loss (K,)."""
    ### BEGIN SOLUTION
    upset = 1 / (1 + np.exp(utilities[winners] - utilities[losers])) / len(winners)  # (n,)
    gradient = np.zeros(len(utilities))  # (K,)
    np.add.at(gradient, winners, -upset)
    np.add.at(gradient, losers, upset)
    return gradient
    ### END SOLUTION

# %%
bt_gradient = check(bt_gradient)

# %%
u, won, lost = np.array([1.0, 0.0, -0.5]), np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2])
slopes = bt_gradient(u, won, lost)
loss, push_won, push_lost = step2.bradley_terry_loss(u[won], u[lost])
package = np.bincount(won, push_won, 3) + np.bincount(lost, push_lost, 3)
print("answer  finite difference    yours  package")
for k, h in enumerate(1e-5 * np.eye(3)):
    ends = [bradley_terry_loss((u + x)[won], (u + x)[lost]) for x in (h, -h)]
    print(f"{k:6}  {(ends[0] - ends[1]) / 2e-5:17.4f}  {slopes[k]:7.4f}  {package[k]:7.4f}")
assert np.isclose(loss, bradley_terry_loss(u[won], u[lost])) and np.allclose(slopes, package)
assert abs(slopes.sum()) < 1e-12
where(step2.bradley_terry_loss)

# %% [markdown]
# ## Numbers from the data
#
# Now the 27 rankings from above. We keep 8 answers and take all their preference pairs. The numbers
# come from the pairs alone. The gold judge (also simulated) only stands beside them in the table.

# %%
ANSWERS = [
    "I am a robot.", "I am a dog.", "I am a bird.", "I, a robot.", "I am a cook.", "I am a cat.",
    "I is a robot.", "I am cook.",
]

def pairs_of(answers):
    """-> winners (n,), losers (n,): indices into answers, one for each preference pair."""
    found = []
    for r in rankings:
        kept = [(k, answers.index(a)) for k, a in zip(r.ranks, r.responses) if a in answers]
        found += [(i, j) for better, i in kept for worse, j in kept if better < worse]
    return np.array(found).T

winners, losers = pairs_of(ANSWERS)
print(f"{len(winners)} preference pairs among {len(ANSWERS)} answers")

# %%
def fit(count, won, lost, steps=2000, learning_rate=4.0):
    """Gradient descent on the mean NLL, from 0 -> utilities (count,)."""
    u = np.zeros(count)
    for _ in range(steps):
        u = u - learning_rate * bt_gradient(u, won, lost)
    return u

utilities, world = fit(len(ANSWERS), winners, losers), World.load("en")
print("answer         won  lost  utility   Elo  gold judge")
for i in np.argsort(-utilities):
    n_won, n_lost = (winners == i).sum(), (losers == i).sum()
    elo, gold = 1000 + figures.to_elo(utilities[i]), world.naturalness(QUESTION, ANSWERS[i])
    print(f"{ANSWERS[i]:14} {n_won:3}  {n_lost:4}  {utilities[i]:7.2f}  {elo:4.0f}  {gold:10.1f}")

# %%
ROBOT, COMMA = ANSWERS.index("I am a robot."), ANSWERS.index("I, a robot.")
wins = np.zeros((8, 8), int)  # (8, 8)  row beats column
np.add.at(wins, (winners, losers), 1)
direct, margin = wins[[ROBOT, COMMA], [COMMA, ROBOT]], utilities[ROBOT] - utilities[COMMA]
print(f"'I am a robot.' against 'I, a robot.': {direct[0]} to {direct[1]} in direct comparisons")
print(f"fit: margin {margin:.2f}, {figures.to_elo(margin):.0f} Elo points, "
      f"wins {100 / (1 + np.exp(-margin)):.0f} %")
ceiling = np.triu(np.maximum(wins, wins.T)).sum()  # for each two answers, the majority
agree = (utilities[winners] > utilities[losers]).sum()
sure = 1 / (1 + np.exp(-np.abs(utilities[winners] - utilities[losers])))
print(f"noise ceiling: no order agrees with more than {ceiling} of {len(winners)} labels")
print(f"the fit agrees with {agree}; its probabilities promise {sure.sum():.1f}")
assert list(direct) == [2, 2] and abs(utilities.sum()) < 1e-9

# %% [markdown]
# Head to head it is 2 to 2, yet the fit expects "I am a robot." to win three times in four. It did
# better against the others. So the correction that opened the course has become a number.
#
# The labels are noisy. To the gold judge "I am a dog." is as natural as the top four, but a few
# unlucky comparisons put it low. And annotators contradict each other, so 100 % agreement is out of
# reach. The fit knows: it promises about as many hits as it gets.
#
# **Predict before you run.** We add "unit: robot.", which lost all 5 of its comparisons. Where does
# maximum likelihood put it?
#
# - A. At about $-5$: one unit for each defeat.
# - B. A little below the lowest of the others.
# - C. Nowhere. It falls for ever, more and more slowly.
#
# <details><summary>Answer, after you have run the next cell</summary>
#
# **C.** Each further unit down makes its defeats a little more likely, and no victory speaks
# against it. Ten times the steps push it down by about $\ln 10$. Remedies: stop early, or add a
# penalty on large utilities. Reward models are trained for a few passes only.
#
# </details>

# %%
nine = ANSWERS + ["unit: robot."]
won9, lost9 = pairs_of(nine)
assert (won9 == 8).sum() == 0 and (lost9 == 8).sum() == 5
gaps = []
for steps in (100, 1000, 10_000):
    u = fit(9, won9, lost9, steps)
    gaps.append(u[8] - u[COMMA])
    print(f"{steps:6} steps: 'unit: robot.' is {gaps[-1]:6.2f} from 'I, a robot.'")
assert np.allclose(np.diff(gaps), -np.log(10), atol=0.2)

# %% [markdown]
# ## What rankings leave open
#
# Move all utilities together: no margin changes, so no probability and no loss changes. The zero is
# not identifiable. Only differences are.

# %%
axis, moves = np.linspace(-1.5, 2.5, 81), np.linspace(-3, 3, 61)
m = axis[None, :] - axis[:, None]  # (81, 81)  A (columns) minus B (rows)
nll = 0.75 * np.logaddexp(0, -m) + 0.25 * np.logaddexp(0, m)  # A won 3 of 4

def cut(direction):
    """NLL of the 50 pairs when the fit moves along a direction (8,) -> (61,)."""
    moved = [utilities + t * direction for t in moves]
    return np.array([bradley_terry_loss(u[winners], u[losers]) for u in moved])

along, across = cut(np.ones(8)), cut(np.eye(8)[ROBOT])
assert np.ptp(along) < 1e-12
see = (f"Left, a straight valley: every point with the margin ln 3 = 1.10 is equally good. Right, "
       f"the data: flat at {along[0]:.2f} when all move, up to {across.max():.2f} when one does.")
show(figures.nll_valley(axis, nll, np.log(3), moves, (along, across)), see)

# %% [markdown]
# ## Elo: one comparison at a time
#
# Elo uses the same curve with base 10. The expected result of A is
# $E_A = 1 / (1 + 10^{(R_B - R_A)/400})$. After the comparison, A gets $K (S_A - E_A)$ points and B
# gives them. Here $K$ is the K factor, and $S_A$ is 1 for a win, 0 for a defeat.
#
# It looks like another method. It is one gradient step on the loss of one pair, in other units: the
# cell after the check compares them.
#
# **Exercise 04.3.** Write one update. About 3 lines.

# %%
def elo_update(rating_a, rating_b, result_a, k):
    """Two ratings, result of A (1 won, 0 lost), K factor -> both new ratings."""
    ### BEGIN SOLUTION
    expected_a = 1 / (1 + 10 ** ((rating_b - rating_a) / 400))
    change = k * (result_a - expected_a)
    return rating_a + change, rating_b - change
    ### END SOLUTION

# %%
elo_update = check(elo_update)

# %%
per_nat = 400 / np.log(10)  # Elo points of one unit of utility
before = np.array([1080.0, 1010.0])
slopes = bt_gradient(before / per_nat, np.array([0]), np.array([1]))
stepped = before / per_nat - 32 / per_nat * slopes
print("Elo update, K = 32:", *np.round(elo_update(*before, 1, 32), 2))
print("one gradient step: ", *np.round(stepped * per_nat, 2))
print(f"learning rate 32 * ln 10 / 400 = {32 / per_nat:.3f}")
assert np.allclose(elo_update(*before, 1, 32), stepped * per_nat)

# %%
def elo_run(k, games):
    """games: indices of pairs, as they come -> ratings (8,), lead of "I am a robot." (N,)."""
    ratings, leads = [1000.0] * len(ANSWERS), []
    for i, j in zip(winners[games], losers[games]):
        ratings[i], ratings[j] = elo_update(ratings[i], ratings[j], 1, k)
        leads.append(ratings[ROBOT] - ratings[COMMA])
    return np.array(ratings), np.array(leads)

# %%
rng, best = np.random.default_rng(0), per_nat * (utilities[ROBOT] - utilities[COMMA])
games = np.concatenate([rng.permutation(len(winners)) for _ in range(40)])
paths = [(k, elo_run(k, games)[1]) for k in (8, 32, 128)]
spread = [path[1000:].std() for _, path in paths]
see = (f"The lead of 'I am a robot.' over 'I, a robot.' climbs to the fit, {best:.0f} points. "
       f"Slowly for K = 8; then it swings, with standard deviations of {spread[0]:.0f}, "
       f"{spread[1]:.0f} and {spread[2]:.0f} points: the larger K, the more restless.")
show(figures.elo_trajectories(paths, best), see)

# %%
tidied = np.argsort(winners, kind="stable")
for name, games in (("as in the file", np.arange(len(winners))), ("tidied", tidied)):
    elo = elo_run(32, games)[0][ROBOT]
    fitted = 1000 + per_nat * fit(8, winners[games], losers[games])[ROBOT]
    print(f"{name:15} Elo of 'I am a robot.' {elo:5.0f}   maximum likelihood {fitted:5.0f}")

# %% [markdown]
# **A silent bug.** Nothing failed, but one line above ruined a rating. Which line, and why does
# maximum likelihood not mind?
#
# <details><summary>Answer</summary>
#
# The first one. It sorts the comparisons by winner, so all victories of "I am a robot." come first
# and its defeats come later. Elo forgets: late comparisons count more. The fit sums over all pairs,
# and a sum has no order. So shuffle what is learned one by one.
#
# </details>
#
# ## Plackett-Luce: the whole ranking at once
#
# Take the best of all, then the best of the rest. Each choice is a softmax over those still there:
#
# $$P(1 > 2 > 3) = \frac{w_1}{w_1 + w_2 + w_3} \cdot \frac{w_2}{w_2 + w_3}$$
#
# With worths 4, 2, 1 that is $4/7 \cdot 2/3 = 8/21$. For two answers it is Bradley-Terry again.
#
# **Exercise 04.4.** Write minus the logarithm of this for K answers. About 3 lines.

# %%
def plackett_luce_nll(utilities, order):
    """utilities (K,), order (K,) indices, best first -> -log probability of the order."""
    ### BEGIN SOLUTION
    ordered = utilities[order]  # (K,)
    remaining = np.logaddexp.accumulate(ordered[::-1])[::-1]  # (K,)
    return float((remaining - ordered).sum())
    ### END SOLUTION

# %%
plackett_luce_nll = check(plackett_luce_nll)

# %%
logs, shares = np.log([4.0, 2.0, 1.0]), {}
for order in permutations(range(3)):
    nats = plackett_luce_nll(logs, np.array(order))
    ranks = np.argsort(order)[None] + 1  # (1, 3)
    assert np.isclose(nats, step2.plackett_luce_loss(logs[None], ranks)[0])
    shares[" > ".join("ABC"[i] for i in order)] = np.exp(-nats)
names = sorted(shares, key=shares.get, reverse=True)
heights = np.array([shares[name] for name in names])
fractions = [str(Fraction(float(p)).limit_denominator(200)) for p in heights]
assert np.isclose(heights.sum(), 1) and np.isclose(shares["A > B > C"], 8 / 21)
assert np.isclose(plackett_luce_nll(logs[:2], np.arange(2)), np.log(1 + 1 / 2))  # Bradley-Terry
show(figures.order_probabilities(names, heights, fractions),
     f"Worths 4, 2, 1. The bars fall from {fractions[0]} = {100 * heights[0]:.1f} % for the best "
     f"order to {fractions[-1]} = {100 * heights[-1]:.1f} % for the reversed one; they sum to 1.")
where(step2.plackett_luce_loss)

# %% [markdown]
# ## Click an order yourself
#
# A is "I am a robot.", B is "I, a robot.", C is "I robot am.". All start at 0. You click the same
# order 20 times, and each click is one gradient step of the package's Plackett-Luce loss.

# %%
def clicks(order, learning_rate, count=20):
    """order: such as "A > B > C" -> utilities after 0, 1, .. clicks (count + 1, 3)."""
    best_first = ["ABC".index(name) for name in order.split(" > ")]
    ranks, path = np.argsort(best_first)[None] + 1, [np.zeros((1, 3))]
    for _ in range(count):
        slopes = step2.plackett_luce_loss(path[-1], ranks)[1]
        path.append(path[-1] - learning_rate * slopes)
    return np.concatenate(path)

# %%
def redraw(order, learning_rate):
    path = clicks(order, learning_rate)
    end = ", ".join(f"{name} {u:.2f}" for name, u in zip("ABC", path[-1]))
    show(figures.utilities_moving([path], [f"{order}, rate {learning_rate}"], "ABC"),
         f"The lines part in the order {order} and keep moving. After 20 clicks: {end}.")

RATES = [0.1, 0.5, 2.0]
three = [clicks("A > B > C", rate) for rate in RATES]
ends = [path[-1, 0] - path[-1, 2] for path in three]
titles = [f"A > B > C, rate {rate}" for rate in RATES]
show(figures.utilities_moving(three, titles, "ABC"),
     f"A rises, C falls, B stays between, and no line stops. After 20 clicks A leads C by "
     f"{ends[0]:.1f}, {ends[1]:.1f} and {ends[2]:.1f}: 20 times the rate is not 20 times the lead.")

# %%
play(redraw, order=list(shares), learning_rate=RATES)

# %% [markdown]
# ## What one number per answer cannot say
#
# Three annotators rank three answers: $A > B > C$, $B > C > A$ and $C > A > B$. Each of them is
# consistent. Their majority is not: A beats B, B beats C, C beats A, each 2 to 1.
#
# Log odds are the logarithm of wins over defeats. In the model they equal the margin. Below, a
# table for which that works, and this circle.

# %%
TABLES = {"Two steps that add up": [[0, 2, 4], [1, 0, 2], [1, 1, 0]],
          "A circle": [[0, 2, 1], [1, 0, 2], [2, 1, 0]]}
panels = []
for title, table in TABLES.items():
    t = np.array(table)  # (3, 3)  row beats column
    won3, lost3 = np.repeat(np.argwhere(t), t[t > 0], axis=0).T
    u = fit(3, won3, lost3)
    odds = np.log((t + np.eye(3)) / (t.T + np.eye(3)))  # (3, 3)
    panels.append((title, odds, u))
    print(f"{title:22} utilities {np.round(u, 2) + 0.0}, left over "
          f"{np.abs(odds - (u[:, None] - u)).max() + 0.0:.2f}")
see = ("Grey: log odds that were seen, from winner to loser. Orange: what utilities leave over. "
       f"Left 0.00; right all utilities are 0.00 and the whole {np.log(2):.2f} = ln 2 runs round.")
show(figures.preference_cycle(panels), see)

# %% [markdown]
# ## Normalise
#
# Rankings compare answers to one prompt only. So each prompt has a free zero of its own: centre it.
# The unit is a choice, too: divide by the standard deviation over all. That keeps the order and
# changes the probabilities. The package sets one shift and one scale in the head of its reward
# model, after training. That matters in lesson 06: there this number is weighed against another.

# %%
def normalise_rewards(rewards):
    """rewards (prompts, K) -> mean 0 for each prompt, standard deviation 1 over all."""
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    return centred / centred.std()

print(np.round(normalise_rewards(np.array([[9.0, 7.0, 5.0], [-2.0, -6.0, -4.0]])), 2))
# the package's way, on a head with 200 made-up answers
head, rng = Params({"head_w": (3,), "head_b": (1,)}, np.float64), np.random.default_rng(0)
head.head_w[...], hidden = [3.0, -2.0, 1.0], rng.normal(1.0, 1.0, size=(1, 200, 3))
raw = scalar_head_forward(head, hidden)[0][0]  # (200,)
gain, bias = step2.normalise_scores(head, raw)
new = scalar_head_forward(head, hidden)[0][0]  # (200,)
print(f"before: mean {raw.mean():.2f}, deviation {raw.std():.2f}   gain {gain:.2f} bias {bias:.2f}")
assert np.allclose([new.mean(), new.std()], [0, 1]) and (raw.argsort() == new.argsort()).all()
where(step2.normalise_scores)

# %% [markdown]
# **After 1.** Two answers met four times, 2 to 2. The fit puts one of them 206 Elo points ahead.
# What is the best explanation?
#
# - A. The fit has not finished: equal results mean equal utilities.
# - B. One of them did better against the other answers, and the fit uses all pairs.
# - C. Elo points and utilities have different orders.
#
# <details><summary>Answer</summary>
#
# **B.** The NLL is a sum over all pairs, so common opponents count. A would hold if these two were
# the only answers.
#
# </details>

# %% [markdown]
# **After 2.** You divide all utilities by their standard deviation. What stays the same?
#
# - A. The winning probabilities.
# - B. The NLL.
# - C. The order of the answers.
#
# <details><summary>Answer</summary>
#
# **C.** Division keeps who is above whom. Probabilities depend on the size of the margins, so A and
# B change; only a shift would leave them alone.
#
# </details>

# %% [markdown]
# **After 3.** A beats B, B beats C and C beats A, each 2 times in 3. What does maximum likelihood
# give?
#
# - A. Three equal utilities: every pair 50 %.
# - B. A the highest, because it was named first.
# - C. No result: the numbers go round for ever.
#
# <details><summary>Answer</summary>
#
# **A.** All the pushes cancel at equal utilities. C mixes it up with an answer that never won.
#
# </details>

# %% [markdown]
# **At scale.** InstructGPT's labelers ranked 4 to 9 answers per prompt, and all pairs went into
# this Bradley-Terry loss ([Ouyang et al. 2022](https://arxiv.org/abs/2203.02155), section 3.5).
# Chatbot Arena ranks whole chat models by a Bradley-Terry fit
# ([Chiang et al. 2024](https://arxiv.org/abs/2403.04132)).
#
# Next, lesson 05: instead of one free number per answer, a transformer that reads the answer and
# gives the number, also for answers nobody has ranked.
