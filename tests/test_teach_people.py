"""Teach Rufus yourself: annotators who agree or do not, sessions together, SIMULATED people."""

import math

import numpy as np
import pytest
from helpers.teaching import ASKED, REPO, TINY, give, said

from minirlhf.checkpoint import load_model
from minirlhf.errors import InputError
from minirlhf.teach.agreement import agreement, kendall_tau, merge_sessions, self_consistency
from minirlhf.teach.records import Round, round_ranking, session_rankings
from minirlhf.teach.session import open_session
from minirlhf.teach.simulated import TASTES, judge, make_person, pleases, wish

DATA = REPO / "data"


@pytest.fixture
def session(tmp_path):
    return open_session(tmp_path / "s.jsonl", "zh", "Ann", settings=TINY)


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
