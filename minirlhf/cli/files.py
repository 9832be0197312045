"""The files that a verb reads and the folder that it writes, checked before any work is done."""

import sys

from minirlhf.checkpoint import load_model
from minirlhf.data import encode_example, encode_prompt, read_jsonl
from minirlhf.errors import InputError, at
from minirlhf.rufus.pipeline import LANGUAGE_MODEL
from minirlhf.rufus.world import data_folder


def load_speaker(path):
    """Path -> Model, a language model that knows how long its answers may be."""
    model = load_model(path, LANGUAGE_MODEL)
    if not isinstance(model.extra.get("max_new_tokens"), int):
        raise InputError(f"{path}: does not say its max_new_tokens; `pretrain` makes one that does")
    return model


def check_prompts(model, prompts, places):
    """Raises InputError, naming the place, for a prompt that the model cannot read."""
    room = model.config.block_size - model.extra["max_new_tokens"] + 1
    for prompt, place in zip(prompts, places):
        with at(place):
            encode_prompt(model.tokenizer, prompt, room)


def check_answers(model, rows, path):
    """Raises InputError, naming file and line, for a text of the file that the model cannot read.

    rows: (prompt, list of responses) for every line of the file that is not blank.
    """
    for number, (prompt, responses) in zip(line_numbers(path), rows):
        for response in responses:
            with at(f"{path}, line {number}"):
                encode_example(model.tokenizer, prompt, response, model.config.block_size)


def check_rankings(model, rankings, path):
    """Raises InputError if no answer is better than another, or if a model cannot read them."""
    if all(max(ranking.ranks) == 1 for ranking in rankings):
        raise InputError(f"{path}: all answers are tied, nothing can be learned")
    if model is not None:
        check_answers(model, [(ranking.prompt, ranking.responses) for ranking in rankings], path)
        prompts = [ranking.prompt for ranking in rankings]
        check_prompts(model, prompts, [f"{path}, line {n}" for n in line_numbers(path)])


def check_vocabulary(path, model, other_path, other):
    """Raises InputError if the two models do not know the same characters in the same order."""
    if model.tokenizer.vocab != other.tokenizer.vocab:
        raise InputError(f"{path}: another vocabulary than that of {other_path}")


def line_numbers(path):
    """JSONL file -> the number of each line that holds an object."""
    return [number for number, _ in read_jsonl(path, {})]


def data_file(args, name):
    """Path of a bundled file of --lang, which may be a language or a world.json."""
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
            f"{leftovers[0]}: an interrupted run; add --resume to go on or --fresh to start again")
    elif args.resume and not leftovers and args.verb != "demo":  # demo keeps finished stages too
        print(f"nothing to resume in {args.out}: starting from the beginning", file=sys.stderr)
    return args.out


def make_folder(path):
    """mkdir -p.  Raises InputError where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be made a folder ({error.strerror})") from None
