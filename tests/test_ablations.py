"""The bug gallery: each changed part by itself, the healthy run against train_ppo, what the
sentences say held by the committed results, and a tiny run."""

from dataclasses import replace

import numpy as np
import pytest
from test_gpt import params_bytes
from test_layers import TOLERANCE, loss_errors

from minirlhf.experiments.ablations import run as ablations
from minirlhf.experiments.ablations.run import (
    ABLATIONS,
    HEALTHY,
    OTHER_LOSS,
    ablated_rollout,
    ablated_settings,
    eos_masked_out,
    k2_loss,
    other_loss,
    price_in_the_reward,
    score_on_every_token,
    train,
    value_model_start,
    without_values,
    without_whitening,
)
from minirlhf.gpt import GPTConfig, init_params, with_scalar_head
from minirlhf.step3_ppo import (
    PPOModels,
    PPOSettings,
    last_response_index,
    make_rollout,
    ppo_policy_loss,
    train_ppo,
)
from minirlhf.tokenizer import BOS, EOS

MASK = np.array([[0, 1, 1, 1, 1], [0, 1, 1, 0, 0]], float)  # B 2, T 5
CONFIG = GPTConfig(vocab_size=7, block_size=12, n_layer=1, n_head=2, n_embd=8)
PROMPTS = [[BOS, 3], [BOS, 4, 5], [BOS, 6]]
SETTINGS = PPOSettings(
    iterations=3, rollout_size=8, minibatch_size=4, max_new_tokens=6, learning_rate=3e-3
)


def numbers(seed):
    """Log-probs with every ratio far from the clip's kinks, reference, advantages: (2, 5)."""
    rng = np.random.default_rng(seed)
    logprobs = rng.normal(-1.5, 0.5, MASK.shape)
    ratio = rng.choice([0.6, 0.95, 1.07, 1.5], MASK.shape)
    ref = logprobs + rng.normal(0, 0.5, MASK.shape)
    return logprobs, logprobs - np.log(ratio), ref, rng.normal(0, 1, MASK.shape)


def tiny_models(seed=0):
    """Random models in which EOS is likely enough to be said."""
    rng = np.random.default_rng(seed)
    policy = init_params(CONFIG, rng)
    reward = with_scalar_head(policy, CONFIG, rng)
    return PPOModels(policy.copy(), policy, reward, reward.copy(), CONFIG, CONFIG)


def a_rollout(kl_coef=0.1):
    return make_rollout(tiny_models(), PROMPTS * 6, kl_coef, SETTINGS, np.random.default_rng(5))


# ---- losses ---------------------------------------------------------------------------------


def naive_loss(name, logprobs, old, ref, advantages, settings):
    """The same loss, one token at a time."""
    total, n_tokens = 0.0, MASK.sum()
    for b, t in zip(*np.nonzero(MASK)):
        ratio = np.exp(logprobs[b, t] - old[b, t])
        clipped = np.clip(ratio, 1 - settings.clip_range, 1 + settings.clip_range)
        term = -min(ratio * advantages[b, t], clipped * advantages[b, t])
        d = logprobs[b, t] - ref[b, t]
        if name == "mean per answer":
            total += term / MASK[b].sum() / len(MASK)
        elif name.endswith("k2"):
            total += (term + settings.kl_coef * d**2 / 2) / n_tokens
        else:
            total += (term + settings.kl_coef * (np.exp(-d) - 1 + d)) / n_tokens
    return total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", OTHER_LOSS)
def test_gradient_of_the_changed_losses_agrees_with_finite_differences(name, seed):
    logprobs, old, ref, advantages = numbers(seed)
    settings = replace(SETTINGS, kl_coef=0.7)
    result = other_loss(name, logprobs, old, ref, advantages, MASK, settings)

    def naive():
        return naive_loss(name, logprobs, old, ref, advantages, settings), ()

    errors = loss_errors(result[:2], naive, logprobs)
    assert max(errors.values()) < TOLERANCE, errors
    assert not result[1][MASK == 0].any()


def test_the_changed_losses_without_their_change_are_ppos():
    logprobs, old, ref, advantages = numbers(0)
    loss, dlogprobs, _ = ppo_policy_loss(logprobs, old, advantages, MASK, 0.2)
    free = replace(SETTINGS, kl_coef=0.0)
    for name in ("KL in the loss, k2", "KL in the loss, k3"):
        got, dgot, _ = other_loss(name, logprobs, old, ref, advantages, MASK, free)
        assert got == loss
        np.testing.assert_array_equal(dgot, dlogprobs)


def test_on_policy_the_gradient_of_k2_is_that_of_the_kl_and_k3s_is_not():
    """One token, three choices: the expectation by summing over them, KL by differences."""
    logits, ref = np.array([0.4, -0.7, 1.1]), np.log([0.5, 0.3, 0.2])
    probs = np.exp(logits) / np.exp(logits).sum()
    logprobs = np.log(probs)
    kl = probs @ (logprobs - ref)
    true = probs * (logprobs - ref - kl)  # d KL(pi || ref) / d logits
    reverse = probs - np.exp(ref)  # d KL(ref || pi) / d logits
    for penalty, wanted in ((k2_loss, true), (ablations.k3_loss, reverse)):
        total = np.zeros(3)
        for token in range(3):
            one = np.array([[logprobs[token]]]), np.array([[ref[token]]]), np.ones((1, 1))
            slope = penalty(*one)[1][0, 0]
            total += probs[token] * slope * (np.eye(3)[token] - probs)
        np.testing.assert_allclose(total, wanted, rtol=1e-10)


# ---- parts ----------------------------------------------------------------------------------


def test_every_ablation_changes_what_it_says_and_nothing_else():
    """Settings, value model, price, rollout, loss: exactly one of them differs."""
    models, rollout = tiny_models(), a_rollout()
    for name in (HEALTHY, *ABLATIONS):
        changed = [
            ablated_settings(name, SETTINGS) != SETTINGS,
            value_model_start(name, models, np.random.default_rng(0)) is not models.value_model,
            ablated_rollout(name, rollout, SETTINGS) is not rollout,
            name in OTHER_LOSS,
        ]
        assert sum(changed) == (name != HEALTHY), name
        assert (price_in_the_reward(name, SETTINGS) == 0) == name.startswith("KL in the loss")


def test_without_whitening_the_advantages_are_gaes():
    rollout = a_rollout()
    raw = without_whitening(rollout).advantages
    said = rollout.response_mask > 0
    whitened = (raw - raw[said].mean()) / raw[said].std() * rollout.response_mask
    np.testing.assert_allclose(whitened, rollout.advantages, atol=1e-5)
    assert not raw[~said].any()


def test_without_values_the_return_is_the_discounted_rewards():
    rollout = a_rollout()
    changed = without_values(rollout, SETTINGS)
    b = int(rollout.response_mask.sum(axis=1).argmax())
    rewards = rollout.rewards[b]
    first = int(rollout.response_mask[b].argmax())
    decay = SETTINGS.gae_lambda ** np.arange(len(rewards) - first)
    assert changed.returns[b, first] == pytest.approx(rewards[first:] @ decay, rel=1e-4)
    assert not changed.values.any() and rollout.values.any()


def test_score_on_every_token_pays_a_long_answer_more():
    rollout = a_rollout()
    rewards = score_on_every_token(rollout, SETTINGS).rewards
    length = rollout.response_mask.sum(axis=1)
    extra = (rewards - rollout.rewards).sum(axis=1)
    np.testing.assert_allclose(extra, rollout.scores * (length - 1), atol=1e-4)


def test_eos_masked_out_leaves_eos_without_advantage_and_moves_the_score():
    rollout = a_rollout()
    changed = eos_masked_out(rollout, SETTINGS)
    targets = rollout.tokens[:, 1:]
    alone = rollout.response_mask.sum(axis=1) == 1
    ends = (targets == EOS) & (rollout.response_mask > 0) & ~alone[:, None]
    assert ends.any() and not changed.response_mask[ends].any()
    assert not changed.advantages[ends].any() and rollout.advantages[ends].any()
    assert rollout.response_mask.sum() - changed.response_mask.sum() == ends.sum()
    last = last_response_index(changed.response_mask)
    rows = np.arange(len(last))
    kl = (rollout.old_logprobs - rollout.ref_logprobs)[rows, last]
    np.testing.assert_allclose(
        changed.rewards[rows, last], rollout.scores - SETTINGS.kl_coef * kl, atol=1e-5
    )


def test_the_value_starts_do_not_touch_the_reward_model():
    models = tiny_models()
    before = params_bytes(models.ref_policy, models.reward_model)
    rng = np.random.default_rng(1)  # other numbers than tiny_models has
    sft = value_model_start("value from the SFT model", models, rng)
    assert not sft.head_w.any() and np.array_equal(sft.wte, models.ref_policy.wte)
    noise = value_model_start("value from noise", models, rng)
    assert not np.array_equal(noise.wte, models.ref_policy.wte)
    sft.flat += 1
    noise.flat += 1
    assert params_bytes(models.ref_policy, models.reward_model) == before


# ---- training -------------------------------------------------------------------------------


def test_the_healthy_run_is_train_ppo_number_for_number():
    ours, theirs = tiny_models(), tiny_models()
    history = train(HEALTHY, ours, PROMPTS, SETTINGS, np.random.default_rng(3))
    wanted = train_ppo(theirs, PROMPTS, SETTINGS, np.random.default_rng(3))
    assert params_bytes(ours.policy) == params_bytes(theirs.policy)
    for row, wanted_row in zip(history, wanted, strict=True):
        assert row == {name: wanted_row[name] for name in row}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_trains_another_policy_and_leaves_the_frozen_models_alone(name):
    models, healthy = tiny_models(), tiny_models()
    before = params_bytes(models.ref_policy, models.reward_model)
    tight = replace(SETTINGS, clip_range=0.02)  # so that the clip has something to do
    history = train(name, models, PROMPTS, tight, np.random.default_rng(3))
    train(HEALTHY, healthy, PROMPTS, tight, np.random.default_rng(3))
    assert len(history) == SETTINGS.iterations
    assert all(np.isfinite(list(row.values())).all() for row in history)
    assert params_bytes(models.policy) != params_bytes(healthy.policy)
    assert params_bytes(models.ref_policy, models.reward_model) == before
