"""Step 3: PPO by hand, number for number; then its parts; then a small run from start to end.

The worked example has a vocabulary of three (EOS, a, b) and two responses, "a a EOS" and "b EOS".
Every quantity of one PPO step is written out below, and the code must reproduce all of them.
"""

import functools
import itertools
import math

import numpy as np
import pytest
from test_gpt import (
    ADVANTAGE,
    ERROR,
    MASK,
    MOVED,
    RATIO,
    deepen,
    params_bytes,
    plain_logprobs,
    plain_values,
    random_params,
    widen,
)
from test_layers import TOLERANCE, loss_errors
from test_step2 import trained_reward_model

from minirlhf import step3_ppo
from minirlhf.adam import adam_step, clip_gradient, init_adam
from minirlhf.gpt import (
    GPTConfig,
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
    PPOModels,
    PPOSettings,
    adapt_kl_coef,
    explained_variance,
    gae,
    kl_shaped_rewards,
    last_response_index,
    make_rollout,
    policy_objective,
    ppo_iteration,
    ppo_policy_loss,
    ppo_update,
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


@pytest.mark.parametrize(
    "errors", [policy_loss_errors, value_loss_errors, gae_errors, rewards_errors, whiten_errors]
)
def test_agrees_with_its_naive_version(errors):
    wrong = {name: error for name, error in errors().items() if not error < TOLERANCE}
    assert not wrong


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

# PAD, BOS, EOS and one letter; up to 3 tokens after <bos>: 40 possible responses
SMALL = GPTConfig(vocab_size=4, block_size=4, n_layer=1, n_head=2, n_embd=4)


def all_responses(vocab_size, limit):
    """Every response there is: ends with EOS, or has `limit` tokens -> lists of ids."""
    responses = []
    for length in range(1, limit + 1):
        for ids in itertools.product(range(vocab_size), repeat=length):
            if EOS not in ids[:-1] and (ids[-1] == EOS or length == limit):
                responses.append(list(ids))
    return responses


RESPONSES = all_responses(4, 3)
WORLD = np.array([[BOS, *ids, *[PAD] * (3 - len(ids))] for ids in RESPONSES])  # (40, 4)
WORLD_MASK = np.array([[1.0] * len(ids) + [0.0] * (3 - len(ids)) for ids in RESPONSES])


def world_logprobs(params):
    """-> (40, 3) log-probabilities of the tokens of every response, 0 on padding."""
    return plain_logprobs(params, SMALL, WORLD[:, :-1], WORLD[:, 1:]) * WORLD_MASK


POLICY, REFERENCE = random_params(SMALL, 0), random_params(SMALL, 1)


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
    _, grads, stats = policy_objective(
        POLICY, SMALL, WORLD[:, :-1], WORLD[:, 1:], logprobs, advantages * probabilities,
        WORLD_MASK, PPOSettings(),
    )
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
    return PPOModels(policy, ref_policy, reward_model, value_model, CONFIG, CONFIG)


@functools.cache
def a_rollout():
    return make_rollout(four_models(), PROMPTS, 0.2, SETTINGS, np.random.default_rng(8))


def responses_of(rollout):
    """-> list of B (row of ids up to the last response token, index of that token in targets)."""
    ends = last_response_index(rollout.response_mask)
    return [(list(map(int, row[: end + 2])), end) for row, end in zip(rollout.tokens, ends)]


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
    rollout = make_rollout(four_models(dtype), PROMPTS, 0.2, SETTINGS, np.random.default_rng(0))
    floats = [a.dtype for a in rollout if np.issubdtype(a.dtype, np.floating)]
    assert len(floats) == 10 and set(floats) == {np.dtype(dtype)}
    assert rollout.tokens.dtype == np.int64 and rollout.finished.dtype == bool


# ---- the update -----------------------------------------------------------------------------


def test_on_the_first_minibatch_ppo_is_the_plain_policy_gradient():
    """Nothing has moved: every ratio is 1 and the gradient is -mean of A * d log pi."""
    rollout, models = a_rollout(), four_models()
    inputs, targets, mask = rollout.tokens[:, :-1], rollout.tokens[:, 1:], rollout.response_mask
    loss, grads, stats = policy_objective(
        models.policy, CONFIG, inputs, targets, rollout.old_logprobs, rollout.advantages, mask,
        SETTINGS,
    )
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
    settings = PPOSettings(ppo_epochs=3, minibatch_size=7, learning_rate=3e-2, rollout_size=18)
    rng = np.random.default_rng(0)
    rows = ppo_update(models, adams, rollout, settings, 3e-2, 1e-3, "here", rng)
    assert [row["epoch"] for row in rows] == [0] * 3 + [1] * 3 + [2] * 3  # 7 + 7 + 4 responses
    assert adams["policy"].step == adams["value_model"].step == 9
    assert rows[0]["approx_kl"] < 1e-18 and rows[0]["clip_fraction"] == 0
    assert all(row["approx_kl"] > 1e-6 for row in rows[1:])
    assert max(row["clip_fraction"] for row in rows) > 0
    assert all(row["ratio_outside"] >= row["clip_fraction"] for row in rows)
    assert [array.tobytes() for array in rollout] == kept  # the old policy is a memory: frozen


def two_adams(models):
    return {"policy": init_adam(models.policy), "value_model": init_adam(models.value_model)}


def test_an_update_is_what_its_parts_do_one_after_the_other():
    """The same epochs and minibatches, written plainly and without cutting any padding."""
    settings = PPOSettings(ppo_epochs=2, minibatch_size=7, learning_rate=1e-2, max_grad_norm=0.5)
    models, plain, rollout = four_models(), four_models(), a_rollout()
    rows = ppo_update(
        models, two_adams(models), rollout, settings, 5e-3, 4e-4, "", np.random.default_rng(4)
    )

    rng, adams, losses = np.random.default_rng(4), two_adams(plain), []
    for _ in range(2):
        order = rng.permutation(18)
        for picked_rows in (order[:7], order[7:14], order[14:]):
            r = type(rollout)(*(array[picked_rows] for array in rollout))
            inputs, targets, mask = r.tokens[:, :-1], r.tokens[:, 1:], r.response_mask
            policy_loss, policy_grads, _ = policy_objective(
                plain.policy, CONFIG, inputs, targets, r.old_logprobs, r.advantages, mask, settings
            )
            loss, value_grads, _ = value_objective(
                plain.value_model, CONFIG, inputs, r.values, r.returns, mask, settings
            )
            for name, grads, lr in (
                ("policy", policy_grads, 5e-3),
                ("value_model", value_grads, 4e-4),
            ):
                clip_gradient(grads, 0.5, "")
                adam_step(getattr(plain, name), grads, adams[name], lr)
            losses.append((policy_loss, loss))
    np.testing.assert_allclose(models.policy.flat, plain.policy.flat, atol=1e-10)
    np.testing.assert_allclose(models.value_model.flat, plain.value_model.flat, atol=1e-10)
    np.testing.assert_allclose([(r["policy_loss"], r["value_loss"]) for r in rows], losses)


def test_an_iteration_is_a_rollout_and_its_update():
    """Iteration 3 of 4: the value's rate is at 1/4, the policy's at 1/3 after a warm-up of 1."""
    settings = PPOSettings(
        iterations=4, rollout_size=3, max_new_tokens=5, minibatch_size=2, warmup=1,
        learning_rate=3e-3, value_learning_rate=8e-3,
    )
    models, plain = four_models(), four_models()
    rollout, figures = ppo_iteration(
        models, two_adams(models), PROMPTS[:3], 0.2, settings, 3, np.random.default_rng(4)
    )
    rng = np.random.default_rng(4)
    prompts = [PROMPTS[i] for i in rng.permutation(3)]
    again = make_rollout(plain, prompts, 0.2, settings, rng)
    rows = ppo_update(plain, two_adams(plain), again, settings, 3e-3 * (1 - 2 / 3), 2e-3, "", rng)
    assert [a.tobytes() for a in rollout] == [a.tobytes() for a in again]
    assert params_bytes(*models[:4]) == params_bytes(*plain[:4])
    for name in set(rows[0]) - {"epoch"}:  # means over the minibatches
        assert figures[name] == pytest.approx(np.mean([row[name] for row in rows])), name


def test_two_threads_give_the_same_bytes():
    results = []
    for threads in (1, 2):
        settings = PPOSettings(ppo_epochs=2, minibatch_size=7, threads=threads)
        models, rng = four_models(), np.random.default_rng(4)
        rows = ppo_update(models, two_adams(models), a_rollout(), settings, 1e-3, 1e-3, "", rng)
        results.append((params_bytes(*models[:4]), rows))
    assert results[0] == results[1]


def test_padding_of_a_rollout_does_not_reach_the_update():
    """Three more columns that hold nonsense: the same weights afterwards."""
    flats, rollout = [], a_rollout()
    wide = rollout._replace(
        tokens=widen(rollout.tokens, 3, PAD),
        response_mask=widen(rollout.response_mask, 3, 0),
        **{
            name: widen(getattr(rollout, name), 3, 99)
            for name in ("old_logprobs", "advantages", "values", "returns")
        },
    )
    for each in (rollout, wide):
        models = four_models()
        rng = np.random.default_rng(0)
        ppo_update(models, two_adams(models), each, SETTINGS, 3e-4, 1e-3, "here", rng)
        flats.append([models.policy.flat, models.value_model.flat])
    np.testing.assert_allclose(flats[0][0], flats[1][0], atol=1e-12)
    np.testing.assert_allclose(flats[0][1], flats[1][1], atol=1e-12)


def test_figures_of_an_iteration():
    models, rng = four_models(), np.random.default_rng(0)
    rollout, figures = ppo_iteration(models, two_adams(models), PROMPTS[:3], 0.2, SETTINGS, 0, rng)
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
    models = PPOModels(policy, policy.copy(), reward_model, value_model, config, config)
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
        watched, PROMPTS, settings, np.random.default_rng(3), watch=lambda rollout: {"seen": 1}
    )
    assert [row["seen"] for row in history] == [1, 1]
    assert params_bytes(models.policy) == params_bytes(watched.policy)


def test_a_typo_in_the_settings_is_an_error():
    with pytest.raises(TypeError, match="kl_coeff"):
        PPOSettings(kl_coeff=0.1)
