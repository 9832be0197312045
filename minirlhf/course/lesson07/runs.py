"""Longer runs of lesson 07: a session learned again, the same answers before other people.

The lesson learns from a session's records in float64, so that it prints the same digits on every
machine, and with fewer steps than a real session takes.  All people here are simulated.
"""

from dataclasses import replace

import numpy as np

from minirlhf.data import DATA
from minirlhf.gpt import Params
from minirlhf.rufus.answers import ask, response_logprob
from minirlhf.teach.learning import load_setup, model_of
from minirlhf.teach.records import as_round, make_row, read_session
from minirlhf.teach.rounds import label_fields
from minirlhf.teach.simulated import judge

LESSON = {
    "dtype": "float64", "sft_steps": 80, "reward_steps": 100, "iterations": 6, "rollout_size": 64,
    "ppo_epochs": 2,
}


# ---- learning from records ------------------------------------------------------------------


def recorded(lang):
    """-> rows of the bundled session of 12 rounds, by the simulated annotator a1."""
    return read_session(DATA / lang / "session_simulated.jsonl")


def lesson_setup(rows):
    """A session's rows -> Setup with the lesson's recipe in place of the recorded one."""
    setup = load_setup(rows, "the session")
    params = Params(setup.base.params.shapes, np.float64)
    params.flat[...] = setup.base.params.flat
    settings = replace(setup.settings, **LESSON)
    return setup._replace(base=setup.base._replace(params=params), settings=settings)


def learn_every(rows, rounds):
    """The rows of a session without most of its `learn` rows, numbered anew.

    Only every so many-th is left; as the recorded session learns after each round, that is one
    learning for so many rounds.
    """
    kept, new_number, learned = [], {-1: -1}, 0
    for row in rows:
        learned += row["kind"] == "learn"
        if row["kind"] != "learn" or learned % rounds == 0:
            new_number[row["number"]] = len(kept)
            kept.append({**row, "number": len(kept), "of": new_number[row["of"]]})
    return kept


def favourites(setup, states, wanted):
    """wanted: list of (question, sentence) -> probability of each by State, (len(states), N)."""
    table = []
    for state in states:
        model = model_of(setup, state.policy)
        table.append([np.exp(response_logprob(model, *pair)) for pair in wanted])
    return np.array(table)


# ---- the same answers before other people ---------------------------------------------------


def judged_by(people, rows, setup):
    """The questions and answers of a session, judged by other people -> rows of a new session.

    people: list of simulated Person, who take turns.  What was shown twice is shown once; at the
    end stands one `learn` row.
    """
    name = " and ".join(person.name for person in people)
    new = [{**rows[0], "annotator": name}]
    shown = [row for row in rows if row["kind"] == "round" and row["of"] < 0]
    for turn, row in enumerate(shown):
        person, number = people[turn % len(people)], len(new)
        new.append({**row, "number": number, "annotator": person.name})
        asked = as_round(new[number])
        for kind, value in judge(person, asked):
            fields = label_fields(setup.base, asked, kind, value)
            fields |= {"of": number, "prompt": asked.prompt}
            new.append(make_row(kind, len(new), person.name, True, 0, **fields))
    new.append(make_row("learn", len(new), name, True, 1))
    return new


def answers_of(setup, state, questions, count, seed):
    """-> {question: list of `count` texts}; an answer that did not end is marked."""
    prompts = [question for question in questions for _ in range(count)]
    answers = ask(model_of(setup, state.policy), prompts, np.random.default_rng(seed))
    said = {question: [] for question in questions}
    for answer, prompt in zip(answers, prompts):
        said[prompt].append(answer.text + ("" if answer.finished else " ..."))
    return said


def overlap(said, others):
    """Two results of answers_of -> share of answers that have the same sentence as a partner.

    1: to every question the same sentences, as often; 0: no sentence in common.
    """
    shares = []
    for question, texts in said.items():
        both = [min(texts.count(t), others[question].count(t)) for t in set(texts)]
        shares.append(sum(both) / len(texts))
    return float(np.mean(shares))
