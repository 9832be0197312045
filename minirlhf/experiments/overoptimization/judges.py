"""Labels and the reward models that learn from them.

Both kinds of SIMULATED people rank the same answers: the crowd of five, and one who likes long
answers.  Of each trial's rankings one half is there to learn from and one to watch PPO, by a judge
that PPO has not seen.
"""

from typing import NamedTuple

import numpy as np

from minirlhf.experiments.overoptimization.best_of_n_pool import score_pool
from minirlhf.experiments.trials import train_judge
from minirlhf.gpt import Params
from minirlhf.rufus.answers import collect_answers
from minirlhf.rufus.people import length_lover, make_annotators, rank_answers
from minirlhf.rufus.pipeline import ANSWERS

BIASED = "biased"
LABELS = {"50": 50, "100": 100, "200": 200, "600": 600, BIASED: 600}  # name: rankings
COLLECTED = 1200  # rankings in each trial: one half to learn from, one to watch PPO


class Judges(NamedTuple):
    """The reward models of one trial and one kind of labels."""

    members: list  # of Params, from the same rankings; PPO climbs the first, or their minimum
    other: Params  # from as many other rankings
    pool_scores: np.ndarray  # (M,) what the first says of the pool's answers


def people_of(labels, seed):
    """-> list of SIMULATED annotators."""
    return [length_lover()] if labels == BIASED else make_annotators(np.random.default_rng(seed))


def collect_rankings(task, labels, trial, seed):
    """task: of run.py -> rankings to learn from, as many others."""
    rng = np.random.default_rng([seed, 70, trial])
    prompts = (task.questions * -(-COLLECTED // len(task.questions)))[:COLLECTED]
    models = {"pretrained": task.pretrained, "sft": task.sft}
    collected = collect_answers(models, prompts, ANSWERS, rng)
    rankings = rank_answers(task.world, collected, people_of(labels, seed), rng)
    n, half = LABELS[labels], len(rankings) // 2
    return rankings[:n], rankings[half : half + n]


def train_judges(task, labels, trial, members, seed):
    """`members` reward models from the same rankings, one more from as many others -> Judges."""
    mine, others = collect_rankings(task, labels, trial, seed)
    judges = []
    for member in range(members):
        rng = np.random.default_rng([seed, 71, trial, member])
        judges.append(train_judge(task.sft, mine, rng))
    other = train_judge(task.sft, others, np.random.default_rng([seed, 72, trial]))
    scores = score_pool(task.sft, judges[0], task.pool)  # (M,)
    return Judges(members=judges, other=other, pool_scores=scores)
