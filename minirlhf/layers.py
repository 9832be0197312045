"""Every layer as a pair: a forward pass and, below it, its gradient by hand.

The convention, the same for every pair in the package:

    y, cache = f_forward(x, w, b)           cache holds what the backward pass needs
    dx, dw, db = f_backward(dy, cache)      gradients come back in the order the inputs went in

`d<name>` is the derivative of the loss with respect to `<name>` and has exactly its shape.
No backward writes into its arguments.  Arrays keep the dtype of the weights: float32 in training,
float64 in gradient checks.  (NumPy 2 turns `float32_array / np.sqrt(64)` into float64, because
np.sqrt returns a NumPy scalar.  That is why you see `D**-0.5`, a Python float, below.)

Letters: B batch, T time, C channels, H heads, D = C / H channels of one head, V vocabulary.
"""

import math
from typing import NamedTuple

import numpy as np

from minirlhf.debugger_view import one_line

# glibc gives every array over 128 kB back to the system when it is freed, and the next one costs
# fresh page faults.  Freeing one array just below 32 MB raises that limit for the life of the
# process: a forward pass becomes 2.4x faster on Linux.  Elsewhere this line does nothing.
np.empty(31 * 2**20, np.uint8)

LAYERNORM_EPS = 1e-5  # GPT-2's
GELU_SCALE = math.sqrt(2 / math.pi)  # Hendrycks & Gimpel 2016, arXiv 1606.08415, section 2
GELU_CUBIC = 0.044715  # the same


# ---- linear ---------------------------------------------------------------------------------


def linear_forward(
    x: np.ndarray, w: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray, tuple]:
    """y = x w + b.  x (B, T, I), w (I, O), b (O,) -> y (B, T, O), cache."""
    rows = x.reshape(-1, x.shape[-1])  # (B*T, I)  one big product beats B small ones
    y = rows @ w  # (B*T, O)
    y += b
    return y.reshape(x.shape[:-1] + b.shape), (rows, w, x.shape)


def linear_backward(dy: np.ndarray, cache: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dy (B, T, O) -> dx (B, T, I), dw (I, O), db (O,)."""
    rows, w, x_shape = cache
    dy = dy.reshape(-1, w.shape[1])  # (B*T, O)
    dx = (dy @ w.T).reshape(x_shape)  # (B, T, I)
    dw = rows.T @ dy  # (I, O)
    db = column_sum(dy)  # (O,)
    return dx, dw, db


def column_sum(x: np.ndarray) -> np.ndarray:
    """x (N, C) -> (C,), the sum over rows.  As a product with ones it is 2x faster than .sum(0)."""
    return np.ones(len(x), x.dtype) @ x


# ---- embedding ------------------------------------------------------------------------------


def embedding_forward(
    inputs: np.ndarray, wte: np.ndarray, wpe: np.ndarray
) -> tuple[np.ndarray, tuple]:
    """Token plus position embedding.  inputs (B, T) ids, wte (V, C), wpe (S, C) -> x (B, T, C)."""
    x = wte[inputs] + wpe[: inputs.shape[1]]  # (B, T, C)
    return x, (inputs, wte.shape, wpe.shape)


def embedding_backward(dx: np.ndarray, cache: tuple) -> tuple[np.ndarray, np.ndarray]:
    """dx (B, T, C) -> dwte (V, C), dwpe (S, C).  The ids have no gradient."""
    inputs, (V, C), wpe_shape = cache
    # A lookup is a product with one-hot rows, wte[inputs] = onehot @ wte, so its gradient is
    # onehot.T @ dx.  That is also 10x faster than np.add.at.
    onehot = (inputs.reshape(-1, 1) == np.arange(V)).astype(dx.dtype)  # (B*T, V)
    dwte = onehot.T @ dx.reshape(-1, C)  # (V, C)
    dwpe = np.zeros(wpe_shape, dx.dtype)  # (S, C)
    dwpe[: dx.shape[1]] = dx.sum(axis=0)
    return dwte, dwpe


# ---- layer normalisation --------------------------------------------------------------------


def layernorm_forward(
    x: np.ndarray, gain: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, tuple]:
    """Ba et al. 2016, arXiv 1607.06450, eq. 4.  x (B, T, C), gain (C,), bias (C,) -> y, cache."""
    C = x.shape[-1]
    rows = x.reshape(-1, C)  # (B*T, C)
    average = np.full((C, 1), 1 / C, x.dtype)  # rows @ average: 5x faster than rows.mean(-1)
    centred = rows - rows @ average  # (B*T, C)
    variance = np.einsum("nc,nc->n", centred, centred)[:, None] / C  # (B*T, 1)
    rstd = 1 / np.sqrt(variance + LAYERNORM_EPS)  # (B*T, 1)
    xhat = centred
    del centred  # the same array, scaled in place, is xhat from here on
    xhat *= rstd  # (B*T, C)  mean 0, variance 1 in every row
    y = (xhat * gain + bias).reshape(x.shape)  # (B, T, C)
    return y, (xhat, rstd, gain)


def layernorm_backward(dy: np.ndarray, cache: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dy (B, T, C) -> dx (B, T, C), dgain (C,), dbias (C,)."""
    xhat, rstd, gain = cache
    C = len(gain)
    rows = dy.reshape(-1, C)  # (B*T, C)
    dgain = np.einsum("nc,nc->c", rows, xhat)  # (C,)
    dbias = column_sum(rows)  # (C,)
    dxhat = rows * gain  # (B*T, C)
    # The mean and the variance depend on x too.  Their two paths remove from dxhat its mean and
    # its component along xhat: a row can be shifted or scaled without changing y.
    mean_dxhat = dxhat @ np.full((C, 1), 1 / C, dy.dtype)  # (B*T, 1)
    mean_dxhat_xhat = np.einsum("nc,nc->n", dxhat, xhat)[:, None] / C  # (B*T, 1)
    dx = dxhat - mean_dxhat  # (B*T, C)
    dx -= xhat * mean_dxhat_xhat
    dx *= rstd
    return dx.reshape(dy.shape), dgain, dbias


# ---- GELU -----------------------------------------------------------------------------------


def gelu_forward(x: np.ndarray) -> tuple[np.ndarray, tuple]:
    """GELU, tanh form of GPT-2.  x (..., C) -> y, cache.

    y = x * gate, gate = 0.5 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3).
    Products, not x**3: powers of float arrays are 20x slower.
    """
    u = (x * x * (GELU_SCALE * GELU_CUBIC) + GELU_SCALE) * x  # (..., C)
    gate = np.tanh(u, out=u)  # in place, here and below: 1.2x faster forward, 1.3x backward
    del u  # the same array is the gate from here on
    gate *= 0.5
    gate += 0.5
    return x * gate, (x, gate)


def gelu_backward(dy: np.ndarray, cache: tuple) -> np.ndarray:
    """dy (..., C) -> dx (..., C)."""
    x, gate = cache
    # dy/dx = gate + x dgate/du du/dx = gate (1 + (1 - gate) 2 x du/dx)
    slope = (x * x * (6 * GELU_SCALE * GELU_CUBIC) + 2 * GELU_SCALE) * x  # 2 x du/dx
    slope *= 1 - gate
    slope += 1
    slope *= gate  # dy/dx
    dx = slope
    del slope  # the same array is dx from here on
    dx *= dy
    return dx


# ---- attention ------------------------------------------------------------------------------


class AttentionCache(NamedTuple):
    q: np.ndarray  # (B, H, T, D)
    k: np.ndarray  # (B, H, T, D)
    v: np.ndarray  # (B, H, T, D)
    probs: np.ndarray  # (B, H, T, T)  row t says how much position t looks at columns 0..t
    __repr__ = one_line


def attention_forward(qkv: np.ndarray, n_head: int) -> tuple[np.ndarray, AttentionCache]:
    """Causal self-attention, Vaswani et al. 2017, arXiv 1706.03762, eq. 1.

    qkv (B, T, 3C): queries, keys and values side by side -> y (B, T, C), AttentionCache.
    """
    B, T, C3 = qkv.shape
    D = C3 // 3 // n_head
    q, k, v = qkv.reshape(B, T, 3, n_head, D).transpose(2, 0, 3, 1, 4)  # each (B, H, T, D)
    # .copy(): a product with the transposed view takes 1.2x as long, copy included
    scores = q @ k.swapaxes(-1, -2).copy()  # (B, H, T, T)
    scores *= D**-0.5
    future = np.triu(np.full((T, T), -np.inf, scores.dtype), 1)  # (T, T)  0 on and below diagonal
    scores += future
    probs = softmax(scores)  # (B, H, T, T)
    y = (probs @ v).swapaxes(1, 2).reshape(B, T, C3 // 3)  # (B, T, C)
    return y, AttentionCache(q=q, k=k, v=v, probs=probs)


def attention_backward(dy: np.ndarray, cache: AttentionCache) -> np.ndarray:
    """dy (B, T, C) -> dqkv (B, T, 3C)."""
    q, k, v, probs = cache
    B, H, T, D = q.shape
    dy = dy.reshape(B, T, H, D).swapaxes(1, 2)  # (B, H, T, D)
    dqkv = np.empty((B, T, 3, H, D), dy.dtype)
    dq, dk, dv = dqkv.transpose(2, 0, 3, 1, 4)  # views into dqkv, each (B, H, T, D)
    # out=dv saves the copy of `dv[...] = ...`: with dq and dk, 1.2x faster
    np.matmul(probs.swapaxes(-1, -2), dy, out=dv)
    dprobs = dy @ v.swapaxes(-1, -2).copy()  # (B, H, T, T)
    dscores = softmax_backward(dprobs, probs)  # (B, H, T, T)
    dscores *= D**-0.5
    np.matmul(dscores, k, out=dq)
    np.matmul(dscores.swapaxes(-1, -2), q, out=dk)
    return dqkv.reshape(B, T, 3 * H * D)


# ---- softmax and the log-probability of a token ---------------------------------------------


def softmax(x: np.ndarray) -> np.ndarray:
    """x (..., N) -> probabilities (..., N) that sum to 1.  -inf becomes exactly 0."""
    ones = np.ones((x.shape[-1], 1), x.dtype)
    with np.errstate(over="ignore"):
        weights = np.exp(x)  # (..., N)
    total = weights @ ones  # (..., 1)  the row sum, 3x faster than .sum(-1)
    # Shifting a row by its maximum cancels, and takes longer than all the rest (2.2x).  So only
    # those rows are shifted whose sum says that exp came near the end of its range.
    wild = ~((total > 1e-20) & (total < 1e20))[..., 0]  # (...)
    if wild.any():
        weights[wild] = np.exp(x[wild] - x[wild].max(axis=-1, keepdims=True))
        total[wild] = weights[wild] @ ones
    probs = weights
    del weights  # the same array, divided in place, is probs from here on
    probs /= total
    return probs


def softmax_backward(dprobs: np.ndarray, probs: np.ndarray) -> np.ndarray:
    """dprobs (..., N), probs (..., N) -> dx (..., N).  dx_i = p_i (dp_i - sum_j p_j dp_j)."""
    dx = dprobs - np.einsum("...n,...n->...", dprobs, probs)[..., None]
    dx *= probs
    return dx


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """logits (..., V) -> log-probabilities (..., V), in nats."""
    ones = np.ones((logits.shape[-1], 1), logits.dtype)
    shifted = logits - logits.max(axis=-1, keepdims=True)  # (..., V)
    log_total = np.log(np.exp(shifted) @ ones)  # (..., 1)
    return shifted - log_total


def token_logprobs_forward(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, tuple]:
    """log pi(target).  logits (B, T, V), targets (B, T) ids -> logprobs (B, T) in nats, cache.

    Every loss on a language model is a function of these numbers, so this pair serves them all.
    """
    all_logprobs = log_softmax(logits)  # (B, T, V)
    logprobs = np.take_along_axis(all_logprobs, targets[..., None], axis=-1)[..., 0]  # (B, T)
    return logprobs, (all_logprobs, targets)


def token_logprobs_backward(dlogprobs: np.ndarray, cache: tuple) -> np.ndarray:
    """dlogprobs (B, T) -> dlogits (B, T, V).  d log p_y / d logits = onehot(y) - p."""
    all_logprobs, targets = cache
    V = all_logprobs.shape[-1]
    dlogits = np.exp(all_logprobs) * -dlogprobs[..., None]  # (B, T, V)
    rows = dlogits.reshape(-1, V)  # (B*T, V)  a view
    rows[np.arange(len(rows)), targets.reshape(-1)] += dlogprobs.reshape(-1)
    return dlogits


def entropy_forward(logits: np.ndarray) -> tuple[np.ndarray, tuple]:
    """Entropy of softmax(logits).  logits (B, T, V) -> entropy (B, T) in nats, cache."""
    all_logprobs = log_softmax(logits)  # (B, T, V)
    probs = np.exp(all_logprobs)  # (B, T, V)
    entropy = -(probs * all_logprobs).sum(axis=-1)  # (B, T)
    return entropy, (probs, all_logprobs, entropy)


def entropy_backward(dentropy: np.ndarray, cache: tuple) -> np.ndarray:
    """dentropy (B, T) -> dlogits (B, T, V).  dH / dlogit_i = -p_i (log p_i + H)."""
    probs, all_logprobs, entropy = cache
    return -dentropy[..., None] * probs * (all_logprobs + entropy[..., None])


def exact_kl(all_logprobs: np.ndarray, ref_all_logprobs: np.ndarray) -> np.ndarray:
    """KL(pi || ref) over the whole vocabulary.  Two (B, T, V) -> (B, T), nats.

    Never negative, but for rounding.
    """
    return (np.exp(all_logprobs) * (all_logprobs - ref_all_logprobs)).sum(axis=-1)
