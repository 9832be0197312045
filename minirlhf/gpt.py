"""A tiny GPT-2: the trunk, two heads that can sit on it, and the gradients of all of it.

The architecture is GPT-2's (Radford et al. 2019): learned positions, LayerNorm before each
sub-layer, fused query-key-value projection, tanh GELU, and a head that shares the token embedding
unless `tied_head` is off.  Forward reads top to bottom, backward bottom to top, with the same
names.  Backward must come before the optimiser's step: a cache holds views of the weights.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirlhf.debugger_view import fit, one_line
from minirlhf.layers import (
    attention_backward,
    attention_forward,
    column_sum,
    embedding_backward,
    embedding_forward,
    gelu_backward,
    gelu_forward,
    layernorm_backward,
    layernorm_forward,
    linear_backward,
    linear_forward,
)


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """Sizes of a model.  (vocab_size, block_size, n_layer, n_head, n_embd) is the whole shape."""

    vocab_size: int  # V, PAD, BOS and EOS included
    block_size: int = 64  # S, the longest text in tokens
    n_layer: int = 2
    n_head: int = 2
    n_embd: int = 64  # C
    tied_head: bool = True  # the language-model head is wte, as in GPT-2
    init_std: float = 0.08  # GPT-2 uses 0.02; a narrow model learns faster from larger weights

    def __post_init__(self):
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ValueError(f"GPTConfig.{name} is {getattr(self, name)}, expected 1 or more")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd {self.n_embd} is not a multiple of n_head {self.n_head}")


class Params:
    """Every weight of one model in one flat vector; each name is a view into it, never a copy.

    `params.wte[...] = x` or `params["wte"][...] = x` changes the model; `params.wte = x` would
    leave the flat vector, and raises.
    """

    # declared for editors, which complete them; param_shapes says which ones a model has
    flat: np.ndarray  # (P,)
    shapes: dict[str, tuple]
    wte: np.ndarray  # (V, C) token embedding
    wpe: np.ndarray  # (S, C) position embedding
    ln1_g: np.ndarray  # (L, C) LayerNorm before attention
    ln1_b: np.ndarray
    qkv_w: np.ndarray  # (L, C, 3C) queries, keys, values
    qkv_b: np.ndarray
    proj_w: np.ndarray  # (L, C, C) attention back to the residual stream
    proj_b: np.ndarray
    ln2_g: np.ndarray  # (L, C) LayerNorm before the MLP
    ln2_b: np.ndarray
    fc_w: np.ndarray  # (L, C, 4C) MLP, up
    fc_b: np.ndarray
    out_w: np.ndarray  # (L, 4C, C) MLP, down to the residual stream
    out_b: np.ndarray
    lnf_g: np.ndarray  # (C,) final LayerNorm
    lnf_b: np.ndarray
    lm_w: np.ndarray  # (V, C) language-model head of its own, where it is not tied
    head_w: np.ndarray  # (C,) one number per position: reward model, value function
    head_b: np.ndarray  # (1,)

    def __init__(self, shapes: dict[str, tuple], dtype=np.float32):
        vars(self).update(shapes=shapes, flat=np.zeros(sum(map(math.prod, shapes.values())), dtype))
        start = 0
        for name, shape in shapes.items():
            end = start + math.prod(shape)
            vars(self)[name] = self.flat[start:end].reshape(shape)
            start = end

    def __getitem__(self, name: str) -> np.ndarray:
        return vars(self)[name]

    def __setattr__(self, name, value):
        if value is not vars(self).get(name):
            raise AttributeError(f"write params.{name}[...] = value, so that params.flat sees it")

    def __repr__(self):
        parts = [f"{name} {shape}" for name, shape in self.shapes.items()]
        return fit(f"Params({self.flat.size} x {self.flat.dtype}: ", parts)

    def copy(self) -> "Params":
        """-> Params with the same values and its own memory."""
        twin = Params(self.shapes, self.flat.dtype)
        twin.flat[...] = self.flat
        return twin


def param_shapes(config: GPTConfig, scalar_head=False) -> dict[str, tuple]:
    """The weights that a model has, as {name: shape}; Params says what each is for.

    The layer is the leading axis L of every weight of a block.
    """
    V, S, L, C = config.vocab_size, config.block_size, config.n_layer, config.n_embd
    shapes = {
        "wte": (V, C),
        "wpe": (S, C),
        "ln1_g": (L, C),
        "ln1_b": (L, C),
        "qkv_w": (L, C, 3 * C),
        "qkv_b": (L, 3 * C),
        "proj_w": (L, C, C),
        "proj_b": (L, C),
        "ln2_g": (L, C),
        "ln2_b": (L, C),
        "fc_w": (L, C, 4 * C),
        "fc_b": (L, 4 * C),
        "out_w": (L, 4 * C, C),
        "out_b": (L, C),
        "lnf_g": (C,),
        "lnf_b": (C,),
    }
    if not config.tied_head:
        shapes["lm_w"] = (V, C)
    if scalar_head:
        shapes["head_w"] = (C,)
        shapes["head_b"] = (1,)
    return shapes


def init_params(
    config: GPTConfig, rng: np.random.Generator, dtype=np.float32, scalar_head=False
) -> Params:
    """Random weights: normal(0, init_std), gains 1, biases 0; GPT-2's 1/sqrt(2L) on the two
    projections into the residual stream; the scalar head starts at 0."""
    params = Params(param_shapes(config, scalar_head), dtype)
    for name in params.shapes:
        view = params[name]
        if name in ("wte", "wpe", "qkv_w", "proj_w", "fc_w", "out_w", "lm_w"):
            view[...] = rng.normal(0, config.init_std, view.shape)
        if name in ("ln1_g", "ln2_g", "lnf_g"):
            view[...] = 1
    params.proj_w[...] *= (2 * config.n_layer) ** -0.5
    params.out_w[...] *= (2 * config.n_layer) ** -0.5
    return params


def with_scalar_head(
    params: Params, config: GPTConfig, rng: np.random.Generator | None = None
) -> Params:
    """A copy of a language model with a new scalar head.

    rng None: the head is 0 (a value function starts with no opinion).  Else normal with standard
    deviation 1/sqrt(C + 1), as the reward model of Ziegler et al. 2019, arXiv 1909.08593.
    """
    model = Params(param_shapes(config, scalar_head=True), params.flat.dtype)
    for name in model.shapes:
        if name in params.shapes and name not in ("head_w", "head_b"):
            model[name][...] = params[name]
    if rng is not None:
        model.head_w[...] = rng.normal(0, (config.n_embd + 1) ** -0.5, model.head_w.shape)
    return model


# ---- trunk ----------------------------------------------------------------------------------


class BlockCache(NamedTuple):
    ln1: tuple
    qkv: tuple
    attention: NamedTuple  # AttentionCache: look at .probs
    proj: tuple
    ln2: tuple
    fc: tuple
    gelu: tuple
    out: tuple
    __repr__ = one_line


class GPTCache(NamedTuple):
    embedding: tuple
    blocks: list  # of L BlockCache
    lnf: tuple
    __repr__ = one_line


def gpt_forward(
    params: Params, config: GPTConfig, inputs: np.ndarray
) -> tuple[np.ndarray, GPTCache]:
    """inputs (B, T) ids -> hidden (B, T, C), GPTCache.  hidden[:, t] has read inputs[:, :t + 1]."""
    if inputs.shape[1] > config.block_size:
        raise ValueError(f"inputs {inputs.shape} longer than block_size {config.block_size}")
    p = params
    x, embedding = embedding_forward(inputs, p.wte, p.wpe)  # (B, T, C)
    blocks = []
    for l in range(config.n_layer):
        h, ln1 = layernorm_forward(x, p.ln1_g[l], p.ln1_b[l])
        h, qkv = linear_forward(h, p.qkv_w[l], p.qkv_b[l])  # (B, T, 3C)
        h, attention = attention_forward(h, config.n_head)  # (B, T, C)
        h, proj = linear_forward(h, p.proj_w[l], p.proj_b[l])
        x = x + h
        h, ln2 = layernorm_forward(x, p.ln2_g[l], p.ln2_b[l])
        h, fc = linear_forward(h, p.fc_w[l], p.fc_b[l])  # (B, T, 4C)
        h, gelu = gelu_forward(h)
        h, out = linear_forward(h, p.out_w[l], p.out_b[l])  # (B, T, C)
        x = x + h
        blocks.append(
            BlockCache(
                ln1=ln1, qkv=qkv, attention=attention, proj=proj, ln2=ln2, fc=fc, gelu=gelu, out=out
            )
        )
    hidden, lnf = layernorm_forward(x, p.lnf_g, p.lnf_b)
    return hidden, GPTCache(embedding=embedding, blocks=blocks, lnf=lnf)


def gpt_backward(
    params: Params, config: GPTConfig, dhidden: np.ndarray, cache: GPTCache
) -> Params:
    """dhidden (B, T, C) -> grads, a fresh Params.  The gradients of the heads are left at 0."""
    g = Params(params.shapes, params.flat.dtype)
    dx, g.lnf_g[...], g.lnf_b[...] = layernorm_backward(dhidden, cache.lnf)
    for l in reversed(range(config.n_layer)):
        c = cache.blocks[l]
        dh, g.out_w[l], g.out_b[l] = linear_backward(dx, c.out)
        dh = gelu_backward(dh, c.gelu)
        dh, g.fc_w[l], g.fc_b[l] = linear_backward(dh, c.fc)
        dh, g.ln2_g[l], g.ln2_b[l] = layernorm_backward(dh, c.ln2)
        dx = dx + dh  # x + h: the gradient goes both ways
        dh, g.proj_w[l], g.proj_b[l] = linear_backward(dx, c.proj)
        dh = attention_backward(dh, c.attention)
        dh, g.qkv_w[l], g.qkv_b[l] = linear_backward(dh, c.qkv)
        dh, g.ln1_g[l], g.ln1_b[l] = layernorm_backward(dh, c.ln1)
        dx = dx + dh
    g.wte[...], g.wpe[...] = embedding_backward(dx, cache.embedding)
    return g


# ---- heads ----------------------------------------------------------------------------------


def lm_head_weight(params: Params) -> np.ndarray:
    """Params (weights or gradients) -> the (V, C) array of the language-model head."""
    return params.lm_w if "lm_w" in params.shapes else params.wte


def lm_head_forward(params: Params, hidden: np.ndarray) -> tuple[np.ndarray, tuple]:
    """hidden (B, T, C) -> logits (B, T, V), cache."""
    w = lm_head_weight(params)
    rows = hidden.reshape(-1, hidden.shape[-1])  # (B*T, C)
    logits = rows @ w.T  # (B*T, V)
    return logits.reshape(hidden.shape[:-1] + (len(w),)), (rows, w)


def lm_head_backward(
    params: Params, dlogits: np.ndarray, cache: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """dlogits (B, T, V) -> dhidden (B, T, C), dw (V, C).

    The caller adds dw to lm_head_weight(grads): `+=`, because a tied wte has two uses, as lookup
    and as head, and its gradient is the sum of both.
    """
    rows, w = cache
    dlogits_rows = dlogits.reshape(-1, len(w))  # (B*T, V)
    dhidden = (dlogits_rows @ w).reshape(dlogits.shape[:-1] + (w.shape[1],))  # (B, T, C)
    return dhidden, dlogits_rows.T @ rows


def scalar_head_forward(params: Params, hidden: np.ndarray) -> tuple[np.ndarray, tuple]:
    """hidden (B, T, C) -> values (B, T), cache.  One number per position."""
    values = hidden @ params.head_w + params.head_b  # (B, T)
    return values, (hidden, params.head_w)


def scalar_head_backward(
    params: Params, dvalues: np.ndarray, cache: tuple
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dvalues (B, T) -> dhidden (B, T, C), dhead_w (C,), dhead_b (1,)."""
    hidden, head_w = cache
    dhidden = dvalues[..., None] * head_w  # (B, T, C)
    dhead_w = dvalues.reshape(-1) @ hidden.reshape(-1, len(head_w))  # (C,)
    dhead_b = column_sum(dvalues.reshape(-1, 1))  # (1,)
    return dhidden, dhead_w, dhead_b
