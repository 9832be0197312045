"""The verbs `frontier`, `ablations`, `overoptimization`, `estimators` and `signals`: their
arguments and their runs.  Each runs one experiment, draws its picture and prints its tables."""

from pathlib import Path

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
    from minirlhf.experiments.frontier import figure, run, words

    prepare(args, FRONTIER_OUT)
    settings = run.FrontierSettings(seeds=args.seeds)
    results = run.run_frontier(args.lang, args.seed, args.out, settings, progress("frontier"))
    wrote = draw("frontier", figure.plot_frontier, results, args)
    finish(words.table(results), wrote, args)


def run_ablations_verb(args, progress):
    """The whole experiment, its figure, its table, and what broke in sentences."""
    from minirlhf.experiments.ablations import figure, run, words
    from minirlhf.rufus import pipeline

    prepare(args, ABLATIONS_OUT)
    results = run.run_ablations(
        args.lang, args.seed, args.out, args.seeds, pipeline.PPO, progress("ablations")
    )
    wrote = draw("ablations", figure.plot_ablations, results, args)
    showed = "What the runs of seed 0, three trials each, showed (benchmarks/ablations_*.json):"
    lines = [*words.table(results), "", showed]
    lines += [f"- {sentence}" for sentence in words.sentences(args.lang)]
    finish(lines, wrote, args)


def run_overoptimization_verb(args, progress):
    """The whole experiment, its figure, its tables and what the policy says along the way."""
    from minirlhf.experiments.overoptimization import figure, run, words

    prepare(args, OVEROPTIMIZATION_OUT)
    results = run.run_overoptimization(
        args.lang, args.seed, args.out, args.seeds, run.OveroptimizationSettings(),
        progress("overoptimization"),
    )
    wrote = draw("overoptimization", figure.plot_overoptimization, results, args)
    labels = results["rows"][0]["labels"]
    lines = [*words.table(results), ""]
    lines.append(f"What is said along the way, first trial, {labels} rankings, no KL price:")
    finish(lines + words.sentences(results, labels), wrote, args)


def run_estimators_verb(args, progress):
    """The whole experiment, its figure and its tables."""
    from minirlhf.experiments.kl_estimators import estimators, figure, run, words

    prepare(args, ESTIMATORS_OUT)
    settings = estimators.EstimatorSettings()
    results = run.run_estimators(
        args.lang, args.seed, args.out, args.seeds, settings, progress("estimators")
    )
    wrote = draw("estimators", figure.plot_estimators, results, args)
    finish(words.table(results), wrote, args)


def run_signals_verb(args, progress):
    """The whole experiment on labels, its figure and its tables.  The annotators are simulated."""
    from minirlhf.experiments.labels import figure, run, scores_or_rankings, words
    from minirlhf.rufus import pipeline

    prepare(args, SIGNALS_OUT)
    settings = scores_or_rankings.LabelSettings()
    results = run.run_labels(
        args.lang, args.seed, args.out, args.seeds, settings, pipeline.PPO, progress("signals")
    )
    wrote = draw("signals", figure.plot_labels, results, args)
    finish(words.table(results), wrote, args)


def draw(name, plot, results, args):
    """plot(results, lang) -> NAME.png; the names of the files in args.out, and why one is missing.

    The package runs without matplotlib.
    """
    from minirlhf.plots import save_figure

    try:
        save_figure(plot(results, args.lang), args.out / f"{name}.png")
    except ImportError:
        return f"{name}.json (no picture: matplotlib is missing)"
    return f"{name}.json, {name}.png"


def finish(lines, wrote, args):
    """Print what came out, and where it is."""
    print("\n".join(lines))
    print(f"wrote {args.out}: {wrote}")


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
