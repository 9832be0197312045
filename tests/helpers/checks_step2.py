"""The ranking losses and the reward model beside their naive versions: loops, textbook formulas."""

import functools
import math

import numpy as np

from helpers.gradients import loss_errors
from helpers.models import random_params, tiny_config
from minirlhf import step2_reward_model
from minirlhf.gradcheck import compare_params, numerical_gradient
from minirlhf.step2_reward_model import reward_model_forward
from minirlhf.tokenizer import BOS, EOS

CHOSEN, REJECTED = np.array([0.3, -1.2, 2.0]), np.array([1.1, -1.5, 0.4])
SCORES = np.random.default_rng(0).normal(size=(4, 3))
# one full ranking, one tie for the first place, one for the last, and one of ties alone
RANKS = np.array([[2, 3, 1], [1, 1, 2], [2, 1, 2], [1, 1, 1]])


def naive_bradley_terry():
    margins = CHOSEN - REJECTED
    return -sum(math.log(1 / (1 + math.exp(-margin))) for margin in margins) / 3, ()


def naive_ranking():
    total = 0.0
    for scores, ranks in zip(SCORES, RANKS):
        pairs = [(i, j) for i in range(3) for j in range(3) if ranks[i] < ranks[j]]
        losses = [math.log(1 + math.exp(scores[j] - scores[i])) for i, j in pairs]
        total += sum(losses) / len(pairs) if pairs else 0
    return total / 4, ()


def naive_plackett_luce():
    total = 0.0
    for scores, ranks in zip(SCORES, RANKS):
        for i in range(3):  # i wins against itself and all that are ranked behind it
            field = [math.exp(scores[j]) for j in range(3) if j == i or ranks[j] > ranks[i]]
            total -= math.log(math.exp(scores[i]) / sum(field))
    return total / 4, ()


def bradley_terry_errors(module=step2_reward_model):
    result = module.bradley_terry_loss(CHOSEN, REJECTED)
    return loss_errors(result, naive_bradley_terry, CHOSEN, REJECTED)


def ranking_errors(module=step2_reward_model):
    errors = loss_errors(module.ranking_loss(SCORES, RANKS), naive_ranking, SCORES)
    pair = module.ranking_loss(np.array([[0.0, 0.0]]), np.array([[2, 1]]))  # one pair is not two
    errors["one pair"] = np.abs(np.array([pair[0], *pair[1][0]]) - [math.log(2), 0.5, -0.5]).max()
    return errors


def plackett_luce_errors(module=step2_reward_model):
    return loss_errors(module.plackett_luce_loss(SCORES, RANKS), naive_plackett_luce, SCORES)


DSCORES = np.array([0.7, -1.1, 0.9])
TOKENS, LAST = np.array([[BOS, 3, EOS, 0], [BOS, 4, 5, EOS], [BOS, 6, EOS, 0]]), [2, 3, 2]


@functools.cache
def expected_reward_model_gradient():
    """-> params, gradient of sum(DSCORES * scores) by finite differences (P,)."""
    config = tiny_config()
    params = random_params(config, scalar_head=True)

    def projected():
        return float(DSCORES @ reward_model_forward(params, config, TOKENS, LAST)[0])

    return params, numerical_gradient(projected, params.flat)


def reward_model_errors(module=step2_reward_model):
    """With any gradient from above: under a ranking loss, that of the head's bias is always 0."""
    params, wanted = expected_reward_model_gradient()
    _, cache = module.reward_model_forward(params, tiny_config(), TOKENS, LAST)
    grads = module.reward_model_backward(params, tiny_config(), DSCORES, cache)
    return compare_params(grads, filled(params, wanted))


def filled(params, flat):
    """A copy of params that holds the numbers of flat."""
    twin = params.copy()
    twin.flat[...] = flat
    return twin
