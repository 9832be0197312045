"""Best-of-n: sample n answers from the reference, let the reward model keep one.  No training.

The simplest way to use a reward model, and hard to beat where n answers can be paid for at every
question (Stiennon et al. 2020, arXiv 2009.01325; Gao et al. 2022, arXiv 2210.10760).  What it does
to a distribution is known exactly: best_of_n_distribution.  Its KL to the reference is at most
log n - (n - 1) / n (Beirami et al. 2024, arXiv 2401.01879), and less where answers share a score
or are few.  Rejection sampling (Touvron et al. 2023, arXiv 2307.09288, section 3.2.3) trains the
model on the best answers, so that one answer per question is enough afterwards.

Where this departs from them:
1. Llama 2 samples from the model of the last round and goes round again; here there is one round,
   from the reference, so that the result can be compared with the exact best-of-n.
2. Ties between answers with the same score are broken by the order of sampling, which is chance.
"""

import math
from dataclasses import dataclass

import numpy as np

from minirlhf.data import Example, Texts, draw_prompts, last_response_index
from minirlhf.sample import sample
from minirlhf.step1_language_model import LanguageModelSettings, train_language_model
from minirlhf.step3_ppo import PPOSettings, score_samples

IMITATION = LanguageModelSettings(
    response_only=True, steps=100, batch_size=32, learning_rate=1e-3, warmup=10, schedule="linear"
)


@dataclass(frozen=True, kw_only=True)
class RejectionSettings:
    """How rejection sampling runs."""

    n: int = 8  # answers to a question, of which the best is kept
    questions: int = 480  # questions asked, each about equally often: as many answers to learn from
    max_new_tokens: int = 32  # limit of a response, EOS included
    missing_eos_score: float = -1.0  # score of a response without EOS
    training: LanguageModelSettings = IMITATION  # how the best answers are imitated


# ---- what best-of-n does to a distribution --------------------------------------------------


def best_of_n_distribution(probs, scores, n):
    """Distribution of the best of n answers.  Beirami et al. 2024, eq. 3, ties included.

    probs (N,) of all N possible answers, scores (N,) -> probs (N,).  F(s)^n - F(<s)^n is the
    chance that the best score is s; the answers that have it share it in proportion to probs.
    """
    _, level_of = np.unique(scores, return_inverse=True)  # (N,) 0 is the lowest score, .. S - 1
    mass = np.bincount(level_of, weights=probs)  # (S,)
    below = np.concatenate([[0.0], np.cumsum(mass)])  # (S+1,)  F(< s), and 1 at the end
    best = np.diff(below**n)  # (S,)
    share = np.divide(best, mass, out=np.zeros_like(best), where=mass > 0)  # (S,)
    return probs * share[level_of]


def best_of_n_kl(probs, scores, n):
    """KL(best-of-n || the distribution it samples from) in nats.  probs, scores (N,)."""
    best = best_of_n_distribution(probs, scores, n)  # (N,)
    chosen = best > 0
    return float((best[chosen] * np.log(best[chosen] / probs[chosen])).sum())


def best_of_n_kl_bound(n):
    """log n - (n - 1) / n, in nats: never less than best_of_n_kl, often quoted as if equal."""
    return math.log(n) - (n - 1) / n


def best_of_n_value(scores, n):
    """Expected best score of n answers, from N >= n sampled ones, without bias.

    Averages over all choices of n out of N at once: the i-th smallest score is the best of a
    choice C(i - 1, n - 1) times.  scores (N,) -> float.
    """
    N = len(scores)
    if not 1 <= n <= N:
        raise ValueError(f"n is {n}: expected 1 to {N}, the number of scores")
    weights = [math.comb(i, n - 1) / math.comb(N, n) for i in range(N)]  # (N,)
    return float((np.sort(scores) * weights).sum())


# ---- sampling -------------------------------------------------------------------------------


def response_rows(samples):
    """Samples of B prompts -> list of B lists of ids, prompt included, without padding."""
    last = last_response_index(samples.response_mask) + 1  # (B,)
    return [samples.tokens[row, : end + 1].tolist() for row, end in enumerate(last)]


def best_of_n(models, prompts, n, max_new_tokens, missing_eos_score, rng):
    """The best of n answers of the policy for each of B prompts (ids).

    -> list of B Example, scores (B, n) of all that were sampled.
    """
    asked = [ids for ids in prompts for _ in range(n)]
    samples = sample(models.policy, models.config, asked, max_new_tokens, rng)
    settings = PPOSettings(missing_eos_score=missing_eos_score)
    scores = score_samples(models, samples, settings).reshape(len(prompts), n)  # (B, n)
    rows = response_rows(samples)
    best = scores.argmax(axis=1)  # (B,)
    examples = []
    for i, ids in enumerate(prompts):
        examples.append(Example(ids=rows[i * n + int(best[i])], prompt_length=len(ids)))
    return examples, scores


# ---- rejection sampling ---------------------------------------------------------------------


def train_rejection_sampling(models, prompts, settings, rng, progress=iter):
    """SFT on the best of n: models.policy learns, in place, what best-of-n would say.

    prompts: list of ids -> history of train_language_model.
    """
    asked = draw_prompts(prompts, settings.questions, rng)
    examples, _ = best_of_n(
        models, asked, settings.n, settings.max_new_tokens, settings.missing_eos_score, rng
    )
    return train_language_model(
        models.policy, models.config, Texts(training=examples), settings.training, rng,
        progress=progress,
    )
