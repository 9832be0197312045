"""The bug gallery: PPO with one part taken out or put in wrong, beside the healthy run.

Each ablation is a function of a few lines that changes the settings, the value model's start, the
rollout or the loss of step 3; everything else is called as it is there.  `train` with "healthy" is
train_ppo, number for number (tests/test_ablations.py).

    no clip                  clip range infinite
    one epoch                one pass over each rollout, so a quarter of the optimiser steps
    no KL                    kl_coef 0: nothing holds the policy at the reference
    no whitening             advantages as GAE gives them
    no value function        values 0: advantages are discounted rewards
    value from the SFT model the value network starts from the reference, with a head of zeros
    value from noise         the value network starts from random weights
    KL in the loss, k2       not in the reward; the estimate k2 of each token, added to the loss
    KL in the loss, k3       the same with k3
    mean per answer          each answer counts the same, however long; step 3: each token
    score on every token     every token of an answer gets the whole score
    EOS masked out           EOS is not counted as part of the answer: the score moves one forward

Two regimes, because a careful run forgives much: the settings of the demo ("usual"), and the same
at 4 times the learning rate ("bold").  One reference, one reward model (from rankings by simulated
annotators), all training questions; only PPO's random numbers differ between the trials, and they
begin alike for all ablations.  gallery.py says in sentences what broke, and draws it.

`python -m minirlhf ablations` runs it and writes ablations.json and ablations.png.
"""

import json
import math
import time
from dataclasses import replace

import numpy as np

from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.beyond.policy_gradient import (
    k3_loss,
    policy_backward,
    policy_forward,
    token_weights,
)
from minirlhf.data import read_prompts, write_jsonl, write_text
from minirlhf.experiments.frontier.run import fresh, make_task, read_points
from minirlhf.gpt import init_params, with_scalar_head
from minirlhf.rufus.answers import encode_prompts
from minirlhf.rufus.measure import GoldWatch
from minirlhf.rufus.pipeline import PPO
from minirlhf.rufus.world import data_folder
from minirlhf.step3_ppo import (
    cut_minibatch,
    explained_variance,
    gae,
    kl_shaped_rewards,
    last_response_index,
    make_rollout,
    ppo_policy_loss,
    ppo_update,
    token_count,
    update_value_model,
    whiten,
)

HEALTHY = "healthy"
ABLATIONS = (
    "no clip", "one epoch", "no KL", "no whitening", "no value function",
    "value from the SFT model", "value from noise", "KL in the loss, k2", "KL in the loss, k3",
    "mean per answer", "score on every token", "EOS masked out",
)
OTHER_LOSS = ("KL in the loss, k2", "KL in the loss, k3", "mean per answer")
REGIMES = {"usual": 1, "bold": 4}  # times the demo's learning rate
SAMPLES = 420  # answers that a trained policy is measured on


# ---- settings and start ---------------------------------------------------------------------


def ablated_settings(name, settings):
    """PPOSettings -> the same with the ablation's change, where it is one of settings."""
    if name == "no clip":
        return replace(settings, clip_range=math.inf)
    if name == "one epoch":
        return replace(settings, ppo_epochs=1)
    if name == "no KL":
        return replace(settings, kl_coef=0.0)
    return settings


def value_model_start(name, models, rng):
    """-> the value model (Params) that training starts from."""
    if name == "value from the SFT model":
        return with_scalar_head(models.ref_policy, models.config)
    if name == "value from noise":
        return init_params(models.reward_config, rng, scalar_head=True)
    return models.value_model


# ---- rollout --------------------------------------------------------------------------------


def price_in_the_reward(name, settings):
    """-> what a nat of log-ratio costs in the reward."""
    return 0.0 if name.startswith("KL in the loss") else settings.kl_coef


def advantages_again(rollout, settings):
    """Rollout -> the same with advantages and returns (B, T) of its rewards and values."""
    mask = rollout.response_mask  # (B, T)
    advantages, returns = gae(
        rollout.rewards, rollout.values, mask, settings.gamma, settings.gae_lambda
    )
    return rollout._replace(advantages=whiten(advantages, mask), returns=returns)


def without_whitening(rollout):
    """Advantages as GAE gave them: returns are advantages + values.  (B, T)."""
    return rollout._replace(advantages=rollout.returns - rollout.values)


def without_values(rollout, settings):
    """All values 0, as if there were no value network.  (It is trained, and nobody listens.)"""
    return advantages_again(rollout._replace(values=np.zeros_like(rollout.values)), settings)


def score_on_every_token(rollout, settings):
    """Each token gets the whole score, and not the last one alone.  (B, T)."""
    mask = rollout.response_mask
    kl = (rollout.old_logprobs - rollout.ref_logprobs) * mask  # (B, T)
    rewards = rollout.scores[:, None] * mask - settings.kl_coef * kl  # (B, T)
    return advantages_again(rollout._replace(rewards=rewards), settings)


def eos_masked_out(rollout, settings):
    """response_mask (B, T) ends before EOS, so the score lands on the token before it.

    An answer that is EOS alone keeps it: a row needs one token.
    """
    mask = rollout.response_mask.copy()  # (B, T)
    rows = np.flatnonzero(rollout.finished & (mask.sum(axis=1) > 1))
    mask[rows, last_response_index(mask)[rows]] = 0
    rewards = kl_shaped_rewards(
        rollout.scores, rollout.old_logprobs, rollout.ref_logprobs, mask, settings.kl_coef
    )
    masked = rollout._replace(response_mask=mask, rewards=rewards, values=rollout.values * mask)
    return advantages_again(masked, settings)


def ablated_rollout(name, rollout, settings):
    """Rollout -> the Rollout that the update learns from."""
    if name == "no whitening":
        return without_whitening(rollout)
    if name == "no value function":
        return without_values(rollout, settings)
    if name == "score on every token":
        return score_on_every_token(rollout, settings)
    if name == "EOS masked out":
        return eos_masked_out(rollout, settings)
    return rollout


# ---- loss -----------------------------------------------------------------------------------


def k2_loss(logprobs, ref_logprobs, weights):
    """Weighted sum of Schulman's k2, d^2 / 2 with d = log pi - log ref.

    All (B, T) -> loss in nats, dlogprobs (B, T).  On the policy's own samples its gradient is that
    of KL(policy || reference), token by token; k3's is that of the other direction.
    """
    d = (logprobs - ref_logprobs) * (weights > 0)  # (B, T)
    return 0.5 * float((d**2 * weights).sum()), d * weights


def other_loss(name, logprobs, old_logprobs, ref_logprobs, advantages, mask, settings):
    """PPO's clipped loss with the change of one of OTHER_LOSS.  All arrays (B, T).

    -> loss, dlogprobs (B, T), PolicyStats.
    """
    n_tokens = token_count(mask)
    if name == "mean per answer":  # min() lets a positive factor through
        weights = token_weights(mask, True, settings.max_new_tokens)  # (B, T)
        advantages = advantages * weights * n_tokens  # (B, T)
    loss, dlogprobs, stats = ppo_policy_loss(
        logprobs, old_logprobs, advantages, mask, settings.clip_range
    )
    if name != "mean per answer":
        penalty = k2_loss if name.endswith("k2") else k3_loss
        kl, dkl = penalty(logprobs, ref_logprobs, mask / n_tokens)
        loss += settings.kl_coef * kl
        dlogprobs += settings.kl_coef * dkl
    return loss, dlogprobs, stats


def other_update(name, models, adams, rollout, settings, lr, value_lr, where, rng):
    """ppo_update with other_loss for the policy, in place -> list of dicts of figures."""
    minibatches = []  # of (epoch, rows (b,))
    for epoch in range(settings.ppo_epochs):
        order = rng.permutation(len(rollout.tokens))
        for start in range(0, len(order), settings.minibatch_size):
            minibatches.append((epoch, order[start : start + settings.minibatch_size]))
    figures = []
    for _, rows in minibatches:
        inputs, targets, mask = cut_minibatch(rollout, rows)  # each (b, T)
        old, ref, advantages = [array[rows, : mask.shape[1]] for array in (
            rollout.old_logprobs, rollout.ref_logprobs, rollout.advantages)]
        logprobs, cache = policy_forward(models.policy, models.config, inputs, targets)  # (b, T)
        _, dlogprobs, stats = other_loss(name, logprobs, old, ref, advantages, mask, settings)
        grads = policy_backward(models.policy, models.config, dlogprobs, cache)
        norm = clip_gradient(grads, settings.max_grad_norm, f"{where}, policy")
        adam_step(models.policy, grads, adams["policy"], lr)
        figures.append(stats._asdict() | {"policy_grad_norm": norm})
    value_rows = update_value_model(
        models, adams["value_model"], rollout, minibatches, settings, value_lr, where
    )
    return [row | value_row for row, value_row in zip(figures, value_rows)]


# ---- training -------------------------------------------------------------------------------


def train(name, models, prompts, settings, rng, watch=None):
    """train_ppo with one ablation, in place on models.policy -> history.

    prompts: list of ids.  watch(rollout) -> dict of figures, evaluation only.
    """
    settings = ablated_settings(name, settings)
    models = models._replace(value_model=value_model_start(name, models, rng))
    adams = {"policy": init_adam(models.policy), "value_model": init_adam(models.value_model)}
    history = []
    for iteration in range(settings.iterations):
        repeats = math.ceil(settings.rollout_size / len(prompts))
        drawn = np.concatenate([rng.permutation(len(prompts)) for _ in range(repeats)])
        batch = [prompts[i] for i in drawn[: settings.rollout_size]]
        said = make_rollout(models, batch, price_in_the_reward(name, settings), settings, rng)
        rollout = ablated_rollout(name, said, settings)

        steps, schedule = settings.iterations, settings.schedule
        lr = learning_rate(iteration, steps, settings.learning_rate, settings.warmup, schedule)
        value_lr = learning_rate(iteration, steps, settings.value_learning_rate, 0, schedule)
        where = f"{name}, iteration {iteration}"
        job = (models, adams, rollout, settings, lr, value_lr, where, rng)
        rows = other_update(name, *job) if name in OTHER_LOSS else ppo_update(*job)

        figures = look(said) | (watch(said) if watch else {})
        figures["explained_variance"] = explained_variance(
            rollout.values, rollout.returns, rollout.response_mask
        )
        for figure in ("clip_fraction", "ratio_outside", "approx_kl", "policy_grad_norm",
                       "value_loss"):
            figures[figure] = float(np.mean([row[figure] for row in rows]))
        history.append(figures)
    return history


def look(rollout):
    """Rollout -> the figures of the dashboard that speak of the answers."""
    mask = rollout.response_mask
    log_ratio = (rollout.old_logprobs - rollout.ref_logprobs) * mask  # (B, T)
    return {
        "score": float(rollout.scores.mean()),
        "kl_exact": float(rollout.exact_kl.sum(axis=1).mean()),
        "kl_estimate": float(log_ratio.sum(axis=1).mean()),
        "entropy": float(rollout.entropy.sum() / mask.sum()),
        "response_length": float(mask.sum(axis=1).mean()),
        "missing_eos": float(1 - rollout.finished.mean()),
    }


# ---- the experiment -------------------------------------------------------------------------


def run_one(task, regime, name, trial, settings, seed):
    """One training -> dict: its curves, and the trained policy on SAMPLES answers.

    task: models, prompts (list of ids), watch or None.  The random numbers depend on the trial.
    """
    models, prompts, watch = task
    models = fresh(models)
    rng = np.random.default_rng([seed, 60, trial])
    settings = replace(settings, learning_rate=REGIMES[regime] * settings.learning_rate)
    started = time.process_time()
    history = train(name, models, prompts, settings, rng, watch)
    seconds = time.process_time() - started
    asked = (prompts * -(-SAMPLES // len(prompts)))[:SAMPLES]
    rollout = make_rollout(models, asked, 0.0, settings, np.random.default_rng([seed, 61, trial]))
    end = look(rollout) | (watch(rollout) if watch else {})
    end["objective"] = end["score"] - settings.kl_coef * end["kl_exact"]
    curves = {}
    for figure in history[0]:
        curves[figure] = [float(f"{row[figure]:.4g}") for row in history]
    about = {"regime": regime, "name": name, "trial": trial, "cpu_seconds": seconds}
    return about | {"end": end, "curves": curves}


def run_missing(task, trials, settings, about, path, progress=iter):
    """Train what is not in the file yet, keeping each run at once -> list of dicts.

    about: dict, written into every row.  Raises InputError if the file holds another run's.
    """
    done = read_points(path, about)
    known = {(row["regime"], row["name"], row["trial"]) for row in done}
    wanted = []
    for trial in range(trials):
        for regime in REGIMES:
            wanted += [(regime, name, trial) for name in (HEALTHY, *ABLATIONS)]
    for point in progress([point for point in wanted if point not in known]):
        done.append(about | run_one(task, *point, settings, about["seed"]))
        write_jsonl(path, done)
    return [row for row in done if (row["regime"], row["name"], row["trial"]) in wanted]


def summarise(runs):
    """list of runs -> one row per regime and ablation: mean and deviation over the trials.

    The end figures; "mean NAME": a curve's mean over the iterations; "first NAME": over the first
    five; "last NAME": over the last five.
    """
    rows = []
    for regime in REGIMES:
        for name in (HEALTHY, *ABLATIONS):
            group = [run for run in runs if (run["regime"], run["name"]) == (regime, name)]
            figures = [all_figures(run) for run in group]
            row = {"regime": regime, "name": name, "trials": len(group)}
            for figure in figures[0]:
                values = [each[figure] for each in figures]
                row[figure] = float(f"{np.mean(values):.4g}")
                row[f"{figure}_sd"] = float(f"{np.std(values, ddof=len(values) > 1):.3g}")
            rows.append(row)
    return rows


def all_figures(run):
    """One run -> {figure: number} of its end and its curves."""
    figures = dict(run["end"])
    for figure, curve in run["curves"].items():
        figures[f"mean {figure}"] = float(np.mean(curve))
        figures[f"first {figure}"] = float(np.mean(curve[:5]))
        figures[f"last {figure}"] = float(np.mean(curve[-5:]))
    return figures


def run_ablations(lang, seed, out, trials, world=None, settings=PPO, progress=iter):
    """The whole experiment -> dict, also out/ablations.json; on the way out/points.resume.jsonl.

    world: for the gold figures, evaluation only.
    """
    models, _, _, limit, sft = make_task(lang, seed, out)
    prompts = encode_prompts(sft, read_prompts(data_folder(lang) / "prompts.jsonl", "train"))
    watch = None if world is None else GoldWatch(world, sft.tokenizer)
    settings = replace(settings, max_new_tokens=limit)
    about = {"lang": lang, "seed": seed}
    kept = out / "points.resume.jsonl"
    task = (models, prompts, watch)
    runs = run_missing(task, trials, settings, about, kept, progress)
    results = about | {"trials": trials, "summary": summarise(runs), "runs": runs}
    write_text(out / "ablations.json", json.dumps(results, ensure_ascii=False) + "\n")
    kept.unlink(missing_ok=True)
    return results
