"""What an annotator's time buys: scores or rankings, demonstrations or rankings; and what it costs.

The experiment of signals.py, and two more on the same models and the same SIMULATED annotators:

    minutes    the same minutes of work spent on demonstrations (SFT on them), on rankings (a reward
               model and PPO, without SFT), or half and half (SFT, then both steps)
    truth      of the natural answers of each of these policies, how many are true

Demonstrations are those of data/LANG/sft.jsonl, which is why they end at 96.  The seconds of a
label are assumed (SignalSettings).  `python -m minirlhf signals` runs everything, and writes
signals.json and a picture; parts are kept one by one in points.resume.jsonl.
"""

import json
import time
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np

from minirlhf.checkpoint import Model, load_model
from minirlhf.data import (
    encode_example,
    read_demonstrations,
    read_prompts,
    write_jsonl,
    write_text,
)
from minirlhf.experiments.frontier.run import read_points
from minirlhf.experiments.kl_estimators.run import mean_and_sd, rounded
from minirlhf.experiments.labels.scores_or_rankings import (
    CROWDS,
    KINDS,
    SignalSettings,
    at_minutes,
    collect_sets,
    exchange_rate,
    gold_rankings,
    label_sets,
    run_crowd,
    set_seconds,
    train_on,
)
from minirlhf.rufus.answers import ask, encode_prompts, reference_rows
from minirlhf.rufus.pipeline import DEMONSTRATIONS, LANGUAGE_MODEL, PPO, SFT, Run, run_sft
from minirlhf.rufus.world import data_folder
from minirlhf.step1_language_model import train_language_model
from minirlhf.step2_reward_model import normalise_scores, score_rows
from minirlhf.step3_ppo import PPOModels, train_ppo

WAYS = ("demonstrations", "rankings", "half and half")
MINUTES = (6, 12, 24, 48)  # of work: 12, 24, 48 and 96 demonstrations
SFT_ALONE = replace(SFT, steps=48, learning_rate=1e-3)  # nothing comes after it: to the end
SAMPLES = 10  # answers to each question, when a policy is measured


class Task(NamedTuple):
    """What all parts share."""

    world: object  # the gold judge: it measures, and the SIMULATED annotators see through it
    make_annotators: object  # function of a generator -> list of SIMULATED annotators
    pretrained: Model
    sft: Model  # what reward models start from in the crowds; speaks in the sets
    gold: list  # of Ranking, on held-out questions
    questions: dict  # "train" and "held_out" -> list of questions
    demonstrations: list  # of (prompt, response)


def make_task(lang, seed, out, world, make_annotators, held_out):
    """The models and sets that all trials share -> Task.  Writes out/sft.npz."""
    folder = data_folder(lang)
    pretrained = load_model(folder / "pretrained.npz", LANGUAGE_MODEL)
    demonstrations = read_demonstrations(folder / "sft.jsonl")
    sft, _ = run_sft(pretrained, demonstrations[:DEMONSTRATIONS], Run(out=out, seed=seed))
    questions = {}
    for split in ("train", "held_out"):
        questions[split] = read_prompts(folder / "prompts.jsonl", split)
    rng = np.random.default_rng([seed, 94])
    models = {"pretrained": pretrained, "sft": sft}
    gold = gold_rankings(world, collect_sets(models, questions["held_out"], held_out, rng))
    return Task(world, make_annotators, pretrained, sft, gold, questions, demonstrations)


# ---- minutes of work ------------------------------------------------------------------------


def taught_by_demonstrations(task, minutes, settings, sft_settings, rng):
    """SFT of the pretrained model on as many demonstrations as are written in `minutes`."""
    count = int(minutes * 60 / settings.write)
    base = task.pretrained
    shown = [task.demonstrations[i] for i in rng.permutation(len(task.demonstrations))[:count]]
    examples = []
    for prompt, text in shown:
        examples.append(encode_example(base.tokenizer, prompt, text, base.config.block_size))
    params = base.params.copy()
    small = replace(sft_settings, batch_size=min(sft_settings.batch_size, len(examples)))
    train_language_model(params, base.config, examples, small, rng)
    return base._replace(params=params)


def taught_by_rankings(task, start, minutes, settings, ppo, seeds):
    """A reward model on as many ranked sets as fit into `minutes`, then PPO from `start` (Model).

    seeds: list of ints.  The sets are answers of `start`.
    """
    count = int(minutes * 60 / set_seconds("rankings", settings))
    rng = np.random.default_rng(seeds)
    people = task.make_annotators(rng)
    speakers = {"start": start, "again": start}  # asked twice as often, for four different answers
    collected = collect_sets(speakers, task.questions["train"], count, rng)
    labelled = label_sets(task.world, collected, people, 0.0, seeds)
    judge = train_on("rankings", start, labelled, rng)
    scores = score_rows(
        judge, start.config, reference_rows(start, task.questions["train"], rng, 256)
    )
    normalise_scores(judge, scores)
    models = PPOModels(
        start.params.copy(), start.params, judge, judge.copy(), start.config, start.config
    )
    prompts = encode_prompts(start, task.questions["train"])
    limited = replace(ppo, max_new_tokens=start.extra["max_new_tokens"])
    train_ppo(models, prompts, limited, rng)
    return start._replace(params=models.policy)


def measure(task, model, rng):
    """A Model -> {"natural_train", "natural_held_out", "true": share of the natural answers to
    training questions that state the fact}, by the gold judge."""
    figures = {}
    for split, questions in task.questions.items():
        answers = ask(model, questions * SAMPLES, rng)
        natural = [task.world.naturalness(a.prompt, a.text, a.finished) == 1 for a in answers]
        figures[f"natural_{split}"] = round(float(np.mean(natural)), 4)
        if split == "train":
            good = [a for a, fine in zip(answers, natural) if fine]
            true = [task.world.truthful(a.prompt, a.text) is True for a in good]
            figures["true"] = round(float(np.mean(true)), 4)
    return figures


def run_way(task, way, minutes, trial, settings, ppo, seed):
    """One policy, taught for `minutes` in one of WAYS -> dict."""
    started = time.process_time()
    seeds = [seed, 95, trial, minutes]
    rng = np.random.default_rng([*seeds, 1])
    if way == "demonstrations":
        model = taught_by_demonstrations(task, minutes, settings, SFT_ALONE, rng)
    elif way == "rankings":
        model = taught_by_rankings(task, task.pretrained, minutes, settings, ppo, seeds)
    else:
        start = taught_by_demonstrations(task, minutes / 2, settings, SFT, rng)
        model = taught_by_rankings(task, start, minutes / 2, settings, ppo, seeds)
    row = {"experiment": "minutes", "way": way, "minutes": minutes, "trial": trial}
    row |= measure(task, model, np.random.default_rng([*seeds, 2]))
    return row | {"cpu_seconds": round(time.process_time() - started, 1)}


# ---- everything -----------------------------------------------------------------------------


def planned(trials):
    """-> list of (experiment, name, minutes, trial)."""
    wanted = []
    for trial in range(trials):
        wanted += [("crowd", crowd, 0, trial) for crowd in CROWDS]
        wanted += [("minutes", way, m, trial) for m in MINUTES for way in WAYS]
    return wanted


def key_of(row):
    """A kept row -> its entry of planned()."""
    if row["experiment"] == "crowd":
        return "crowd", row["crowd"], 0, row["trial"]
    return "minutes", row["way"], row["minutes"], row["trial"]


def run_missing(task, settings, ppo, trials, about, path, progress=iter):
    """Run the parts that are not in the file yet, keeping each at once -> list of dicts.

    about: {"lang", "seed"}.  Raises InputError if the file holds another run's.
    """
    done = read_points(path, about)
    known = {key_of(row) for row in done}
    wanted = planned(trials)
    for experiment, name, minutes, trial in progress([key for key in wanted if key not in known]):
        if experiment == "crowd":
            row = run_crowd(task, name, trial, settings, about["seed"])
        else:
            row = run_way(task, name, minutes, trial, settings, ppo, about["seed"])
        done.append(about | row)
        write_jsonl(path, done)
    return [row for row in done if key_of(row) in wanted]


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


def run_signals(lang, seed, out, trials, world, make_annotators, settings=SignalSettings(),
                ppo=PPO, progress=iter):
    """The whole experiment -> dict, also out/signals.json; on the way points.resume.jsonl."""
    task = make_task(lang, seed, out, world, make_annotators, settings.held_out)
    about, kept = {"lang": lang, "seed": seed}, out / "points.resume.jsonl"
    rows = run_missing(task, settings, ppo, trials, about, kept, progress)
    start = measure(task, task.pretrained, np.random.default_rng([seed, 96]))
    results = about | {"trials": trials, "settings": asdict(settings)}
    results |= summarise(rows, settings, start)
    results["rows"] = [{k: v for k, v in row.items() if k not in about} for row in rows]
    write_text(out / "signals.json", json.dumps(results, ensure_ascii=False) + "\n")
    kept.unlink(missing_ok=True)
    return results


def table(results):
    """Results of run_signals -> the lines of two tables in Markdown."""
    sets = results["settings"]["sets"]
    lines = ["| simulated crowd | labels | " + " | ".join(f"{n} sets" for n in sets)
             + " | sets for one ranked |"]
    lines.append("|---" * (len(sets) + 3) + "|")
    for crowd, row in results["crowds"].items():
        for kind in KINDS:
            cells = [f"{100 * mean:.1f} ± {100 * sd:.1f}" for mean, sd in row[kind]]
            rate = f"{row['exchange'][kind]:.2f}" if kind in row["exchange"] else "1"
            lines.append(f"| {crowd} | {kind} | " + " | ".join(cells) + f" | {rate} |")
    ways = results["ways"]
    heads = [f"{row['minutes']} min" for row in ways[WAYS[0]]]
    lines += ["", "| natural, held-out; of the natural: true | 0 | " + " | ".join(heads) + " |"]
    lines.append("|---" * (len(heads) + 2) + "|")
    start = results["pretrained"]
    before = f"{100 * start['natural_held_out']:.0f}; {100 * start['true']:.0f}"
    for way in WAYS:
        cells = []
        for row in ways[way]:
            natural, true = row["natural_held_out"], row["true"]
            cells.append(f"{100 * natural[0]:.0f} ± {100 * natural[1]:.0f}; {100 * true[0]:.0f}")
        lines.append(f"| {way} | {before} | " + " | ".join(cells) + " |")
    return lines
