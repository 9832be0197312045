"""Longer runs of lesson 09: a task to share, exact limits, gradient noise, a meter of model passes.

`prepare` gives every method the same reference, reward model and questions.  In a world of a few
answers, `group_limit`, `ppo_limit` and `dpo_limit` follow each method's *expected* gradient, so
that what a method aims at is seen without any chance.  `gradients` takes one rollout and computes
each method's gradient from it.  `Meter` counts model passes by watching the calls of the package.
"""

import sys
import tempfile
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np

from minirlhf import step3_ppo as step3
from minirlhf.adam import adam_step
from minirlhf.beyond import policy_gradient as pg
from minirlhf.beyond.best_of_n import best_of_n, best_of_n_distribution, best_of_n_kl
from minirlhf.beyond.dpo import DPOSettings, dpo_loss, pairs_from_rankings, train_dpo
from minirlhf.beyond.optimum import mean_outcome, measure_policy, with_sampled_rest
from minirlhf.course import pretrained
from minirlhf.data import DATA, draw_prompts, read_rankings
from minirlhf.experiments.frontier.methods import settings_of, train_method
from minirlhf.experiments.trials import MISSING_EOS_SCORE, fresh, make_task
from minirlhf.gpt import gpt_backward, gpt_forward, scalar_head_forward
from minirlhf.layers import log_softmax, softmax
from minirlhf.sample import decode_step, sample
from minirlhf.sample import read_prompts as read_prompt_ids

# ---- one task for all -----------------------------------------------------------------------


def prepare(lang, seed=0):
    """The task of `python -m minirlhf frontier`, in float64 -> Task.  Annotators are simulated."""
    with tempfile.TemporaryDirectory() as folder:
        return make_task(lang, seed, Path(folder), pretrained(lang))


def train(task, method, price, answers, seed=0):
    """One of frontier's methods at one price -> models, with the policy trained.

    answers: how many it may sample in all; settings as in the committed experiment.
    """
    models = fresh(task.models)
    settings = settings_of(method, price, task.limit, answers)
    train_method(method, models, task.prompts, settings, np.random.default_rng(seed))
    return models


def measure(task, models, smallest=1e-4, samples=200):
    """Expected score and KL of models.policy, mean over the questions -> optimum.Outcome."""
    rng = np.random.default_rng(1)
    rows = []
    for prompt in task.prompts:
        rows.append(
            measure_policy(
                models, prompt, task.limit, MISSING_EOS_SCORE, smallest, samples, rng
            )
        )
    return mean_outcome(rows)


def best_of_n_rows(task, worlds, counts, samples=1000):
    """-> list of (n, expected score, KL), means over the questions.  worlds: of `explore`."""
    rng, table = np.random.default_rng(0), []
    for world in worlds:
        probs, scores = with_sampled_rest(
            task.models, world, task.limit, MISSING_EOS_SCORE, samples, rng
        )
        rows = []
        for n in counts:
            rewarded = float(best_of_n_distribution(probs, scores, n) @ scores)
            rows.append((n, rewarded, best_of_n_kl(probs, scores, n)))
        table.append(rows)
    return [tuple(row) for row in np.mean(table, axis=0).tolist()]


# ---- what a method aims at, in a world of N answers -------------------------------------------


def group_limit(advantage_of, ref, scores, beta, group_size, kl_in_loss, steps=3000):
    """Where a group method ends if every rollout were infinite -> probs (N,).

    advantage_of(rewards (M, K)) -> advantages (M, K).  All N^K groups are listed and weighted by
    their probability.  ref: log-probs (N,).  kl_in_loss: GRPO's penalty, else in the reward.
    """
    groups = np.array(list(product(range(len(ref)), repeat=group_size)))  # (M, K)
    x = ref.copy()  # (N,)  logits
    for _ in range(steps):
        logprobs = log_softmax(x)  # (N,)
        rewards = scores if kl_in_loss else scores - beta * (logprobs - ref)  # (N,)
        chance = np.exp(logprobs[groups].sum(axis=1))  # (M,)
        weights = chance[:, None] * advantage_of(rewards[groups]) / group_size  # (M, K)
        pull = np.bincount(groups.ravel(), weights.ravel(), len(ref))  # (N,)
        uphill = pull - pull.sum() * np.exp(logprobs)  # (N,)
        if kl_in_loss:  # the gradient of k3 on the policy's own samples: KL(ref || policy)
            uphill += beta * (np.exp(ref) - np.exp(logprobs))
        x += 0.5 * uphill
    return softmax(x)


def ppo_limit(ref, scores, beta, steps=600, epochs=4, lr=0.5, clip_range=0.2):
    """PPO with every answer counted as often as the policy says it -> probs (N,)."""
    x = ref.copy()  # (N,)
    for _ in range(steps):
        old = log_softmax(x)  # (N,)
        rewards = scores - beta * (old - ref)  # (N,)
        advantages = rewards - np.exp(old) @ rewards  # (N,)
        for _ in range(epochs):
            new = log_softmax(x)  # (N,)
            slope = step3.ppo_policy_loss(
                new[None], old[None], advantages[None], np.exp(old)[None], clip_range
            )[1][0]  # (N,)
            x -= lr * (slope - slope.sum() * np.exp(new))
    return softmax(x)


def dpo_limit(ref, scores, beta, steps=3000, lr=0.5):
    """DPO on all pairs, each as often as the reference and a Bradley-Terry judge make it.

    ref (N,) log-probs, scores (N,) -> probs (N,).
    """
    first, second = np.array(list(product(range(len(ref)), repeat=2))).T  # (N * N,) each
    wins = 1 / (1 + np.exp(scores[second] - scores[first]))  # (N * N,)
    weights = np.exp(ref[first] + ref[second]) * wins * len(first)  # (N * N,)
    x = ref.copy()  # (N,)
    for _ in range(steps):
        new = log_softmax(x)  # (N,)
        _, slope, _, _ = dpo_loss(new[first], new[second], ref[first], ref[second], beta)
        slope = slope * weights  # (N * N,)
        slopes = np.bincount(first, slope, len(ref)) - np.bincount(second, slope, len(ref))  # (N,)
        x -= lr * (slopes - slopes.sum() * np.exp(new)) / beta
    return softmax(x)


def place(probs, ref, scores):
    """A distribution (N,) on the plane -> expected score, KL to exp(ref) in nats."""
    said = probs > 0
    return float(probs @ scores), float(probs[said] @ (np.log(probs[said]) - ref[said]))


# ---- how noisy a gradient is ----------------------------------------------------------------


def fit_values(task, iterations=10):
    """PPOModels whose value model has learned what the reference earns; the policy stands still."""
    models = fresh(task.models)
    settings = replace(settings_of("PPO", 0.1, task.limit, 48 * iterations), learning_rate=0.0)
    step3.train_ppo(models, task.prompts, settings, np.random.default_rng(5))
    return models


def gradients(task, fitted, shift, rng):
    """One rollout of 48 answers -> {method: gradient (number of parameters,)}.

    Every method sees the same answers.  The policy is the reference, so KL terms are 0 and all
    methods climb the same hill.  shift is added to the scores, but not for PPO, whose value
    network has learned them as they are.  fitted: PPOModels of fit_values.
    """
    grpo = settings_of("GRPO", 0.1, task.limit, 48)
    ppo = settings_of("PPO", 0.1, task.limit, 48)
    K = grpo.group_size
    prompts = draw_prompts(task.prompts, grpo.rollout_size // K, rng)
    asked = [ids for ids in prompts for _ in range(K)]
    samples = sample(fitted.policy, fitted.config, asked, ppo.max_new_tokens, rng)
    judged = step3.score_samples(fitted, samples, ppo)  # (B,)
    rollout = step3.make_rollout(fitted, samples, judged, 0.1, ppo)
    mask, policy, config = rollout.response_mask, task.models.policy, task.models.config
    batch = step3.cut_minibatch(rollout, np.arange(len(asked)))  # all of it, (B, T)
    scores = rollout.scores + shift  # (B,)
    groups = scores.reshape(-1, K)  # (N, K)
    found = {}
    for name, advantages in (
        ("REINFORCE", scores),
        ("REINFORCE with baseline", scores - shift),  # the mean score of the reference is near 0
        ("RLOO", pg.rloo_advantages(groups).ravel()),
    ):
        grads = pg.reinforce_objective(
            policy, config, batch.inputs, batch.targets, advantages, mask
        )[1]
        found[name] = grads.flat
    advantages = pg.grpo_advantages(groups).reshape(-1, 1) * mask  # (B, T)
    found["GRPO"] = pg.grpo_objective(
        policy, config, batch._replace(advantages=advantages), grpo
    )[1].flat
    hidden, _ = gpt_forward(task.models.reward_model, task.models.reward_config, batch.inputs)
    at_start, _ = scalar_head_forward(task.models.reward_model, hidden)  # (B, T)
    for name, values in (("PPO, values as at the start", at_start * mask),
                         ("PPO, values learned", rollout.values)):
        advantages, _ = step3.gae(rollout.rewards, values, mask, ppo.gamma, ppo.gae_lambda)
        whitened = batch._replace(advantages=step3.whiten(advantages, mask))
        found[name] = step3.policy_objective(policy, config, whitened, ppo)[1].flat
    return found


def noise(task, fitted, shift, repeats, seed):
    """-> {method: variance of its gradient / squared length of the mean gradient}.

    The variance is summed over all parameters; its share is taken off the squared length, which it
    inflates.  Dividing makes methods comparable that scale their advantages differently.
    """
    rng, kept = np.random.default_rng(seed), {}
    for _ in range(repeats):
        for name, gradient in gradients(task, fitted, shift, rng).items():
            kept.setdefault(name, []).append(gradient)
    found = {}
    for name, rows in kept.items():
        rows = np.array(rows)  # (R, number of parameters)
        mean = rows.mean(axis=0)
        variance = float(((rows - mean) ** 2).sum() / (len(rows) - 1))
        found[name] = variance / (float(mean @ mean) - variance / len(rows))
    return found


# ---- DPO from the rankings --------------------------------------------------------------------


def dpo_from_rankings(task, lang, beta, steps, seed):
    """DPO on the bundled rankings, without any reward model -> models, history of train_dpo."""
    rankings = read_rankings(DATA / lang / "rankings.jsonl")
    pairs = pairs_from_rankings(task.sft.tokenizer, rankings, task.sft.config.block_size)
    models = fresh(task.models)
    settings = DPOSettings(beta=beta, steps=steps, batch_size=32, learning_rate=5e-4)
    return models, train_dpo(models, pairs, settings, np.random.default_rng(seed))


# ---- what a method costs ----------------------------------------------------------------------


@dataclass
class Meter:
    """Counts tokens that pass through models while it watches; sys.setprofile calls it."""

    forward: int = 0  # tokens read or written by any model
    backward: int = 0
    used: set = field(default_factory=set)  # the models (Params), by id
    trained: set = field(default_factory=set)
    kept: list = field(default_factory=list)  # the same models, so that no id is used twice

    def watch(self, frame, event, argument):
        """One event of sys.setprofile: is it a call of a model?"""
        if event != "call" or frame.f_code not in WATCHED:
            return
        given = frame.f_locals
        if frame.f_code is adam_step.__code__:
            self.trained.add(id(given["params"]))
            return
        if frame.f_code is gpt_backward.__code__:
            self.backward += given["dhidden"][..., 0].size
            return
        self.forward += given[WATCHED[frame.f_code]].size
        if id(given["params"]) not in self.used:
            self.used.add(id(given["params"]))
            self.kept.append(given["params"])


WATCHED = {  # what is called -> the argument that holds its tokens
    gpt_forward.__code__: "inputs", read_prompt_ids.__code__: "tokens",
    decode_step.__code__: "ids", gpt_backward.__code__: "", adam_step.__code__: "",
}


def metered(task, method, price, answers):
    """train(...) under a Meter -> models, Meter."""
    meter, before = Meter(), sys.getprofile()
    sys.setprofile(meter.watch)
    try:
        models = train(task, method, price, answers)
    finally:
        sys.setprofile(before)
    return models, meter


def answering(task, n, rounds=8):
    """Best-of-n answers of the reference, without any training -> number of answers, Meter."""
    meter, before, rng = Meter(), sys.getprofile(), np.random.default_rng(0)
    asked = task.prompts * rounds
    sys.setprofile(meter.watch)
    try:
        best_of_n(task.models, asked, n, task.limit, MISSING_EOS_SCORE, rng)
    finally:
        sys.setprofile(before)
    return len(asked), meter
