"""The verbs `frontier`, `ablations`, `overoptimization`, `estimators` and `signals`: their
arguments and their runs.  Each runs one experiment, draws its picture and prints its tables."""

from pathlib import Path

from minirlhf.cli.files import begin
from minirlhf.errors import InputError
from minirlhf.rufus.world import data_folder

EXPERIMENTS = {  # verb: how many --seeds, and of what
    "frontier": (5, "trainings per method and price"),
    "ablations": (3, "trainings per ablation and learning rate"),
    "overoptimization": (5, "trials, each with labels of its own"),
    "estimators": (5, "trials, each with a policy of its own"),
    "signals": (5, "trials, each with labels of its own"),
}
OUT = "runs/{verb}-{lang}-{seed}"


def add_experiment_arguments(parser, verb):
    """Give an ArgumentParser the options of one of EXPERIMENTS."""
    seeds, counted = EXPERIMENTS[verb]
    out = OUT.format(verb=verb, lang="LANG", seed="SEED")
    parser.add_argument("--lang", default="en", help="language of data/ (en)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same figures (0)")
    parser.add_argument("--seeds", type=int, default=seeds, help=f"{counted} ({seeds})")
    parser.add_argument("--out", type=Path, default=Path(out), help=f"folder to write to ({out})")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--fresh", action="store_true", help="throw an interrupted run away")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run_frontier_verb(args, progress):
    from minirlhf.experiments.frontier import figure, run, words

    prepare(args, "frontier")
    settings = run.FrontierSettings(seeds=args.seeds)
    results = run.run_frontier(args.lang, args.seed, args.out, settings, progress("frontier"))
    show(args, "frontier", figure.plot_frontier, results, words.table(results))


def run_ablations_verb(args, progress):
    from minirlhf.experiments.ablations import figure, run, words
    from minirlhf.rufus import pipeline

    prepare(args, "ablations")
    results = run.run_ablations(args.lang, args.seed, args.out, args.seeds, pipeline.PPO,
                                progress("ablations"))
    showed = "What the runs of seed 0, three trials each, showed (benchmarks/ablations_*.json):"
    lines = [*words.table(results), "", showed]
    lines += [f"- {sentence}" for sentence in words.sentences(args.lang)]
    show(args, "ablations", figure.plot_ablations, results, lines)


def run_overoptimization_verb(args, progress):
    from minirlhf.experiments.overoptimization import figure, run, words

    prepare(args, "overoptimization")
    results = run.run_overoptimization(args.lang, args.seed, args.out, args.seeds,
                                       run.OveroptimizationSettings(), progress("overoptimization"))
    labels = results["rows"][0]["labels"]
    said = f"What is said along the way, first trial, {labels} rankings, no KL price:"
    lines = [*words.table(results), "", said, *words.sentences(results, labels)]
    show(args, "overoptimization", figure.plot_overoptimization, results, lines)


def run_estimators_verb(args, progress):
    from minirlhf.experiments.kl_estimators import estimators, figure, run, words

    prepare(args, "estimators")
    settings = estimators.EstimatorSettings()
    results = run.run_estimators(args.lang, args.seed, args.out, args.seeds, settings,
                                 progress("estimators"))
    show(args, "estimators", figure.plot_estimators, results, words.table(results))


def run_signals_verb(args, progress):
    from minirlhf.experiments.labels import figure, run, scores_or_rankings, words
    from minirlhf.rufus import pipeline

    prepare(args, "signals")
    settings = scores_or_rankings.LabelSettings()
    results = run.run_labels(args.lang, args.seed, args.out, args.seeds, settings, pipeline.PPO,
                             progress("signals"))
    show(args, "signals", figure.plot_labels, results, words.table(results))


def show(args, name, plot, results, lines):
    """plot(results, lang) -> NAME.png; print what came out, and the names of the files.

    The package runs without matplotlib.
    """
    from minirlhf.plots import save_figure

    wrote = f"{name}.json, {name}.png"
    try:
        save_figure(plot(results, args.lang), args.out / f"{name}.png")
    except ImportError:
        wrote = f"{name}.json (no picture: matplotlib is missing)"
    print("\n".join(lines))
    print(f"wrote {args.out}: {wrote}")


def prepare(args, verb):
    """Check the arguments and make the folder, by default one for the run's language and seed.

    An interrupted run in it is gone on with, thrown away, or an error.
    """
    if args.seeds < 1:
        raise InputError(f"--seeds {args.seeds}: expected 1 or more")
    if not (data_folder(args.lang) / "pretrained.npz").is_file():
        raise InputError(f"--lang {args.lang}: there is no pretrained.npz beside its world.json")
    if args.out == Path(OUT.format(verb=verb, lang="LANG", seed="SEED")):
        args.out = Path(OUT.format(verb=verb, lang=args.lang, seed=args.seed))
    begin(args, ["*.resume.*"])
