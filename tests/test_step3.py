"""Step 3: PPO by hand, number for number; then its parts; then a small run from start to end.

The worked example has a vocabulary of three (EOS, a, b) and two responses, "a a EOS" and "b EOS".
Every quantity of one PPO step is written out below, and the code must reproduce all of them.
"""

import functools
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from helpers.arrays import deepen, widen
from helpers.checks_step3 import (
    LOGPROBS,
    OLD_LOGPROBS,
    OLD_VALUES,
    RETURNS,
    VALUES,
    clipped_loss_errors,
    gae_errors,
    many_values_inside_the_range,
    naive_gae,
    policy_loss_errors,
    rewards_errors,
    value_loss_errors,
    whiten_errors,
)
from helpers.enumerable import (
    POLICY,
    REFERENCE,
    RESPONSES,
    SMALL,
    WORLD,
    WORLD_MASK,
    world_logprobs,
)
from helpers.gradients import TOLERANCE, wrong
from helpers.models import (
    ADVANTAGE,
    MASK,
    RATIO,
    params_bytes,
    plain_logprobs,
    plain_values,
    random_params,
)
from helpers.ppo import (
    CONFIG,
    PROMPTS,
    SETTINGS,
    Watch,
    a_rollout,
    four_models,
    minibatch,
    responses_of,
    rollout_of,
    trained_reward_model,
    two_adams,
    update,
)

from minirlhf.adam import adam_step, clip_gradient
from minirlhf.gpt import (
    gpt_backward,
    gpt_forward,
    init_params,
    lm_head_backward,
    lm_head_forward,
    lm_head_weight,
    with_scalar_head,
)
from minirlhf.gradcheck import numerical_gradient, relative_error
from minirlhf.layers import (
    exact_kl,
    log_softmax,
    softmax,
    token_logprobs_backward,
    token_logprobs_forward,
)
from minirlhf.sample import sample
from minirlhf.step2_reward_model import normalise_scores, score_rows
from minirlhf.step3_ppo import (
    PPOHooks,
    PPOModels,
    PPOSettings,
    adapt_kl_coef,
    clipped_loss,
    cut_minibatch,
    draw_minibatches,
    draw_prompts,
    explained_variance,
    gae,
    kl_shaped_rewards,
    last_response_index,
    policy_objective,
    ppo_policy_loss,
    score_samples,
    train_ppo,
    value_loss,
    value_objective,
    whiten,
)
from minirlhf.tokenizer import BOS, EOS, PAD

# ---- the worked example: formulas.md, section 3 ---------------------------------------------

ACTIONS = np.array([[1, 1, 0], [2, 0, 0]])  # EOS 0, a 1, b 2; the last 0 is padding
EXAMPLE_MASK = np.array([[1, 1, 1], [1, 1, 0]], float)
P_OLD = np.array(
    [[[0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.5, 0.25, 0.25]],
     [[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.2, 0.2, 0.6]]]
)
P_REF = np.array(
    [[[0.2, 0.4, 0.4], [0.2, 0.4, 0.4], [0.4, 0.3, 0.3]],
     [[0.2, 0.4, 0.4], [0.4, 0.3, 0.3], [0.6, 0.2, 0.2]]]
)
P_NEW = np.array(
    [[[0.1, 0.7, 0.2], [0.1, 0.5, 0.4], [0.55, 0.25, 0.2]],
     [[0.15, 0.45, 0.4], [0.3, 0.5, 0.2], [0.1, 0.1, 0.8]]]
)
V_OLD = np.array([[0.2, 0.3, 0.5], [0.1, -0.2, 9]])  # the 9 stands on padding and must not matter
V_NEW = np.array([[0.5, 0.35, 0.6], [-0.3, -0.3, 9]])


def picked(probs):
    """log-probability of the actions, (2, 3)."""
    return np.log(np.take_along_axis(probs, ACTIONS[..., None], -1)[..., 0])


def close(got, wanted):
    """Equal to the four decimals of the table."""
    np.testing.assert_allclose(got, wanted, atol=5.1e-5)


@functools.cache
def example():
    """-> rewards, advantages, returns, whitened advantages of the worked example."""
    scores = np.array([1.0, -1.0])
    rewards = kl_shaped_rewards(scores, picked(P_OLD), picked(P_REF), EXAMPLE_MASK, 0.1)
    advantages, returns = gae(rewards, V_OLD, EXAMPLE_MASK, 1.0, 0.95)
    return rewards, advantages, returns, whiten(advantages, EXAMPLE_MASK)


def test_example_log_ratio_to_the_reference_may_be_negative_but_the_exact_kl_never():
    close(picked(P_OLD) - picked(P_REF), [[0.2231, 0.4055, 0.2231], [-0.2877, 0, -1.0986]])
    kl = exact_kl(np.log(P_OLD), np.log(P_REF)) * EXAMPLE_MASK
    close(kl, [[0.0253, 0.0877, 0.0204], [0.0253, 0.0340, 0]])


def test_example_rewards():
    rewards = example()[0]
    close(rewards, [[-0.0223, -0.0405, 0.9777], [0.0288, -1, 0]])
    close(rewards.sum(axis=1), [0.9148, -0.9712])


def test_example_advantages_and_returns():
    _, advantages, returns, _ = example()
    close(advantages, [[0.6603, 0.6133, 0.4777], [-1.0312, -0.8, 0]])
    close(returns, [[0.8603, 0.9133, 0.9777], [-0.9312, -1, 0]])


def test_example_whitened_advantages():
    close(example()[3], [[0.9132, 0.8497, 0.6666], [-1.3708, -1.0586, 0]])


def test_example_policy_loss():
    advantages = example()[3]
    loss, dlogprobs, stats = ppo_policy_loss(
        picked(P_NEW), picked(P_OLD), advantages, EXAMPLE_MASK, 0.2
    )
    close(np.exp(picked(P_NEW) - picked(P_OLD))[0], [1.4, 0.8333, 1.1])
    close(loss, 0.0275)
    # 1.4 with A > 0 is stopped, 1.3333 with A < 0 is not, .75 with A < 0 is
    close(dlogprobs, [[0, -0.1416, -0.1467], [0.3656, 0, 0]])
    assert stats.clip_fraction == pytest.approx(2 / 5)
    assert stats.ratio_outside == pytest.approx(3 / 5)


def test_example_token_losses():
    """Token by token: a mask with one 1 picks one of them."""
    advantages = example()[3]
    wanted = [[-1.0958, -0.7081, -0.7333], [1.8278, 0.8469, None]]
    for b, t in zip(*np.nonzero(EXAMPLE_MASK)):
        mask = np.zeros((2, 3))
        mask[b, t] = 1
        loss, *_ = ppo_policy_loss(picked(P_NEW), picked(P_OLD), advantages, mask, 0.2)
        close(loss, wanted[b][t])


def test_example_gradient_of_the_logits():
    advantages = example()[3]
    logprobs, cache = token_logprobs_forward(np.log(P_NEW), ACTIONS)
    _, dlogprobs, _ = ppo_policy_loss(logprobs, picked(P_OLD), advantages, EXAMPLE_MASK, 0.2)
    dlogits = token_logprobs_backward(dlogprobs, cache)
    close(dlogits[0], [[0, 0, 0], [0.0142, -0.0708, 0.0566], [-0.0660, 0.0367, 0.0293]])
    close(dlogits[1], [[-0.0548, -0.1645, 0.2193], [0, 0, 0], [0, 0, 0]])


def test_example_value_loss():
    returns = example()[2]
    loss, dvalues, stats = value_loss(V_NEW, V_OLD, returns, EXAMPLE_MASK, 0.2)
    close(loss, 0.1853)
    close(dvalues, [[0, -0.1127, -0.0755], [0, 0.14, 0]])
    assert stats.clip_fraction == pytest.approx(2 / 5)


@pytest.mark.parametrize("on_padding", [-50.0, 0.0, 1e6])
def test_example_the_value_on_the_padding_is_inert(on_padding):
    values, new_values = V_OLD.copy(), V_NEW.copy()
    values[1, 2] = new_values[1, 2] = on_padding
    rewards, advantages, returns, _ = example()
    got = gae(rewards, values, EXAMPLE_MASK, 1.0, 0.95)
    np.testing.assert_array_equal(got, [advantages, returns])
    loss, dvalues, stats = value_loss(new_values, values, returns, EXAMPLE_MASK, 0.2)
    wanted, dwanted, stats_wanted = value_loss(V_NEW, V_OLD, returns, EXAMPLE_MASK, 0.2)
    assert (loss, stats) == (wanted, stats_wanted)
    np.testing.assert_array_equal(dvalues, dwanted)


# ---- naive versions of the losses and of what comes before them ------------------------------


@pytest.mark.parametrize(
    "errors", [
        policy_loss_errors, clipped_loss_errors, value_loss_errors, gae_errors, rewards_errors,
        whiten_errors,
    ],
)
def test_agrees_with_its_naive_version(errors):
    assert not wrong(errors())


# ---- the clipped losses ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "advantage, ratio, loss, gradient, stopped",
    [
        (2, 0.5, -1.0, -1.0, 0),  # good, and became rarer: pulled back at full strength
        (2, 1.1, -2.2, -2.2, 0),
        (2, 1.7, -2.4, 0.0, 1),  # good, already 1.2 times as likely: enough
        (-2, 0.5, 1.6, 0.0, 1),  # bad, already .8 times as likely: enough
        (-2, 1.1, 2.2, 2.2, 0),
        (-2, 1.7, 3.4, 3.4, 0),  # bad, and became more likely: pushed down at full strength
    ],
)
def test_the_six_cells_of_the_clipped_surrogate(advantage, ratio, loss, gradient, stopped):
    one = np.ones((1, 1))
    got, dlogprobs, stats = ppo_policy_loss(
        math.log(ratio) * one - 2, -2 * one, advantage * one, one, 0.2
    )
    assert got == pytest.approx(loss, rel=1e-12)
    assert dlogprobs[0, 0] == pytest.approx(gradient, rel=1e-12)
    assert stats.clip_fraction == stopped and stats.ratio_outside == (ratio != 1.1)


@pytest.mark.parametrize(
    "moved, error, loss, gradient, stopped",
    [
        (0.1, 0.6, 0.18, 0.6, 0),  # inside the range: plain squared error
        (-0.1, 0.6, 0.18, 0.6, 0),
        (0.5, -0.6, 0.405, 0.0, 1),  # moved towards the return, far enough
        (-0.5, 0.6, 0.405, 0.0, 1),
        (0.5, 0.6, 0.18, 0.6, 0),  # moved away from it: comes back
        (-0.5, -0.6, 0.18, -0.6, 0),
    ],
)
def test_the_cells_of_the_clipped_value_loss(moved, error, loss, gradient, stopped):
    """The value is 1; it was 1 - moved at rollout time, and the return is 1 - error."""
    one = np.ones((1, 1))
    got, dvalues, stats = value_loss(one, one - moved, one - error, one, 0.2)
    assert got == pytest.approx(loss, rel=1e-12)
    assert dvalues[0, 0] == pytest.approx(gradient, rel=1e-12)
    assert stats.clip_fraction == stopped


def test_a_value_that_has_not_moved_keeps_its_gradient_in_spite_of_rounding():
    """Whether a gradient is stopped is decided by the range, not by the last bit of an error."""
    values, old_values, returns = many_values_inside_the_range()
    _, dvalues, stats = value_loss(values, old_values, returns, np.ones_like(values), 0.2)
    assert stats.clip_fraction == 0
    np.testing.assert_allclose(dvalues, (values - returns) / 2000, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_everything_keeps_its_dtype(dtype):
    mask = MASK.astype(dtype)
    a, b, c = (x.astype(dtype) for x in (LOGPROBS, OLD_LOGPROBS, ADVANTAGE))
    loss, dlogprobs, stats = ppo_policy_loss(a, b, c, mask, 0.2)
    assert dlogprobs.dtype == dtype and {type(x) for x in (loss, *stats)} == {float}
    loss, dvalues, stats = value_loss(a, b, c, mask, 0.2)
    assert dvalues.dtype == dtype and {type(x) for x in (loss, *stats)} == {float}
    rewards = kl_shaped_rewards(np.ones(2, dtype), a, b, mask, 0.1)
    advantages, returns = gae(rewards, b, mask, 1.0, 0.95)
    for array in (rewards, advantages, returns, whiten(advantages, mask)):
        assert array.dtype == dtype


def test_losses_write_into_nothing_they_were_given():
    given = [LOGPROBS, OLD_LOGPROBS, ADVANTAGE, MASK, VALUES, OLD_VALUES, RETURNS]
    before = [array.tobytes() for array in given]
    policy_loss_errors(), value_loss_errors(), gae_errors(), rewards_errors(), whiten_errors()
    assert [array.tobytes() for array in given] == before


def test_only_logprobs_are_differentiated():
    """Old log-probs and advantages are constants: the gradient of one token is -A ratio / n."""
    _, dlogprobs, _ = ppo_policy_loss(LOGPROBS, OLD_LOGPROBS, ADVANTAGE, MASK, 100.0)
    np.testing.assert_allclose(dlogprobs, -ADVANTAGE * RATIO * MASK / 6, rtol=1e-12)


def test_approx_kl_is_small_second_order_and_never_negative():
    rng = np.random.default_rng(0)
    logprobs = rng.uniform(-3, -1, (4, 5))
    shift = rng.normal(0, 1e-3, (4, 5))
    stats = ppo_policy_loss(logprobs + shift, logprobs, shift, np.ones((4, 5)), 0.2)[2]
    assert stats.approx_kl == pytest.approx((shift**2).mean() / 2, rel=1e-2)
    stats = ppo_policy_loss(logprobs, logprobs, shift, np.ones((4, 5)), 0.2)[2]
    assert stats == (0, 0, 0)


def test_a_mask_of_zeros_is_an_error():
    zeros = np.zeros((2, 3))
    for loss in (ppo_policy_loss, value_loss):
        with pytest.raises(ValueError, match=r"response_mask \(2, 3\) is 0 everywhere"):
            loss(zeros, zeros, zeros, zeros, 0.2)


def test_padding_changes_no_loss_reward_or_advantage():
    for grow in (widen, deepen):
        mask = grow(MASK, 3, 0)
        padded = [grow(x, 3, 77) for x in (LOGPROBS, OLD_LOGPROBS, ADVANTAGE, VALUES)]
        logprobs, old_logprobs, advantages, values = padded
        loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs, advantages, mask, 0.2)
        plain = ppo_policy_loss(LOGPROBS, OLD_LOGPROBS, ADVANTAGE, MASK, 0.2)
        assert (loss, *stats) == pytest.approx((plain[0], *plain[2]), abs=1e-14)
        np.testing.assert_allclose(dlogprobs, grow(plain[1], 3, 0), atol=1e-15)
        whitened = whiten(values, mask)
        np.testing.assert_allclose(whitened, grow(whiten(VALUES, MASK), 3, 0), atol=1e-14)
        for got, wanted in zip(
            gae(advantages, values, mask, 0.9, 0.8), gae(ADVANTAGE, VALUES, MASK, 0.9, 0.8)
        ):
            np.testing.assert_array_equal(got, grow(wanted, 3, 0))
    rewards = kl_shaped_rewards(np.ones(2), LOGPROBS, OLD_LOGPROBS, MASK, 0.1)
    padded = [widen(x, 3, 77) for x in (LOGPROBS, OLD_LOGPROBS)]
    padded_rewards = kl_shaped_rewards(np.ones(2), *padded, widen(MASK, 3, 0), 0.1)
    np.testing.assert_array_equal(padded_rewards, widen(rewards, 3, 0))


# ---- rewards --------------------------------------------------------------------------------


def test_rewards_of_a_response_sum_to_score_minus_kl_coef_times_log_ratio():
    scores = np.array([0.7, -1.3])
    rewards = kl_shaped_rewards(scores, LOGPROBS, OLD_LOGPROBS, MASK, 0.25)
    log_ratio = ((LOGPROBS - OLD_LOGPROBS) * MASK).sum(axis=1)  # a sum, not a mean, over tokens
    np.testing.assert_allclose(rewards.sum(axis=1), scores - 0.25 * log_ratio, rtol=1e-12)
    assert not rewards[MASK == 0].any()


def test_the_score_stands_on_the_last_response_token():
    rewards = kl_shaped_rewards(np.array([3.0, 4.0]), LOGPROBS, LOGPROBS, MASK, 0.25)
    np.testing.assert_array_equal(rewards, [[0, 0, 0, 0, 3], [0, 0, 4, 0, 0]])
    np.testing.assert_array_equal(last_response_index(MASK), [4, 2])
    with pytest.raises(ValueError, match=r"row 1 of response_mask \(2, 5\) has no response"):
        last_response_index(MASK * [[1], [0]])


def test_twice_as_long_a_drift_costs_twice_as_much():
    """The KL of a response is a sum over its tokens: kl_coef keeps its meaning at any length."""
    short, long = (
        kl_shaped_rewards(np.zeros(1), 0 * ones - 1, 0 * ones - 1.5, ones, 1.0)
        for ones in (np.ones((1, 4)), np.ones((1, 8)))
    )
    assert long.sum() == pytest.approx(2 * short.sum()) == pytest.approx(-4)


def test_adaptive_kl_coef_goes_up_down_and_at_most_20_percent():
    adapt = functools.partial(adapt_kl_coef, 0.1, target_kl=6, n_responses=64, horizon=1280)
    assert adapt(kl=6) == 0.1
    assert adapt(kl=6.6) == pytest.approx(0.1 * (1 + 0.1 * 64 / 1280))
    assert adapt(kl=5.4) == pytest.approx(0.1 * (1 - 0.1 * 64 / 1280))
    assert adapt(kl=1000) == adapt(kl=7.2) == pytest.approx(0.1 * (1 + 0.2 * 64 / 1280))
    assert adapt(kl=-3) == adapt(kl=4.8) == pytest.approx(0.1 * (1 - 0.2 * 64 / 1280))


@pytest.mark.parametrize(
    "n_responses, horizon, updates", [(64, 1280, 70), (512, 10_000, 69), (64, 10_000, 542)]
)
def test_updates_until_kl_coef_has_doubled(n_responses, horizon, updates):
    kl_coef, count = 1.0, 0
    while kl_coef < 2:
        kl_coef, count = adapt_kl_coef(kl_coef, 99, 6, n_responses, horizon), count + 1
    assert count == updates


# ---- advantages -----------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("gae_lambda", [0.0, 0.5, 0.95, 1.0])
def test_gae_is_its_definition(gamma, gae_lambda):
    advantages, returns = gae(ADVANTAGE, VALUES, MASK, gamma, gae_lambda)
    np.testing.assert_allclose(advantages, naive_gae(gamma, gae_lambda), atol=1e-14)
    np.testing.assert_allclose(returns, advantages + VALUES * MASK, atol=1e-14)


def test_with_lambda_1_advantage_plus_value_is_the_sum_of_what_follows():
    rewards = ADVANTAGE * MASK
    advantages, returns = gae(rewards, VALUES, MASK, 1.0, 1.0)
    to_go = rewards[:, ::-1].cumsum(axis=1)[:, ::-1] * MASK
    np.testing.assert_allclose(returns, to_go, atol=1e-14)
    np.testing.assert_allclose(advantages, (to_go - VALUES) * MASK, atol=1e-14)


def test_with_lambda_0_the_advantage_is_the_one_step_error():
    advantages, _ = gae(ADVANTAGE, VALUES, MASK, 0.9, 0.0)
    assert advantages[0, 2] == pytest.approx(ADVANTAGE[0, 2] + 0.9 * VALUES[0, 3] - VALUES[0, 2])
    for b, last in enumerate(last_response_index(MASK)):  # after the end there is nothing
        assert advantages[b, last] == pytest.approx(ADVANTAGE[b, last] - VALUES[b, last])


def test_nothing_outside_the_response_reaches_gae():
    plain = gae(ADVANTAGE, VALUES, MASK, 0.9, 0.8)
    noise = np.random.default_rng(0).normal(0, 100, MASK.shape) * (1 - MASK)
    noisy = gae(ADVANTAGE + noise, VALUES + noise, MASK, 0.9, 0.8)
    np.testing.assert_array_equal(plain, noisy)
    assert not plain[0][MASK == 0].any() and not plain[1][MASK == 0].any()


def test_gae_jacobians():
    """GAE is linear, so one unit of reward or value at s shows all derivatives at once."""
    T, gamma, lam = 6, 0.9, 0.7
    ones, zeros = np.ones((1, T)), np.zeros((1, T))
    for s in range(T):
        unit = np.eye(T)[s : s + 1]
        from_reward = gae(unit, zeros, ones, gamma, lam)[0][0]
        from_value = gae(zeros, unit, ones, gamma, lam)[0][0]
        for t in range(T):
            wanted = (gamma * lam) ** (s - t) if s >= t else 0
            assert from_reward[t] == pytest.approx(wanted, abs=1e-15)
            wanted = gamma * (1 - lam) * (gamma * lam) ** (s - t - 1) if s > t else -(s == t)
            assert from_value[t] == pytest.approx(wanted, abs=1e-15)


def test_whitening_is_over_all_response_tokens_of_the_batch():
    """Not row by row: a row that is better throughout stays better throughout."""
    x = np.array([[10, 11, 12, 13.0], [1, 99, 99, 99]])
    mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0.0]])
    whitened = whiten(x, mask)
    valid = whitened[mask > 0]
    assert valid.mean() == pytest.approx(0, abs=1e-12) and valid.std() == pytest.approx(1)
    assert whitened[0].min() > 0 > whitened[1, 0] and not whitened[mask == 0].any()


def test_whitening_equal_numbers_gives_zeros():
    np.testing.assert_array_equal(whiten(np.full((2, 5), 3.0), MASK), np.zeros((2, 5)))


def test_explained_variance():
    returns = np.array([[1, 2, 3.0]])
    ones = np.ones((1, 3))
    assert explained_variance(returns + 7, returns, ones) == 1  # a constant offset is forgiven
    assert explained_variance(0 * returns, returns, ones) == 0
    assert explained_variance(-returns, returns, ones) == pytest.approx(-3)
    assert explained_variance(returns, 0 * returns, ones) == 0  # nothing to explain
    assert explained_variance([[1, 2, 9]] * ones, returns, ones * [[1, 1, 0]]) == 1


# ---- a world that can be enumerated ---------------------------------------------------------


def test_probabilities_of_all_responses_sum_to_1():
    assert len(RESPONSES) == 40
    assert np.exp(world_logprobs(POLICY).sum(axis=1)).sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("with_values", [False, True])
def test_the_policy_gradient_is_the_gradient_of_expected_score_minus_kl(with_values):
    """J = E[score] - kl_coef KL(policy || reference), summed over all 40 responses.

    Rewards, GAE (lambda 1) and the PPO loss at ratio 1, averaged over all responses with their
    probabilities, must be exactly its gradient: sign of the KL, the place of the score and the
    chain rule, all at once.  Values are a baseline and must not change the mean.
    """
    kl_coef, scores = 0.3, np.random.default_rng(2).normal(size=40)
    reference = world_logprobs(REFERENCE)

    def objective():
        logprobs = world_logprobs(POLICY)
        log_ratio = (logprobs - reference).sum(axis=1)
        return float(np.exp(logprobs.sum(axis=1)) @ (scores - kl_coef * log_ratio))

    logprobs = world_logprobs(POLICY)
    rewards = kl_shaped_rewards(scores, logprobs, reference, WORLD_MASK, kl_coef)
    values = np.zeros_like(rewards)
    if with_values:
        values = plain_values(random_params(SMALL, 3, scalar_head=True), SMALL, WORLD[:, :-1])
        assert np.abs(values).min() > 1e-3
    advantages, _ = gae(rewards, values, WORLD_MASK, 1.0, 1.0)
    probabilities = np.exp(logprobs.sum(axis=1, keepdims=True))
    batch = minibatch(
        WORLD[:, :-1], WORLD[:, 1:], WORLD_MASK, old_logprobs=logprobs,
        advantages=advantages * probabilities,
    )
    _, grads, stats = policy_objective(POLICY, SMALL, batch, PPOSettings())
    assert stats.ratio_outside == 0
    ascent = -grads.flat * WORLD_MASK.sum()  # the loss is a mean over tokens, and negated
    assert relative_error(ascent, numerical_gradient(objective, POLICY.flat)) < TOLERANCE


def test_expected_log_ratio_is_the_exact_kl_and_positive():
    logprobs, reference = world_logprobs(POLICY), world_logprobs(REFERENCE)
    probabilities = np.exp(logprobs.sum(axis=1))
    expected_k1 = float(probabilities @ (logprobs - reference).sum(axis=1))
    everything = []
    for params in (POLICY, REFERENCE):
        hidden, _ = gpt_forward(params, SMALL, WORLD[:, :-1])
        everything.append(log_softmax(lm_head_forward(params, hidden)[0]))
    per_position = exact_kl(*everything) * WORLD_MASK
    assert expected_k1 == pytest.approx(float(probabilities @ per_position.sum(axis=1)), rel=1e-10)
    assert expected_k1 > 0.1
    assert (logprobs - reference).sum(axis=1).min() < -0.1  # single samples may well be negative


def test_what_the_kl_estimators_differentiate_to_when_put_into_a_loss():
    """d = log p - log q on samples of p that are held fixed.  Expected gradients:

    k1 = d: nothing at all.  k2 = d^2 / 2: that of KL(p || q).  k3 = e^-d - 1 + d: that of the
    other direction, KL(q || p).  So the KL goes into the reward, where it is exact (see above).
    """
    rng = np.random.default_rng(4)
    logits, ref = rng.normal(size=(1, 1, 5)), log_softmax(rng.normal(size=(1, 1, 5)))
    p, d = softmax(logits)[0, 0], (log_softmax(logits) - ref)[0, 0]

    def expected_gradient(dk):
        """Sum over all five tokens: probability times the gradient of the loss of that token."""
        targets = np.arange(5)[None]  # (1, 5): five copies of the one position
        _, cache = token_logprobs_forward(np.repeat(logits, 5, axis=1), targets)
        return token_logprobs_backward((p * dk)[None], cache).sum(axis=(0, 1))

    forward = numerical_gradient(lambda: float(exact_kl(log_softmax(logits), ref)[0, 0]), logits)
    reverse = numerical_gradient(lambda: float(exact_kl(ref, log_softmax(logits))[0, 0]), logits)
    np.testing.assert_allclose(expected_gradient(np.ones(5)), 0, atol=1e-15)
    np.testing.assert_allclose(expected_gradient(d), forward[0, 0], atol=1e-9)
    np.testing.assert_allclose(expected_gradient(1 - np.exp(-d)), reverse[0, 0], atol=1e-9)
    assert np.abs(forward - reverse).max() > 0.01


@pytest.mark.parametrize("kl_coef", [0.5, 2.0])
def test_nothing_pulls_at_the_optimum_and_a_larger_kl_coef_keeps_it_closer(kl_coef):
    """One token: the optimum is ref * e^(score / kl_coef), normalised (Ziegler et al. 2019).

    There every token earns the same score - kl_coef * log-ratio, so no advantage is left.
    """
    ref = np.array([0.5, 0.3, 0.2])
    scores = np.array([1.0, -1.0, 0.5])
    one = np.ones((3, 1))

    def optimum(beta):
        weights = ref * np.exp(scores / beta)
        return weights / weights.sum()

    logprobs, ref_logprobs = np.log(optimum(kl_coef))[:, None], np.log(ref)[:, None]
    rewards = kl_shaped_rewards(scores, logprobs, ref_logprobs, one, kl_coef)
    assert np.ptp(rewards) < 1e-14
    cheaper = kl_shaped_rewards(scores, logprobs, ref_logprobs, one, kl_coef / 2)
    assert np.ptp(cheaper) > 0.1  # at half the price there is still something to gain

    kl = [float(exact_kl(np.log(optimum(beta)), np.log(ref))) for beta in (0.25, 0.5, 1, 2, 4)]
    assert kl == sorted(kl, reverse=True) and kl[-1] < 0.1 * kl[0]


# ---- the rollout ----------------------------------------------------------------------------


def test_the_rollout_has_answers_of_many_lengths_with_and_without_eos():
    rollout = a_rollout()
    assert len({len(row) for row, _ in responses_of(rollout)}) > 3
    assert 0 < rollout.finished.sum() < 18


def test_log_probabilities_of_the_rollout_are_those_of_policy_and_reference():
    rollout, models = a_rollout(), four_models()
    inputs, targets = rollout.tokens[:, :-1], rollout.tokens[:, 1:]
    mask = rollout.response_mask
    for params, recorded in (
        (models.policy, rollout.old_logprobs),
        (models.ref_policy, rollout.ref_logprobs),
    ):
        plain = plain_logprobs(params, CONFIG, inputs, targets) * mask
        np.testing.assert_allclose(recorded, plain, atol=1e-10)


def test_exact_kl_and_entropy_of_the_rollout():
    rollout, models = a_rollout(), four_models()
    both = []
    for params in (models.policy, models.ref_policy):
        hidden, _ = gpt_forward(params, CONFIG, rollout.tokens[:, :-1])
        both.append(log_softmax(lm_head_forward(params, hidden)[0]))
    mask = rollout.response_mask
    np.testing.assert_allclose(rollout.exact_kl, exact_kl(*both) * mask, atol=1e-10)
    entropy = -(np.exp(both[0]) * both[0]).sum(-1) * mask
    np.testing.assert_allclose(rollout.entropy, entropy, atol=1e-10)


def test_scores_are_those_of_the_reward_model_or_the_missing_eos_score():
    rollout, models = a_rollout(), four_models()
    for (row, _), score, finished in zip(responses_of(rollout), rollout.scores, rollout.finished):
        assert finished == (row[-1] == EOS)
        wanted = score_rows(models.reward_model, CONFIG, [row])[0] if finished else -7
        assert score == pytest.approx(wanted, abs=1e-10)


def test_the_score_is_paid_on_the_eos_action():
    rollout = a_rollout()
    kl = rollout.old_logprobs - rollout.ref_logprobs
    paid = rollout.rewards + 0.2 * kl  # what is not KL
    for b, (row, end) in enumerate(responses_of(rollout)):
        assert rollout.tokens[b, end + 1] == row[-1]
        wanted = np.zeros(paid.shape[1])
        wanted[end] = rollout.scores[b]
        np.testing.assert_allclose(paid[b], wanted, atol=1e-12)


def test_a_value_is_said_before_the_action_it_speaks_of():
    """values[:, t] has read inputs up to t, not targets[:, t]; 0 outside the response."""
    rollout, models = a_rollout(), four_models()
    for b, (row, end) in enumerate(responses_of(rollout)):
        alone = plain_values(models.value_model, CONFIG, np.array([row[:-1]]))[0]  # EOS unseen
        np.testing.assert_allclose(
            rollout.values[b, : end + 1], alone * rollout.response_mask[b, : end + 1], atol=1e-10
        )
        assert not rollout.values[b, end + 1 :].any()


def test_returns_are_taken_before_the_advantages_are_whitened():
    rollout = a_rollout()
    mask = rollout.response_mask
    advantages, returns = gae(rollout.rewards, rollout.values, mask, 1.0, 0.95)
    np.testing.assert_allclose(rollout.returns, returns, atol=1e-12)
    np.testing.assert_allclose(rollout.advantages, whiten(advantages, mask), atol=1e-12)
    valid = rollout.advantages[mask > 0]
    assert valid.mean() == pytest.approx(0, abs=1e-12) and valid.std() == pytest.approx(1)
    assert np.abs(rollout.advantages + rollout.values - rollout.returns)[mask > 0].max() > 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rollout_keeps_the_dtype_of_the_models(dtype):
    rollout = rollout_of(four_models(dtype), PROMPTS, 0.2, SETTINGS, np.random.default_rng(0))
    floats = [a.dtype for a in rollout if np.issubdtype(a.dtype, np.floating)]
    assert len(floats) == 10 and set(floats) == {np.dtype(dtype)}
    assert rollout.tokens.dtype == np.int64 and rollout.finished.dtype == bool


# ---- the update -----------------------------------------------------------------------------


def test_on_the_first_minibatch_ppo_is_the_plain_policy_gradient():
    """Nothing has moved: every ratio is 1 and the gradient is -mean of A * d log pi."""
    rollout, models = a_rollout(), four_models()
    inputs, targets, mask = rollout.tokens[:, :-1], rollout.tokens[:, 1:], rollout.response_mask
    batch = minibatch(
        inputs, targets, mask, old_logprobs=rollout.old_logprobs, advantages=rollout.advantages
    )
    loss, grads, stats = policy_objective(models.policy, CONFIG, batch, SETTINGS)
    assert stats.clip_fraction == stats.ratio_outside == 0 and abs(stats.approx_kl) < 1e-18
    assert loss == pytest.approx(0, abs=1e-9)  # whitened advantages have mean 0

    hidden, cache = gpt_forward(models.policy, CONFIG, inputs)
    logits, head_cache = lm_head_forward(models.policy, hidden)
    logprobs, logprobs_cache = token_logprobs_forward(logits, targets)
    assert np.abs((logprobs - rollout.old_logprobs) * mask).max() < 1e-10
    dlogits = token_logprobs_backward(-rollout.advantages * mask / mask.sum(), logprobs_cache)
    dhidden, dw = lm_head_backward(models.policy, dlogits, head_cache)
    plain = gpt_backward(models.policy, CONFIG, dhidden, cache)
    lm_head_weight(plain)[...] += dw
    np.testing.assert_allclose(grads.flat, plain.flat, atol=1e-9)
    assert np.abs(plain.flat).max() > 1e-2


def test_stopping_gets_a_gradient_from_ppo():
    """The logit of EOS where EOS was chosen: -A (1 - p) / n, not 0."""
    rollout, models = a_rollout(), four_models()
    inputs, targets, mask = rollout.tokens[:, :-1], rollout.tokens[:, 1:], rollout.response_mask
    logits, _ = lm_head_forward(models.policy, gpt_forward(models.policy, CONFIG, inputs)[0])
    logprobs, cache = token_logprobs_forward(logits, targets)
    _, dlogprobs, _ = ppo_policy_loss(logprobs, rollout.old_logprobs, rollout.advantages, mask, 0.2)
    dlogits = token_logprobs_backward(dlogprobs, cache)
    stops = np.argwhere((targets == EOS) & (mask > 0))
    assert len(stops) == rollout.finished.sum()
    for b, t in stops:
        p = softmax(logits[b, t])[EOS]
        wanted = -rollout.advantages[b, t] * (1 - p) / mask.sum()
        assert dlogits[b, t, EOS] == pytest.approx(wanted, rel=1e-6) and wanted != 0


def test_an_update_is_several_epochs_of_minibatches_and_the_ratio_leaves_1():
    models, rollout = four_models(), a_rollout()
    kept = [array.tobytes() for array in rollout]
    adams = two_adams(models)
    settings = PPOSettings(
        ppo_epochs=3, minibatch_size=7, learning_rate=3e-2, rollout_size=18, warmup=0
    )
    rows = update(models, adams, rollout, settings, np.random.default_rng(0))
    assert [row["epoch"] for row in rows] == [0] * 3 + [1] * 3 + [2] * 3  # 7 + 7 + 4 responses
    assert adams["policy"].step == adams["value_model"].step == 9
    assert rows[0]["approx_kl"] < 1e-18 and rows[0]["clip_fraction"] == 0
    assert all(row["approx_kl"] > 1e-6 for row in rows[1:])
    assert max(row["clip_fraction"] for row in rows) > 0
    assert all(row["ratio_outside"] >= row["clip_fraction"] for row in rows)
    assert [array.tobytes() for array in rollout] == kept  # the old policy is a memory: frozen


def test_an_update_is_what_its_parts_do_one_after_the_other():
    """The same epochs and minibatches, written plainly and without cutting any padding."""
    settings = PPOSettings(
        ppo_epochs=2, minibatch_size=7, max_grad_norm=0.5, schedule="constant", warmup=0,
        learning_rate=5e-3, value_learning_rate=4e-4,
    )
    models, plain, rollout = four_models(), four_models(), a_rollout()
    rows = update(models, two_adams(models), rollout, settings, np.random.default_rng(4))

    rng, adams, losses = np.random.default_rng(4), two_adams(plain), []
    for _ in range(2):
        order = rng.permutation(18)
        for picked_rows in (order[:7], order[7:14], order[14:]):
            r = type(rollout)(*(array[picked_rows] for array in rollout))
            batch = minibatch(
                r.tokens[:, :-1], r.tokens[:, 1:], r.response_mask, old_logprobs=r.old_logprobs,
                advantages=r.advantages, old_values=r.values, returns=r.returns,
            )
            policy_loss, policy_grads, _ = policy_objective(plain.policy, CONFIG, batch, settings)
            loss, value_grads, _ = value_objective(plain.value_model, CONFIG, batch, settings)
            for name, grads, lr in (
                ("policy", policy_grads, 5e-3),
                ("value_model", value_grads, 4e-4),
            ):
                clip_gradient(grads, 0.5)
                adam_step(getattr(plain, name), grads, adams[name], lr)
            losses.append((policy_loss, loss))
    np.testing.assert_allclose(models.policy.flat, plain.policy.flat, atol=1e-10)
    np.testing.assert_allclose(models.value_model.flat, plain.value_model.flat, atol=1e-10)
    np.testing.assert_allclose([(r["policy_loss"], r["value_loss"]) for r in rows], losses)


def test_an_iteration_is_a_rollout_and_its_update():
    """Four iterations, written plainly.  In the last one the value's rate is at 1/4, the policy's,
    after a warm-up of 1, at 1/3.
    """
    settings = PPOSettings(
        iterations=4, rollout_size=3, max_new_tokens=5, minibatch_size=2, warmup=1, kl_coef=0.2,
        learning_rate=3e-3, value_learning_rate=8e-3,
    )
    models, plain, watch = four_models(), four_models(), Watch()
    history = train_ppo(
        models, PROMPTS[:3], settings, np.random.default_rng(4), PPOHooks(watch=watch)
    )
    rng, adams = np.random.default_rng(4), two_adams(plain)
    rates = [(3e-3, 8e-3), (3e-3, 6e-3), (3e-3 * (1 - 1 / 3), 4e-3), (3e-3 * (1 - 2 / 3), 2e-3)]
    for rollout, figures, (rate, value_rate) in zip(watch.rollouts, history, rates, strict=True):
        prompts = [PROMPTS[i] for i in rng.permutation(3)]
        again = rollout_of(plain, prompts, 0.2, settings, rng)
        constant = replace(
            settings, schedule="constant", warmup=0, learning_rate=rate,
            value_learning_rate=value_rate,
        )
        rows = update(plain, adams, again, constant, rng)
        assert [a.tobytes() for a in rollout] == [a.tobytes() for a in again]
        for name in set(rows[0]) - {"epoch"}:  # means over the minibatches
            assert figures[name] == pytest.approx(np.mean([row[name] for row in rows])), name
    assert params_bytes(*models[:4]) == params_bytes(*plain[:4])


def test_two_threads_give_the_same_bytes():
    results = []
    for threads in (1, 2):
        settings = PPOSettings(
            iterations=2, rollout_size=18, max_new_tokens=5, ppo_epochs=2, minibatch_size=7,
            threads=threads,
        )
        models = four_models()
        history = train_ppo(models, PROMPTS, settings, np.random.default_rng(4))
        results.append((params_bytes(*models[:4]), [row | {"seconds": 0} for row in history]))
    assert results[0] == results[1]


def test_padding_of_a_rollout_does_not_reach_the_update():
    """Three more columns that hold nonsense: the same weights afterwards."""
    flats, rollout = [], a_rollout()
    wide = rollout._replace(
        tokens=widen(rollout.tokens, 3, PAD),
        response_mask=widen(rollout.response_mask, 3, 0),
        **{
            name: widen(getattr(rollout, name), 3, 99)
            for name in ("old_logprobs", "ref_logprobs", "advantages", "values", "returns")
        },
    )
    for each in (rollout, wide):
        models = four_models()
        update(models, two_adams(models), each, SETTINGS, np.random.default_rng(0), 5)
        flats.append([models.policy.flat, models.value_model.flat])
    np.testing.assert_allclose(flats[0][0], flats[1][0], atol=1e-12)
    np.testing.assert_allclose(flats[0][1], flats[1][1], atol=1e-12)


def test_figures_of_an_iteration():
    settings, watch = replace(SETTINGS, iterations=1), Watch()
    (figures,) = train_ppo(
        four_models(), PROMPTS[:3], settings, np.random.default_rng(0), PPOHooks(watch=watch)
    )
    (rollout,) = watch.rollouts
    mask = rollout.response_mask
    for prompt in PROMPTS[:3]:  # 18 answers to 3 prompts: each is asked six times
        n = len(prompt)
        asked = (rollout.tokens[:, :n] == prompt).all(axis=1) & (mask[:, n - 1] == 1)
        assert (asked & (mask[:, : n - 1] == 0).all(axis=1)).sum() == 6
    log_ratio = (rollout.old_logprobs - rollout.ref_logprobs) * mask
    wanted = {
        "score": rollout.scores.mean(),
        "kl_exact": rollout.exact_kl.sum() / 18,  # nats per response: a sum over its tokens
        "kl_estimate": log_ratio.sum() / 18,
        "entropy": rollout.entropy.sum() / mask.sum(),
        "response_length": mask.sum() / 18,
        "missing_eos": 1 - rollout.finished.mean(),
        "kl_coef": 0.2,
    }
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)
    assert abs(figures["first_approx_kl"]) < 1e-18


# ---- a small run, from start to end ---------------------------------------------------------


@functools.cache
def small_run(target_kl=None):
    """PPO against the reward model of test_step2, which likes the letter 3.

    -> models, bytes of the two frozen ones before, history.
    """
    reward_model, config = (x for x in trained_reward_model("k-wise")[:2])
    reward_model = reward_model.copy()
    policy = init_params(config, np.random.default_rng(7))
    samples = sample(policy, config, [[BOS]] * 200, 6, np.random.default_rng(0))
    rows = [row for row, _ in responses_of(samples)]
    normalise_scores(reward_model, score_rows(reward_model, config, rows))
    value_model = with_scalar_head(reward_model, config)
    models = PPOModels(
        policy=policy, ref_policy=policy.copy(), reward_model=reward_model,
        value_model=value_model, config=config, reward_config=config,
    )
    before = params_bytes(models.ref_policy, models.reward_model)
    settings = PPOSettings(
        iterations=25, rollout_size=64, max_new_tokens=6, ppo_epochs=3, minibatch_size=32,
        learning_rate=5e-3, kl_coef=0.05, target_kl=target_kl,
    )
    history = train_ppo(models, [[BOS]], settings, np.random.default_rng(1))
    return models, before, history


def test_ppo_raises_the_score():
    _, _, history = small_run()
    assert abs(history[0]["score"]) < 1  # normalised on the policy as it was
    assert np.mean([row["score"] for row in history[-5:]]) > history[0]["score"] + 1


def test_ppo_really_clips_and_really_starts_at_ratio_1():
    _, _, history = small_run()
    assert max(row["clip_fraction"] for row in history) > 0.02
    assert all(abs(row["first_approx_kl"]) < 1e-6 for row in history)  # float32
    assert max(row["value_clip_fraction"] for row in history) > 0


def test_the_policy_leaves_the_reference_and_the_kl_says_so():
    models, _, history = small_run()
    assert history[0]["kl_exact"] == pytest.approx(0, abs=1e-6)
    assert history[0]["kl_estimate"] == pytest.approx(0, abs=1e-5)
    assert history[-1]["kl_exact"] > 0.3
    assert min(row["kl_exact"] for row in history) > -1e-6
    assert models.policy.flat.tobytes() != models.ref_policy.flat.tobytes()


def test_reference_and_reward_model_keep_every_byte():
    models, before, _ = small_run()
    assert params_bytes(models.ref_policy, models.reward_model) == before


def test_the_value_model_starts_without_an_opinion_and_learns_to_explain():
    _, _, history = small_run()
    assert history[0]["explained_variance"] == pytest.approx(0, abs=1e-6)
    assert max(row["explained_variance"] for row in history) > 0.05


def test_kl_coef_adapts_only_if_it_has_a_target():
    assert {row["kl_coef"] for row in small_run()[2]} == {0.05}
    history = small_run(target_kl=1e-3)[2]  # so low that the price must rise
    coefs = [row["kl_coef"] for row in history]
    assert coefs[0] == 0.05 and coefs[-1] > 0.055
    for row, following in itertools.pairwise(history):
        wanted = adapt_kl_coef(row["kl_coef"], row["kl_estimate"], 1e-3, 64, 1280)
        assert following["kl_coef"] == pytest.approx(wanted)


def test_same_seed_same_bytes():
    settings = PPOSettings(iterations=2, rollout_size=12, minibatch_size=6, max_new_tokens=5)
    flats = []
    for noise in range(2):
        np.random.seed(noise)  # the global generator must not matter
        models = four_models(np.float32)
        history = train_ppo(models, PROMPTS, settings, np.random.default_rng(3))
        flats.append(params_bytes(models.policy, models.value_model))
        assert len(history) == 2
    assert flats[0] == flats[1]


def test_what_watch_returns_goes_into_the_history_and_nowhere_else():
    settings = PPOSettings(iterations=2, rollout_size=6, minibatch_size=6, max_new_tokens=5)
    models, watched = four_models(), four_models()
    train_ppo(models, PROMPTS, settings, np.random.default_rng(3))
    history = train_ppo(
        watched, PROMPTS, settings, np.random.default_rng(3), PPOHooks(watch=Watch())
    )
    assert [row["seen"] for row in history] == [1, 2]
    assert params_bytes(models.policy) == params_bytes(watched.policy)


# ---- hooks ----------------------------------------------------------------------------------

BRIEF = PPOSettings(iterations=2, rollout_size=6, minibatch_size=4, max_new_tokens=5)


def run_with(settings=BRIEF, **hooks):
    """A short run with these hooks and a Watch -> models, history, the rollouts that it saw."""
    models, watch = four_models(), Watch()
    history = train_ppo(
        models, PROMPTS, settings, np.random.default_rng(3), PPOHooks(watch=watch, **hooks)
    )
    return models, history, watch.rollouts


def twelve_apart(models, samples, settings):
    """A judge that likes every second answer."""
    return np.where(np.arange(len(samples.tokens)) % 2, 6.0, -6.0)


def no_advantages(rollout, settings):
    """Nothing is better than anything; values and returns stay."""
    return rollout._replace(advantages=np.zeros_like(rollout.advantages))


def returns_that_are_known(rollout, settings):
    """What the values said, exactly."""
    return rollout._replace(returns=rollout.values)


class Loss:
    """clipped_loss times a factor; it keeps the minibatches that it is given."""

    def __init__(self, factor, settings):
        self.factor, self.settings, self.batches = factor, settings, []

    def __call__(self, logprobs, batch, settings):
        assert logprobs.shape == batch.mask.shape and settings == self.settings
        self.batches.append(batch)
        loss, dlogprobs, stats = clipped_loss(logprobs, batch, settings)
        return self.factor * loss, self.factor * dlogprobs, stats


def test_hooks_as_they_stand_are_ppo():
    assert PPOHooks()._asdict() == {
        "watch": None, "score": score_samples, "change": None, "policy_loss": clipped_loss,
    }
    models, watched = four_models(), run_with()[0]
    history = train_ppo(models, PROMPTS, BRIEF, np.random.default_rng(3))
    assert params_bytes(*models[:4]) == params_bytes(*watched[:4]) and "seen" not in history[0]
    batch = cut_minibatch(a_rollout(), np.arange(18))
    logprobs = batch.old_logprobs + 0.1 * batch.ref_logprobs
    got = clipped_loss(logprobs, batch, replace(SETTINGS, clip_range=0.1))
    wanted = ppo_policy_loss(logprobs, batch.old_logprobs, batch.advantages, batch.mask, 0.1)
    assert got[0] == wanted[0] and got[2] == wanted[2] and got[1].tobytes() == wanted[1].tobytes()
    assert wanted[2].clip_fraction > 0


def test_another_score_reaches_rewards_and_update():
    plain, _, _ = run_with()
    models, history, rollouts = run_with(score=twelve_apart)
    for row, rollout in zip(history, rollouts, strict=True):
        assert row["score"] == 0 and set(rollout.scores) == {6, -6}
        log_ratio = (rollout.old_logprobs - rollout.ref_logprobs).sum(axis=1)
        wanted = rollout.scores - row["kl_coef"] * log_ratio
        np.testing.assert_allclose(rollout.rewards.sum(axis=1), wanted, atol=1e-12)
    assert params_bytes(models.policy) != params_bytes(plain.policy)
    assert params_bytes(models.value_model) != params_bytes(plain.value_model)


def test_a_changed_rollout_reaches_the_update_and_watch_sees_what_was_said():
    plain, plain_history, _ = run_with()
    models, history, rollouts = run_with(change=no_advantages)
    assert all(np.abs(rollout.advantages).max() > 0.1 for rollout in rollouts)
    untouched = four_models()
    assert params_bytes(models.policy) == params_bytes(untouched.policy)  # no gradient, no step
    assert params_bytes(models.value_model) != params_bytes(untouched.value_model)
    assert history[0]["policy_grad_norm"] == 0 < history[0]["value_grad_norm"]
    assert history[0]["score"] == plain_history[0]["score"]

    _, history, rollouts = run_with(change=returns_that_are_known)
    assert history[0]["explained_variance"] == 1  # of what is learned from
    assert history[0]["value_loss"] < plain_history[0]["value_loss"]
    assert np.abs(rollouts[0].returns - rollouts[0].values).max() > 0.1


@pytest.mark.parametrize("threads", [1, 2])
def test_another_policy_loss_reaches_the_update_and_the_policy_only(threads):
    settings = replace(BRIEF, threads=threads)
    plain, plain_history, _ = run_with(settings)
    loss = Loss(0.0, settings)
    models, history, _ = run_with(settings, policy_loss=loss)
    assert len(loss.batches) == 2 * 2 * 2  # iterations, epochs, minibatches of 4 and of 2
    assert [len(batch.inputs) for batch in loss.batches] == [4, 2] * 4
    assert params_bytes(models.policy) == params_bytes(four_models().policy)
    assert history[0]["policy_loss"] == history[0]["policy_grad_norm"] == 0
    assert history[0]["value_loss"] == plain_history[0]["value_loss"]
    assert params_bytes(models.policy) != params_bytes(plain.policy)
    _, history, _ = run_with(settings, policy_loss=Loss(2.0, settings))
    wanted = 2 * plain_history[0]["policy_grad_norm"]  # in minibatch 1; later the weights differ
    assert history[0]["policy_grad_norm"] == pytest.approx(wanted, rel=0.2)


def test_minibatches_go_through_all_rows_in_every_epoch_in_a_new_order():
    settings = PPOSettings(ppo_epochs=3, minibatch_size=4)
    minibatches = draw_minibatches(10, settings, np.random.default_rng(0))
    assert [epoch for epoch, _ in minibatches] == [0] * 3 + [1] * 3 + [2] * 3
    assert [len(rows) for _, rows in minibatches] == [4, 4, 2] * 3
    orders = [np.concatenate([rows for e, rows in minibatches if e == epoch]) for epoch in range(3)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


def test_a_minibatch_is_its_rows_without_the_columns_that_are_padding_only():
    rollout, rows = a_rollout(), np.array([5, 2, 11])
    ends = last_response_index(rollout.response_mask[rows])
    batch = cut_minibatch(rollout, rows)
    T = ends.max() + 1
    assert {array.shape for array in batch} == {(3, T)}
    given = {"inputs": rollout.tokens[:, :-1], "targets": rollout.tokens[:, 1:],
             "mask": rollout.response_mask, "old_values": rollout.values}
    for name, array in batch._asdict().items():
        whole = given[name] if name in given else getattr(rollout, name)
        np.testing.assert_array_equal(array, whole[rows, :T], err_msg=name)
    shortest = last_response_index(rollout.response_mask).argmin()
    assert cut_minibatch(rollout, np.array([shortest])).inputs.shape[1] < T


def test_prompts_are_drawn_about_equally_often_and_in_random_order():
    prompts = [[BOS, i] for i in range(5)]
    drawn = draw_prompts(prompts, 13, np.random.default_rng(0))
    counts = [drawn.count(prompt) for prompt in prompts]
    assert len(drawn) == 13 and min(counts) == 2 and max(counts) == 3
    assert drawn[:5] != prompts and sorted(drawn[:5]) == prompts  # pass after pass
    assert drawn[:5] != drawn[5:10]
    assert draw_prompts(prompts, 13, np.random.default_rng(0)) == drawn
    assert draw_prompts(prompts, 13, np.random.default_rng(1)) != drawn


def test_a_typo_in_the_hooks_is_an_error():
    with pytest.raises(TypeError, match="loss"):
        PPOHooks(loss=clipped_loss)


def test_a_typo_in_the_settings_is_an_error():
    with pytest.raises(TypeError, match="kl_coeff"):
        PPOSettings(kl_coeff=0.1)
