"""A tiny world: two padded rows of tokens, and models with every weight random."""

import numpy as np

from minirlhf.gpt import (
    GPTConfig,
    Params,
    gpt_forward,
    lm_head_forward,
    param_shapes,
    scalar_head_forward,
)
from minirlhf.layers import log_softmax
from minirlhf.tokenizer import BOS, EOS, PAD

V = 7  # PAD, BOS, EOS and four characters
# two rows of different length, a prompt of two ids each: B 2, T 5
TOKENS = np.array([[BOS, 4, 3, 5, 6, EOS], [BOS, 5, 6, EOS, PAD, PAD]])
INPUTS, TARGETS = TOKENS[:, :-1], TOKENS[:, 1:]
MASK = np.array([[0, 1, 1, 1, 1], [0, 1, 1, 0, 0]], float)  # response and EOS


def tiny_config(tied=True, n_layer=2):
    return GPTConfig(
        vocab_size=V, block_size=9, n_layer=n_layer, n_head=2, n_embd=4, tied_head=tied
    )


def random_params(config, seed=0, scalar_head=False, dtype=np.float64):
    """Every weight random, gains and biases too, and large enough that every path matters."""
    rng = np.random.default_rng(seed)
    params = Params(param_shapes(config, scalar_head), dtype)
    params.flat[...] = rng.normal(0, 0.5, params.flat.size)
    for name in ("ln1_g", "ln2_g", "lnf_g"):
        params[name][...] += 1
    return params


def plain_logprobs(params, config, inputs, targets):
    """log pi(target), by the plain forward pass, (B, T)."""
    logits, _ = lm_head_forward(params, gpt_forward(params, config, inputs)[0])
    return np.take_along_axis(log_softmax(logits), targets[..., None], -1)[..., 0]


def plain_values(params, config, inputs):
    return scalar_head_forward(params, gpt_forward(params, config, inputs)[0])[0]


def params_bytes(*models):
    """The bytes of several models, to see whether anything has changed."""
    return [params.flat.tobytes() for params in models]


# ratios and advantages of the six response tokens: both signs, below, inside and above the range
# (what stands outside the response is nonsense, and must not matter)
RATIO = np.array([[7, 0.6, 1.1, 1.5, 0.9], [7, 0.7, 1.6, 7, 7]])
ADVANTAGE = np.array([[5, 0.8, 1.3, 0.9, -1.1], [5, -0.7, -1.2, 5, 5]])
# how far each value has moved since the rollout, and what it should have been
MOVED = np.array([[9, 0.1, 0.5, -0.6, -0.1], [9, 0.7, -0.4, 9, 9]])
ERROR = np.array([[-9, 0.9, -0.8, 0.7, -0.6], [9, 0.5, -0.9, -9, 9]])
