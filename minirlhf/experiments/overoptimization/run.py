"""Over-optimisation measured: learned score and gold naturalness as a policy leaves its reference.

The reward model is a proxy for what people want, so the policy may learn what it likes and people
do not (Goodhart's law; Gao et al. 2022, arXiv 2210.10760).  Here both are known on every answer:

    labels     rankings by the simulated crowd: 50, 100, 200 or 600; or 600 by one simulated
               annotator who likes long answers ("biased"), of the same answers
    method     PPO at four KL coefficients, PPO on the minimum of four reward models, best-of-n
    trials     each draws its own answers and labels and trains its own reward models and policies

One reference for all.  PPO pushes hard on purpose: twice the demo's learning rate, never lowered,
and 50 iterations.  Gold is naturalness, with mean 0 and standard deviation 1 on the reference's
answers, as the learned scores are; what is reported is the gain over the reference.  The gold judge
measures; nothing of it reaches a policy or a rule for stopping.

What came out, in both languages (seed 0, five trials, benchmarks/overoptimization_LANG.json, held
by tests/test_overoptimization.py): without a KL price every policy is over-optimised, whatever the
labels.  More labels raise the summit of best-of-n and do not save PPO.  A price of 0.1 or 0.5 keeps
the most natural answers, or nearly; at 0.1 gold ends above the free run's at the same KL, where Gao
et al. found no gain.  Of the signals that need no gold, KL warns best: the judge that PPO has not
seen and the disagreement of four each fail in some trial, and the minimum of four ends hardly
better than one.

`python -m minirlhf overoptimization` runs it and writes overoptimization.json and a picture.  Rows
are kept one by one in points.resume.jsonl, so an interrupted run goes on where it was.
"""

import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minirlhf.checkpoint import Model
from minirlhf.experiments.overoptimization.best_of_n_pool import (
    Pool,
    best_of_n_points,
    best_of_n_sentences,
    make_pool,
)
from minirlhf.experiments.overoptimization.ensemble import (
    MinimumScore,
    disagreement,
    ensemble_minimum,
    judge_scores,
)
from minirlhf.experiments.overoptimization.judges import LABELS, train_judges
from minirlhf.experiments.overoptimization.summary import (
    BEST,
    MINIMUM,
    ONE,
    beside_the_free_path,
    fits_of,
    remedies_of,
)
from minirlhf.experiments.trials import (
    HARD,
    KEPT,
    Between,
    KeptRows,
    models_of,
    short,
    train_reference,
    without,
)
from minirlhf.rufus.answers import encode_prompts, read_answers
from minirlhf.rufus.measure import judge_answers
from minirlhf.rufus.world import World
from minirlhf.sample import sample
from minirlhf.step3_ppo import PPOHooks, PPOSettings, make_rollout, train_ppo


@dataclass(frozen=True, kw_only=True)
class OveroptimizationSettings:
    """What is run."""

    labels: tuple = tuple(LABELS)
    prices: tuple = (0.0, 0.02, 0.1, 0.5)  # KL coefficients
    best_of: tuple = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    pool: int = 1024  # answers per question that stand for the reference in best-of-n
    per_question: int = 3  # answers per question at a checkpoint
    members: int = 4  # reward models of an ensemble
    checkpoints: tuple = (0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 25, 30, 35, 40, 45, 50)
    ppo: PPOSettings = HARD


class Task(NamedTuple):
    """What all trials share."""

    sft: Model  # the reference
    pretrained: Model
    world: World  # the gold judge: it measures
    questions: list  # the training questions
    pool: Pool


class Point(NamedTuple):
    """What tells one row from another."""

    labels: str  # of LABELS
    trial: int
    method: str  # ONE, MINIMUM or BEST
    price: float  # KL coefficient


def make_overoptimization_task(lang, seed, out, pool):
    """The reference, and `pool` answers of it to each question -> Task.  Writes out/sft.npz."""
    world = World.load(lang)
    pretrained, sft = train_reference(lang, seed, out)
    questions = world.questions("train")
    answers = make_pool(sft, world, questions, pool, np.random.default_rng([seed, 73]))
    return Task(sft=sft, pretrained=pretrained, world=world, questions=questions, pool=answers)


# ---- PPO ------------------------------------------------------------------------------------


class Checkpoints:
    """What a policy is like after some of PPO's iterations."""

    def __init__(self, task, settings, models, judges, other, rng):
        """models: the PPOModels that are trained.  judges: list of Params, the first is PPO's.

        other: a reward model (Params) that PPO has not seen, or None.
        """
        self.task, self.settings, self.models = task, settings, models
        self.judges, self.other, self.rng = judges, other, rng
        self.rows, self.sentences = [], []

    def look(self, done):
        """The policy after `done` iterations, if that is a checkpoint: a row of figures, and the
        first answers to the first and to the last question."""
        if done not in self.settings.checkpoints:
            return
        task, models, settings = self.task, self.models, self.settings.ppo
        questions = task.questions * self.settings.per_question
        prompts, limit = encode_prompts(task.sft, questions), task.sft.extra["max_new_tokens"]
        samples = sample(models.policy, models.config, prompts, limit, self.rng)
        scores = judge_scores(models, self.judges, samples, settings)  # (M, B)
        rollout = make_rollout(models, samples, scores[0], 0.0, settings)
        answers = read_answers(task.sft.tokenizer, questions, samples)
        verdict = judge_answers(task.world, answers)
        row = {
            "iteration": done,
            "kl": float(rollout.exact_kl.sum(axis=1).mean()),
            "score": float(scores[0].mean()),
            "naturalness": verdict.naturalness,
            "natural": verdict.natural,
            "length": float(samples.response_mask.sum(axis=1).mean()),  # tokens, EOS included
        }
        if self.other is not None:
            unseen = judge_scores(models, [self.other], samples, settings)  # (1, B)
            row["held_out"] = float(unseen.mean())
            row["minimum"] = float(ensemble_minimum(scores).mean())
            row["disagreement"] = disagreement(scores)
        self.rows.append(row)
        said = []
        for place in (0, len(task.questions) - 1):
            answer = answers[place]
            gold = task.world.naturalness(answer.prompt, answer.text, answer.finished)
            learned = round(float(scores[0, place]), 2)
            said.append([answer.prompt, answer.text, learned, round(gold, 2)])
        self.sentences.append(said)


def run_ppo_row(task, settings, judges, point, seed):
    """One training (point.method is ONE or MINIMUM) -> curves {figure: list over the checkpoints},
    the sentences at each."""
    rng, look_rng = (np.random.default_rng([seed, use, point.trial]) for use in (74, 75))
    models = models_of(task.sft, judges.members[0])
    limit, prompts = task.sft.extra["max_new_tokens"], encode_prompts(task.sft, task.questions)
    ppo = replace(settings.ppo, kl_coef=point.price, max_new_tokens=limit)
    settings = replace(settings, ppo=ppo)
    if point.price == 0:  # there stopping early is tried
        seen = Checkpoints(task, settings, models, judges.members, judges.other, look_rng)
    else:
        seen = Checkpoints(task, settings, models, judges.members[:1], None, look_rng)
    scored_by = judges.members if point.method == MINIMUM else judges.members[:1]
    hooks = PPOHooks(score=MinimumScore(scored_by))
    between = Between(seen.look, ppo.iterations)
    train_ppo(models, prompts, ppo, rng, hooks, progress=between.steps)
    curves = {name: [short(looked[name]) for looked in seen.rows] for name in seen.rows[0]}
    return curves, seen.sentences


# ---- the experiment -------------------------------------------------------------------------


def wanted_points(settings, trials):
    """-> list of Points, one group of reward models after the other."""
    methods = [(ONE, price) for price in settings.prices] + [(MINIMUM, 0.0), (BEST, 0.0)]
    wanted = []
    for trial in range(trials):
        for labels in settings.labels:
            for method, price in methods:
                wanted.append(Point(labels=labels, trial=trial, method=method, price=price))
    return wanted


def run_row(task, settings, judges, point, seed):
    """One training or one best-of-n -> dict."""
    start = task.pool.share @ judges.pool_scores / len(task.questions)
    figures = point._asdict() | {"score_at_start": short(start)}
    if point.method == BEST:
        figures["curves"] = best_of_n_points(task.pool, judges.pool_scores, settings.best_of)
        said = best_of_n_sentences(
            task.pool, task.questions, judges.pool_scores, settings.best_of
        )
    else:
        figures["curves"], said = run_ppo_row(task, settings, judges, point, seed)
    if point.trial == 0 and point.price == 0:
        figures["sentences"] = said
    return figures


def run_rows(task, settings, kept, wanted, progress=iter):
    """Run the Points that kept (KeptRows) does not have yet."""
    judges, group = None, None
    for point in progress(kept.missing(wanted)):
        started = time.process_time()
        if group != (point.labels, point.trial):
            group = (point.labels, point.trial)
            judges = train_judges(
                task, point.labels, point.trial, settings.members, kept.about["seed"]
            )
        figures = run_row(task, settings, judges, point, kept.about["seed"])
        kept.keep(figures | {"cpu_seconds": round(time.process_time() - started, 1)})


def run_overoptimization(lang, seed, out, trials, settings=OveroptimizationSettings(),
                         progress=iter):
    """The whole experiment -> dict, also out/overoptimization.json; on the way points.resume.jsonl.

    The people are SIMULATED.
    """
    about = {"lang": lang, "seed": seed}
    kept, wanted = KeptRows(out / KEPT, about, Point), wanted_points(settings, trials)
    task = make_overoptimization_task(lang, seed, out, settings.pool)
    run_rows(task, settings, kept, wanted, progress)
    rows = without(kept.about_points(wanted), about)
    scale = {"mean": task.pool.mean, "deviation": task.pool.deviation}
    results = about | {"trials": trials, "reference": scale, "pool": settings.pool}
    results |= {
        "fits": fits_of(rows, scale, settings.labels),
        "remedies": remedies_of(rows, settings.prices, settings.labels),
        "beside_the_free_path": beside_the_free_path(rows, settings.prices, settings.labels),
        "rows": rows,
    }
    kept.finish(out / "overoptimization.json", results)
    return results
