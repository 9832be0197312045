"""The parts of one round: which question, who answers, what was typed, what has changed.

Plain functions on a Setup and a list of States (learning.py); nothing is kept here.
"""

from typing import NamedTuple

import numpy as np

from minirlhf.data import SEPARATOR, encode_example
from minirlhf.errors import InputError, at
from minirlhf.rufus.answers import ask, encode_prompts
from minirlhf.teach.learning import model_of
from minirlhf.teach.records import LABELS, dense, without_undone, wrong_ranks

PASSES = 6  # times that each speaker is asked for an answer that nobody has given yet
COMPARED = 3  # answers before and after


class Comparison(NamedTuple):
    """What Rufus said to one question before a learning, and what he says after it."""

    prompt: str
    taught: bool  # False: a question on which he was never taught anything
    before: list  # of COMPARED texts
    after: list  # the same number


# ---- the question ---------------------------------------------------------------------------


def next_question(setup, rounds):
    """The next of the world's questions: all of them in a random order, then again.

    rounds: {number: Round} so far.
    """
    asked = [r for r in rounds.values() if r.prompt in setup.taught and r.again < 0]
    turn, place = divmod(len(asked), len(setup.taught))
    order = np.random.default_rng([setup.seed, 0, turn]).permutation(len(setup.taught))
    return setup.taught[order[place]]


def due_again(setup, rounds, rows):
    """The Round to be shown again now, to see whether the annotator agrees with himself; or None.

    Every repeat_every rounds, one from half as many rounds ago.
    """
    every = setup.settings.repeat_every
    if not every or not rounds or (len(rounds) + 1) % every:
        return None
    judged = {row["of"] for row in without_undone(rows) if row["kind"] in LABELS[:-1]}
    first = [r for r in rounds.values() if r.number in judged and r.again < 0]
    return first[-max(1, every // 2) :][0] if first else None


# ---- the answers ----------------------------------------------------------------------------


def speak(setup, states, prompt, rng):
    """-> K different texts and who said them, "v0" the pretrained model.

    In turn until there are enough: the current version twice, the one before it, the pretrained
    one.  Answers that did not end, or hold a special token or a line break, are not shown.
    """
    speakers = [states[-1], states[-1], states[max(0, len(states) - 2)], states[0]]
    texts, names = [], []
    for _ in range(PASSES):
        for state in speakers:
            answer = ask(model_of(setup, state.policy), [prompt], rng)[0]
            plain = answer.finished and answer.text.strip() and answer.text.isprintable()
            special = "<pad>" in answer.text or "<bos>" in answer.text
            new = answer.text not in texts and len(texts) < setup.settings.answers
            if plain and new and not special:
                texts.append(answer.text)
                names.append(f"v{state.version}")
    if not texts:
        raise InputError(f"Rufus found no answer to {prompt!r} that ends; ask something else")
    return texts, names


def compare(setup, before, after, prompt, taught, seed):
    """Two States -> Comparison.  Both draw with the same random numbers (seed: list of ints)."""
    texts = []
    for state in (before, after):
        rng = np.random.default_rng(seed)
        answers = ask(model_of(setup, state.policy), [prompt] * COMPARED, rng)
        texts.append([a.text + ("" if a.finished else " ...") for a in answers])
    return Comparison(prompt=prompt, taught=taught, before=texts[0], after=texts[1])


# ---- what a person types --------------------------------------------------------------------


def typed(text, tokenizer):
    """Text from a keyboard -> without spaces around it, and half-width marks read as full-width
    ones where the model knows only those."""
    pairs = ((",", "，"), ("?", "？"), ("!", "！"), (".", "。"), (":", "："), ("’", "'"))
    for half, full in pairs:
        if half not in tokenizer.vocab and full in tokenizer.vocab:
            text = text.replace(half, full)
    return text.strip()


def read_typed(base, text, what):
    """A typed text -> what is kept.  Raises InputError if Rufus could not read or say it."""
    if not isinstance(text, str):
        raise InputError(f"the {what} should be a text, not {text!r}")
    text = typed(text, base.tokenizer)
    if not text:
        raise InputError(f"the {what} is empty")
    unknown = sorted({char for char in text if char not in base.tokenizer.vocab or char < " "})
    if unknown:
        raise InputError(f"Rufus does not know {' '.join(map(repr, unknown))}; he knows "
                         f"{base.tokenizer.vocab.strip()}")
    return text


def read_question(base, text):
    """A typed question -> what is asked.  Raises InputError if Rufus could not read it."""
    text = read_typed(base, text, "question")
    encode_prompts(base, [text])  # raises InputError if no answer would fit behind it
    return text


def read_correction(base, prompt, text):
    """A typed correction -> what is kept.  Raises InputError if Rufus could not say it."""
    text = read_typed(base, text, "correction")
    limit = base.extra["max_new_tokens"] - 1  # EOS needs one
    if len(text) > limit:
        raise InputError(f"{len(text)} characters are too many; Rufus can say {limit}")
    with at("correction"):
        encode_example(base.tokenizer, prompt, text, base.config.block_size)
    return text


def label_fields(base, asked, kind, value):
    """A label of a Round -> the fields of its record.  Raises InputError if it makes no sense."""
    k = len(asked.responses)
    if kind == "skip":
        return {}
    if kind == "correction":
        text = read_correction(base, asked.prompt, value)
        return {"completion": SEPARATOR + text, "source": "correction"}
    fields = {"responses": asked.responses, "models": asked.models}
    if kind == "rank":
        ranks = [rank if type(rank) is int else -1 for rank in value]
        wrong = wrong_ranks(ranks, k)
        if wrong:
            raise InputError(wrong)
        return fields | {"ranks": ranks}
    if kind not in ("best", "unnatural"):
        raise InputError(f"{kind!r} is none of {', '.join(LABELS)}")
    chosen = [value] if kind == "best" else list(value)
    if any(type(i) is not int or not 0 <= i < k for i in chosen):
        raise InputError(f"{value!r}: the answers have the numbers 0 to {k - 1}")
    if kind == "best":
        return fields | {"ranks": dense([i != value for i in range(k)])}
    natural = [i not in chosen for i in range(k)]
    return fields | {"ranks": dense([not n for n in natural]), "natural": natural}
