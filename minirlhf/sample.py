"""Sampling: prompts -> responses, with a key-value cache.

A row is `<bos> prompt \\n` and grows one token at a time until EOS or the limit.  Prompts of
different lengths share a batch without left padding: every row writes at its own position, so
positions mean the same as in training.  The log-probability of each token is recorded at the
moment it is drawn, from the very numbers it was drawn from.

Nothing is filtered: no top-k, no banned token, no minimum length.  PPO needs samples from the
policy itself, and a filter would make every log-probability wrong.
"""

from typing import NamedTuple

import numpy as np

from minirlhf.data import pad_rows
from minirlhf.debugger_view import one_line
from minirlhf.gpt import GPTConfig, Params, lm_head_forward
from minirlhf.layers import (
    attention_forward,
    embedding_forward,
    gelu_forward,
    layernorm_forward,
    linear_forward,
    log_softmax,
    softmax,
)
from minirlhf.tokenizer import EOS, PAD


class Samples(NamedTuple):
    """B prompts with their responses, on the package's one alignment (data.py)."""

    tokens: np.ndarray  # (B, T+1)  <bos> prompt \n response <eos>, then PAD
    response_mask: np.ndarray  # (B, T)  1 where targets[:, t] was generated, EOS included
    logprobs: np.ndarray  # (B, T)  log pi(targets[:, t]) in nats where the mask is 1, else 0
    all_logprobs: np.ndarray  # (B, T, V)  the whole distribution at those places, else 0
    finished: np.ndarray  # (B,) bool  ended with EOS, not at the limit
    __repr__ = one_line


def sample(
    params: Params, config: GPTConfig, prompts: list[list[int]], max_new_tokens: int,
    rng: np.random.Generator, temperature=1.0,
) -> Samples:
    """list of B prompts (ids, BOS included), rng -> Samples.  Same rng state, same bytes.

    Row b uses its own max_new_tokens random numbers, so a row's answer does not depend on when
    its neighbours stop.  Raises ValueError if a prompt leaves no room for max_new_tokens.
    """
    lengths = np.array([len(ids) for ids in prompts])  # (B,)
    B, end = len(prompts), int(lengths.max()) + max_new_tokens
    if end > config.block_size:
        raise ValueError(
            f"prompt of {lengths.max()} ids + {max_new_tokens} new tokens "
            f"do not fit block_size {config.block_size}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, expected more than 0")
    uniforms = rng.random((B, max_new_tokens))

    dtype = params.flat.dtype
    tokens = np.full((B, end), PAD)  # (B, T+1)
    tokens[:, : lengths.max()] = pad_rows(prompts)
    response_mask = np.zeros((B, end - 1), dtype)  # (B, T)
    logprobs = np.zeros((B, end - 1), dtype)  # (B, T)
    all_logprobs = np.zeros((B, end - 1, config.vocab_size), dtype)  # (B, T, V)
    finished = np.zeros(B, bool)

    H, D = config.n_head, config.n_embd // config.n_head
    keys_values = np.zeros((config.n_layer, 2, B, H, end - 1, D), dtype)  # (L, 2, B, H, T, D)
    hidden = read_prompts(params, config, tokens, lengths, keys_values)  # (B, C)

    rows = np.arange(B)  # (R,)  the rows in the cache
    talking = np.ones(B, bool)  # (R,)  those of them that have not said EOS
    for step in range(max_new_tokens):
        positions = lengths[rows] + step  # (R,)  where each row's next token goes
        logits, _ = lm_head_forward(params, hidden)  # (R, V)
        distribution = log_softmax(logits / temperature)  # (R, V)
        chosen = draw(distribution, uniforms[rows, step])  # (R,)
        row, position, said = rows[talking], positions[talking], chosen[talking]
        tokens[row, position] = said
        response_mask[row, position - 1] = 1
        logprobs[row, position - 1] = distribution[talking, said]
        all_logprobs[row, position - 1] = distribution[talking]

        finished[row] = said == EOS
        talking &= chosen != EOS
        if step == max_new_tokens - 1 or not talking.any():
            break
        # shrinking the cache costs a copy, so not at every EOS
        if talking.sum() < 0.75 * len(talking):
            rows, chosen, positions = rows[talking], chosen[talking], positions[talking]
            keys_values = keys_values[:, :, talking]
            talking = np.ones(len(rows), bool)
        hidden = decode_step(params, config, chosen, positions, keys_values)  # (R, C)

    T = int(response_mask.any(axis=0).nonzero()[0][-1]) + 1  # the longest row
    return Samples(
        tokens=tokens[:, : T + 1], response_mask=response_mask[:, :T], logprobs=logprobs[:, :T],
        all_logprobs=all_logprobs[:, :T], finished=finished,
    )


def draw(distribution: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """Inverse-CDF sampling.  log-probs (R, V), uniforms (R,) in [0, 1) -> ids (R,)."""
    cdf = np.exp(distribution).cumsum(axis=-1)  # (R, V)
    return (cdf <= uniforms[:, None] * cdf[:, -1:]).sum(axis=-1)


def read_prompts(
    params: Params, config: GPTConfig, tokens: np.ndarray, lengths: np.ndarray,
    keys_values: np.ndarray,
) -> np.ndarray:
    """tokens (B, T+1), prompts of lengths (B,) -> hidden (B, C) after each prompt's last token.

    gpt_forward that writes keys and values into keys_values (L, 2, B, H, T, D).
    """
    p = params
    B, P = len(tokens), int(lengths.max())
    x, _ = embedding_forward(tokens[:, :P], p.wte, p.wpe)  # (B, P, C)
    for l in range(config.n_layer):
        h, _ = layernorm_forward(x, p.ln1_g[l], p.ln1_b[l])
        h, _ = linear_forward(h, p.qkv_w[l], p.qkv_b[l])  # (B, P, 3C)
        h, attention = attention_forward(h, config.n_head)  # (B, P, C)
        # what lies behind a short prompt's end is overwritten before anyone looks at it
        keys, values = keys_values[l]  # each (B, H, T, D)
        keys[:, :, :P], values[:, :, :P] = attention.k, attention.v
        if l == config.n_layer - 1:  # from here on only the last token is read: 1.3x faster
            x, h = x[np.arange(B), lengths - 1], h[np.arange(B), lengths - 1]  # each (B, C)
        x = finish_block(params, l, x, h)
    hidden, _ = layernorm_forward(x, p.lnf_g, p.lnf_b)  # (B, C)
    return hidden


def finish_block(params: Params, l: int, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The second half of block l: x (..., C) and what attention found, h (..., C) -> x (..., C)."""
    p = params
    h, _ = linear_forward(h, p.proj_w[l], p.proj_b[l])
    x = x + h
    h, _ = layernorm_forward(x, p.ln2_g[l], p.ln2_b[l])
    h, _ = linear_forward(h, p.fc_w[l], p.fc_b[l])  # (..., 4C)
    h, _ = gelu_forward(h)
    h, _ = linear_forward(h, p.out_w[l], p.out_b[l])
    return x + h


def decode_step(
    params: Params, config: GPTConfig, ids: np.ndarray, positions: np.ndarray,
    keys_values: np.ndarray,
) -> np.ndarray:
    """One token further for R rows.  ids (R,), positions (R,) -> hidden (R, C).

    gpt_forward for a single position per row; the past comes from keys_values
    (L, 2, R, H, T, D), which gets the new position written in place.
    """
    p = params
    R, H, D = len(ids), config.n_head, config.n_embd // config.n_head
    T = int(positions.max()) + 1
    future = np.where(np.arange(T) > positions[:, None], -np.inf, 0)  # (R, T)
    future = future.astype(p.flat.dtype)[:, None]  # (R, 1, T)
    x = p.wte[ids] + p.wpe[positions]  # (R, C)
    for l in range(config.n_layer):
        h, _ = layernorm_forward(x, p.ln1_g[l], p.ln1_b[l])
        h, _ = linear_forward(h, p.qkv_w[l], p.qkv_b[l])  # (R, 3C)
        qkv = h.reshape(R, 3, H, D)
        keys_values[l, :, np.arange(R), :, positions] = qkv[:, 1:]
        keys, values = keys_values[l, :, :, :, :T]  # each (R, H, T, D)
        # keys @ q is the product that is 1.5x faster than q @ keys.T
        scores = (keys @ qkv[:, 0, :, :, None])[..., 0]  # (R, H, T)
        probs = softmax(scores * D**-0.5 + future)  # (R, H, T)
        h = (probs[:, :, None] @ values).reshape(R, H * D)  # (R, C)
        x = finish_block(params, l, x, h)
    hidden, _ = layernorm_forward(x, p.lnf_g, p.lnf_b)
    return hidden
