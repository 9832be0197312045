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

import json
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minirlhf.checkpoint import Model, load_model
from minirlhf.data import (
    read_demonstrations,
    write_jsonl,
    write_text,
)
from minirlhf.experiments.frontier.run import read_points
from minirlhf.experiments.overoptimization.best_of_n_pool import (
    best_of_n_points,
    best_of_n_sentences,
    make_pool,
    score_pool,
)
from minirlhf.experiments.overoptimization.ensemble import (
    disagreement,
    ensemble_minimum,
    judge_scores,
    practise,
)
from minirlhf.experiments.overoptimization.words import (
    BEST,
    BIASED,
    MINIMUM,
    ONE,
    SHARE_OF,
    beside_the_free_path,
    fits_of,
    remedies_of,
)
from minirlhf.gpt import with_scalar_head
from minirlhf.rufus.answers import collect_answers, encode_prompts, read_answers, reference_rows
from minirlhf.rufus.measure import judge_answers
from minirlhf.rufus.people import rank_answers
from minirlhf.rufus.pipeline import (
    ANSWERS,
    DEMONSTRATIONS,
    LANGUAGE_MODEL,
    PPO,
    REWARD,
    Run,
    run_sft,
)
from minirlhf.rufus.world import data_folder
from minirlhf.step2_reward_model import (
    encode_rankings,
    normalise_scores,
    score_rows,
    train_reward_model,
)
from minirlhf.step3_ppo import PPOModels, PPOSettings, make_rollout

HARD = replace(PPO, iterations=50, learning_rate=1e-3, schedule="constant")
COLLECTED = 1200  # rankings in each trial: one half to learn from, one to watch PPO


@dataclass(frozen=True, kw_only=True)
class OverSettings:
    """What is run."""

    labels: tuple = tuple(SHARE_OF)
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
    world: object  # the gold judge: it measures
    people: dict  # {"crowd": simulated annotators, BIASED: [one of them]}
    questions: list  # the training questions
    pool: dict  # see make_pool


# ---- labels and reward models ---------------------------------------------------------------


def collect_rankings(task, labels, trial, seed):
    """-> rankings to learn from, as many others.  Both kinds of people rank the same answers."""
    rng = np.random.default_rng([seed, 70, trial])
    prompts = (task.questions * -(-COLLECTED // len(task.questions)))[:COLLECTED]
    models = {"pretrained": task.pretrained, "sft": task.sft}
    collected = collect_answers(models, prompts, ANSWERS, rng)
    who = BIASED if labels == BIASED else "crowd"
    rankings = rank_answers(task.world, collected, task.people[who], rng)
    n, half = SHARE_OF[labels], len(rankings) // 2
    return rankings[:n], rankings[half : half + n]


def train_judge(sft, rankings, rng, settings=REWARD):
    """A reward model on rankings, started from sft (Model) -> Params, normalised as in step 2."""
    params = with_scalar_head(sft.params, sft.config, rng)
    encoded = encode_rankings(sft.tokenizer, rankings, sft.config.block_size)
    train_reward_model(params, sft.config, encoded, settings, rng)
    prompts = sorted({ranking.prompt for ranking in rankings})
    normalise_scores(params, score_rows(params, sft.config, reference_rows(sft, prompts, rng)))
    return params


def train_judges(task, labels, trial, members, seed):
    """-> list of `members` Params from the same rankings, one more from as many other rankings."""
    mine, others = collect_rankings(task, labels, trial, seed)
    judges = []
    for member in range(members):
        rng = np.random.default_rng([seed, 71, trial, member])
        judges.append(train_judge(task.sft, mine, rng))
    return judges, train_judge(task.sft, others, np.random.default_rng([seed, 72, trial]))


# ---- PPO ------------------------------------------------------------------------------------


def run_ppo_row(task, settings, judges, other, method, price, rng, look_rng):
    """One training -> dict of lists over the checkpoints; the sentences at each.

    rng trains, look_rng asks at the checkpoints.
    """
    models = PPOModels(
        task.sft.params.copy(), task.sft.params, judges[0], judges[0].copy(),
        task.sft.config, task.sft.config,
    )
    limit = task.sft.extra["max_new_tokens"]
    ppo = replace(settings.ppo, kl_coef=price, max_new_tokens=limit)
    prompts = encode_prompts(task.sft, task.questions)
    rows, sentences = [], []
    scored_by = judges if method == MINIMUM else judges[:1]
    watchers, held_out = (judges, other) if price == 0 else (judges[:1], None)  # stopping is tried
    for done in practise(models, scored_by, prompts, ppo, rng):
        if done in settings.checkpoints:
            row, said = look(task, models, watchers, held_out, settings.per_question, ppo, look_rng)
            rows.append({"iteration": done} | row)
            sentences.append(said)
    curves = {}
    for name in rows[0]:
        curves[name] = [float(f"{row[name]:.4g}") for row in rows]
    return curves, sentences


def look(task, models, judges, other, per_question, ppo, rng):
    """The policy at a checkpoint -> figures, the first answer to the first and last question."""
    questions = task.questions * per_question
    rollout = make_rollout(models, encode_prompts(task.sft, questions), 0.0, ppo, rng)
    answers = read_answers(task.sft.tokenizer, questions, rollout)
    verdict = judge_answers(task.world, answers)
    scores = judge_scores(models, judges, rollout, ppo.missing_eos_score)  # (M, B)
    figures = {
        "kl": float(rollout.exact_kl.sum(axis=1).mean()),
        "score": float(scores[0].mean()),
        "naturalness": verdict.naturalness,
        "natural": verdict.natural,
        "length": float(rollout.response_mask.sum(axis=1).mean()),
    }
    if other is not None:
        held_out = judge_scores(models, [other], rollout, ppo.missing_eos_score)  # (1, B)
        figures["held_out"] = float(held_out.mean())
        figures["minimum"] = float(ensemble_minimum(scores).mean())
        figures["disagreement"] = disagreement(scores)
    said = []
    for row in (0, len(task.questions) - 1):
        gold = task.world.naturalness(questions[row], answers[row].text, answers[row].finished)
        said.append([questions[row], answers[row].text, round(float(scores[0, row]), 2),
                     round(gold, 2)])
    return figures, said


# ---- the experiment -------------------------------------------------------------------------


def make_task(lang, seed, out, world, people, pool):
    """The reference, from the bundled model and demonstrations -> Task.  Writes out/sft.npz."""
    folder = data_folder(lang)
    pretrained = load_model(folder / "pretrained.npz", LANGUAGE_MODEL)
    demonstrations = read_demonstrations(folder / "sft.jsonl")[:DEMONSTRATIONS]
    sft, _ = run_sft(pretrained, demonstrations, Run(out=out, seed=seed))
    questions = world.questions("train")
    answers = make_pool(sft, world, questions, pool, np.random.default_rng([seed, 73]))
    return Task(sft, pretrained, world, people, questions, answers)


def wanted_rows(settings, trials):
    """-> list of (labels, trial, method, price), one group of reward models after the other."""
    rows = []
    for trial in range(trials):
        for labels in settings.labels:
            rows += [(labels, trial, ONE, price) for price in settings.prices]
            rows += [(labels, trial, MINIMUM, 0.0), (labels, trial, BEST, 0.0)]
    return rows


def run_row(task, settings, judges, other, pool_scores, key, seed):
    """One training or one best-of-n -> dict.  key: one of wanted_rows; pool_scores (M,)."""
    labels, trial, method, price = key
    start = task.pool["share"] @ pool_scores / len(task.questions)
    row = {"labels": labels, "trial": trial, "method": method, "price": price}
    row["score_at_start"] = float(f"{start:.4g}")
    if method == BEST:
        row["curves"] = best_of_n_points(task.pool, pool_scores, settings.best_of)
        sentences = best_of_n_sentences(task.pool, task.questions, pool_scores, settings.best_of)
    else:
        generators = [np.random.default_rng([seed, use, trial]) for use in (74, 75)]
        row["curves"], sentences = run_ppo_row(
            task, settings, judges, other, method, price, *generators
        )
    if trial == 0 and price == 0:
        row["sentences"] = sentences
    return row


def run_rows(task, settings, trials, about, path, progress=iter):
    """Run the rows that are not in the file yet, keeping each at once -> list of dicts.

    about: dict, written into every row.  Raises InputError if the file holds another run's.
    """
    done = read_points(path, about)
    wanted = wanted_rows(settings, trials)
    known = {(row["labels"], row["trial"], row["method"], row["price"]) for row in done}
    group = None
    for key in progress([key for key in wanted if key not in known]):
        started = time.process_time()
        if group != key[:2]:
            group = key[:2]  # labels, trial
            judges, other = train_judges(task, *group, settings.members, about["seed"])
            pool_scores = score_pool(task.sft, judges[0], task.pool)  # (M,)
        row = run_row(task, settings, judges, other, pool_scores, key, about["seed"])
        row["cpu_seconds"] = round(time.process_time() - started, 1)
        done.append(about | row)
        write_jsonl(path, done)
    return [r for r in done if (r["labels"], r["trial"], r["method"], r["price"]) in wanted]


def run_overoptimization(lang, seed, out, trials, world, people, settings=OverSettings(),
                         progress=iter):
    """The whole experiment -> dict, also out/overoptimization.json; on the way points.resume.jsonl.

    world measures.  people: {"crowd": list of simulated annotators, "biased": list of them}.
    """
    task = make_task(lang, seed, out, world, people, settings.pool)
    about, kept = {"lang": lang, "seed": seed}, out / "points.resume.jsonl"
    rows = run_rows(task, settings, trials, about, kept, progress)
    scale = {name: float(task.pool[name]) for name in ("mean", "deviation")}
    for row in rows:
        for name in about:
            del row[name]
    results = about | {"trials": trials, "reference": scale, "pool": settings.pool}
    results |= {
        "fits": fits_of(rows, scale, settings.labels),
        "remedies": remedies_of(rows, settings.prices, settings.labels),
        "beside_the_free_path": beside_the_free_path(rows, settings.prices, settings.labels),
        "rows": rows,
    }
    text = json.dumps(results, ensure_ascii=False) + "\n"
    write_text(out / "overoptimization.json", text)
    kept.unlink(missing_ok=True)
    return results
