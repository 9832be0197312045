"""Longer runs of lesson 06: training with a silent bug, and four probes for broken parts.

`broken_run` is train_ppo with one line wrong.  It stands here and not in the notebook, because
there the bug is to be found from the log alone.  `probe_table` trains a policy of a few logits with
given parts of PPO; each probe asks for one thing that only working parts can do.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minirlhf import step3_ppo as step3
from minirlhf.adam import init_adam, learning_rate
from minirlhf.gpt import gpt_forward, lm_head_forward
from minirlhf.layers import (
    log_softmax,
    softmax,
    token_logprobs_backward,
    token_logprobs_forward,
)

# ---- training with a silent bug -------------------------------------------------------------


def broken_run(letter, models, prompts, settings, rng, watch):
    """train_ppo, wrong in one way: letter "P", "Q" or "R" -> history; "" is right."""
    adams = {"policy": init_adam(models.policy), "value_model": init_adam(models.value_model)}
    history = []
    for iteration in range(settings.iterations):
        batch = [prompts[i] for i in rng.permutation(len(prompts))[: settings.rollout_size]]
        rollout = step3.make_rollout(models, batch, settings.kl_coef, settings, rng)
        if letter == "P":
            rollout = pay_every_token(rollout, settings)
        if letter == "R":
            rollout = whiten_with_padding(rollout)
        rows = update(letter == "Q", models, adams, rollout, settings, iteration, rng)
        figures = {
            "iteration": iteration,
            "score": float(rollout.scores.mean()),
            "kl_exact": float(rollout.exact_kl.sum(axis=1).mean()),
            "clip_fraction": float(np.mean([row["clip_fraction"] for row in rows])),
        }
        history.append(figures | watch(rollout))
    return history


def update(again, models, adams, rollout, settings, iteration, rng):
    """ppo_update, epoch by epoch.  again: the bug of Q -> list of figures."""
    constant = settings.schedule
    steps, warmup = settings.iterations, settings.warmup
    lr = learning_rate(iteration, steps, settings.learning_rate, warmup, constant)
    value_lr = learning_rate(iteration, steps, settings.value_learning_rate, 0, constant)
    once = replace(settings, ppo_epochs=1)
    rows = []
    for _ in range(settings.ppo_epochs):
        if again:  # the bug: these log-probs are not those of the rollout any more
            logprobs = policy_logprobs(models, rollout)
            rollout = rollout._replace(old_logprobs=logprobs)
        rows += step3.ppo_update(models, adams, rollout, once, lr, value_lr, "broken run", rng)
    return rows


def policy_logprobs(models, rollout):
    """Log-probs of a rollout's tokens under the policy as it is now -> (B, T), 0 elsewhere."""
    hidden, _ = gpt_forward(models.policy, models.config, rollout.tokens[:, :-1])
    logits, _ = lm_head_forward(models.policy, hidden)  # (B, T, V)
    return token_logprobs_forward(logits, rollout.tokens[:, 1:])[0] * rollout.response_mask


def pay_every_token(rollout, settings):
    """The bug of P: every token of a response gets its whole score."""
    mask = rollout.response_mask
    kl = (rollout.old_logprobs - rollout.ref_logprobs) * mask  # (B, T)
    rewards = rollout.scores[:, None] * mask - settings.kl_coef * kl  # (B, T)
    advantages, returns = step3.gae(
        rewards, rollout.values, mask, settings.gamma, settings.gae_lambda
    )
    advantages = step3.whiten(advantages, mask)
    return rollout._replace(rewards=rewards, advantages=advantages, returns=returns)


def whiten_with_padding(rollout):
    """The bug of R: mean and deviation are taken over the whole array, zeros of padding included."""
    raw = rollout.returns - rollout.values  # (B, T)  the advantages before whitening
    advantages = (raw - raw.mean()) / raw.std() * rollout.response_mask
    return rollout._replace(advantages=advantages)
