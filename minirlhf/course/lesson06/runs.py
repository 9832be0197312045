"""Longer runs of lesson 06: models to start from, training with a silent bug, four probes.

`broken_run` is train_ppo with one line wrong.  It stands here and not in the notebook, because
there the bug is to be found from the log alone.  `probe_table` trains a policy of a few logits with
given parts of PPO; each probe asks for one thing that only working parts can do.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf import step3_ppo as step3
from minirlhf.adam import init_adam, learning_rate
from minirlhf.course import pretrained
from minirlhf.course.lesson06 import exercises as lesson06
from minirlhf.data import DATA, read_demonstrations, read_rankings
from minirlhf.gpt import gpt_forward, lm_head_forward
from minirlhf.layers import (
    log_softmax,
    softmax,
    token_logprobs_backward,
    token_logprobs_forward,
)
from minirlhf.rufus import pipeline
from minirlhf.rufus.world import World

# ---- before and within one update -----------------------------------------------------------


def prepare(lang, seed=0):
    """Steps 1 and 2 from the bundled files -> World, fine-tuned Model, reward Model.

    24 demonstrations and all rankings, both by simulated annotators; two epochs of step 2.
    """
    demonstrations = read_demonstrations(DATA / lang / "sft.jsonl")[: pipeline.DEMONSTRATIONS]
    rankings = read_rankings(DATA / lang / "rankings.jsonl")
    settings = replace(pipeline.REWARD, epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        run = pipeline.Run(out=Path(folder), seed=seed)
        sft, _ = pipeline.run_sft(pretrained(lang), demonstrations, run)
        reward_model, _ = pipeline.run_reward(sft, rankings, run, settings)
    return World.load(lang), sft, reward_model


def one_batch(models, prompts, settings, epochs, rng):
    """Many epochs on one rollout -> list of the ratios (N,) at the start of each."""
    adams = {"policy": init_adam(models.policy), "value_model": init_adam(models.value_model)}
    rollout = step3.make_rollout(models, prompts, settings.kl_coef, settings, rng)
    once, lr, found = replace(settings, ppo_epochs=1), settings.learning_rate, []
    for _ in range(epochs):
        log_ratio = policy_logprobs(models, rollout) - rollout.old_logprobs  # (B, T)
        found.append(np.exp(log_ratio)[rollout.response_mask > 0])
        step3.ppo_update(models, adams, rollout, once, lr, lr, "one batch", rng)
    return found


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
    steps, schedule = settings.iterations, settings.schedule
    lr = learning_rate(iteration, steps, settings.learning_rate, settings.warmup, schedule)
    value_lr = learning_rate(iteration, steps, settings.value_learning_rate, 0, schedule)
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
    """The bug of R: mean and deviation over the whole array, with the zeros of padding."""
    raw = rollout.returns - rollout.values  # (B, T)  the advantages before whitening
    advantages = (raw - raw.mean()) / raw.std() * rollout.response_mask
    return rollout._replace(advantages=advantages)


# ---- four probes ----------------------------------------------------------------------------


class Parts(NamedTuple):
    """Three parts of PPO, with the arguments of exercises 06.1, 06.2 and 06.3."""

    kl_shaped_rewards: object
    gae: object
    ppo_clip_grad: object


PROBES = ("good token", "pulled back", "early credit", "stays near")


def probes(parts, rng):
    """Parts -> list of 4 bool: does the policy do what each probe asks for?

    good token: one token, scores +1 and -1.  pulled back: no scores, only the reference.
    early credit: three tokens, and the first one decides.  stays near: 50 epochs on one batch.
    """
    even, leaning = np.zeros((1, 2)), np.array([[0.0, 2.0]])  # (T, V)  logits
    good, _ = practise(parts, even, even, 1.0, 0.0, 40, 2, rng)
    pulled, _ = practise(parts, leaning, even, 0.0, 1.0, 40, 2, rng)
    early, _ = practise(parts, np.zeros((3, 2)), np.zeros((3, 2)), 1.0, 0.0, 40, 2, rng)
    _, far = practise(parts, even, even, 1.0, 0.0, 1, 50, rng)
    return [bool(good[0, 0] > 0.9), bool(abs(pulled[0, 0] - 0.5) < 0.1), bool(early[0, 0] > 0.9),
            bool(far < 0.4)]


def practise(parts, logits, reference, pay, kl_coef, iterations, epochs, rng):
    """A policy of one softmax per position, logits (T, V), trained with the given parts.

    Score +pay if the first token is token 0, else -pay.  Values are 0, advantages are centred.
    -> probs (T, V), the largest |ratio - 1| that was seen.
    """
    T, furthest = len(logits), 0.0
    for _ in range(iterations):
        said = (rng.random((64, T)) > softmax(logits)[:, 0]).astype(int)  # (B, T)
        old = log_softmax(logits)[np.arange(T), said]  # (B, T)
        ref = log_softmax(reference)[np.arange(T), said]  # (B, T)
        scores = pay * (1.0 - 2.0 * said[:, 0])  # (B,)
        rewards = parts.kl_shaped_rewards(scores, old, ref, np.ones_like(old), kl_coef)  # (B, T)
        rows = [parts.gae(row, np.zeros(T), 1.0, 0.95) for row in rewards]
        advantages = np.array(rows) - np.mean(rows)  # (B, T)
        for _ in range(epochs):
            new, cache = token_logprobs_forward(np.tile(logits, (len(said), 1, 1)), said)  # (B, T)
            furthest = max(furthest, float(np.abs(np.exp(new - old) - 1).max()))
            slope = parts.ppo_clip_grad(new.ravel(), old.ravel(), advantages.ravel(), 0.2)
            dlogits = token_logprobs_backward(slope.reshape(new.shape), cache)  # (B, T, V)
            logits = logits - 0.3 * T * dlogits.sum(axis=0)  # (T, V)
    return softmax(logits), furthest


def spoiled(parts):
    """Parts -> list of (what is wrong, Parts with this one mistake)."""
    wrong = {(e.id, m.tag): m.wrong for e in lesson06.EXERCISES[:3] for m in e.mistakes}
    return [
        ("loss uphill", parts._replace(ppo_clip_grad=wrong["06.3", "uphill"])),
        ("KL as a bonus", parts._replace(kl_shaped_rewards=wrong["06.1", "sign"])),
        ("GAE forwards", parts._replace(gae=wrong["06.2", "direction"])),
        ("no clip", parts._replace(ppo_clip_grad=wrong["06.3", "no clip"])),
    ]
