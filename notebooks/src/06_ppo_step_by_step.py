# %% [markdown]
# # 06 PPO, one step at a time
#
# Step 3 of RLHF: Rufus speaks, the reward model judges, and the policy moves a little.
#
# - Name the parts of the task in the words of reinforcement learning, as arrays.
# - Compute every number of PPO by hand, in a world of two tokens.
# - Train Rufus, and read the log of the training.
# - Measure what the two brakes of PPO are for.
# - Find three bugs that raise no error.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads are slower for small matrices
try:
    import minirlhf
except ModuleNotFoundError:
    print("minirlhf is missing here. Run this in a cell of its own, then all cells again:\n"
          "%pip install matplotlib git+https://github.com/OWNER/minirlhf")

# %%
from dataclasses import replace

import numpy as np

from minirlhf import layers, plots
from minirlhf import step3_ppo as step3
from minirlhf.course import answer, check, hint, play, show, solution, where
from minirlhf.course.lesson06 import figures, runs
from minirlhf.layers import log_softmax, softmax
from minirlhf.rufus import pipeline
from minirlhf.rufus.answers import encode_prompts
from minirlhf.rufus.measure import GoldWatch
from minirlhf.sample import sample

# %% [markdown]
# **Terms**
#
# - **observation space** is all that the policy may see: a prompt and what has been said so far.
# - **action space** is all that it may do next: the vocabulary, one token at a time.
# - **reward** is the number that each token earns; most of it comes at the end.
# - **episode** is one response, from its first token to its last.
# - **rollout** is a batch of responses with all that was recorded while they were made.
# - **log-ratio** is the difference of two log-probs of one token, policy minus reference.
# - **KL divergence** (KL) is the mean log-ratio over what the policy says: the distance, in nats.
# - **KL coefficient** ($\beta$) is the price of one nat.
# - **value function** is a guess, before each token, of the rewards still to come.
# - **return** is what did come. So the return is the target of that guess.
# - **discount** ($\gamma$) shrinks later rewards; here it is 1, none.
# - **TD error** is the surprise of one step: reward plus next value minus value.
# - **advantage** is how much better a token was than expected.
# - **GAE** is the usual estimate of it: TD errors, summed with a decay $\gamma\lambda$.
# - **lambda** ($\lambda$) says how far back a surprise is felt.
# - **whitening** is bringing numbers to mean 0 and deviation 1.
# - **ratio** is the probability of a token now, divided by that in the rollout.
# - **clip** is the rule that the objective takes the smaller of two numbers: ratio times advantage,
#   and the same with the ratio held within $1 \pm \epsilon$. So a token gains nothing by going
#   further in its good direction.
# - **clip fraction** is the share of tokens whose gradient the clip has stopped.
# - **minibatch** is the part of a rollout that one optimiser step uses.
# - **dashboard** is the curves of a training side by side.
# - **ablation** is training again with one part switched off.

# %%
TOKENS, SAID = ("是", "一"), np.array([[0], [1]])  # (B, T)  a batch with one answer of each kind
START, REF = np.log([1.0, 3.0]), np.log([[1 / 4], [3 / 4]])  # (V,) policy; (B, T) reference
SCORES, ONES = np.array([1.0, -1.0]), np.ones((2, 1))  # (B,), (B, T)  judge; mask
old = log_softmax(START)[SAID]  # (B, T)
for k, meaning in enumerate(("I am a robot.", "I, a robot.")):
    print(f"我{TOKENS[k]}...  {meaning:14} probability {np.exp(old[k, 0]):.2f}   "
          f"log-prob {old[k, 0]:.3f}   score {SCORES[k]:+.0f}")

# %% [markdown]
# **Before 1.** A token had advantage $-2$. Its ratio is now 1.5, and $\epsilon$ is 0.2. What does
# it add to the objective?
#
# - A. $-2.4$: the ratio counts as 1.2 at most.
# - B. $-3$: the smaller of $-3$ and $-2.4$.
# - C. 0: outside the range a token is ignored.
#
# <details><summary>Answer</summary>
#
# **B.** PPO takes the smaller of both sides. This bad token has become more likely, and the
# objective must not hide that. The clip stops gains; it never hides losses.
#
# </details>

# %% [markdown]
# **Before 2.** Training starts with policy and reference equal. What does the KL penalty do to the
# very first rollout?
#
# - A. Nothing: every log-ratio is 0.
# - B. It is at its largest, to hold the policy at the start.
# - C. It gives every token the same small reward.
#
# <details><summary>Answer</summary>
#
# **A.** Equal probabilities have the ratio 1, and its logarithm is 0.
#
# </details>

# %% [markdown]
# ## Part A: two tokens, by hand
#
# Prompt 我, "I". Rufus has two tokens and prefers the broken sentence, three to one. The policy is
# two numbers, `START`. We take one answer of each kind: a chosen batch, not a drawn one.
#
# ### What to push
#
# We want more reward on average, but a draw has no slope. Its average has one, and a sample of
# answers is enough to estimate it:
#
# $$\nabla\, E[r] = E[\,r\, \nabla \log \pi\,]$$
#
# Push up the log-prob of what was said, as hard as it was rewarded. Taking away from $r$ a guess
# $V$, made before the draw, changes nothing on average, since $E[\nabla \log \pi] = 0$. It
# removes noise. What is left of $r$ is the advantage.
#
# ### Reward
#
# The reward model judges the whole answer once. The KL penalty is paid at every token:
#
# $$r_t = -\beta\,(\log \pi(a_t) - \log \pi_{ref}(a_t)) \quad (+\ \text{score, at the last token})$$
#
# **Exercise 06.1.** Write it for a batch. Rows end at different places, so use the mask. About 4
# lines; `step3.last_response_index` helps. Help: `hint("06.1")`.

# %%
def kl_shaped_rewards(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    """scores (B,), the others (B, T) -> rewards (B, T), 0 outside the response."""
    ### BEGIN SOLUTION
    kl = (logprobs - ref_logprobs) * response_mask  # (B, T)
    rewards = -kl_coef * kl
    last = step3.last_response_index(response_mask)  # (B,)
    rewards[np.arange(len(scores)), last] += scores
    return rewards
    ### END SOLUTION

# %%
kl_shaped_rewards = check(kl_shaped_rewards)

# %% [markdown]
# ### Advantage
#
# A score of 1 is good news only if less was expected. The value function $V$ says what was. Rufus
# will have a value model for it, at first a copy of the reward model. Each update also moves its
# guesses toward the returns, by a squared error.
#
# The TD error is $\delta_t = r_t + \gamma V_{t+1} - V_t$, and GAE sums them:
#
# $$A_t = \delta_t + \gamma\lambda\, A_{t+1}$$
#
# With $\lambda = 1$ this is the return minus the value: right on average, but noisy. With
# $\lambda = 0$ it trusts the values for everything but one step.
#
# **Exercise 06.2.** Write it for one response. About 7 lines. Try rewards (0, 0, 1) and values
# (1/2, 1/2, 1/2) on paper first.

# %%
def gae(rewards, values, gamma, gae_lambda):
    """One response, rewards and values (T,) -> advantages (T,).  After the last token: nothing."""
    ### BEGIN SOLUTION
    advantages = np.zeros(len(rewards))  # (T,)
    next_value, next_advantage = 0.0, 0.0
    for t in reversed(range(len(rewards))):
        delta = rewards[t] + gamma * next_value - values[t]
        next_advantage = delta + gamma * gae_lambda * next_advantage
        next_value, advantages[t] = values[t], next_advantage
    return advantages
    ### END SOLUTION

# %%
gae = check(gae)

# %%
three, halves = np.array([0.0, 0.0, 1.0]), np.full(3, 0.5)
mine = gae(three, halves, 1.0, 0.5)
package, _ = step3.gae(three[None], halves[None], np.ones((1, 3)), 1.0, 0.5)
print("yours  ", mine, "\npackage", package[0])
assert np.allclose(mine, [1 / 8, 1 / 4, 1 / 2]) and np.allclose(mine, package[0])
where(step3.gae)

# %% [markdown]
# ### Ratio and clip
#
# A rollout is costly, so PPO uses it several times. After the first step the policy is no longer
# the one that spoke. The ratio corrects for that, and the clip says how far it is trusted:
#
# $$J = \min(\text{ratio} \cdot A,\ \text{clip}(\text{ratio}, 1-\epsilon, 1+\epsilon) \cdot A)$$
#
# The loss is $-J$, averaged over tokens. **Exercise 06.3.** Write its gradient along the new
# log-probs. Where the clipped side wins the min, the curve is flat. About 4 lines.

# %%
def ppo_clip_grad(logprobs, old_logprobs, advantages, clip_range):
    """All (n,) -> gradient of the mean clipped loss with respect to logprobs (n,)."""
    ### BEGIN SOLUTION
    ratio = np.exp(logprobs - old_logprobs)  # (n,)
    unclipped = ratio * advantages  # (n,)
    clipped = np.clip(ratio, 1 - clip_range, 1 + clip_range) * advantages  # (n,)
    return np.where(clipped < unclipped, 0, -unclipped) / len(ratio)
    ### END SOLUTION

# %%
ppo_clip_grad = check(ppo_clip_grad)

# %% [markdown]
# Now one whole update. The values are 0, so the advantages are the scores. Along the logits,
# $\nabla \log \pi(a) = e_a - p$, as in lesson 01. By hand, for ratios of 1:
#
# $$\tfrac12\,[(e_1 - p) - (e_2 - p)] = (\tfrac12, -\tfrac12)$$
#
# The learning rate is $\ln 3$, because then everything is a simple fraction. `update` calls the
# package's loss.

# %%
def update(x, old, advantages, clip_range, lr, weights=ONES):
    """One step up the objective from logits x (V,) -> new logits, ratios (B,), gradient (V,)."""
    now, cache = layers.token_logprobs_forward(np.tile(x, (2, 1, 1)), SAID)  # (B, T)
    dlogprobs = step3.ppo_policy_loss(now, old, advantages, weights, clip_range)[1]  # (B, T)
    uphill = -layers.token_logprobs_backward(dlogprobs, cache).sum(axis=(0, 1))  # (V,)
    return x + lr * uphill, np.exp(now - old)[:, 0], uphill

advantages, after = SCORES[:, None], {}
for clip_range in (0.2, np.inf):
    x = START
    for epoch in (1, 2):
        x, ratios, uphill = update(x, old, advantages, clip_range, np.log(3))
        after[clip_range, epoch] = softmax(x)
        print(f"clip {clip_range}, epoch {epoch}: ratios {np.round(ratios, 3)}  "
              f"gradient {np.round(uphill + 0.0, 3)}  then {np.round(softmax(x), 3)}")

# %%
assert np.allclose(after[0.2, 1], [1 / 2, 1 / 2]) and np.allclose(after[0.2, 2], [1 / 2, 1 / 2])
assert np.isclose(min(1.5 * -2, 1.2 * -2), -3) and np.isclose(1.2 * -2, -2.4)  # Before 1
moved = np.log([1 / 2, 1 / 2])  # (n,)
assert np.allclose(ppo_clip_grad(moved, old[:, 0], SCORES, 0.2), 0)
assert np.allclose(ppo_clip_grad(moved, old[:, 0], SCORES, np.inf), [-1, 1 / 3])
show(figures.objective_and_ratio(0.2, ([1, 2], [1, 2 / 3]), ("epoch 1", "epoch 2")),
     "Orange: this batch. In epoch 1 both ratios are 1 and the blue curve is steep. In epoch 2 "
     "they are 2 and 0.67, on the flat parts. Right: for A = -1 the curve goes on falling for "
     "ratios above 1.2, so a bad token that grew is still pushed back.")
where(step3.ppo_policy_loss)

# %% [markdown]
# After one step the policy stands at 1/2 and 1/2. In the second epoch both tokens are outside the
# range and the gradient is 0: PPO stops by itself. Without the clip it runs on.

# %% [markdown]
# **Aside.** Here the KL is *in the reward*. It can also stand *in the loss*, as $\beta$ KL with a
# gradient of its own. At the start of an update both give the same expected gradient. Later they
# part. The penalty in the reward is frozen in the rollout and goes through advantage and clip. The
# one in the loss follows the policy at every step. InstructGPT and this package put it into the
# reward.

# %%
def kl_price(x):
    """0.5 nats' worth of KL for logits x (V,)."""
    return 0.5 * layers.exact_kl(log_softmax(x), REF[:, 0])

here, h = np.array([0.3, -0.4]), 1e-6 * np.eye(2)  # any policy
lp = log_softmax(here)[SAID]  # (B, T)
paid = kl_shaped_rewards(np.zeros(2), lp, REF, ONES, 0.5)[:, 0]  # (B,)
p = softmax(here)  # (V,)  each answer counts as often as it is said
in_reward = (p * paid) @ (np.eye(2) - p)  # mean of r * d log p
in_loss = np.array([-(kl_price(here + e) - kl_price(here - e)) / 2e-6 for e in h])
print("in the reward", np.round(in_reward, 4), "  in the loss", np.round(in_loss, 4))
assert np.allclose(in_reward, in_loss)

# %% [markdown]
# ### Play with it
#
# Next, many rollouts. Each answer counts as often as the policy says it, and the value is the exact
# mean, so nothing is random. For a price $\beta$ the best policy is known on paper: $\pi_{ref}\,
# e^{score/\beta}$, made to sum to 1.

# %%
def practise(clip_range, beta, lr, rollouts=6, epochs=4):
    """-> list of (logits (V,), ratios (B,), advantages (B,)) after each update."""
    x, seen = START, [(START, np.ones(2), np.zeros(2))]
    for _ in range(rollouts):
        old = log_softmax(x)[SAID]  # (B, T)  frozen for 4 epochs
        rewards = step3.kl_shaped_rewards(SCORES, old, REF, ONES, beta)  # (B, T)
        values = np.full((2, 1), (np.exp(old) * rewards).sum())  # (B, T)
        advantages, _ = step3.gae(rewards, values, ONES, 1.0, 0.95)  # (B, T)
        for _ in range(epochs):
            x, _, _ = update(x, old, advantages, clip_range, lr, weights=np.exp(old))
            seen.append((x, np.exp(log_softmax(x)[SAID] - old)[:, 0], advantages[:, 0]))
    return seen

# %%
def best(beta):
    return softmax(REF[:, 0] + SCORES / beta)  # (V,)

def path(clip_range, beta, lr, rollouts=6):
    return np.array([softmax(x)[0] for x, _, _ in practise(clip_range, beta, lr, rollouts)])

PRICES = {"2 / ln 3": 2 / np.log(3), "1 / ln 3": 1 / np.log(3), "0.5 / ln 3": 0.5 / np.log(3)}
prices = [(f"β = {n}", path(0.2, b, 0.5, 15), best(b)[0]) for n, b in PRICES.items()]
clips = [(f"ε = {c}", path(c, 0.1, 1.0), None) for c in (0.1, 0.2, np.inf)]
assert np.allclose([best(b)[0] for b in PRICES.values()], [1 / 2, 3 / 4, 27 / 28])
assert all(abs(run[-1] - goal) < 0.08 for _, run, goal in prices)

# %%
show(figures.two_token_paths([("three prices, ε = 0.2, rate 0.5", prices),
                              ("three clip ranges, β = 0.1, rate 1", clips)], TOKENS),
     "Left: each price ends near its own best policy, the dotted line: 50 %, 75 %, 96 %. Right: a "
     "staircase: in a rollout of 4 updates the clip stops the rise. But the first step, with all "
     f"ratios 1, is never clipped and may overshoot: from 25 % to {100 * clips[0][1][1]:.0f} %, "
     "far beyond 1 + ε for ε = 0.1. Without clip (inf) it is near the top soon.")

# %%
def redraw(step, epsilon, beta, rate):
    seen = practise(epsilon, beta, rate)[: step + 1]
    x, ratios, advantages = seen[-1]
    state = {"policy": softmax(x), "reference": np.exp(REF[:, 0]), "target": best(beta),
             "ratios": ratios, "advantages": advantages, "clip_range": epsilon, "steps": 24,
             "path": [softmax(x)[0] for x, _, _ in seen]}
    show(figures.two_token_step(state, TOKENS),
         f"After {step} updates 是 has {100 * softmax(x)[0]:.0f} %; best would be "
         f"{100 * best(beta)[0]:.0f} %. The orange points are the ratios, {ratios[0]:.2f} and "
         f"{ratios[1]:.2f}. Are they on a slope or on a flat part?")

redraw(step=4, epsilon=0.2, beta=1.0, rate=1.0)

# %%
play(redraw, step=list(range(25)), epsilon=[0.2, 0.1, 0.5, np.inf], beta=[1.0, 0.1, 0.5, 2.0],
     rate=[1.0, 0.25, 0.5, 2.0, 4.0])

# %% [markdown]
# ## Part B: Rufus
#
# The same algorithm with a transformer in place of two numbers. We take the Chinese Rufus: his
# sentences have about 8 characters, so many runs fit. Steps 1 and 2:

# %%
world, sft, reward_model = runs.prepare("zh")  # all annotators are simulated
ids = encode_prompts(sft, world.questions("train"))
gold = GoldWatch(world, sft.tokenizer)
settings = replace(
    pipeline.PPO, iterations=14, rollout_size=32, minibatch_size=32, ppo_epochs=4, clip_range=0.2,
    kl_coef=0.1, learning_rate=1e-3, value_learning_rate=2e-3, warmup=3, schedule="constant",
    max_new_tokens=sft.extra["max_new_tokens"],
)

# %%
def fresh():
    """The four models: only the policy and the value model will change."""
    return step3.PPOModels(
        policy=sft.params.copy(), ref_policy=sft.params, reward_model=reward_model.params,
        value_model=reward_model.params.copy(), config=sft.config,
        reward_config=reward_model.config,
    )

def watch(rollout):
    """More columns for the log.  The gold judge is only watched: PPO never sees it."""
    said = rollout.response_mask > 0  # (B, T)
    spread, paid = rollout.advantages[said].std(), rollout.rewards.sum(axis=1).mean()
    return gold(rollout) | {"advantage_spread": spread, "reward": paid}

# %% [markdown]
# Policy, action space, observation space, reward: here they are as arrays of one rollout of 32
# answers.

# %%
models, limit = fresh(), settings.max_new_tokens
samples = sample(models.policy, models.config, ids[:32], limit, np.random.default_rng(0))
scores = step3.score_samples(models, samples, settings)  # (B,)
rollout = step3.make_rollout(models, samples, scores, 0.1, settings)
B, T = rollout.response_mask.shape
for name, array, meaning in (
    ("policy", sft.params.flat, "weights; they give the log-probs"),
    ("action space", np.array(list(sft.tokenizer.vocab)), "one token of the vocabulary"),
    ("observation space", rollout.tokens, "prompt, and the answer so far"),
    ("reward", rollout.rewards, "KL price each, score at the last"),
    ("  advantages", rollout.advantages, "GAE, whitened"),
):
    print(f"{name:18} {array.shape!s:10} {meaning}")
assert np.allclose(rollout.old_logprobs, rollout.ref_logprobs)  # nothing learned yet: KL 0

# %%
HOOKS = step3.PPOHooks(watch=watch)

def run(seed=0, **changes):
    models, rng = fresh(), np.random.default_rng(seed)
    return models, step3.train_ppo(models, ids, replace(settings, **changes), rng, HOOKS)

trained, history = run(seed=0)
print("iteration  score  natural*  KL exact  sampled  entropy  clipped  expl.var  length")
for r in history[::3]:
    print(f"{r['iteration']:9} {r['score']:6.2f} {r['natural']:8.0%} {r['kl_exact']:10.2f} "
          f"{round(r['kl_estimate'], 2) + 0.0:8.2f} {r['entropy']:8.2f} {r['clip_fraction']:8.1%} "
          f"{r['explained_variance']:9.2f} {r['response_length']:7.1f}")
print("* share that the gold judge finds natural; not seen by PPO")

# %%
strip = pipeline.answer_in_numbers(
    sft._replace(params=trained.policy), sft, reward_model,
    reward_model._replace(params=trained.value_model), "你是谁？", 0.1, np.random.default_rng(1),
)
kl, paid = strip["kl"].sum(), strip["rewards"].sum()
assert np.isclose(paid, strip["score"] - 0.1 * kl)  # what exercise 06.1 promises
show(plots.plot_token_strip(strip),
     f"Who are you? I am a 条 robot: 条 counts long things, a robot is 一个. A column for each "
     f"character, then EOS. The score {strip['score']:.2f} is paid once, at the end. Each "
     f"character pays 0.1 for a nat of KL; {kl:.2f} nats, so it earns {paid:.2f}.")

# %%
five = [history] + [run(seed)[1] for seed in range(1, 5)]
first, last = ([np.mean([r["natural"] for r in h[part]]) for h in five]
               for part in (slice(0, 3), slice(-3, None)))
kl, stopped = np.median([[h[-1][k] for k in ("kl_exact", "clip_fraction")] for h in five], axis=0)
show(plots.plot_dashboard(five),
     f"Thin lines are 5 seeds, the bold one their median; so are these numbers. The natural share "
     f"goes from {np.median(first):.0%} to {np.median(last):.0%} (3 iterations each), KL to "
     f"{kl:.2f} nats; entropy falls; the clip stops {stopped:.1%} of the tokens.")
assert min(np.array(last) - np.array(first)) > 0.1  # every seed gains

# %% [markdown]
# **Read the log.** `score` should rise and `natural` with it; if only the score rises, stop and
# read the answers. `KL exact` is summed over the vocabulary, `sampled` over what was said; it may
# even be negative. `clipped` should be above 0. `expl.var` near 1 means that the values foresee the
# returns. `length` shows answers that shrink or swell.
#
# ## One batch, many epochs
#
# **Predict before you run.** One rollout, 4 epochs, then 12. We use 4 times the learning rate, so
# that the effect is large. What does the clip hold back?
#
# - A. Every ratio: none ends outside $1 \pm \epsilon$.
# - B. The push on a token that has left the range in its good direction. Others may still leave.
# - C. The number of epochs.
#
# <details><summary>Answer, after you have run the next cell</summary>
#
# **B.** Weights are shared, so a step for one token moves the others, also out of the range. The
# clip takes away the reason to go further. It is no wall.
#
# </details>

# %%
bold = replace(settings, iterations=10, learning_rate=4e-3)  # 4 times the rate
curves, batches = [], {}
for name, clip_range in (("clip 0.2", 0.2), ("clip off", np.inf)):
    once = replace(bold, clip_range=clip_range)
    ratios = runs.one_batch(fresh(), ids[:32], once, 13, np.random.default_rng(0))
    far = np.array([np.mean(np.abs(r - 1) > 0.2) for r in ratios])  # (13,)
    distance = np.array([np.mean(r - 1 - np.log(r)) for r in ratios])  # (13,)
    curves.append((name, distance, far))
    batches[name] = ratios
    print(f"{name}: after 4 epochs {far[4]:.0%} outside, KL {distance[4]:.2f};  after 12 "
          f"{far[12]:.0%}, {distance[12]:.2f}")

# %%
held, free = curves
assert held[2][0] == 0 and held[2][4] > 0.05 and held[1][12] < free[1][12]
show(figures.one_batch(batches["clip 0.2"][:4], 0.2, curves),
     f"Left: in epoch 1 every ratio is 1; at the start of epoch 4 {held[2][3]:.0%} are outside. "
     f"Middle: the distance from the old policy grows with every epoch, after 12 to "
     f"{held[1][12]:.2f} nats a token with the clip, to {free[1][12]:.2f} without. Right: both "
     "have tokens outside.")

# %% [markdown]
# ## What clip and KL coefficient are for
#
# An ablation: 16 short runs, again at 4 times the rate, with one seed each.

# %%
CLIPS, COEFS = {"off": np.inf, "0.1": 0.1, "0.2": 0.2, "0.5": 0.5}, (0, 0.02, 0.1, 0.5)
grid = {}
for name, clip_range in CLIPS.items():
    for coef in COEFS:
        models, rng = fresh(), np.random.default_rng(0)
        cell = replace(bold, clip_range=clip_range, kl_coef=coef)
        grid[name, coef] = step3.train_ppo(models, ids, cell, rng, HOOKS)
ends = {key: [column[-1] for column in figures.quarters(h)] for key, h in grid.items()}
print("naturalness / KL at the end\nclip   " + "".join(f"{c:>14}" for c in COEFS))
for name in CLIPS:
    cells = [ends[name, coef] for coef in COEFS]
    print(f"{name:7}" + "".join(f"{n:8.2f} / {kl:3.0f}" for kl, n in cells))

# %%
worst, best_cell = ends["off", 0], ends["0.1", 0.5]
assert worst[1] < 0.6 < best_cell[1] and worst[0] > 5 * best_cell[0]
show(figures.ablation_grid(grid, list(CLIPS), COEFS),
     f"Each arrow is a quarter of a run; to the right is away from the reference. With neither "
     f"clip nor price the run ends at {worst[0]:.0f} nats and {worst[1]:.2f} naturalness; with "
     f"clip 0.1 and price 0.5 at {best_cell[0]:.0f} nats and {best_cell[1]:.2f}.")

# %%
careful = {"clip 0.2, price 0.1": history, "clip off, price 0.1": run(0, clip_range=np.inf)[1],
           "clip 0.2, price 0": run(0, kl_coef=0)[1]}
late = {name: [column[-1] for column in figures.quarters(h)] for name, h in careful.items()}
for name, (kl, natural) in late.items():
    print(f"rate 1e-3, {name:19}  naturalness {natural:.2f}  KL {kl:.2f}")
assert np.ptp([natural for _, natural in late.values()]) < 0.05  # usual rate: no difference
assert ends["0.2", 0][1] < 0.8 < ends["0.2", 0.5][1] and ends["0.2", 0][0] > 10

# %% [markdown]
# At the usual rate neither brake makes much difference here: steps are small and the run is short.
# In the grid they are large. There, with clip 0.2, no price ends at 16 nats and naturalness 0.68, a
# price of 0.5 at 2 nats and 0.92. The clip brakes one update, the price the whole way from
# the reference. Both are safety belts.
#
# ## Three silent bugs
#
# Three runs, each with one bug. Grey is the healthy run. Nothing raised an error.
#
# - A. The old log-probs are computed again after each update, not kept from the rollout.
# - B. Advantages are whitened over the whole array, padding included.
# - C. The score is paid at every token, not only at the last.

# %%
PANELS = [("score", "score"), ("natural", "natural"), ("kl_exact", "KL, nats"),
          ("clip_fraction", "clip fraction"), ("advantage_spread", "std of A"),
          ("reward", "reward")]
broken = {letter: runs.broken_run(letter, fresh(), ids, bold, np.random.default_rng(0), watch)
          for letter in "PQR"}
show(figures.hunt(grid["0.2", 0.1], broken, PANELS),
     "Three dashboards against the healthy run in grey, 10 iterations each. In every row one curve "
     "is wrong from the first iteration on. `reward` is the sum that a response was paid; `std of "
     "A` the deviation of the advantages.")

# %% [markdown]
# **Exercise 06.4.** Name the bug of P, of Q and of R: three letters, in this order.

# %%
### BEGIN SOLUTION
bugs = "CAB"
### END SOLUTION

# %%
answer("06.4", bugs)

# %% [markdown]
# How would you find a bug without a picture? With probes: tasks so small that one broken part fails
# one of them. Here are four, tried with your functions and with four known mistakes:
#
# - good token: one token, score 1 or $-1$. The good one must win.
# - pulled back: no score, only the price of KL. The policy must return to the reference.
# - early credit: three tokens, and only the first one counts.
# - stays near: 50 epochs on one batch. No ratio may go far from 1.

# %%
mine = runs.Parts(kl_shaped_rewards, gae, ppo_clip_grad)
print(f"{'':16}" + "".join(f"{name:>14}" for name in runs.PROBES))
for name, parts in [("yours", mine)] + runs.spoiled(mine):
    marks = ["ok" if fine else "FAILS" for fine in runs.probes(parts, np.random.default_rng(0))]
    print(f"{name:16}" + "".join(f"{mark:>14}" for mark in marks))

# %% [markdown]
# **After 1.** The score rises all the time, and so does the KL. Naturalness, which PPO never sees,
# falls. What has happened?
#
# - A. The policy has found answers that the reward model likes and people do not.
# - B. The value function is too slow.
# - C. The clip range is too small.
#
# <details><summary>Answer</summary>
#
# **A.** The reward model is a copy of people's taste, good near the answers they ranked. Far from
# the reference it is a guess. B and C slow a run down; they do not turn it away.
#
# </details>

# %% [markdown]
# **After 2.** In the first minibatch of every rollout a colleague logs a mean ratio of 1.5. What is
# the most likely reason?
#
# - A. The policy has learned a lot.
# - B. The advantages were not whitened.
# - C. Sampling and scoring do not use the same probabilities.
#
# <details><summary>Answer</summary>
#
# **C.** Before the first update old and new policy are the same network, so every ratio is 1. A
# temperature in the sampler, or a shift by one token, breaks that.
#
# </details>

# %% [markdown]
# **After 3.** You double all scores. What must you do to the KL coefficient to keep the same best
# policy?
#
# - A. Halve it: the price now weighs twice.
# - B. Double it: only score over price matters.
# - C. Nothing: whitening takes care of it.
#
# <details><summary>Answer</summary>
#
# **B.** The best policy is $\pi_{ref}\, e^{score/\beta}$. Whitening comes after score and price
# have been added, so it cannot undo a wrong mixture.
#
# </details>

# %% [markdown] tags=["essay"]
# **Essay.** The story of this course says that the reward is the reward model's number "plus a
# constraint on the policy". In at most ten sentences: what does the constraint protect, from whom,
# and what does it cost? Use one number of your own run.

# %% [markdown]
# **Now in your debugger.** `python -m minirlhf walk --stop 4` stops inside the two-token world, and
# the debugger tour (`notebooks/debugger_tour.md`) leads through all its stops.
#
# **At scale.** InstructGPT used this algorithm, with a value function that starts from the reward
# model, as here ([Ouyang et al. 2022](https://arxiv.org/abs/2203.02155), appendix C). The loss is
# [Schulman et al. 2017](https://arxiv.org/abs/1707.06347); the price on KL comes from
# [Ziegler et al. 2019](https://arxiv.org/abs/1909.08593).
#
# Next, lesson 07: you are the annotator.
