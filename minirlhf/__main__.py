"""The command line: `python -m minirlhf` lists the verbs, `python -m minirlhf VERB --help` one."""

import os

# Matrices this small are fastest with one BLAS thread; two were 3-20x slower on a busy machine.
# It must be said before NumPy is imported.  A setting of your own wins.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import json  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from minirlhf.errors import InputError, NotFiniteError  # noqa: E402

VERBS = {
    "demo": "the whole story: Rufus before, the three steps, Rufus after",
    "pretrain": "step 1: train a language model on a text",
    "sft": "step 1: fine-tune it on demonstrations",
    "rank": "step 2: let models answer and simulated annotators rank the answers",
    "reward": "step 2: train a reward model on rankings or pairs",
    "ppo": "step 3: improve a language model against a reward model",
    "chat": "talk to a language model",
    "evaluate": "ask a language model many questions and let the gold judge count",
}


# ---- progress and Ctrl-C --------------------------------------------------------------------


class Interrupt:
    """Ctrl-C asks the running loop to stop between two steps, where its state is whole."""

    def __init__(self):
        self.asked = False

    def __call__(self, signum, frame):
        if self.asked:  # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step ...", file=sys.stderr, flush=True)


class Progress:
    """progress(title) gives the wrapper that a training loop puts around its steps."""

    def __init__(self, interrupt, quiet=False):
        self.interrupt = interrupt
        self.quiet = quiet
        self.title = ""

    def __call__(self, title):
        bar = Progress(self.interrupt, self.quiet)
        bar.title = title
        bar.wrap = bar.steps
        return bar.steps

    def steps(self, steps):
        """range of steps -> the same steps, with a bar, until Ctrl-C."""
        for step in self.with_bar(steps):
            if self.interrupt.asked:
                raise KeyboardInterrupt
            yield step

    def with_bar(self, steps):
        if self.quiet:
            return steps
        try:
            from tqdm import tqdm
        except ImportError:  # the package runs without it
            return steps
        return tqdm(steps, desc=self.title, leave=False, file=sys.stderr, mininterval=0.2)


# ---- arguments ------------------------------------------------------------------------------


def build_parser():
    parser = argparse.ArgumentParser(
        prog="python -m minirlhf",
        description="RLHF from scratch in NumPy, on a robot named Rufus.",
        epilog="Start with: python -m minirlhf demo",
    )
    parser.add_argument("--version", action="version", version=version())
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    add_demo(verbs)
    add_pretrain(verbs)
    add_sft(verbs)
    add_rank(verbs)
    add_reward(verbs)
    add_ppo(verbs)
    add_chat(verbs)
    add_evaluate(verbs)
    return parser


def version():
    from minirlhf import __version__

    return f"minirlhf {__version__}"


def add_verb(verbs, name, reads, writes, example):
    text = f"{VERBS[name]}.\n\nreads:  {reads}\nwrites: {writes}"
    parser = verbs.add_parser(
        name, help=VERBS[name], description=text[0].upper() + text[1:],
        epilog=f"example: python -m minirlhf {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from")
    return parser


def add_world(parser):
    parser.add_argument("--lang", default="en", help="world: en, zh or a world.json (en)")


def add_training(parser, out, settings):
    parser.add_argument("--out", type=Path, default=Path(out), help=f"folder to write to ({out})")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (0)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument("--fresh", action="store_true", help="throw an interrupted run away")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    names = ", ".join(field.name for field in dataclasses.fields(settings))
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help=f"change a setting; may be repeated. Names: {names}",
    )  # fmt: skip


def add_demo(verbs):
    from minirlhf.pipeline import PPO

    parser = add_verb(
        verbs, "demo", "data/LANG (bundled)",
        "--out: pictures/, summary.json, rankings, histories (.jsonl), checkpoints (.npz)",
        "demo --lang zh --seed 1",
    )  # fmt: skip
    add_world(parser)
    add_training(parser, "runs/demo-LANG-SEED", PPO)


def add_pretrain(verbs):
    from minirlhf.pipeline import PRETRAIN

    parser = add_verb(
        verbs, "pretrain", "a text: documents end at a blank line; or .jsonl with a field text",
        "--out: pretrained.npz, pretrain.jsonl",
        "pretrain --corpus data/en/corpus.txt --out runs/mine",
    )  # fmt: skip
    parser.add_argument("--corpus", type=Path, help="(the bundled corpus of --lang)")
    add_world(parser)
    for name, default in (("n-layer", 2), ("n-head", 2), ("n-embd", 64)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"({default})")
    add_training(parser, "runs/mine", PRETRAIN)


def add_sft(verbs):
    from minirlhf.pipeline import DEMONSTRATIONS, SFT

    parser = add_verb(
        verbs, "sft", "a language model; .jsonl with fields prompt, completion",
        "--out: sft.npz, sft.jsonl",
        "sft --model runs/mine/pretrained.npz --out runs/mine",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, default=Path("runs/mine/pretrained.npz"))
    parser.add_argument("--demonstrations", type=Path, help="(the bundled ones of --lang)")
    parser.add_argument(
        "--count", type=int, default=DEMONSTRATIONS, help=f"use the first N ({DEMONSTRATIONS})"
    )
    add_world(parser)
    add_training(parser, "runs/mine", SFT)


def add_rank(verbs):
    from minirlhf.pipeline import RANKINGS

    parser = add_verb(
        verbs, "rank", "one or more language models; the questions of a world",
        "--out: rankings.jsonl, preferences.jsonl, rankings_held_out.jsonl",
        "rank --model runs/mine/pretrained.npz --model runs/mine/sft.npz --out runs/mine",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, action="append", help="may be repeated")
    parser.add_argument("--count", type=int, default=RANKINGS, help=f"rankings ({RANKINGS})")
    parser.add_argument("--held-out", type=int, default=240, help="held-out rankings (240)")
    parser.add_argument("--k", type=int, default=4, help="answers per ranking (4)")
    add_world(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/mine"))
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (0)")


def add_reward(verbs):
    from minirlhf.pipeline import REWARD

    parser = add_verb(
        verbs, "reward", "rankings (.jsonl: prompt, responses, ranks) or pairs (prompt, chosen, "
        "rejected);\n        a language model to start from, or a text to pretrain one on",
        "--out: reward_model.npz, reward.jsonl",
        "reward --rankings data/en/rankings.jsonl --model runs/mine/sft.npz --out runs/mine",
    )  # fmt: skip
    parser.add_argument("--rankings", type=Path, help="(the bundled ones of --lang)")
    parser.add_argument("--preferences", type=Path, help="pairs instead of rankings")
    parser.add_argument("--test", type=Path, help="held-out pairs or rankings to be judged on")
    parser.add_argument("--model", type=Path, help="language model to start from")
    parser.add_argument("--corpus", type=Path, help="no model: pretrain one on this text")
    add_world(parser)
    add_training(parser, "runs/mine", REWARD)


def add_ppo(verbs):
    from minirlhf.pipeline import PPO

    parser = add_verb(
        verbs, "ppo", "a language model, a reward model, .jsonl with a field prompt",
        "--out: ppo.npz, value_model.npz, ppo.jsonl",
        "ppo --model runs/mine/sft.npz --reward-model runs/mine/reward_model.npz "
        "--set kl_coef=0.05 --out runs/mine",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, default=Path("runs/mine/sft.npz"))
    parser.add_argument("--reward-model", type=Path, default=Path("runs/mine/reward_model.npz"))
    parser.add_argument("--prompts", type=Path, help="(the bundled training questions of --lang)")
    add_world(parser)
    add_training(parser, "runs/mine", PPO)


def add_chat(verbs):
    parser = add_verb(
        verbs, "chat", "a language model; what you type", "nothing", "chat runs/mine/ppo.npz"
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--temperature", type=float, default=1.0, help="(1.0)")
    parser.add_argument("--answers", type=int, default=3, help="answers per question (3)")
    parser.add_argument("--seed", type=int, default=0)


def add_evaluate(verbs):
    parser = add_verb(
        verbs, "evaluate", "a language model, a world", "nothing; prints",
        "evaluate runs/mine/ppo.npz --lang en --samples 1000 --json",
    )  # fmt: skip
    parser.add_argument("model", type=Path)
    add_world(parser)
    parser.add_argument("--samples", type=int, default=1000, help="answers per split (1000)")
    parser.add_argument("--reference", type=Path, help="also report the exact KL to this model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


# ---- helpers of the verbs -------------------------------------------------------------------


def changed(settings, assignments):
    """A settings dataclass and ["name=value", ..] -> the changed one.  Raises InputError."""
    known = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    changes = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in known:
            raise InputError(f"--set {assignment}: unknown setting; known are {', '.join(known)}")
        changes[name] = parse_value(assignment, text, known[name])
    try:
        return dataclasses.replace(settings, **changes)
    except ValueError as error:
        raise InputError(f"--set: {error}") from None


def parse_value(assignment, text, old):
    """Text -> a value of the type of `old` (None counts as a number)."""
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(old, int):
            return int(text)
        if isinstance(old, str):
            return text
        return None if text.lower() == "none" else float(text)
    except (ValueError, KeyError):
        raise InputError(f"--set {assignment}: expected a value like {old!r}") from None


def data_file(args, name):
    """Path of a bundled file of --lang, which may be a language or a world.json."""
    from minirlhf.human import DATA

    path = Path(args.lang)
    folder = path.parent if path.suffix == ".json" else DATA / args.lang
    if not folder.is_dir():
        raise InputError(f"--lang {args.lang}: neither a language of data/ nor a world.json")
    return folder / name


def prepare_out(args, name):
    """Make the folder; an interrupted run in it is gone on with, thrown away, or an error."""
    args.out.mkdir(parents=True, exist_ok=True)
    leftover = args.out / f"{name}.resume.npz"
    if leftover.exists() and args.fresh:
        leftover.unlink()
    if leftover.exists() and not args.resume:
        raise InputError(
            f"{leftover}: an interrupted run; add --resume to go on or --fresh to start again"
        )
    if args.resume and not leftover.exists():
        print(f"nothing to resume in {args.out}: starting from the beginning", file=sys.stderr)
    return args.out


# ---- the verbs ------------------------------------------------------------------------------


def run_demo_verb(args, progress):
    from minirlhf.demo import run_demo
    from minirlhf.pipeline import PPO

    if str(args.out) == "runs/demo-LANG-SEED" or args.out == Path("runs/demo-LANG-SEED"):
        args.out = Path(f"runs/demo-{Path(args.lang).stem}-{args.seed}")
    args.out.mkdir(parents=True, exist_ok=True)
    leftovers = sorted(args.out.glob("*.resume.npz"))
    if leftovers and args.fresh:
        for leftover in leftovers:
            leftover.unlink()
    elif leftovers and not args.resume:
        raise InputError(
            f"{leftovers[0]}: an interrupted run; add --resume to go on or --fresh to start again"
        )
    run_demo(args.lang, args.seed, args.out, progress, args.resume, ppo=changed(PPO, args.set))


def run_pretrain_verb(args, progress):
    from minirlhf.pipeline import PRETRAIN, Size, run_pretrain

    corpus = args.corpus or data_file(args, "corpus.txt")
    size = Size(n_layer=args.n_layer, n_head=args.n_head, n_embd=args.n_embd)
    settings = changed(PRETRAIN, args.set)
    out = prepare_out(args, "pretrain")
    model, history = run_pretrain(corpus, out, args.seed, settings, size, progress("pretrain"))
    entropy, last = model.extra["corpus_entropy"], history[-1]
    loss = last["loss"] if last["held_out_loss"] is None else last["held_out_loss"]
    print(
        f"loss {loss:.4f} nats per character "
        f"(unigram entropy {entropy['unigram']:.4f}, bigram entropy {entropy['bigram']:.4f})\n"
        f"wrote {out / 'pretrained.npz'}: {model.params.flat.size} parameters, "
        f"{model.config.vocab_size} ids"
    )


def run_sft_verb(args, progress):
    from minirlhf.checkpoint import load_model
    from minirlhf.data import read_demonstrations
    from minirlhf.pipeline import LANGUAGE_MODEL, SFT, run_sft

    model = load_model(args.model, LANGUAGE_MODEL)
    path = args.demonstrations or data_file(args, "sft.jsonl")
    demonstrations = read_demonstrations(path)[: args.count]
    settings = changed(SFT, args.set)
    out = prepare_out(args, "sft")
    model, history = run_sft(
        model, demonstrations, out, args.seed, settings, progress("sft"), str(path)
    )
    entropy = model.extra["corpus_entropy"]
    print(
        f"loss on responses {history[0]['loss']:.4f} -> {history[-1]['loss']:.4f} nats per "
        f"character (corpus: unigram entropy {entropy['unigram']:.4f}, "
        f"bigram entropy {entropy['bigram']:.4f})\nwrote {out / 'sft.npz'}"
    )


def run_rank_verb(args, progress):
    from minirlhf.checkpoint import load_model
    from minirlhf.human import World
    from minirlhf.pipeline import LANGUAGE_MODEL, run_rank

    world = World.load(args.lang)
    paths = args.model or [Path("runs/mine/pretrained.npz"), Path("runs/mine/sft.npz")]
    models = {path.stem: load_model(path, LANGUAGE_MODEL) for path in paths}
    rankings = run_rank(world, models, args.out, args.seed, args.count, "train", args.k)
    held_out = run_rank(world, models, args.out, args.seed, args.held_out, "held_out", args.k)
    print(f"{len(rankings)} rankings and {len(held_out)} held-out ones by simulated annotators")
    print(f"wrote {args.out / 'rankings.jsonl'}, preferences.jsonl, rankings_held_out.jsonl")


def run_reward_verb(args, progress):
    from minirlhf.checkpoint import load_model
    from minirlhf.data import read_preferences, read_rankings
    from minirlhf.pipeline import (
        LANGUAGE_MODEL,
        PRETRAIN,
        REWARD,
        Size,
        build_language_model,
        reward_accuracy,
        run_pretrain,
        run_reward,
        split_rankings,
        stage_rng,
    )

    if args.preferences and args.rankings:
        raise InputError("give --preferences or --rankings, not both")
    path = args.preferences or args.rankings or data_file(args, "rankings.jsonl")
    rankings = read_preferences(path) if args.preferences else read_rankings(path)
    test = None
    if args.test:
        test = read_preferences(args.test) if args.preferences else read_rankings(args.test)
    settings = changed(REWARD, args.set)
    out = prepare_out(args, "reward")
    texts = []
    for ranking in rankings + (test or []):
        texts += [ranking.prompt + "\n" + response for response in ranking.responses]
    if args.model:
        model = load_model(args.model, LANGUAGE_MODEL)
    elif args.corpus:
        model, _ = run_pretrain(
            args.corpus, out, args.seed, PRETRAIN, Size(), progress("pretrain"), texts
        )
    else:
        model = build_language_model(texts, Size(), stage_rng(args.seed, "pretrain"))
    if test is None:
        rankings, test = split_rankings(rankings, args.seed)
        print("no --test: a fifth of the prompts is held out")
    reward_model, history = run_reward(
        model, rankings, out, args.seed, settings, progress("reward"), str(path)
    )
    accuracy = reward_accuracy(reward_model, test)["labels"]
    print(
        f"{len(rankings)} rankings, {len(history)} steps, loss {history[-1]['loss']:.4f}\n"
        f"held-out pair accuracy {accuracy:.4f} on {len(test)} rankings\n"
        f"wrote {out / 'reward_model.npz'}"
    )


def run_ppo_verb(args, progress):
    from minirlhf.checkpoint import load_model
    from minirlhf.data import read_prompts
    from minirlhf.human import World
    from minirlhf.pipeline import LANGUAGE_MODEL, PPO, REWARD_MODEL, run_ppo

    model = load_model(args.model, LANGUAGE_MODEL)
    reward_model = load_model(args.reward_model, REWARD_MODEL)
    settings = changed(PPO, args.set)
    world = None
    if args.prompts:
        prompts = read_prompts(args.prompts)
    else:
        prompts, world = read_prompts(data_file(args, "prompts.jsonl"), "train"), None
        world = World.load(args.lang)
    out = prepare_out(args, "ppo")
    _, _, history = run_ppo(
        model, reward_model, prompts, out, args.seed, settings, world, progress("ppo")
    )
    first, last = history[0], history[-1]
    print(
        f"score {first['score']:+.3f} -> {last['score']:+.3f}, exact KL {last['kl_exact']:.3f} "
        f"nats per response, clip fraction {last['clip_fraction']:.1%}\nwrote {out / 'ppo.npz'}"
    )
    if world is not None:
        print(f"natural, by the gold judge: {first['natural']:.1%} -> {last['natural']:.1%}")


def run_chat_verb(args, progress):
    import numpy as np

    from minirlhf.checkpoint import load_model
    from minirlhf.pipeline import LANGUAGE_MODEL, ask

    signal.signal(signal.SIGINT, signal.default_int_handler)
    model = load_model(args.model, LANGUAGE_MODEL)
    if not args.temperature > 0:
        raise InputError(f"--temperature {args.temperature}: expected more than 0")
    rng = np.random.default_rng(args.seed)
    print("Ask a question; an empty line or Ctrl-D ends.")
    while True:
        try:
            question = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            question = ""
        if not question:
            print("Goodbye.")
            return
        try:
            answers = ask(model, [typed(question, model)] * args.answers, rng, args.temperature)
        except InputError as error:
            print(f"Rufus cannot read that: {error}")
            continue
        for answer in answers:
            print(f"  {answer.text}" + ("" if answer.finished else " ..."))


def typed(question, model):
    """A typed half-width mark is read as the full-width one where the model knows only that."""
    for half, full in ((",", "，"), ("?", "？"), ("!", "！"), (".", "。"), (":", "：")):
        if half not in model.tokenizer.vocab and full in model.tokenizer.vocab:
            question = question.replace(half, full)
    return question


def run_evaluate_verb(args, progress):
    from minirlhf.checkpoint import load_model
    from minirlhf.human import World
    from minirlhf.pipeline import LANGUAGE_MODEL, evaluate_model, kl_to_reference, stage_rng

    model = load_model(args.model, LANGUAGE_MODEL)
    world = World.load(args.lang)
    if args.samples < 1:
        raise InputError(f"--samples {args.samples}: expected 1 or more")
    figures = evaluate_model(model, world, args.samples, stage_rng(args.seed, "evaluate"))
    if args.reference:
        reference = load_model(args.reference, LANGUAGE_MODEL)
        rng = stage_rng(args.seed, "evaluate")
        figures["kl_exact"] = kl_to_reference(model, reference, world, args.samples, rng)
    if args.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:<22} {value:.4f}")


RUN = {
    "demo": run_demo_verb,
    "pretrain": run_pretrain_verb,
    "sft": run_sft_verb,
    "rank": run_rank_verb,
    "reward": run_reward_verb,
    "ppo": run_ppo_verb,
    "chat": run_chat_verb,
    "evaluate": run_evaluate_verb,
}


def main(argv=None):
    """Parse, run, and turn the errors a user can cause into one line.  -> exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8")  # Chinese on a Windows console
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    if args.verb is None:
        parser.print_help()
        return 0
    interrupt = Interrupt()
    signal.signal(signal.SIGINT, interrupt)
    progress = Progress(interrupt, getattr(args, "quiet", False))
    try:
        RUN[args.verb](args, progress)
        return 0
    except KeyboardInterrupt:
        again = " ".join([word for word in argv if word not in ("--resume", "--fresh")])
        print(
            f"Interrupted; nothing is lost. Go on with: python -m minirlhf {again} --resume",
            file=sys.stderr,
        )
        return 130
    except (InputError, NotFiniteError, OSError) as error:
        if args.traceback:
            raise
        print(f"minirlhf {args.verb}: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1


if __name__ == "__main__":
    sys.exit(main())
