"""The ablations: PPO with one part taken out or put in wrong, beside the healthy run.

Two regimes, because a careful run forgives much: the settings of the demo ("usual"), and the same
at 4 times the learning rate ("bold").  One reference, one reward model (from rankings by simulated
annotators), all training questions; only PPO's random numbers differ between the trials, and they
begin alike for all ablations.  changes.py has what is changed, words.py says what broke.

`python -m minirlhf ablations` runs it and writes ablations.json and ablations.png.
"""

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minirlhf.data import read_prompts
from minirlhf.experiments.ablations.changes import ABLATIONS, HEALTHY, train
from minirlhf.experiments.trials import KEPT, KeptRows, fresh, make_task, mean_and_sd, short
from minirlhf.ppo_log import rollout_figures
from minirlhf.rufus.answers import encode_prompts
from minirlhf.rufus.measure import GoldWatch
from minirlhf.rufus.pipeline import PPO
from minirlhf.rufus.world import World, data_folder
from minirlhf.sample import sample
from minirlhf.step3_ppo import PPOModels, make_rollout, score_samples

REGIMES = {"usual": 1, "bold": 4}  # times the demo's learning rate
SAMPLES = 420  # answers that a trained policy is measured on
SPOKEN = (  # of a rollout, what speaks of the answers
    "score", "kl_exact", "kl_estimate", "entropy", "response_length", "missing_eos",
)
LEARNED = (  # of an iteration, what speaks of the update
    "explained_variance", "clip_fraction", "ratio_outside", "approx_kl", "policy_grad_norm",
    "value_loss",
)
GOLD = ("naturalness", "natural")  # evaluation only


class Task(NamedTuple):
    """What all runs share."""

    models: PPOModels  # the policy is still the reference
    prompts: list  # of ids, all training questions
    watch: GoldWatch


class Point(NamedTuple):
    """What tells one run from another."""

    regime: str  # of REGIMES
    name: str  # of CHANGES
    trial: int


def make_ablations_task(lang, seed, out):
    """-> Task, the most tokens of an answer.  Writes out/sft.npz and out/reward_model.npz."""
    task = make_task(lang, seed, out)
    questions = read_prompts(data_folder(lang) / "prompts.jsonl", "train")
    prompts = encode_prompts(task.sft, questions)
    watch = GoldWatch(World.load(lang), task.sft.tokenizer)
    return Task(models=task.models, prompts=prompts, watch=watch), task.limit


def run_one(task, point, settings, seed):
    """One training -> dict: its curves, and the trained policy on SAMPLES answers.

    The random numbers depend on the trial alone.
    """
    models = fresh(task.models)
    rng = np.random.default_rng([seed, 60, point.trial])
    faster = replace(settings, learning_rate=REGIMES[point.regime] * settings.learning_rate)
    started = time.process_time()
    history = train(point.name, models, task.prompts, faster, rng, task.watch)
    seconds = time.process_time() - started
    row = point._asdict() | {"cpu_seconds": seconds}
    row["end"] = measure(models, task, settings, np.random.default_rng([seed, 61, point.trial]))
    row["curves"] = {}
    for figure in (*SPOKEN, *GOLD, *LEARNED):
        row["curves"][figure] = [short(iteration[figure]) for iteration in history]
    return row


def measure(models, task, settings, rng):
    """The trained policy on SAMPLES answers -> dict of figures."""
    asked = (task.prompts * -(-SAMPLES // len(task.prompts)))[:SAMPLES]
    samples = sample(models.policy, models.config, asked, settings.max_new_tokens, rng)
    scores = score_samples(models, samples, settings)
    rollout = make_rollout(models, samples, scores, 0.0, settings)
    figures = rollout_figures(rollout, rollout, 0.0)
    end = {figure: figures[figure] for figure in SPOKEN} | task.watch(rollout)
    end["objective"] = end["score"] - settings.kl_coef * end["kl_exact"]
    return end


def wanted_points(trials):
    """-> list of Points, one trial after the other."""
    wanted = []
    for trial in range(trials):
        for regime in REGIMES:
            wanted += [Point(regime, name, trial) for name in (HEALTHY, *ABLATIONS)]
    return wanted


def summarise(runs):
    """list of runs -> one row per regime and ablation: mean and deviation over the trials.

    The end figures; "mean NAME": a curve's mean over the iterations; "first NAME": over the first
    five; "last NAME": over the last five.
    """
    rows = []
    for regime in REGIMES:
        for name in (HEALTHY, *ABLATIONS):
            group = [run for run in runs if (run["regime"], run["name"]) == (regime, name)]
            figures = [all_figures(run) for run in group]
            row = {"regime": regime, "name": name, "trials": len(group)}
            for figure in figures[0]:
                mean, deviation = mean_and_sd([each[figure] for each in figures])
                row[figure], row[f"{figure}_sd"] = short(mean), short(deviation, 3)
            rows.append(row)
    return rows


def all_figures(run):
    """One run -> {figure: number} of its end and its curves."""
    figures = dict(run["end"])
    for figure, curve in run["curves"].items():
        figures[f"mean {figure}"] = float(np.mean(curve))
        figures[f"first {figure}"] = float(np.mean(curve[:5]))
        figures[f"last {figure}"] = float(np.mean(curve[-5:]))
    return figures


def run_ablations(lang, seed, out, trials, settings=PPO, progress=iter):
    """The whole experiment -> dict, also out/ablations.json; on the way out/points.resume.jsonl.

    settings: PPOSettings of the usual regime.  The gold judge measures, for the figures only.
    """
    about = {"lang": lang, "seed": seed}
    kept, wanted = KeptRows(out / KEPT, about, Point), wanted_points(trials)
    task, limit = make_ablations_task(lang, seed, out)
    settings = replace(settings, max_new_tokens=limit)
    for point in progress(kept.missing(wanted)):
        kept.keep(run_one(task, point, settings, seed))
    runs = kept.about_points(wanted)
    results = about | {"trials": trials, "summary": summarise(runs), "runs": runs}
    kept.finish(out / "ablations.json", results)
    return results
