"""REINFORCE, RLOO and GRPO: policy gradients without a value network.

PPO asks a second network what to expect and pays every token its own advantage.  Here a whole
response is one action with one number, and what to expect is read off other responses:

    reinforce  reward minus a running mean        Williams 1992; Sutton & Barto 2018, section 13.4
    rloo       reward minus the mean of the other responses to the same prompt
                                                  Ahmadian et al. 2024, arXiv 2402.14740
    grpo       score minus the group's mean, divided by its deviation; PPO's clip
                                                  Shao et al. 2024 (DeepSeekMath), arXiv 2402.03300
    grpo with divide_by_std and per_response off  "Dr. GRPO", Liu et al. 2025, arXiv 2503.20783

The first two put the KL to the reference into the reward, as PPO does; GRPO puts the estimate k3
into the loss.  On the policy's own samples the gradient of k3 is that of KL(reference || policy),
the other direction, so GRPO aims at a slightly different optimum (tests/test_beyond.py).

Where this departs from the papers:
1. REINFORCE's baseline is one running mean for all prompts, not a function of the state.
2. REINFORCE and RLOO take one optimiser step per rollout, on-policy: no ratio, nothing to clip.
   (TRL's RLOO takes several, with PPO's clip.)
3. GRPO's standard deviation divides by K - 1, as TRL's, and 1e-4 is added; the paper says neither.
   The reference stays the one of step 1; theirs is renewed in each round.
4. Dr. GRPO divides by the length limit, as its authors' code does.
5. Adam, clipping of the gradient's norm and the schedule are those of step 3.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.data import draw_prompts
from minirlhf.debugger_view import one_line
from minirlhf.errors import at
from minirlhf.gpt import (
    gpt_backward,
    gpt_forward,
    lm_head_backward,
    lm_head_forward,
    lm_head_weight,
)
from minirlhf.layers import token_logprobs_backward, token_logprobs_forward
from minirlhf.sample import sample
from minirlhf.step3_ppo import (
    PPOSettings,
    cut_minibatch,
    make_rollout,
    ppo_policy_loss,
    score_samples,
    token_count,
)

METHODS = ("reinforce", "rloo", "grpo")


@dataclass(frozen=True, kw_only=True)
class PolicyGradientSettings:
    """How one of the three methods runs.  Names as in PPOSettings."""

    method: str = "rloo"  # one of METHODS
    iterations: int = 60  # rollouts
    rollout_size: int = 48  # responses per rollout
    group_size: int = 8  # K responses to each prompt of a rollout; REINFORCE does not need groups
    max_new_tokens: int = 32  # limit of a response, EOS included
    kl_coef: float = 0.1  # beta; in the reward, for grpo in the loss
    missing_eos_score: float = -1.0  # score of a response without EOS
    baseline_decay: float = 0.9  # reinforce: weight of the past in the running mean
    epochs: int = 2  # grpo: passes over each rollout
    minibatch_size: int = 24  # grpo: responses per optimiser step
    clip_range: float = 0.2  # grpo: epsilon of the clip
    divide_by_std: bool = True  # grpo: off in Dr. GRPO
    per_response: bool = True  # grpo: every response counts the same, however long; off in Dr. GRPO
    learning_rate: float = 7e-4  # at the start
    warmup: int = 3  # iterations in which the rate climbs
    schedule: str = "linear"  # then down to 0
    max_grad_norm: float = 1.0

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r} is not one of {', '.join(METHODS)}")
        if self.rollout_size % self.group_size:
            raise ValueError(
                f"rollout_size {self.rollout_size} is not a multiple of "
                f"group_size {self.group_size}"
            )


# ---- advantages -----------------------------------------------------------------------------


def rloo_advantages(scores):
    """Each reward minus the mean of the others in its group.  Ahmadian et al. 2024, eq. 8.

    scores (N, K), N groups of K >= 2 responses -> advantages (N, K).  The mean of the others does
    not depend on the response itself, so the gradient keeps its expectation.
    """
    K = scores.shape[1]
    if K < 2:
        raise ValueError(f"groups of {K}: there are no others to compare with")
    others = (scores.sum(axis=1, keepdims=True) - scores) / (K - 1)  # (N, K)
    return scores - others


def grpo_advantages(scores, divide_by_std=True, ddof=1):
    """(score - mean) / (deviation + 1e-4) inside each group.  Shao et al. 2024, section 4.1.2.

    scores (N, K) -> advantages (N, K).  A group whose scores are all equal gets 0.  Off,
    divide_by_std gives Dr. GRPO's: a group that nearly agrees is then not blown up.  ddof 1: the
    deviation divides by K - 1, as TRL's; 0: by K, as the walk's (`python -m minirlhf walk`).
    """
    centred = scores - scores.mean(axis=1, keepdims=True)  # (N, K)
    if not divide_by_std:
        return centred
    deviation = scores.std(axis=1, keepdims=True, ddof=ddof)  # (N, 1)
    return centred / (deviation + scores.dtype.type(1e-4))


# ---- losses ---------------------------------------------------------------------------------


def reinforce_loss(logprobs, advantages, response_mask):
    """-mean over responses of advantage * log pi(response).  Sutton & Barto 2018, eq. 13.11.

    logprobs, response_mask (B, T), advantages (B,) -> loss, dlogprobs (B, T).  Its value means
    nothing; its gradient is minus the policy gradient, estimated.  For REINFORCE and RLOO.
    """
    weights = advantages[:, None] * response_mask / len(advantages)  # (B, T)
    loss = -float((weights * logprobs).sum())
    return loss, -weights


def k3_loss(logprobs, ref_logprobs, weights):
    """Weighted sum of Schulman's k3, e^-d - 1 + d with d = log pi - log ref.  Never negative.

    All (B, T) -> loss in nats, dlogprobs (B, T).
    """
    d = (logprobs - ref_logprobs) * (weights > 0)  # (B, T)
    loss = float(((np.expm1(-d) + d) * weights).sum())
    return loss, -np.expm1(-d) * weights  # d/dd (e^-d - 1 + d) = 1 - e^-d


def token_weights(response_mask, per_response, max_new_tokens):
    """What each token counts in GRPO's loss.  (B, T) -> (B, T).

    per_response: 1 / (B * length), so that the tokens of a response share one vote and a long
    wrong answer is punished less per token than a short one.  Else 1 / (B * max_new_tokens).
    """
    lengths = response_mask.sum(axis=1, keepdims=True)  # (B, 1)
    if not per_response:
        lengths = np.full_like(lengths, max_new_tokens)
    return response_mask / lengths / len(response_mask)


class GRPOStats(NamedTuple):
    clip_fraction: float  # share of tokens whose gradient the clip has stopped
    approx_kl: float  # KL(old || new) in nats per token
    k3: float  # weighted sum of k3: the KL penalty before its coefficient


def grpo_loss(logprobs, batch, weights, clip_range, kl_coef):
    """PPO's clipped loss with weighted tokens, plus kl_coef * k3.  Shao et al. 2024, eq. 3.

    logprobs, weights (B, T); batch: a Minibatch of B responses, whose tokens all have the
    advantage of their response -> loss, dlogprobs (B, T), GRPOStats.  ppo_policy_loss takes the
    mean over tokens; min() lets a positive factor through, so weights can ride on advantages.
    """
    weighted = batch.advantages * weights * token_count(batch.mask)  # (B, T)
    loss, dlogprobs, stats = ppo_policy_loss(
        logprobs, batch.old_logprobs, weighted, batch.mask, clip_range
    )
    k3, dk3 = k3_loss(logprobs, batch.ref_logprobs, weights)
    loss += kl_coef * k3
    dlogprobs += kl_coef * dk3
    stats = GRPOStats(clip_fraction=stats.clip_fraction, approx_kl=stats.approx_kl, k3=k3)
    return loss, dlogprobs, stats


# ---- from the log-probabilities to the weights ----------------------------------------------


class PolicyCache(NamedTuple):
    trunk: NamedTuple  # GPTCache
    head: tuple
    logprobs: tuple
    __repr__ = one_line


def policy_forward(params, config, inputs, targets):
    """inputs, targets (B, T) ids -> logprobs (B, T) of the targets in nats, PolicyCache."""
    hidden, trunk = gpt_forward(params, config, inputs)  # (B, T, C)
    logits, head = lm_head_forward(params, hidden)  # (B, T, V)
    logprobs, cache = token_logprobs_forward(logits, targets)  # (B, T)
    return logprobs, PolicyCache(trunk=trunk, head=head, logprobs=cache)


def policy_backward(params, config, dlogprobs, cache):
    """dlogprobs (B, T) -> grads (Params)."""
    dlogits = token_logprobs_backward(dlogprobs, cache.logprobs)  # (B, T, V)
    dhidden, dw = lm_head_backward(params, dlogits, cache.head)
    grads = gpt_backward(params, config, dhidden, cache.trunk)
    lm_head_weight(grads)[...] += dw  # += : a tied wte is lookup and head at once
    return grads


def reinforce_objective(params, config, inputs, targets, advantages, mask):
    """inputs, targets, mask (B, T), advantages (B,) -> loss, grads (Params)."""
    logprobs, cache = policy_forward(params, config, inputs, targets)  # (B, T)
    loss, dlogprobs = reinforce_loss(logprobs, advantages, mask)
    return loss, policy_backward(params, config, dlogprobs, cache)


def grpo_objective(params, config, batch, settings):
    """A Minibatch -> loss, grads (Params), GRPOStats."""
    logprobs, cache = policy_forward(params, config, batch.inputs, batch.targets)  # (B, T)
    weights = token_weights(batch.mask, settings.per_response, settings.max_new_tokens)  # (B, T)
    loss, dlogprobs, stats = grpo_loss(
        logprobs, batch, weights, settings.clip_range, settings.kl_coef
    )
    return loss, policy_backward(params, config, dlogprobs, cache), stats


# ---- the loop -------------------------------------------------------------------------------


def rollout_of_groups(models, prompts, settings, rng):
    """The rollout of step 3, with group_size responses in a row to each prompt -> Rollout.

    Its values and token advantages are computed from the reward model's trunk and then ignored:
    these methods have no value network.
    """
    chosen = draw_prompts(prompts, settings.rollout_size // settings.group_size, rng)
    asked = [ids for ids in chosen for _ in range(settings.group_size)]
    samples = sample(models.policy, models.config, asked, settings.max_new_tokens, rng)
    scores = score_samples(models, samples, settings)  # (B,)
    without_values = models._replace(value_model=models.reward_model)
    return make_rollout(without_values, samples, scores, settings.kl_coef, PPOSettings())


def response_advantages(rollout, baseline, settings):
    """Rollout of B responses, running mean of rewards -> advantages (B,), one per response."""
    groups = (-1, settings.group_size)
    if settings.method == "grpo":
        grouped = rollout.scores.reshape(groups)  # (N, K)  without KL: that is in the loss
        return grpo_advantages(grouped, settings.divide_by_std).reshape(-1)
    rewards = rollout.rewards.sum(axis=1)  # (B,)  score - beta * log-ratio
    if settings.method == "rloo":
        return rloo_advantages(rewards.reshape(groups)).reshape(-1)
    return rewards - rewards.dtype.type(baseline)


def update_policy_gradient(models, adam, rollout, advantages, settings, lr, rng):
    """The optimiser steps of one rollout, in place on models.policy -> list of dicts of figures.

    advantages (B,).  grpo: several epochs of minibatches; the others: one step, everything in it.
    """
    n = len(advantages)
    grpo = settings.method == "grpo"
    size, epochs = (settings.minibatch_size, settings.epochs) if grpo else (n, 1)
    rollout = rollout._replace(advantages=advantages[:, None] * rollout.response_mask)  # (B, T)
    figures = []
    for _ in range(epochs):
        order = rng.permutation(n)  # (B,)
        for start in range(0, n, size):
            rows = order[start : start + size]
            batch, row = cut_minibatch(rollout, rows), {}
            if grpo:
                loss, grads, stats = grpo_objective(models.policy, models.config, batch, settings)
                row = stats._asdict()
            else:
                loss, grads = reinforce_objective(
                    models.policy, models.config, batch.inputs, batch.targets, advantages[rows],
                    batch.mask,
                )
            norm = clip_gradient(grads, settings.max_grad_norm)
            adam_step(models.policy, grads, adam, lr)
            figures.append({"policy_loss": loss, "policy_grad_norm": norm} | row)
    return figures


def train_policy_gradient(models, prompts, settings, rng, watch=None, progress=iter):
    """REINFORCE, RLOO or GRPO from start to end, in place on models.policy -> history.

    models: PPOModels, value_model may be None.  prompts: list of ids.  watch(rollout) -> dict of
    figures for the history, evaluation only.
    """
    adam, baseline, history = init_adam(models.policy), None, []
    for iteration in progress(range(settings.iterations)):
        started = time.perf_counter()
        rollout = rollout_of_groups(models, prompts, settings, rng)
        mean_reward = float(rollout.rewards.sum(axis=1).mean())
        if baseline is None:
            baseline = mean_reward  # the first rollout has no past
        advantages = response_advantages(rollout, baseline, settings)  # (B,)
        baseline += (1 - settings.baseline_decay) * (mean_reward - baseline)
        lr = learning_rate(
            iteration, settings.iterations, settings.learning_rate, settings.warmup,
            settings.schedule,
        )
        with at(f"{settings.method}, iteration {iteration}"):
            steps = update_policy_gradient(models, adam, rollout, advantages, settings, lr, rng)
        figures = {
            "iteration": iteration,
            "score": float(rollout.scores.mean()),
            "kl_exact": float(rollout.exact_kl.sum(axis=1).mean()),
            "entropy": float(rollout.entropy.sum() / rollout.response_mask.sum()),
            "missing_eos": float(1 - rollout.finished.mean()),
        }
        for name in steps[0]:
            figures[name] = float(np.mean([step[name] for step in steps]))
        figures["seconds"] = time.perf_counter() - started
        history.append(figures | watch(rollout) if watch else figures)
    return history
