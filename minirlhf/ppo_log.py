"""The log of PPO: the figures of one iteration, as the dashboard shows them."""

import numpy as np


def explained_variance(values, returns, mask) -> float:
    """1 - var(returns - values) / var(returns) over the entries where mask is 1."""
    valid = mask > 0
    variance = float(returns[valid].var())
    return 1 - float((returns - values)[valid].var()) / variance if variance > 0 else 0.0


def rollout_figures(said, rollout, kl_coef: float) -> dict:
    """What an iteration's answers were like.

    said: the Rollout as the policy said it; rollout: what the update learns from, the same unless a
    hook has changed it.
    """
    mask = said.response_mask  # (B, T)
    log_ratio = (said.old_logprobs - said.ref_logprobs) * mask  # (B, T)
    return {
        "score": float(said.scores.mean()),
        "kl_exact": float(said.exact_kl.sum(axis=1).mean()),
        "kl_estimate": float(log_ratio.sum(axis=1).mean()),
        "kl_coef": kl_coef,
        "entropy": float(said.entropy.sum() / mask.sum()),
        "explained_variance": explained_variance(
            rollout.values, rollout.returns, rollout.response_mask
        ),
        "response_length": float(mask.sum(axis=1).mean()),
        "missing_eos": float(1 - said.finished.mean()),
    }


def mean_figures(rows: list[dict]) -> dict:
    """Figures of N minibatches, each a dict -> their means over (N,), without the epoch."""
    names = [name for name in rows[0] if name != "epoch"]
    return {name: float(np.mean([row[name] for row in rows])) for name in names}
