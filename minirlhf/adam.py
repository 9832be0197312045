"""AdamW on one flat vector, gradient clipping, and the learning-rate schedule.

Kingma & Ba 2015, arXiv 1412.6980, algorithm 1; decoupled weight decay of Loshchilov & Hutter 2019,
arXiv 1711.05101.  All weights of a model are one vector (gpt.Params), so there is one update and
no loop over arrays.  Departures: beta2 is 0.99, not 0.999, because runs here are short; weight
decay, where it is on, acts on every weight, while GPT-2's recipe spares biases and gains.
"""

import math
from dataclasses import dataclass

import numpy as np

from minirlhf.errors import NotFiniteError
from minirlhf.gpt import Params


@dataclass
class Adam:
    """The optimiser's memory for one model."""

    m: np.ndarray  # (P,) running mean of the gradient
    v: np.ndarray  # (P,) running mean of the squared gradient
    step: int = 0

    def __repr__(self):
        return f"Adam(step {self.step}, {self.m.size} weights)"


def init_adam(params: Params) -> Adam:
    """Params of P weights -> Adam at rest: m and v (P,) are 0."""
    return Adam(m=np.zeros_like(params.flat), v=np.zeros_like(params.flat))


def adam_step(
    params: Params, grads: Params, adam: Adam, lr: float,
    betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0,
):
    """One AdamW step, in place on params.flat and adam.  lr: learning rate.

    eps stands outside the square root, on the bias-corrected value, as in algorithm 1.  (The
    TensorFlow placement of Ziegler et al. 2019 with eps 1e-5 gives slightly smaller steps.)
    """
    beta1, beta2 = betas
    flat, g = params.flat, grads.flat  # (P,) each
    adam.step += 1
    adam.m *= beta1
    adam.m += (1 - beta1) * g
    adam.v *= beta2
    adam.v += (1 - beta2) * g * g
    m_hat = adam.m / (1 - beta1**adam.step)  # both start at 0; this undoes the bias
    v_hat = adam.v / (1 - beta2**adam.step)
    flat *= 1 - lr * weight_decay
    flat -= lr * m_hat / (np.sqrt(v_hat) + eps)


def clip_gradient(grads: Params, max_norm: float) -> float:
    """Scale grads in place so that their norm is at most max_norm -> the norm before clipping.

    Raises NotFiniteError, with the name of the tensor, if a gradient is NaN or infinite; the
    training loop (checkpoint.resumable) puts its step before the message.
    """
    flat = grads.flat  # (P,)
    norm = math.sqrt(float(flat @ flat))
    if not math.isfinite(norm):
        raise NotFiniteError(f"the gradient of {first_not_finite(grads)} is not finite")
    if norm > max_norm:
        flat *= max_norm / norm
    return norm


def first_not_finite(params: Params) -> str:
    """Params, tensors of any shape -> the name of the first that holds NaN or infinity."""
    for name in params.shapes:
        if not np.isfinite(params[name]).all():
            return name
    return "the flat vector's square sum (overflow)"


def learning_rate(
    step: int, steps: int, peak: float, warmup: int, schedule="cosine", floor=0.0
) -> float:
    """Learning rate of a step: linear warm-up over `warmup` steps, then down to floor * peak.

    step counts from 0 to steps - 1.  schedule: "cosine", "linear" or "constant".
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)  # 0 .. 1
    if schedule == "cosine":
        remaining = 0.5 * (1 + math.cos(math.pi * progress))
    elif schedule == "linear":
        remaining = 1 - progress
    elif schedule == "constant":
        remaining = 1.0
    else:
        raise ValueError(f"schedule {schedule!r} is not one of cosine, linear, constant")
    return peak * (floor + (1 - floor) * remaining)
