"""The ablations: each changed part by itself, the healthy run against train_ppo, what the
sentences say held by the committed results, and a tiny run."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.experiments import CONFIG, PROMPTS, SETTINGS, tiny_models
from helpers.gradients import TOLERANCE, loss_errors
from helpers.models import params_bytes

from minirlhf.beyond.policy_gradient import k3_loss
from minirlhf.experiments.ablations.changes import (
    ABLATIONS,
    CHANGES,
    HEALTHY,
    eos_masked_out,
    k2_loss,
    score_on_every_token,
    train,
    values_from_noise,
    values_from_the_sft_model,
    without_kl_in_the_reward,
    without_values,
    without_whitening,
)
from minirlhf.sample import sample
from minirlhf.step3_ppo import (
    Minibatch,
    clipped_loss,
    last_response_index,
    make_rollout,
    ppo_policy_loss,
    score_samples,
    train_ppo,
)
from minirlhf.tokenizer import EOS

MASK = np.array([[0, 1, 1, 1, 1], [0, 1, 1, 0, 0]], float)  # B 2, T 5
OTHER_LOSS = [name for name in ABLATIONS if CHANGES[name].loss is not clipped_loss]


def numbers(seed):
    """Log-probs with every ratio far from the clip's kinks, reference, advantages: (2, 5)."""
    rng = np.random.default_rng(seed)
    logprobs = rng.normal(-1.5, 0.5, MASK.shape)
    ratio = rng.choice([0.6, 0.95, 1.07, 1.5], MASK.shape)
    ref = logprobs + rng.normal(0, 0.5, MASK.shape)
    return logprobs, logprobs - np.log(ratio), ref, rng.normal(0, 1, MASK.shape)


def a_rollout(kl_coef=0.1):
    models, rng = tiny_models(), np.random.default_rng(5)
    samples = sample(models.policy, CONFIG, PROMPTS * 6, SETTINGS.max_new_tokens, rng)
    scores = score_samples(models, samples, SETTINGS)
    return make_rollout(models, samples, scores, kl_coef, SETTINGS)


def minibatch(old, ref, advantages):
    """Of what a loss reads, all (2, 5)."""
    return Minibatch(
        inputs=None, targets=None, mask=MASK, old_logprobs=old, ref_logprobs=ref,
        advantages=advantages, old_values=None, returns=None,
    )


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
    result = CHANGES[name].loss(logprobs, minibatch(old, ref, advantages), settings)

    def naive():
        return naive_loss(name, logprobs, old, ref, advantages, settings), ()

    errors = loss_errors(result[:2], naive, logprobs)
    assert max(errors.values()) < TOLERANCE, errors
    assert not result[1][MASK == 0].any()


def test_the_changed_losses_without_their_change_are_ppos():
    logprobs, old, ref, advantages = numbers(0)
    batch = minibatch(old, ref, advantages)
    loss, dlogprobs, _ = ppo_policy_loss(logprobs, old, advantages, MASK, 0.2)
    free = replace(SETTINGS, kl_coef=0.0)
    for name in ("KL in the loss, k2", "KL in the loss, k3"):
        got, dgot, _ = CHANGES[name].loss(logprobs, batch, free)
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
    for penalty, wanted in ((k2_loss, true), (k3_loss, reverse)):
        total = np.zeros(3)
        for token in range(3):
            one = np.array([[logprobs[token]]]), np.array([[ref[token]]]), np.ones((1, 1))
            slope = penalty(*one)[1][0, 0]
            total += probs[token] * slope * (np.eye(3)[token] - probs)
        np.testing.assert_allclose(total, wanted, rtol=1e-10)


# ---- parts ----------------------------------------------------------------------------------


def test_every_ablation_changes_what_it_says_and_nothing_else():
    """Settings, value model, rollout, loss: exactly one of them differs; but where the KL moves
    into the loss, it leaves the reward."""
    for name in (HEALTHY, *ABLATIONS):
        settings, value_start, rollout, loss = CHANGES[name]
        moves = rollout is without_kl_in_the_reward
        changed = [
            replace(SETTINGS, **(settings or {})) != SETTINGS,
            value_start is not None,
            rollout is not None and not moves,
            loss is not clipped_loss,
        ]
        assert sum(changed) == (name != HEALTHY), name
        assert moves == name.startswith("KL in the loss")


def test_without_kl_in_the_reward_the_rollout_is_that_of_a_price_of_0():
    changed, free = without_kl_in_the_reward(a_rollout(0.1), SETTINGS), a_rollout(0.0)
    for name, array in changed._asdict().items():
        np.testing.assert_array_equal(array, getattr(free, name))


def test_without_whitening_the_advantages_are_gaes():
    rollout = a_rollout()
    raw = without_whitening(rollout, SETTINGS).advantages
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
    sft = values_from_the_sft_model(models, rng)
    assert not sft.head_w.any() and np.array_equal(sft.wte, models.ref_policy.wte)
    noise = values_from_noise(models, rng)
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
        assert {**row, "seconds": 0} == {**wanted_row, "seconds": 0}


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
