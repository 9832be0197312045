"""The curves of Gao, Schulman and Hilton 2022 (arXiv 2210.10760) of over-optimisation.

A policy is pushed away from its reference by a proxy, a learned reward model.  With d the square
root of KL(policy || reference) and R the gold reward minus the reference's, so R(0) = 0:

    best-of-n                 R(d) = d (alpha - beta d)        highest at d = alpha / (2 beta)
    reinforcement learning    R(d) = d (alpha - beta log d)    highest at d = exp(alpha/beta - 1)

Both are linear in alpha and beta, so least squares has a closed form: two normal equations.
The slope of the second is infinite at d = 0; the paper says itself that it cannot hold there.

Where this departs from the paper:
1. Every point counts the same; points with KL 0 are left out, since both curves pass there.
2. Their gold is a reward model of 6B parameters; here it is a rule, the gold judge of the world.
3. Their reinforcement learning is PPO without a KL penalty, and so are the points fitted here, but
   the policy and the reward models have some 100,000 parameters and not millions.
"""

import math
from typing import NamedTuple

import numpy as np


class GaoFit(NamedTuple):
    """A fitted curve.  form: "best of n" or "rl"."""

    form: str
    alpha: float  # how fast R rises at first, in units of R for a square root of a nat
    beta: float  # how soon it turns; above 0 there is a highest point
    r_squared: float  # share of R's variance about its mean; below 0: worse than the mean


FORMS = ("best of n", "rl")


def root(kl):
    """KL in nats, (N,) or a number -> d = its square root; a KL below 0 by rounding counts as 0."""
    return np.sqrt(np.maximum(kl, 0.0))


def two_columns(kl, form):
    """-> (N, 2): what alpha and beta are multiplied with.  Raises ValueError for another form."""
    d = root(np.asarray(kl, np.float64))  # (N,)
    if form == "best of n":
        return np.stack([d, -(d**2)], axis=1)
    if form == "rl":
        log_d = np.log(np.where(d > 0, d, 1.0))  # (N,) d log d is 0 at d = 0
        return np.stack([d, -d * log_d], axis=1)
    raise ValueError(f"form {form!r} is not one of {', '.join(FORMS)}")


def fit(kl, gain, form):
    """Least squares of alpha and beta.  kl (N,) nats, gain (N,): R -> GaoFit.

    Points with KL 0 say nothing and are left out.  Raises ValueError if fewer than two different
    KLs are left.
    """
    kl, gain = np.asarray(kl, np.float64), np.asarray(gain, np.float64)  # (N,)
    kl, gain = kl[kl > 0], gain[kl > 0]
    if len(np.unique(kl)) < 2:
        raise ValueError(f"{len(np.unique(kl))} different KLs above 0: a curve needs two")
    X = two_columns(kl, form)  # (N, 2)
    alpha, beta = np.linalg.solve(X.T @ X, X.T @ gain)  # the normal equations
    left = gain - X @ np.array([alpha, beta])  # (N,)
    spread = float(((gain - gain.mean()) ** 2).sum())
    r_squared = 1 - float((left**2).sum()) / spread if spread > 0 else float("nan")
    return GaoFit(form=form, alpha=float(alpha), beta=float(beta), r_squared=r_squared)


def fit_best_of_n(kl, gain):
    """R = d (alpha - beta d).  kl (N,) nats, gain (N,) -> GaoFit."""
    return fit(kl, gain, "best of n")


def fit_rl(kl, gain):
    """R = d (alpha - beta log d).  kl (N,) nats, gain (N,) -> GaoFit."""
    return fit(kl, gain, "rl")


def gain_at(curve, kl):
    """GaoFit, kl (N,) nats -> R (N,)."""
    return two_columns(kl, curve.form) @ np.array([curve.alpha, curve.beta])


def peak(curve):
    """GaoFit -> KL in nats and R at its highest point; (inf, inf) if it only rises.

    (0, 0) if it only falls.
    """
    if curve.form == "best of n" and curve.alpha <= 0 <= curve.beta:
        return 0.0, 0.0
    if curve.beta <= 0:
        return math.inf, math.inf
    if curve.form == "best of n":
        d = curve.alpha / (2 * curve.beta)
        return d**2, curve.alpha * d / 2
    d = math.exp(curve.alpha / curve.beta - 1)
    return d**2, curve.beta * d
