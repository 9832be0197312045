"""Step 3: PPO.  The language model practises; the reward model is its judge.

    policy             the language model, updated here
    action space       the vocabulary, at every position of the response
    observation space  the prompts, and what has been said so far
    reward             the reward model's score at the last token, minus kl_coef times the
                       log-ratio to the frozen reference model at every token

Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) in the form of Ziegler et al.
2019 (arXiv 1909.08593) and Ouyang et al. 2022 (arXiv 2203.02155).  One iteration, top to bottom:

    1. rollout    sample responses; log-probs, reference log-probs, values, scores
    2. rewards    score and KL, token by token
    3. advantages GAE, whitened
    4. losses     clipped policy loss, clipped value loss
    5. update     several epochs of minibatches

Where this departs from the code of Ziegler et al., and from InstructGPT:
1. Sampling stops at EOS, and the score sits on the EOS action.  Theirs has a fixed length.
2. A response without EOS gets `missing_eos_score` instead of its score.  Theirs without a full
   stop gets -1.
3. Advantages are computed and whitened once per rollout over response tokens, not per minibatch;
   rewards are not whitened.
4. The value function is a network of its own that starts from the reward model (as in InstructGPT),
   not a head on the policy.
5. An answer that reaches the length limit counts as ended there: no value is added for the rest.
6. Temperature is 1 everywhere (theirs 0.7), Adam has beta2 0.99 and eps 1e-8 (theirs 0.999 and
   1e-5), the entropy bonus is optional.
7. No pretraining gradients are mixed in: the gamma of Ouyang et al., eq. 2, is 0 (their "PPO").
"""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.checkpoint import fingerprint, load_run, save_run
from minirlhf.gpt import (
    GPTConfig,
    Params,
    gpt_backward,
    gpt_forward,
    lm_head_backward,
    lm_head_forward,
    lm_head_weight,
    scalar_head_backward,
    scalar_head_forward,
)
from minirlhf.layers import (
    entropy_backward,
    entropy_forward,
    exact_kl,
    log_softmax,
    one_line,
    token_logprobs_backward,
    token_logprobs_forward,
)
from minirlhf.sample import sample
from minirlhf.step2_reward_model import reward_model_forward

KIND = "ppo"  # what its resume files say they hold


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """How PPO runs.  Scores have mean 0 and deviation 1 on reference samples (step 2).

    pipeline.PPO is what the demo and the command line use; max_new_tokens comes from the model.
    """

    iterations: int = 60  # rollouts
    rollout_size: int = 64  # responses per rollout
    max_new_tokens: int = 32  # limit of a response, EOS included
    ppo_epochs: int = 2  # passes over each rollout
    minibatch_size: int = 32  # responses per optimiser step
    clip_range: float = 0.2  # epsilon of the policy's clip, Schulman et al. 2017
    value_clip_range: float = 0.2  # epsilon of the value's clip, in units of reward
    gamma: float = 1.0  # discount: none, a text is one episode
    gae_lambda: float = 0.95  # GAE's decay
    kl_coef: float = 0.1  # beta, the price of a nat of log-ratio, in units of reward
    target_kl: float | None = None  # nats per response; given, kl_coef adapts to hold it
    kl_horizon: int = 1280  # responses; 64 of them move kl_coef by at most 0.2 * 64/1280 = 1 %
    missing_eos_score: float = -1.0  # score of a response without EOS
    entropy_coef: float = 0.0  # bonus for an undecided policy
    learning_rate: float = 3e-4  # of the policy, at the start
    value_learning_rate: float = 1e-3  # of the value network, at the start
    warmup: int = 5  # iterations in which the policy's rate climbs, while the values catch up
    schedule: str = "linear"  # then down to 0 over the iterations; or cosine, constant
    max_grad_norm: float = 1.0
    threads: int = 1  # 2: policy and value model learn side by side; a debugger wants 1
    save_every: int = 10  # iterations between two resume files


class PPOModels(NamedTuple):
    """The four models.  Only policy and value_model change."""

    policy: Params
    ref_policy: Params  # frozen: the language model of step 1, in all rounds
    reward_model: Params  # frozen
    value_model: Params
    config: GPTConfig  # of policy and ref_policy
    reward_config: GPTConfig  # of reward_model and value_model
    __repr__ = one_line


class Rollout(NamedTuple):
    """Everything that is frozen while the update runs.  (B, T) arrays: entry t is targets[:, t]."""

    tokens: np.ndarray  # (B, T+1)
    response_mask: np.ndarray  # (B, T)  1 on generated targets, EOS included
    finished: np.ndarray  # (B,) bool  ended with EOS
    old_logprobs: np.ndarray  # (B, T)  recorded while sampling
    ref_logprobs: np.ndarray  # (B, T)
    values: np.ndarray  # (B, T)  expected return before targets[:, t] is chosen
    scores: np.ndarray  # (B,)  reward model, or missing_eos_score
    rewards: np.ndarray  # (B, T)
    advantages: np.ndarray  # (B, T)  whitened
    returns: np.ndarray  # (B, T)
    exact_kl: np.ndarray  # (B, T)  KL(policy || reference) over the whole vocabulary, nats
    entropy: np.ndarray  # (B, T)  of the policy, nats
    __repr__ = one_line


# ---- 1. rollout -----------------------------------------------------------------------------


def make_rollout(models, prompts, kl_coef, settings, rng):
    """list of B prompts (ids) -> Rollout: the policy speaks, the other three models look at it."""
    samples = sample(models.policy, models.config, prompts, settings.max_new_tokens, rng)
    tokens, mask = samples.tokens, samples.response_mask
    inputs, targets = tokens[:, :-1], tokens[:, 1:]  # (B, T)

    ref_logprobs, ref_all_logprobs = reference_logprobs(models, inputs, targets)
    kl = exact_kl(samples.all_logprobs, ref_all_logprobs) * mask  # (B, T)
    probs = np.exp(samples.all_logprobs)  # (B, T, V)
    entropy = -(probs * samples.all_logprobs).sum(axis=-1) * mask  # (B, T)

    # values stand at prompt positions too; gae and the mask below take them away
    hidden, _ = gpt_forward(models.value_model, models.reward_config, inputs)
    values, _ = scalar_head_forward(models.value_model, hidden)  # (B, T)
    last = last_response_index(mask)  # (B,)
    # last is an index into targets; the same token stands one further on in tokens
    scores, _ = reward_model_forward(models.reward_model, models.reward_config, tokens, last + 1)
    scores = np.where(samples.finished, scores, scores.dtype.type(settings.missing_eos_score))

    rewards = kl_shaped_rewards(scores, samples.logprobs, ref_logprobs, mask, kl_coef)
    advantages, returns = gae(rewards, values, mask, settings.gamma, settings.gae_lambda)
    advantages = whiten(advantages, mask)
    return Rollout(
        tokens, mask, samples.finished, samples.logprobs, ref_logprobs * mask, values * mask,
        scores, rewards, advantages, returns, kl, entropy,
    )


def reference_logprobs(models, inputs, targets):
    """inputs, targets (B, T) -> ref_logprobs (B, T), ref_all_logprobs (B, T, V), in nats."""
    hidden, _ = gpt_forward(models.ref_policy, models.config, inputs)
    logits, _ = lm_head_forward(models.ref_policy, hidden)  # (B, T, V)
    all_logprobs = log_softmax(logits)
    return np.take_along_axis(all_logprobs, targets[..., None], axis=-1)[..., 0], all_logprobs


def last_response_index(response_mask):
    """response_mask (B, T) -> (B,), where each row's last 1 stands.  Raises ValueError if none."""
    if not response_mask.any(axis=1).all():
        row = int(response_mask.any(axis=1).argmin())
        raise ValueError(f"row {row} of response_mask {response_mask.shape} has no response token")
    return response_mask.shape[1] - 1 - response_mask[:, ::-1].argmax(axis=1)


# ---- 2. rewards -----------------------------------------------------------------------------


def kl_shaped_rewards(scores, logprobs, ref_logprobs, response_mask, kl_coef):
    """Ouyang et al. 2022, eq. 2, spread over the tokens: -kl_coef * (log pi - log ref) each, and
    the score on top at the last one.

    scores (B,), the others (B, T) -> rewards (B, T); a row sums to score - kl_coef * log-ratio.
    """
    kl = (logprobs - ref_logprobs) * response_mask  # (B, T)  one sample's estimate, may be negative
    rewards = -kl_coef * kl
    rewards[np.arange(len(scores)), last_response_index(response_mask)] += scores
    return rewards


def adapt_kl_coef(kl_coef, kl, target_kl, n_responses, horizon):
    """Ziegler et al. 2019, section 2.2: a proportional controller, at most 20 % error counted.

    kl: nats per response in the last rollout -> the next kl_coef.
    """
    error = min(max(kl / target_kl - 1, -0.2), 0.2)
    return kl_coef * (1 + error * n_responses / horizon)


# ---- 3. advantages --------------------------------------------------------------------------


def gae(rewards, values, response_mask, gamma, gae_lambda):
    """Generalised advantage estimation, Schulman et al. 2016, arXiv 1506.02438, eq. 16.

    All (B, T) -> advantages, returns (B, T), 0 outside the response.  After the last response
    token there is nothing: no value is bootstrapped, whether the text ended by EOS or by the limit.
    """
    rewards = rewards * response_mask  # whatever a model said about padding must not leak
    values = values * response_mask
    advantages = np.zeros_like(values)  # (B, T)
    next_value = np.zeros_like(values[:, 0])  # (B,)
    next_advantage = np.zeros_like(values[:, 0])  # (B,)
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]  # (B,)
        next_advantage = (delta + gamma * gae_lambda * next_advantage) * response_mask[:, t]
        advantages[:, t] = next_advantage
        next_value = values[:, t]
    return advantages, advantages + values


def whiten(x, mask):
    """(x - mean) / std over the entries where mask is 1, population variance.  (B, T) -> (B, T)."""
    n = mask.sum()
    mean = (x * mask).sum() / n
    variance = ((x - mean) ** 2 * mask).sum() / n
    return (x - mean) / np.sqrt(variance + x.dtype.type(1e-8)) * mask


# ---- 4. losses ------------------------------------------------------------------------------


class PolicyStats(NamedTuple):
    clip_fraction: float  # share of tokens whose gradient the clip has stopped
    ratio_outside: float  # share of tokens with |ratio - 1| > clip_range, >= clip_fraction
    approx_kl: float  # KL(old || new) in nats per token, mean of ratio - 1 - log ratio


class ValueStats(NamedTuple):
    clip_fraction: float  # share of tokens whose gradient the value clip has stopped
    explained_variance: float  # 1: the values are the returns; 0: no better than their mean


def ppo_policy_loss(logprobs, old_logprobs, advantages, response_mask, clip_range):
    """Clipped surrogate, Schulman et al. 2017, eq. 7, negated: lower is better.  All (B, T).

    -> loss, dlogprobs (B, T), PolicyStats.  Only logprobs is differentiated.
    """
    n_tokens = token_count(response_mask)
    log_ratio = (logprobs - old_logprobs) * response_mask  # (B, T)
    ratio = np.exp(log_ratio)  # (B, T)
    unclipped = ratio * advantages  # (B, T)
    clipped = np.clip(ratio, 1 - clip_range, 1 + clip_range) * advantages  # (B, T)
    loss = -float((np.minimum(unclipped, clipped) * response_mask).sum()) / n_tokens

    # min() picks the clipped side where A > 0 and ratio > 1 + clip_range, or A < 0 and
    # ratio < 1 - clip_range.  There the curve is flat.
    # Elsewhere d(ratio * A) / dlogprob = ratio * A, because d exp(u) = exp(u) du.
    is_clipped = clipped < unclipped  # (B, T) bool
    dlogprobs = np.where(is_clipped, 0, -unclipped) * response_mask / n_tokens

    outside = np.abs(ratio - 1) > clip_range  # (B, T) bool
    stats = PolicyStats(
        float((is_clipped * response_mask).sum()) / n_tokens,
        float((outside * response_mask).sum()) / n_tokens,
        float(((np.expm1(log_ratio) - log_ratio) * response_mask).sum()) / n_tokens,
    )
    return loss, dlogprobs, stats


def value_loss(values, old_values, returns, response_mask, value_clip_range):
    """Half the squared error, clipped like the policy (Ziegler et al. 2019's code).  All (B, T).

    -> loss, dvalues (B, T), ValueStats.  The larger of the two errors counts: a value that moved
    further than value_clip_range from old_values towards the return is not pushed on.
    """
    n_tokens = token_count(response_mask)
    clipped_values = np.clip(values, old_values - value_clip_range, old_values + value_clip_range)
    error = values - returns  # (B, T)
    clipped_error = clipped_values - returns  # (B, T)
    worse = np.maximum(error**2, clipped_error**2)  # (B, T)
    loss = 0.5 * float((worse * response_mask).sum()) / n_tokens

    # Inside both errors are equal.  Outside, the larger error counts.
    inside = np.abs(values - old_values) <= value_clip_range  # (B, T) bool
    has_gradient = inside | (error**2 >= clipped_error**2)  # (B, T) bool
    dvalues = np.where(has_gradient, error, 0) * response_mask / n_tokens
    stats = ValueStats(
        float((~has_gradient * response_mask).sum()) / n_tokens,
        explained_variance(old_values, returns, response_mask),
    )
    return loss, dvalues, stats


def token_count(response_mask):
    """response_mask (B, T) -> number of response tokens as a Python float (it cannot upcast)."""
    n_tokens = float(response_mask.sum())
    if n_tokens == 0:
        raise ValueError(f"response_mask {response_mask.shape} is 0 everywhere")
    return n_tokens


def explained_variance(values, returns, mask):
    """1 - var(returns - values) / var(returns) over the entries where mask is 1."""
    valid = mask > 0
    variance = float(returns[valid].var())
    return 1 - float((returns - values)[valid].var()) / variance if variance > 0 else 0.0


# ---- 5. update ------------------------------------------------------------------------------


def policy_objective(policy, config, inputs, targets, old_logprobs, advantages, mask, settings):
    """One minibatch, all (B, T) -> loss (entropy bonus included), grads, PolicyStats."""
    hidden, cache = gpt_forward(policy, config, inputs)
    logits, head_cache = lm_head_forward(policy, hidden)  # (B, T, V)
    logprobs, logprobs_cache = token_logprobs_forward(logits, targets)  # (B, T)
    loss, dlogprobs, stats = ppo_policy_loss(
        logprobs, old_logprobs, advantages, mask, settings.clip_range
    )
    dlogits = token_logprobs_backward(dlogprobs, logprobs_cache)  # (B, T, V)
    if settings.entropy_coef > 0:
        entropy, entropy_cache = entropy_forward(logits)  # (B, T)
        weight = settings.entropy_coef * mask / token_count(mask)  # (B, T)
        loss -= float((entropy * weight).sum())
        dlogits += entropy_backward(-weight, entropy_cache)
    dhidden, dw = lm_head_backward(policy, dlogits, head_cache)
    grads = gpt_backward(policy, config, dhidden, cache)
    lm_head_weight(grads)[...] += dw  # += : a tied wte is lookup and head at once
    return loss, grads, stats


def value_objective(value_model, config, inputs, old_values, returns, mask, settings):
    """One minibatch, all (B, T) -> loss, grads, ValueStats."""
    hidden, cache = gpt_forward(value_model, config, inputs)
    values, head_cache = scalar_head_forward(value_model, hidden)  # (B, T)
    loss, dvalues, stats = value_loss(values, old_values, returns, mask, settings.value_clip_range)
    dhidden, dhead_w, dhead_b = scalar_head_backward(value_model, dvalues, head_cache)
    grads = gpt_backward(value_model, config, dhidden, cache)
    grads.head_w[...], grads.head_b[...] = dhead_w, dhead_b
    return loss, grads, stats


def ppo_update(models, adams, rollout, settings, lr, value_lr, where, rng):
    """Several epochs of minibatches over one rollout, in place on policy and value_model.

    adams: {"policy": Adam, "value_model": Adam}; lr, value_lr: this iteration's learning rates.
    -> list of one dict of figures per minibatch.
    """
    minibatches = []  # of (epoch, rows (b,))
    for epoch in range(settings.ppo_epochs):
        order = rng.permutation(len(rollout.tokens))
        for start in range(0, len(order), settings.minibatch_size):
            minibatches.append((epoch, order[start : start + settings.minibatch_size]))
    policy_job = (models, adams["policy"], rollout, minibatches, settings, lr, where)
    value_job = (models, adams["value_model"], rollout, minibatches, settings, value_lr, where)
    if settings.threads == 1:
        policy_rows = update_policy(*policy_job)
        value_rows = update_value_model(*value_job)
    else:  # the two networks do not touch each other: same bytes, 1.8x faster on two cores
        with ThreadPoolExecutor(max_workers=2) as pool:
            waiting = pool.submit(update_value_model, *value_job)
            policy_rows = update_policy(*policy_job)
            value_rows = waiting.result()
    for policy_row, value_row in zip(policy_rows, value_rows):
        policy_row.update(value_row)
    return policy_rows


def cut_minibatch(rollout, rows):
    """Rollout, rows (b,) -> inputs, targets, mask (b, T) without columns that are padding only."""
    T = int(last_response_index(rollout.response_mask[rows]).max()) + 1
    tokens = rollout.tokens[rows, : T + 1]  # (b, T+1)
    return tokens[:, :-1], tokens[:, 1:], rollout.response_mask[rows, :T]


def update_policy(models, adam, rollout, minibatches, settings, lr, where):
    """One optimiser step of the policy per minibatch, in place -> list of dicts of figures."""
    figures = []
    for epoch, rows in minibatches:
        inputs, targets, mask = cut_minibatch(rollout, rows)  # each (b, T)
        old_logprobs = rollout.old_logprobs[rows, : mask.shape[1]]  # (b, T)
        advantages = rollout.advantages[rows, : mask.shape[1]]  # (b, T)
        loss, grads, stats = policy_objective(
            models.policy, models.config, inputs, targets, old_logprobs, advantages, mask, settings
        )
        norm = clip_gradient(grads, settings.max_grad_norm, f"{where}, policy")
        adam_step(models.policy, grads, adam, lr)
        row = {"epoch": epoch, "policy_loss": loss, "clip_fraction": stats.clip_fraction}
        row |= {"ratio_outside": stats.ratio_outside, "approx_kl": stats.approx_kl}
        figures.append(row | {"policy_grad_norm": norm})
    return figures


def update_value_model(models, adam, rollout, minibatches, settings, lr, where):
    """One optimiser step of the value model per minibatch, in place -> list of dicts of figures."""
    figures = []
    for _, rows in minibatches:
        inputs, _, mask = cut_minibatch(rollout, rows)  # each (b, T)
        old_values = rollout.values[rows, : mask.shape[1]]  # (b, T)
        returns = rollout.returns[rows, : mask.shape[1]]  # (b, T)
        loss, grads, stats = value_objective(
            models.value_model, models.reward_config, inputs, old_values, returns, mask, settings
        )
        norm = clip_gradient(grads, settings.max_grad_norm, f"{where}, value model")
        adam_step(models.value_model, grads, adam, lr)
        row = {"value_loss": loss, "value_clip_fraction": stats.clip_fraction}
        figures.append(row | {"value_grad_norm": norm})
    return figures


# ---- the loop -------------------------------------------------------------------------------


def ppo_iteration(models, adams, prompts, kl_coef, settings, iteration, rng):
    """One rollout and its update -> Rollout, figures (dict of floats; README says what they are).

    prompts: list of ids; rollout_size of them are drawn, each about equally often.
    """
    started = time.perf_counter()
    repeats = math.ceil(settings.rollout_size / len(prompts))
    drawn = np.concatenate([rng.permutation(len(prompts)) for _ in range(repeats)])
    batch = [prompts[i] for i in drawn[: settings.rollout_size]]
    rollout = make_rollout(models, batch, kl_coef, settings, rng)

    steps, schedule = settings.iterations, settings.schedule
    lr = learning_rate(iteration, steps, settings.learning_rate, settings.warmup, schedule)
    value_lr = learning_rate(iteration, steps, settings.value_learning_rate, 0, schedule)
    where = f"PPO iteration {iteration}"
    minibatches = ppo_update(models, adams, rollout, settings, lr, value_lr, where, rng)

    mask = rollout.response_mask
    log_ratio = (rollout.old_logprobs - rollout.ref_logprobs) * mask  # (B, T)
    figures = {
        "iteration": iteration,
        "score": float(rollout.scores.mean()),
        "kl_exact": float(rollout.exact_kl.sum(axis=1).mean()),
        "kl_estimate": float(log_ratio.sum(axis=1).mean()),
        "kl_coef": kl_coef,
        "entropy": float(rollout.entropy.sum() / mask.sum()),
        "explained_variance": explained_variance(rollout.values, rollout.returns, mask),
        "response_length": float(mask.sum(axis=1).mean()),
        "missing_eos": float(1 - rollout.finished.mean()),
    }
    for name in minibatches[0]:
        if name != "epoch":
            figures[name] = float(np.mean([row[name] for row in minibatches]))
    figures["first_approx_kl"] = minibatches[0]["approx_kl"]  # 0 if sampling and scoring agree
    figures["seconds"] = time.perf_counter() - started
    return rollout, figures


def train_ppo(models, prompts, settings, rng, watch=None, resume_path=None, progress=iter):
    """PPO from start to end, in place on models.policy and models.value_model -> history.

    prompts: list of ids.  watch(rollout) -> dict of figures to be added to the history, for
    evaluation only: nothing it returns reaches the update.  resume_path and progress as in
    train_language_model.
    """
    trained = {"policy": models.policy, "value_model": models.value_model}
    adams = {"policy": init_adam(models.policy), "value_model": init_adam(models.value_model)}
    kl_coef, history = settings.kl_coef, []
    rng_state = rng.bit_generator.state  # where the generator stood after the last iteration
    data = fingerprint([prompts, rng_state], *models[:4])
    if resume_path is not None and resume_path.exists():
        kept = load_run(resume_path, KIND, settings, data, trained, adams, rng)
        kl_coef, history = kept["kl_coef"], kept["history"]
        rng_state = rng.bit_generator.state
    whole = True  # no iteration has been started and not finished
    try:
        for iteration in progress(range(len(history), settings.iterations)):
            whole = False
            rollout, figures = ppo_iteration(
                models, adams, prompts, kl_coef, settings, iteration, rng
            )
            if settings.target_kl is not None:
                kl_coef = adapt_kl_coef(
                    kl_coef, figures["kl_estimate"], settings.target_kl,
                    settings.rollout_size, settings.kl_horizon,
                )
            history.append(figures | watch(rollout) if watch else figures)
            rng_state = rng.bit_generator.state
            whole = True
            if resume_path is not None and len(history) % settings.save_every == 0:
                kept = {"kl_coef": kl_coef, "history": history}
                save_run(resume_path, KIND, settings, data, trained, adams, kept, rng)
    except KeyboardInterrupt:
        # an iteration that was cut in the middle (a notebook's stop button) is not kept
        if resume_path is not None and whole:
            rng.bit_generator.state = rng_state
            kept = {"kl_coef": kl_coef, "history": history}
            save_run(resume_path, KIND, settings, data, trained, adams, kept, rng)
        raise
    return history
