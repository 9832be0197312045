"""Four small models for PPO, one rollout of theirs, and a reward model that has learned."""

import functools

import numpy as np

from helpers.models import random_params
from minirlhf.adam import init_adam
from minirlhf.gpt import GPTConfig, init_params, with_scalar_head
from minirlhf.sample import sample
from minirlhf.step2_reward_model import EncodedRanking, RewardModelSettings, train_reward_model
from minirlhf.step3_ppo import (
    Minibatch,
    PPOModels,
    PPOSettings,
    clipped_loss,
    draw_minibatches,
    last_response_index,
    make_rollout,
    score_samples,
    update_policy,
    update_value_model,
)
from minirlhf.tokenizer import BOS, EOS

CONFIG = GPTConfig(vocab_size=7, block_size=9, n_layer=2, n_head=2, n_embd=4)
PROMPTS = [[BOS, 3], [BOS, 4, 5, 6], [BOS, 6, 3]] * 6
SETTINGS = PPOSettings(
    rollout_size=18, max_new_tokens=5, minibatch_size=6, kl_coef=0.2, missing_eos_score=-7.0
)


def four_models(dtype=np.float64):
    """Four different random models; values that have nothing to do with scores."""
    policy, ref_policy = (random_params(CONFIG, seed, dtype=dtype) for seed in (0, 1))
    reward_model, value_model = (
        random_params(CONFIG, seed, scalar_head=True, dtype=dtype) for seed in (2, 3)
    )
    return PPOModels(
        policy=policy, ref_policy=ref_policy, reward_model=reward_model, value_model=value_model,
        config=CONFIG, reward_config=CONFIG,
    )


def rollout_of(models, prompts, kl_coef, settings, rng):
    """What train_ppo does before it updates: sample, score, make_rollout -> Rollout."""
    samples = sample(models.policy, models.config, prompts, settings.max_new_tokens, rng)
    scores = score_samples(models, samples, settings)
    return make_rollout(models, samples, scores, kl_coef, settings)


def minibatch(inputs, targets, mask, **others):
    """Minibatch of these arrays; the fields that are not given hold NaN, and nobody may look."""
    fields = {name: np.full(mask.shape, np.nan) for name in Minibatch._fields}
    return Minibatch(**fields | {"inputs": inputs, "targets": targets, "mask": mask} | others)


def responses_of(rollout):
    """-> list of B (row of ids up to the last response token, index of that token in targets)."""
    ends = last_response_index(rollout.response_mask)
    return [(list(map(int, row[: end + 2])), end) for row, end in zip(rollout.tokens, ends)]


@functools.cache
def a_rollout():
    """One rollout of four_models(), with answers of many lengths."""
    return rollout_of(four_models(), PROMPTS, 0.2, SETTINGS, np.random.default_rng(8))


def two_adams(models):
    """-> {name: Adam at rest} of the two models that PPO trains."""
    return {"policy": init_adam(models.policy), "value_model": init_adam(models.value_model)}


def update(models, adams, rollout, settings, rng, iteration=0):
    """Both updates of one iteration, in place -> the figures of every minibatch, one dict each."""
    minibatches = draw_minibatches(len(rollout.tokens), settings, rng)
    policy_rows = update_policy(
        models, adams["policy"], rollout, minibatches, iteration, settings, clipped_loss
    )
    value_rows = update_value_model(
        models, adams["value_model"], rollout, minibatches, iteration, settings
    )
    return [policy | value for policy, value in zip(policy_rows, value_rows, strict=True)]


class Watch:
    """A hook for train_ppo that keeps every rollout it sees."""

    def __init__(self):
        self.rollouts = []

    def __call__(self, rollout):
        self.rollouts.append(rollout)
        return {"seen": len(self.rollouts)}


def known_order(rng, n):
    """Rankings of three answers in which more of letter 3 is better; equal counts are ties."""
    rankings = []
    for _ in range(n):
        answers = rng.integers(3, 7, (3, 4))
        counts = (answers == 3).sum(axis=1)
        ranks = [1 + len({int(c) for c in counts if c > own}) for own in counts]
        if max(ranks) > 1:
            rows = [[BOS, *map(int, answer), EOS] for answer in answers]
            rankings.append(EncodedRanking(rows=rows, ranks=ranks))
    return rankings


@functools.cache
def trained_reward_model(loss):
    """-> params, config, history, training rankings, other rankings."""
    config = GPTConfig(vocab_size=7, block_size=8, n_layer=1, n_head=2, n_embd=16)
    trunk = init_params(config, np.random.default_rng(0))
    params = with_scalar_head(trunk, config)  # a head of 0: no opinion
    rng = np.random.default_rng(2)
    training, others = known_order(rng, 150), known_order(rng, 60)
    settings = RewardModelSettings(loss=loss, epochs=6, learning_rate=1e-2)
    history = train_reward_model(params, config, training, settings, rng)
    return params, config, history, training, others
