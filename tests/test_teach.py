"""Teach Rufus yourself: rounds, the session's file, what labels mean.

Nothing that a person, a model or a file says is trusted.
"""

import json
import re
from dataclasses import asdict

import pytest
from helpers.teaching import ASKED, NEVER_AGAIN, TINY, again, give, said

from minirlhf.data import read_demonstrations, read_preferences, read_rankings
from minirlhf.errors import InputError
from minirlhf.teach.agreement import export_session
from minirlhf.teach.learning import TeachSettings, load_setup
from minirlhf.teach.records import (
    FIELDS,
    read_session,
    round_ranking,
    session_corrections,
    session_rankings,
    without_undone,
)
from minirlhf.teach.session import open_session

OLD_SETTINGS = '{"format": "minirlhf session 1", "lang": "zh", "seed": 0, "pretrained": 0}'


@pytest.fixture
def session(tmp_path):
    return open_session(tmp_path / "s.jsonl", "zh", "Ann", settings=TINY)


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


@pytest.mark.slow
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
