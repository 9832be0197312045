"""Writes the bundled data of one language from its world.json: same seed, same bytes.

    python data/generate.py --lang en --seed 0

corpus.txt     what Rufus has heard before anyone teaches him: faulty more often than not
sft.jsonl      SIMULATED corrections of faulty answers: demonstrations for step 1
prompts.jsonl  every question with its split

Who may say what, and how often it goes wrong, stands in world.json (see data/README.md).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run without installing

from minirlhf.data import SEPARATOR, render, write_jsonl, write_text  # noqa: E402
from minirlhf.errors import InputError, at  # noqa: E402
from minirlhf.rufus.world import World, data_folder, fill  # noqa: E402


def pick(items, rng):
    """-> one of the items, each equally likely."""
    return items[rng.integers(len(items))]


def choose_content(world, person, relation, rng):
    """-> the content word to state: the fact with probability shares.true, if it is ever stated."""
    fact = world.facts[person][relation]
    may_be_true = [person, relation] not in world.never_stated
    if may_be_true and rng.random() < world.shares["true"]:
        return fact
    return pick([word for word in world.relations[relation]["contents"] if word != fact], rng)


def speak_naturally(world, person, relation, content, rng):
    """-> the usual sentence, sometimes (shares.greeting) with a greeting before it."""
    parts = world.parts(person, relation, content)
    text = fill(world.sentence, parts)
    if rng.random() < world.shares["greeting"]:
        text = world.greet(pick(world.greetings, rng), text)
    return text


def misspeak(world, person, relation, content, count, rng):
    """-> (text, kinds): an answer with `count` faults (fewer if no more apply) and their kinds.

    A fault replaces one part of the answer by one of its templates; two faults touch two different
    parts.  A fault that changes nothing (no article to miss) or mends the answer is passed over.
    """
    parts = world.parts(person, relation, content)
    role = world.relations[relation][world.people[person]["role"]]
    wrong_contents = world.relations[relation]["contents"][content]["wrong"]
    parts["wrong_verb"] = pick(role["wrong_verbs"] or [parts["verb"]], rng)
    parts["wrong_content"] = pick(wrong_contents or [parts["content"]], rng)
    text = fill(world.sentence, parts)
    natural = world.question(fill(role["question"], parts)).references
    weights = np.array([fault["weight"] for fault in world.faults], float)  # (F,)
    # the order of F exponential clocks: drawing by weight, without putting back
    order = np.argsort(rng.exponential(size=len(weights)) / weights)
    kinds, touched = [], set()
    for fault in (world.faults[i] for i in order):
        changed = {**parts, fault["part"]: pick(fault["becomes"], rng)}
        # twice: the sentence asks for parts, and a changed part may ask for a wrong one
        candidate = fill(fill(changed["sentence"], changed), changed)
        if fault["part"] in touched or candidate == text or candidate in natural:
            continue
        parts, text = changed, candidate
        kinds.append(fault["kind"])
        touched.add(fault["part"])
        if len(kinds) == count:
            break
    return text, kinds


def draw_fault_count(world, rng):
    """-> 1 with probability shares.one_fault, else 2."""
    return 1 if rng.random() < world.shares["one_fault"] else 2


def corpus_document(world, rng):
    """-> a question line and an answer line, or (shares.small_talk) one sentence about nothing."""
    if rng.random() < world.shares["small_talk"]:
        return pick(world.small_talk, rng)
    prompt = pick(world.questions(), rng)
    person, relation = world.question(prompt)[:2]
    content = choose_content(world, person, relation, rng)
    if rng.random() < world.shares["natural"]:
        answer = speak_naturally(world, person, relation, content, rng)
    else:
        count = draw_fault_count(world, rng)
        answer = misspeak(world, person, relation, content, count, rng)[0]
    return render(prompt, answer)


def corpus_documents(world, n, rng):
    """-> list of n documents."""
    return [corpus_document(world, rng) for _ in range(n)]


def demonstrations(world, n, rng, annotator):
    """-> n rows for sft.jsonl: a SIMULATED person corrects faulty answers to training questions.

    The questions come in random rounds, so that the first few rows ask different ones.  A
    correction keeps the content that was stated, true or not: it mends the manner, not the fact.
    """
    training = world.questions("train")
    rows = []
    while len(rows) < n:
        for i in rng.permutation(len(training))[: n - len(rows)]:
            prompt = training[i]
            person, relation = world.question(prompt)[:2]
            content = choose_content(world, person, relation, rng)
            count = draw_fault_count(world, rng)
            said = misspeak(world, person, relation, content, count, rng)[0]
            completion = SEPARATOR + world.correct(prompt, said)
            row = {"prompt": prompt, "completion": completion, "source": "correction"}
            rows.append({**row, "annotator": annotator})
    return rows


def prompt_rows(world):
    """-> rows for prompts.jsonl: every question of the world with its split."""
    training = world.questions("train")
    rows = []
    for prompt in world.questions():
        rows.append({"prompt": prompt, "split": "train" if prompt in training else "held_out"})
    return rows


def main():
    """Command line -> three files beside world.json (or in --out)."""
    parser = argparse.ArgumentParser(
        description="Write corpus.txt, sft.jsonl and prompts.jsonl of one language.",
        epilog="Example: python data/generate.py --lang en --seed 0",
    )
    parser.add_argument(
        "--lang", default="en", help="a folder of data/, or the path of a world.json (default: en)"
    )
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    parser.add_argument("--documents", type=int, default=20_000, help="default: 20000")
    parser.add_argument("--demonstrations", type=int, default=96, help="default: 96")
    parser.add_argument("--out", type=Path, help="folder to write to (default: beside world.json)")
    args = parser.parse_args()
    try:
        world = World.load(args.lang)
        out = args.out or data_folder(args.lang)
        # one stream per file: more documents leave the demonstrations as they are
        corpus_seed, sft_seed = np.random.SeedSequence(args.seed).spawn(2)
        with at(world.source):
            documents = corpus_documents(world, args.documents, np.random.default_rng(corpus_seed))
            rows = demonstrations(world, args.demonstrations, np.random.default_rng(sft_seed), "a1")
    except InputError as error:
        sys.exit(f"error: {error}")
    write_text(out / "corpus.txt", "".join(document + "\n\n" for document in documents))
    write_jsonl(out / "sft.jsonl", rows)
    write_jsonl(out / "prompts.jsonl", prompt_rows(world))
    for name in ("corpus.txt", "sft.jsonl", "prompts.jsonl"):
        print(f"wrote {out / name}")


if __name__ == "__main__":
    main()
