"""The whole model: its gradient through every objective, against finite differences.

Every weight of a tiny model is nudged, one at a time, and the analytic gradient must agree.  The
losses of PPO have kinks, where a derivative does not exist; the data are made so that every ratio
and every value is far from its kink, and test_gpt.py asserts that.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from helpers.models import (
    ADVANTAGE,
    ERROR,
    INPUTS,
    MASK,
    MOVED,
    RATIO,
    TARGETS,
    plain_logprobs,
    plain_values,
    random_params,
    tiny_config,
)
from helpers.ppo import minibatch
from minirlhf import gpt, step1_language_model, step2_reward_model, step3_ppo
from minirlhf.gpt import GPTConfig, Params
from minirlhf.gradcheck import numerical_gradient
from minirlhf.step2_reward_model import EncodedRanking
from minirlhf.step3_ppo import PPOSettings
from minirlhf.tokenizer import BOS, EOS

RANKINGS = [
    EncodedRanking(
        rows=[[BOS, 3, EOS], [BOS, 4, 5, 6, EOS], [BOS, 6, 6, EOS]], ranks=[2, 1, 3]
    ),
    EncodedRanking(  # with a tie
        rows=[[BOS, 5, EOS], [BOS, 3, 3, EOS], [BOS, 4, EOS]], ranks=[1, 2, 1]
    ),
]
SETTINGS = PPOSettings(entropy_coef=0.3)  # clip_range and value_clip_range are 0.2


class Case(NamedTuple):
    """A whole objective and a model to try it on."""

    module: Any  # where the function under test lives
    params: Params
    config: GPTConfig
    call: Any  # (module, params, config) -> loss, grads


def policy_case(tied, entropy_coef):
    config = tiny_config(tied)
    params = random_params(config)
    old_logprobs = plain_logprobs(params, config, INPUTS, TARGETS) - np.log(RATIO)
    batch = minibatch(INPUTS, TARGETS, MASK, old_logprobs=old_logprobs, advantages=ADVANTAGE)
    settings = PPOSettings(entropy_coef=entropy_coef)

    def call(m, params, config):
        return m.policy_objective(params, config, batch, settings)[:2]

    return Case(step3_ppo, params, config, call)


def value_case():
    config = tiny_config()
    params = random_params(config, scalar_head=True)
    values = plain_values(params, config, INPUTS)
    batch = minibatch(INPUTS, TARGETS, MASK, old_values=values - MOVED, returns=values - ERROR)

    def call(m, params, config):
        return m.value_objective(params, config, batch, SETTINGS)[:2]

    return Case(step3_ppo, params, config, call)


def language_model_case(tied, n_layer=2):
    config = tiny_config(tied, n_layer)

    def call(m, params, config):
        return m.language_model_loss(params, config, INPUTS, TARGETS, MASK)

    return Case(step1_language_model, random_params(config), config, call)


def reward_model_case(loss):
    config = tiny_config()

    def call(m, params, config):
        return m.reward_model_loss(params, config, RANKINGS, loss)[:2]

    return Case(step2_reward_model, random_params(config, scalar_head=True), config, call)


def trunk_case():
    """gpt_forward and gpt_backward alone, with a random gradient from above."""
    config = tiny_config()
    dhidden = np.random.default_rng(3).normal(size=(*INPUTS.shape, config.n_embd))

    def call(m, params, config):
        hidden, cache = m.gpt_forward(params, config, INPUTS)
        return float((hidden * dhidden).sum()), m.gpt_backward(params, config, dhidden, cache)

    return Case(gpt, random_params(config), config, call)


OBJECTIVES = {
    "language model, tied head": functools.partial(language_model_case, True),
    "language model, untied head": functools.partial(language_model_case, False),
    "reward model, k-wise": functools.partial(reward_model_case, "k-wise"),
    "reward model, Plackett-Luce": functools.partial(reward_model_case, "plackett-luce"),
    "policy, tied head, entropy bonus": functools.partial(policy_case, True, 0.3),
    "policy, untied head": functools.partial(policy_case, False, 0.0),
    "value": value_case,
    "trunk": trunk_case,
}


@functools.cache
def expected(make):
    """A function that makes a Case -> Case, loss, numerical gradient of every weight (P,), all from
    the package as it is."""
    case = make()

    def loss():
        return case.call(case.module, case.params, case.config)[0]

    return case, loss(), numerical_gradient(loss, case.params.flat)


def model_errors(make, module=None):
    """{tensor: error of its gradient, relative to its largest entry} and the error of the loss.

    make: one of OBJECTIVES, or another function that makes a Case; module: perhaps a broken copy.
    Some gradients are 0 by symmetry: adding a constant to all scores changes no ranking loss, and
    a key bias changes no softmax.  For them the scale is 1/1000 of the largest gradient of all.
    """
    case, loss, numerical = expected(make)
    got, grads = case.call(module or case.module, case.params, case.config)
    errors = {"loss": abs(got - loss) / abs(loss)}
    wanted = Params(case.params.shapes, np.float64)
    wanted.flat[...] = numerical
    floor = 1e-3 * np.abs(numerical).max()
    for tensor in wanted.shapes:
        a, b = grads[tensor], wanted[tensor]
        errors[tensor] = np.abs(a - b).max() / max(np.abs(b).max(), floor)
    return errors
