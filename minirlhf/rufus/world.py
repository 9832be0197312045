"""The toy world: what may be said, and the gold judge of what sounds natural.

In RLHF the preference of people reaches the policy by one path: rankings -> reward model -> PPO.
So no model, loss or training loop imports this file; it is the measuring rod behind the experiment
and the source of the simulated rankings (as in Gao et al. 2022, arXiv 2210.10760, where a gold
model stands for the people).

All that is said, and in which language, is data: data/LANG/world.json (data/README.md explains it).
The judge has one idea: naturalness is the share of an answer that a person would leave alone.
The smallest edit distance to a natural answer gives the score, the correction and the reason.
Departures from real people: the judge knows every answer it would call natural, never changes its
mind, and expects a whole sentence that names the person (not "She is a cat." or "A cat.").
"""

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf.data import DATA, read_text
from minirlhf.errors import InputError, at

UNITS = {"word": r"'?\w+|[^\w\s]", "character": r"\S"}  # what one edit changes; I'm is I + 'm
UNKNOWN, FILLER = -1, -2  # ids of a unit that no natural answer has, and of the end of short rows
SPACING_CAP = 0.9  # the highest naturalness of an answer with a wrong space
UNFINISHED = 0.5  # an answer cut off by the length limit counts half

# What world.json must look like: {"*": x} any keys, [x] a list, (x,) a list with at least one item.
ROLE = {"question": str, "verb": str, "wrong_verbs": [str], "also": [str]}
CONTENT = {"say": str, "also": [str], "wrong": [str]}
FAULT = {"kind": str, "weight": float, "part": str, "becomes": (str,)}
SHAPE = {
    "unit": str,
    "typed_as": {"*": str},
    "closing": str,
    "sentence": str,
    "greetings": (str,),
    "greeted": str,
    "story": {"prompt": str, "said": str, "corrected": str},
    "people": {"*": {"role": str, "subject": str}},
    "relations": {"*": {"label": str, "self": ROLE, "other": ROLE, "contents": {"*": CONTENT}}},
    "facts": {"*": {"*": str}},
    "never_stated": [[str]],
    "held_out": [[str]],
    "shares": dict.fromkeys(("natural", "one_fault", "true", "greeting", "small_talk"), float),
    "faults": (FAULT,),
    "small_talk": (str,),
    "reasons": dict.fromkeys(("insert", "drop", "change", "spacing", "between"), str),
}


class Question(NamedTuple):
    """One question and all natural answers to it."""

    person: str
    relation: str
    references: list  # R texts: usual before further ones, no greeting first, the fact first
    contents: list  # R content words, what each reference states
    ids: np.ndarray  # (R, M) unit ids of the references, FILLER at the end of short rows
    lengths: np.ndarray  # (R,) units in each reference


class World:
    """A toy world: people, questions about them, natural answers, facts.  Read-only after loading.

    Every key of world.json is an attribute of the same name (people, relations, facts, ...).
    """

    def __init__(self, data, source="world"):
        """data: the content of a world.json.  Raises InputError that names `source` and the key."""
        with at(source):
            check(data, SHAPE, "")
        self.source = source
        for key in SHAPE:
            setattr(self, key, data[key])
        self.unit_ids = {}  # unit -> id
        self.asked = {}  # prompt -> Question
        self.verdicts = {}  # (prompt, response) -> (naturalness, reference): judged once each
        with at(source):
            if self.unit not in UNITS:
                raise InputError(f"key 'unit' should be one of {list(UNITS)}")
            for person in self.people:
                for relation in self.relations:
                    self._add_question(person, relation)
            self._check_the_rest()

    @classmethod
    def load(cls, lang_or_path):
        """'en', 'zh' or the path of any world.json -> World.  Raises InputError."""
        path = DATA / str(lang_or_path) / "world.json"
        if not path.exists():
            path = Path(lang_or_path)
        try:
            return cls(json.loads(read_text(path)), str(path))
        except json.JSONDecodeError as error:
            raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None

    def __repr__(self):
        return f"World({self.source}: {len(self.asked)} questions, {len(self.held_out)} held out)"

    # ---- what can be asked, and what a person would say --------------------------------------

    def questions(self, split="all"):
        """split: 'train', 'held_out' or 'all' -> list of prompts, in the order of world.json."""
        if split not in ("train", "held_out", "all"):
            raise ValueError(f"split {split!r} is none of 'train', 'held_out', 'all'")
        chosen = []
        for prompt, question in self.asked.items():
            held_out = [question.person, question.relation] in self.held_out
            if split == "all" or held_out == (split == "held_out"):
                chosen.append(prompt)
        return chosen

    def question(self, prompt):
        """prompt -> Question.  Whitespace around the prompt is forgiven; an unknown one is not."""
        asked = self.read(prompt).strip()
        if asked not in self.asked:
            raise ValueError(f"{prompt!r} is not a question of {self.source}")
        return self.asked[asked]

    def references(self, prompt):
        """prompt -> list of all natural answers; the first is the usual sentence with the fact."""
        return list(self.question(prompt).references)

    def parts(self, person, relation, content):
        """-> dict of what an answer is made of: the fields that templates of world.json may use."""
        relation = self.relations[relation]
        return {
            "sentence": self.sentence,
            "subject": self.people[person]["subject"],
            "verb": relation[self.people[person]["role"]]["verb"],
            "content": relation["contents"][content]["say"],
            "word": content,
            "label": relation["label"],
            "closing": self.closing,
        }

    def greet(self, greeting, sentence):
        """-> the sentence with a greeting before it."""
        return fill(self.greeted, {"greeting": greeting, "sentence": sentence})

    # ---- the judge ---------------------------------------------------------------------------

    def naturalness(self, prompt, response, finished=True):
        """The share of the response that a person would leave alone, in [0, 1]; 1 is natural.

        1 - d / max(units of response, units of reference), d the smallest edit distance to a
        natural answer that keeps the content stated.  Wrong spacing: at most 0.9.  finished=False
        (cut off by the length limit): half.
        """
        naturalness, _ = self.judge(prompt, response)
        return naturalness if finished else UNFINISHED * naturalness

    def correct(self, prompt, response):
        """-> what a person would type: the nearest natural answer with the same content word.

        Where nothing or more than one thing is stated, the nearest of all; the fact wins a tie.
        """
        return self.judge(prompt, response)[1]

    def reason(self, prompt, response):
        """-> the edits in words, such as "change `,` to `am`"; "" if the response is natural."""
        reasons = []
        for old, new in self.edits(prompt, response):
            kind = "change" if old and new else "drop" if old else "insert"
            words = {"old": self.join(old), "new": self.join(new)}
            reasons.append(fill(self.reasons[kind], words))
        if self.badly_spaced(response):
            reasons.append(self.reasons["spacing"])
        return self.reasons["between"].join(reasons)

    def truthful(self, prompt, response):
        """-> True if the fact is stated, False if something else is, None if nothing clear is."""
        stated, question = self.stated(prompt, response), self.question(prompt)
        return None if stated is None else stated == self.facts[question.person][question.relation]

    def stated(self, prompt, response):
        """-> the one content word that the response states, or None if it has none or several."""
        text = self.read(response)
        found = text if self.unit == "character" else self.units(text)
        contents = self.relations[self.question(prompt).relation]["contents"]
        stated = [word for word in contents if word in found]
        return stated[0] if len(stated) == 1 else None

    def judge(self, prompt, response):
        """-> (naturalness, correction), from memory if the pair was judged before."""
        if (prompt, response) in self.verdicts:
            return self.verdicts[prompt, response]
        question, stated = self.question(prompt), self.stated(prompt, response)
        ids = self.ids_of(self.units(response))  # (n,)
        last_row = edit_tables(ids, question.ids)[-1]  # (R, M+1)
        distances = last_row[np.arange(len(last_row)), question.lengths]  # (R,)
        if stated is not None:  # a person mends the manner, not the fact
            distances[np.array(question.contents) != stated] = len(ids) + question.ids.shape[1]
        # the first of equals is the usual one; who hears nothing types the usual sentence
        nearest = int(np.argmin(distances)) if len(ids) else 0
        longest = max(len(ids), int(question.lengths[nearest]))
        naturalness = 1 - float(distances[nearest]) / longest
        if self.badly_spaced(response):
            naturalness = min(naturalness, SPACING_CAP)
        self.verdicts[prompt, response] = naturalness, question.references[nearest]
        return self.verdicts[prompt, response]

    def edits(self, prompt, response):
        """-> list of (old, new), lists of units, that turn the response into its correction.

        A run of neighbouring edits is one pair; it costs max(len(old), len(new)) edits.
        """
        said, meant = self.units(response), self.units(self.correct(prompt, response))
        table = edit_tables(self.ids_of(said), self.ids_of(meant)[None])[:, 0]  # (n+1, m+1)
        i, j, edits, after_kept = len(said), len(meant), [], True
        while i or j:  # from the last unit back to the first; keeping is better than changing
            if i and j and said[i - 1] == meant[j - 1] and table[i, j] == table[i - 1, j - 1]:
                old, new = said[i - 1 : i], meant[j - 1 : j]
            elif j and table[i, j] == table[i, j - 1] + 1:
                old, new = [], meant[j - 1 : j]
            elif i and table[i, j] == table[i - 1, j] + 1:
                old, new = said[i - 1 : i], []
            else:
                old, new = said[i - 1 : i], meant[j - 1 : j]
            i, j = i - len(old), j - len(new)
            if old != new:
                run = ([], []) if after_kept else edits.pop()
                edits.append((old + run[0], new + run[1]))
            after_kept = old == new
        return edits[::-1]

    # ---- text --------------------------------------------------------------------------------

    def read(self, text):
        """-> the text with keyboard characters (a Chinese text's ASCII comma) read as meant."""
        for typed, meant in self.typed_as.items():
            text = text.replace(typed, meant)
        return text

    def units(self, text):
        """-> list of what the edit distance counts: words and punctuation marks, or characters."""
        return re.findall(UNITS[self.unit], self.read(text))

    def ids_of(self, units):
        """list of n units -> (n,) ints."""
        return np.array([self.unit_ids.get(unit, UNKNOWN) for unit in units], int)

    def join(self, units):
        """list of units -> correctly spaced text."""
        if self.unit == "character":
            return "".join(units)
        return re.sub(r" (?=[^\w\s])", "", " ".join(units))  # none before punctuation

    def badly_spaced(self, response):
        """-> True if a space is missing or one too many."""
        return self.read(response) != self.join(self.units(response))

    def greets(self, response):
        """-> True if the response opens with a greeting of this world."""
        return self.read(response).startswith(tuple(self.greetings))

    # ---- loading -----------------------------------------------------------------------------

    def _add_question(self, person, relation):
        """Builds the Question of a (person, relation) and files it under its prompt."""
        role, subject = self.people[person]["role"], self.people[person]["subject"]
        if role not in ("self", "other"):
            raise InputError(f"key 'people.{person}.role' is not 'self' or 'other'")
        entry, contents = self.relations[relation][role], self.relations[relation]["contents"]
        fact = self.facts.get(person, {}).get(relation)
        if fact not in contents:
            raise InputError(f"key 'facts.{person}.{relation}': {fact!r} is no content of "
                             f"'relations.{relation}'")
        with at(f"relations.{relation}.{role}.question"):
            prompt = fill(entry["question"], {"subject": subject})
        if prompt in self.asked or prompt != self.read(prompt).strip():
            raise InputError(
                f"relations.{relation}.{role}: key 'question': {prompt!r} is asked twice, has "
                "spaces around it or a character of 'typed_as'")
        answers = self._answers(person, relation, fact)  # (text, content word)
        texts, words = map(list, zip(*answers))
        rows = [self.units(text) for text in texts]
        lengths = np.array([len(row) for row in rows])  # (R,)
        ids = np.full((len(rows), max(lengths)), FILLER)  # (R, M)
        for r, row in enumerate(rows):
            for unit in row:
                self.unit_ids.setdefault(unit, len(self.unit_ids))
            ids[r, : len(row)] = self.ids_of(row)
        self.asked[prompt] = Question(person=person, relation=relation, references=texts,
                                      contents=words, ids=ids, lengths=lengths)
        for text, word in answers:
            if self.stated(prompt, text) != word or self.badly_spaced(text):
                raise InputError(
                    f"relations.{relation}: key 'contents.{word}': in {text!r} the spacing is "
                    f"wrong, or {word!r} is not the one content word found in it")

    def _answers(self, person, relation, fact):
        """-> list of (text, content word): usual before further ones, no greeting first, the fact
        first."""
        role = self.people[person]["role"]
        entry, contents = self.relations[relation][role], self.relations[relation]["contents"]
        usual, further = [], []
        for word in [fact] + [word for word in contents if word != fact]:
            parts = self.parts(person, relation, word)
            for template in [self.sentence] + entry["also"]:
                for said in [parts["content"]] + contents[word]["also"]:
                    with at(f"relations.{relation}.{role}.also"):
                        text = fill(template, {**parts, "content": said})
                    is_usual = template == self.sentence and said == parts["content"]
                    (usual if is_usual else further).append((text, word))
        greeted = []
        with at("greeted"):
            for greeting in self.greetings:
                greeted += [(self.greet(greeting, text), word) for text, word in usual + further]
        return usual + further + greeted

    def _check_the_rest(self):
        """What SHAPE cannot say: shares in 0..1, pairs that exist, templates that can be filled."""
        for name, share in self.shares.items():
            if not 0 <= share <= 1:
                raise InputError(f"key 'shares.{name}' should be in 0..1")
        pairs = [[question.person, question.relation] for question in self.asked.values()]
        for key in ("held_out", "never_stated"):
            for pair in getattr(self, key):
                if pair not in pairs:
                    raise InputError(f"key {key!r}: {pair} is no person, relation")
        for key in ("insert", "drop", "change"):
            with at(f"reasons.{key}"):
                fill(self.reasons[key], {"old": "", "new": ""})
        question = next(iter(self.asked.values()))
        parts = self.parts(question.person, question.relation, question.contents[0])
        parts.update(wrong_verb="", wrong_content="")
        for number, fault in enumerate(self.faults):
            with at(f"faults[{number}]"):
                if fault["part"] not in parts or not fault["weight"] > 0:
                    raise InputError("key 'part' is unknown or key 'weight' is not above 0")
            with at(f"faults[{number}].becomes"):
                for template in fault["becomes"]:
                    fill(template, parts)


def check(value, shape, key):
    """Raises InputError that names the key unless the value looks like SHAPE."""
    kinds = {str: str, float: (int, float), dict: dict, list: list, tuple: list}
    kind = shape if isinstance(shape, type) else type(shape)
    if not isinstance(value, kinds[kind]) or isinstance(value, bool):
        names = {str: "a text", float: "a number", dict: "an object with keys"}
        raise InputError(f"key {key!r} should be {names.get(kind, 'a list')}")
    if not value and (kind is tuple or (kind is dict and key in ("people", "relations"))):
        raise InputError(f"key {key!r} is empty")
    if kind is dict:
        for name in value if "*" in shape else shape:
            path = f"{key}.{name}" if key else name
            if name not in value:
                raise InputError(f"key {path!r} is missing")
            check(value[name], shape.get("*") or shape[name], path)
    elif kind in (list, tuple):
        for number, item in enumerate(value):
            check(item, shape[0], f"{key}[{number}]")


def fill(template, parts):
    """'{subject} {verb}' -> text.  Raises InputError if the template asks for an unknown part."""
    try:
        return template.format(**parts)
    except (KeyError, IndexError, ValueError, AttributeError, TypeError):
        raise InputError(f"template {template!r} cannot be filled from {list(parts)}") from None


def edit_tables(ids, references):
    """Edit distances of one text to R references at once (Levenshtein 1966; Wagner & Fischer 1974).

    ids (n,), references (R, M) -> tables (n+1, R, M+1) ints: tables[i, r, j] is the smallest number
    of edits (insert, drop or change one unit) from ids[:i] to references[r, :j].
    """
    steps = np.arange(references.shape[1] + 1)  # (M+1,)
    tables = np.empty((len(ids) + 1, len(references), len(steps)), int)
    tables[0] = steps  # from nothing: insert everything
    for i, unit in enumerate(ids):
        row = tables[i] + 1  # drop the unit                                  (R, M+1)
        row[:, 1:] = np.minimum(row[:, 1:], tables[i, :, :-1] + (references != unit))
        # insert: row[j] = min over k <= j of row[k] + (j - k), a running minimum of row - steps
        tables[i + 1] = np.minimum.accumulate(row - steps, axis=1) + steps
    return tables


def data_folder(lang):
    """Folder of the bundled data of a language, or of a world.json.  Raises InputError."""
    path = Path(lang)
    folder = path.parent if path.suffix == ".json" else DATA / lang
    if not folder.is_dir():
        raise InputError(f"--lang {lang}: neither a language of data/ nor a world.json")
    return folder
