"""DPO and IPO: preferences change the policy directly.  No reward model in the loop, no sampling.

The best policy for a reward r is pi_ref * exp(r / beta) / Z (optimum.py).  Turned round, any policy
is the best one for the reward beta * log(pi / pi_ref), up to a constant of the prompt.  So a
Bradley-Terry loss on that "implicit reward" trains the policy itself (Rafailov et al. 2023, arXiv
2305.18290, eq. 7).  IPO (Azar et al. 2023, arXiv 2310.12036, eq. 17) pulls the log-ratio margin
to 1 / (2 tau) instead: pairs that everyone agrees on do not drive it to infinity.

A larger beta, or tau, keeps the policy closer to the reference.

Where this departs from the papers:
1. The pairs can come from rankings (pairs_from_rankings), or be made (make_pairs): two answers of
   the reference, the winner drawn with the reward model's own probability, sigmoid(r_a - r_b).
   Drawn, because then Bradley-Terry's answer is r itself, and DPO aims at the very optimum that
   PPO aims at.  If the higher score always won, it would aim at a reward of its own.
2. The log-ratio is a sum over the response, EOS included, for IPO too.  (TRL's IPO takes the mean.)
3. AdamW of adam.py instead of RMSProp; the schedule is linear.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.beyond.best_of_n import response_rows
from minirlhf.beyond.policy_gradient import policy_backward, policy_forward
from minirlhf.data import Example, draw_prompts, encode_example, make_batch, shuffled_order
from minirlhf.debugger_view import one_line
from minirlhf.errors import at
from minirlhf.sample import sample
from minirlhf.step2_reward_model import sigmoid_of_minus
from minirlhf.step3_ppo import score_samples

LOSSES = ("dpo", "ipo")


@dataclass(frozen=True, kw_only=True)
class DPOSettings:
    """How DPO or IPO runs."""

    loss: str = "dpo"  # dpo or ipo
    beta: float = 0.1  # DPO's beta, or IPO's tau: the price of leaving the reference
    pairs: int = 1440  # made by make_pairs: as many answers as 60 rollouts of 48
    max_new_tokens: int = 32  # limit of a response, EOS included
    missing_eos_score: float = -1.0  # score of a response without EOS
    steps: int = 45  # optimiser steps: two passes
    batch_size: int = 64  # pairs per step
    learning_rate: float = 3e-4  # peak
    warmup: int = 10  # steps of linear warm-up
    schedule: str = "linear"  # then down to 0
    max_grad_norm: float = 1.0

    def __post_init__(self):
        if self.loss not in LOSSES:
            raise ValueError(f"loss {self.loss!r} is not one of {', '.join(LOSSES)}")


class Pair(NamedTuple):
    """Two answers to one prompt, one preferred."""

    chosen: Example
    rejected: Example


class PairBatch(NamedTuple):
    """N chosen answers and, below them, their N rejected ones."""

    inputs: np.ndarray  # (2N, T)
    targets: np.ndarray  # (2N, T)
    mask: np.ndarray  # (2N, T)  1 on targets of the response, EOS included
    ref_logprobs: np.ndarray  # (2N,)  sums over the response, nats
    __repr__ = one_line


# ---- losses ---------------------------------------------------------------------------------


class PairStats(NamedTuple):
    accuracy: float  # share of pairs whose chosen answer has the higher implicit reward
    margin: float  # mean of log(pi / ref) of chosen minus rejected, nats
    chosen_moved: float  # mean of log(pi / ref) of the chosen answers, nats; may well fall
    rejected_moved: float  # the same of the rejected answers


def log_ratio_margin(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs,
                     ref_rejected_logprobs):
    """Four (N,) sums over responses -> margin (N,) in nats, PairStats."""
    chosen_moved = chosen_logprobs - ref_chosen_logprobs  # (N,)
    rejected_moved = rejected_logprobs - ref_rejected_logprobs  # (N,)
    margin = chosen_moved - rejected_moved  # (N,)
    stats = PairStats(
        accuracy=float((margin > 0).mean() + 0.5 * (margin == 0).mean()),
        margin=float(margin.mean()),
        chosen_moved=float(chosen_moved.mean()),
        rejected_moved=float(rejected_moved.mean()),
    )
    return margin, stats


def dpo_loss(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, beta):
    """-log sigmoid(beta * margin), mean over pairs.  Rafailov et al. 2023, eq. 7.

    Four (N,) sums over the response, in nats -> loss, dchosen (N,), drejected (N,), PairStats.
    log 2 where the policy is the reference.
    """
    margin, stats = log_ratio_margin(
        chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs
    )
    loss = float(np.logaddexp(0, -beta * margin).mean())
    dmargin = -beta * sigmoid_of_minus(beta * margin) / len(margin)  # (N,)
    return loss, dmargin, -dmargin, stats


def ipo_loss(chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs, tau):
    """(margin - 1 / (2 tau))^2, mean over pairs.  Azar et al. 2023, eq. 17.

    Four (N,) sums over the response, in nats -> loss, dchosen (N,), drejected (N,), PairStats.
    """
    margin, stats = log_ratio_margin(
        chosen_logprobs, rejected_logprobs, ref_chosen_logprobs, ref_rejected_logprobs
    )
    error = margin - 1 / (2 * tau)  # (N,)
    loss = float((error * error).mean())
    dmargin = 2 * error / len(margin)  # (N,)
    return loss, dmargin, -dmargin, stats


def dpo_objective(params, config, batch, loss_name, beta):
    """A PairBatch of N pairs -> loss, grads (Params), PairStats.  loss_name: one of LOSSES."""
    N = len(batch.inputs) // 2
    logprobs, cache = policy_forward(params, config, batch.inputs, batch.targets)  # (2N, T)
    sums = (logprobs * batch.mask).sum(axis=1)  # (2N,)
    loss_function = dpo_loss if loss_name == "dpo" else ipo_loss
    loss, dchosen, drejected, stats = loss_function(
        sums[:N], sums[N:], batch.ref_logprobs[:N], batch.ref_logprobs[N:], beta
    )
    dsums = np.concatenate([dchosen, drejected])  # (2N,)
    return loss, policy_backward(params, config, dsums[:, None] * batch.mask, cache), stats


# ---- pairs ----------------------------------------------------------------------------------


def pairs_from_rankings(tokenizer, rankings, block_size):
    """list of Ranking -> list of Pair: every pair of a ranking that is not tied."""
    pairs = []
    for ranking in rankings:
        examples = [
            encode_example(tokenizer, ranking.prompt, response, block_size)
            for response in ranking.responses
        ]
        for better, better_rank in zip(examples, ranking.ranks):
            for worse, worse_rank in zip(examples, ranking.ranks):
                if better_rank < worse_rank:
                    pairs.append(Pair(chosen=better, rejected=worse))
    return pairs


def make_pairs(models, prompts, settings, rng):
    """Pairs of answers of the reference, judged by the reward model as a Bradley-Terry annotator.

    prompts: list of ids -> list of at most settings.pairs Pairs; two equal answers are no pair.
    """
    asked = draw_prompts(prompts, settings.pairs, rng)
    asked = [ids for ids in asked for _ in range(2)]
    samples = sample(models.ref_policy, models.config, asked, settings.max_new_tokens, rng)
    scores = score_samples(models, samples, settings)  # (2 * pairs,)
    rows = response_rows(samples)
    first_wins = rng.random(settings.pairs) < sigmoid_of_minus(scores[1::2] - scores[::2])
    pairs = []
    for i in range(settings.pairs):
        first = Example(ids=rows[2 * i], prompt_length=len(asked[2 * i]))
        second = Example(ids=rows[2 * i + 1], prompt_length=len(asked[2 * i]))
        if first != second:
            better, worse = (first, second) if first_wins[i] else (second, first)
            pairs.append(Pair(chosen=better, rejected=worse))
    return pairs


def response_logprobs(params, config, examples, batch_size=256):
    """list of N Examples -> (N,) log pi(response | prompt), sums over the response, in nats."""
    sums = []
    for start in range(0, len(examples), batch_size):
        inputs, targets, mask = make_batch(examples[start : start + batch_size], True)
        logprobs, _ = policy_forward(params, config, inputs, targets)  # (b, T)
        sums.append((logprobs * mask.astype(logprobs.dtype)).sum(axis=1))
    return np.concatenate(sums)


# ---- training -------------------------------------------------------------------------------


def train_dpo(models, pairs, settings, rng, progress=iter):
    """DPO or IPO, in place on models.policy; models.ref_policy stays -> history.

    pairs: list of Pair.
    """
    if not pairs:
        raise ValueError("there is no pair to learn from")
    order = shuffled_order(len(pairs), settings.batch_size, settings.steps, rng)
    ref_chosen = response_logprobs(models.ref_policy, models.config, [p.chosen for p in pairs])
    ref_rejected = response_logprobs(models.ref_policy, models.config, [p.rejected for p in pairs])
    adam, history = init_adam(models.policy), []
    for step in progress(range(settings.steps)):
        started = time.perf_counter()
        chosen = [pairs[i] for i in order[step]]
        examples = [pair.chosen for pair in chosen] + [pair.rejected for pair in chosen]
        inputs, targets, mask = make_batch(examples, True)  # each (2N, T)
        batch = PairBatch(
            inputs=inputs, targets=targets, mask=mask.astype(models.policy.flat.dtype),
            ref_logprobs=np.concatenate([ref_chosen[order[step]], ref_rejected[order[step]]]),
        )
        loss, grads, stats = dpo_objective(
            models.policy, models.config, batch, settings.loss, settings.beta
        )
        with at(f"{settings.loss}, step {step}"):
            norm = clip_gradient(grads, settings.max_grad_norm)
        lr = learning_rate(
            step, settings.steps, settings.learning_rate, settings.warmup, settings.schedule
        )
        adam_step(models.policy, grads, adam, lr)
        row = {"step": step, "loss": loss, "grad_norm": norm} | stats._asdict()
        history.append(row | {"seconds": time.perf_counter() - started})
    return history
