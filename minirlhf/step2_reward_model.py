"""Step 2: a reward model.  [prompt, response] in, one number out, learned from rankings.

People agree more on which answer is better than on a grade, so they rank K answers to a prompt.
The model is a GPT that starts from the language model, with a scalar head on the last real token,
EOS.  It learns numbers whose differences explain the rankings (Bradley & Terry 1952; Stiennon et
al. 2020, arXiv 2009.01325; Ouyang et al. 2022, arXiv 2203.02155, eq. 1).

Where this departs from InstructGPT:
1. The model starts from the language model of step 1 and has its size; theirs was 6B for 175B.
2. The split into training and held-out rankings is by prompt, so no prompt is on both sides.
3. Tied answers are skipped, and the loss is divided by the pairs that remain.
4. After training, scores are shifted *and scaled* to mean 0 and standard deviation 1 on samples of
   the reference model (Ziegler et al. 2019, arXiv 1909.08593).  Rankings fix only differences; the
   zero is free, and the scale decides what the KL coefficient of step 3 means.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.checkpoint import fingerprint, resumable
from minirlhf.data import Ranking, encode_example, pad_rows
from minirlhf.debugger_view import one_line
from minirlhf.errors import at
from minirlhf.gpt import (
    GPTConfig,
    Params,
    gpt_backward,
    gpt_forward,
    scalar_head_backward,
    scalar_head_forward,
)
from minirlhf.tokenizer import Tokenizer

KIND = "reward model"  # what its files say they hold


@dataclass(frozen=True, kw_only=True)
class RewardModelSettings:
    """How a reward model is trained."""

    loss: str = "k-wise"  # k-wise (Ouyang et al. 2022) or plackett-luce; both are BT for K = 2
    epochs: int = 4  # passes over the rankings
    batch_size: int = 16  # rankings per step; all K answers of a ranking stay together
    learning_rate: float = 1e-3  # peak
    warmup: int = 10  # steps of linear warm-up
    schedule: str = "linear"  # down to 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    save_every: int = 50  # steps between two resume files

    def __post_init__(self):
        if self.loss not in ("k-wise", "plackett-luce"):
            raise ValueError(f"loss {self.loss!r} is not one of k-wise, plackett-luce")


class EncodedRanking(NamedTuple):
    """One ranking, ready for the model."""

    rows: list  # K lists of ids, each <bos> prompt \n response <eos>
    ranks: list  # K ints, 1 is best, equal ranks are ties


# ---- losses ---------------------------------------------------------------------------------


def sigmoid_of_minus(x: np.ndarray) -> np.ndarray:
    """sigmoid(-x) = 1 / (1 + e^x), without overflow.  x of any shape, of any size."""
    return np.exp(-np.logaddexp(0, x))


def bradley_terry_loss(
    chosen_scores: np.ndarray, rejected_scores: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean over pairs of -log sigmoid(chosen - rejected).  Ouyang et al. 2022, eq. 1, for K = 2.

    Two (N,) arrays -> loss in nats, dchosen (N,), drejected (N,).  log 2 when the scores are equal.
    """
    margin = chosen_scores - rejected_scores  # (N,)
    loss = float(np.logaddexp(0, -margin).mean())
    dmargin = -sigmoid_of_minus(margin) / len(margin)  # (N,)
    return loss, dmargin, -dmargin


def ranking_loss(scores: np.ndarray, ranks: np.ndarray) -> tuple[float, np.ndarray]:
    """Bradley-Terry over all pairs of a ranking.  Ouyang et al. 2022, eq. 1.

    scores (N, K), ranks (N, K), 1 is best -> loss in nats, dscores (N, K).  Mean over the pairs of
    a ranking, then over the N rankings.  Tied pairs are skipped; a ranking of ties alone counts 0.
    """
    better = ranks[:, :, None] < ranks[:, None, :]  # (N, K, K)  i is better than j
    margin = scores[:, :, None] - scores[:, None, :]  # (N, K, K)  s_i - s_j
    n_pairs = np.maximum(better.sum(axis=(1, 2), keepdims=True), 1)  # (N, 1, 1)
    weight = (better / n_pairs / len(scores)).astype(scores.dtype)  # (N, K, K)
    loss = float((weight * np.logaddexp(0, -margin)).sum())
    dmargin = -weight * sigmoid_of_minus(margin)  # (N, K, K)
    dscores = dmargin.sum(axis=2) - dmargin.sum(axis=1)  # margin is +s_i in rows, -s_j in columns
    return loss, dscores


def plackett_luce_loss(scores: np.ndarray, ranks: np.ndarray) -> tuple[float, np.ndarray]:
    """-log of the probability of the whole order.  Plackett 1975; Luce 1959.

    scores (N, K), ranks (N, K), 1 is best -> loss in nats, dscores (N, K).  Mean over N, sum over
    the K choices: the best of all, the best of the rest, and so on.  Tied answers do not compete
    with each other.  For K = 2 this is Bradley-Terry.
    """
    N, K = scores.shape
    worse = ranks[:, :, None] < ranks[:, None, :]  # (N, K, K)  i is chosen while j is still there
    present = worse | np.eye(K, dtype=bool)  # (N, K, K)  who stands for choice when i is chosen
    logits = np.where(present, scores[:, None, :], -np.inf)  # (N, K, K)
    top = logits.max(axis=2, keepdims=True)  # (N, K, 1)
    weights = np.exp(logits - top)  # (N, K, K)
    total = weights.sum(axis=2, keepdims=True)  # (N, K, 1)
    loss = float((np.log(total) + top)[:, :, 0].sum() - scores.sum()) / N
    dscores = ((weights / total).sum(axis=1) - 1) / N  # (N, K)
    return loss, dscores.astype(scores.dtype)


# ---- the model ------------------------------------------------------------------------------


class RewardCache(NamedTuple):
    trunk: NamedTuple  # GPTCache
    head: tuple
    last: np.ndarray  # (B,)
    shape: tuple  # (B, T)
    __repr__ = one_line


def reward_model_forward(
    params: Params, config: GPTConfig, tokens: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, RewardCache]:
    """tokens (B, T) ids, last (B,) index of each row's last real token -> scores (B,), cache.

    Causal attention keeps whatever follows `last` out of the score.
    """
    hidden, trunk = gpt_forward(params, config, tokens)  # (B, T, C)
    values, head = scalar_head_forward(params, hidden)  # (B, T)
    scores = values[np.arange(len(tokens)), last]  # (B,)
    return scores, RewardCache(trunk=trunk, head=head, last=last, shape=tokens.shape)


def reward_model_backward(
    params: Params, config: GPTConfig, dscores: np.ndarray, cache: RewardCache
) -> Params:
    """dscores (B,) -> grads (Params)."""
    dvalues = np.zeros(cache.shape, dscores.dtype)  # (B, T)
    dvalues[np.arange(len(dscores)), cache.last] = dscores
    dhidden, dhead_w, dhead_b = scalar_head_backward(params, dvalues, cache.head)
    grads = gpt_backward(params, config, dhidden, cache.trunk)
    grads.head_w[...], grads.head_b[...] = dhead_w, dhead_b
    return grads


def score_rows(
    params: Params, config: GPTConfig, rows: list[list[int]], batch_size=256
) -> np.ndarray:
    """list of lists of ids -> scores (len(rows),).  No gradient."""
    scores = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        last = np.array([len(ids) - 1 for ids in batch])  # (B,)
        scores.append(reward_model_forward(params, config, pad_rows(batch), last)[0])
    return np.concatenate(scores)


def normalise_scores(params: Params, scores: np.ndarray) -> tuple[float, float]:
    """Fold a gain and a bias into the head, so that `scores` would have mean 0, deviation 1.

    scores (N,): what the model gives to samples of the reference model.  In place -> gain, bias.
    Raises ValueError if all scores are equal.
    """
    std = float(scores.std())
    if std == 0:
        raise ValueError(f"all {len(scores)} scores are {scores[0]}: there is no scale to set")
    gain, bias = 1 / std, -float(scores.mean()) / std
    params.head_w[...] *= gain
    params.head_b[...] *= gain
    params.head_b[...] += bias
    return gain, bias


# ---- rankings -------------------------------------------------------------------------------


def encode_rankings(
    tokenizer: Tokenizer, rankings: list[Ranking], block_size: int
) -> list[EncodedRanking]:
    """list of Ranking -> list of EncodedRanking.  Rankings that are all ties are left out."""
    encoded = []
    for number, ranking in enumerate(rankings, start=1):
        if max(ranking.ranks) == 1:
            continue
        rows = []
        for response in ranking.responses:
            with at(f"ranking {number}"):
                example = encode_example(tokenizer, ranking.prompt, response, block_size)
            rows.append(example.ids)
        encoded.append(EncodedRanking(rows=rows, ranks=ranking.ranks))
    return encoded


def split_by_prompt(
    rankings: list[Ranking], held_out_share: float, rng: np.random.Generator
) -> tuple[list[Ranking], list[Ranking]]:
    """list of Ranking -> training, held out: two lists with no prompt in common."""
    prompts = sorted({ranking.prompt for ranking in rankings})
    n_held_out = max(1, round(held_out_share * len(prompts)))
    if n_held_out >= len(prompts):
        raise ValueError(f"{len(prompts)} different prompts cannot be split in two")
    held_out = {prompts[i] for i in rng.permutation(len(prompts))[:n_held_out]}
    training = [ranking for ranking in rankings if ranking.prompt not in held_out]
    return training, [ranking for ranking in rankings if ranking.prompt in held_out]


def pair_accuracy(scores, ranks) -> float:
    """Share of the pairs with different ranks that `scores` puts in the same order.

    scores, ranks: lists of N sequences of K numbers (K may vary).  Equal scores count one half.
    NaN if there is no pair.
    """
    right, pairs = 0.0, 0
    for row_scores, row_ranks in zip(scores, ranks):
        s, r = np.asarray(row_scores), np.asarray(row_ranks)  # (K,)
        better = r[:, None] < r[None, :]  # (K, K)  i is better than j
        margin = (s[:, None] - s[None, :])[better]  # (pairs,)
        right += float((margin > 0).sum() + 0.5 * (margin == 0).sum())
        pairs += len(margin)
    return right / pairs if pairs else float("nan")


def score_rankings(
    params: Params, config: GPTConfig, encoded: list[EncodedRanking]
) -> list[np.ndarray]:
    """list of N EncodedRanking -> list of N arrays (K,), the model's score of every answer."""
    rows = [ids for ranking in encoded for ids in ranking.rows]
    scores = score_rows(params, config, rows)
    ends = np.cumsum([len(ranking.rows) for ranking in encoded])
    return np.split(scores, ends[:-1])


# ---- training -------------------------------------------------------------------------------


def batches_of_rankings(
    encoded: list[EncodedRanking], batch_size: int, epochs: int, rng: np.random.Generator
) -> list[list[int]]:
    """-> list of steps, each a list of indices of rankings that have the same K."""
    batches = []
    for _ in range(epochs):
        by_k = {}
        for i in rng.permutation(len(encoded)):
            by_k.setdefault(len(encoded[i].rows), []).append(int(i))
        epoch = []
        for members in by_k.values():
            for start in range(0, len(members), batch_size):
                epoch.append(members[start : start + batch_size])
        batches += [epoch[i] for i in rng.permutation(len(epoch))]
    return batches


def reward_model_loss(
    params: Params, config: GPTConfig, batch: list[EncodedRanking], loss_name: str
) -> tuple[float, Params, np.ndarray, np.ndarray]:
    """list of N EncodedRanking with the same K -> loss in nats, grads, scores and ranks (N, K)."""
    rows = [ids for ranking in batch for ids in ranking.rows]  # N*K rows, one forward pass
    ranks = np.array([ranking.ranks for ranking in batch])  # (N, K)
    last = np.array([len(ids) - 1 for ids in rows])  # (N*K,)
    scores, cache = reward_model_forward(params, config, pad_rows(rows), last)  # (N*K,)
    scores = scores.reshape(ranks.shape)  # (N, K)
    if loss_name == "k-wise":
        loss, dscores = ranking_loss(scores, ranks)
    else:
        loss, dscores = plackett_luce_loss(scores, ranks)
    grads = reward_model_backward(params, config, dscores.reshape(-1), cache)
    return loss, grads, scores, ranks


def train_reward_model(
    params: Params, config: GPTConfig, encoded: list[EncodedRanking], settings: RewardModelSettings,
    rng: np.random.Generator, resume_path: Path | None = None, progress=iter,
) -> list[dict]:
    """Train params (with a scalar head) in place -> history of {"step", "loss", "accuracy", ...}.

    accuracy: on the pairs of the step's own batch, before its update.  resume_path and progress as
    in train_language_model.
    """
    if not encoded:
        raise ValueError("there is no ranking to learn from")
    batches = batches_of_rankings(encoded, settings.batch_size, settings.epochs, rng)
    adam = init_adam(params)
    data = fingerprint([encoded, batches], params)
    with resumable(
        resume_path, KIND, settings, data, {"model": params}, {"model": adam}
    ) as run:
        for step in progress(run.steps(len(batches))):
            started = time.perf_counter()
            batch = [encoded[i] for i in batches[step]]
            loss, grads, scores, ranks = reward_model_loss(params, config, batch, settings.loss)
            norm = clip_gradient(grads, settings.max_grad_norm)
            lr = learning_rate(
                step, len(batches), settings.learning_rate, settings.warmup, settings.schedule
            )
            adam_step(params, grads, adam, lr, weight_decay=settings.weight_decay)
            accuracy = pair_accuracy(scores, ranks)
            seconds = time.perf_counter() - started
            row = {"step": step, "loss": loss, "accuracy": accuracy, "grad_norm": norm, "lr": lr}
            run.record(row | {"seconds": seconds})
    return run.history
