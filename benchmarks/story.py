# ruff: noqa: E402  (the BLAS threads must be set before NumPy is imported)
"""The story on several seeds, in both languages: does it work always, and where does it break?

    python benchmarks/story.py --seeds 5 --out runs/story

Runs the whole demo for every seed and language, and once more PPO without the KL term against a
reward model that has seen only 50 rankings: there the learned score should rise while the gold
judge's naturalness does not.  Writes story.json and the pictures of naturalness and of PPO's
dashboard over the seeds; `python docs/make_results.py` makes docs/results/story.md of the committed
one.  About two minutes per seed and language on two cores.
"""

import argparse
import contextlib
import io
import json
import os
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before NumPy is imported

import dataclasses

import numpy as np

from minirlhf import plots
from minirlhf.checkpoint import load_model
from minirlhf.data import read_jsonl, read_rankings, write_text
from minirlhf.rufus.demo import all_rounds, run_demo
from minirlhf.rufus.measure import reward_accuracy
from minirlhf.rufus.pictures import plot_naturalness
from minirlhf.rufus.pipeline import (
    LANGUAGE_MODEL,
    PPO,
    REWARD_MODEL,
    Run,
    no_progress,
    run_ppo,
    run_reward,
)
from minirlhf.rufus.world import World

FEW = 50  # rankings of the weak reward model


def one_seed(lang, seed, out):
    """-> the demo's summary, its PPO history and the history of the run without KL."""
    folder = out / f"{lang}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "summary.json"
    if not done.exists():
        with contextlib.redirect_stdout(io.StringIO()):
            run_demo(lang, seed, folder, no_progress)
    summary = json.loads(done.read_text(encoding="utf-8"))
    first = load_model(folder / "reward_model_1.npz", REWARD_MODEL)
    held_out = read_rankings(folder / "rankings_held_out.jsonl")
    summary["first_round"] = reward_accuracy(first, held_out, World.load(lang))["gold"]
    history = all_rounds(folder, "ppo", "iteration")

    weak = folder / "no_kl"
    weak.mkdir(exist_ok=True)
    if not (weak / "ppo.jsonl").exists():
        sft = load_model(folder / "sft.npz", LANGUAGE_MODEL)
        world = World.load(lang)
        rankings = read_rankings(folder / "rankings.jsonl")[:FEW]
        run = Run(out=weak, seed=seed)
        reward_model, _ = run_reward(sft, rankings, run)
        settings = dataclasses.replace(PPO, kl_coef=0.0)
        run_ppo(sft, reward_model, world.questions("train"), run, settings, world)
    no_kl = [row for _, row in read_jsonl(weak / "ppo.jsonl", {})]
    return summary, history, no_kl


def last(history, name, n=5):
    return float(np.mean([row[name] for row in history[-n:]]))


def hack(no_kl):
    """Score up, and naturalness at the end below where it has been or where it began?"""
    best = max(float(np.mean([row["natural"] for row in no_kl[i : i + 5]])) for i in
               range(len(no_kl) - 4))
    score_rise = last(no_kl, "score") - no_kl[0]["score"]
    end, start = last(no_kl, "natural"), no_kl[0]["natural"]
    return {"score_rise": score_rise, "start": start, "best": best, "end": end,
            "kl_exact": last(no_kl, "kl_exact")}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--langs", nargs="+", default=["en", "zh"])
    parser.add_argument("--out", type=Path, default=Path("runs/story"))
    args = parser.parse_args()
    runs = {}
    for lang in args.langs:
        runs[lang] = []
        for seed in range(args.seeds):
            runs[lang].append(one_seed(lang, seed, args.out))
            s = runs[lang][-1][0]
            print(f"{lang} {seed}: PPO {s['ppo']['natural_train']:.3f} "
                  f"{s['ppo']['natural_held_out']:.3f}, reward model "
                  f"{s['reward_model']['accuracy_held_out']:.3f}, {s['seconds']['total']:.0f} s, "
                  f"without KL {hack(runs[lang][-1][2])}", flush=True)
        naturalness = {}
        for name in ("pretrained", "sft", "ppo"):
            summaries = [summary for summary, _, _ in runs[lang]]
            naturalness[name] = {
                "train": [s[name]["natural_train"] for s in summaries],
                "held_out": [s[name]["natural_held_out"] for s in summaries],
            }
        plots.save_figure(plot_naturalness(naturalness, lang),
                          args.out / f"naturalness_{lang}.png")
        plots.save_figure(plots.plot_dashboard([history for _, history, _ in runs[lang]], lang),
                          args.out / f"ppo_dashboard_{lang}.png")
    write_text(args.out / "story.json", json.dumps(
        {lang: [{"summary": s, "no_kl": hack(n)} for s, _, n in results]
         for lang, results in runs.items()}, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
