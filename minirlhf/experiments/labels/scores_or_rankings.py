"""Scoring against ranking: which labels teach a reward model more, and when.

InstructGPT's annotators ranked, and the article says: do not ask for scores, people are noisy.
Here SIMULATED annotators look at sets of four answers; the same look gives four scores of 1 to 7
and a ranking.  A reward model is trained on one of

    raw scores          squared error of the scalar head to the score
    z-scores            the same, each annotator's scores brought to mean 0 and deviation 1
    scores as ranks     only the order of a set's scores, Bradley-Terry over its pairs
    rankings            the order that the annotator felt, Bradley-Terry over its pairs

and judged by the order of the gold judge on questions that no label was about.  The crowds differ
in what is wrong with their scores (CROWDS).  A set counts once, however it is labelled; it costs
read + grade, or read + place, seconds per answer, which are assumed, not measured: so the figure
that matters is by how much longer a ranking may take before scores are better.
"""

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.data import Ranking, encode_example, pad_rows
from minirlhf.errors import at
from minirlhf.gpt import with_scalar_head
from minirlhf.rufus.answers import collect_answers
from minirlhf.rufus.people import make_annotators
from minirlhf.rufus.pipeline import ANSWERS, REWARD
from minirlhf.step2_reward_model import (
    batches_of_rankings,
    encode_rankings,
    pair_accuracy,
    reward_model_backward,
    reward_model_forward,
    score_rankings,
    train_reward_model,
)

KINDS = ("raw scores", "z-scores", "scores as ranks", "rankings")
GRADES = KINDS[:2]
CROWDS = (  # what is wrong with the annotators' scores
    "the package's crowd",  # own scale, own bias of 1 point, mild tastes
    "strict and generous",  # the same people, every bias three times as large
    "moods",  # the same people, whose bias changes by 2 points from set to set
    "all alike",  # no bias, one scale
    "one careful person",  # no bias, no taste, a third of the noise
)
HELD_OUT_SETS = 240  # sets of answers to the held-out questions, for the accuracy


@dataclass(frozen=True, kw_only=True)
class LabelSettings:
    """What is run, and the assumed seconds of an annotator."""

    sets: tuple = (12, 25, 50, 100, 200)  # labelled sets of four answers
    read: float = 3.0  # seconds to read an answer
    grade: float = 2.0  # seconds to give it a score
    place: float = 4.0  # seconds to find its place in a ranking of four
    write: float = 30.0  # seconds to write a demonstration
    held_out: int = HELD_OUT_SETS


def set_seconds(kind, settings):
    """Assumed seconds that a set of four answers takes: read and grade, or read and place."""
    each = settings.place if kind == "rankings" else settings.grade
    return ANSWERS * (settings.read + each)


# ---- the crowds -----------------------------------------------------------------------------


def make_crowd(crowd, rng):
    """One of CROWDS -> list of SIMULATED annotators, standard deviation of their moods (points)."""
    people = make_annotators(rng)
    if crowd == "strict and generous":
        people = [replace(person, bias=3 * person.bias) for person in people]
    if crowd == "all alike":
        people = [replace(person, bias=0.0, scale=1.0) for person in people]
    if crowd == "one careful person":
        careful = replace(people[0], bias=0.0, scale=1.0, noise=people[0].noise / 3)
        people = [replace(careful, greeting_taste=0.0, length_taste=0.0)]
    return people, 2.0 if crowd == "moods" else 0.0


class LabelledSet(NamedTuple):
    """Answers to one prompt with both labels of one look at them."""

    prompt: str
    responses: list  # of K texts
    scores: np.ndarray  # (K,) ints 1..7
    ranks: np.ndarray  # (K,) ints, 1 is best
    annotator: str


def label_sets(world, collected, people, mood, seeds):
    """Each set is looked at by one annotator -> list of LabelledSet.

    seeds: list of ints; with the set's number they seed the look, so that scores and ranks come
    from the same perceptions.
    """
    labelled = []
    for number, place in enumerate(collected):
        person = people[number % len(people)]
        prompt, responses = place["prompt"], place["responses"]
        today = np.random.default_rng([*seeds, number, 1]).normal(0, mood) if mood else 0.0
        moody = replace(person, bias=person.bias + today)
        scores = moody.score(world, prompt, responses, np.random.default_rng([*seeds, number]))
        ranks = moody.rank(world, prompt, responses, np.random.default_rng([*seeds, number]))
        labelled.append(
            LabelledSet(
                prompt=prompt, responses=responses, scores=scores, ranks=ranks,
                annotator=person.name,
            )
        )
    return labelled


# ---- grades ---------------------------------------------------------------------------------


class GradedSet(NamedTuple):
    """One set, ready for regression."""

    rows: list  # K lists of ids
    grades: np.ndarray  # (K,) floats, mean 0 and deviation 1 over all sets


def graded(kind, labelled):
    """list of N LabelledSet -> list of N arrays (K,): the grades that the head is to give.

    z-scores: of each annotator; then, as raw scores too, of all together.  The last step changes
    nothing but the head's unit.
    """
    grades = [np.array(place.scores, float) for place in labelled]
    if kind == "z-scores":
        names = np.array([place.annotator for place in labelled])
        for name in np.unique(names):
            mine = np.flatnonzero(names == name)
            mean, deviation = mean_and_deviation([grades[i] for i in mine])
            for i in mine:
                grades[i] = (grades[i] - mean) / deviation
    mean, deviation = mean_and_deviation(grades)
    return [(row - mean) / deviation for row in grades]


def mean_and_deviation(rows):
    """list of arrays (K,) -> mean, standard deviation of all numbers; 1 if they are all equal."""
    together = np.concatenate(rows)  # (N*K,)
    return float(together.mean()), float(together.std()) or 1.0


def score_loss(scores, grades):
    """Half the mean squared error.  scores, grades (B,) -> loss, dscores (B,)."""
    error = scores - grades  # (B,)
    return float(0.5 * (error * error).mean()), error / len(error)


def grade_objective(params, config, batch):
    """list of N GradedSet -> loss, grads (Params)."""
    rows = [ids for place in batch for ids in place.rows]
    last = np.array([len(ids) - 1 for ids in rows])  # (B,)
    scores, cache = reward_model_forward(params, config, pad_rows(rows), last)  # (B,)
    grades = np.concatenate([place.grades for place in batch]).astype(scores.dtype)  # (B,)
    loss, dscores = score_loss(scores, grades)
    return loss, reward_model_backward(params, config, dscores, cache)


def train_on_grades(params, config, sets, settings, rng):
    """Regression, with the batches and steps of train_reward_model, in place -> list of losses."""
    batches = batches_of_rankings(sets, settings.batch_size, settings.epochs, rng)
    adam, losses = init_adam(params), []
    for step, chosen in enumerate(batches):
        loss, grads = grade_objective(params, config, [sets[i] for i in chosen])
        with at(f"step {step}, loss {loss}"):
            clip_gradient(grads, settings.max_grad_norm)
        lr = learning_rate(
            step, len(batches), settings.learning_rate, settings.warmup, settings.schedule
        )
        adam_step(params, grads, adam, lr, weight_decay=settings.weight_decay)
        losses.append(loss)
    return losses


# ---- reward models --------------------------------------------------------------------------


def as_rankings(kind, labelled):
    """list of LabelledSet -> list of Ranking: the annotator's ranks, or the order of the scores."""
    rankings = []
    for place in labelled:
        ranks = place.ranks
        if kind == "scores as ranks":
            ranks = np.unique(-place.scores, return_inverse=True)[1].reshape(-1) + 1  # (K,)
        numbers = [int(rank) for rank in ranks]
        models = ["" for _ in place.responses]
        rankings.append(
            Ranking(
                prompt=place.prompt, responses=place.responses, ranks=numbers, models=models,
                annotator=place.annotator,
            )
        )
    return rankings


def train_on(kind, sft, labelled, rng, settings=REWARD):
    """A reward model on one of KINDS, started from sft (Model) -> Params."""
    params = with_scalar_head(sft.params, sft.config, rng)
    block = sft.config.block_size
    if kind in GRADES:
        sets = []
        for place, grades in zip(labelled, graded(kind, labelled)):
            rows = [
                encode_example(sft.tokenizer, place.prompt, text, block).ids
                for text in place.responses
            ]
            sets.append(GradedSet(rows=rows, grades=grades))
        train_on_grades(params, sft.config, sets, settings, rng)
    else:
        encoded = encode_rankings(sft.tokenizer, as_rankings(kind, labelled), block)
        train_reward_model(params, sft.config, encoded, settings, rng)
    return params


def collect_sets(models, questions, count, rng):
    """Sets of four answers of several models -> list of `count` dicts, see collect_answers."""
    prompts = [questions[i % len(questions)] for i in range(2 * count)]  # some sets stay small
    full = [
        place for place in collect_answers(models, prompts, ANSWERS, rng)
        if len(place["responses"]) == ANSWERS
    ]
    if len(full) < count:
        raise ValueError(f"{len(full)} sets of {ANSWERS} different answers, {count} are needed")
    return full[:count]


def gold_rankings(world, collected):
    """The order of the gold judge, for measuring -> list of Ranking."""
    rankings = []
    for place in collected:
        gold = np.array([world.naturalness(place["prompt"], t) for t in place["responses"]])
        ranks = np.unique(-gold, return_inverse=True)[1].reshape(-1) + 1  # (K,)
        rankings.append(
            Ranking(
                prompt=place["prompt"], responses=place["responses"], ranks=ranks.tolist(),
                models=place["models"], annotator="gold",
            )
        )
    return rankings


def gold_accuracy(sft, params, gold):
    """Share of the pairs of gold rankings (list of Ranking) that a reward model orders right."""
    encoded = encode_rankings(sft.tokenizer, gold, sft.config.block_size)
    scores = score_rankings(params, sft.config, encoded)
    return pair_accuracy(scores, [ranking.ranks for ranking in encoded])


# ---- the experiment -------------------------------------------------------------------------


def run_crowd(task, part, settings, seed):
    """All kinds of labels at all numbers of sets -> dict with {kind: accuracies}.

    task: of run.py.  part: .crowd, one of CROWDS, and .trial.  Every kind trains on the same sets,
    perceptions, batches' seed and initial head.
    """
    started = time.process_time()
    models = {"pretrained": task.pretrained, "sft": task.sft}
    rng = np.random.default_rng([seed, 90, part.trial])
    collected = collect_sets(models, task.questions["train"], max(settings.sets), rng)
    people, mood = make_crowd(part.crowd, np.random.default_rng([seed, 91, part.trial]))
    look = [seed, 92, part.trial, CROWDS.index(part.crowd)]
    labelled = label_sets(task.world, collected, people, mood, look)
    row = {"experiment": "crowd", "crowd": part.crowd, "trial": part.trial, "accuracy": {}}
    for kind in KINDS:
        curve = []
        for n in settings.sets:
            rng = np.random.default_rng([seed, 93, part.trial])
            params = train_on(kind, task.sft, labelled[:n], rng)
            curve.append(round(gold_accuracy(task.sft, params, task.gold), 4))
        row["accuracy"][kind] = curve
    row["cpu_seconds"] = round(time.process_time() - started, 1)
    return row


def exchange_rate(sets, scores, rankings):
    """How many scored sets are worth one ranked set.  Three (N,): sets, and two accuracies.

    At the highest accuracy that both kinds of labels reach: sets that the scores need / sets that
    the rankings need, interpolated in log(sets).  A ranking may take so many times as long as
    scoring before scores teach more per minute; below 1, scores teach more per set already.
    """
    scores, rankings = np.maximum.accumulate(scores), np.maximum.accumulate(rankings)  # (N,)
    target = min(scores[-1], rankings[-1])
    needed = [np.interp(target, curve, np.log(sets)) for curve in (scores, rankings)]
    return float(np.exp(needed[0] - needed[1]))


def at_minutes(minutes, sets, accuracy, seconds):
    """Accuracy (N,) at numbers of sets (N,) -> at minutes of work, interpolated in log(sets)."""
    return float(np.interp(np.log(minutes * 60 / seconds), np.log(sets), accuracy))
