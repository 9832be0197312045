"""What an annotator's time buys: scores or rankings, demonstrations or rankings; and what it costs.

    crowd     reward models from scores and from rankings, in five crowds (scores_or_rankings.py)
    minutes   the same minutes of work spent on demonstrations, on rankings, or half and half, and
              how much truth that costs (demonstrations_or_rankings.py)

All annotators are SIMULATED, and their seconds assumed.  `python -m minirlhf signals` runs
everything, and writes signals.json and a picture; parts are kept one by one in points.resume.jsonl.
"""

from dataclasses import asdict
from typing import NamedTuple

import numpy as np

from minirlhf.checkpoint import Model
from minirlhf.data import read_demonstrations, read_prompts
from minirlhf.experiments.labels.demonstrations_or_rankings import WAYS, measure, run_way
from minirlhf.experiments.labels.scores_or_rankings import (
    CROWDS,
    KINDS,
    LabelSettings,
    at_minutes,
    collect_sets,
    exchange_rate,
    gold_rankings,
    run_crowd,
    set_seconds,
)
from minirlhf.experiments.trials import (
    KEPT,
    KeptRows,
    mean_and_sd,
    rounded,
    train_reference,
    without,
)
from minirlhf.rufus.pipeline import PPO
from minirlhf.rufus.world import World, data_folder

MINUTES = (6, 12, 24, 48)  # of work: 12, 24, 48 and 96 demonstrations


class Task(NamedTuple):
    """What all parts share."""

    world: World  # the gold judge: it measures, and the SIMULATED annotators see through it
    pretrained: Model
    sft: Model  # what reward models start from in the crowds; speaks in the sets
    gold: list  # of Ranking, on held-out questions
    questions: dict  # "train" and "held_out" -> list of questions
    demonstrations: list  # of (prompt, response)


class Point(NamedTuple):
    """What tells one row from another."""

    experiment: str  # "crowd" or "minutes"
    crowd: str | None = None  # of CROWDS
    way: str | None = None  # of WAYS
    minutes: int | None = None  # of MINUTES
    trial: int = 0


def make_labels_task(lang, seed, out, held_out):
    """The models and sets that all trials share -> Task.  Writes out/sft.npz."""
    world, folder = World.load(lang), data_folder(lang)
    pretrained, sft = train_reference(lang, seed, out)
    questions = {}
    for split in ("train", "held_out"):
        questions[split] = read_prompts(folder / "prompts.jsonl", split)
    rng = np.random.default_rng([seed, 94])
    models = {"pretrained": pretrained, "sft": sft}
    gold = gold_rankings(world, collect_sets(models, questions["held_out"], held_out, rng))
    demonstrations = read_demonstrations(folder / "sft.jsonl")
    return Task(
        world=world, pretrained=pretrained, sft=sft, gold=gold, questions=questions,
        demonstrations=demonstrations,
    )


def planned(trials):
    """-> list of Points."""
    wanted = []
    for trial in range(trials):
        wanted += [Point("crowd", crowd=crowd, trial=trial) for crowd in CROWDS]
        for minutes in MINUTES:
            wanted += [Point("minutes", way=way, minutes=minutes, trial=trial) for way in WAYS]
    return wanted


def summarise(rows, settings, start):
    """list of rows -> {"crowds", "ways", "pretrained": start}, with floats of four digits.

    crowds: {crowd: {kind: a pair for each number of sets, "exchange": {kind: exchange_rate},
    "at_minutes": {kind: accuracy for the minutes that scoring all sets takes}}}; ways: {way: a dict
    of pairs for each number of minutes}.  A pair is [mean, standard deviation] over trials.
    """
    crowds = {}
    for crowd in CROWDS:
        group = [row["accuracy"] for row in rows if row.get("crowd") == crowd]
        crowds[crowd] = {}
        for kind in KINDS:
            table = np.array([accuracy[kind] for accuracy in group])  # (trials, N)
            crowds[crowd][kind] = [mean_and_sd(list(column)) for column in table.T]
        means = {kind: [pair[0] for pair in crowds[crowd][kind]] for kind in KINDS}
        crowds[crowd]["exchange"] = {
            kind: exchange_rate(settings.sets, means[kind], means["rankings"])
            for kind in KINDS[:3]
        }
        longest = max(settings.sets) * set_seconds("raw scores", settings) / 60
        crowds[crowd]["at_minutes"] = {
            kind: at_minutes(longest, settings.sets, means[kind], set_seconds(kind, settings))
            for kind in KINDS
        }
    ways = {}
    for way in WAYS:
        ways[way] = []
        for minutes in MINUTES:
            group = [r for r in rows if (r.get("way"), r.get("minutes")) == (way, minutes)]
            figures = ("natural_train", "natural_held_out", "true")
            pairs = {name: mean_and_sd([row[name] for row in group]) for name in figures}
            ways[way].append({"minutes": minutes, **pairs})
    return rounded({"crowds": crowds, "ways": ways, "pretrained": start})


def run_labels(lang, seed, out, trials, settings=LabelSettings(), ppo=PPO, progress=iter):
    """The whole experiment -> dict, also out/signals.json; on the way points.resume.jsonl."""
    about = {"lang": lang, "seed": seed}
    kept, wanted = KeptRows(out / KEPT, about, Point), planned(trials)
    task = make_labels_task(lang, seed, out, settings.held_out)
    for part in progress(kept.missing(wanted)):
        if part.experiment == "crowd":
            kept.keep(run_crowd(task, part, settings, seed))
        else:
            kept.keep(run_way(task, part, settings, ppo, seed))
    rows = without(kept.about_points(wanted), about)
    start = measure(task, task.pretrained, np.random.default_rng([seed, 96]))
    results = about | {"trials": trials, "settings": asdict(settings)}
    results |= summarise(rows, settings, start) | {"rows": rows}
    kept.finish(out / "signals.json", results)
    return results
