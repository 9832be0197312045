"""Files in and out, and batches.

Files are UTF-8 text or JSONL: one object per line, with the field names of TRL and Hugging Face,
so that they move in and out unchanged (rankings have a format of our own; data/README.md).  A
wrong line gets an error that names the file, the line and the value.  Files are written whole:
first beside the target, then renamed, so that a crash never leaves half a file.

One alignment for the whole package.  A text becomes `<bos> prompt \\n response <eos>`:

    tokens   (B, T+1)   the ids, short rows filled with PAD at the end
    inputs   (B, T)     tokens[:, :-1], what the model reads
    targets  (B, T)     tokens[:, 1:],  what it should say next
    mask     (B, T)     1 where targets[:, t] counts

Every per-token array is (B, T), and its entry t speaks about the action targets[:, t].
"""

import json
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf.errors import InputError, at
from minirlhf.tokenizer import BOS, EOS, PAD, Tokenizer

# The bundled data: beside the package in a checkout, inside it where it was installed as a wheel.
INSTALLED = Path(__file__).parent / "bundled_data"
DATA = INSTALLED if INSTALLED.is_dir() else Path(__file__).parent.parent / "data"
SEPARATOR = "\n"  # between prompt and response; the only place that decides it


class Example(NamedTuple):
    """One text as ids: <bos> prompt separator response <eos>."""

    ids: list  # of int
    prompt_length: int  # ids before the response starts, BOS and separator included; 1 = no prompt


class Texts(NamedTuple):
    """What a language model is trained on, and what it is only measured on."""

    training: list  # of Example
    held_out: list = ()  # of Example, never trained on


class Ranking(NamedTuple):
    """K answers to one prompt and what an annotator made of them."""

    prompt: str
    responses: list  # K texts
    ranks: list  # K ints, 1 is best, equal ranks are ties
    models: list  # K names: which model said it
    annotator: str


# ---- text <-> ids ---------------------------------------------------------------------------


def render(prompt: str, response: str) -> str:
    """The one way a prompt and a response become a text, in every step."""
    return prompt + SEPARATOR + response if prompt else response


def encode_example(tokenizer: Tokenizer, prompt: str, response: str, block_size: int) -> Example:
    """prompt, response (str) -> Example.  Raises InputError if it does not fit block_size."""
    opening = prompt + SEPARATOR if prompt else ""
    ids = [BOS] + tokenizer.encode(opening + response) + [EOS]
    if len(ids) > block_size:
        raise InputError(
            f"{opening + response!r} needs {len(ids)} positions, "
            f"more than the model's block_size of {block_size}"
        )
    return Example(ids=ids, prompt_length=1 + len(opening))


def encode_prompt(tokenizer: Tokenizer, prompt: str, block_size: int) -> list[int]:
    """prompt (str) -> list of ids, BOS and separator included, ready to be continued."""
    ids = [BOS] + tokenizer.encode(prompt + SEPARATOR)
    if len(ids) >= block_size:
        raise InputError(
            f"prompt {prompt!r} fills {len(ids)} of the model's {block_size} positions "
            "and leaves no room for an answer"
        )
    return ids


def decode_response(tokenizer: Tokenizer, ids) -> str:
    """Response ids, with or without EOS -> str."""
    ids = [int(i) for i in ids]
    return tokenizer.decode(ids[:-1] if ids and ids[-1] == EOS else ids)


# ---- batches --------------------------------------------------------------------------------


def pad_rows(rows: list[list[int]]) -> np.ndarray:
    """list of B lists of ids -> tokens (B, T+1) int64, PAD at the end of short rows."""
    tokens = np.full((len(rows), max(map(len, rows))), PAD)  # (B, T+1)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)] = ids
    return tokens


def make_batch(examples: list[Example], response_only: bool):
    """list of B Examples -> inputs (B, T), targets (B, T), mask (B, T) of 0/1 float32.

    response_only: the mask covers the response and its EOS; else everything after BOS.
    """
    tokens = pad_rows([example.ids for example in examples])  # (B, T+1)
    mask = np.zeros(tokens[:, 1:].shape, np.float32)  # (B, T)
    for row, example in enumerate(examples):
        first = example.prompt_length if response_only else 1
        mask[row, first - 1 : len(example.ids) - 1] = 1
    return tokens[:, :-1], tokens[:, 1:], mask


def draw_prompts(prompts: list, count: int, rng: np.random.Generator) -> list:
    """`count` of the prompts in random order, each about equally often."""
    repeats = math.ceil(count / len(prompts))
    drawn = np.concatenate([rng.permutation(len(prompts)) for _ in range(repeats)])  # (N,)
    return [prompts[i] for i in drawn[:count]]


def last_response_index(response_mask: np.ndarray) -> np.ndarray:
    """response_mask (B, T) -> (B,), where each row's last 1 stands.  Raises ValueError if none."""
    if not response_mask.any(axis=1).all():
        row = int(response_mask.any(axis=1).argmin())
        raise ValueError(f"row {row} of response_mask {response_mask.shape} has no response token")
    return response_mask.shape[1] - 1 - response_mask[:, ::-1].argmax(axis=1)


def shuffled_order(
    n_examples: int, batch_size: int, steps: int, rng: np.random.Generator
) -> np.ndarray:
    """Which examples make up each batch: (steps, batch_size) indices, pass after pass, shuffled.

    Sorting by length would save 10 % of the time in padding, but then a batch holds one kind of
    question, and the loss after 1,200 steps is 2 % worse.
    """
    needed = steps * batch_size
    passes = -(-needed // n_examples)
    order = np.concatenate([rng.permutation(n_examples) for _ in range(passes)])  # (n, )
    return order[:needed].reshape(steps, batch_size)


# ---- files ----------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """Path -> str.  Raises InputError if the file is missing, not UTF-8 or empty."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8").removeprefix("\ufeff")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        raise InputError(f"{path}, line {line}: byte {byte:#04x} is not UTF-8 text") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not text.strip():
        raise InputError(f"{path}: the file is empty")
    return text


def write_text(path: Path, text: str):
    """Write a whole file or nothing: into a temporary file in the same folder, then rename."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # it is still there only if something went wrong


def read_jsonl(path: Path, fields: dict[str, type]) -> list[tuple[int, dict]]:
    """JSONL file -> list of (line number, dict).  `fields` maps each required name to its type."""
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # fails on half a surrogate pair
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", error)
            raise InputError(f"{path}, line {number}: not JSON ({reason}): {line[:60]!r}") from None
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


def write_jsonl(path: Path, rows: list[dict]):
    """list of dict -> JSONL file."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_corpus(path: Path) -> list[str]:
    """-> list of texts.  `.jsonl`: field "text".  Else plain text with blank lines between."""
    if Path(path).suffix == ".jsonl":
        return [row["text"] for _, row in read_jsonl(path, {"text": str})]
    blocks = read_text(path).replace("\r\n", "\n").split("\n\n")
    return [block.strip("\n") for block in blocks if block.strip()]


def without_separator(text: str) -> str:
    """A completion -> the response.  Ours open with the separator and are else left as they are;
    foreign ones lose the whitespace around them."""
    return text.removeprefix(SEPARATOR) if text.startswith(SEPARATOR) else text.strip()


def read_demonstrations(path: Path) -> list[tuple[str, str]]:
    """-> list of (prompt, response).  The separator that opens a completion is taken off."""
    rows = read_jsonl(path, {"prompt": str, "completion": str})
    for number, row in rows:
        if not row["completion"].strip():
            raise InputError(f"{path}, line {number}: the completion is empty")
    return [(row["prompt"].rstrip(), without_separator(row["completion"])) for _, row in rows]


def read_prompts(path: Path, split: str | None = None) -> list[str]:
    """-> list of prompts, in file order; `split` keeps the rows whose field "split" is that."""
    rows = read_jsonl(path, {"prompt": str})
    prompts = [row["prompt"].rstrip() for _, row in rows if split in (None, row.get("split"))]
    if not prompts:
        raise InputError(f"{path}: no prompt with split {split!r}")
    return prompts


def read_rankings(path: Path) -> list[Ranking]:
    """-> list of Ranking.  Checks lengths, that ranks are dense from 1 and answers distinct."""
    rankings = []
    for number, row in read_jsonl(path, {"prompt": str, "responses": list, "ranks": list}):
        with at(f"{path}, line {number}"):
            rankings.append(as_ranking(row))
    return rankings


def as_ranking(row: dict) -> Ranking:
    """One object of a rankings file -> Ranking.  Raises InputError that says what is wrong."""
    responses, ranks = row["responses"], row["ranks"]
    if len(responses) < 2 or len(responses) != len(ranks):
        raise InputError(f"{len(responses)} responses and {len(ranks)} ranks")
    for response in responses:
        if not isinstance(response, str) or responses.count(response) > 1:
            raise InputError(f"response {response!r} is not a text or occurs twice")
    for rank in ranks:
        if type(rank) is not int:  # bool would pass isinstance
            raise InputError(f"rank {rank!r} is not a whole number")
    if sorted(set(ranks)) != list(range(1, len(set(ranks)) + 1)):
        raise InputError(f"ranks {ranks} should count 1, 2, .. without a gap")
    models = row.get("models", ["unknown"] * len(responses))
    names = [name for name in models if isinstance(name, str)] if type(models) is list else []
    if len(names) != len(responses):
        raise InputError(f"models {models!r} should be {len(responses)} names")
    annotator = optional_text(row, "annotator", "unknown")
    return Ranking(
        prompt=row["prompt"].rstrip(), responses=responses, ranks=ranks, models=models,
        annotator=annotator,
    )


def optional_text(row: dict, name: str, default: str) -> str:
    """row[name], or `default` if there is none.  Raises InputError if it is not a text."""
    text = row.get(name, default)
    if not isinstance(text, str):
        raise InputError(f"field {name!r} should be str, got {text!r}")
    return text


def write_rankings(path: Path, rankings: list[Ranking]):
    """list of Ranking -> JSONL."""
    write_jsonl(path, [ranking._asdict() for ranking in rankings])


def read_preferences(path: Path) -> list[Ranking]:
    """-> list of Ranking with two responses each: chosen has rank 1, rejected rank 2.

    A row without "prompt" is taken as two whole texts (TRL's implicit prompt).
    """
    rankings = []
    for number, row in read_jsonl(path, {"chosen": str, "rejected": str}):
        chosen, rejected = without_separator(row["chosen"]), without_separator(row["rejected"])
        with at(f"{path}, line {number}"):
            prompt = optional_text(row, "prompt", "").rstrip()
            if chosen == rejected:
                raise InputError(f"chosen and rejected are both {chosen!r}")
            annotator = optional_text(row, "annotator", "unknown")
        pair = Ranking(
            prompt=prompt, responses=[chosen, rejected], ranks=[1, 2], models=["unknown"] * 2,
            annotator=annotator,
        )
        rankings.append(pair)
    return rankings


def write_preferences(path: Path, rankings: list[Ranking]):
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
