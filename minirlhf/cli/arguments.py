"""What may be typed: the parser of every verb, and the ranges of its numbers.

main.py parses and dispatches, steps.py and talk.py run.
"""

import argparse
import dataclasses
import math
from pathlib import Path

from minirlhf import __version__
from minirlhf.cli import experiments
from minirlhf.errors import InputError
from minirlhf.rufus.pipeline import DEMONSTRATIONS, PPO, PRETRAIN, RANKINGS, REWARD, SFT

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


def build_parser():
    """-> ArgumentParser, one sub-parser for each verb."""
    parser = argparse.ArgumentParser(
        prog="python -m minirlhf",
        description="RLHF from scratch in NumPy, on a robot named Rufus.",
        epilog="Start with: python -m minirlhf demo")
    parser.add_argument("--version", action="version", version=f"minirlhf {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for add in (add_demo, add_pretrain, add_sft, add_rank, add_reward, add_ppo, add_chat, add_teach,
                add_evaluate, add_walk, add_experiments):
        add(verbs)
    return parser


def add_verb(verbs, name, reads, writes, example):
    text = f"{VERBS[name]}.\n\nreads:  {reads}\nwrites: {writes}"
    parser = verbs.add_parser(name, help=VERBS[name], description=text[0].upper() + text[1:],
                              epilog=f"example: python -m minirlhf {example}",
                              formatter_class=argparse.RawDescriptionHelpFormatter)
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
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help=f"change a setting; may be repeated. Names: {names}")


def add_demo(verbs):
    parser = add_verb(
        verbs, "demo", "data/LANG (bundled)",
        "--out: pictures/, summary.json, rankings, histories (.jsonl), checkpoints (.npz)",
        "demo --lang zh --seed 1")
    add_world(parser)
    add_training(parser, "runs/demo-LANG-SEED", PPO)


def add_pretrain(verbs):
    parser = add_verb(verbs, "pretrain",
                      "a text: documents end at a blank line; or .jsonl with a field text",
                      "--out: pretrained.npz, pretrained.jsonl",
                      "pretrain --corpus data/en/corpus.txt --out runs/mine")
    parser.add_argument("--corpus", type=Path, help="(the bundled corpus of --lang)")
    add_world(parser)
    for name, default in (("n-layer", 2), ("n-head", 2), ("n-embd", 64)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"({default})")
    add_training(parser, "runs/mine", PRETRAIN)


def add_sft(verbs):
    parser = add_verb(verbs, "sft", "a language model; .jsonl with fields prompt, completion",
                      "--out: sft.npz, sft.jsonl",
                      "sft --model runs/mine/pretrained.npz --out runs/mine")
    parser.add_argument("--model", type=Path, default=Path("runs/mine/pretrained.npz"))
    parser.add_argument("--demonstrations", type=Path, help="(the bundled ones of --lang)")
    parser.add_argument("--count", type=int, default=DEMONSTRATIONS,
                        help=f"use the first N ({DEMONSTRATIONS})")
    add_world(parser)
    add_training(parser, "runs/mine", SFT)


def add_rank(verbs):
    parser = add_verb(
        verbs, "rank", "one or more language models; the questions of a world",
        "--out: rankings.jsonl, preferences.jsonl, rankings_held_out.jsonl",
        "rank --model runs/mine/pretrained.npz --model runs/mine/sft.npz --out runs/mine")
    parser.add_argument("--model", type=Path, action="append", help="may be repeated")
    parser.add_argument("--count", type=int, default=RANKINGS, help=f"rankings ({RANKINGS})")
    parser.add_argument("--held-out", type=int, default=240, help="held-out rankings (240)")
    parser.add_argument("--k", type=int, default=4, help="answers per ranking (4)")
    add_world(parser)
    parser.add_argument("--out", type=Path, default=Path("runs/mine"))
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (0)")


def add_reward(verbs):
    parser = add_verb(
        verbs, "reward", "rankings (.jsonl: prompt, responses, ranks) or pairs (prompt, chosen, "
        "rejected);\n        a language model to start from, or a text to pretrain one on",
        "--out: reward_model.npz, reward_model.jsonl",
        "reward --rankings data/en/rankings.jsonl --model runs/mine/sft.npz --out runs/mine")
    parser.add_argument("--rankings", type=Path, help="(the bundled ones of --lang)")
    parser.add_argument("--preferences", type=Path, help="pairs instead of rankings")
    parser.add_argument("--test", type=Path, help="held-out pairs or rankings to be judged on")
    parser.add_argument("--model", type=Path, help="language model to start from")
    parser.add_argument("--corpus", type=Path, help="no model: pretrain one on this text")
    add_world(parser)
    add_training(parser, "runs/mine", REWARD)


def add_ppo(verbs):
    parser = add_verb(verbs, "ppo", "a language model, a reward model, .jsonl with a field prompt",
                      "--out: ppo.npz, ppo.value_model.npz, ppo.jsonl",
                      "ppo --model runs/mine/sft.npz --reward-model runs/mine/reward_model.npz "
                      "--set kl_coef=0.05 --out runs/mine")
    parser.add_argument("--model", type=Path, default=Path("runs/mine/sft.npz"))
    parser.add_argument("--reward-model", type=Path, default=Path("runs/mine/reward_model.npz"))
    parser.add_argument("--prompts", type=Path, help="(the bundled training questions of --lang)")
    add_world(parser)
    add_training(parser, "runs/mine", PPO)


def add_chat(verbs):
    parser = add_verb(verbs, "chat", "a language model; what you type", "nothing",
                      "chat runs/mine/ppo.npz")
    parser.add_argument("model", type=Path)
    parser.add_argument("--temperature", type=float, default=1.0, help="(1.0)")
    parser.add_argument("--answers", type=int, default=3, help="answers per question (3)")
    parser.add_argument("--seed", type=int, default=0)


def add_teach(verbs):
    parser = add_verb(
        verbs, "teach", "data/LANG (bundled); what you type; an earlier session",
        "--session: every label at once (.jsonl); beside it the models (.npz), also for chat",
        "teach --annotator Ann --lang en")
    parser.add_argument("--lang", help="en, zh or a world.json (en, or that of the session)")
    parser.add_argument("--annotator", help="your name (me, or that of the session)")
    parser.add_argument("--session", type=Path, help="(runs/teach/ANNOTATOR-LANG.jsonl)")
    parser.add_argument("--rounds", type=int, help="stop after N rounds (when you say so)")
    parser.add_argument(
        "--simulate", metavar="NAME",
        help="let a SIMULATED annotator play: a1 to a5, greets, brief, pirate; 10 rounds")
    parser.add_argument("--seed", type=int, default=0, help="of a new session (0)")
    parser.add_argument("--replay", action="store_true", help="compute the models again, and end")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write its labels as the other "
                        "verbs read them: sft.jsonl, rankings.jsonl, preferences.jsonl; and end")


def add_evaluate(verbs):
    parser = add_verb(verbs, "evaluate", "a language model, a world", "nothing; prints",
                      "evaluate runs/mine/ppo.npz --lang en --samples 1000 --json")
    parser.add_argument("model", type=Path)
    add_world(parser)
    parser.add_argument("--samples", type=int, default=1000, help="answers per split (1000)")
    parser.add_argument("--reference", type=Path, help="also report the exact KL to this model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_walk(verbs):
    parser = add_verb(verbs, "walk",
                      "the environment variable MINIRLHF_STOP (a number): a breakpoint there",
                      "nothing; prints", "walk --scenario ppo --stop 4")
    parser.add_argument("--scenario", default="ppo",
                        choices=("ppo", "transformer", "reward", "rufus"),
                        help="what to walk through (ppo); rufus: one real PPO iteration, 4 prompts")
    parser.add_argument("--stop", metavar="N", help="open pdb there; ratio: where ratio != 1")


def add_experiments(verbs):
    for name in experiments.EXPERIMENTS:
        wrote = f"--out: {name}.json, {name}.png, and the models that all runs share"
        parser = add_verb(verbs, name, "data/LANG (bundled)", wrote, f"{name} --lang zh --seed 0")
        experiments.add_experiment_arguments(parser, name)


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
    lowest = 1 if isinstance(value, int) and name != "warmup" else 0
    if name == "missing_eos_score":
        lowest = -math.inf
    if not math.isfinite(value) or value < lowest:
        raise InputError(f"--set {assignment}: expected a number, {lowest} or more")
    if value == 0 and name in ("target_kl", "max_grad_norm"):
        raise InputError(f"--set {assignment}: expected more than 0")


def at_least(args, lowest, *names):
    """Raises InputError if one of these options is lower."""
    for name in names:
        value = getattr(args, name)
        if not value >= lowest:
            option = name.replace("_", "-")
            raise InputError(f"--{option} {value}: expected {lowest} or more")
