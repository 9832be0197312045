"""What the verbs run at which a person sits and types: chat, teach, walk."""

import math

import numpy as np

from minirlhf.cli.arguments import at_least
from minirlhf.cli.files import load_speaker
from minirlhf.errors import InputError
from minirlhf.rufus.answers import ask
from minirlhf.teach.rounds import typed
from minirlhf.teach.terminal import run_teach
from minirlhf.walk.walks import run_walk


def run_chat_verb(args, progress):
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
    if args.rounds is not None:
        at_least(args, 1, "rounds")
    if args.simulate and args.annotator:
        raise InputError("give --annotator or --simulate, not both")
    run_teach(args)


def run_walk_verb(args, progress):
    run_walk(args.scenario, args.stop)
