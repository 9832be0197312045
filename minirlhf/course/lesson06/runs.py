"""Longer runs of lesson 06: models to start from, training with a silent bug, four probes.

`broken_run` is train_ppo with one hook that is wrong.  It stands here and not in the notebook,
because there the bug is to be found from the log alone.  `probes` trains a policy of a few logits
with given parts of PPO; each probe asks for one thing that only working parts can do.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf import step3_ppo as step3
from minirlhf.adam import init_adam
from minirlhf.course import pretrained
from minirlhf.course.lesson06 import exercises
from minirlhf.data import DATA, read_demonstrations, read_rankings
from minirlhf.layers import (
    log_softmax,
    softmax,
    token_logprobs_backward,
    token_logprobs_forward,
)
from minirlhf.rufus import pipeline
from minirlhf.rufus.world import World
from minirlhf.sample import sample

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


class Ratios:
    """clipped_loss that keeps the ratios of every call: the policy_loss of one_batch."""

    def __init__(self):
        self.kept = []  # arrays (n,), one for each optimiser step

    def __call__(self, logprobs, batch, settings):
        self.kept.append(np.exp(logprobs - batch.old_logprobs)[batch.mask > 0])
        return step3.clipped_loss(logprobs, batch, settings)


def one_batch(models, prompts, settings, epochs, rng):
    """Many epochs on one rollout, at the full rate -> list of the ratios (n,) at the start of each.

    The minibatch of the settings is the whole rollout, so an epoch is one optimiser step.
    """
    samples = sample(models.policy, models.config, prompts, settings.max_new_tokens, rng)
    scores = step3.score_samples(models, samples, settings)  # (B,)
    rollout = step3.make_rollout(models, samples, scores, settings.kl_coef, settings)
    settings = replace(settings, ppo_epochs=epochs, warmup=0, schedule="constant")
    minibatches = step3.draw_minibatches(len(prompts), settings, rng)
    ratios, adam = Ratios(), init_adam(models.policy)
    step3.update_policy(models, adam, rollout, minibatches, 0, settings, ratios)
    return ratios.kept


# ---- training with a silent bug -------------------------------------------------------------


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


def loss_without_old(logprobs, batch, settings):
    """The bug of Q: these log-probs are not those of the rollout any more."""
    return step3.clipped_loss(logprobs, batch._replace(old_logprobs=logprobs), settings)


def whiten_with_padding(rollout, settings):
    """The bug of R: mean and deviation over the whole array, with the zeros of padding."""
    raw = rollout.returns - rollout.values  # (B, T)  the advantages before whitening
    advantages = (raw - raw.mean()) / raw.std() * rollout.response_mask
    return rollout._replace(advantages=advantages)


BUGS = {
    "P": step3.PPOHooks(change=pay_every_token),
    "Q": step3.PPOHooks(policy_loss=loss_without_old),
    "R": step3.PPOHooks(change=whiten_with_padding),
}


class Learned:
    """Changes a rollout and shows the changed one to the watch: its figures tell of the bug."""

    def __init__(self, hooks, watch):
        self.hooks, self.watch = hooks, watch
        self.rollout = None  # what the update learns from

    def change(self, rollout, settings):
        """A `change` of PPOHooks."""
        change = self.hooks.change
        self.rollout = rollout if change is None else change(rollout, settings)
        return self.rollout

    def figures(self, said):
        """A `watch` of PPOHooks."""
        return self.watch(self.rollout)


def broken_run(letter, models, prompts, settings, rng, watch):
    """train_ppo, wrong in one way: letter "P", "Q" or "R" -> history."""
    learned = Learned(BUGS[letter], watch)
    hooks = BUGS[letter]._replace(watch=learned.figures, change=learned.change)
    return step3.train_ppo(models, prompts, settings, rng, hooks)


# ---- four probes ----------------------------------------------------------------------------


class Parts(NamedTuple):
    """Three parts of PPO, with the arguments of exercises 06.1, 06.2 and 06.3."""

    kl_shaped_rewards: object
    gae: object
    ppo_clip_grad: object


class Probe(NamedTuple):
    """A task so small that one broken part fails it.  The reference says both tokens alike."""

    start: np.ndarray  # (T, V)  logits of the policy
    pay: float = 1.0  # the score if the first token is token 0, else minus the score
    kl_coef: float = 0.0
    rollouts: int = 40
    epochs: int = 2


PROBES = {
    "good token": Probe(start=np.zeros((1, 2))),
    "pulled back": Probe(start=np.array([[0.0, 2.0]]), pay=0.0, kl_coef=1.0),
    "early credit": Probe(start=np.zeros((3, 2))),
    "stays near": Probe(start=np.zeros((1, 2)), rollouts=1, epochs=50),
}


def probes(parts, rng):
    """Parts -> list of 4 bool: does the policy do what each probe asks for?

    good token: one token, scores +1 and -1.  pulled back: no scores, only the reference.
    early credit: three tokens, and the first one decides.  stays near: 50 epochs on one batch.
    """
    good, _ = practise(parts, PROBES["good token"], rng)
    pulled, _ = practise(parts, PROBES["pulled back"], rng)
    early, _ = practise(parts, PROBES["early credit"], rng)
    _, far = practise(parts, PROBES["stays near"], rng)
    return [bool(good[0, 0] > 0.9), bool(abs(pulled[0, 0] - 0.5) < 0.1), bool(early[0, 0] > 0.9),
            bool(far < 0.4)]


def practise(parts, probe, rng):
    """A policy of one softmax per position, trained with the given parts.

    Values are 0, advantages are centred.
    -> probs (T, V), the largest |ratio - 1| that was seen.
    """
    logits, T, furthest = probe.start, len(probe.start), 0.0
    for _ in range(probe.rollouts):
        said = (rng.random((64, T)) > softmax(logits)[:, 0]).astype(int)  # (B, T)
        old = log_softmax(logits)[np.arange(T), said]  # (B, T)
        ref = np.full_like(old, np.log(0.5))  # (B, T)
        scores = probe.pay * (1.0 - 2.0 * said[:, 0])  # (B,)
        mask = np.ones_like(old)  # (B, T)
        rewards = parts.kl_shaped_rewards(scores, old, ref, mask, probe.kl_coef)  # (B, T)
        rows = [parts.gae(row, np.zeros(T), 1.0, 0.95) for row in rewards]
        advantages = np.array(rows) - np.mean(rows)  # (B, T)
        for _ in range(probe.epochs):
            new, cache = token_logprobs_forward(np.tile(logits, (len(said), 1, 1)), said)  # (B, T)
            furthest = max(furthest, float(np.abs(np.exp(new - old) - 1).max()))
            slope = parts.ppo_clip_grad(new.ravel(), old.ravel(), advantages.ravel(), 0.2)
            dlogits = token_logprobs_backward(slope.reshape(new.shape), cache)  # (B, T, V)
            logits = logits - 0.3 * T * dlogits.sum(axis=0)  # (T, V)
    return softmax(logits), furthest


def spoiled(parts):
    """Parts -> list of (what is wrong, Parts with this one mistake)."""
    wrong = {(e.id, m.tag): m.wrong for e in exercises.EXERCISES[:3] for m in e.mistakes}
    return [
        ("loss uphill", parts._replace(ppo_clip_grad=wrong["06.3", "uphill"])),
        ("KL as a bonus", parts._replace(kl_shaped_rewards=wrong["06.1", "sign"])),
        ("GAE forwards", parts._replace(gae=wrong["06.2", "direction"])),
        ("no clip", parts._replace(ppo_clip_grad=wrong["06.3", "no clip"])),
    ]
