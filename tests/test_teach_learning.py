"""Teach Rufus yourself: learning, crashes, replay.

A crash at any moment loses nothing; the records alone give the same models, bit for bit.
"""

import json
from dataclasses import asdict

import numpy as np
import pytest
from helpers.teaching import REPO, TINY, again, give, same_states

from minirlhf.checkpoint import load_model
from minirlhf.rufus.answers import ask, score_texts
from minirlhf.step2_reward_model import pair_accuracy
from minirlhf.teach.learning import TeachSettings
from minirlhf.teach.records import FIELDS, mend, read_session
from minirlhf.teach.replay import checksum, compute_states, learnings, load_states, replay
from minirlhf.teach.session import open_session
from minirlhf.teach.simulated import judge, make_person, pleases

RECORDED = [REPO / "data" / lang / "session_simulated.jsonl" for lang in ("en", "zh")]
NOT_TIME = set(FIELDS) - {"time"}


@pytest.fixture
def session(tmp_path):
    return open_session(tmp_path / "s.jsonl", "zh", "Ann", settings=TINY)


def bare(rows):
    return [{name: row[name] for name in NOT_TIME} for row in rows]


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


@pytest.mark.slow
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
    assert session.version == 0 and session.rows[-1]["kind"] == "learn" and session.unlearned
    assert again(session).version == 1
    learned = session.learn()
    assert learned.version == 1 and same_states(session.states, again(session).states)


def test_a_session_opened_again_has_nothing_new_to_learn(session):
    """Its models file holds the last two versions only; that is no learning cut off."""
    for i in range(3):
        give(session, ("best", i))
        session.learn()
    other = again(session)
    assert other.version == 3 and not other.unlearned and other.learn() is None


def interrupt(steps):
    raise KeyboardInterrupt


def test_mend_cuts_only_what_is_torn(tmp_path):
    path = tmp_path / "s.jsonl"
    for text, kept in ((b"a\nb\n", b"a\nb\n"), (b"a\n{\xe4", b"a\n"), (b"{", b"")):
        path.write_bytes(text)
        mend(path)
        assert path.read_bytes() == kept


# ---- replay ---------------------------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
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
