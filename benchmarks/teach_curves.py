# ruff: noqa: E402  (the BLAS threads must be set before NumPy is imported)
"""Does it really teach?  SIMULATED annotators teach Rufus; the gold judge counts, round by round.

    python benchmarks/teach_curves.py --lang en       # goes on where it stopped
    python benchmarks/teach_curves.py --lang zh
    python benchmarks/teach_curves.py --tell          # tables and pictures from the JSON alone

Every run is a session of teach.py that starts from data/LANG/pretrained.npz.  The annotator a1
gives corrections only, rankings only (and says which answers are unnatural), or both; three others
have another taste.  For comparison: both beside 60 seed labels, and these seed labels alone, with
no word of the annotator.  After some rounds every question is asked several times, training and
held-out ones, and the judge, who is simulated too, says what is natural.  What he says reaches no
update.
Each finished run is kept at once in benchmarks/teach_curves_LANG.json.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before NumPy is imported

import numpy as np

from minirlhf import plots
from minirlhf.data import write_text
from minirlhf.plots import say
from minirlhf.rufus.answers import ask
from minirlhf.teach.learning import (
    TeachSettings,
    first_settings,
    first_state,
    learn,
    load_setup,
    model_of,
)
from minirlhf.teach.records import make_row
from minirlhf.teach.session import open_session
from minirlhf.teach.simulated import TASTES, judge, make_person, pleases

HERE = Path(__file__).parent
PICTURES = HERE.parent / ".github/pictures"
MODES = {
    "corrections": ("correction",),
    "rankings": ("unnatural", "rank"),
    "both": ("unnatural", "rank", "correction"),
}
WITH_SEEDS, SEEDS_ALONE = "both, and seed labels", "seed labels alone"
SEEDS = 60  # rankings of data/LANG/rankings.jsonl, by simulated annotators
AT = (0, 5, 10, 15, 20, 30, 40, 50, 60)  # rounds after which the judge counts
AT_SHORT = (0, 5, 10, 15, 20)
AT_TASTE = (0, 20)
SAMPLES = {"train": 10, "held_out": 35}  # answers to each question: 420 and 420


# ---- one run --------------------------------------------------------------------------------


def measure(setup, model, person, rng):
    """A Model's answers to all questions, training and held-out -> dict of shares.

    pleases: the simulated person would leave the answer as it is (for a1: it is natural).
    true: of the natural answers, those that state the fact.  kinds: different natural answers to
    a training question, of 10.  elsewhere: answers that are natural, but to another question.
    """
    world, figures = person.world, {}
    natural_somewhere = {text for q in world.asked.values() for text in q.references}
    for split, prompts in (("train", setup.taught), ("held_out", setup.untaught)):
        answers = ask(model, prompts * SAMPLES[split], rng)
        liked = [a.finished and pleases(person, a.prompt, a.text) for a in answers]
        natural = [world.naturalness(a.prompt, a.text, a.finished) == 1 for a in answers]
        good = [a for a, fine in zip(answers, natural) if fine]
        elsewhere = [a.text in natural_somewhere and not n for a, n in zip(answers, natural)]
        figures[f"pleases_{split}"] = float(np.mean(liked))
        figures[f"natural_{split}"] = float(np.mean(natural))
        figures[f"elsewhere_{split}"] = float(np.mean(elsewhere))
        if split == "train":
            true = [world.truthful(a.prompt, a.text) is True for a in good]
            figures["true"] = float(np.mean(true)) if true else None
            figures["kinds"] = len({(a.prompt, a.text) for a in good}) / len(prompts)
    return figures


def one_run(lang, who, gives, seed, at=AT, settings=TeachSettings()):
    """A whole session by a SIMULATED person -> its points, list of dict, one for each of `at`."""
    if gives in (WITH_SEEDS, SEEDS_ALONE):
        settings = replace(settings, seed_rankings=SEEDS)
    if gives == SEEDS_ALONE:
        return seeds_alone(lang, seed, at, settings)
    kinds = MODES["both" if gives == WITH_SEEDS else gives]
    person, points, seconds = make_person(who, lang, seed), [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.jsonl"
        session = open_session(path, lang, who, seed, True, settings)
        for number in range(max(at) + 1):
            if number in at:
                rng = np.random.default_rng([seed, number])
                figures = measure(session.setup, session.rufus, person, rng)
                points.append({"round": number, **figures})
            if number < max(at):
                started = time.process_time()
                asked = session.ask()
                for kind, value in judge(person, asked, kinds):
                    session.label(kind, value)
                session.learn()
                session.round = None
                seconds.append(time.process_time() - started)
    points[-1] |= {"seconds": float(np.median(seconds)), "slowest": max(seconds)}
    return points


def seeds_alone(lang, seed, at, settings):
    """Learning from the seed labels alone, as often as after so many rounds -> points as above."""
    person, points = make_person("a1", lang, seed), []
    rows = [make_row("session", 0, "a1", True, 0, settings=first_settings(lang, seed, settings))]
    setup = load_setup(rows, "no file")
    state = first_state(setup)
    for number in range(max(at) + 1):
        if number in at:
            rng = np.random.default_rng([seed, number])
            rufus = model_of(setup, state.policy)
            points.append({"round": number, **measure(setup, rufus, person, rng)})
        rows.append(make_row("learn", number + 1, "a1", True, number + 1))
        if number < max(at):
            state = learn(setup, state, rows, number + 1)
    return points


def planned(seeds):
    """-> list of (who, gives, seed, at): the runs of one language, the most telling first."""
    runs = []
    for seed in range(seeds):
        runs += [("a1", gives, seed, AT) for gives in ("both", "corrections", "rankings")]
    for seed in range(seeds):
        runs += [("a1", gives, seed, AT_SHORT) for gives in (WITH_SEEDS, SEEDS_ALONE)]
        runs += [(taste, "both", seed, AT_TASTE) for taste in TASTES]
    return runs


def read_results(lang):
    """-> {"settings", "runs"} of a language, empty if there is no file yet."""
    path = HERE / f"teach_curves_{lang}.json"
    if not path.exists():
        return {"settings": asdict(TeachSettings()), "runs": []}
    return json.loads(path.read_text(encoding="utf-8"))


def run_all(lang, seeds):
    """The runs of one language that are not in its file yet."""
    for who, gives, seed, at in planned(seeds):
        results = read_results(lang)
        if results["settings"] != asdict(TeachSettings()):
            raise SystemExit("the settings have changed: remove the JSON to measure again")
        done = {(run["who"], run["gives"], run["seed"]) for run in results["runs"]}
        if (who, gives, seed) in done:
            continue
        points = one_run(lang, who, gives, seed, at)
        results["runs"].append({"who": who, "gives": gives, "seed": seed, "points": points})
        text = json.dumps(results, ensure_ascii=False, indent=0) + "\n"
        write_text(HERE / f"teach_curves_{lang}.json", text)
        last = points[-1]
        print(f"{lang} {who} {gives} {seed}: {last['pleases_train']:.2f} "
              f"{last['pleases_held_out']:.2f}", flush=True)


# ---- what it says ---------------------------------------------------------------------------


def select(results, who, gives):
    """-> the points of the runs of one kind, a list for each seed."""
    return [run["points"] for run in sorted(results["runs"], key=seed_of)
            if (run["who"], run["gives"]) == (who, gives)]


def seed_of(run):
    """The seed of a run, to sort by."""
    return run["seed"]


def spread(runs, number, key):
    """Several runs -> the values of `key` after `number` rounds."""
    found = [p[key] for points in runs for p in points if p["round"] == number]
    return [value for value in found if value is not None]


def cell(values, form="{:.1%}"):
    """values -> "median (lowest to highest)"."""
    low, middle, high = min(values), float(np.median(values)), max(values)
    return f"{form.format(middle)} ({form.format(low)} to {form.format(high)})"


def table(all_results):
    """{lang: results} -> markdown: what every way of teaching reaches, then the tastes."""
    ways = (*MODES, WITH_SEEDS, SEEDS_ALONE)
    lines = ["| median (lowest to highest) | rounds | " + " | ".join(ways) + " |"]
    lines.append("|---" * (2 + len(ways)) + "|")
    rows = (("natural, training questions", "pleases_train", "{:.1%}", (0, 20, 60)),
            ("natural, held-out questions", "pleases_held_out", "{:.1%}", (0, 20, 60)),
            ("of the natural: true", "true", "{:.1%}", (0, 20, 60)),
            ("different natural answers of 10", "kinds", "{:.1f}", (0, 60)),
            ("seconds of CPU a round", "seconds", "{:.1f}", (60,)))
    for lang, results in all_results.items():
        for name, key, form, numbers in rows:
            for number in numbers:
                found = [spread(select(results, "a1", gives), number, key) for gives in ways]
                cells = [cell(values, form) if values else "–" for values in found]
                lines.append(f"| {lang}: {name} | {number} | " + " | ".join(cells) + " |")
    lines += ["", "| pleases the taste, before → after 20 rounds | " + " | ".join(
        f"{lang}, {split}" for lang in all_results for split in ("training", "held-out")) + " |"]
    lines.append("|---" * (1 + 2 * len(all_results)) + "|")
    for taste in TASTES:
        cells = []
        for results in all_results.values():
            for split in SAMPLES:
                runs = select(results, taste, "both")
                pair = [spread(runs, number, f"pleases_{split}") for number in AT_TASTE]
                cells.append(" → ".join(map(cell, pair)) if runs else "–")
        lines.append(f"| {taste} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def caption_of(both, lang):
    """Runs with both -> what to see in the picture."""
    seeds = len(both)
    natural = [plots.percent(np.median(spread(both, number, "natural_held_out")))
               for number in (0, 20, 60)]
    true = [plots.percent(np.median(spread(both, number, "true"))) for number in (0, 20, 60)]
    return say(
        lang, f"SIMULATED annotator a1, {seeds} seeds: a thin line each, the bold one is their "
        "median. Dotted: the aims, 80 % within 20 rounds and 95 % within 60. With both, on "
        f"questions that were never taught, {natural[0]} natural answers become {natural[1]} in 20 "
        f"rounds and {natural[2]} in 60. Right: what it costs. The annotator judges how Rufus "
        f"sounds; of the natural answers {true[0]} are true before, {true[1]} after 20 rounds and "
        f"{true[2]} after 60.",
        f"模拟标注者 a1，{seeds} 个随机种子：每个一条细线，粗线是中位数。虚线是目标：20 轮内 80 %，"
        f"60 轮内 95 %。两者都用时，在从未教过的问题上，自然回答从 {natural[0]} 变为 "
        f"20 轮后的 {natural[1]} 和 60 轮后的 {natural[2]}。右图是代价：标注者只看听起来如何，"
        f"自然回答中真实的，之前是 {true[0]}，20 轮后是 {true[1]}，60 轮后是 {true[2]}。")


def plot_curves(results, lang):
    """results of a language -> figure: natural answers against rounds, and what they cost."""
    colours = {"corrections": plots.BLUE, "rankings": plots.RED, "both": plots.INK}
    names = {"corrections": say(lang, "corrections", "只纠正"), "both": say(lang, "both", "两者"),
             "rankings": say(lang, "rankings", "只排序")}
    runs = {gives: select(results, "a1", gives) for gives in MODES}
    panels = (
        ("natural_train", say(lang, "natural, training questions", "训练问题：自然")),
        ("natural_held_out", say(lang, "natural, held-out questions", "留出问题：自然")),
        ("true", say(lang, "of the natural answers: true", "自然回答中真实的")),
    )
    title = say(lang, "Rufus is taught, round by round", "一轮一轮教 Rufus")
    with plots.style():
        fig = plots.card(3.1, title, caption_of(runs["both"], lang))
        for ax, (key, title) in zip(fig.subplots(1, 3), panels):
            plots.frame(ax, title, say(lang, "rounds", "轮"), "", (0, 1.03), True)
            ends = []
            for gives, colour in colours.items():
                height = plots.curves(ax, runs[gives], "round", key, colour)
                ends.append((height, names[gives], colour))
            if key != "true":
                for (left, right), aim in (((0, 20), 0.8), ((20, 60), 0.95)):
                    ax.plot([left, right], [aim, aim], ":", color=plots.GREY, linewidth=1)
            plots.label_ends(ax, ends)
    return fig


def main():
    """Run one language, or tell what the JSON files of both say."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lang", choices=("en", "zh"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tell", action="store_true")
    args = parser.parse_args()
    if args.lang:
        run_all(args.lang, args.seeds)
    if args.tell:
        all_results = {lang: read_results(lang) for lang in ("en", "zh")}
        for lang, results in all_results.items():
            name = "teach_curves.png" if lang == "en" else f"teach_curves_{lang}.png"
            plots.save_figure(plot_curves(results, lang), PICTURES / name)
        print(table(all_results))


if __name__ == "__main__":
    main()
