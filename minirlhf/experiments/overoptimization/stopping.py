"""Rules for stopping PPO early that need no gold judge: which earlier policy is kept?

    KL budget        the last before its KL passes 1.5 nats
    held-out judge   the best for a reward model that PPO has not seen
    disagreement     the last before an ensemble disagrees by a tenth more than about the reference

Their limits were chosen on another seed (10) than the results'.
"""

from typing import NamedTuple

import numpy as np

KL_BUDGET = 1.5  # nats
PATIENCE = 2  # checkpoints
DISAGREES = 1.1  # times the disagreement about the reference's answers
RULES = ("KL budget", "held-out judge", "disagreement")


class Stop(NamedTuple):
    """Where a rule stops: the checkpoint whose policy is kept, and the last one it looked at."""

    kept: int
    seen: int


def stop_above(signal, limit):
    """signal (C,) at C checkpoints -> Stop: keep the last one before the signal exceeds limit."""
    above = np.flatnonzero(np.asarray(signal) > limit)
    if len(above) == 0:
        return Stop(kept=len(signal) - 1, seen=len(signal) - 1)
    return Stop(kept=max(int(above[0]) - 1, 0), seen=int(above[0]))


def stop_at_peak(signal, patience):
    """signal (C,) -> Stop: keep the highest; end after `patience` checkpoints without a higher.

    What comes after `seen` is never looked at.  Raises ValueError if patience is below 1.
    """
    if patience < 1:
        raise ValueError(f"patience is {patience}, expected 1 or more")
    best = 0
    for now in range(1, len(signal)):
        if signal[now] > signal[best]:
            best = now
        elif now - best >= patience:
            return Stop(kept=best, seen=now)
    return Stop(kept=best, seen=len(signal) - 1)


def stop_by(rule, curves):
    """curves of a run without a KL price -> Stop.  rule: one of RULES; none of them sees gold."""
    if rule == "KL budget":
        return stop_above(curves["kl"], KL_BUDGET)
    if rule == "held-out judge":
        return stop_at_peak(curves["held_out"], PATIENCE)
    if rule == "disagreement":
        return stop_above(curves["disagreement"], DISAGREES * curves["disagreement"][0])
    raise ValueError(f"rule {rule!r} is not one of {', '.join(RULES)}")
