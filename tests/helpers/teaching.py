"""What the tests of teaching share: settings that take no time, a round, sessions compared."""

from dataclasses import asdict
from pathlib import Path

from minirlhf.teach.learning import TeachSettings
from minirlhf.teach.records import Round, make_row
from minirlhf.teach.replay import checksum
from minirlhf.teach.session import open_session

REPO = Path(__file__).parents[2]
TINY = TeachSettings(
    iterations=1, rollout_size=12, ppo_epochs=1, minibatch_size=6, sft_steps=2, reward_steps=4,
    repeat_every=4,
)
NEVER_AGAIN = TeachSettings(**asdict(TINY) | {"repeat_every": 0})
ASKED = Round(
    number=1, prompt="q", responses=["a", "b", "c", "d"], models=["v0"] * 4, version=0, again=-1
)


def said(kind, **fields):
    """A row of a label about ASKED."""
    return make_row(kind, 9, "Ann", False, 0, of=1, prompt="q", **fields)


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
