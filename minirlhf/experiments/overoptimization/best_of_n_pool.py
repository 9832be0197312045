"""Best-of-n on a pool: many answers of the reference to each question stand for all it could say.

The pool is sampled once.  Its answers are scored once for each reward model, and what best-of-n
would say, and its KL, is then computed for every n at once, as best_of_n.py does for the whole
distribution: with the pool's frequencies as probabilities, the best of n drawn with replacement.
Where n comes near the pool's size the KL is a little too small: it cannot pass log(size).
"""

from typing import NamedTuple

import numpy as np

from minirlhf.beyond.best_of_n import (
    best_of_n_distribution,
    best_of_n_kl,
    best_of_n_kl_bound,
    response_rows,
)
from minirlhf.debugger_view import one_line
from minirlhf.experiments.trials import MISSING_EOS_SCORE, short
from minirlhf.rufus.answers import encode_prompts, read_answers
from minirlhf.sample import sample
from minirlhf.step2_reward_model import score_rows

# ---- the pool -------------------------------------------------------------------------------


class Pool(NamedTuple):
    """The reference's answers, equal ones once: M answers."""

    rows: list  # of M lists of ids
    text: list  # of M texts
    question: np.ndarray  # (M,) ints, which one is answered
    finished: np.ndarray  # (M,) bool
    share: np.ndarray  # (M,) of the answers to its question
    naturalness: np.ndarray  # (M,)
    mean: float  # of the naturalness, over all answers
    deviation: float
    __repr__ = one_line


def make_pool(sft, world, questions, size, rng):
    """Ask the reference (Model) each question `size` times -> Pool."""
    counts, answers = {}, {}  # by question and ids
    for number, ids in enumerate(encode_prompts(sft, questions)):
        limit = sft.extra["max_new_tokens"]
        samples = sample(sft.params, sft.config, [ids] * size, limit, rng)
        said = read_answers(sft.tokenizer, [questions[number]] * size, samples)
        for row, answer in zip(response_rows(samples), said):
            key = (number, *row)
            counts[key] = counts.get(key, 0) + 1
            answers[key] = answer
    naturalness = [world.naturalness(a.prompt, a.text, a.finished) for a in answers.values()]
    share, gold = np.array(list(counts.values())) / size, np.array(naturalness)  # (M,)
    mean = float(share @ gold) / len(questions)
    return Pool(
        rows=[list(key[1:]) for key in counts],
        text=[answer.text for answer in answers.values()],
        question=np.array([key[0] for key in counts]),
        finished=np.array([answer.finished for answer in answers.values()]),
        share=share,
        naturalness=gold,
        mean=mean,
        deviation=float(np.sqrt(share @ (gold - mean) ** 2 / len(questions))),
    )


def score_pool(sft, judge, pool):
    """-> scores (M,) of the pool's answers; those without EOS get the score for that."""
    scores = score_rows(judge, sft.config, pool.rows)  # (M,)
    return np.where(pool.finished, scores, MISSING_EOS_SCORE).astype(np.float64)


# ---- what best-of-n makes of it -------------------------------------------------------------


def best_of_n_points(pool, scores, best_of):
    """What best-of-n says, for each n: exact, if the pool is the whole reference.

    -> dict of lists (N,): n, kl (nats), bound, score, naturalness, natural: means over questions.
    """
    curves = {"n": list(best_of), "kl": [], "bound": [], "score": [], "naturalness": [],
              "natural": []}
    asked = [np.flatnonzero(pool.question == q) for q in np.unique(pool.question)]
    for n in best_of:
        rows = []
        for mine in asked:
            share, score, gold = pool.share[mine], scores[mine], pool.naturalness[mine]
            best = best_of_n_distribution(share, score, n)  # (m,)
            kl = best_of_n_kl(share, score, n)
            rows.append((kl, best @ score, best @ gold, best @ (gold == 1)))
        kl, score, gold, natural = np.mean(rows, axis=0).tolist()
        row = {"kl": kl, "bound": best_of_n_kl_bound(n), "score": score, "naturalness": gold,
               "natural": natural}
        for name, value in row.items():
            curves[name].append(short(value))
    return curves


def best_of_n_sentences(pool, questions, scores, best_of):
    """For each n the likeliest answer to the first and to the last question.  scores (M,)."""
    said = []
    for n in best_of:
        row = []
        for q in (0, len(questions) - 1):
            mine = np.flatnonzero(pool.question == q)
            best = best_of_n_distribution(pool.share[mine], scores[mine], n)  # (m,)
            i = int(mine[best.argmax()])
            row.append([questions[q], pool.text[i], round(float(scores[i]), 2),
                        round(float(pool.naturalness[i]), 2)])
        said.append(row)
    return said
