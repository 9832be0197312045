"""The lines that a person types while teaching Rufus: what they mean, and how a label is typed.

They are signs and single letters, the same in every language; full-width signs are read as well.
"""

import re

from minirlhf.errors import InputError
from minirlhf.messages import later

HELP = later("""
  2 > 1 > 3 = 4    rank the answers: 2 is best, then 1, then 3 and 4 alike
  2                answer 2 is the best
  u 1 3            1 and 3 sound unnatural, the others natural
  ok               all sound natural          u all    none does
  = I am a robot.  say it right: your own answer to the question
  s                skip this question         z        undo the last label
  h                history                    l        let Rufus learn now
  Who is Mia?      a line that ends in ? asks your own question
  x                end; everything is kept
  An empty line ends the round: Rufus learns, and the next question comes.
  You can say several things in one round, such as a ranking and a correction.""")
ALONE = {  # a line that is nothing else -> its action
    "": "done", "s": "skip", "skip": "skip", "z": "undo", "undo": "undo", "h": "history",
    "history": "history", "l": "learn", "learn": "learn", "?": "help", "？": "help",
    "help": "help", "x": "end", "quit": "end", "exit": "end",
}


def plain(text):
    """A text that nobody vouches for -> without characters that could steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def read_line(line, k, say):
    """A typed line about k answers -> (action, value).  Raises InputError with a plain sentence.

    Actions: the labels of Session.label, and "done", "question", "undo", "learn", "history",
    "help", "end".  say: Messages of the reader's language, for that sentence.
    """
    text = line.strip()
    words = text.lower().replace("，", " ").replace(",", " ").split()
    if text.lower() in ALONE:
        return ALONE[text.lower()], None
    if text[0] in "=＝":
        return "correction", text[1:].strip()
    if text[-1] in "?？":
        return "question", text
    if words == ["ok"]:
        return "unnatural", []
    if words[0] == "u":
        if words[1:] == ["all"]:
            return "unnatural", list(range(k))
        if words[1:]:
            return "unnatural", [number_of(word, k, say) for word in words[1:]]
        raise InputError(say("Which ones? u 1 3, or u all, or ok if all sound natural."))
    if re.fullmatch(r"[\d\s>=＞＝]+", text):
        return read_order(text, k, say)
    raise InputError(say("That is not understood. Type ? for help; a correction begins with =."))


def number_of(word, k, say):
    """"3" -> 2.  Raises InputError unless it is the number of an answer."""
    if not re.fullmatch(r"[0-9]{1,9}", word) or not 1 <= int(word) <= k:
        raise InputError(say("{word} is no answer; they have the numbers 1 to {k}.",
                             word=plain(word), k=k))
    return int(word) - 1


def read_order(text, k, say):
    """"2 > 1 > 3 = 4" -> ("rank", [2, 1, 3, 3]); one number alone -> ("best", index).

    Answers that are not named share the last place.
    """
    tiers = re.split(r"[>＞]", text)
    if len(tiers) == 1 and len(text.split()) > 1 and not re.search("[=＝]", text):
        tiers = text.split()  # 2 1 3 4
    ranks = [0] * k
    for place, tier in enumerate(tiers, start=1):
        for word in re.split(r"[\s=＝]+", tier.strip()):
            i = number_of(word or "0", k, say)
            if ranks[i]:
                raise InputError(say("{number} is there twice.", number=i + 1))
            ranks[i] = place
    if sum(rank > 0 for rank in ranks) == 1:
        return "best", ranks.index(1)
    return "rank", [rank or len(tiers) + 1 for rank in ranks]


def as_typed(kind, value, k):
    """The line that a person would type for a label: what read_line reads back."""
    if kind == "correction":
        return f"= {value}"
    if kind == "unnatural":
        chosen = " ".join(str(i + 1) for i in value)
        return "ok" if not value else "u all" if len(value) == k else f"u {chosen}"
    if kind == "rank":
        return in_words(value)
    return {"best": f"{(value or 0) + 1}", "skip": "s"}[kind]


def in_words(ranks):
    """[2, 1, 3, 3] -> "2 > 1 > 3 = 4"."""
    tiers = [[i for i, r in enumerate(ranks) if r == rank] for rank in sorted(set(ranks))]
    return tiers_in_words(tiers)


def tiers_in_words(tiers):
    """list of lists of indices, the best first -> "2 > 1 > 3 = 4"."""
    return " > ".join(" = ".join(str(i + 1) for i in tier) for tier in tiers)
