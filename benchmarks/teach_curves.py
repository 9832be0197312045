# ruff: noqa: E402  (the BLAS threads must be set before NumPy is imported)
"""Does it really teach?  SIMULATED annotators teach Rufus; the gold judge counts, round by round.

    python benchmarks/teach_curves.py --lang en       # goes on where it stopped
    python benchmarks/teach_curves.py --lang zh
    python benchmarks/teach_curves.py --tell          # the pictures, from the JSON alone

Every run is a session of minirlhf/teach that starts from data/LANG/pretrained.npz.  The annotator
a1 gives corrections only, rankings only (and says which answers are unnatural), or both; three
others have another taste.  For comparison: both beside 60 seed labels, and these seed labels alone,
with no word of the annotator.  After some rounds every question is asked several times, training
and held-out ones, and the judge, who is simulated too, says what is natural.  What he says reaches
no update.
Each finished run is kept at once in benchmarks/teach_curves_LANG.json, of which
`python docs/make_results.py` makes docs/results/teaching.md.
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
from minirlhf.messages import load_messages
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


def caption_of(both, say):
    """Runs with both -> what to see in the picture."""
    values = {"seeds": len(both)}
    for number in (0, 20, 60):
        for name, key in (("natural", "natural_held_out"), ("true", "true")):
            values[f"{name}_{number}"] = plots.percent(np.median(spread(both, number, key)))
    return say(
        "SIMULATED annotator a1, {seeds} seeds: a thin line each, the bold one is their median. "
        "Dotted: the aims, 80 % within 20 rounds and 95 % within 60. With both, on questions that "
        "were never taught, {natural_0} natural answers become {natural_20} in 20 rounds and "
        "{natural_60} in 60. Right: what it costs. The annotator judges how Rufus sounds; of the "
        "natural answers {true_0} are true before, {true_20} after 20 rounds and {true_60} after "
        "60.", **values)


def plot_curves(results, lang):
    """results of a language -> figure: natural answers against rounds, and what they cost."""
    say = load_messages(lang)
    colours = {"corrections": plots.BLUE, "rankings": plots.RED, "both": plots.INK}
    names = {"corrections": say("corrections"), "both": say("both")}
    names["rankings"] = say("only rankings")
    runs = {gives: select(results, "a1", gives) for gives in MODES}
    panels = (
        ("natural_train", say("natural, training questions")),
        ("natural_held_out", say("natural, held-out questions")),
        ("true", say("of the natural answers: true")),
    )
    title = say("Rufus is taught, round by round")
    with plots.style():
        fig = plots.card(3.1, title, caption_of(runs["both"], say))
        for ax, (key, title) in zip(fig.subplots(1, 3), panels):
            plots.frame(ax, title, say("rounds"), "", (0, 1.03), True)
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
    """Run one language, or draw what the JSON files of both say."""
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


if __name__ == "__main__":
    main()
