"""What each ablation changes in PPO: settings, the values' start, the rollout or the loss.

    no clip                  clip range infinite
    one epoch                one pass over each rollout, so a quarter of the optimiser steps
    no KL                    kl_coef 0: nothing holds the policy at the reference
    no whitening             advantages as GAE gives them
    no value function        values 0: advantages are discounted rewards
    value from the SFT model the value network starts from the reference, with a head of zeros
    value from noise         the value network starts from random weights
    KL in the loss, k2       not in the reward; the estimate k2 of each token, added to the loss
    KL in the loss, k3       the same with k3
    mean per answer          each answer counts the same, however long; step 3: each token
    score on every token     every token of an answer gets the whole score
    EOS masked out           EOS is not counted as part of the answer: the score moves one forward

CHANGES has them by name.  Everything else is step 3's: train_ppo takes the changed rollout and the
changed loss as PPOHooks, and "healthy", where nothing is changed, is train_ppo as it is.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minirlhf.beyond.policy_gradient import k3_loss, token_weights
from minirlhf.gpt import init_params, with_scalar_head
from minirlhf.step3_ppo import (
    PPOHooks,
    clipped_loss,
    gae,
    kl_shaped_rewards,
    last_response_index,
    token_count,
    train_ppo,
    whiten,
)

# ---- where the values start -----------------------------------------------------------------


def values_from_the_sft_model(models, rng):
    """-> Params: the reference with a head of zeros."""
    return with_scalar_head(models.ref_policy, models.config)


def values_from_noise(models, rng):
    """-> Params: random weights."""
    return init_params(models.reward_config, rng, scalar_head=True)


# ---- the rollout that the update learns from ------------------------------------------------


def advantages_again(rollout, settings):
    """Rollout -> the same with advantages and returns (B, T) of its rewards and values."""
    mask = rollout.response_mask  # (B, T)
    advantages, returns = gae(
        rollout.rewards, rollout.values, mask, settings.gamma, settings.gae_lambda
    )
    return rollout._replace(advantages=whiten(advantages, mask), returns=returns)


def without_whitening(rollout, settings):
    """Advantages as GAE gave them: returns are advantages + values.  (B, T)."""
    return rollout._replace(advantages=rollout.returns - rollout.values)


def without_values(rollout, settings):
    """All values 0, as if there were no value network.  (It is trained, and nobody listens.)"""
    return advantages_again(rollout._replace(values=np.zeros_like(rollout.values)), settings)


def without_kl_in_the_reward(rollout, settings):
    """The score alone is the reward, (B, T); the loss has the KL then."""
    rewards = kl_shaped_rewards(
        rollout.scores, rollout.old_logprobs, rollout.ref_logprobs, rollout.response_mask, 0.0
    )
    return advantages_again(rollout._replace(rewards=rewards), settings)


def score_on_every_token(rollout, settings):
    """Each token gets the whole score, and not the last one alone.  (B, T)."""
    mask = rollout.response_mask
    kl = (rollout.old_logprobs - rollout.ref_logprobs) * mask  # (B, T)
    rewards = rollout.scores[:, None] * mask - settings.kl_coef * kl  # (B, T)
    return advantages_again(rollout._replace(rewards=rewards), settings)


def eos_masked_out(rollout, settings):
    """response_mask (B, T) ends before EOS, so the score lands on the token before it.

    An answer that is EOS alone keeps it: a row needs one token.
    """
    mask = rollout.response_mask.copy()  # (B, T)
    rows = np.flatnonzero(rollout.finished & (mask.sum(axis=1) > 1))
    mask[rows, last_response_index(mask)[rows]] = 0
    rewards = kl_shaped_rewards(
        rollout.scores, rollout.old_logprobs, rollout.ref_logprobs, mask, settings.kl_coef
    )
    masked = rollout._replace(response_mask=mask, rewards=rewards, values=rollout.values * mask)
    return advantages_again(masked, settings)


# ---- the loss -------------------------------------------------------------------------------


def k2_loss(logprobs, ref_logprobs, weights):
    """Weighted sum of Schulman's k2, d^2 / 2 with d = log pi - log ref.

    All (B, T) -> loss in nats, dlogprobs (B, T).  On the policy's own samples its gradient is that
    of KL(policy || reference), token by token; k3's is that of the other direction.
    """
    d = (logprobs - ref_logprobs) * (weights > 0)  # (B, T)
    return 0.5 * float((d**2 * weights).sum()), d * weights


def with_k2(logprobs, batch, settings):
    """PPO's clipped loss plus kl_coef * k2 -> loss, dlogprobs (B, T), PolicyStats."""
    return with_kl(k2_loss, logprobs, batch, settings)


def with_k3(logprobs, batch, settings):
    """PPO's clipped loss plus kl_coef * k3 -> loss, dlogprobs (B, T), PolicyStats."""
    return with_kl(k3_loss, logprobs, batch, settings)


def with_kl(estimate, logprobs, batch, settings):
    """PPO's clipped loss plus kl_coef * estimate (k2_loss or k3_loss), a mean over tokens."""
    loss, dlogprobs, stats = clipped_loss(logprobs, batch, settings)
    weights = batch.mask / token_count(batch.mask)  # (B, T)
    kl, dkl = estimate(logprobs, batch.ref_logprobs, weights)
    return loss + settings.kl_coef * kl, dlogprobs + settings.kl_coef * dkl, stats


def mean_per_answer(logprobs, batch, settings):
    """PPO's clipped loss in which each answer counts the same, however long.  (B, T).

    min() lets a positive factor through, so the weights can ride on the advantages.
    """
    weights = token_weights(batch.mask, True, settings.max_new_tokens)  # (B, T)
    advantages = batch.advantages * weights * token_count(batch.mask)  # (B, T)
    return clipped_loss(logprobs, batch._replace(advantages=advantages), settings)


# ---- all of them ----------------------------------------------------------------------------


class Change(NamedTuple):
    """What an ablation changes; what it does not name stays as it is."""

    settings: dict | None = None  # {name: value} of PPOSettings
    value_start: object = None  # function of models, rng -> Params
    rollout: object = None  # PPOHooks.change
    loss: object = clipped_loss  # PPOHooks.policy_loss


HEALTHY = "healthy"
CHANGES = {
    HEALTHY: Change(),
    "no clip": Change(settings={"clip_range": math.inf}),
    "one epoch": Change(settings={"ppo_epochs": 1}),
    "no KL": Change(settings={"kl_coef": 0.0}),
    "no whitening": Change(rollout=without_whitening),
    "no value function": Change(rollout=without_values),
    "value from the SFT model": Change(value_start=values_from_the_sft_model),
    "value from noise": Change(value_start=values_from_noise),
    "KL in the loss, k2": Change(rollout=without_kl_in_the_reward, loss=with_k2),
    "KL in the loss, k3": Change(rollout=without_kl_in_the_reward, loss=with_k3),
    "mean per answer": Change(loss=mean_per_answer),
    "score on every token": Change(rollout=score_on_every_token),
    "EOS masked out": Change(rollout=eos_masked_out),
}
ABLATIONS = tuple(CHANGES)[1:]


def train(name, models, prompts, settings, rng, watch=None):
    """train_ppo with one of CHANGES, in place on models.policy -> history.

    prompts: list of ids.  watch(rollout) -> dict of figures, evaluation only.
    """
    change = CHANGES[name]
    settings = replace(settings, **(change.settings or {}))
    if change.value_start is not None:
        models = models._replace(value_model=change.value_start(models, rng))
    hooks = PPOHooks(watch=watch, change=change.rollout, policy_loss=change.loss)
    return train_ppo(models, prompts, settings, rng, hooks)
