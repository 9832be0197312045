"""The KL estimators measured on policies at several distances from their reference.

A trial is one PPO run with no KL price against a reward model from 50 rankings, so that it leaves
the reference on purpose.  Where its exact KL first passes 0.03, 0.3, 1, 3 and 10 nats is a station.
There every estimator of estimators.py is compared with the exact KL, and the gradient of every use
with the two true gradients.  From the station at 1 nat each use, alone, is then followed for 40
steps: a use that means what it is used for leads back to the reference.

The questions are the first six training questions.  A trial has its own reward model, PPO run and
samples.  `python -m minirlhf estimators` runs it and writes estimators.json and a picture; trials
are kept one by one in points.resume.jsonl.
"""

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minirlhf.data import read_prompts, read_rankings
from minirlhf.experiments.kl_estimators.estimators import (
    USES,
    VALUES,
    EstimatorSettings,
    descend,
    exact_kls,
    measure_directions,
    measure_values,
)
from minirlhf.experiments.trials import (
    HARD,
    KEPT,
    QUESTIONS,
    Between,
    KeptRows,
    mean_and_sd,
    models_of,
    rounded,
    train_judge,
    train_reference,
    without,
)
from minirlhf.rufus.answers import encode_prompts
from minirlhf.rufus.world import data_folder
from minirlhf.step3_ppo import train_ppo

LABELS = 50  # rankings of the reward model: few, so that PPO wanders far


class Point(NamedTuple):
    """What tells one row from another."""

    trial: int


class Stations:
    """Measures a policy where its exact KL first passes a level."""

    def __init__(self, models, prompts, limit, settings, rng):
        """models: the PPOModels that are trained.  prompts: list of ids, limit: of an answer."""
        self.models, self.prompts, self.limit = models, prompts, limit
        self.settings, self.rng = settings, rng
        self.rows, self.descents = [], {}

    def look(self, done):
        """Has the policy come to the next station, after `done` iterations?  -> True at the last.

        One station at a time, even where two levels are passed at once.
        """
        models, prompts, limit = self.models, self.prompts, self.limit
        settings, rng = self.settings, self.rng
        level = settings.levels[len(self.rows)]
        kls, error = exact_kls(models, prompts, limit, rng)  # (Q,)
        if kls.mean() < level:
            return False
        row = {"level": level, "iteration": done, "kl": float(kls.mean()), "kl_error": error}
        row["value"] = measure_values(models, prompts, limit, settings, kls, rng)
        row["direction"] = measure_directions(models, prompts, limit, settings, rng)
        self.rows.append(row)
        if level == settings.descend_from:
            for use in USES:
                self.descents[use] = descend(use, models, prompts, limit, settings, rng)
        return len(self.rows) == len(settings.levels)


def run_trial(sft, rankings, questions, settings, trial, seed):
    """One PPO run, stopped at its stations -> {"stations": list, "descents": {use: KLs}}."""
    started = time.process_time()
    models = models_of(sft, train_judge(sft, rankings, np.random.default_rng([seed, 80, trial])))
    limit, prompts = sft.extra["max_new_tokens"], encode_prompts(sft, questions)
    ppo = replace(HARD, iterations=settings.iterations, kl_coef=0.0, max_new_tokens=limit)
    rng, look_rng = (np.random.default_rng([seed, use, trial]) for use in (81, 82))
    found = Stations(models, prompts, limit, settings, look_rng)
    between = Between(found.look, settings.iterations)
    train_ppo(models, prompts, ppo, rng, progress=between.steps)
    row = {"stations": found.rows, "descents": found.descents}
    return {"trial": trial} | rounded(row | {"cpu_seconds": time.process_time() - started})


def summarise(trials, settings):
    """list of trials -> {"stations": a row per level, "descents": {use: a pair per look}}.

    Every figure is [mean, standard deviation] over the trials that came so far.
    """
    rows = []
    for level in settings.levels:
        group = [s for trial in trials for s in trial["stations"] if s["level"] == level]
        if not group:
            continue
        row = {"level": level, "trials": len(group), "kl": mean_and_sd([s["kl"] for s in group])}
        for part, names in (("value", VALUES), ("direction", USES)):
            row[part] = {}
            for name in names:
                figures = group[0][part][name]
                row[part][name] = {
                    key: mean_and_sd([s[part][name][key] for s in group]) for key in figures
                }
        for name in VALUES:  # of the exact KL, so that stations can be compared
            off = [s["value"][name]["mean"] / s["kl"] - 1 for s in group]
            row["value"][name]["bias"] = mean_and_sd(off)
            spread = [s["value"][name]["sd"] / s["kl"] for s in group]
            row["value"][name]["relative_sd"] = mean_and_sd(spread)
        rows.append(row)
    descents = {}
    for use in USES:
        lists = [trial["descents"][use] for trial in trials if trial["descents"]]
        descents[use] = [mean_and_sd(list(kls)) for kls in zip(*lists)]
    return {"stations": rows, "descents": descents}


def run_estimators(lang, seed, out, trials, settings=EstimatorSettings(), progress=iter):
    """The whole experiment -> dict, also out/estimators.json; on the way points.resume.jsonl."""
    folder = data_folder(lang)
    _, sft = train_reference(lang, seed, out)
    rankings = read_rankings(folder / "rankings.jsonl")[:LABELS]
    questions = read_prompts(folder / "prompts.jsonl", "train")[:QUESTIONS]
    about = {"lang": lang, "seed": seed}
    kept, wanted = KeptRows(out / KEPT, about, Point), [Point(number) for number in range(trials)]
    for point in progress(kept.missing(wanted)):
        kept.keep(run_trial(sft, rankings, questions, settings, point.trial, seed))
    rows = without(kept.about_points(wanted), about)
    results = about | {"questions": questions, "steps": list(settings.descents)}
    results |= rounded(summarise(rows, settings)) | {"trials": rows}
    kept.finish(out / "estimators.json", results)
    return results
