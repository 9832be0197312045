"""The KL estimators measured on policies at several distances from their reference.

A trial is one PPO run with no KL price against a reward model from 50 rankings, so that it leaves
the reference on purpose.  Where its exact KL first passes 0.03, 0.3, 1, 3 and 10 nats is a station.
There every estimator of estimators.py is compared with the exact KL, and the gradient of every use
with the two true gradients.  From the station at 1 nat each use, alone, is then followed for 40
steps: a use that means what it is used for leads back to the reference.

The questions are the first six training questions, as in frontier.py.  A trial has its own reward
model, PPO run and samples.  `python -m minirlhf estimators` runs it and writes estimators.json and
a picture; trials are kept one by one in points.resume.jsonl.
"""

import json
import time
from dataclasses import replace

import numpy as np

from minirlhf.checkpoint import load_model
from minirlhf.data import (
    read_demonstrations,
    read_prompts,
    read_rankings,
    write_jsonl,
    write_text,
)
from minirlhf.experiments.frontier.run import QUESTIONS, read_points
from minirlhf.experiments.kl_estimators.estimators import (
    USES,
    VALUES,
    EstimatorSettings,
    descend,
    exact_kls,
    measure_directions,
    measure_values,
)
from minirlhf.experiments.overoptimization.ensemble import practise
from minirlhf.experiments.overoptimization.run import HARD, train_judge
from minirlhf.rufus.answers import encode_prompts
from minirlhf.rufus.pipeline import DEMONSTRATIONS, LANGUAGE_MODEL, Run, run_sft
from minirlhf.rufus.world import data_folder
from minirlhf.step3_ppo import PPOModels

LABELS = 50  # rankings of the reward model: few, so that PPO wanders far


def run_trial(sft, rankings, questions, settings, trial, seed):
    """One PPO run, stopped at its stations -> {"stations": list, "descents": {use: KLs}}."""
    judge = train_judge(sft, rankings, np.random.default_rng([seed, 80, trial]))
    models = PPOModels(sft.params.copy(), sft.params, judge, judge.copy(), sft.config, sft.config)
    limit, prompts = sft.extra["max_new_tokens"], encode_prompts(sft, questions)
    ppo = replace(HARD, iterations=settings.iterations, kl_coef=0.0, max_new_tokens=limit)
    rng, look = (np.random.default_rng([seed, use, trial]) for use in (81, 82))
    stations, descents = [], {}
    for done in practise(models, [judge], prompts, ppo, rng):
        level = settings.levels[len(stations)]
        kls, error = exact_kls(models, prompts, limit, look)  # (Q,)
        if kls.mean() < level:
            continue
        row = {"level": level, "iteration": done, "kl": float(kls.mean()), "kl_error": error}
        row["value"] = measure_values(models, prompts, limit, settings, kls, look)
        row["direction"] = measure_directions(models, prompts, limit, settings, look)
        stations.append(row)
        if level == settings.descend_from:
            for use in USES:
                descents[use] = descend(use, models, prompts, limit, settings, look)
        if len(stations) == len(settings.levels):
            break
    return {"stations": stations, "descents": descents}


def run_trials(task, settings, trials, about, path, progress=iter):
    """Run the trials that are not in the file yet, keeping each at once -> list of dicts.

    about: {"lang", "seed"}, written into every trial.  Raises InputError if the file holds
    another run's.
    """
    done = read_points(path, about)
    known = {row["trial"] for row in done}
    for trial in progress([trial for trial in range(trials) if trial not in known]):
        started = time.process_time()
        row = run_trial(*task, settings, trial, about["seed"])
        row["cpu_seconds"] = time.process_time() - started
        done.append(about | {"trial": trial} | rounded(row))
        write_jsonl(path, done)
    return [row for row in done if row["trial"] < trials]


def rounded(value):
    """A nest of dicts and lists -> the same with floats of four digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def mean_and_sd(values):
    """list of numbers -> [mean, standard deviation] over trials."""
    return [float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0]


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
    model = load_model(folder / "pretrained.npz", LANGUAGE_MODEL)
    demonstrations = read_demonstrations(folder / "sft.jsonl")[:DEMONSTRATIONS]
    sft, _ = run_sft(model, demonstrations, Run(out=out, seed=seed))
    rankings = read_rankings(folder / "rankings.jsonl")[:LABELS]
    questions = read_prompts(folder / "prompts.jsonl", "train")[:QUESTIONS]
    about, kept = {"lang": lang, "seed": seed}, out / "points.resume.jsonl"
    rows = run_trials((sft, rankings, questions), settings, trials, about, kept, progress)
    for row in rows:
        for name in about:
            del row[name]
    summary = rounded(summarise(rows, settings))
    results = about | {"questions": questions, "steps": list(settings.descents)} | summary
    results |= {"trials": rows}
    write_text(out / "estimators.json", json.dumps(results, ensure_ascii=False) + "\n")
    kept.unlink(missing_ok=True)
    return results


def table(results):
    """Results of run_estimators -> the lines of three tables in Markdown."""
    stations = results["stations"]
    heads = [f"{row['kl'][0]:.2f} nats" for row in stations]
    rule = "|---" * (len(heads) + 1) + "|"
    lines = ["| mean and sd of one answer, exact KL = 1 | " + " | ".join(heads) + " |", rule]
    for name in VALUES:
        cells = []
        for row in stations:
            figures = row["value"][name]
            cells.append(f"{1 + figures['bias'][0]:.2f}, {figures['relative_sd'][0]:.1f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| cosine with grad KL(pi, ref); length | " + " | ".join(heads) + " |", rule]
    for use in USES:
        cells = []
        for row in stations:
            figures = row["direction"][use]
            cells.append(f"{figures['forward'][0]:+.2f}; {figures['size'][0]:.2f}")
        lines.append(f"| {use} | " + " | ".join(cells) + " |")
    heads = [f"{steps} steps" for steps in results["steps"]]
    lines += ["", "| KL when this use alone is followed | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(heads) + 1) + "|")
    for use, pairs in results["descents"].items():
        cells = [f"{mean:.2f} ± {sd:.2f}" for mean, sd in pairs]
        lines.append(f"| {use} | " + " | ".join(cells) + " |")
    return lines
