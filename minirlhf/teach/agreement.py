"""What sessions of several annotators say together, and how far one agrees with himself.

Everything here works on rankings and rows (records.py); no model is asked.  Kendall's tau
counts pairs: 1 is the same order, 0 no relation, -1 the reverse.
"""

from pathlib import Path

import numpy as np

from minirlhf.data import write_jsonl, write_preferences, write_rankings
from minirlhf.teach.records import dense, session_corrections, session_rankings, without_undone

# ---- one annotator with himself, two with each other ----------------------------------------


def preferences(rankings):
    """list of Ranking -> {(prompt, text, text): list of signs}, the two texts in code point order.

    +1: the first is better; -1: the second; 0: a tie.  One sign each time the pair was judged.
    """
    signs = {}
    for ranking in rankings:
        order = sorted(zip(ranking.responses, ranking.ranks))
        for i, (first, first_rank) in enumerate(order):
            for second, second_rank in order[i + 1 :]:
                sign = (second_rank > first_rank) - (second_rank < first_rank)
                signs.setdefault((ranking.prompt, first, second), []).append(sign)
    return signs


def self_consistency(rankings):
    """One annotator's rankings -> (share, pairs): how often he judges a repeated pair as before.

    Each judgement is compared with the one before it: the same counts 1, a tie against an order
    one half, the opposite 0.  share is NaN where no pair was judged twice.
    """
    same, pairs = 0.0, 0
    for signs in preferences(rankings).values():
        for before, after in zip(signs, signs[1:]):
            same += 1 - abs(before - after) / 2
            pairs += 1
    return (same / pairs if pairs else float("nan")), pairs


def kendall_tau(signs_a, signs_b):
    """Kendall's tau-b (1945) of two annotators, from the signs of the same pairs, in -1 .. 1.

    (agreeing - disagreeing) / sqrt(pairs that a orders * pairs that b orders); NaN if one of them
    orders nothing.
    """
    a, b = np.asarray(signs_a), np.asarray(signs_b)  # (N,) each
    ordered = float((a != 0).sum()) * float((b != 0).sum())
    return float((a * b).sum()) / ordered**0.5 if ordered else float("nan")


def agreement(rankings_a, rankings_b):
    """Two annotators' rankings -> (tau, pairs) over the pairs of answers that both have judged.

    A pair judged more than once counts by the sign of the sum.
    """
    signs_a, signs_b = preferences(rankings_a), preferences(rankings_b)
    common = [pair for pair in signs_a if pair in signs_b]
    a = np.sign([sum(signs_a[pair]) for pair in common])  # (N,)
    b = np.sign([sum(signs_b[pair]) for pair in common])  # (N,)
    return kendall_tau(a, b), len(common)


def merge_sessions(sessions):
    """list of sessions (their rows) -> rankings, corrections of all annotators together.

    Where the same answers to a question were ranked more than once, by several annotators or by
    one, the mean rank decides (Borda 1784) and the names are joined; what differs stands side by
    side.  The result is ready for step 2 and step 1.
    """
    together, corrections = {}, []
    for rows in sessions:
        for ranking in session_rankings(rows):
            key = (ranking.prompt, tuple(sorted(ranking.responses)))
            together.setdefault(key, []).append(ranking)
        corrections += session_corrections(rows)
    merged = []
    for group in together.values():
        first, totals = group[0], {}
        for ranking in group:
            for text, rank in zip(ranking.responses, ranking.ranks):
                totals[text] = totals.get(text, 0) + rank
        names = "+".join(dict.fromkeys(ranking.annotator for ranking in group))
        ranks = dense([totals[text] for text in first.responses])
        merged.append(first._replace(ranks=ranks, annotator=names))
    return merged, corrections


# ---- to other programs ---------------------------------------------------------------------


def export_session(rows, folder):
    """Write sft.jsonl, rankings.jsonl and preferences.jsonl: what the other verbs read.

    -> list of the paths written; a file with nothing in it is not written.
    """
    folder, rankings, written = Path(folder), session_rankings(rows), []
    names = ("prompt", "completion", "source", "annotator")
    corrections = [row for row in without_undone(rows) if row["kind"] == "correction"]
    demonstrations = [{name: row[name] for name in names} for row in corrections]
    if demonstrations:
        write_jsonl(folder / "sft.jsonl", demonstrations)
        written.append(folder / "sft.jsonl")
    if rankings:
        write_rankings(folder / "rankings.jsonl", rankings)
        write_preferences(folder / "preferences.jsonl", rankings)
        written += [folder / "rankings.jsonl", folder / "preferences.jsonl"]
    return written
