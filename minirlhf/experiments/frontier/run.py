"""The experiment: every method on one plane, expected score against KL, with the exact answer.

One reference (the SFT model of the bundled small pretrained model), one reward model (from the
bundled rankings of simulated annotators), one set of questions: the first six training questions,
five of them about Rufus, so few that the exact optimum can be computed.  Only the policy's training
differs, and its seed (methods.py).  Best-of-n needs no training: its point is computed.

`python -m minirlhf frontier` runs it and writes frontier.json and frontier.png.  The points are
kept one by one in points.resume.jsonl, so an interrupted run goes on where it was.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirlhf.beyond.best_of_n import best_of_n_distribution, best_of_n_kl, best_of_n_kl_bound
from minirlhf.beyond.optimum import (
    best_reward_at,
    explore,
    log_z_from_samples,
    mean_outcome,
    measure_policy,
    optimum,
    reward_ceiling_at,
    with_sampled_rest,
)
from minirlhf.experiments.frontier.methods import METHODS, settings_of, train_method
from minirlhf.experiments.trials import (
    KEPT,
    MISSING_EOS_SCORE,
    KeptRows,
    fresh,
    make_task,
    mean_and_sd,
)
from minirlhf.sample import sample
from minirlhf.step3_ppo import PPOSettings, score_samples

CURVE = tuple(float(beta) for beta in np.geomspace(0.03, 8, 29))  # where the optimum is computed


@dataclass(frozen=True, kw_only=True)
class FrontierSettings:
    """What is run.  The methods' own settings are in settings_of."""

    betas: tuple = (1.0, 0.5, 0.2, 0.1)  # prices of a nat; tau for IPO
    kept_of: tuple = (2, 4, 8, 16)  # n of rejection sampling
    best_of: tuple = (1, 2, 4, 8, 16, 32, 64)  # n of the exact best-of-n
    seeds: int = 5  # trainings per method and price
    answers: int = 2880  # answers a method may sample in all
    uncovered: float = 0.005  # of the reference, aimed at in the search
    smallest: float = 1e-7  # of the reference: no answer rarer than this is followed
    policy_smallest: float = 1e-5  # of a trained policy
    policy_samples: int = 400  # answers per question that stand for the rest


# ---- training -------------------------------------------------------------------------------


class Point(NamedTuple):
    """One training."""

    method: str  # of METHODS
    price: float  # beta, tau or n
    trial: int


def wanted_points(settings):
    """FrontierSettings -> list of Points, one trial after the other."""
    wanted = []
    for trial in range(settings.seeds):
        for method in METHODS:
            prices = settings.kept_of if method == "rejection sampling" else settings.betas
            wanted += [Point(method, price, trial) for price in prices]
    return wanted


def run_point(task, point, settings, seed):
    """One training and its exact measurement -> dict of figures.

    The random generator depends on the point alone, so points can be run in any order.
    """
    where = METHODS.index(point.method)
    rng = np.random.default_rng([seed, where, round(1000 * point.price), point.trial])
    models = fresh(task.models)
    started = time.process_time()
    chosen = settings_of(point.method, point.price, task.limit, settings.answers)
    train_method(point.method, models, task.prompts, chosen, rng)
    seconds = time.process_time() - started
    outcomes = []
    for prompt in task.prompts:
        outcomes.append(
            measure_policy(
                models, prompt, task.limit, MISSING_EOS_SCORE, settings.policy_smallest,
                settings.policy_samples, rng,
            )
        )
    row = point._asdict() | {"cpu_seconds": seconds} | mean_outcome(outcomes)._asdict()
    return row | {"kl_per_prompt": [outcome.kl for outcome in outcomes]}


# ---- what is known without training ---------------------------------------------------------


def exact_part(task, worlds, settings, seed):
    """list of PromptWorld -> dict: the optimum, best-of-n and importance sampling."""
    models, limit, rng = task.models, task.limit, np.random.default_rng([seed, 99])
    judged = PPOSettings(missing_eos_score=MISSING_EOS_SCORE)
    best, reference = [], []
    for world in worlds:
        probs, scores = with_sampled_rest(models, world, limit, MISSING_EOS_SCORE, 4000, rng)
        rows = []
        for n in settings.best_of:
            reward = float(best_of_n_distribution(probs, scores, n) @ scores)
            rows.append((reward, best_of_n_kl(probs, scores, n)))
        best.append(rows)
        samples = sample(models.ref_policy, models.config, [world.prompt] * 1000, limit, rng)
        reference.append(score_samples(models, samples, judged))  # (1000,)
    rows = []
    for n, (reward, kl) in zip(settings.best_of, np.mean(best, axis=0).tolist()):
        rows.append({"n": n, "reward": reward, "kl": kl, "bound": best_of_n_kl_bound(n)})
    estimates = []
    for beta in CURVE:
        pairs = [log_z_from_samples(scores, beta) for scores in reference]
        log_z, effective = np.mean(pairs, axis=0).tolist()
        estimates.append({"beta": beta, "log_z": log_z, "effective_samples": effective})
    start = []
    for beta in settings.betas:  # the reference itself: KL 0
        distance = optimum(worlds, beta).log_z - rows[0]["reward"] / beta
        start.append({"beta": beta, "reward": rows[0]["reward"], "regret": distance})
    optima = [optimum(worlds, beta)._asdict() for beta in (*CURVE, *settings.betas)]
    return {
        "reference": start, "optima": optima, "best_of_n": rows, "importance_sampling": estimates,
    }


def describe(task, worlds):
    """list of PromptWorld -> list of dicts: how much was found, and the best that was found."""
    rows = []
    for world, question in zip(worlds, task.questions):
        best = int(world.scores.argmax())
        example = world.texts.examples[best]
        answer = task.sft.tokenizer.decode(example.ids[example.prompt_length : -1])
        rows.append(
            {
                "question": question,
                "answers_found": len(world.scores),
                "uncovered": world.texts.uncovered,
                "smallest": world.texts.smallest,
                "highest_possible_score": world.highest,
                "highest_score": float(world.scores[best]),
                "highest_answer": answer,
                "highest_logprob": float(world.texts.logprobs[best]),
            }
        )
    return rows


# ---- the comparison -------------------------------------------------------------------------


def compare(points, worlds, optima):
    """Add to each point its distance to the frontier: at the same KL, and for its own beta."""
    by_beta = {row.beta: row for row in optima}
    for row in points:
        row["frontier_reward"], _ = best_reward_at(worlds, row["kl"])
        row["ceiling"] = reward_ceiling_at(optima, row["kl"])
        row["gap"] = row["frontier_reward"] - row["reward"]
        if row["method"] not in ("IPO", "rejection sampling"):  # their price is not a beta
            best = by_beta[row["price"]]
            value = row["reward"] / best.beta - row["kl"]
            row["regret"], row["regret_at_most"] = best.log_z - value, best.log_z_high - value
            row["regret_if_seen"] = best.log_z_seen - value


def summarise(points):
    """list of points -> one row per method and price: means and standard deviations over trials."""
    rows = []
    for method in METHODS:
        for price in sorted({p["price"] for p in points if p["method"] == method}, reverse=True):
            group = [p for p in points if (p["method"], p["price"]) == (method, price)]
            row = {"method": method, "price": price, "trials": len(group)}
            for name in ("reward", "kl", "gap", "regret", "cpu_seconds"):
                if name in group[0]:
                    row[name], row[f"{name}_sd"] = mean_and_sd([p[name] for p in group])
            rows.append(row)
    return rows


def run_frontier(lang, seed, out, settings=FrontierSettings(), progress=iter):
    """The whole experiment -> dict, also out/frontier.json; on the way out/points.resume.jsonl."""
    task = make_task(lang, seed, out)
    about = {"lang": lang, "seed": seed, "answers": settings.answers}
    kept, wanted = KeptRows(out / KEPT, about, Point), wanted_points(settings)
    worlds = explore(
        task.models, task.prompts, task.limit, MISSING_EOS_SCORE, settings.uncovered,
        settings.smallest,
    )
    exact = exact_part(task, worlds, settings, seed)
    for point in progress(kept.missing(wanted)):
        kept.keep(run_point(task, point, settings, seed))
    points = kept.about_points(wanted)
    compare(points, worlds, [optimum(worlds, beta) for beta in (*CURVE, *settings.betas)])
    results = about | {"questions": describe(task, worlds)} | exact
    results |= {"summary": summarise(points), "points": points}
    kept.finish(out / "frontier.json", results, indent=1)
    return results
