"""Scenario `transformer`: five tokens, width 4, forward and backward with nothing hidden."""

from math import log, sqrt

import numpy as np

from minirlhf.gpt import GPTConfig, Params, lm_head_backward, lm_head_forward, param_shapes
from minirlhf.gradcheck import numerical_gradient, relative_error
from minirlhf.layers import (
    LAYERNORM_EPS,
    embedding_backward,
    embedding_forward,
    gelu_backward,
    gelu_forward,
    layernorm_backward,
    layernorm_forward,
    linear_backward,
    linear_forward,
    softmax,
    softmax_backward,
    token_logprobs_backward,
    token_logprobs_forward,
)
from minirlhf.walk.stops import WTE, show


def tiny_transformer():
    """-> Params, GPTConfig, inputs (1, 3), targets (1, 3).  Weights 0, 1, -1, ln 2."""
    config = GPTConfig(vocab_size=5, block_size=3, n_layer=1, n_head=1, n_embd=4)
    params = Params(param_shapes(config), np.float64)
    params.wte[...] = WTE
    params.ln1_g[...] = sqrt(1 + LAYERNORM_EPS)  # undoes the eps: rows of 1 and -1 stay so
    params.ln2_g[...] = 1
    params.lnf_g[...] = 1
    params.qkv_w[0, :2, :2] = np.diag([log(2), log(2)])  # queries see two channels
    params.qkv_w[0, :, 4:8] = np.eye(4)  # keys
    params.qkv_w[0, :, 8:12] = np.eye(4)  # values
    params.proj_w[0] = np.eye(4)
    params.fc_w[0, :, :4] = np.eye(4)  # u
    params.fc_w[0, :, 4:8] = -np.eye(4)  # -u; the other 8 hidden units rest
    params.out_w[0, :4] = np.eye(4)
    params.out_w[0, 4:8] = -np.eye(4)
    return params, config, np.array([[0, 1, 2]]), np.array([[1, 2, 3]])


class NudgedLoss:
    """The same forward pass with something small added to a named intermediate: for differences."""

    def __init__(self, params, inputs, targets):
        T, C = 3, 4
        self.params, self.inputs, self.targets = params, inputs, targets
        self.nudges = {"logits": np.zeros((1, T, 5)), "u": np.zeros((1, T, 4 * C))}
        for name in ("x", "h1", "q", "k", "v", "y", "x2", "h2", "mlp", "x3", "hidden"):
            self.nudges[name] = np.zeros((1, T, C))
        for name in ("scores", "probs"):
            self.nudges[name] = np.zeros((1, T, T))

    def __call__(self):
        p, nudges = self.params, self.nudges
        x, _ = embedding_forward(self.inputs, p.wte, p.wpe)
        x = x + nudges["x"]  # (1, T, C)
        h, _ = layernorm_forward(x, p.ln1_g[0], p.ln1_b[0])
        h, _ = linear_forward(h + nudges["h1"], p.qkv_w[0], p.qkv_b[0])  # (1, T, 3C)
        q, k, v = h[..., :4] + nudges["q"], h[..., 4:8] + nudges["k"], h[..., 8:] + nudges["v"]
        scores = q @ k.swapaxes(1, 2) * 0.5 + nudges["scores"]  # (1, T, T)
        probs = softmax(scores + np.triu(np.full((3, 3), -np.inf), 1)) + nudges["probs"]
        h, _ = linear_forward(probs @ v + nudges["y"], p.proj_w[0], p.proj_b[0])
        x = x + h + nudges["x2"]
        h, _ = layernorm_forward(x, p.ln2_g[0], p.ln2_b[0])
        h, _ = linear_forward(h + nudges["h2"], p.fc_w[0], p.fc_b[0])
        h, _ = gelu_forward(h + nudges["u"])
        h, _ = linear_forward(h, p.out_w[0], p.out_b[0])
        x = x + (h + nudges["mlp"]) + nudges["x3"]
        hidden, _ = layernorm_forward(x, p.lnf_g, p.lnf_b)
        logits, _ = lm_head_forward(p, hidden + nudges["hidden"])  # (1, T, V)
        logprobs, _ = token_logprobs_forward(logits + nudges["logits"], self.targets)
        return -float(logprobs.mean())

    def difference(self, name):
        """-> (loss(+h) - loss(-h)) / 2h for every entry of an intermediate, e.g. (1, T, C)."""
        return numerical_gradient(self, self.nudges[name])


def agree(gradient, difference):
    """Two arrays of as many entries -> bool: the same up to what central differences can see."""
    difference = difference.reshape(gradient.shape)
    if np.abs(difference).max() < 1e-9:  # both are 0, up to rounding
        return bool(np.abs(gradient).max() < 1e-9)
    return relative_error(gradient, difference) < 1e-7


def all_tensors_agree(grads, differences):
    """Two Params -> bool, tensor by tensor: a small one must not hide behind a large one."""
    for name in grads.shapes:
        if not agree(vars(grads)[name], vars(differences)[name]):
            return False
    return True


def walk_transformer(stop=None):
    """B = 1, T = 3, V = 5, C = 4, H = 1, D = 4: gpt_forward and gpt_backward with nothing hidden.

    Attention is written out; the rest calls the package.  loss_at gives finite differences.
    """
    p, config, inputs, targets = tiny_transformer()
    loss_at = NudgedLoss(p, inputs, targets)

    x, embedding_cache = embedding_forward(inputs, p.wte, p.wpe)  # (B, T, C)
    if stop == 1:
        breakpoint()
    show("transformer", 1, locals())  # STOP 1

    h1, ln1_cache = layernorm_forward(x, p.ln1_g[0], p.ln1_b[0])  # (B, T, C)
    if stop == 2:
        breakpoint()
    show("transformer", 2, locals())  # STOP 2

    qkv, qkv_cache = linear_forward(h1, p.qkv_w[0], p.qkv_b[0])  # (B, T, 3C)
    q = qkv[:, None, :, :4]  # (B, H, T, D)
    k = qkv[:, None, :, 4:8]  # (B, H, T, D)
    v = qkv[:, None, :, 8:]  # (B, H, T, D)
    if stop == 3:
        breakpoint()
    show("transformer", 3, locals())  # STOP 3

    products = q @ k.swapaxes(-1, -2)  # (B, H, T, T)
    scores = products * 4**-0.5
    if stop == 4:
        breakpoint()
    show("transformer", 4, locals())  # STOP 4

    future = np.triu(np.full((3, 3), -np.inf), 1)  # (T, T)  0 on and below the diagonal
    probs = softmax(scores + future)  # (B, H, T, T)
    if stop == 5:
        breakpoint()
    show("transformer", 5, locals())  # STOP 5

    heads = probs @ v  # (B, H, T, D)
    y = heads[:, 0]  # (B, T, C)  one head: nothing to put side by side
    attention, proj_cache = linear_forward(y, p.proj_w[0], p.proj_b[0])  # (B, T, C)
    x2 = x + attention
    if stop == 6:
        breakpoint()
    show("transformer", 6, locals())  # STOP 6

    h2, ln2_cache = layernorm_forward(x2, p.ln2_g[0], p.ln2_b[0])  # (B, T, C)
    u, fc_cache = linear_forward(h2, p.fc_w[0], p.fc_b[0])  # (B, T, 4C)
    active, gelu_cache = gelu_forward(u)  # (B, T, 4C)
    mlp, out_cache = linear_forward(active, p.out_w[0], p.out_b[0])  # (B, T, C)
    x3 = x2 + mlp
    if stop == 7:
        breakpoint()
    show("transformer", 7, locals())  # STOP 7

    hidden, lnf_cache = layernorm_forward(x3, p.lnf_g, p.lnf_b)  # (B, T, C)
    logits, head_cache = lm_head_forward(p, hidden)  # (B, T, V)
    if stop == 8:
        breakpoint()
    show("transformer", 8, locals())  # STOP 8

    logprobs, logprobs_cache = token_logprobs_forward(logits, targets)  # (B, T)
    loss = -float(logprobs.mean())
    if stop == 9:
        breakpoint()
    show("transformer", 9, locals())  # STOP 9

    # backward, bottom up: each forward line above has its mirror below
    grads = Params(p.shapes, np.float64)
    dlogprobs = np.full((1, 3), -1 / 3)  # (B, T)
    dlogits = token_logprobs_backward(dlogprobs, logprobs_cache)  # (B, T, V)
    dlogits_difference = loss_at.difference("logits")  # (B, T, V)
    dlogits_agrees = agree(dlogits, dlogits_difference)
    if stop == 10:
        breakpoint()
    show("transformer", 10, locals())  # STOP 10

    dhidden, dwte_as_head = lm_head_backward(p, dlogits, head_cache)  # (B, T, C), (V, C)
    dhidden_difference = loss_at.difference("hidden")  # (B, T, C)
    dhidden_agrees = agree(dhidden, dhidden_difference)
    dx3, grads.lnf_g[...], grads.lnf_b[...] = layernorm_backward(dhidden, lnf_cache)
    dx3_difference = loss_at.difference("x3")  # (B, T, C)
    dx3_agrees = agree(dx3, dx3_difference)
    dmlp = dx3  # x3 = x2 + mlp: the gradient goes both ways
    dmlp_difference = loss_at.difference("mlp")  # (B, T, C)
    dmlp_agrees = agree(dmlp, dmlp_difference)
    dactive, grads.out_w[0], grads.out_b[0] = linear_backward(dmlp, out_cache)
    du = gelu_backward(dactive, gelu_cache)  # (B, T, 4C)
    du_difference = loss_at.difference("u")  # (B, T, 4C)
    du_agrees = agree(du, du_difference)
    dh2, grads.fc_w[0], grads.fc_b[0] = linear_backward(du, fc_cache)
    dh2_difference = loss_at.difference("h2")  # (B, T, C)
    dh2_agrees = agree(dh2, dh2_difference)
    dx2_of_mlp, grads.ln2_g[0], grads.ln2_b[0] = layernorm_backward(dh2, ln2_cache)
    dx2 = dx3 + dx2_of_mlp  # (B, T, C)
    dx2_difference = loss_at.difference("x2")  # (B, T, C)
    dx2_agrees = agree(dx2, dx2_difference)
    if stop == 11:
        breakpoint()
    show("transformer", 11, locals())  # STOP 11

    dattention = dx2  # (B, T, C)
    dy, grads.proj_w[0], grads.proj_b[0] = linear_backward(dattention, proj_cache)
    dy_difference = loss_at.difference("y")  # (B, T, C)
    dy_agrees = agree(dy, dy_difference)
    dheads = dy[:, None]  # (B, H, T, D)
    dprobs = dheads @ v.swapaxes(-1, -2)  # (B, H, T, T)
    dprobs_difference = loss_at.difference("probs")  # (B, T, T)
    dprobs_agrees = agree(dprobs, dprobs_difference)
    dscores = softmax_backward(dprobs, probs)  # (B, H, T, T)
    dscores_difference = loss_at.difference("scores")  # (B, T, T)
    dscores_agrees = agree(dscores, dscores_difference)
    row_sums = dscores.sum(axis=-1)  # (B, H, T)  a row of scores can be shifted freely
    if stop == 12:
        breakpoint()
    show("transformer", 12, locals())  # STOP 12

    dproducts = dscores * 4**-0.5
    dq = dproducts @ k  # (B, H, T, D)
    dq_difference = loss_at.difference("q")  # (B, T, D)
    dq_agrees = agree(dq, dq_difference)
    dk = dproducts.swapaxes(-1, -2) @ q  # (B, H, T, D)
    dk_difference = loss_at.difference("k")  # (B, T, D)
    dk_agrees = agree(dk, dk_difference)
    dv = probs.swapaxes(-1, -2) @ dheads  # (B, H, T, D)
    dv_difference = loss_at.difference("v")  # (B, T, D)
    dv_agrees = agree(dv, dv_difference)
    if stop == 13:
        breakpoint()
    show("transformer", 13, locals())  # STOP 13

    dqkv = np.concatenate([dq[:, 0], dk[:, 0], dv[:, 0]], axis=-1)  # (B, T, 3C)
    dh1, grads.qkv_w[0], grads.qkv_b[0] = linear_backward(dqkv, qkv_cache)
    dh1_difference = loss_at.difference("h1")  # (B, T, C)
    dh1_agrees = agree(dh1, dh1_difference)
    dx_of_attention, grads.ln1_g[0], grads.ln1_b[0] = layernorm_backward(dh1, ln1_cache)
    dx = dx2 + dx_of_attention  # (B, T, C)
    dx_difference = loss_at.difference("x")  # (B, T, C)
    dx_agrees = agree(dx, dx_difference)
    dwte_as_lookup, grads.wpe[...] = embedding_backward(dx, embedding_cache)  # (V, C)
    grads.wte[...] = dwte_as_lookup + dwte_as_head  # the tied weight has two uses
    differences = Params(p.shapes, np.float64)
    differences.flat[...] = numerical_gradient(loss_at, p.flat)
    dwte, dwte_difference = grads.wte, differences.wte  # (V, C)
    dwte_agrees = agree(dwte, dwte_difference)
    all_agree = all_tensors_agree(grads, differences)
    if stop == 14:
        breakpoint()
    show("transformer", 14, locals())  # STOP 14
