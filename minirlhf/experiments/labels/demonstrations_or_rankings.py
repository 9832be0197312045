"""The same minutes of work spent on showing or on judging: which policy is better for it?

    demonstrations   SFT on them, and nothing after it
    rankings         a reward model and PPO, without SFT
    half and half    SFT, then both steps

and of the natural answers of each of these policies, how many are true.  Demonstrations are those
of data/LANG/sft.jsonl, which is why they end at 96.  The seconds of a label are assumed
(LabelSettings), the annotators SIMULATED.
"""

import time
from dataclasses import replace

import numpy as np

from minirlhf.data import Texts, encode_example
from minirlhf.experiments.labels.scores_or_rankings import (
    collect_sets,
    label_sets,
    set_seconds,
    train_on,
)
from minirlhf.experiments.trials import models_of
from minirlhf.rufus.answers import ask, encode_prompts, reference_rows
from minirlhf.rufus.people import make_annotators
from minirlhf.rufus.pipeline import SFT
from minirlhf.step1_language_model import train_language_model
from minirlhf.step2_reward_model import normalise_scores, score_rows
from minirlhf.step3_ppo import train_ppo

WAYS = ("demonstrations", "rankings", "half and half")
SFT_ALONE = replace(SFT, steps=48, learning_rate=1e-3)  # nothing comes after it: to the end
SAMPLES = 10  # answers to each question, when a policy is measured


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
    train_language_model(params, base.config, Texts(training=examples), small, rng)
    return base._replace(params=params)


def taught_by_rankings(task, start, minutes, settings, ppo, seeds):
    """A reward model on as many ranked sets as fit into `minutes`, then PPO from `start` (Model).

    seeds: list of ints.  The sets are answers of `start`.
    """
    count = int(minutes * 60 / set_seconds("rankings", settings))
    rng = np.random.default_rng(seeds)
    people = make_annotators(rng)
    speakers = {"start": start, "again": start}  # asked twice as often, for four different answers
    collected = collect_sets(speakers, task.questions["train"], count, rng)
    labelled = label_sets(task.world, collected, people, 0.0, seeds)
    judge = train_on("rankings", start, labelled, rng)
    rows = reference_rows(start, task.questions["train"], rng, 256)
    normalise_scores(judge, score_rows(judge, start.config, rows))
    models = models_of(start, judge)
    prompts = encode_prompts(start, task.questions["train"])
    train_ppo(models, prompts, replace(ppo, max_new_tokens=start.extra["max_new_tokens"]), rng)
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


def run_way(task, part, settings, ppo, seed):
    """One policy, taught for part.minutes in part.way (one of WAYS) -> dict."""
    started = time.process_time()
    seeds = [seed, 95, part.trial, part.minutes]
    rng = np.random.default_rng([*seeds, 1])
    if part.way == "demonstrations":
        model = taught_by_demonstrations(task, part.minutes, settings, SFT_ALONE, rng)
    elif part.way == "rankings":
        model = taught_by_rankings(task, task.pretrained, part.minutes, settings, ppo, seeds)
    else:
        start = taught_by_demonstrations(task, part.minutes / 2, settings, SFT, rng)
        model = taught_by_rankings(task, start, part.minutes / 2, settings, ppo, seeds)
    row = {"experiment": "minutes", "way": part.way, "minutes": part.minutes, "trial": part.trial}
    row |= measure(task, model, np.random.default_rng([*seeds, 2]))
    return row | {"cpu_seconds": round(time.process_time() - started, 1)}
