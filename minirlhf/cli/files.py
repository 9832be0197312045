"""The files that a verb reads and the folder that it writes, checked before any work is done."""

import sys

from minirlhf.checkpoint import load_model
from minirlhf.data import read_jsonl
from minirlhf.errors import InputError, at
from minirlhf.rufus.answers import encode_prompts, encode_text
from minirlhf.rufus.pipeline import LANGUAGE_MODEL


def load_speaker(path):
    """Path -> Model, a language model that knows how long its answers may be."""
    model = load_model(path, LANGUAGE_MODEL)
    if not isinstance(model.extra.get("max_new_tokens"), int):
        raise InputError(f"{path}: does not say its max_new_tokens; `pretrain` makes one that does")
    return model


def check_prompts(model, prompts, place, lines=None):
    """Raises InputError, naming the place and the prompt's line, if there are lines, for a prompt
    that the model cannot read."""
    for i, prompt in enumerate(prompts):
        with at(f"{place}, line {lines[i]}" if lines else place):
            encode_prompts(model, [prompt])


def check_answers(model, rows, path):
    """Raises InputError, naming file and line, for a text of the file that the model cannot read.

    rows: (prompt, list of responses) for every line of the file that is not blank.
    """
    for number, (prompt, responses) in zip(line_numbers(path), rows):
        for response in responses:
            with at(f"{path}, line {number}"):
                encode_text(model, prompt, response)


def check_rankings(model, rankings, path):
    """Raises InputError if no answer is better than another, or if a model cannot read them."""
    if all(max(ranking.ranks) == 1 for ranking in rankings):
        raise InputError(f"{path}: all answers are tied, nothing can be learned")
    if model is not None:
        check_answers(model, [(ranking.prompt, ranking.responses) for ranking in rankings], path)
        prompts = [ranking.prompt for ranking in rankings]
        check_prompts(model, prompts, path, line_numbers(path))


def check_vocabulary(path, model, other_path, other):
    """Raises InputError if the two models do not know the same characters in the same order."""
    if model.tokenizer.vocab != other.tokenizer.vocab:
        raise InputError(f"{path}: another vocabulary than that of {other_path}")


def line_numbers(path):
    """JSONL file -> the number of each line that holds an object."""
    return [number for number, _ in read_jsonl(path, {})]


def prepare_out(args, *names):
    """Make the folder; an interrupted run of `names` is gone on with, thrown away, or an error."""
    leftovers = begin(args, [f"{name}.resume.npz" for name in names])
    if args.resume and not (args.fresh or leftovers or args.verb == "demo"):  # which keeps stages
        print(f"nothing to resume in {args.out}: starting from the beginning", file=sys.stderr)
    return args.out


def begin(args, patterns):
    """Make the folder args.out -> list of paths, what an interrupted run has left there.

    Raises InputError unless args says to go on with it (--resume) or to throw it away (--fresh).
    """
    make_folder(args.out)
    leftovers = [path for pattern in patterns for path in sorted(args.out.glob(pattern))]
    if args.fresh:
        for path in leftovers:
            path.unlink()
    elif leftovers and not args.resume:
        raise InputError(
            f"{leftovers[0]}: an interrupted run; add --resume to go on or --fresh to start again")
    return leftovers


def make_folder(path):
    """mkdir -p.  Raises InputError where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be made a folder ({error.strerror})") from None
