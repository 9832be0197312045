"""The experiment: every method on one plane, expected score against KL, with the exact answer.

One reference (the SFT model of the bundled small pretrained model), one reward model (from the
bundled rankings of simulated annotators), one set of questions: the first six training questions,
five of them about Rufus, so few that the exact optimum can be computed.  Only the policy's training
differs, and its seed.  Every method that samples may sample `answers` answers in all; DPO and IPO
get as many answers, as pairs.  Best-of-n needs no training: its point is computed.

`python -m minirlhf frontier` runs it and writes frontier.json and frontier.png.  The points are
kept one by one in points.resume.jsonl, so an interrupted run goes on where it was.
"""

import json
import time
from dataclasses import dataclass, replace

import numpy as np

from minirlhf.beyond.best_of_n import (
    RejectionSettings,
    best_of_n_distribution,
    best_of_n_kl,
    best_of_n_kl_bound,
    score_samples,
    train_rejection_sampling,
)
from minirlhf.beyond.dpo import DPOSettings, make_pairs, train_dpo
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
from minirlhf.beyond.policy_gradient import PolicyGradientSettings, train_policy_gradient
from minirlhf.checkpoint import load_model
from minirlhf.data import (
    read_demonstrations,
    read_jsonl,
    read_prompts,
    read_rankings,
    write_jsonl,
    write_text,
)
from minirlhf.errors import InputError
from minirlhf.rufus.answers import encode_prompts
from minirlhf.rufus.pipeline import DEMONSTRATIONS, LANGUAGE_MODEL, Run, run_reward, run_sft
from minirlhf.rufus.world import data_folder
from minirlhf.sample import sample
from minirlhf.step3_ppo import PPOModels, PPOSettings, train_ppo

QUESTIONS = 6
MISSING_EOS_SCORE = -1.0  # the default of every method's settings
METHODS = (
    "PPO", "RLOO", "REINFORCE", "GRPO", "Dr. GRPO", "DPO", "IPO", "rejection sampling",
)
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


# ---- the task -------------------------------------------------------------------------------


def make_task(lang, seed, out):
    """-> models (PPOModels, the policy still the reference), prompts (ids), questions, limit."""
    folder = data_folder(lang)
    model = load_model(folder / "pretrained.npz", LANGUAGE_MODEL)
    demonstrations = read_demonstrations(folder / "sft.jsonl")[:DEMONSTRATIONS]
    run = Run(out=out, seed=seed)
    sft, _ = run_sft(model, demonstrations, run)
    reward_model, _ = run_reward(sft, read_rankings(folder / "rankings.jsonl"), run)
    questions = read_prompts(folder / "prompts.jsonl", "train")[:QUESTIONS]
    models = PPOModels(
        sft.params, sft.params, reward_model.params, reward_model.params, sft.config, sft.config
    )
    return models, encode_prompts(sft, questions), questions, sft.extra["max_new_tokens"], sft


def fresh(models):
    """PPOModels -> the same with a policy and a value model of their own, ready to be trained."""
    return models._replace(policy=models.ref_policy.copy(), value_model=models.reward_model.copy())


# ---- training -------------------------------------------------------------------------------


def settings_of(method, price, limit, answers):
    """The settings of one method at one price (beta, tau or n).

    Chosen once, on other seeds than the experiment's, and the same for every price.
    """
    if method == "PPO":
        return PPOSettings(
            iterations=answers // 48, rollout_size=48, minibatch_size=24, ppo_epochs=2,
            learning_rate=5e-4, kl_coef=price, max_new_tokens=limit,
        )
    if method in ("DPO", "IPO"):
        return DPOSettings(
            loss=method.lower(), beta=price, pairs=answers // 2, steps=answers // 64,
            batch_size=64, learning_rate=3e-4, max_new_tokens=limit,
        )
    if method == "rejection sampling":
        return RejectionSettings(n=price, questions=answers // price, max_new_tokens=limit)
    settings = PolicyGradientSettings(
        iterations=answers // 48, rollout_size=48, kl_coef=price, max_new_tokens=limit
    )
    if method == "GRPO":
        return replace(settings, method="grpo", learning_rate=3e-4)
    if method == "Dr. GRPO":
        return replace(
            settings, method="grpo", learning_rate=3e-4, divide_by_std=False, per_response=False
        )
    return replace(settings, method=method.lower())


def train_method(method, models, prompts, settings, rng):
    """Train models.policy in place with one of METHODS."""
    if method == "PPO":
        train_ppo(models, prompts, settings, rng)
    elif method in ("DPO", "IPO"):
        train_dpo(models, make_pairs(models, prompts, settings, rng), settings, rng)
    elif method == "rejection sampling":
        train_rejection_sampling(models, prompts, settings, rng)
    else:
        train_policy_gradient(models, prompts, settings, rng)


def prices_of(method, settings):
    """FrontierSettings -> the values of beta, tau or n that a method is run with."""
    return settings.kept_of if method == "rejection sampling" else settings.betas


def run_point(task, method, price, trial, settings, seed):
    """One training and its exact measurement -> dict of figures.

    The random generator depends on the point alone, so points can be run in any order.
    """
    models, prompts, limit = task
    rng = np.random.default_rng([seed, METHODS.index(method), round(1000 * price), trial])
    models = fresh(models)
    started = time.process_time()
    chosen = settings_of(method, price, limit, settings.answers)
    train_method(method, models, prompts, chosen, rng)
    seconds = time.process_time() - started
    outcomes = []
    for prompt in prompts:
        outcomes.append(
            measure_policy(
                models,
                prompt,
                limit,
                MISSING_EOS_SCORE,
                settings.policy_smallest,
                settings.policy_samples,
                rng,
            )
        )
    row = {"method": method, "price": price, "trial": trial, "cpu_seconds": seconds}
    row |= mean_outcome(outcomes)._asdict()
    return row | {"kl_per_prompt": [outcome.kl for outcome in outcomes]}


def read_points(path, about):
    """The points that an interrupted run has kept -> list of dicts, empty if there is no file.

    about: {"lang", "seed", ..}, which stands in every point.  Raises InputError if the file holds
    another run's.
    """
    if not path.exists():
        return []
    done = [row for _, row in read_jsonl(path, {"lang": str, "seed": int})]
    if any({name: row.get(name) for name in about} != about for row in done):
        raise InputError(f"{path}: holds points of another run; --fresh throws them away")
    return done


def run_points(task, settings, about, path, progress=iter):
    """Run the points that are not in the file yet, keeping each at once -> list of dicts.

    about: {"lang", "seed", "answers"}, written into every point.  Raises InputError: read_points.
    """
    done = read_points(path, about)
    known = {(row["method"], row["price"], row["trial"]) for row in done}
    wanted = []
    for trial in range(settings.seeds):
        for method in METHODS:
            wanted += [(method, price, trial) for price in prices_of(method, settings)]
    missing = [point for point in wanted if point not in known]
    for method, price, trial in progress(missing):
        row = run_point(task, method, price, trial, settings, about["seed"])
        done.append(about | row)
        write_jsonl(path, done)
    return [row for row in done if (row["method"], row["price"], row["trial"]) in wanted]


# ---- what is known without training ---------------------------------------------------------


def exact_part(task, settings, seed):
    """-> worlds (list of PromptWorld), dict with the optimum, best-of-n and importance sampling."""
    models, prompts, limit = task
    worlds = explore(
        models, prompts, limit, MISSING_EOS_SCORE, settings.uncovered, settings.smallest
    )
    rng = np.random.default_rng([seed, 99])
    optima = [optimum(worlds, beta)._asdict() for beta in (*CURVE, *settings.betas)]
    best, reference = [], []
    for world in worlds:
        probs, scores = with_sampled_rest(models, world, limit, MISSING_EOS_SCORE, 4000, rng)
        for n in settings.best_of:
            reward = float(best_of_n_distribution(probs, scores, n) @ scores)
            best.append((n, reward, best_of_n_kl(probs, scores, n)))
        samples = sample(models.ref_policy, models.config, [world.prompt] * 1000, limit, rng)
        reference.append(score_samples(models, samples, MISSING_EOS_SCORE))  # (1000,)
    rows = []
    for i, n in enumerate(settings.best_of):
        _, reward, kl = np.mean(best[i :: len(settings.best_of)], axis=0).tolist()
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
    known = {"reference": start, "optima": optima, "best_of_n": rows}
    return worlds, known | {"importance_sampling": estimates}


def describe(worlds, questions, sft):
    """list of PromptWorld -> list of dicts: how much was found, and the best that was found."""
    rows = []
    for world, question in zip(worlds, questions):
        best = int(world.scores.argmax())
        example = world.texts.examples[best]
        rows.append(
            {
                "question": question,
                "answers_found": len(world.scores),
                "uncovered": world.texts.uncovered,
                "smallest": world.texts.smallest,
                "highest_possible_score": world.highest,
                "highest_score": float(world.scores[best]),
                "highest_answer": sft.tokenizer.decode(example.ids[example.prompt_length : -1]),
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
                    values = [p[name] for p in group]
                    row[name] = float(np.mean(values))
                    row[f"{name}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            rows.append(row)
    return rows


def run_frontier(lang, seed, out, settings=FrontierSettings(), progress=iter):
    """The whole experiment -> dict, also out/frontier.json; on the way out/points.resume.jsonl."""
    models, prompts, questions, limit, sft = make_task(lang, seed, out)
    task = (models, prompts, limit)
    worlds, exact = exact_part(task, settings, seed)
    about = {"lang": lang, "seed": seed, "answers": settings.answers}
    kept = out / "points.resume.jsonl"
    points = run_points(task, settings, about, kept, progress)
    optima = [optimum(worlds, beta) for beta in (*CURVE, *settings.betas)]
    compare(points, worlds, optima)
    results = about | {"questions": describe(worlds, questions, sft)} | exact
    results |= {"summary": summarise(points), "points": points}
    write_text(out / "frontier.json", json.dumps(results, ensure_ascii=False, indent=1) + "\n")
    kept.unlink(missing_ok=True)
    return results


def table(results):
    """Results of run_frontier -> the lines of the table in Markdown."""
    lines = [
        "| method | beta, tau or n | score | KL (nats) | below the frontier | regret (nats) |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["summary"]:
        cells = [row["method"], f"{row['price']:g}"]
        for name in ("reward", "kl", "gap", "regret"):
            known = name in row
            cells.append(f"{row[name]:.3f} ± {row[name + '_sd']:.3f}" if known else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return lines
