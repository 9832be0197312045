"""Every forward/backward pair of layers.py and gpt.py with inputs to try it on, and its check.

A layer is a function y = f(x, w, ...).  Its backward pass turns any upstream gradient dy into the
gradients of sum(dy * f).  So we draw dy at random (all ones would hide errors: softmax of anything
sums to 1), nudge every entry of every input up and down, and compare.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from minirlhf import gpt, layers
from minirlhf.gpt import Params
from minirlhf.gradcheck import numerical_gradient, relative_error


class Case(NamedTuple):
    """One forward/backward pair and inputs to try it on."""

    module: Any  # where the pair lives
    arrays: dict  # the differentiable inputs by name, float64
    forward: Any  # (module, *arrays) -> y, cache
    backward: Any  # (module, dy, cache, *arrays) -> gradients, in the order of arrays


def normal(*shape):
    """Random float64 numbers, the same ones for the same shape; nowhere 0 or 1 on purpose."""
    return np.random.default_rng(sum(shape)).normal(0.3, 1, shape)


def params_of(**arrays):
    """Params that hold just these arrays."""
    dtype = next(iter(arrays.values())).dtype
    params = Params({name: array.shape for name, array in arrays.items()}, dtype)
    for name, array in arrays.items():
        params[name][...] = array
    return params


# no two sizes of a case are equal, so that a swapped axis cannot go unnoticed
IDS = np.array([[3, 1, 3, 0], [1, 6, 2, 2]])  # (B, T) = (2, 4); 3, 1 and 2 occur twice
CASES = {
    "linear": Case(
        layers,
        {"x": normal(2, 3, 5), "w": normal(5, 4), "b": normal(4)},
        lambda m, x, w, b: m.linear_forward(x, w, b),
        lambda m, dy, cache, *_: m.linear_backward(dy, cache),
    ),
    "embedding": Case(
        layers,
        {"wte": normal(7, 3), "wpe": normal(6, 3)},  # 6 positions, of which 4 are used
        lambda m, wte, wpe: m.embedding_forward(IDS, wte, wpe),
        lambda m, dy, cache, *_: m.embedding_backward(dy, cache),
    ),
    "layernorm": Case(
        layers,
        {"x": 2 * normal(2, 3, 5) + 1, "gain": normal(5) + 1, "bias": normal(1, 5)[0]},
        lambda m, x, gain, bias: m.layernorm_forward(x, gain, bias),
        lambda m, dy, cache, *_: m.layernorm_backward(dy, cache),
    ),
    "gelu": Case(
        layers,
        {"x": 2 * normal(2, 3, 5)},
        lambda m, x: m.gelu_forward(x),
        lambda m, dy, cache, *_: m.gelu_backward(dy, cache),
    ),
    "attention": Case(
        layers,
        {"qkv": normal(2, 5, 3 * 3 * 4)},  # B 2, T 5, H 3, D 4
        lambda m, qkv: m.attention_forward(qkv, 3),
        lambda m, dy, cache, *_: m.attention_backward(dy, cache),
    ),
    "softmax": Case(
        layers,
        {"x": normal(2, 3, 5)},
        lambda m, x: (m.softmax(x), m.softmax(x)),  # what it returns is all that backward needs
        lambda m, dy, probs, *_: m.softmax_backward(dy, probs),
    ),
    "token_logprobs": Case(
        layers,
        {"logits": normal(2, 4, 7)},
        lambda m, logits: m.token_logprobs_forward(logits, IDS),
        lambda m, dy, cache, *_: m.token_logprobs_backward(dy, cache),
    ),
    "entropy": Case(
        layers,
        {"logits": normal(2, 4, 7)},
        lambda m, logits: m.entropy_forward(logits),
        lambda m, dy, cache, *_: m.entropy_backward(dy, cache),
    ),
    "lm_head": Case(
        gpt,
        {"hidden": normal(2, 3, 5), "wte": normal(7, 5)},
        lambda m, hidden, wte: m.lm_head_forward(params_of(wte=wte), hidden),
        lambda m, dy, cache, _, wte: m.lm_head_backward(params_of(wte=wte), dy, cache),
    ),
    "lm_head untied": Case(
        gpt,
        {"hidden": normal(2, 3, 5), "lm_w": normal(7, 5)},
        lambda m, hidden, lm_w: m.lm_head_forward(params_of(wte=lm_w + 1, lm_w=lm_w), hidden),
        lambda m, dy, cache, _, w: m.lm_head_backward(params_of(wte=w + 1, lm_w=w), dy, cache),
    ),
    "scalar_head": Case(
        gpt,
        {"hidden": normal(2, 3, 5), "head_w": normal(5), "head_b": normal(1)},
        lambda m, hidden, w, b: m.scalar_head_forward(params_of(head_w=w, head_b=b), hidden),
        lambda m, dy, cache, _, w, b: m.scalar_head_backward(
            params_of(head_w=w, head_b=b), dy, cache
        ),
    ),
}


def as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


def with_dtype(case, dtype):
    return [array.astype(dtype) for array in case.arrays.values()]


def run(name, dtype=np.float64, module=None):
    """-> y, cache, dy, gradients of one case."""
    case = CASES[name]
    module = module or case.module
    arrays = with_dtype(case, dtype)
    y, cache = case.forward(module, *arrays)
    dy = np.random.default_rng(1).normal(size=y.shape).astype(dtype)
    return y, cache, dy, as_tuple(case.backward(module, dy, cache, *arrays))


@functools.cache
def expected_gradients(name):
    """{input name: gradient of sum(dy * y)} by finite differences of the forward pass."""
    case = CASES[name]
    arrays = with_dtype(case, np.float64)
    dy = run(name)[2]

    def projected():
        return float((dy * case.forward(case.module, *arrays)[0]).sum())

    return {
        key: numerical_gradient(projected, array)
        for key, array in zip(case.arrays, arrays, strict=True)
    }


def layer_errors(name, module=None):
    """{input name: relative error of its gradient}.  `module` may be a broken copy."""
    gradients = run(name, module=module)[3]
    expected = expected_gradients(name)
    return {
        key: relative_error(gradient, expected[key])
        for key, gradient in zip(expected, gradients, strict=True)
    }
