"""Every layer: its gradient against finite differences, its dtype, and what it must never do.

The pairs, and inputs to try them on, stand in helpers/checks_layers.py.
"""

import math

import numpy as np
import pytest
from helpers.arrays import floating_dtypes
from helpers.checks_layers import (
    CASES,
    IDS,
    as_tuple,
    layer_errors,
    normal,
    params_of,
    run,
    with_dtype,
)
from helpers.gradients import TOLERANCE

from minirlhf import gpt, layers
from minirlhf.gradcheck import compare_params, numerical_gradient, relative_error

# ---- gradients ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_gradient_agrees_with_finite_differences(name):
    wrong = {key: error for key, error in layer_errors(name).items() if not error < TOLERANCE}
    assert not wrong, f"{name}: wrong gradient of {wrong}"


def test_every_backward_function_of_layers_and_gpt_has_a_case():
    backwards = {
        attribute.removesuffix("_backward")
        for module in (layers, gpt)
        for attribute in vars(module)
        if attribute.endswith("_backward")
    }
    assert backwards == {name.removesuffix(" untied") for name in CASES} | {"gpt"}


def test_gradients_have_the_shape_of_what_they_belong_to():
    for name, case in CASES.items():
        for gradient, array in zip(run(name)[3], case.arrays.values(), strict=True):
            assert gradient.shape == array.shape, name


# ---- dtype and memory -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_outputs_caches_and_gradients_keep_the_dtype_of_the_weights(name, dtype):
    y, cache, _, gradients = run(name, dtype)
    assert floating_dtypes([y]) == {np.dtype(dtype)}
    assert floating_dtypes([cache]) <= {np.dtype(dtype)}  # an embedding keeps only ids
    assert floating_dtypes(gradients) == {np.dtype(dtype)}


def test_the_dtype_walk_finds_a_leak():
    leaky = (np.zeros(2, np.float32), [(np.arange(3), np.float64(1) / 3)])
    assert floating_dtypes(leaky) == {np.dtype(np.float32), np.dtype(np.float64)}


def arrays_inside(thing):
    """All arrays in nested tuples and lists."""
    if isinstance(thing, (tuple, list)):
        return [array for part in thing for array in arrays_inside(part)]
    return [thing] if isinstance(thing, np.ndarray) else []


@pytest.mark.parametrize("name", CASES)
def test_forward_and_backward_write_into_nothing_they_were_given(name):
    case = CASES[name]
    arrays = with_dtype(case, np.float64)
    before = [array.tobytes() for array in arrays]
    y, cache = case.forward(case.module, *arrays)
    assert [array.tobytes() for array in arrays] == before, "forward wrote into its inputs"

    dy = np.random.default_rng(2).normal(size=y.shape)
    given = [*arrays, dy, *arrays_inside(cache)]
    before = [array.tobytes() for array in given]
    first = as_tuple(case.backward(case.module, dy, cache, *arrays))
    assert [array.tobytes() for array in given] == before, "backward wrote into dy or the cache"

    again = as_tuple(case.backward(case.module, dy, cache, *arrays))
    assert [g.tobytes() for g in again] == [g.tobytes() for g in first], "backward has a memory"


# ---- what each layer computes ---------------------------------------------------------------


def test_linear_is_the_matrix_product_plus_bias():
    x, w, b = CASES["linear"].arrays.values()
    np.testing.assert_allclose(layers.linear_forward(x, w, b)[0], x @ w + b, rtol=1e-13)


def test_embedding_adds_token_and_position():
    wte, wpe = CASES["embedding"].arrays.values()
    x, _ = layers.embedding_forward(IDS, wte, wpe)
    for b, t in np.ndindex(IDS.shape):
        np.testing.assert_array_equal(x[b, t], wte[IDS[b, t]] + wpe[t])


def test_an_embedding_that_was_not_used_gets_no_gradient():
    dwte, dwpe = run("embedding")[3]
    unused = sorted(set(range(7)) - set(IDS.flat))
    assert unused == [4, 5] and not dwte[unused].any() and not dwpe[4:].any()
    assert dwte[[0, 1, 2, 3, 6]].all() and dwpe[:4].all()


def test_layernorm_makes_rows_of_mean_0_and_variance_1():
    x = CASES["layernorm"].arrays["x"]
    y, _ = layers.layernorm_forward(x, np.ones(5), np.zeros(5))
    np.testing.assert_allclose(y.mean(-1), 0, atol=1e-14)
    variance = x.var(-1)
    np.testing.assert_allclose(y.var(-1), variance / (variance + 1e-5), rtol=1e-12)
    y, _ = layers.layernorm_forward(x, np.full(5, 3.0), np.full(5, -2.0))
    np.testing.assert_allclose(y.mean(-1), -2, rtol=1e-12)


def test_layernorm_of_a_constant_row_is_the_bias():
    x = np.full((1, 1, 5), 7.0)
    y, cache = layers.layernorm_forward(x, np.full(5, 2.0), np.arange(5.0))
    np.testing.assert_allclose(y[0, 0], np.arange(5.0), atol=1e-9)
    assert np.isfinite(layers.layernorm_backward(normal(1, 1, 5), cache)[0]).all()


def test_gelu_is_the_tanh_form():
    x = np.linspace(-6, 6, 241)
    expected = 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(layers.gelu_forward(x)[0], expected, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gelu_far_out_is_0_or_x_with_slope_0_or_1(dtype):
    y, cache = layers.gelu_forward(np.array([-300, -30, 30, 300], dtype))
    np.testing.assert_array_equal(y, np.array([0, 0, 30, 300], dtype))
    np.testing.assert_array_equal(layers.gelu_backward(np.ones(4, dtype), cache), [0, 0, 1, 1])


def test_attention_agrees_with_its_definition_written_in_loops():
    qkv = CASES["attention"].arrays["qkv"]  # (B, T, 3 H D), H 3, D 4
    B, T, _ = qkv.shape
    q, k, v = (part.reshape(B, T, 3, 4) for part in np.split(qkv, 3, axis=-1))
    y, cache = layers.attention_forward(qkv, 3)
    for b, h, t in np.ndindex(B, 3, T):
        scores = [q[b, t, h] @ k[b, s, h] / math.sqrt(4) for s in range(t + 1)]
        weights = np.exp(scores) / np.exp(scores).sum()
        expected = sum(weight * v[b, s, h] for s, weight in enumerate(weights))
        np.testing.assert_allclose(y[b, t, 4 * h : 4 * h + 4], expected, rtol=1e-12)
        np.testing.assert_allclose(cache.probs[b, h, t, : t + 1], weights, rtol=1e-12)


@pytest.mark.parametrize("t", range(5))
def test_attention_never_looks_ahead(t):
    qkv = CASES["attention"].arrays["qkv"]
    changed = qkv.copy()
    changed[:, t] += 10
    before, after = layers.attention_forward(qkv, 3)[0], layers.attention_forward(changed, 3)[0]
    np.testing.assert_array_equal(before[:, :t], after[:, :t])  # bit for bit
    assert (before[:, t:] != after[:, t:]).any(axis=(0, 2)).all()  # and t itself does react


@pytest.mark.parametrize("t", range(5))
def test_attention_sends_no_gradient_to_the_future(t):
    y, cache = layers.attention_forward(CASES["attention"].arrays["qkv"], 3)
    dy = np.zeros_like(y)
    dy[:, t] = 1
    dqkv = layers.attention_backward(dy, cache)
    assert not dqkv[:, t + 1 :].any() and dqkv[:, : t + 1].any(axis=(0, 2)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_extreme_inputs_is_finite_and_sums_to_1(dtype):
    x = np.array(
        [[1000, -1000, 0], [-1000, -1000, -1000], [-np.inf, 5, 5], [1000, 1000, -np.inf]], dtype
    )
    probs = layers.softmax(x)
    expected = [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0, 0.5, 0.5], [0.5, 0.5, 0]]
    np.testing.assert_allclose(probs, expected, rtol=1e-6)
    assert probs[2, 0] == 0 and probs[3, 2] == 0  # -inf is impossible, not just unlikely
    assert np.isfinite(layers.softmax_backward(np.ones_like(x), probs)).all()


def test_softmax_does_not_care_about_a_shift():
    x = normal(2, 3, 5)
    np.testing.assert_allclose(layers.softmax(x + 100), layers.softmax(x), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_probabilities_of_extreme_logits_are_finite(dtype):
    logits = np.array([[[1000, -1000, 0]]], dtype)
    np.testing.assert_array_equal(layers.log_softmax(logits), [[[0, -2000, -1000]]])
    logprobs, cache = layers.token_logprobs_forward(logits, np.array([[1]]))
    assert logprobs == -2000
    dlogits = layers.token_logprobs_backward(np.ones((1, 1), dtype), cache)
    np.testing.assert_array_equal(dlogits, [[[-1, 1, 0]]])
    entropy, cache = layers.entropy_forward(logits)
    assert entropy == 0 and not layers.entropy_backward(np.ones((1, 1), dtype), cache).any()


def test_entropy_and_kl_of_hand_made_distributions():
    p, q = np.array([[0.5, 0.25, 0.25]]), np.array([[0.25, 0.25, 0.5]])
    entropy, _ = layers.entropy_forward(np.log(p) + 3)  # logits may be shifted
    np.testing.assert_allclose(entropy, 1.5 * math.log(2), rtol=1e-12)
    np.testing.assert_allclose(layers.exact_kl(np.log(p), np.log(q)), 0.25 * math.log(2))
    np.testing.assert_allclose(layers.exact_kl(np.log(p), np.log(p)), 0, atol=1e-16)
    logits = normal(3, 4, 5)
    kl = layers.exact_kl(layers.log_softmax(logits), layers.log_softmax(logits[::-1]))
    assert (kl[[0, 2]] > 0).all()


# ---- the checker itself ---------------------------------------------------------------------


def test_numerical_gradient_of_a_polynomial_and_that_it_puts_everything_back():
    x = np.array([[1.0, -2.0], [0.5, 3.0]])
    kept = x.copy()
    np.testing.assert_allclose(numerical_gradient(lambda: float((x**3).sum()), x), 3 * x**2)
    np.testing.assert_array_equal(x, kept)


def test_numerical_gradient_refuses_float32_where_it_would_see_only_noise():
    with pytest.raises(TypeError, match="float32"):
        numerical_gradient(float, np.zeros(2, np.float32))


def test_relative_error():
    a = np.array([1.0, -4.0])
    assert relative_error(a, a) == 0 and relative_error(0 * a, 0 * a) == 0
    assert relative_error(a, -a) == 2 and relative_error(a, a + [0, 0.4]) == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"\(2,\) and \(1,\)"):
        relative_error(a, a[:1])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_never_right(bad):
    """Not (error < tolerance) is the question to ask: every comparison with NaN is false."""
    right, wrong = np.array([1.0, -4.0]), np.array([1.0, bad])
    assert not relative_error(wrong, right) < TOLERANCE
    assert not relative_error(right, wrong) < TOLERANCE


def test_compare_params_names_the_tensor_that_is_wrong():
    grads = params_of(wte=normal(3, 2), lnf_g=normal(2))
    wrong = grads.copy()
    wrong.lnf_g[1] *= -1
    errors = compare_params(grads, wrong)
    assert errors["wte"] == 0 and errors["lnf_g"] > 0.1
