"""The parts of PPO beside their naive versions: losses, GAE, rewards, whitening."""

import math

import numpy as np

from helpers.gradients import loss_errors
from helpers.models import ADVANTAGE, ERROR, MASK, MOVED, RATIO, TARGETS
from helpers.ppo import minibatch
from minirlhf import step3_ppo
from minirlhf.gradcheck import relative_error

OLD_LOGPROBS = np.random.default_rng(0).uniform(-3, -1, RATIO.shape)
LOGPROBS = OLD_LOGPROBS + np.log(RATIO)
OLD_LOGPROBS[MASK == 0] = -2000  # a ratio that would overflow
VALUES = np.random.default_rng(1).normal(size=RATIO.shape)
VALUES[0, 2:4] = 0.18, -0.5  # small before or after, and yet they moved far
OLD_VALUES, RETURNS = VALUES - MOVED, VALUES - ERROR
WHERE = list(zip(*np.nonzero(MASK)))  # (b, t) of the six response tokens


def naive_policy_loss():
    total = stopped = outside = approx_kl = 0.0
    for b, t in WHERE:
        ratio, advantage = math.exp(LOGPROBS[b, t] - OLD_LOGPROBS[b, t]), ADVANTAGE[b, t]
        clipped = min(max(ratio, 0.8), 1.2)
        total -= min(ratio * advantage, clipped * advantage)
        stopped += clipped * advantage < ratio * advantage
        outside += clipped != ratio
        approx_kl += ratio - 1 - math.log(ratio)
    return total / 6, (stopped / 6, outside / 6, approx_kl / 6)


def naive_value_loss():
    total = stopped = 0.0
    for b, t in WHERE:
        value, old_value, wanted = VALUES[b, t], OLD_VALUES[b, t], RETURNS[b, t]
        clipped = min(max(value, old_value - 0.2), old_value + 0.2)
        total += 0.5 * max((value - wanted) ** 2, (clipped - wanted) ** 2)
        stopped += (clipped - wanted) ** 2 > (value - wanted) ** 2 + 1e-12
    returns = [RETURNS[b, t] for b, t in WHERE]
    errors = [RETURNS[b, t] - OLD_VALUES[b, t] for b, t in WHERE]
    return total / 6, (stopped / 6, 1 - np.var(errors) / np.var(returns))


def policy_loss_errors(module=step3_ppo):
    result = module.ppo_policy_loss(LOGPROBS, OLD_LOGPROBS, ADVANTAGE, MASK, 0.2)
    return loss_errors(result, naive_policy_loss, LOGPROBS)


def clipped_loss_errors(module=step3_ppo):
    """The same through a Minibatch, of which the range is a setting."""
    batch = minibatch(TARGETS, TARGETS, MASK, old_logprobs=OLD_LOGPROBS, advantages=ADVANTAGE)
    result = module.clipped_loss(LOGPROBS, batch, step3_ppo.PPOSettings(clip_range=0.2))
    return loss_errors(result, naive_policy_loss, LOGPROBS)


def many_values_inside_the_range():
    """-> values, old_values, returns (50, 40); no value has moved by more than .2."""
    rng = np.random.default_rng(0)
    values, returns = rng.normal(size=(2, 50, 40))
    return values, values + rng.uniform(-0.19, 0.19, values.shape), returns


def value_loss_errors(module=step3_ppo):
    result = module.value_loss(VALUES, OLD_VALUES, RETURNS, MASK, 0.2)
    errors = loss_errors(result, naive_value_loss, VALUES)
    # old + clip(value - old) is not always value: written so, rounding would stop some of these
    values, old_values, returns = many_values_inside_the_range()
    dvalues = module.value_loss(values, old_values, returns, np.ones_like(values), 0.2)[1]
    errors["gradient inside"] = relative_error(dvalues, (values - returns) / values.size)
    return errors


def naive_gae(gamma, gae_lambda):
    """The definition: A_t = sum over l of (gamma lambda)^l delta_{t+l}, over response tokens."""
    advantages = np.zeros(MASK.shape)
    for b in range(len(MASK)):
        response = [t for bb, t in WHERE if bb == b]
        for t in response:
            for s in response[response.index(t) :]:
                after = VALUES[b, s + 1] if s + 1 in response else 0.0
                delta = ADVANTAGE[b, s] + gamma * after - VALUES[b, s]
                advantages[b, t] += (gamma * gae_lambda) ** (s - t) * delta
    return advantages


def gae_errors(module=step3_ppo):
    """ADVANTAGE stands in for rewards: any numbers do, and 5 on what is not response."""
    advantages, returns = module.gae(ADVANTAGE, VALUES, MASK, 0.9, 0.8)
    wanted = naive_gae(0.9, 0.8)
    wanted_returns = wanted + VALUES * MASK
    return {
        "advantages": relative_error(advantages, wanted),
        "returns": relative_error(returns, wanted_returns),
    }


def rewards_errors(module=step3_ppo):
    scores = np.array([0.7, -1.3])
    rewards = module.kl_shaped_rewards(scores, LOGPROBS, OLD_LOGPROBS, MASK, 0.3)
    wanted = np.zeros(MASK.shape)
    for b, t in WHERE:
        wanted[b, t] = -0.3 * (LOGPROBS[b, t] - OLD_LOGPROBS[b, t])
    wanted[0, 4] += 0.7
    wanted[1, 2] -= 1.3
    return {"rewards": relative_error(rewards, wanted)}


def whiten_errors(module=step3_ppo):
    errors = {}
    for size in (1, 1e-4):  # with the small numbers the 1e-8 is as large as their variance
        x = [size * VALUES[b, t] for b, t in WHERE]
        wanted = np.zeros(MASK.shape)
        for b, t in WHERE:
            wanted[b, t] = (size * VALUES[b, t] - np.mean(x)) / math.sqrt(np.var(x) + 1e-8)
        errors[f"size {size}"] = relative_error(module.whiten(size * VALUES, MASK), wanted)
    return errors
