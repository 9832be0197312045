"""The whole model: its gradient through every objective, causality, padding, and its storage.

Every weight of a tiny model is nudged, one at a time, and the analytic gradient must agree.  The
losses of PPO have kinks, where a derivative does not exist; the data are made so that every ratio
and every value is far from its kink, and that is asserted, not hoped.  The objectives stand in
helpers/checks_model.py.
"""

import math

import numpy as np
import pytest
from helpers.arrays import deepen, floating_dtypes, widen
from helpers.checks_model import (
    OBJECTIVES,
    RANKINGS,
    SETTINGS,
    expected,
    model_errors,
    policy_case,
)
from helpers.gradients import wrong
from helpers.models import (
    ADVANTAGE,
    ERROR,
    INPUTS,
    MASK,
    MOVED,
    RATIO,
    TARGETS,
    TOKENS,
    V,
    plain_logprobs,
    plain_values,
    random_params,
    tiny_config,
)
from helpers.ppo import minibatch

from minirlhf.gpt import (
    GPTConfig,
    Params,
    gpt_backward,
    gpt_forward,
    init_params,
    lm_head_forward,
    param_shapes,
    scalar_head_forward,
    with_scalar_head,
)
from minirlhf.layers import log_softmax
from minirlhf.step1_language_model import language_model_loss
from minirlhf.step2_reward_model import reward_model_forward, reward_model_loss
from minirlhf.step3_ppo import policy_objective, value_objective
from minirlhf.tokenizer import PAD

# ---- the objectives, as functions of one flat vector of weights -----------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient_of_every_weight_agrees_with_finite_differences(name):
    failing = wrong(model_errors(OBJECTIVES[name]))
    assert not failing, f"{name}: wrong gradient in {failing}"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_check_has_something_to_check(name):
    """All tensors get a gradient, but for those that cannot have one: named here one by one."""
    case, _, numerical = expected(OBJECTIVES[name])
    wanted = Params(case.params.shapes, np.float64)
    wanted.flat[...] = numerical
    floor = 1e-6 * np.abs(numerical).max()
    silent = {tensor for tensor in wanted.shapes if np.abs(wanted[tensor]).max() < floor}
    # a ranking loss does not see a constant added to all scores
    assert silent == ({"lnf_b", "head_b"} if name.startswith("reward model") else set())


def test_every_ratio_is_far_from_the_clips_kink():
    case = policy_case(True, 0.0)
    assert case.config.tied_head
    ratios, signs = RATIO[MASK > 0], np.sign(ADVANTAGE[MASK > 0])
    assert np.abs(np.abs(ratios - 1) - SETTINGS.clip_range).min() > 0.09
    place = np.select([ratios < 0.8, ratios > 1.2], [-1, 1], 0)
    assert {(1, -1), (1, 0), (1, 1), (-1, -1), (-1, 0), (-1, 1)} == set(zip(signs, place))


def test_every_value_is_far_from_the_clips_kinks():
    """Two kinks: |moved| = range, and where the clipped error is as large as the plain one."""
    moved, error = MOVED[MASK > 0], ERROR[MASK > 0]
    assert np.abs(np.abs(moved) - SETTINGS.value_clip_range).min() > 0.09
    clipped_error = error - moved + np.clip(moved, -0.2, 0.2)
    outside = np.abs(moved) > 0.2
    assert np.abs(error**2 - clipped_error**2)[outside].min() > 0.05
    stopped = outside & (clipped_error**2 > error**2)
    assert 0 < stopped.sum() < outside.sum() < len(moved)  # all three kinds are there


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("entropy_coef", [0.0, 0.3])
def test_policy_objective_is_the_clipped_loss_minus_the_entropy_bonus(tied, entropy_coef):
    case = policy_case(tied, entropy_coef)
    logits, _ = lm_head_forward(case.params, gpt_forward(case.params, case.config, INPUTS)[0])
    total = 0.0
    for b, t in zip(*np.nonzero(MASK)):
        ratio, advantage = RATIO[b, t], ADVANTAGE[b, t]
        total -= min(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage)
        logprobs = log_softmax(logits[b, t])
        total -= entropy_coef * -(np.exp(logprobs) * logprobs).sum()
    loss, _ = case.call(case.module, case.params, case.config)
    assert loss == pytest.approx(total / 6, rel=1e-12)


def test_a_tied_embedding_gets_the_gradients_of_both_its_uses():
    tied, untied = tiny_config(True), tiny_config(False)
    params = random_params(untied)
    params.lm_w[...] = params.wte
    same = random_params(tied)
    for name in same.shapes:
        same[name][...] = params[name]
    loss, grads = language_model_loss(params, untied, INPUTS, TARGETS, MASK)
    tied_loss, tied_grads = language_model_loss(same, tied, INPUTS, TARGETS, MASK)
    assert tied_loss == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(tied_grads.wte, grads.wte + grads.lm_w, rtol=1e-12)
    assert np.abs(grads.wte).max() > 1e-3 and np.abs(grads.lm_w).max() > 1e-3


def test_backward_gives_a_fresh_gradient_each_time_and_changes_nothing():
    config = tiny_config()
    params = random_params(config)
    hidden, cache = gpt_forward(params, config, INPUTS)
    dhidden, before = np.ones_like(hidden), params.flat.tobytes()
    first = gpt_backward(params, config, dhidden, cache)
    kept = first.flat.tobytes()
    second = gpt_backward(params, config, dhidden, cache)
    assert second.flat.tobytes() == first.flat.tobytes() == kept  # nothing accumulates
    assert not np.shares_memory(first.flat, second.flat)
    assert params.flat.tobytes() == before and (dhidden == 1).all()


# ---- causality ------------------------------------------------------------------------------


@pytest.mark.parametrize("t", range(5))
def test_a_token_changes_nothing_before_it(t):
    config = tiny_config()
    params = random_params(config)
    changed = INPUTS.copy()
    changed[:, t] = (changed[:, t] + 1) % V
    before, after = (gpt_forward(params, config, x)[0] for x in (INPUTS, changed))
    np.testing.assert_array_equal(before[:, :t], after[:, :t])  # bit for bit
    assert (before[:, t:] != after[:, t:]).any(axis=(0, 2)).all()


def test_a_position_is_not_its_neighbour():
    config = tiny_config()
    hidden, _ = gpt_forward(random_params(config), config, np.full((1, 5), 3))
    for t in range(4):
        assert np.abs(hidden[0, t] - hidden[0, t + 1]).max() > 1e-3


# ---- padding and batch mates ----------------------------------------------------------------


@pytest.mark.parametrize("grow", [widen, deepen])
def test_padding_changes_no_loss_and_no_gradient_of_a_language_model(grow):
    config = tiny_config()
    params = random_params(config)
    loss, grads = language_model_loss(params, config, INPUTS, TARGETS, MASK)
    padded = [grow(INPUTS, 3, PAD), grow(TARGETS, 3, PAD), grow(MASK, 3, 0)]
    padded_loss, padded_grads = language_model_loss(params, config, *padded)
    assert padded_loss == pytest.approx(loss, abs=1e-12)
    np.testing.assert_allclose(padded_grads.flat, grads.flat, atol=1e-12)


def padded_batch(batch, grow):
    """A Minibatch with 3 more columns or rows of padding: ids PAD, mask 0, and 99 elsewhere."""
    fill = {"inputs": PAD, "targets": PAD, "mask": 0}
    fields = batch._asdict().items()
    return batch._replace(**{name: grow(array, 3, fill.get(name, 99)) for name, array in fields})


@pytest.mark.parametrize("grow", [widen, deepen])
def test_padding_changes_nothing_in_ppo(grow):
    """Whatever stands on the padding, here 99, must not be seen."""
    config = tiny_config()
    params, value_model = random_params(config), random_params(config, 1, scalar_head=True)
    old_logprobs = plain_logprobs(params, config, INPUTS, TARGETS) - np.log(RATIO)
    batch = minibatch(INPUTS, TARGETS, MASK, old_logprobs=old_logprobs, advantages=ADVANTAGE)
    loss, grads, stats = policy_objective(params, config, batch, SETTINGS)
    padded = padded_batch(batch, grow)
    padded_loss, padded_grads, padded_stats = policy_objective(params, config, padded, SETTINGS)
    assert (padded_loss, *padded_stats) == pytest.approx((loss, *stats), abs=1e-12)
    np.testing.assert_allclose(padded_grads.flat, grads.flat, atol=1e-12)

    values = plain_values(value_model, config, INPUTS)
    batch = minibatch(INPUTS, TARGETS, MASK, old_values=values - MOVED, returns=values - ERROR)
    loss, grads, stats = value_objective(value_model, config, batch, SETTINGS)
    padded_loss, padded_grads, padded_stats = value_objective(
        value_model, config, padded_batch(batch, grow), SETTINGS
    )
    assert (padded_loss, *padded_stats) == pytest.approx((loss, *stats), abs=1e-12)
    np.testing.assert_allclose(padded_grads.flat, grads.flat, atol=1e-12)


def test_padding_changes_no_logit_score_or_value():
    config = tiny_config()
    params = random_params(config, scalar_head=True)
    logits, _ = lm_head_forward(params, gpt_forward(params, config, INPUTS)[0])
    padded, _ = lm_head_forward(params, gpt_forward(params, config, widen(INPUTS, 4, PAD))[0])
    np.testing.assert_allclose(padded[:, :5], logits, atol=1e-12)

    last = np.array([5, 3])  # EOS in both rows
    scores, _ = reward_model_forward(params, config, TOKENS, last)
    padded_scores, _ = reward_model_forward(params, config, widen(TOKENS, 3, PAD), last)
    np.testing.assert_allclose(padded_scores, scores, atol=1e-12)
    other, _ = reward_model_forward(params, config, TOKENS, last - 1)
    assert np.abs(other - scores).min() > 1e-3  # the index does matter


def test_a_row_does_not_see_its_batch_mates():
    config = tiny_config()
    params = random_params(config, scalar_head=True)
    together = plain_values(params, config, INPUTS)
    for b in range(2):
        alone = plain_values(params, config, INPUTS[b : b + 1])
        np.testing.assert_allclose(alone[0], together[b], atol=1e-12)
    swapped = plain_values(params, config, INPUTS[::-1])
    np.testing.assert_allclose(swapped[::-1], together, atol=1e-12)


def test_a_ranking_does_not_see_its_batch_mates():
    """One batch of two rankings is the mean of two batches of one."""
    config = tiny_config()
    params = random_params(config, scalar_head=True)
    loss, grads, scores, _ = reward_model_loss(params, config, RANKINGS, "k-wise")
    alone = [reward_model_loss(params, config, [ranking], "k-wise") for ranking in RANKINGS]
    assert loss == pytest.approx((alone[0][0] + alone[1][0]) / 2, rel=1e-12)
    np.testing.assert_allclose(grads.flat, (alone[0][1].flat + alone[1][1].flat) / 2, atol=1e-13)
    np.testing.assert_allclose(scores, np.concatenate([alone[0][2], alone[1][2]]), atol=1e-12)


# ---- dtype ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_whole_model_keeps_the_dtype_of_its_weights(dtype):
    config = tiny_config(tied=False)
    params = random_params(config, scalar_head=True, dtype=dtype)
    hidden, cache = gpt_forward(params, config, INPUTS)
    logits, lm_cache = lm_head_forward(params, hidden)
    values, scalar_cache = scalar_head_forward(params, hidden)
    things = [hidden, logits, values, cache, lm_cache, scalar_cache]
    assert floating_dtypes(things) == {np.dtype(dtype)}
    assert gpt_backward(params, config, hidden, cache).flat.dtype == dtype


@pytest.mark.parametrize("seed", range(2))
def test_float32_and_float64_tell_the_same_story(seed):
    config = tiny_config()
    for name, make in OBJECTIVES.items():
        case = make()
        small = Params(case.params.shapes, np.float32)
        small.flat[...] = case.params.flat
        loss, grads = case.call(case.module, case.params, case.config)
        small_loss, small_grads = case.call(case.module, small, config)
        assert small_loss == pytest.approx(loss, abs=1e-4), name
        np.testing.assert_allclose(
            small_grads.flat, grads.flat, atol=1e-4 * np.abs(grads.flat).max(), err_msg=name
        )


# ---- storage --------------------------------------------------------------------------------


def test_names_are_views_of_one_flat_vector():
    params = Params({"wte": (2, 3), "lnf_g": (3,)})
    params.flat[...] = np.arange(9)
    np.testing.assert_array_equal(params.wte, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(params.lnf_g, [6, 7, 8])
    params.wte += 1
    params.lnf_g[0] = -1
    np.testing.assert_array_equal(params.flat, [1, 2, 3, 4, 5, 6, -1, 7, 8])


def test_rebinding_a_name_would_leave_the_flat_vector_and_raises():
    params = Params({"wte": (2, 3)})
    for name in ("wte", "flat", "wpe"):  # the last one is a typo
        with pytest.raises(AttributeError, match=rf"write params\.{name}\[\.\.\.\] = value"):
            setattr(params, name, np.zeros((2, 3)))
    assert not hasattr(params, "wpe")


def test_a_tensor_can_be_asked_for_by_its_name():
    params = random_params(tiny_config(tied=False), scalar_head=True)
    for name in params.shapes:
        assert params[name] is getattr(params, name) and params[name].base is params.flat
    params["wte"][...] = 7
    assert (params.wte == 7).all() and (params.flat[: params.wte.size] == 7).all()
    with pytest.raises(KeyError, match="lm_v"):
        params["lm_v"]
    with pytest.raises(TypeError, match="item assignment"):
        params["wte"] = params.wte  # as params.wte = ...: nothing is rebound


def test_an_editor_knows_every_name():
    """Params declares just the tensors that a model can have, in the order of the flat vector."""
    declared = list(Params.__annotations__)
    assert declared[:2] == ["flat", "shapes"]
    shapes = param_shapes(tiny_config(tied=False), scalar_head=True)
    assert declared[2:] == list(shapes)
    for tied in (True, False):
        for scalar_head in (True, False):
            assert set(param_shapes(tiny_config(tied), scalar_head)) <= set(declared)


def test_a_copy_has_its_own_memory():
    params = random_params(tiny_config())
    kept = params.flat.copy()
    twin = params.copy()
    twin.wte += 1
    np.testing.assert_array_equal(params.flat, kept)
    assert twin.shapes == params.shapes and not np.shares_memory(twin.flat, params.flat)
    np.testing.assert_array_equal(twin.wte, params.wte + 1)
    np.testing.assert_array_equal(twin.wpe, params.wpe)


def test_repr_is_one_line_with_size_dtype_and_shapes():
    text = repr(Params({"wte": (2, 3), "lnf_g": (3,)}))
    assert text == "Params(9 x float32: wte (2, 3), lnf_g (3,))"
    text = repr(Params(param_shapes(GPTConfig(vocab_size=40), scalar_head=True)))
    assert text.startswith("Params(106817 x float32: wte (40, 64), wpe (64, 64), ")
    assert text.endswith(" more)") and len(text) <= 100 and "\n" not in text


def test_all_weights_are_covered_by_names():
    for tied in (True, False):
        for scalar_head in (True, False):
            shapes = param_shapes(tiny_config(tied), scalar_head)
            assert sum(map(math.prod, shapes.values())) == Params(shapes).flat.size
            assert ("lm_w" in shapes) == (not tied) and ("head_w" in shapes) == scalar_head


def root_mean_square(x):
    """The deviation from 0: sees a wrong mean as well as a wrong spread."""
    return np.sqrt((x**2).mean())


def test_initial_weights():
    config = GPTConfig(vocab_size=50, block_size=40, n_layer=3, n_head=4, n_embd=32)
    params = init_params(config, np.random.default_rng(0), scalar_head=True)
    assert params.flat.dtype == np.float32
    for name in ("ln1_g", "ln2_g", "lnf_g"):
        assert (params[name] == 1).all()
    for name in ("ln1_b", "ln2_b", "lnf_b", "qkv_b", "proj_b", "fc_b", "out_b"):
        assert not params[name].any()
    assert not params.head_w.any() and not params.head_b.any()
    for name in ("wte", "wpe", "qkv_w", "fc_w"):
        assert root_mean_square(params[name]) == pytest.approx(0.08, rel=0.1)
    for name in ("proj_w", "out_w"):  # GPT-2: 1 / sqrt(2 L)
        assert root_mean_square(params[name]) == pytest.approx(0.08 / 6**0.5, rel=0.1)


def test_a_scalar_head_is_added_to_a_copy_of_the_trunk():
    config = tiny_config()
    model = random_params(config)
    kept = model.flat.copy()
    value_model = with_scalar_head(model, config)
    assert not value_model.head_w.any() and not value_model.head_b.any()
    assert not plain_values(value_model, config, INPUTS).any()  # no opinion at the start
    for name in model.shapes:
        np.testing.assert_array_equal(value_model[name], model[name])
    value_model.wte += 1
    np.testing.assert_array_equal(model.flat, kept)

    reward_model = with_scalar_head(model, config, np.random.default_rng(0))
    drawn = np.random.default_rng(0).normal(0, 5**-0.5, 4)  # deviation 1 / sqrt(C + 1)
    np.testing.assert_array_equal(reward_model.head_w, drawn)
    again = with_scalar_head(reward_model, config)  # an old head is not inherited
    assert not again.head_w.any()


# ---- errors ---------------------------------------------------------------------------------


def test_inputs_longer_than_the_block_size():
    config = tiny_config()
    params = random_params(config)
    gpt_forward(params, config, np.full((1, 9), 3))  # exactly full
    with pytest.raises(ValueError, match=r"inputs \(1, 10\) longer than block_size 9"):
        gpt_forward(params, config, np.full((1, 10), 3))


@pytest.mark.parametrize("field", ["vocab_size", "block_size", "n_layer", "n_head", "n_embd"])
def test_sizes_below_1(field):
    with pytest.raises(ValueError, match=f"GPTConfig.{field} is 0"):
        GPTConfig(**({"vocab_size": V} | {field: 0}))


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="n_embd 6 is not a multiple of n_head 4"):
        GPTConfig(vocab_size=V, n_embd=6, n_head=4)


def test_a_typo_in_a_config_is_an_error():
    with pytest.raises(TypeError, match="n_heads"):
        GPTConfig(vocab_size=V, n_heads=2)
