"""Files in and out, and batches.

Files are UTF-8 text or JSONL: one object per line, with the field names of TRL and Hugging Face,
so that they move in and out unchanged (data/README.md is the format card).  A wrong line gets an
error that names the file, the line and the value.  Files are written whole: first beside the
target, then renamed, so that a crash never leaves half a file.

One alignment for the whole package.  A text becomes `<bos> prompt \\n response <eos>`:

    tokens   (B, T+1)   the ids, short rows filled with PAD at the end
    inputs   (B, T)     tokens[:, :-1], what the model reads
    targets  (B, T)     tokens[:, 1:],  what it should say next
    mask     (B, T)     1 where targets[:, t] counts

Every per-token array is (B, T), and its entry t speaks about the action targets[:, t].
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf.errors import InputError
from minirlhf.tokenizer import BOS, EOS, PAD

SEPARATOR = "\n"  # between prompt and response; the only place that decides it


class Example(NamedTuple):
    """One text as ids: <bos> prompt separator response <eos>."""

    ids: list  # of int
    prompt_length: int  # ids before the response starts, BOS and separator included; 1 = no prompt


class Ranking(NamedTuple):
    """K answers to one prompt and what an annotator made of them."""

    prompt: str
    responses: list  # K texts
    ranks: list  # K ints, 1 is best, equal ranks are ties
    models: list  # K names: which model said it
    annotator: str


# ---- text <-> ids ---------------------------------------------------------------------------


def render(prompt, response):
    """The one way a prompt and a response become a text, in every step."""
    return prompt + SEPARATOR + response if prompt else response


def encode_example(tokenizer, prompt, response, block_size, where="text"):
    """prompt, response (str) -> Example.  Raises InputError if it does not fit block_size."""
    opening = prompt + SEPARATOR if prompt else ""
    ids = [BOS] + tokenizer.encode(opening + response, where) + [EOS]
    if len(ids) > block_size:
        raise InputError(
            f"{where}: {opening + response!r} needs {len(ids)} positions, "
            f"more than the model's block_size of {block_size}"
        )
    return Example(ids, 1 + len(opening))


def encode_prompt(tokenizer, prompt, block_size, where="prompt"):
    """prompt (str) -> list of ids, BOS and separator included, ready to be continued."""
    ids = [BOS] + tokenizer.encode(prompt + SEPARATOR, where)
    if len(ids) >= block_size:
        raise InputError(
            f"{where}: prompt {prompt!r} fills {len(ids)} of the model's {block_size} positions "
            "and leaves no room for an answer"
        )
    return ids


def decode_response(tokenizer, ids):
    """Response ids, with or without EOS -> str."""
    ids = [int(i) for i in ids]
    return tokenizer.decode(ids[:-1] if ids and ids[-1] == EOS else ids)


# ---- batches --------------------------------------------------------------------------------


def pad_rows(rows):
    """list of B lists of ids -> tokens (B, T+1) int64, PAD at the end of short rows."""
    tokens = np.full((len(rows), max(map(len, rows))), PAD)  # (B, T+1)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    return tokens


def make_batch(examples, response_only):
    """list of B Examples -> inputs (B, T), targets (B, T), mask (B, T) of 0/1 float32.

    response_only: the mask covers the response and its EOS; else everything after BOS.
    """
    tokens = pad_rows([example.ids for example in examples])  # (B, T+1)
    mask = np.zeros(tokens[:, 1:].shape, np.float32)  # (B, T)
    for row, example in enumerate(examples):
        first = example.prompt_length if response_only else 1
        mask[row, first - 1 : len(example.ids) - 1] = 1
    return tokens[:, :-1], tokens[:, 1:], mask


def length_bucketed_order(lengths, batch_size, steps, rng):
    """Which examples make up each batch: (steps, batch_size) indices into `lengths`.

    Passes over the data in random order; within a stretch of 16 batches, texts of similar length
    share a batch.  Padding costs time, and this leaves little of it (a step is 1.3x faster).
    """
    needed = steps * batch_size
    lengths = np.asarray(lengths)
    passes = -(-needed // len(lengths))
    order = np.concatenate([rng.permutation(len(lengths)) for _ in range(passes)])[:needed]
    batches = []
    for start in range(0, needed, 16 * batch_size):
        stretch = order[start : start + 16 * batch_size]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")].reshape(-1, batch_size)
        batches.append(rng.permutation(stretch))
    return np.concatenate(batches)  # (steps, batch_size)


# ---- files ----------------------------------------------------------------------------------


def read_text(path):
    """Path -> str.  Raises InputError if the file is missing, not UTF-8 or empty."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    return text.removeprefix("\ufeff")


def write_text(path, text):
    """Write a whole file or nothing: into a temporary file in the same folder, then rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    os.replace(temporary, path)


def read_jsonl(path, fields):
    """JSONL file -> list of (line number, dict).  `fields` maps each required name to its type."""
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not JSON ({error.msg}): {line[:60]!r}"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected an object, got {line[:60]!r}")
        for name, kind in fields.items():
            if name not in row:
                raise InputError(f"{path}, line {number}: field {name!r} is missing")
            if not isinstance(row[name], kind):
                raise InputError(
                    f"{path}, line {number}: field {name!r} should be {kind.__name__}, "
                    f"got {row[name]!r}"
                )
        rows.append((number, row))
    return rows


def write_jsonl(path, rows):
    """list of dict -> JSONL file."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_corpus(path):
    """-> list of texts.  `.jsonl`: field "text".  Else plain text: documents end at a blank line."""
    if Path(path).suffix == ".jsonl":
        return [row["text"] for _, row in read_jsonl(path, {"text": str})]
    blocks = read_text(path).replace("\r\n", "\n").split("\n\n")
    return [block.strip("\n") for block in blocks if block.strip()]


def read_demonstrations(path):
    """-> list of (prompt, response).  The separator that opens a completion is taken off."""
    rows = read_jsonl(path, {"prompt": str, "completion": str})
    for number, row in rows:
        if not row["completion"].strip():
            raise InputError(f"{path}, line {number}: the completion is empty")
    return [(row["prompt"].rstrip(), row["completion"].strip()) for _, row in rows]


def read_prompts(path, split=None):
    """-> list of prompts, in file order; `split` keeps the rows whose field "split" is that."""
    rows = read_jsonl(path, {"prompt": str})
    prompts = [row["prompt"].rstrip() for _, row in rows if split in (None, row.get("split"))]
    if not prompts:
        raise InputError(f"{path}: no prompt with split {split!r}")
    return prompts


def read_rankings(path):
    """-> list of Ranking.  Checks lengths, that ranks are dense from 1 and answers distinct."""
    fields = {"prompt": str, "responses": list, "ranks": list}
    rankings = []
    for number, row in read_jsonl(path, fields):
        where = f"{path}, line {number}"
        responses, ranks = row["responses"], row["ranks"]
        if len(responses) < 2 or len(responses) != len(ranks):
            raise InputError(f"{where}: {len(responses)} responses and {len(ranks)} ranks")
        for response in responses:
            if not isinstance(response, str) or responses.count(response) > 1:
                raise InputError(f"{where}: response {response!r} is not a text or occurs twice")
        for rank in ranks:
            if type(rank) is not int:  # bool would pass isinstance
                raise InputError(f"{where}: rank {rank!r} is not a whole number")
        if set(ranks) != set(range(1, max(ranks) + 1)):
            raise InputError(f"{where}: ranks {ranks} should count 1, 2, .. without a gap")
        models = row.get("models", ["unknown"] * len(responses))
        annotator = row.get("annotator", "unknown")
        rankings.append(Ranking(row["prompt"].rstrip(), responses, ranks, models, annotator))
    return rankings


def write_rankings(path, rankings):
    """list of Ranking -> JSONL."""
    write_jsonl(path, [ranking._asdict() for ranking in rankings])


def read_preferences(path):
    """-> list of Ranking with two responses each: chosen has rank 1, rejected rank 2.

    A row without "prompt" is taken as two whole texts (TRL's implicit prompt).
    """
    rankings = []
    for number, row in read_jsonl(path, {"chosen": str, "rejected": str}):
        chosen, rejected = row["chosen"].strip(), row["rejected"].strip()
        prompt = row.get("prompt", "")
        if not isinstance(prompt, str):
            raise InputError(f"{path}, line {number}: field 'prompt' should be str, got {prompt!r}")
        if chosen == rejected:
            raise InputError(f"{path}, line {number}: chosen and rejected are both {chosen!r}")
        annotator = row.get("annotator", "unknown")
        rankings.append(
            Ranking(prompt.rstrip(), [chosen, rejected], [1, 2], ["unknown"] * 2, annotator)
        )
    return rankings


def write_preferences(path, rankings):
    """list of Ranking -> JSONL of pairs, in TRL's explicit form.  Ties are dropped."""
    rows = []
    for ranking in rankings:
        for better, better_rank in zip(ranking.responses, ranking.ranks):
            for worse, worse_rank in zip(ranking.responses, ranking.ranks):
                if better_rank < worse_rank:
                    rows.append(
                        {
                            "prompt": ranking.prompt,
                            "chosen": SEPARATOR + better,
                            "rejected": SEPARATOR + worse,
                            "annotator": ranking.annotator,
                        }
                    )
    write_jsonl(path, rows)
