"""The verbs `frontier`, `ablations`, `overoptimization`, `estimators` and `signals`: their
arguments and their runs.  __main__.py registers them."""

from pathlib import Path

import numpy as np

from minirlhf.errors import InputError

FRONTIER_OUT = "runs/frontier-LANG-SEED"
ABLATIONS_OUT = "runs/ablations-LANG-SEED"
OVEROPTIMIZATION_OUT = "runs/overoptimization-LANG-SEED"
ESTIMATORS_OUT = "runs/estimators-LANG-SEED"
SIGNALS_OUT = "runs/signals-LANG-SEED"


def add_frontier_arguments(parser):
    """Give an ArgumentParser the options of `frontier`."""
    add_arguments(parser, FRONTIER_OUT, 5, "trainings per method and price")


def add_ablations_arguments(parser):
    """Give an ArgumentParser the options of `ablations`."""
    add_arguments(parser, ABLATIONS_OUT, 3, "trainings per ablation and learning rate")


def add_overoptimization_arguments(parser):
    """Give an ArgumentParser the options of `overoptimization`."""
    add_arguments(parser, OVEROPTIMIZATION_OUT, 5, "trials, each with labels of its own")


def add_estimators_arguments(parser):
    """Give an ArgumentParser the options of `estimators`."""
    add_arguments(parser, ESTIMATORS_OUT, 5, "trials, each with a policy of its own")


def add_signals_arguments(parser):
    """Give an ArgumentParser the options of `signals`."""
    add_arguments(parser, SIGNALS_OUT, 5, "trials, each with labels of its own")


def add_arguments(parser, out, seeds, trainings):
    """The options that all these verbs have.  trainings: what --seeds counts."""
    parser.add_argument("--lang", default="en", help="language of data/ (en)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same figures (0)")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"{trainings} ({seeds})")
    parser.add_argument("--out", type=Path, default=Path(out), help=f"folder to write to ({out})")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--fresh", action="store_true", help="throw an interrupted run away")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run_frontier_verb(args, progress):
    """The whole experiment, its figure and its table."""
    from minirlhf.experiments.frontier.run import FrontierSettings, run_frontier, table

    prepare(args, FRONTIER_OUT)
    settings = FrontierSettings(seeds=args.seeds)
    results = run_frontier(args.lang, args.seed, args.out, settings, progress("frontier"))
    wrote = draw("frontier", results, args)
    print("\n".join(table(results)))
    print(f"wrote {args.out}: {wrote}")


def run_ablations_verb(args, progress, load_world):
    """The whole experiment, its figure, its table and the sentences of the gallery.

    load_world(lang) -> the world whose gold judge counts natural answers, for the figures only.
    """
    from minirlhf.experiments.ablations.run import run_ablations
    from minirlhf.experiments.ablations.words import sentences, table
    from minirlhf.rufus import pipeline

    prepare(args, ABLATIONS_OUT)
    world, bar = load_world(args.lang), progress("ablations")
    results = run_ablations(args.lang, args.seed, args.out, args.seeds, world, pipeline.PPO, bar)
    wrote = draw("ablations", results, args)
    print("\n".join(table(results)))
    print("\nWhat the runs of seed 0, three trials each, showed (benchmarks/ablations_*.json):")
    print("\n".join(f"- {sentence}" for sentence in sentences(args.lang)))
    print(f"wrote {args.out}: {wrote}")


def run_overoptimization_verb(args, progress, load_world, make_annotators, length_lover):
    """The whole experiment, its figure, its tables and what the policy says along the way.

    The last three come from human.py, which this package does not import: the world measures, and
    the simulated annotators rank.
    """
    from minirlhf.experiments.overoptimization.run import OverSettings, run_overoptimization
    from minirlhf.experiments.overoptimization.words import BIASED, sentences, table

    prepare(args, OVEROPTIMIZATION_OUT)
    crowd = make_annotators(np.random.default_rng(args.seed))
    people = {"crowd": crowd, BIASED: [length_lover()]}
    results = run_overoptimization(
        args.lang, args.seed, args.out, args.seeds, load_world(args.lang), people,
        OverSettings(), progress("overoptimization"),
    )
    wrote = draw("overoptimization", results, args)
    print("\n".join(table(results)))
    labels = results["rows"][0]["labels"]
    print(f"\nWhat is said along the way, first trial, {labels} rankings, no KL price:")
    print("\n".join(sentences(results, labels)))
    print(f"wrote {args.out}: {wrote}")


def run_estimators_verb(args, progress):
    """The whole experiment, its figure and its tables."""
    from minirlhf.experiments.kl_estimators.estimators import EstimatorSettings
    from minirlhf.experiments.kl_estimators.run import run_estimators, table

    prepare(args, ESTIMATORS_OUT)
    results = run_estimators(
        args.lang, args.seed, args.out, args.seeds, EstimatorSettings(), progress("estimators")
    )
    wrote = draw("estimators", results, args)
    print("\n".join(table(results)))
    print(f"wrote {args.out}: {wrote}")


def run_signals_verb(args, progress, load_world, make_annotators):
    """The whole experiment, its figure and its tables.  The annotators are simulated."""
    from minirlhf.experiments.labels.run import run_signals, table
    from minirlhf.experiments.labels.scores_or_rankings import SignalSettings
    from minirlhf.rufus import pipeline

    prepare(args, SIGNALS_OUT)
    results = run_signals(
        args.lang, args.seed, args.out, args.seeds, load_world(args.lang), make_annotators,
        SignalSettings(), pipeline.PPO, progress("signals"),
    )
    wrote = draw("signals", results, args)
    print("\n".join(table(results)))
    print(f"wrote {args.out}: {wrote}")


def draw(name, results, args):
    """Draw the figure NAME.png -> the names of the files in args.out, and why one is missing."""
    try:
        from minirlhf.experiments.frontier.figure import (
            plot_frontier,
            plot_gallery,
            plot_overoptimization,
        )
        from minirlhf.experiments.kl_estimators.figure import plot_estimators, plot_signals
        from minirlhf.plots import save_figure

        plots = {"frontier": plot_frontier, "ablations": plot_gallery,
                 "overoptimization": plot_overoptimization, "estimators": plot_estimators,
                 "signals": plot_signals}
        save_figure(plots[name](results, args.lang), args.out / f"{name}.png")
    except ImportError:  # the package runs without matplotlib
        return f"{name}.json (no picture: matplotlib is missing)"
    return f"{name}.json, {name}.png"


def prepare(args, default=None):
    """Check the arguments and make the folder; an interrupted run in it is gone on with, thrown
    away, or an error.

    default: the name of --out that stands for one of the run's language and seed.
    """
    from minirlhf.rufus.world import data_folder

    if args.seeds < 1:
        raise InputError(f"--seeds {args.seeds}: expected 1 or more")
    if not (data_folder(args.lang) / "pretrained.npz").is_file():
        raise InputError(f"--lang {args.lang}: there is no pretrained.npz beside its world.json")
    if default is not None and args.out == Path(default):
        args.out = Path(default.replace("LANG", args.lang).replace("SEED", str(args.seed)))
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {args.out}: cannot be made a folder ({error.strerror})") from None
    left = sorted(args.out.glob("*.resume.*"))
    if args.fresh:
        for path in left:
            path.unlink()
    elif left and not args.resume:
        raise InputError(
            f"{left[0]}: an interrupted run; add --resume to go on or --fresh to start again"
        )
