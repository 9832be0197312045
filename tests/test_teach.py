"""Teach Rufus yourself: rounds, the session's file, learning, replay, people together, terminal.

A crash at any moment loses nothing; the records alone give the same models, bit for bit; nothing
that a person, a model or a file says is trusted.
"""

import contextlib
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from minirlhf.checkpoint import load_model
from minirlhf.data import read_demonstrations, read_preferences, read_rankings
from minirlhf.errors import InputError
from minirlhf.rufus.answers import ask, score_texts
from minirlhf.step2_reward_model import pair_accuracy
from minirlhf.teach.agreement import (
    agreement,
    export_session,
    kendall_tau,
    merge_sessions,
    self_consistency,
)
from minirlhf.teach.learning import TeachSettings, load_setup
from minirlhf.teach.records import (
    FIELDS,
    Round,
    make_row,
    mend,
    read_session,
    round_ranking,
    session_corrections,
    session_rankings,
    without_undone,
)
from minirlhf.teach.replay import checksum, compute_states, learnings, load_states, replay
from minirlhf.teach.session import open_session
from minirlhf.teach.simulated import TASTES, judge, make_person, pleases, wish
from minirlhf.teach.typed import as_typed, plain, read_line

REPO = Path(__file__).parent.parent
DATA = REPO / "data"
OLD_SETTINGS = '{"format": "minirlhf session 1", "lang": "zh", "seed": 0, "pretrained": 0}'
RECORDED = [DATA / lang / "session_simulated.jsonl" for lang in ("en", "zh")]
TINY = TeachSettings(
    iterations=1, rollout_size=12, ppo_epochs=1, minibatch_size=6, sft_steps=2, reward_steps=4,
    repeat_every=4,
)
NEVER_AGAIN = TeachSettings(**asdict(TINY) | {"repeat_every": 0})
NOT_TIME = set(FIELDS) - {"time"}


@pytest.fixture
def session(tmp_path):
    return open_session(tmp_path / "s.jsonl", "zh", "Ann", settings=TINY)


def again(session):
    """The same session after a crash: everything is read from the files."""
    return open_session(session.path)


def give(session, *labels):
    """One round with these labels."""
    session.ask()
    for kind, value in labels:
        session.label(kind, value)


def same_states(one, other):
    """Are two lists of State the same, bit for bit?"""
    assert [s.version for s in one] == [s.version for s in other]
    for a, b in zip(one, other):
        assert checksum(a.policy) == checksum(b.policy) and checksum(a.sft) == checksum(b.sft)
        assert (a.reward is None) == (b.reward is None)
        assert a.reward is None or checksum(a.reward) == checksum(b.reward)
        assert a.history == b.history
    return True


def bare(rows):
    return [{name: row[name] for name in NOT_TIME} for row in rows]


# ---- a round --------------------------------------------------------------------------------


def test_a_round_shows_different_answers_of_several_versions(tmp_path):
    session = open_session(tmp_path / "s.jsonl", "zh", settings=NEVER_AGAIN)
    for _ in range(3):
        give(session, ("best", 0))
        session.learn()
    seen = set()
    for _ in range(6):
        asked = session.ask()
        assert 2 <= len(asked.responses) <= 4 == session.setup.settings.answers
        assert len(set(asked.responses)) == len(asked.responses) == len(asked.models)
        seen |= set(asked.models)
        session.label("skip")
    assert seen == {"v0", f"v{session.states[-2].version}", f"v{session.version}"}


def test_the_order_shown_is_shuffled(session):
    first = [session.ask().models[0] for _ in range(3)]
    give(session, ("best", 0))
    session.learn()
    first = [session.ask().models[0] for _ in range(12)]
    assert len(set(first)) > 1


def test_every_question_comes_once_before_one_comes_twice(tmp_path):
    settings = TeachSettings(**asdict(NEVER_AGAIN) | {"answers": 1})
    session = open_session(tmp_path / "s.jsonl", "zh", settings=settings)
    prompts = [session.ask().prompt for _ in range(len(session.setup.taught))]
    assert sorted(prompts) == sorted(session.setup.taught)
    assert not set(prompts) & set(session.setup.untaught)
    assert session.ask().prompt in prompts


def test_earlier_answers_come_again_in_another_order(session):
    for _ in range(3):
        give(session, ("best", 0))
    asked = session.ask()
    before = session.rounds[asked.again]
    assert asked.prompt == before.prompt
    assert sorted(asked.responses) == sorted(before.responses)
    pairs = dict(zip(before.responses, before.models))
    assert [pairs[text] for text in asked.responses] == asked.models


def test_another_sessions_round_can_be_judged(session, tmp_path):
    asked = session.ask()
    other = open_session(tmp_path / "other.jsonl", "zh", "Ben", settings=TINY)
    copied = other.ask(again=asked)
    assert (copied.prompt, set(copied.responses)) == (asked.prompt, set(asked.responses))
    assert copied.again == -1  # a number of another file would point at nothing here


@pytest.mark.parametrize(
    "kind, value",
    [
        ("rank", [1, 2]), ("rank", [1, 3, 3, 3]), ("rank", [0, 1, 2, 3]), ("rank", ["1"] * 4),
        ("rank", [True, 2, 3, 4]), ("best", 4), ("best", -1), ("best", None), ("best", "0"),
        ("unnatural", [4]), ("unnatural", ["a"]), ("correction", ""), ("correction", "  "),
        ("correction", "我是🤖"), ("correction", "我\n你"), ("correction", "我" * 14),
        ("correction", None), ("praise", 1),
    ],
)
def test_a_label_that_makes_no_sense_is_not_kept(session, kind, value):
    session.ask()
    before = session.path.read_bytes()
    with pytest.raises(InputError):
        session.label(kind, value)
    assert session.path.read_bytes() == before and session.labels == []


def test_a_label_needs_a_round(session):
    with pytest.raises(InputError, match="ask one first"):
        session.label("best", 0)


@pytest.mark.parametrize("question", ["", " ", "Wer bist du?", "你" * 30, "你\n谁"])
def test_a_question_that_rufus_cannot_read_is_not_asked(session, question):
    with pytest.raises(InputError):
        session.ask(question)
    assert len(session.rows) == 1


def test_a_question_outside_the_world_can_be_asked_and_taught(session):
    asked = session.ask("小猫会做什么?")  # a half-width mark is read as the full-width one
    assert asked.prompt == "小猫会做什么？"
    session.label("correction", "小猫会唱歌。")
    learned = session.learn()
    assert learned.comparisons[0].prompt == asked.prompt and learned.comparisons[0].taught


# ---- the file -------------------------------------------------------------------------------


def test_every_label_is_on_the_disk_at_once_and_says_everything(session):
    asked = session.ask()
    k = len(asked.responses)
    given = [("rank", list(range(1, k + 1))), ("best", 1), ("unnatural", [0]),
             ("correction", "我很高兴。"), ("skip", None)]
    for count, (kind, value) in enumerate(given, start=2):
        session.label(kind, value)
        rows = read_session(session.path)
        assert len(rows) == count + 1 and rows[-1]["kind"] == kind
    for row in rows:
        assert list(row) == list(FIELDS) and all(type(row[n]) is kind for n, kind in FIELDS.items())
        assert row["annotator"] == "Ann" and row["simulated"] is False and row["version"] == 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["time"])
    assert rows[2]["responses"] == asked.responses and rows[2]["models"] == asked.models
    assert rows[5]["completion"] == "\n我很高兴。"


def test_nothing_is_ever_rewritten(session):
    before = b""
    for step in range(3):
        give(session, ("best", 0))
        session.learn()
        session.undo()
        now = session.path.read_bytes()
        assert now.startswith(before) and len(now) > len(before)
        before = now


def test_labels_go_to_the_other_verbs_unchanged(session, tmp_path):
    give(session, ("rank", [1, 2, 3, 3]), ("correction", "我很高兴。"))
    give(session, ("unnatural", [1]))
    give(session, ("best", 2))
    session.undo()
    paths = export_session(read_session(session.path), tmp_path / "out")
    assert [path.name for path in paths] == ["sft.jsonl", "rankings.jsonl", "preferences.jsonl"]
    rankings = read_rankings(paths[1])
    assert rankings == session_rankings(session.rows) and len(rankings) == 2
    assert read_demonstrations(paths[0]) == session_corrections(session.rows)
    assert len(read_preferences(paths[2])) == 4 + 5 + 3


def test_two_programs_cannot_write_to_one_session(session):
    other = again(session)
    session.ask()
    with pytest.raises(InputError, match="another program"):
        other.ask()


def test_another_persons_session_is_not_gone_on_with(session):
    for words in ({"annotator": "Ben"}, {"simulated": True}, {"lang": "en"}):
        with pytest.raises(InputError, match="name another file"):
            open_session(session.path, **words)


@pytest.mark.parametrize(
    "number, change, words",
    [
        (0, {"settings": "{}"}, "first record"),
        (0, {"settings": '{"format": 3'}, "first record"),
        (0, {"settings": OLD_SETTINGS}, "minirlhf session 1"),
        (0, {"kind": "round"}, "cannot stand here"),
        (1, {"number": 7}, "cannot stand here"),
        (1, {"responses": ["a"]}, "as many texts"),
        (1, {"responses": []}, "as many texts"),
        (1, {"models": [1, 2, 3, 4]}, "as many texts"),
        (1, {"of": 9}, "no earlier record"),
        (2, {"ranks": [1, 2, 3]}, "without a gap"),
        (2, {"ranks": [1, 2, 3, "4"]}, "without a gap"),
        (2, {"responses": ["a", "b", "c", "d"]}, "other answers"),
        (2, {"prompt": "?"}, "another question"),
        (2, {"of": 0}, "no round"),
        (2, {"version": "0"}, "should be int"),
        (3, {"completion": "\n"}, "empty correction"),
        (4, {"of": 1}, "no label"),
        (4, {"kind": "eval"}, "cannot stand here"),
    ],
)
def test_a_file_is_not_trusted(session, number, change, words):
    give(session, ("rank", [1, 2, 3, 4]), ("correction", "我很高兴。"))
    session.undo()
    rows = [row | (change if row["number"] == number else {}) for row in session.rows]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    session.path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words):
        again(session)


def test_settings_of_a_file_are_checked(session):
    kept = json.loads(session.rows[0]["settings"])
    for change in ({"dtype": "object"}, {"seed": -1}, {"lang": 3}, {"unknown": 1}, {"lang": "xx"},
                   {"iterations": "many"}, {"pretrained": 1}):
        row = session.rows[0] | {"settings": json.dumps(kept | change)}
        with pytest.raises(InputError):
            load_setup([row], "s.jsonl")


# ---- what labels mean -----------------------------------------------------------------------

ASKED = Round(1, "q", ["a", "b", "c", "d"], ["v0"] * 4, 0, -1)


def said(kind, **fields):
    return make_row(kind, 9, "Ann", False, 0, of=1, prompt="q", **fields)


RANK = said("rank", ranks=[2, 1, 3, 3])
BEST = said("best", ranks=[2, 2, 1, 2])
MARKS = said("unnatural", ranks=[1, 2, 1, 2], natural=[True, False, True, False])
ALL_BAD = said("unnatural", ranks=[1] * 4, natural=[False] * 4)
RIGHT = said("correction", completion="\ne")
SHOWN = said("correction", completion="\na")


@pytest.mark.parametrize(
    "labels, responses, ranks",
    [
        ([RANK], "abcd", [2, 1, 3, 3]),
        ([BEST], "abcd", [2, 2, 1, 2]),
        ([MARKS], "abcd", [1, 2, 1, 2]),
        ([MARKS, BEST], "abcd", [2, 3, 1, 3]),
        ([RANK, MARKS], "abcd", [2, 1, 3, 4]),
        ([BEST, RANK], "abcd", [2, 1, 3, 4]),
        ([RIGHT], "abcde", [2, 2, 2, 2, 1]),
        ([ALL_BAD, RIGHT], "abcde", [2, 2, 2, 2, 1]),
        ([RANK, RIGHT], "abcde", [3, 2, 4, 4, 1]),
        ([MARKS, RIGHT], "abcde", [1, 2, 1, 2, 1]),
        ([RANK, SHOWN], "abcd", [1, 2, 3, 3]),
        ([RIGHT, SHOWN], "abcde", [1, 2, 2, 2, 1]),
    ],
)
def test_everything_said_about_a_round_becomes_one_ranking(labels, responses, ranks):
    ranking = round_ranking(ASKED, labels, "Ann")
    assert (ranking.responses, ranking.ranks) == (list(responses), ranks)
    assert ranking.models == (["v0"] * 4 + ["human"])[: len(responses)]


def test_an_undone_label_does_not_count(session):
    give(session, ("best", 0), ("best", 1))
    session.undo()
    assert session.labels[-1]["ranks"][0] == 1
    session.undo()
    assert session.labels == [] and not session.news and session.undo() is None
    assert [row["kind"] for row in without_undone(session.rows)] == ["session", "round"]


# ---- learning -------------------------------------------------------------------------------


def test_learning_moves_all_three_models_and_shows_before_and_after(session):
    give(session, ("rank", [1, 2, 3, 4]), ("unnatural", [2, 3]), ("correction", "我很高兴。"))
    learned = session.learn()
    first, last = session.states
    assert checksum(first.policy) != checksum(last.policy) != checksum(last.sft)
    assert checksum(first.sft) != checksum(last.sft) and last.reward is not None
    taught, fresh = learned.comparisons
    assert taught.prompt == session.round.prompt and taught.taught
    assert fresh.prompt in session.setup.untaught and not fresh.taught
    assert len(taught.before) == len(taught.after) == 3
    assert learned.figures["natural"] == 0.5 and learned.figures["votes"] == 4
    assert learned.figures["agreement"] is None  # there was no reward model yet
    assert session.learn() is None


def test_agreement_is_measured_on_answers_that_the_reward_model_has_not_seen(session):
    give(session, ("rank", [1, 2, 3, 4]))
    session.learn()
    asked, reward_model = session.ask(), session.reward_model
    session.label("rank", [4, 3, 2, 1])
    row = session.learn().figures
    scores = score_texts(reward_model, asked.prompt, asked.responses)
    assert row["agreement"] == pair_accuracy([scores], [[4, 3, 2, 1]]) and row["pairs"] == 6
    assert row["judged"] == 1 and row["votes"] == 0


def test_a_correction_alone_and_a_tie_alone(session):
    give(session, ("rank", [1, 1, 1, 1]))
    session.learn()
    assert session.reward_model is None  # a ranking of ties has no pair
    assert checksum(session.states[0].policy) == checksum(session.states[1].policy)
    give(session, ("correction", "我很高兴。"))
    session.learn()
    assert session.reward_model is not None


def test_an_undo_gives_the_models_of_before_back(session):
    give(session, ("best", 0))
    session.learn()
    before = session.states
    give(session, ("best", 1))
    session.learn()
    session.undo()
    assert same_states(before, session.states) and session.version == 1
    session.label("best", 2)
    session.learn()
    assert session.version == 3  # a number is never given twice
    assert same_states(session.states, replay(session.path)[1])
    session.undo()
    session.undo()
    assert session.version == 0 and session.history == []


def test_rufus_is_saved_for_the_other_verbs(session):
    give(session, ("best", 0))
    session.learn()
    rufus = load_model(session.save_rufus(), "language model")
    assert checksum(rufus.params) == checksum(session.states[-1].policy)
    assert ask(rufus, ["你是谁？"], np.random.default_rng(0))[0].text


# ---- a crash at any moment ------------------------------------------------------------------


def play(session, person, rounds):
    """A SIMULATED person teaches."""
    while rounds:
        if session.round is None:
            session.ask()
        for kind, value in judge(person, session.round)[len(session.labels) :]:
            session.label(kind, value)
        session.learn()
        session.round, rounds = None, rounds - 1


def test_a_session_that_was_cut_anywhere_goes_on(tmp_path):
    """Cut after every record and inside records, with and without its models file."""
    person = make_person("a1", "zh")
    whole = open_session(tmp_path / "whole.jsonl", "zh", "a1", 0, True, TINY)
    play(whole, person, 3)
    lines = whole.path.read_bytes().splitlines(keepends=True)
    models = whole.models_path.read_bytes()
    for count in range(1, len(lines) + 1):
        for torn in (b"", lines[count % len(lines)][:40]):
            path = tmp_path / f"cut{count}{len(torn)}.jsonl"
            path.write_bytes(b"".join(lines[:count]) + torn)
            if count % 2:
                path.with_suffix(".models.npz").write_bytes(models)  # of a later state
            session = open_session(path, "zh", "a1", 0, True, TINY)
            assert bare(session.rows) == bare(whole.rows[:count])
            wanted = [state for state in whole.states if state.version <= session.version]
            assert same_states(session.states[-1:], wanted[-1:])
            if count < len(lines):
                assert session.round is None or session.round.number < count
    session = open_session(tmp_path / "cut40.jsonl", "zh", "a1", 0, True, TINY)
    play(session, person, 3 - len(learnings(session.rows)))
    assert bare(session.rows) == bare(whole.rows)  # the same questions, answers and labels
    assert same_states(session.states, whole.states)


def test_the_models_file_is_only_a_memory(session):
    give(session, ("best", 0))
    session.learn()
    give(session, ("best", 1))
    session.learn()
    good = session.models_path.read_bytes()
    assert len(load_states(session.models_path, session.setup)) == 2
    assert same_states(again(session).states, session.states)
    for bad in (b"", b"PK", good[:-100], good[: len(good) // 2]):
        session.models_path.write_bytes(bad)
        assert load_states(session.models_path, session.setup) == []
        assert same_states(again(session).states, session.states)
    session.models_path.unlink()
    assert same_states(again(session).states, session.states)


def test_a_learning_that_was_interrupted_is_made_up(session):
    give(session, ("best", 0))
    with pytest.raises(KeyboardInterrupt):
        session.learn(progress=interrupt)
    assert session.version == 0 and session.rows[-1]["kind"] == "learn"
    assert again(session).version == 1
    learned = session.learn()
    assert learned.version == 1 and same_states(session.states, again(session).states)


def interrupt(steps):
    raise KeyboardInterrupt


def test_mend_cuts_only_what_is_torn(tmp_path):
    path = tmp_path / "s.jsonl"
    for text, kept in ((b"a\nb\n", b"a\nb\n"), (b"a\n{\xe4", b"a\n"), (b"{", b"")):
        path.write_bytes(text)
        mend(path)
        assert path.read_bytes() == kept


# ---- replay ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_replay_gives_the_same_bits_from_the_records_alone(tmp_path, dtype):
    settings = TeachSettings(**asdict(TINY) | {"dtype": dtype, "seed_rankings": 5})
    session = open_session(tmp_path / "s.jsonl", "zh", "a2", 3, True, settings)
    play(session, make_person("a2", "zh", 3), 3)
    session.undo()
    session.label("best", 0)
    session.learn()
    session.models_path.unlink()
    setup, states = replay(session.path)
    assert states[-1].policy.flat.dtype == dtype
    assert same_states(states, session.states) and not session.models_path.exists()


@pytest.mark.parametrize("path", RECORDED, ids=["en", "zh"])
def test_the_recorded_sessions_replay_bit_for_bit(path, tmp_path):
    """The whole at once, and again from the middle with the models that were kept there."""
    rows = read_session(path)
    assert rows[0]["simulated"] and all(row["annotator"] == "a1" for row in rows)
    setup, states = replay(path)
    numbers = learnings(rows)
    assert len(states) == len(numbers) + 1 > 5
    half = compute_states(setup, rows, states[-3:-2])
    assert same_states(states[-3:], half[-3:])
    person = make_person("a1", json.loads(rows[0]["settings"])["lang"])
    shares = []
    for state in (states[0], states[-1]):
        model = setup.base._replace(params=state.policy)
        answers = ask(model, (setup.taught + setup.untaught) * 4, np.random.default_rng(0))
        shares.append(np.mean([pleases(person, a.prompt, a.text) for a in answers if a.finished]))
    assert shares[0] < 0.5 and shares[1] > shares[0] + 0.2, shares


# ---- several people -------------------------------------------------------------------------


def ranked(*rows):
    return [round_ranking(ASKED._replace(prompt=p), [said("rank", ranks=r)], who)
            for p, r, who in rows]


def test_self_consistency_counts_repeated_pairs():
    once = ranked(("q", [1, 2, 3, 4], "Ann"), ("p", [1, 2, 3, 4], "Ann"))
    share, pairs = self_consistency(once)
    assert math.isnan(share) and pairs == 0
    assert self_consistency(once + ranked(("q", [1, 2, 3, 4], "Ann"))) == (1, 6)
    assert self_consistency(once + ranked(("q", [4, 3, 2, 1], "Ann"))) == (0, 6)
    assert self_consistency(once + ranked(("q", [2, 1, 3, 4], "Ann"))) == (5 / 6, 6)
    assert self_consistency(once + ranked(("q", [1, 1, 2, 3], "Ann"))) == (5.5 / 6, 6)


def test_kendall_tau_by_hand():
    assert kendall_tau([1, 1, 1], [1, 1, 1]) == 1
    assert kendall_tau([1, 1, 1], [-1, -1, -1]) == -1
    assert kendall_tau([1, 1, 1, -1], [1, 1, -1, -1]) == 0.5
    # one pair tied by a alone: (2 - 0) / sqrt(2 * 3)
    assert kendall_tau([1, 1, 0], [1, 1, 1]) == pytest.approx(2 / 6**0.5)
    assert math.isnan(kendall_tau([0, 0], [1, 1]))


def test_kendall_tau_is_scipys_tau_b():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(1, 5, (2, 4))
        one, other = ranked(("q", ranks_of(a), "Ann"), ("q", ranks_of(b), "Ben"))
        tau, pairs = agreement([one], [other])
        assert pairs == 6
        assert tau == pytest.approx(stats.kendalltau(a, b).statistic, nan_ok=True)


def ranks_of(numbers):
    return [int(rank) for rank in np.unique(numbers, return_inverse=True)[1].reshape(-1) + 1]


def test_agreement_looks_at_common_pairs_only():
    ann = ranked(("q", [1, 2, 3, 4], "Ann"), ("only hers", [1, 2, 3, 4], "Ann"))
    ben = ranked(("q", [2, 1, 3, 4], "Ben"))
    assert agreement(ann, ben) == (pytest.approx(4 / 6), 6)
    assert agreement(ann, [])[1] == 0 and math.isnan(agreement(ann, [])[0])


def test_sessions_of_several_people_are_merged(session, tmp_path):
    give(session, ("rank", [1, 2, 3, 4]), ("correction", "我很高兴。"))
    first = session.ask()
    session.label("rank", [1, 2, 3, 4])
    other = open_session(tmp_path / "o.jsonl", "zh", "Ben", settings=TINY)
    asked = other.ask(again=first)
    at = [first.responses.index(text) for text in asked.responses]
    other.label("rank", [[2, 1, 4, 3][i] for i in at])  # mean ranks 1.5 1.5 3.5 3.5
    rankings, corrections = merge_sessions([session.rows, other.rows])
    assert [ranking.annotator for ranking in rankings] == ["Ann", "Ann+Ben"]
    assert rankings[1].ranks == [1, 1, 2, 2] and len(corrections) == 1
    tau, pairs = agreement(session_rankings(session.rows), session_rankings(other.rows))
    assert pairs == 6 and tau == pytest.approx(2 / 6)


# ---- simulated people -----------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", ["a1", *TASTES])
def test_simulated_people_know_what_they_want(name, lang):
    person = make_person(name, lang)
    tokenizer = load_model(DATA / lang / "pretrained.npz", "language model").tokenizer
    for prompt in person.world.questions():
        bad = person.world.references(prompt)[0][:-1]  # without its full stop
        wanted = wish(person, prompt, bad)
        tokenizer.encode(wanted)
        assert pleases(person, prompt, wanted) and not pleases(person, prompt, bad)
        asked = Round(5, prompt, [bad, wanted, wanted * 2], ["v0"] * 3, 0, -1)
        labels = dict(judge(person, asked))
        assert labels["unnatural"] == [0, 2] and pleases(person, prompt, labels["correction"])
        assert judge(person, asked) == judge(person, asked)
        assert [kind for kind, _ in judge(person, asked, ("rank",))] == ["rank"]


def test_a_simulated_person_skips_what_is_not_of_his_world():
    person = make_person("a1", "en")
    assert judge(person, Round(5, "Why?", ["a", "b"], ["v0"] * 2, 0, -1)) == [("skip", None)]
    with pytest.raises(InputError, match="pirate"):
        make_person("nobody", "en")


# ---- what is typed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, expected",
    [
        ("2 > 1 > 3 = 4", ("rank", [2, 1, 3, 3])), ("2>1>3=4", ("rank", [2, 1, 3, 3])),
        ("2 1 3 4", ("rank", [2, 1, 3, 4])), ("2 > 1", ("rank", [2, 1, 3, 3])),
        ("1=2=3=4", ("rank", [1, 1, 1, 1])), ("2＞1＝3", ("rank", [2, 1, 2, 3])),
        ("3", ("best", 2)), ("u 1 3", ("unnatural", [0, 2])), ("u 1,3", ("unnatural", [0, 2])),
        ("ok", ("unnatural", [])), ("u all", ("unnatural", [0, 1, 2, 3])),
        ("= I am.", ("correction", "I am.")), ("＝我。", ("correction", "我。")),
        ("", ("done", None)), ("S", ("skip", None)), ("z", ("undo", None)),
        ("Who?", ("question", "Who?")), ("?", ("help", None)), ("x", ("end", None)),
    ],
)
def test_lines_are_read(line, expected):
    assert read_line(f" {line} ", 4, "en") == expected


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(
    "line", ["5", "0", "1 > 1", "u", "u x", "u 0", "hello", "2 >", "> 2", "1 > > 2", "9" * 30,
             "u 1 9", "\u0661", "\x1b[2J", "rank 1"],
)
def test_wrong_lines_get_one_plain_sentence(line, lang):
    with pytest.raises(InputError) as error:
        read_line(line, 4, lang)
    text = str(error.value)
    assert text[-1] in ".。" and "\n" not in text and "\x1b" not in text


def test_what_a_simulated_person_types_is_what_he_means():
    for kind, value in (("rank", [2, 1, 3, 3]), ("best", 2), ("unnatural", []), ("skip", None),
                        ("unnatural", [1, 2]), ("unnatural", [0, 1, 2, 3]),
                        ("correction", "I am.")):
        assert read_line(as_typed(kind, value, 4), 4, "en") == (kind, value)


def test_plain_takes_control_characters_away():
    assert plain("a\x1b[31m\u202eb\n我") == "a\ufffd[31m\ufffdb\ufffd我"


# ---- the terminal, as a person meets it -----------------------------------------------------


def own_the_terminal():
    """In the child: its standard input is the terminal whose Ctrl-C it gets."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """`python -m minirlhf teach` behind a pseudo-terminal."""

    def __init__(self, folder, *arguments):
        pty = pytest.importorskip("pty")
        self.master, slave = pty.openpty()
        env = os.environ | {"PYTHONPATH": str(REPO), "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minirlhf", "teach", *arguments], cwd=folder, env=env,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=own_the_terminal,
        )
        os.close(slave)
        self.text = ""

    def until(self, words, seconds=120):
        """Read until these words have come -> what came."""
        ends = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < ends, self.text
            ready, _, _ = select.select([self.master], [], [], 1)
            try:
                got = os.read(self.master, 4096) if ready else b""
            except OSError:  # the other side has closed
                got = b""
                assert self.process.poll() is None, self.text
            self.text += got.decode("utf-8", "replace").replace("\r", "")
        head, _, self.text = self.text.partition(words)
        return head + words

    def type(self, line):
        os.write(self.master, (line + "\n").encode("utf-8"))

    def say(self, line, words="Your judgement: "):
        """Type a line -> everything until these words."""
        self.type(line)
        return self.until(words)

    def press(self, key):
        """Ctrl-C or Ctrl-D until it is heard: one that comes just before the line is read waits."""
        ends = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < ends:
            os.write(self.master, key)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(2)

    def end(self):
        """-> exit status and the rest of the text."""
        while True:
            try:
                got = os.read(self.master, 4096)
            except OSError:
                got = b""
            if not got:
                break
            self.text += got.decode("utf-8", "replace").replace("\r", "")
        os.close(self.master)
        return self.process.wait(60), self.text


def test_a_person_teaches_on_a_terminal(tmp_path):
    terminal = Terminal(tmp_path, "--annotator", "Ann", "--lang", "en")
    text = terminal.until("Your judgement: ")
    path = tmp_path / "runs/teach/Ann-en.jsonl"
    assert "Round 1. Rufus is asked:" in text and "\x1b" not in text and "v0" not in text
    for line, words in (
        ("9", "numbers 1 to 4"), ("what", "Type ? for help"), ("u", "Which ones"),
        ("= Ich bin Köln.", "does not know 'ö'"), ("=", "is empty"), ("= " + "a" * 60, "too many"),
        ("你是谁？", "does not know"), ("", "Nothing new"), ("l", "Nothing new"), ("z", "no label"),
        ("h", "not learned anything"), ("?", "rank the answers"), ("\x1b[A", "not understood"),
    ):
        said_back = terminal.say(line)
        assert words in said_back and "Traceback" not in said_back, said_back
    assert len(read_session(path)) == 2  # nothing of that was kept but the round itself
    assert "Kept: 2 > 1 > 3 = 4" in terminal.say("2 > 1 > 3 = 4")
    assert "Kept: unnatural: 1, 2." in terminal.say("u 1 2")
    assert "Kept: the right answer is: I am a robot." in terminal.say("= I am a robot.")
    assert "taken back" in terminal.say("z")
    terminal.say("= I am a robot.")
    learned = terminal.say("")
    assert "Rufus is learning" in learned and "now version 1" in learned
    assert learned.count("before: ") == learned.count("after: ") == 6
    assert "A question he was never taught:" in learned and "Round 2." in learned
    assert "Version 0: natural by your votes:" in terminal.say("h")
    asked = terminal.say("Who is Mia?")
    assert "Round 3. Rufus is asked: Who is Mia?" in asked and "v1" not in asked
    assert "Skipped" in terminal.say("s")
    terminal.type("x")
    status, text = terminal.end()
    assert status == 0 and "Everything is kept" in text and "chat runs/teach/Ann-en.rufus" in text
    kinds = [row["kind"] for row in read_session(path)]
    assert kinds == ["session", "round", "rank", "unnatural", "correction", "undo", "correction",
                     "learn", "round", "round", "skip", "round"]


def test_the_end_of_the_input_and_ctrl_c_end_it_well(tmp_path):
    terminal = Terminal(tmp_path, "--session", "s.jsonl", "--lang", "zh")
    terminal.until("你的评价：")
    assert "已保存：第 1 句最好。" in terminal.say("1", "你的评价：")
    terminal.press(b"\x03")
    status, text = terminal.end()
    assert status == 130 and "every label is kept. Go on with: python -m minirlhf teach" in text
    terminal = Terminal(tmp_path, "--session", "s.jsonl")
    text = terminal.until("你的评价：")
    assert "接着上次：已有 1 轮" in text and "第 1 轮。" in text
    terminal.press(b"\x04")
    status, text = terminal.end()
    assert status == 0 and "一切都已保存" in text
    assert [row["kind"] for row in read_session(tmp_path / "s.jsonl")][-1] == "best"


def test_kill_9_in_a_round_and_in_an_update_loses_nothing(tmp_path):
    path = tmp_path / "s.jsonl"
    terminal = Terminal(tmp_path, "--session", "s.jsonl", "--lang", "zh")
    terminal.until("你的评价：")
    terminal.say("1", "你的评价：")
    os.killpg(terminal.process.pid, signal.SIGKILL)
    terminal.end()
    assert [row["kind"] for row in read_session(path)] == ["session", "round", "best"]

    terminal = Terminal(tmp_path, "--session", "s.jsonl")
    terminal.until("你的评价：")
    terminal.say("= 我很高兴。", "你的评价：")
    terminal.type("")
    terminal.until("正在学习")
    while read_session(path)[-1]["kind"] != "learn":
        time.sleep(0.01)
    os.killpg(terminal.process.pid, signal.SIGKILL)
    status, _ = terminal.end()
    assert status == -signal.SIGKILL and not path.with_suffix(".models.npz").exists()

    terminal = Terminal(tmp_path, "--session", "s.jsonl")
    text = terminal.until("你的评价：")
    assert "Rufus 是第 1 版" in text and "第 2 轮" in text
    terminal.type("x")
    assert terminal.end()[0] == 0
    session = open_session(path)
    assert session.version == 1 and same_states(session.states, replay(path)[1])


def run(folder, *arguments, typed=""):
    """-> exit status, stdout, stderr of the verb, without a terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "minirlhf", "teach", *map(str, arguments)], cwd=folder,
        input=typed, capture_output=True, encoding="utf-8", timeout=120,
        env=os.environ | {"PYTHONPATH": str(REPO)},
    )
    return done.returncode, done.stdout, done.stderr


def test_a_simulated_annotator_is_called_so_everywhere(tmp_path):
    status, out, err = run(tmp_path, "--simulate", "pirate", "--lang", "zh", "--rounds", 2)
    assert (status, err) == (0, "")
    assert "模拟标注者 pirate" in out and out.count("[SIMULATED pirate] = 大海！") == 2
    assert not re.search("^你的评价", out, re.M) and "你觉得" not in out
    path = tmp_path / "runs/teach/simulated-pirate-zh.jsonl"
    rows = read_session(path)
    assert all(row["simulated"] and row["annotator"] == "pirate" for row in rows)
    assert run(tmp_path, "--session", path, "--annotator", "pirate")[0] == 2
    status, out, err = run(tmp_path, "--session", path, "--replay")
    assert (status, err) == (0, "") and out.count("checksum of the policy") == 3
    status, out, err = run(tmp_path, "--session", path, "--export", tmp_path / "out")
    assert status == 0 and len(read_rankings(tmp_path / "out/rankings.jsonl")) == 2


def test_texts_of_an_old_file_cannot_steer_the_terminal(tmp_path):
    session = open_session(tmp_path / "s.jsonl", "en", "Ann", settings=TINY)
    session.ask()
    rows = session.rows
    rows[1]["responses"][0] = "I am \x1b[2J\x1b]0;title\x07"
    rows[1]["prompt"] = "Who\x1b[31m?"
    text = "".join(json.dumps(row) + "\n" for row in rows)
    session.path.write_text(text, encoding="utf-8")
    status, out, err = run(tmp_path, "--session", "s.jsonl", typed="x\n")
    assert (status, err) == (0, "") and "\x1b" not in out and "\x07" not in out
    assert "I am \ufffd[2J" in out


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--lang", "xx"], "--lang xx"), (["--simulate", "nobody"], "pirate"),
        (["--rounds", 0], "--rounds 0"), (["--seed", -1], "--seed -1"),
        (["--session", "none.jsonl", "--replay"], "no such file"),
        (["--annotator", "a\tb"], "one line"), (["--simulate", "a1", "--annotator", "b"], "both"),
        (["--session", "bad.jsonl"], "not JSON"),
    ],
)
def test_wrong_arguments_get_one_line(tmp_path, arguments, words):
    (tmp_path / "bad.jsonl").write_text("{oops}\n", encoding="utf-8")
    status, out, err = run(tmp_path, *arguments)
    assert status == 2 and err.count("\n") == 1 and words in err, err
    assert not (tmp_path / "runs").exists()
