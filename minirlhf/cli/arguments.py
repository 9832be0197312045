"""The command line: `python -m minirlhf` lists the verbs, `python -m minirlhf VERB --help` one."""

import os

# Matrices this small are fastest with one BLAS thread; two were 3-20x slower on a busy machine.
# It must be said before NumPy is imported.  A setting of your own wins.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import shlex  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from minirlhf.errors import InputError, NotFiniteError  # noqa: E402

VERBS = {
    "demo": "the whole story: Rufus before, the three steps, Rufus after",
    "pretrain": "step 1: train a language model on a text",
    "sft": "step 1: fine-tune a language model on demonstrations",
    "rank": "step 2: let models answer and simulated annotators rank the answers",
    "reward": "step 2: train a reward model on rankings or pairs",
    "ppo": "step 3: improve a language model against a reward model",
    "chat": "talk to a language model",
    "teach": "teach Rufus yourself: judge what he says, correct him, he learns at once",
    "evaluate": "ask a language model many questions and let the gold judge count",
    "walk": "a Rufus small enough to check every number by hand or in a debugger",
    "frontier": "PPO, RLOO, GRPO, DPO and others beside the exact optimum, score against KL",
    "ablations": "the bug gallery: PPO with one part taken out or put in wrong, and what breaks",
    "overoptimization": "learned score and gold against KL, the curves of Gao et al., remedies",
    "estimators": "k1, k2 and k3 beside the exact KL: value, spread, direction of the gradient",
    "signals": "scores or rankings, demonstrations or rankings, for the same minutes of work",
}


# ---- progress and Ctrl-C --------------------------------------------------------------------


class Interrupt:
    """Ctrl-C asks the running loop to stop between two steps, where its state is whole."""

    def __init__(self, can_wait):
        self.can_wait = can_wait  # False: the verb has no steps and keeps nothing
        self.asked = False

    def __call__(self, signum, frame):
        if self.asked or not self.can_wait:  # a second Ctrl-C does not wait
            raise KeyboardInterrupt
        self.asked = True
        print("\nstopping after this step ...", file=sys.stderr, flush=True)


class Progress:
    """progress(title) gives the wrapper that a training loop puts around its steps."""

    def __init__(self, interrupt, quiet=False, title=""):
        self.interrupt = interrupt
        self.quiet = quiet
        self.title = title

    def __call__(self, title):
        return Progress(self.interrupt, self.quiet, title).steps

    def steps(self, steps):
        """range of steps -> the same steps, with a bar, until Ctrl-C."""
        for step in self.with_bar(steps):
            if self.interrupt.asked:
                raise KeyboardInterrupt
            yield step

    def with_bar(self, steps):
        """The steps, with a progress bar if there is tqdm and nobody asked for quiet."""
        if self.quiet:
            return steps
        try:
            from tqdm import tqdm
        except ImportError:  # the package runs without it
            return steps
        return tqdm(steps, desc=self.title, leave=False, file=sys.stderr, mininterval=0.2)


# ---- arguments ------------------------------------------------------------------------------


def build_parser():
    """-> ArgumentParser, one sub-parser for each verb."""
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
    add_teach(verbs)
    add_evaluate(verbs)
    add_walk(verbs)
    add_beyond(verbs)
    return parser


def version():
    """-> "minirlhf 1.2.3"."""
    from minirlhf import __version__

    return f"minirlhf {__version__}"


def add_verb(verbs, name, reads, writes, example):
    text = f"{VERBS[name]}.\n\nreads:  {reads}\nwrites: {writes}"
    parser = verbs.add_parser(
        name, help=VERBS[name], description=text[0].upper() + text[1:],
        epilog=f"example: python -m minirlhf {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    names = ", ".join(known_settings(settings))
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help=f"change a setting; may be repeated. Names: {names}",
    )


def add_demo(verbs):
    from minirlhf.rufus.pipeline import PPO

    parser = add_verb(
        verbs, "demo", "data/LANG (bundled)",
        "--out: pictures/, summary.json, rankings, histories (.jsonl), checkpoints (.npz)",
        "demo --lang zh --seed 1",
    )
    add_world(parser)
    add_training(parser, "runs/demo-LANG-SEED", PPO)


def add_pretrain(verbs):
    from minirlhf.rufus.pipeline import PRETRAIN

    parser = add_verb(
        verbs, "pretrain", "a text: documents end at a blank line; or .jsonl with a field text",
        "--out: pretrained.npz, pretrained.jsonl",
        "pretrain --corpus data/en/corpus.txt --out runs/mine",
    )
    parser.add_argument("--corpus", type=Path, help="(the bundled corpus of --lang)")
    add_world(parser)
    for name, default in (("n-layer", 2), ("n-head", 2), ("n-embd", 64)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"({default})")
    add_training(parser, "runs/mine", PRETRAIN)


def add_sft(verbs):
    from minirlhf.rufus.pipeline import DEMONSTRATIONS, SFT

    parser = add_verb(
        verbs, "sft", "a language model; .jsonl with fields prompt, completion",
        "--out: sft.npz, sft.jsonl",
        "sft --model runs/mine/pretrained.npz --out runs/mine",
    )
    parser.add_argument("--model", type=Path, default=Path("runs/mine/pretrained.npz"))
    parser.add_argument("--demonstrations", type=Path, help="(the bundled ones of --lang)")
    parser.add_argument(
        "--count", type=int, default=DEMONSTRATIONS, help=f"use the first N ({DEMONSTRATIONS})"
    )
    add_world(parser)
    add_training(parser, "runs/mine", SFT)


def add_rank(verbs):
    from minirlhf.rufus.pipeline import RANKINGS

    parser = add_verb(
        verbs, "rank", "one or more language models; the questions of a world",
        "--out: rankings.jsonl, preferences.jsonl, rankings_held_out.jsonl",
        "rank --model runs/mine/pretrained.npz --model runs/mine/sft.npz --out runs/mine",
    )
    parser.add_argument("--model", type=Path, action="append", help="may be repeated")
    parser.add_argument("--count", type=int, default=RANKINGS, help=f"rankings ({RANKINGS})")
    parser.add_argument("--held-out", type=int, default=240, help="held-out rankings (240)")
    parser.add_argument("--k", type=int, default=4, help="answers per ranking (4)")
    add_world(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/mine"))
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (0)")


def add_reward(verbs):
    from minirlhf.rufus.pipeline import REWARD

    parser = add_verb(
        verbs, "reward", "rankings (.jsonl: prompt, responses, ranks) or pairs (prompt, chosen, "
        "rejected);\n        a language model to start from, or a text to pretrain one on",
        "--out: reward_model.npz, reward_model.jsonl",
        "reward --rankings data/en/rankings.jsonl --model runs/mine/sft.npz --out runs/mine",
    )
    parser.add_argument("--rankings", type=Path, help="(the bundled ones of --lang)")
    parser.add_argument("--preferences", type=Path, help="pairs instead of rankings")
    parser.add_argument("--test", type=Path, help="held-out pairs or rankings to be judged on")
    parser.add_argument("--model", type=Path, help="language model to start from")
    parser.add_argument("--corpus", type=Path, help="no model: pretrain one on this text")
    add_world(parser)
    add_training(parser, "runs/mine", REWARD)


def add_ppo(verbs):
    from minirlhf.rufus.pipeline import PPO

    parser = add_verb(
        verbs, "ppo", "a language model, a reward model, .jsonl with a field prompt",
        "--out: ppo.npz, ppo.value_model.npz, ppo.jsonl",
        "ppo --model runs/mine/sft.npz --reward-model runs/mine/reward_model.npz "
        "--set kl_coef=0.05 --out runs/mine",
    )
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


def add_teach(verbs):
    parser = add_verb(
        verbs, "teach", "data/LANG (bundled); what you type; an earlier session",
        "--session: every label at once (.jsonl); beside it the models (.npz), also for chat",
        "teach --annotator Ann --lang en",
    )
    parser.add_argument("--lang", help="en, zh or a world.json (en, or that of the session)")
    parser.add_argument("--annotator", help="your name (me, or that of the session)")
    parser.add_argument("--session", type=Path, help="(runs/teach/ANNOTATOR-LANG.jsonl)")
    parser.add_argument("--rounds", type=int, help="stop after N rounds (when you say so)")
    parser.add_argument(
        "--simulate", metavar="NAME",
        help="let a SIMULATED annotator play: a1 to a5, greets, brief, pirate; 10 rounds",
    )
    parser.add_argument("--seed", type=int, default=0, help="of a new session (0)")
    parser.add_argument("--replay", action="store_true", help="compute the models again, and end")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write its labels as the other "
                        "verbs read them: sft.jsonl, rankings.jsonl, preferences.jsonl; and end")


def add_evaluate(verbs):
    parser = add_verb(
        verbs, "evaluate", "a language model, a world", "nothing; prints",
        "evaluate runs/mine/ppo.npz --lang en --samples 1000 --json",
    )
    parser.add_argument("model", type=Path)
    add_world(parser)
    parser.add_argument("--samples", type=int, default=1000, help="answers per split (1000)")
    parser.add_argument("--reference", type=Path, help="also report the exact KL to this model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_walk(verbs):
    parser = add_verb(
        verbs, "walk", "the environment variable MINIRLHF_STOP (a number): a breakpoint there",
        "nothing; prints", "walk --scenario ppo --stop 4",
    )
    parser.add_argument(
        "--scenario", default="ppo", choices=("ppo", "transformer", "reward", "rufus"),
        help="what to walk through (ppo); rufus: one real PPO iteration, 4 prompts",
    )
    parser.add_argument("--stop", metavar="N", help="open pdb there; ratio: where ratio != 1")


def add_beyond(verbs):
    from minirlhf.cli import experiments as commands

    for name, add_arguments in (
        ("frontier", commands.add_frontier_arguments),
        ("ablations", commands.add_ablations_arguments),
        ("overoptimization", commands.add_overoptimization_arguments),
        ("estimators", commands.add_estimators_arguments),
        ("signals", commands.add_signals_arguments),
    ):
        wrote = f"--out: {name}.json, {name}.png, and the models that all runs share"
        add_arguments(
            add_verb(verbs, name, "data/LANG (bundled)", wrote, f"{name} --lang zh --seed 0")
        )


# ---- helpers of the verbs -------------------------------------------------------------------


def known_settings(settings):
    """A settings dataclass -> {name: value} of what --set may change.

    Not max_new_tokens of PPO: the language model knows how long an answer may be.
    """
    known = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    known.pop("max_new_tokens", None)
    return known


def changed(settings, assignments):
    """A settings dataclass and ["name=value", ..] -> the changed one.  Raises InputError."""
    known = known_settings(settings)
    changes = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals or name not in known:
            raise InputError(f"--set {assignment}: unknown setting; known are {', '.join(known)}")
        changes[name] = parse_value(assignment, text, known[name])
        check_setting(assignment, name, changes[name])
    try:
        return dataclasses.replace(settings, **changes)
    except ValueError as error:
        raise InputError(f"--set {' '.join(assignments)}: {error}") from None


def parse_value(assignment, text, old):
    """Text -> a value of the type of `old` (None counts as a number)."""
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(old, int):
            return int(text)
        if isinstance(old, str):
            return text
        return None if old is None and text.lower() == "none" else float(text)
    except (ValueError, KeyError):
        raise InputError(f"--set {assignment}: expected a value like {old!r}") from None


def check_setting(assignment, name, value):
    """Raises InputError for a number that no run can use."""
    if name == "schedule" and value not in ("cosine", "linear", "constant"):
        raise InputError(f"--set {assignment}: expected cosine, linear or constant")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    at_least = 1 if isinstance(value, int) and name != "warmup" else 0
    if name == "missing_eos_score":
        at_least = -math.inf
    if not math.isfinite(value) or value < at_least:
        raise InputError(f"--set {assignment}: expected a number, {at_least} or more")
    if value == 0 and name in ("target_kl", "max_grad_norm"):
        raise InputError(f"--set {assignment}: expected more than 0")


def at_least(args, lowest, *names):
    """Raises InputError if one of these options is lower."""
    for name in names:
        value = getattr(args, name)
        if not value >= lowest:
            option = name.replace("_", "-")
            raise InputError(f"--{option} {value}: expected {lowest} or more")


def load_speaker(path):
    """Path -> Model, a language model that knows how long its answers may be."""
    from minirlhf.checkpoint import load_model
    from minirlhf.rufus.pipeline import LANGUAGE_MODEL

    model = load_model(path, LANGUAGE_MODEL)
    if not isinstance(model.extra.get("max_new_tokens"), int):
        raise InputError(f"{path}: does not say its max_new_tokens; `pretrain` makes one that does")
    return model


def check_prompts(model, prompts, places):
    """Raises InputError, naming the place, for a prompt that the model cannot read."""
    from minirlhf.data import encode_prompt

    room = model.config.block_size - model.extra["max_new_tokens"] + 1
    for prompt, place in zip(prompts, places):
        encode_prompt(model.tokenizer, prompt, room, place)


def check_answers(model, rows, path):
    """Raises InputError, naming file and line, for a text of the file that the model cannot read.

    rows: (prompt, list of responses) for every line of the file that is not blank.
    """
    from minirlhf.data import encode_example

    for number, (prompt, responses) in zip(line_numbers(path), rows):
        for response in responses:
            place = f"{path}, line {number}"
            encode_example(model.tokenizer, prompt, response, model.config.block_size, place)


def line_numbers(path):
    """JSONL file -> the number of each line that holds an object."""
    from minirlhf.data import read_jsonl

    return [number for number, _ in read_jsonl(path, {})]


def data_file(args, name):
    """Path of a bundled file of --lang, which may be a language or a world.json."""
    from minirlhf.rufus.world import data_folder

    return data_folder(args.lang) / name


def prepare_out(args, *names):
    """Make the folder; an interrupted run in it is gone on with, thrown away, or an error."""
    make_folder(args.out)
    leftovers = []
    for name in names:
        leftovers += sorted(args.out.glob(f"{name}.resume.npz"))
    if args.fresh:
        for path in leftovers:
            path.unlink()
    elif leftovers and not args.resume:
        raise InputError(
            f"{leftovers[0]}: an interrupted run; add --resume to go on or --fresh to start again"
        )
    elif args.resume and not leftovers and args.verb != "demo":  # demo keeps finished stages too
        print(f"nothing to resume in {args.out}: starting from the beginning", file=sys.stderr)
    return args.out


def make_folder(path):
    """mkdir -p.  Raises InputError where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be made a folder ({error.strerror})") from None


# ---- the verbs ------------------------------------------------------------------------------


def run_demo_verb(args, progress):
    from minirlhf.rufus.demo import DEMO_PPO, run_demo

    if args.out == Path("runs/demo-LANG-SEED"):
        args.out = Path(f"runs/demo-{Path(args.lang).stem}-{args.seed}")
    settings = changed(DEMO_PPO, args.set)
    prepare_out(args, "*")  # of any stage and round
    run_demo(args.lang, args.seed, args.out, progress, args.resume, ppo=settings)


def run_pretrain_verb(args, progress):
    from minirlhf.data import read_corpus
    from minirlhf.rufus.pipeline import PRETRAIN, Run, Size, run_pretrain

    corpus = args.corpus or data_file(args, "corpus.txt")
    at_least(args, 1, "n_layer", "n_head", "n_embd")
    if args.n_embd % args.n_head:
        raise InputError(f"--n-embd {args.n_embd}: not a multiple of --n-head {args.n_head}")
    read_corpus(corpus)  # before the folder is made: a wrong file leaves nothing behind
    size = Size(n_layer=args.n_layer, n_head=args.n_head, n_embd=args.n_embd)
    settings = changed(PRETRAIN, args.set)
    out = prepare_out(args, "pretrained")
    run = Run(out=out, seed=args.seed, progress=progress)
    model, history = run_pretrain(corpus, run, settings, size)
    entropy, last = model.extra["corpus_entropy"], history[-1]
    loss = last["loss"] if last["held_out_loss"] is None else last["held_out_loss"]
    print(
        f"loss {loss:.4f} nats per character "
        f"(unigram entropy {entropy['unigram']:.4f}, bigram entropy {entropy['bigram']:.4f})\n"
        f"wrote {out / 'pretrained.npz'}: {model.params.flat.size} parameters, "
        f"{model.config.vocab_size} ids"
    )


def run_sft_verb(args, progress):
    from minirlhf.data import read_demonstrations
    from minirlhf.rufus.pipeline import SFT, Run, run_sft

    at_least(args, 1, "count")
    model = load_speaker(args.model)
    path = args.demonstrations or data_file(args, "sft.jsonl")
    demonstrations = read_demonstrations(path)[: args.count]
    check_answers(model, [(prompt, [response]) for prompt, response in demonstrations], path)
    settings = changed(SFT, args.set)
    out = prepare_out(args, "sft")
    run = Run(out=out, seed=args.seed, progress=progress)
    model, history = run_sft(model, demonstrations, run, settings)
    figures = model.extra.get("corpus_entropy", {})
    of_corpus = "".join(f", {name} entropy {value:.4f}" for name, value in figures.items())
    print(
        f"loss on responses {history[0]['loss']:.4f} -> {history[-1]['loss']:.4f} nats per "
        f"character{of_corpus}\nwrote {out / 'sft.npz'}"
    )


def run_rank_verb(args, progress):
    from minirlhf.data import write_preferences
    from minirlhf.rufus.pipeline import Run, run_rank
    from minirlhf.rufus.world import World

    at_least(args, 1, "count", "held_out")
    at_least(args, 2, "k")
    world = World.load(args.lang)
    models = {}
    for path in args.model or [Path("runs/mine/pretrained.npz"), Path("runs/mine/sft.npz")]:
        name = str(path) if path.stem in models else path.stem
        models[name] = load_speaker(path)
        questions = world.questions()
        check_prompts(models[name], questions, [f"{path} with --lang {args.lang}"] * len(questions))
    make_folder(args.out)
    run = Run(out=args.out, seed=args.seed)
    rankings = run_rank(world, models, run, args.count, "train", args.k)
    held_out = run_rank(world, models, run, args.held_out, "held_out", args.k)
    (args.out / "rankings_1.jsonl").replace(args.out / "rankings.jsonl")
    write_preferences(args.out / "preferences.jsonl", rankings)
    print(f"{len(rankings)} rankings and {len(held_out)} held-out ones by simulated annotators")
    print(f"wrote {args.out / 'rankings.jsonl'}, preferences.jsonl, rankings_held_out.jsonl")


def run_reward_verb(args, progress):
    from minirlhf.data import read_corpus, read_preferences, read_rankings
    from minirlhf.rufus.measure import reward_accuracy
    from minirlhf.rufus.pipeline import (
        REWARD,
        Run,
        Size,
        build_language_model,
        run_pretrain,
        run_reward,
        split_rankings,
        stage_rng,
    )

    if args.preferences and args.rankings:
        raise InputError("give --preferences or --rankings, not both")
    if args.model and args.corpus:
        raise InputError("give --model or --corpus, not both")
    path = args.preferences or args.rankings or data_file(args, "rankings.jsonl")
    read = read_preferences if args.preferences else read_rankings
    model = load_speaker(args.model) if args.model else None
    texts = []
    for name in (path, args.test) if args.test else (path,):
        rankings = read(name)
        check_rankings(model, rankings, name)
        for ranking in rankings:
            texts += [ranking.prompt + "\n" + response for response in ranking.responses]
    if args.test:
        rankings, test = read(path), read(args.test)
    else:
        try:
            rankings, test = split_rankings(read(path), args.seed)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        check_rankings(None, rankings, f"{path}, the part to train on")
        check_rankings(None, test, f"{path}, the held-out fifth of the prompts")
    settings = changed(REWARD, args.set)
    if args.corpus:
        read_corpus(args.corpus)  # before the folder is made: a wrong file leaves nothing behind
    out = prepare_out(args, "reward_model", *(["pretrained"] if args.corpus else []))
    if not args.test:
        print("no --test: a fifth of the prompts is held out")
    run = Run(out=out, seed=args.seed, progress=progress)
    half_way = (out / "reward_model.resume.npz").exists() and (out / "pretrained.npz").exists()
    if args.corpus and half_way:
        model = load_speaker(out / "pretrained.npz")
    elif args.corpus:
        model, _ = run_pretrain(args.corpus, run, more_texts=texts)
    elif model is None:
        model = build_language_model(texts, Size(), stage_rng(args.seed, "pretrain"))
    reward_model, history = run_reward(model, rankings, run, settings)
    accuracy = reward_accuracy(reward_model, test)["labels"]
    print(
        f"{len(rankings)} rankings, {len(history)} steps, loss {history[-1]['loss']:.4f}\n"
        f"held-out pair accuracy {accuracy:.4f} on {len(test)} rankings\n"
        f"wrote {out / 'reward_model.npz'}"
    )


def check_rankings(model, rankings, path):
    """Raises InputError if no answer is better than another, or if a model cannot read them."""
    if all(max(ranking.ranks) == 1 for ranking in rankings):
        raise InputError(f"{path}: all answers are tied, nothing can be learned")
    if model is not None:
        check_answers(model, [(ranking.prompt, ranking.responses) for ranking in rankings], path)
        prompts = [ranking.prompt for ranking in rankings]
        check_prompts(model, prompts, [f"{path}, line {n}" for n in line_numbers(path)])


def run_ppo_verb(args, progress):
    from minirlhf.checkpoint import load_model
    from minirlhf.data import read_prompts
    from minirlhf.rufus.pipeline import PPO, REWARD_MODEL, Run, run_ppo
    from minirlhf.rufus.world import World

    model = load_speaker(args.model)
    reward_model = load_model(args.reward_model, REWARD_MODEL)
    if reward_model.tokenizer.vocab != model.tokenizer.vocab:
        raise InputError(f"{args.reward_model}: another vocabulary than that of {args.model}")
    if reward_model.config.block_size < model.config.block_size:
        raise InputError(
            f"{args.reward_model}: reads {reward_model.config.block_size} positions, "
            f"{args.model} writes up to {model.config.block_size}"
        )
    settings = changed(PPO, args.set)
    path, world = args.prompts, None
    if path:
        prompts = read_prompts(path)
        check_prompts(model, prompts, [f"{path}, line {n}" for n in line_numbers(path)])
    else:
        path, world = data_file(args, "prompts.jsonl"), World.load(args.lang)
        prompts = read_prompts(path, "train")
        check_prompts(model, prompts, [str(path)] * len(prompts))
    out = prepare_out(args, "ppo")
    run = Run(out=out, seed=args.seed, progress=progress)
    _, _, history = run_ppo(model, reward_model, prompts, run, settings, world)
    first, last = history[0], history[-1]
    print(
        f"score {first['score']:+.3f} -> {last['score']:+.3f}, exact KL {last['kl_exact']:.3f} "
        f"nats per response, clip fraction {last['clip_fraction']:.1%}\nwrote {out / 'ppo.npz'}"
    )
    if world is not None:
        print(f"natural, by the gold judge: {first['natural']:.1%} -> {last['natural']:.1%}")


def run_chat_verb(args, progress):
    from minirlhf.rufus.answers import ask
    from minirlhf.teach.rounds import typed

    model = load_speaker(args.model)
    at_least(args, 1, "answers")
    if not 0 < args.temperature < math.inf:
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
            asked = [typed(question, model.tokenizer)] * args.answers
            answers = ask(model, asked, rng, args.temperature)
        except InputError as error:
            print(f"Rufus cannot read that: {error}")
            continue
        for answer in answers:
            print(f"  {answer.text}" + ("" if answer.finished else " ..."))


def run_teach_verb(args, progress):
    from minirlhf.teach.terminal import run_teach

    if args.rounds is not None:
        at_least(args, 1, "rounds")
    if args.simulate and args.annotator:
        raise InputError("give --annotator or --simulate, not both")
    run_teach(args)


def run_evaluate_verb(args, progress):
    from minirlhf.rufus.measure import evaluate_model, kl_to_reference
    from minirlhf.rufus.pipeline import stage_rng
    from minirlhf.rufus.world import World

    at_least(args, 1, "samples")
    model = load_speaker(args.model)
    world = World.load(args.lang)
    questions = world.questions()
    check_prompts(model, questions, [f"{args.model} with --lang {args.lang}"] * len(questions))
    reference = load_speaker(args.reference) if args.reference else None
    if reference is not None and reference.tokenizer.vocab != model.tokenizer.vocab:
        raise InputError(f"{args.reference}: another vocabulary than that of {args.model}")
    figures = evaluate_model(model, world, args.samples, stage_rng(args.seed, "evaluate"))
    if reference is not None:
        rng = stage_rng(args.seed, "evaluate")
        figures["kl_exact"] = kl_to_reference(model, reference, world, args.samples, rng)
    if args.json:  # JSON has no NaN: the truthfulness of no natural answers is null
        print(json.dumps({k: None if v != v else v for k, v in figures.items()}))
        return
    for name, value in figures.items():
        print(f"{name:<22} {value:.4f}")


def run_walk_verb(args, progress):
    from minirlhf.walk.walks import run_walk

    run_walk(args.scenario, args.stop)


def run_frontier_verb(args, progress):
    from minirlhf.cli.experiments import run_frontier_verb as run

    run(args, progress)


def run_ablations_verb(args, progress):
    from minirlhf.cli.experiments import run_ablations_verb as run

    run(args, progress)


def run_overoptimization_verb(args, progress):
    from minirlhf.cli.experiments import run_overoptimization_verb as run

    run(args, progress)


def run_estimators_verb(args, progress):
    from minirlhf.cli.experiments import run_estimators_verb as run

    run(args, progress)


def run_signals_verb(args, progress):
    from minirlhf.cli.experiments import run_signals_verb as run

    run(args, progress)


RUN = {
    "demo": run_demo_verb,
    "pretrain": run_pretrain_verb,
    "sft": run_sft_verb,
    "rank": run_rank_verb,
    "reward": run_reward_verb,
    "ppo": run_ppo_verb,
    "chat": run_chat_verb,
    "teach": run_teach_verb,
    "evaluate": run_evaluate_verb,
    "walk": run_walk_verb,
    "frontier": run_frontier_verb,
    "ablations": run_ablations_verb,
    "overoptimization": run_overoptimization_verb,
    "estimators": run_estimators_verb,
    "signals": run_signals_verb,
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
    can_resume = hasattr(args, "resume")
    interrupt = Interrupt(can_resume)
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

