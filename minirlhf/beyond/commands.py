"""The verb `frontier`: its arguments and its run.  __main__.py registers it."""

from pathlib import Path

from minirlhf.errors import InputError

OUT = "runs/frontier-LANG-SEED"


def add_frontier_arguments(parser):
    """Give an ArgumentParser the options of `frontier`."""
    parser.add_argument("--lang", default="en", help="language of data/ (en)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same figures (0)")
    parser.add_argument("--seeds", type=int, default=5, help="trainings per method and price (5)")
    parser.add_argument("--out", type=Path, default=Path(OUT), help=f"folder to write to ({OUT})")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--fresh", action="store_true", help="throw an interrupted run away")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run_frontier_verb(args, progress):
    """The whole experiment, its figure and its table."""
    from minirlhf.beyond.frontier import FrontierSettings, run_frontier, table
    from minirlhf.pipeline import data_folder
    from minirlhf.plots import save_figure

    if args.seeds < 1:
        raise InputError(f"--seeds {args.seeds}: expected 1 or more")
    if not (data_folder(args.lang) / "pretrained.npz").is_file():
        raise InputError(f"--lang {args.lang}: there is no pretrained.npz beside its world.json")
    if args.out == Path(OUT):
        args.out = Path(f"runs/frontier-{args.lang}-{args.seed}")
    prepare(args)
    settings = FrontierSettings(seeds=args.seeds)
    results = run_frontier(args.lang, args.seed, args.out, settings, progress("frontier"))
    try:
        from minirlhf.beyond.pictures import plot_frontier

        save_figure(plot_frontier(results, args.lang), args.out / "frontier.png")
        wrote = "frontier.json, frontier.png"
    except ImportError:  # the package runs without matplotlib
        wrote = "frontier.json (no picture: matplotlib is missing)"
    print("\n".join(table(results)))
    print(f"wrote {args.out}: {wrote}")


def prepare(args):
    """Make the folder; an interrupted run in it is gone on with, thrown away, or an error."""
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
