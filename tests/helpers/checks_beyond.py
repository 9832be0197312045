"""The methods of beyond/ beside their naive versions, and their objectives on a whole model."""

import functools
import itertools
import math

import numpy as np

from helpers.checks_model import Case
from helpers.gradients import loss_errors
from helpers.models import (
    INPUTS,
    MASK,
    RATIO,
    TARGETS,
    plain_logprobs,
    random_params,
    tiny_config,
)
from helpers.ppo import minibatch
from minirlhf.beyond import best_of_n as bon
from minirlhf.beyond import dpo, optimum, policy_gradient
from minirlhf.beyond.policy_gradient import PolicyGradientSettings
from minirlhf.gradcheck import relative_error
from minirlhf.layers import softmax

WHERE = list(zip(*np.nonzero(MASK)))
RNG = np.random.default_rng(5)
OLD = RNG.uniform(-3, -1, MASK.shape)
LOGPROBS = OLD + np.log(RATIO)
REF = LOGPROBS + RNG.normal(0, 0.7, MASK.shape)
OLD[MASK == 0], REF[MASK == 0] = -2000, 2000  # would overflow if anyone looked
RESPONSE_ADVANTAGES = np.array([0.8, -1.1])
PAIRS = [RNG.uniform(-9, -3, 5) for _ in range(4)]  # chosen, rejected, and the reference's


def pair_stats():
    moved = [PAIRS[i] - PAIRS[i + 2] for i in (0, 1)]
    margin = moved[0] - moved[1]
    return (margin > 0).mean(), margin.mean(), moved[0].mean(), moved[1].mean()


def naive_dpo():
    chosen, rejected, ref_chosen, ref_rejected = PAIRS
    total = 0.0
    for c, r, rc, rr in zip(chosen, rejected, ref_chosen, ref_rejected):
        total -= math.log(1 / (1 + math.exp(-0.3 * ((c - rc) - (r - rr)))))
    return total / 5, pair_stats()


def naive_ipo():
    chosen, rejected, ref_chosen, ref_rejected = PAIRS
    total = 0.0
    for c, r, rc, rr in zip(chosen, rejected, ref_chosen, ref_rejected):
        total += ((c - rc) - (r - rr) - 1 / (2 * 0.3)) ** 2
    return total / 5, pair_stats()


def dpo_errors(module=dpo):
    return loss_errors(module.dpo_loss(*PAIRS, 0.3), naive_dpo, PAIRS[0], PAIRS[1])


def ipo_errors(module=dpo):
    return loss_errors(module.ipo_loss(*PAIRS, 0.3), naive_ipo, PAIRS[0], PAIRS[1])


def naive_reinforce():
    total = 0.0
    for b, t in WHERE:
        total -= RESPONSE_ADVANTAGES[b] * LOGPROBS[b, t]
    return total / 2, ()


def reinforce_errors(module=policy_gradient):
    result = module.reinforce_loss(LOGPROBS, RESPONSE_ADVANTAGES, MASK)
    return loss_errors(result, naive_reinforce, LOGPROBS)


WEIGHTS = np.random.default_rng(6).uniform(0.1, 1, MASK.shape) * MASK


def naive_k3():
    total = 0.0
    for b, t in WHERE:
        d = LOGPROBS[b, t] - REF[b, t]
        total += WEIGHTS[b, t] * (math.exp(-d) - 1 + d)
    return total, ()


def k3_errors(module=policy_gradient):
    return loss_errors(module.k3_loss(LOGPROBS, REF, WEIGHTS), naive_k3, LOGPROBS)


def grpo_batch(old, ref):
    """Two responses, each of whose tokens has its response's advantage -> Minibatch."""
    return minibatch(
        INPUTS, TARGETS, MASK, old_logprobs=old, ref_logprobs=ref,
        advantages=RESPONSE_ADVANTAGES[:, None] * MASK,
    )


def naive_grpo():
    total = stopped = approx_kl = 0.0
    for b, t in WHERE:
        ratio, advantage = math.exp(LOGPROBS[b, t] - OLD[b, t]), RESPONSE_ADVANTAGES[b]
        clipped = min(max(ratio, 0.8), 1.2)
        total -= WEIGHTS[b, t] * min(ratio * advantage, clipped * advantage)
        stopped += clipped * advantage < ratio * advantage
        approx_kl += ratio - 1 - math.log(ratio)
    k3, _ = naive_k3()
    return total + 0.4 * k3, (stopped / 6, approx_kl / 6, k3)


def grpo_errors(module=policy_gradient):
    result = module.grpo_loss(LOGPROBS, grpo_batch(OLD, REF), WEIGHTS, 0.2, 0.4)
    return loss_errors(result, naive_grpo, LOGPROBS)


def weights_errors(module=policy_gradient):
    errors = {}
    for per_response, wanted in ((True, [1 / 8, 1 / 4]), (False, [1 / 18, 1 / 18])):
        got = module.token_weights(MASK, per_response, 9)
        errors[f"per_response {per_response}"] = relative_error(
            got, MASK * np.array(wanted)[:, None]
        )
    return errors


def rloo_errors(module=policy_gradient):
    scores = np.random.default_rng(7).normal(size=(3, 5))
    wanted = np.zeros((3, 5))
    for i, k in itertools.product(range(3), range(5)):
        wanted[i, k] = scores[i, k] - np.mean([scores[i, j] for j in range(5) if j != k])
    return {"advantages": relative_error(module.rloo_advantages(scores), wanted)}


def grpo_advantages_errors(module=policy_gradient):
    errors = {}
    for size in (1, 1e-4):  # with the small ones the 1e-4 is as large as their deviation
        scores = size * np.random.default_rng(7).normal(size=(3, 5))
        centred = np.array([row - np.mean(row) for row in scores])
        scale = np.array([math.sqrt(np.sum(row**2) / 4) + 1e-4 for row in centred])
        got = module.grpo_advantages(scores)
        errors[f"size {size}"] = relative_error(got, centred / scale[:, None])
        errors[f"size {size}, no std"] = relative_error(
            module.grpo_advantages(scores, False), centred
        )
    return errors


def optimal_policy_errors(module=optimum):
    rng = np.random.default_rng(8)
    ref, scores = np.log(softmax(rng.normal(size=6))), rng.normal(size=6)
    weights = [math.exp(p) * math.exp(s / 0.4) for p, s in zip(ref, scores)]
    logprobs, log_z = module.optimal_policy(ref, scores, 0.4)
    wanted = np.log(np.array(weights) / sum(weights))
    return {
        "logprobs": relative_error(logprobs, wanted),
        "log_z": abs(log_z - math.log(sum(weights))),
    }


def best_of_n_errors(module=bon):
    """Five answers, two of them tied, one impossible, and every draw of three."""
    probs = np.array([0.1, 0.4, 0.2, 0.3, 0.0])
    scores = np.array([2.0, -1.0, 2.0, 0.5, 1.0])
    wanted = np.zeros(5)
    for draw in itertools.product(range(5), repeat=3):
        best = max(scores[list(draw)])
        winners = [i for i in draw if scores[i] == best]
        for i in winners:
            wanted[i] += np.prod(probs[list(draw)]) / len(winners)
    got = module.best_of_n_distribution(probs, scores, 3)
    kl = sum(w * math.log(w / p) for w, p in zip(wanted, probs) if p > 0)
    subsets = list(itertools.combinations([0.3, -1.0, 2.0, 0.7, 0.1], 3))
    value = module.best_of_n_value(np.array([0.3, -1.0, 2.0, 0.7, 0.1]), 3)
    return {
        "distribution": relative_error(got, wanted),
        "kl": abs(module.best_of_n_kl(probs, scores, 3) - kl),
        "value": abs(value - np.mean([max(subset) for subset in subsets])),
        "bound": abs(module.best_of_n_kl_bound(3) - (math.log(3) - 2 / 3)),
    }


CHECKS = [
    dpo_errors, ipo_errors, reinforce_errors, k3_errors, grpo_errors, weights_errors,
    rloo_errors, grpo_advantages_errors, optimal_policy_errors, best_of_n_errors,
]


def reinforce_case():
    config = tiny_config()

    def call(m, params, config):
        return m.reinforce_objective(params, config, INPUTS, TARGETS, RESPONSE_ADVANTAGES, MASK)

    return Case(policy_gradient, random_params(config), config, call)


def grpo_case(per_response, tied):
    config = tiny_config(tied)
    params = random_params(config)
    old = plain_logprobs(params, config, INPUTS, TARGETS) - np.log(RATIO)
    ref = old + np.random.default_rng(9).normal(0, 0.5, MASK.shape)
    settings = PolicyGradientSettings(
        method="grpo", per_response=per_response, kl_coef=0.4, max_new_tokens=6
    )

    def call(m, params, config):
        return m.grpo_objective(params, config, grpo_batch(old, ref), settings)[:2]

    return Case(policy_gradient, params, config, call)


def dpo_case(loss, tied):
    config = tiny_config(tied)
    ref = np.array([-7.0, -6.0])

    def call(m, params, config):
        batch = dpo.PairBatch(inputs=INPUTS, targets=TARGETS, mask=MASK, ref_logprobs=ref)
        return m.dpo_objective(params, config, batch, loss, 0.3)[:2]

    return Case(dpo, random_params(config), config, call)


BEYOND = {
    "REINFORCE": reinforce_case,
    "GRPO": functools.partial(grpo_case, True, True),
    "Dr. GRPO": functools.partial(grpo_case, False, False),
    "DPO": functools.partial(dpo_case, "dpo", True),
    "IPO": functools.partial(dpo_case, "ipo", False),
}
