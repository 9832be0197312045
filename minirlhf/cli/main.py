"""The command line: `python -m minirlhf` lists the verbs, `python -m minirlhf VERB --help` one."""

import os
import shlex
import signal
import sys

import numpy as np

from minirlhf.cli import experiments, steps, talk
from minirlhf.cli.arguments import build_parser
from minirlhf.cli.progress import Interrupt, Progress
from minirlhf.errors import InputError, NotFiniteError

RUN = {
    "demo": steps.run_demo_verb,
    "pretrain": steps.run_pretrain_verb,
    "sft": steps.run_sft_verb,
    "rank": steps.run_rank_verb,
    "reward": steps.run_reward_verb,
    "ppo": steps.run_ppo_verb,
    "chat": talk.run_chat_verb,
    "teach": talk.run_teach_verb,
    "evaluate": steps.run_evaluate_verb,
    "walk": talk.run_walk_verb,
    "frontier": experiments.run_frontier_verb,
    "ablations": experiments.run_ablations_verb,
    "overoptimization": experiments.run_overoptimization_verb,
    "estimators": experiments.run_estimators_verb,
    "signals": experiments.run_signals_verb,
}


def main(argv=None):
    """Parse, run, and turn the errors a user can cause into one line.  -> exit status."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # Chinese on a Windows console
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    if args.verb is None:
        parser.print_help()
        return 0
    interrupt = Interrupt(can_wait=hasattr(args, "resume"))
    signal.signal(signal.SIGINT, interrupt)
    progress = Progress(interrupt, getattr(args, "quiet", False))
    try:
        if getattr(args, "seed", 0) < 0:
            raise InputError(f"--seed {args.seed}: expected 0 or more")
        with np.errstate(all="ignore"):  # NaN and infinity are reported by name, once
            RUN[args.verb](args, progress)
        return 0
    except KeyboardInterrupt:
        print(interrupted(args, argv), file=sys.stderr)
        return 130
    except BrokenPipeError:
        os._exit(141)  # the reader has seen enough, as in `| head`
    except (InputError, NotFiniteError, OSError, MemoryError) as error:
        if args.traceback:
            raise
        print(f"minirlhf {args.verb}: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1


def interrupted(args, argv):
    """What to say after Ctrl-C: what is kept, and how to go on."""
    if args.verb == "teach":
        again = shlex.join(argv)
        return f"Interrupted; every label is kept. Go on with: python -m minirlhf {again}"
    if not hasattr(args, "resume"):
        return "Interrupted."
    again = shlex.join([word for word in argv if word not in ("--resume", "--fresh")])
    kept = "kept" if any(args.out.glob("*.resume.*")) else "not far enough to be kept"
    return f"Interrupted; the run is {kept}. Go on with: python -m minirlhf {again} --resume"
