"""What may hold over-optimisation back, and needs no gold judge.

    KL coefficient         a price per nat, in PPO's reward (step 3)
    early stopping         keep an earlier policy: by its KL, by a reward model that PPO has not
                           seen, or by how much an ensemble disagrees
    an ensemble's minimum  an answer is worth what its sternest judge says
    more labels            a better reward model (overoptimization.py)

The minimum and the disagreement are the worst case of Coste et al. 2023 (arXiv 2310.02743): the
same rankings, learned in another order from another head.  Their fine-tuned members also start
from one pretrained model each; here all start from the same one, so they differ less.
"""

import math
from typing import NamedTuple

import numpy as np

from minirlhf.adam import init_adam, learning_rate
from minirlhf.beyond.best_of_n import score_samples
from minirlhf.experiments.ablations.run import advantages_again
from minirlhf.step3_ppo import kl_shaped_rewards, make_rollout, ppo_update

# ---- an ensemble ----------------------------------------------------------------------------


def judge_scores(models, judges, samples, missing_eos_score):
    """Samples (or a Rollout) of B prompts -> (M, B): what each of M reward models (Params) says."""
    rows = []
    for judge in judges:
        rows.append(score_samples(models._replace(reward_model=judge), samples, missing_eos_score))
    return np.stack(rows)


def ensemble_minimum(scores):
    """scores (M, B) of M judges -> (B,): the sternest judge's.  Coste et al. 2023, "worst case"."""
    return scores.min(axis=0)


def disagreement(scores):
    """scores (M, B) of M judges -> their standard deviation, mean over the B answers."""
    return float(scores.std(axis=0).mean())


def practise(models, judges, prompts, settings, rng):
    """PPO in place on models.policy; the score of an answer is the minimum of its M judges.

    A generator: yields how many iterations are done, 0 before the first, so that the caller can
    look at the policy.  With one judge, models.reward_model, this is train_ppo number for number.
    judges: list of Params.  prompts: list of ids.
    """
    adams = {"policy": init_adam(models.policy), "value_model": init_adam(models.value_model)}
    steps, schedule = settings.iterations, settings.schedule
    yield 0
    for iteration in range(steps):
        repeats = math.ceil(settings.rollout_size / len(prompts))
        drawn = np.concatenate([rng.permutation(len(prompts)) for _ in range(repeats)])
        batch = [prompts[i] for i in drawn[: settings.rollout_size]]
        rollout = make_rollout(models, batch, settings.kl_coef, settings, rng)
        if len(judges) > 1:
            rollout = with_minimum(models, judges, rollout, settings)
        lr = learning_rate(iteration, steps, settings.learning_rate, settings.warmup, schedule)
        value_lr = learning_rate(iteration, steps, settings.value_learning_rate, 0, schedule)
        where = f"iteration {iteration}"
        ppo_update(models, adams, rollout, settings, lr, value_lr, where, rng)
        yield iteration + 1


def with_minimum(models, judges, rollout, settings):
    """Rollout -> the same with the minimum of the judges as its scores (B,)."""
    scores = ensemble_minimum(judge_scores(models, judges, rollout, settings.missing_eos_score))
    rewards = kl_shaped_rewards(
        scores, rollout.old_logprobs, rollout.ref_logprobs, rollout.response_mask,
        settings.kl_coef,
    )
    return advantages_again(rollout._replace(scores=scores, rewards=rewards), settings)


# ---- early stopping -------------------------------------------------------------------------


class Stop(NamedTuple):
    """Where a rule stops: the checkpoint whose policy is kept, and the last one it looked at."""

    kept: int
    seen: int


def stop_above(signal, limit):
    """signal (C,) at C checkpoints -> Stop: keep the last one before the signal exceeds limit."""
    above = np.flatnonzero(np.asarray(signal) > limit)
    last = len(signal) - 1
    return Stop(max(int(above[0]) - 1, 0), int(above[0])) if len(above) else Stop(last, last)


def stop_at_peak(signal, patience):
    """signal (C,) -> Stop: keep the highest; end after `patience` checkpoints without a higher.

    What comes after `seen` is never looked at.  Raises ValueError if patience is below 1.
    """
    if patience < 1:
        raise ValueError(f"patience is {patience}, expected 1 or more")
    best = 0
    for now in range(1, len(signal)):
        if signal[now] > signal[best]:
            best = now
        elif now - best >= patience:
            return Stop(best, now)
    return Stop(best, len(signal) - 1)
