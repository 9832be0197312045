"""A session of teaching as data: one file of records, and what follows from them without a model.

A session is a JSONL file.  Everything that happens is one record at its end: a round (a question
and the answers shown), a label (rank, best, unnatural, correction, skip), an undo, a learning.
Nothing is ever rewritten: an undo is a record that names the label it takes back.  So a crash can
lose no label, and the file tells the whole story; learning.py computes the models from it.

A label row is also a row of the package's own formats: `rank`, `best` and `unnatural` rows have the
fields of rankings.jsonl, `correction` rows those of sft.jsonl (data/README.md).  All rows have all
fields.  `responses` stand in the order shown; `models` says which version said each.
"""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from minirlhf.data import Ranking, read_jsonl, without_separator
from minirlhf.errors import InputError

FORMAT = "minirlhf session 2"  # 1 was taught by another recipe
LABELS = ("rank", "best", "unnatural", "correction", "skip")
KINDS = ("session", "round", *LABELS, "undo", "learn")
FIELDS = {
    "kind": str,  # one of KINDS
    "number": int,  # of the record, counted from 0
    "of": int,  # a label: its round; an undo: its label; a round shown again: the first; else -1
    "time": str,  # UTC; nothing is computed from it
    "annotator": str,
    "simulated": bool,  # True: no person, a program
    "version": int,  # of the models at this moment; a learn row: the version that comes out of it
    "prompt": str,
    "responses": list,  # K texts in the order shown
    "models": list,  # K names, "v0" is the pretrained model; hidden from the annotator
    "ranks": list,  # K ints, 1 is best, equal ranks are ties
    "natural": list,  # K bools, only in `unnatural` rows
    "completion": str,  # the separator and the typed correction
    "source": str,  # "correction" in such rows
    "settings": str,  # the first row: JSON with format, world, seed and settings
}
NOTHING = {str: "", int: -1, bool: False, list: []}


class Round(NamedTuple):
    """One question and the answers shown to the annotator."""

    number: int  # of its record
    prompt: str
    responses: list  # K texts in the order shown
    models: list  # K names of versions; not for the annotator's eyes
    version: int  # of the models when it was asked
    again: int  # number of the round whose answers are shown again, or -1


# ---- the file -------------------------------------------------------------------------------


def make_row(kind, number, annotator, simulated, version, **fields):
    """One record with every field, the empty ones too."""
    row = {name: NOTHING[kind_of] for name, kind_of in FIELDS.items()}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    row |= {"kind": kind, "number": number, "time": now, "annotator": annotator}
    return row | {"simulated": simulated, "version": version, **fields}


def append_row(path, row, size):
    """Append one record to a file of `size` bytes, at once and to the disk -> its new size.

    Raises InputError if the file has another size: another program is writing to it.
    """
    line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        if file.seek(0, os.SEEK_END) != size:
            raise InputError(f"{path}: changed by another program; start again to go on with it")
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    return size + len(line)


def mend(path):
    """Cut off a last line that a crash has left half-written: nobody was told it was kept."""
    with open(path, "rb+") as file:
        text = file.read()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            file.truncate(whole)
            os.fsync(file.fileno())


def read_session(path):
    """File -> list of rows (dicts).  Raises InputError that names the line which is wrong."""
    rows = [row for _, row in read_jsonl(path, FIELDS)]
    for number, row in enumerate(rows):
        wrong = wrong_row(row, number, rows)
        if wrong:
            raise InputError(f"{path}, record {number}: {wrong}")
    return rows


def wrong_row(row, number, rows):
    """-> what is wrong with a row, "" if nothing is.  A file is not trusted, whoever wrote it."""
    kind, of = row["kind"], row["of"]
    if kind not in KINDS or row["number"] != number or (kind == "session") != (number == 0):
        return f"a {kind!r} with number {row['number']} cannot stand here"
    if not -1 <= of < number or isinstance(of, bool):
        return f"'of' {of} is no earlier record"
    texts = row["responses"] + row["models"]
    if not all(isinstance(text, str) for text in texts) or len(texts) != 2 * len(row["responses"]):
        return "'responses' and 'models' should be as many texts"
    if len(set(row["responses"])) != len(row["responses"]):
        return "an answer occurs twice"
    if kind in LABELS:
        if of < 0 or rows[of]["kind"] != "round":
            return f"'of' {of} is no round"
        if kind != "skip" and row["prompt"] != rows[of]["prompt"]:
            return "another question than in its round"
        if kind in ("rank", "best", "unnatural"):
            if row["responses"] != rows[of]["responses"]:
                return "other answers than in its round"
            return wrong_ranks(row["ranks"], len(row["responses"]))
        if kind == "correction" and not without_separator(row["completion"]).strip():
            return "an empty correction"
    if kind == "undo" and (of < 0 or rows[of]["kind"] not in LABELS):
        return f"'of' {of} is no label"
    if kind == "round" and (not row["prompt"] or not row["responses"]):
        return "a round needs a question and answers"
    return ""


def wrong_ranks(ranks, k):
    """-> what is wrong with the ranks of k answers, "" if nothing is."""
    whole = all(type(rank) is int for rank in ranks)
    if len(ranks) != k or not whole or set(ranks) != set(range(1, len(set(ranks)) + 1)):
        return f"ranks {ranks} of {k} answers should count 1, 2, .. without a gap"
    return ""


def dense(keys):
    """list of K keys that can be ordered, smaller is better -> list of K ranks from 1."""
    order = sorted(set(keys))
    return [order.index(key) + 1 for key in keys]


# ---- what the records say -------------------------------------------------------------------


def without_undone(rows):
    """-> the rows that count: no undo, and no label that one of them takes back."""
    undone = {row["of"] for row in rows if row["kind"] == "undo"}
    return [row for row in rows if row["number"] not in undone and row["kind"] != "undo"]


def as_round(row):
    """A round's row -> Round."""
    return Round(number=row["number"], prompt=row["prompt"], responses=list(row["responses"]),
                 models=list(row["models"]), version=row["version"], again=row["of"])


def labels_of(rows, number):
    """-> the labels of round `number` that count, in the order given."""
    return [r for r in without_undone(rows) if r["kind"] in LABELS and r["of"] == number]


def votes_of(labels):
    """Labels of one round -> (ranks or [], natural or [], best or [], corrections).

    Of each kind the last one counts; every correction counts.
    """
    found = {"rank": [], "unnatural": [], "best": []}
    corrections = []
    for row in labels:
        if row["kind"] == "correction":
            corrections.append(without_separator(row["completion"]))
        elif row["kind"] != "skip":
            found[row["kind"]] = row["natural"] if row["kind"] == "unnatural" else row["ranks"]
    return found["rank"], found["unnatural"], found["best"], list(dict.fromkeys(corrections))


def round_ranking(asked, labels, annotator):
    """Everything said about one round, as one Ranking of its answers and the corrections.

    An order that was given decides; among equals natural answers come before unnatural ones, then
    the best.  A correction is better than every answer shown, but for one that is the same text;
    with an answer that the annotator called natural, and put first, it shares the first rank.
    Raises no error; a ranking that is all ties teaches nothing, and is left out by step 2.
    """
    ranks, natural, best, corrections = votes_of(labels)
    k = len(asked.responses)
    keys = list(zip(ranks or [1] * k, [not n for n in natural] or [False] * k, best or [1] * k))
    if corrections:
        top = min(keys)
        for i, response in enumerate(asked.responses):
            is_top = bool(natural) and natural[i] and keys[i] == top
            keys[i] = (0,) if response in corrections or is_top else (1, *keys[i])
    responses, models = list(asked.responses), list(asked.models)
    for text in corrections:
        if text not in responses:
            responses.append(text)
            models.append("human")
            keys.append((0,))
    return Ranking(prompt=asked.prompt, responses=responses, ranks=dense(keys), models=models,
                   annotator=annotator)


def session_rankings(rows):
    """-> list of Ranking, one for each round with a label that orders something."""
    rounds, labels = {}, {}
    for row in without_undone(rows):
        if row["kind"] == "round":
            rounds[row["number"]] = as_round(row)
        if row["kind"] in LABELS:
            labels.setdefault(row["of"], []).append(row)
    rankings = [round_ranking(rounds[number], given, given[0]["annotator"])
                for number, given in sorted(labels.items())]
    return [ranking for ranking in rankings if max(ranking.ranks) > 1]


def session_corrections(rows):
    """-> list of (prompt, correction), in the order typed."""
    typed = [row for row in without_undone(rows) if row["kind"] == "correction"]
    return [(row["prompt"], without_separator(row["completion"])) for row in typed]
