"""A Rufus small enough to step through by hand.  Every number can be checked on paper.

    python -m minirlhf walk                          all stops, with formula, shape and value
    python -m minirlhf walk --stop 4                 pdb opens at stop 4
    MINIRLHF_STOP=4 python -m minirlhf walk          the built-in breakpoint there, for an IDE
    python -m minirlhf walk --scenario transformer   or reward, or rufus

Three scenarios.  `ppo`: one prompt, two tokens, from the rollout to the clip that stops PPO by
itself.  `transformer`: five tokens, width 4, one head, one layer.  `reward`: three answers, one
ranking.  They call the functions that train Rufus; float64, no randomness.  STOPS below says what
must be seen at each `# STOP n`: this file prints it, notebooks/debugger_tour.md shows it, and
tests/test_walk.py replays the walk and compares.  `rufus` is one real PPO iteration, 4 prompts.
"""

import bdb
import inspect
import os
import pdb
from math import exp, log, log10, sqrt  # noqa: F401  (names in the expressions of STOPS)
from typing import NamedTuple

import numpy as np

from minirlhf.adam import init_adam
from minirlhf.data import encode_prompt, read_prompts
from minirlhf.errors import InputError
from minirlhf.gpt import (
    GPTConfig,
    Params,
    init_params,
    lm_head_backward,
    lm_head_forward,
    param_shapes,
    scalar_head_backward,
    scalar_head_forward,
    with_scalar_head,
)
from minirlhf.gradcheck import numerical_gradient, relative_error
from minirlhf.layers import (
    LAYERNORM_EPS,
    embedding_backward,
    embedding_forward,
    entropy_forward,
    exact_kl,
    gelu_backward,
    gelu_forward,
    layernorm_backward,
    layernorm_forward,
    linear_backward,
    linear_forward,
    log_softmax,
    softmax,
    softmax_backward,
    token_logprobs_backward,
    token_logprobs_forward,
)
from minirlhf.rufus.world import data_folder
from minirlhf.step2_reward_model import bradley_terry_loss, ranking_loss
from minirlhf.step3_ppo import (
    PPOModels,
    PPOSettings,
    gae,
    kl_shaped_rewards,
    ppo_iteration,
    ppo_policy_loss,
)
from minirlhf.tokenizer import build_tokenizer

ENVIRONMENT = "MINIRLHF_STOP"  # number of a stop, or "ratio": wherever ratio != 1


# ---- what must be seen at each stop ---------------------------------------------------------


class Stop(NamedTuple):
    """One line of the table.  An exact value is a Python expression; tests evaluate it."""

    number: int
    title: str
    title_zh: str
    formula: str
    values: tuple  # of (name of a local, exact value)


# The transformer after attention, by hand: x + y, its mean square, and both after the MLP,
# which adds its normalised input.
X2 = np.array([[2, 2, -2, -2], [2, -4 / 3, 4 / 3, -2], [2, -8 / 5, -6 / 5, 4 / 5]])  # (T, C)
MEAN_SQUARE = np.array([[4], [26 / 9], [54 / 25]])  # (T, 1)
H2 = X2 / np.sqrt(MEAN_SQUARE + LAYERNORM_EPS)  # (T, C)
X3 = X2 + H2  # (T, C)
HIDDEN = X3 / np.sqrt((X3 * X3).mean(axis=1, keepdims=True) + LAYERNORM_EPS)  # (T, C)
WTE = np.array(
    [[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1], [-1, -1, 1, 1], [-1, 1, -1, 1]], float
)  # (V, C)  rows with mean 0 and mean square 1; the first three are orthogonal

PPO_STOPS = (
    Stop(1, "rollout", "采样", "old_probs = softmax(logits), logits = ln(1, 3)",
         (("old_probs", "[1/4, 3/4]"), ("old_logprobs", "[[log(1/4)], [log(3/4)]]"))),
    Stop(2, "reward", "奖励", "rewards = scores - kl_coef * kl, kl = old_logprobs - ref_logprobs",
         (("scores", "[1, -1]"), ("kl", "[[0], [0]]"), ("rewards", "[[1], [-1]]"))),
    Stop(3, "advantage", "优势", "advantages = gae(rewards, values), values = 0",
         (("advantages", "[[1], [-1]]"),)),
    Stop(4, "epoch 1, sample A", "第 1 轮，样本 A",
         "ratio = pi / pi_old, dlogits = ratio * advantage * (onehot - probs)",
         (("ratio", "1"), ("onehot_minus_probs", "[3/4, -3/4]"), ("dlogits", "[3/4, -3/4]"))),
    Stop(5, "epoch 1, sample B", "第 1 轮，样本 B",
         "ratio = pi / pi_old, dlogits = ratio * advantage * (onehot - probs)",
         (("ratio", "1"), ("onehot_minus_probs", "[-1/4, 1/4]"), ("dlogits", "[1/4, -1/4]"))),
    Stop(6, "update", "更新", "logits += lr * grad, lr = ln 3, grad = mean of dlogits",
         (("grad", "[1/2, -1/2]"), ("logits", "[log(3)/2, log(3)/2]"), ("probs", "[1/2, 1/2]"))),
    Stop(7, "KL", "KL 散度", "kl = sum p log(p / p_ref); k1 = -log r, k2 = (log r)^2 / 2, "
         "k3 = r - 1 - log r, r = p_ref / p",
         (("kl_new_ref", "log(4/3)/2"), ("k1", "log(4/3)/2"), ("k3", "log(4/3)/2"),
          ("k2", "(log(2)**2 + log(3/2)**2)/4"))),
    Stop(8, "epoch 2", "第 2 轮", "clipped where clip(ratio, 0.8, 1.2) * A < ratio * A",
         (("ratio", "[2, 2/3]"), ("is_clipped", "[True, True]"), ("grad", "[0, 0]"))),
    Stop(9, "clip off", "关掉裁剪", "the same step with clip_range = infinity",
         (("grad", "[2/3, -2/3]"), ("probs", "[3**(4/3)/(1+3**(4/3)), 1/(1+3**(4/3))]"))),
    Stop(10, "entropy", "熵", "entropy = -sum p log p",
         (("entropy_before", "log(4) - log(3)*3/4"), ("entropy_after", "log(2)"))),
    Stop(11, "where should it stop?", "应该停在哪里？", "optimal = pi_ref * exp(score / beta) / Z",
         (("optimal_half", "[1/2, 1/2]"), ("optimal_three", "[3/4, 1/4]"),
          ("optimal_sharp", "[27/28, 1/28]"))),
    Stop(12, "preference side", "偏好模型一侧",
         "p = sigmoid(margin), margin = ln 3; elo = 400 log10(odds)",
         (("preferred", "3/4"), ("loss", "log(4/3)"), ("elo", "400*log10(3)"))),
    Stop(13, "group methods", "组方法", "rloo = R - mean of the others; grpo = (R - mean) / std",
         (("rloo", "[2, -2/3, -2/3, -2/3]"),
          ("grpo", "[sqrt(3), -1/sqrt(3), -1/sqrt(3), -1/sqrt(3)]"))),
    Stop(14, "GAE", "GAE", "delta = r + next V - V, A = delta + 1/2 next A, returns = A + V",
         (("delta", "[[0, 0, 1/2]]"), ("advantages", "[[1/8, 1/4, 1/2]]"),
          ("returns", "[[5/8, 3/4, 1]]"))),
)

TRANSFORMER_STOPS = (
    Stop(1, "embedding", "嵌入", "x = wte[inputs] + wpe", (("x", "[WTE[:3]]"),)),
    Stop(2, "LayerNorm", "层归一化", "h1 = (x - mean) / std * gain", (("h1", "[WTE[:3]]"),)),
    Stop(3, "queries, keys, values", "查询、键、值",
         "q = ln2 * first two channels of h1, k = v = h1",
         (("q", "[[WTE[:3] * [log(2), log(2), 0, 0]]]"), ("k", "[[WTE[:3]]]"),
          ("v", "[[WTE[:3]]]"))),
    Stop(4, "scores", "注意力分数", "scores = q k^T / sqrt(4), before the future is hidden",
         (("scores", "[[[[log(2), 0, 0], [0, log(2), log(2)], [0, log(2), log(2)]]]]"),)),
    Stop(5, "attention", "注意力", "probs = softmax(scores + future): 2^0 and 2^1, normalised",
         (("probs", "[[[[1, 0, 0], [1/3, 2/3, 0], [1/5, 2/5, 2/5]]]]"),)),
    Stop(6, "what attention found", "注意力的结果", "y = probs v; x2 = x + y",
         (("y", "[X2 - WTE[:3]]"), ("x2", "[X2]"))),
    Stop(7, "MLP", "MLP", "gelu(u) - gelu(-u) = u, so this MLP returns its input; x3 = x2 + mlp",
         (("h2", "[H2]"), ("mlp", "[H2]"), ("x3", "[X3]"))),
    Stop(8, "logits", "logits", "logits = LayerNorm(x3) wte^T",
         (("hidden", "[HIDDEN]"), ("logits", "[HIDDEN @ WTE.T]"))),
    Stop(9, "loss", "损失", "loss = mean of -log softmax(logits)[target]",
         (("loss", "-sum(log_softmax(HIDDEN @ WTE.T)[[0, 1, 2], [1, 2, 3]]) / 3"),)),
    Stop(10, "backward: logits", "反向：logits", "dlogits = (probs - onehot) / 3",
         (("dlogits", "[(softmax(HIDDEN @ WTE.T) - np.eye(5)[1:4]) / 3]"),
          ("dlogits_agrees", "True"))),
    Stop(11, "backward: MLP", "反向：MLP",
         "dx3 splits in two: dmlp = dx3, and dx2 = dx3 + dh2 path",
         (("dhidden_agrees", "True"), ("dx3_agrees", "True"), ("dmlp_agrees", "True"),
          ("du_agrees", "True"), ("dh2_agrees", "True"), ("dx2_agrees", "True"))),
    Stop(12, "backward: attention", "反向：注意力",
         "dscores = probs * (dprobs - sum probs * dprobs)",
         (("dy_agrees", "True"), ("dprobs_agrees", "True"),
          ("dscores_agrees", "True"), ("row_sums", "[[[0, 0, 0]]]"))),
    Stop(13, "backward: q, k, v", "反向：q、k、v", "dq = dscores k / 2, dk = dscores^T q / 2",
         (("dq_agrees", "True"), ("dk_agrees", "True"), ("dv_agrees", "True"))),
    Stop(14, "backward: weights", "反向：权重", "dwte = as lookup + as head; all tensors agree",
         (("dh1_agrees", "True"), ("dx_agrees", "True"), ("dwte_agrees", "True"),
          ("all_agree", "True"))),
)

REWARD_STOPS = (
    Stop(1, "scores before", "更新前的分数", "scores = hidden head_w + head_b",
         (("scores", "[[0, 0, log(2)]]"),)),
    Stop(2, "pairs before", "更新前的成对概率", "p(i beats j) = sigmoid(s_i - s_j)",
         (("p_ab", "1/2"), ("p_ac", "1/3"), ("p_bc", "1/3"), ("accuracy", "1/6"))),
    Stop(3, "K-wise loss", "K-wise 排序损失", "loss = mean over the 3 pairs of -log p; A > B > C",
         (("loss", "log(18)/3"), ("dscores", "[[-7/18, -1/18, 8/18]]"))),
    Stop(4, "gradient of the head", "打分头的梯度",
         "dhead_w = sum dscore * hidden, dhead_b = sum dscore",
         (("dhead_w", "[-7/18, -1/18, 8/18]"), ("dhead_b", "[0]"))),
    Stop(5, "scores after", "更新后的分数", "head_w -= lr * dhead_w, lr = 9 ln 2",
         (("scores_after", "[[7*log(2)/2, log(2)/2, -3*log(2)]]"), ("p_ab", "8/9"),
          ("accuracy", "1"), ("loss_after", "log((1+2**-3) * (1+2**-6.5) * (1+2**-3.5))/3"))),
)

STOPS = {"ppo": PPO_STOPS, "transformer": TRANSFORMER_STOPS, "reward": REWARD_STOPS}


# ---- scenario 1: two-token Rufus ------------------------------------------------------------


def walk_ppo(stop=None):
    """Prompt 我 ("I"); token 0 is 是 ("am"), token 1 is 一 (", a").  Rufus prefers the broken one.

    B = 2 answers of T = 1 token, vocabulary V = 2.  One answer of each kind is a chosen batch, not
    the expectation: the policy would say token 1 three times as often.
    """
    ref_logits = np.log([1.0, 3.0])  # (V,)
    targets = np.array([[0], [1]])  # (B, T)  sample A, sample B
    mask = np.ones((2, 1))  # (B, T)
    lr = log(3)
    clip_range = 0.2
    kl_coef = 0.1

    logits = ref_logits.copy()  # (V,)  the policy: two numbers
    old_probs = softmax(logits)  # (V,)
    batch_logits = np.array([[logits], [logits]])  # (B, T, V)  both answers follow one prompt
    old_logprobs, _ = token_logprobs_forward(batch_logits, targets)  # (B, T)
    if stop == 1:
        breakpoint()
    show("ppo", 1, locals())  # STOP 1

    ref_all_logprobs = log_softmax(ref_logits)  # (V,)
    ref_logprobs = ref_all_logprobs[targets]  # (B, T)
    kl = (old_logprobs - ref_logprobs) * mask  # (B, T)
    scores = np.array([1.0, -1.0])  # (B,)  the reward model
    rewards = kl_shaped_rewards(scores, old_logprobs, ref_logprobs, mask, kl_coef)  # (B, T)
    if stop == 2:
        breakpoint()
    show("ppo", 2, locals())  # STOP 2

    values = np.zeros((2, 1))  # (B, T)
    # not whitened: these have mean 0 and deviation 1 already
    advantages, returns = gae(rewards, values, mask, 1.0, 0.95)  # (B, T)
    if stop == 3:
        breakpoint()
    show("ppo", 3, locals())  # STOP 3

    # epoch 1, sample A.  The package goes down a loss; the paper goes up an objective, loss = -J.
    logprobs, cache = token_logprobs_forward(batch_logits[:1], targets[:1])  # (1, 1)
    log_ratio = float(logprobs[0, 0] - old_logprobs[0, 0])
    ratio = exp(log_ratio)
    advantage = float(advantages[0, 0])
    probs = softmax(logits)  # (V,)
    onehot_minus_probs = np.array([1.0, 0.0]) - probs  # (V,)
    loss, dlogprobs, stats = ppo_policy_loss(
        logprobs, old_logprobs[:1], advantages[:1], mask[:1], clip_range
    )
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (1, 1, V)  downhill
    dlogits = -dloss_dlogits[0, 0]  # (V,)  uphill
    if stop == 4 or (stop == "ratio" and ratio != 1):
        breakpoint()
    show("ppo", 4, locals())  # STOP 4

    # epoch 1, sample B
    logprobs, cache = token_logprobs_forward(batch_logits[1:], targets[1:])  # (1, 1)
    log_ratio = float(logprobs[0, 0] - old_logprobs[1, 0])
    ratio = exp(log_ratio)
    advantage = float(advantages[1, 0])
    onehot_minus_probs = np.array([0.0, 1.0]) - probs  # (V,)
    loss, dlogprobs, stats = ppo_policy_loss(
        logprobs, old_logprobs[1:], advantages[1:], mask[1:], clip_range
    )
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (1, 1, V)
    dlogits = -dloss_dlogits[0, 0]  # (V,)
    if stop == 5 or (stop == "ratio" and ratio != 1):
        breakpoint()
    show("ppo", 5, locals())  # STOP 5

    # the optimiser's step: both samples in one minibatch
    logprobs, cache = token_logprobs_forward(batch_logits, targets)  # (B, T)
    loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs, advantages, mask, clip_range)
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (B, T, V)
    grad = -dloss_dlogits.sum(axis=(0, 1))  # (V,)  the loss has divided by B * T
    logits = logits + lr * grad  # (V,)
    probs = softmax(logits)  # (V,)
    if stop == 6:
        breakpoint()
    show("ppo", 6, locals())  # STOP 6

    # The new policy says both tokens equally often: one of each is now its exact expectation.
    all_logprobs = log_softmax(logits)  # (V,)
    kl_new_ref = float(exact_kl(all_logprobs, ref_all_logprobs))
    log_r = ref_all_logprobs - all_logprobs  # (V,)  Schulman's r = p_ref / p
    k1 = float((-log_r).mean())
    k2 = float((log_r * log_r / 2).mean())
    k3 = float((np.exp(log_r) - 1 - log_r).mean())
    if stop == 7:
        breakpoint()
    show("ppo", 7, locals())  # STOP 7

    # epoch 2: the same answers, the same advantages, the new policy
    batch_logits = np.array([[logits], [logits]])  # (B, T, V)
    logprobs, cache = token_logprobs_forward(batch_logits, targets)  # (B, T)
    log_ratio = logprobs - old_logprobs  # (B, T)
    ratio = np.exp(log_ratio)[:, 0].tolist()
    unclipped = np.exp(log_ratio) * advantages  # (B, T)
    clipped = np.clip(np.exp(log_ratio), 1 - clip_range, 1 + clip_range) * advantages  # (B, T)
    is_clipped = (clipped < unclipped)[:, 0].tolist()
    loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs, advantages, mask, clip_range)
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (B, T, V)
    grad = -dloss_dlogits.sum(axis=(0, 1))  # (V,)
    if stop == 8 or (stop == "ratio" and ratio != 1):
        breakpoint()
    show("ppo", 8, locals())  # STOP 8

    # what the step would have been without the clip
    loss, dlogprobs, stats = ppo_policy_loss(logprobs, old_logprobs, advantages, mask, np.inf)
    dloss_dlogits = token_logprobs_backward(dlogprobs, cache)  # (B, T, V)
    grad = -dloss_dlogits.sum(axis=(0, 1))  # (V,)
    logits_without_clip = logits + lr * grad  # (V,)
    probs = softmax(logits_without_clip)  # (V,)
    if stop == 9:
        breakpoint()
    show("ppo", 9, locals())  # STOP 9

    entropy, _ = entropy_forward(np.array([[ref_logits], [logits]]))  # (2, 1)
    entropy_before = float(entropy[0, 0])
    entropy_after = float(entropy[1, 0])
    if stop == 10:
        breakpoint()
    show("ppo", 10, locals())  # STOP 10

    # the exact optimum of E[score] - beta * KL(pi || ref), for three prices beta
    optimal_half = softmax(ref_logits + scores * log(3) / 2)  # (V,)  beta = 2 / ln 3
    optimal_three = softmax(ref_logits + scores * log(3))  # (V,)  beta = 1 / ln 3
    optimal_sharp = softmax(ref_logits + scores * log(3) * 2)  # (V,)  beta = 1 / (2 ln 3)
    if stop == 11:
        breakpoint()
    show("ppo", 11, locals())  # STOP 11

    chosen_scores = np.array([log(3)])  # (N,)
    rejected_scores = np.array([0.0])  # (N,)
    loss, dchosen, drejected = bradley_terry_loss(chosen_scores, rejected_scores)
    preferred = exp(-loss)
    odds = preferred / (1 - preferred)
    elo = 400 * log10(odds)
    if stop == 12:
        breakpoint()
    show("ppo", 12, locals())  # STOP 12

    # four answers to one prompt; no value model
    group = np.array([1.0, -1.0, -1.0, -1.0])  # (K,)
    others = (group.sum() - group) / 3  # (K,)  mean of the other three
    rloo = group - others  # (K,)
    centred = group - group.mean()  # (K,)
    grpo = centred / group.std()  # (K,)  population deviation, nothing added to it
    if stop == 13:
        breakpoint()
    show("ppo", 13, locals())  # STOP 13

    # one answer of three tokens; the score comes at the end
    rewards = np.array([[0.0, 0.0, 1.0]])  # (B, T)
    values = np.array([[0.5, 0.5, 0.5]])  # (B, T)
    next_values = np.array([[0.5, 0.5, 0.0]])  # (B, T)  nothing comes after the end
    delta = rewards + next_values - values  # (B, T)
    advantages, returns = gae(rewards, values, np.ones((1, 3)), 1.0, 0.5)  # (B, T)
    if stop == 14:
        breakpoint()
    show("ppo", 14, locals())  # STOP 14


# ---- scenario 2: a transformer of 5 tokens and width 4 --------------------------------------


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


def all_tensors_agree(grads, differences):
    """Two Params -> bool, tensor by tensor: a small one must not hide behind a large one."""
    for name in grads.shapes:
        if not agree(vars(grads)[name], vars(differences)[name]):
            return False
    return True


# ---- scenario 3: one ranking ----------------------------------------------------------------


def walk_reward(stop=None):
    """One prompt, K = 3 answers A, B, C, ranked in this order; the model likes C best at first.

    The trunk is left out: each answer's hidden state is one channel, so its score is one weight.
    """
    params = Params({"head_w": (3,), "head_b": (1,)}, np.float64)
    params.head_w[...] = [0, 0, log(2)]
    hidden = np.eye(3)[:, None]  # (B, T, C) = (3, 1, 3)
    ranks = np.array([[1, 2, 3]])  # (N, K)  1 is best
    lr = 9 * log(2)

    values, cache = scalar_head_forward(params, hidden)  # (B, T)
    scores = values.reshape(1, 3)  # (N, K)
    if stop == 1:
        breakpoint()
    show("reward", 1, locals())  # STOP 1

    margin_ab = float(scores[0, 0] - scores[0, 1])
    margin_ac = float(scores[0, 0] - scores[0, 2])
    margin_bc = float(scores[0, 1] - scores[0, 2])
    p_ab = 1 / (1 + exp(-margin_ab))
    p_ac = 1 / (1 + exp(-margin_ac))
    p_bc = 1 / (1 + exp(-margin_bc))
    right = [margin_ab > 0, margin_ac > 0, margin_bc > 0]
    tied = [margin_ab == 0, margin_ac == 0, margin_bc == 0]
    accuracy = (sum(right) + 0.5 * sum(tied)) / 3  # a tie counts one half
    if stop == 2:
        breakpoint()
    show("reward", 2, locals())  # STOP 2

    loss, dscores = ranking_loss(scores, ranks)  # nats, (N, K)
    if stop == 3:
        breakpoint()
    show("reward", 3, locals())  # STOP 3

    dvalues = dscores.reshape(3, 1)  # (B, T)
    dhidden, dhead_w, dhead_b = scalar_head_backward(params, dvalues, cache)
    if stop == 4:
        breakpoint()
    show("reward", 4, locals())  # STOP 4

    params.head_w -= lr * dhead_w
    params.head_b -= lr * dhead_b
    values, cache = scalar_head_forward(params, hidden)  # (B, T)
    scores_after = values.reshape(1, 3)  # (N, K)
    loss_after, _ = ranking_loss(scores_after, ranks)
    margin_ab = float(scores_after[0, 0] - scores_after[0, 1])
    margin_ac = float(scores_after[0, 0] - scores_after[0, 2])
    margin_bc = float(scores_after[0, 1] - scores_after[0, 2])
    p_ab = 1 / (1 + exp(-margin_ab))
    right = [margin_ab > 0, margin_ac > 0, margin_bc > 0]
    accuracy = sum(right) / 3
    if stop == 5:
        breakpoint()
    show("reward", 5, locals())  # STOP 5


# ---- one real PPO iteration -----------------------------------------------------------------


def walk_rufus(stop=None):
    """One iteration of the real thing on 4 questions, with small random models: seconds, no files.

    Put a breakpoint on the last line and step into ppo_iteration.
    """
    rng = np.random.default_rng(0)
    prompts = read_prompts(data_folder("en") / "prompts.jsonl", "train")[:4]
    tokenizer = build_tokenizer([*prompts, "\n"])
    ids = [encode_prompt(tokenizer, prompt, 64) for prompt in prompts]
    config = GPTConfig(vocab_size=len(tokenizer), n_layer=1, n_head=2, n_embd=16)
    policy = init_params(config, rng)
    ref_policy = policy.copy()
    reward_model = with_scalar_head(policy, config, rng)
    value_model = with_scalar_head(reward_model, config)
    models = PPOModels(policy, ref_policy, reward_model, value_model, config, config)
    adams = {"policy": init_adam(policy), "value_model": init_adam(value_model)}
    settings = PPOSettings(iterations=1, rollout_size=4, minibatch_size=2, max_new_tokens=8)
    if stop == 1:
        breakpoint()
    rollout, figures = ppo_iteration(models, adams, ids, 0.1, settings, 0, rng)  # STOP 1
    print(models)
    print(rollout)
    for name, value in figures.items():
        if name != "seconds":
            print(f"{name:<22} {text_of(float(value))}")


# ---- printing -------------------------------------------------------------------------------


def text_of(value):
    """A float, a bool, a list or an array -> text with four digits, one line per row."""
    if isinstance(value, float):
        return f"{round(value, 4) + 0.0:.4f}"
    if isinstance(value, bool):
        return str(value)
    rounded = np.asarray(value)  # any shape
    if rounded.dtype != bool:
        rounded = np.round(rounded.astype(float), 4) + 0.0  # + 0.0: no "-0."
    with np.printoptions(precision=4, suppress=True, linewidth=100):
        return str(rounded)


def shape_of(value):
    """-> "(2, 1)" for arrays and lists, "float" or "bool" for a single value."""
    return type(value).__name__ if isinstance(value, (float, bool)) else str(np.shape(value))


def show(scenario, number, seen):
    """Print what is seen at a stop.  seen: the locals of the walk."""
    stop = STOPS[scenario][number - 1]
    print(f"\nSTOP {number}  {stop.title}\n    {stop.formula}")
    for name, exact in stop.values:
        value = seen[name]
        lines = text_of(value).split("\n")
        lines[-1] = f"{lines[-1]:<22} = {exact}"
        print(f"    {name:<18} {shape_of(value):<13} {lines[0]}")
        for line in lines[1:]:
            print(" " * 37 + line)
        if name.endswith("_agrees"):
            show_beside(name.removesuffix("_agrees"), seen)


def show_beside(name, seen):
    """Print a gradient and its finite difference, row beside row."""
    width = np.shape(seen[name])[-1]
    # 8 columns are enough: of the MLP's 16 hidden units the other 8 rest
    left = text_of(seen[name].reshape(-1, width)[:, :8]).split("\n")  # (rows, width)
    right = text_of(seen[f"{name}_difference"].reshape(-1, width)[:, :8]).split("\n")
    print(f"    {name:<18} {shape_of(seen[name]):<13} {left[0]:<44} difference {right[0]}")
    for gradient, difference in zip(left[1:], right[1:]):
        print(" " * 37 + f"{gradient:<55} {difference}")


def markdown_table(scenario, chinese=False):
    """-> the stops as a Markdown table, for the tour."""
    head = (
        "| 站 | 标题 | 公式 | 精确值 |" if chinese else "| stop | title | formula | exact values |"
    )
    rows = [head, "|---|---|---|---|"]
    for stop in STOPS[scenario]:
        values = [f"`{name}` = `{exact}`" for name, exact in stop.values]
        title = stop.title_zh if chinese else stop.title
        formula = stop.formula.replace("|", "\\|")
        rows.append(f"| {stop.number} | {title} | `{formula}` | {'<br>'.join(values)} |")
    return "\n".join(rows)


# ---- the verb -------------------------------------------------------------------------------

WALKS = {"ppo": walk_ppo, "transformer": walk_transformer, "reward": walk_reward,
         "rufus": walk_rufus}


def parse_stop(text, scenario, where):
    """Text or None -> a number of the scenario's stops, "ratio" or None.  Raises InputError."""
    if text is None or text == "":
        return None
    last = len(STOPS.get(scenario, (1,)))
    if text == "ratio" and scenario == "ppo":
        return "ratio"
    if text.isdecimal() and 1 <= int(text) <= last:
        return int(text)
    ratio = " or ratio" if scenario == "ppo" else ""
    raise InputError(f"{where} {text}: scenario {scenario} has stops 1 to {last}{ratio}")


def stop_line(scenario, number):
    """-> the line of `# STOP number` in this file, as it stands now."""
    lines, first = inspect.getsourcelines(WALKS[scenario])
    for offset, line in enumerate(lines):
        if line.endswith(f"# STOP {number}\n"):
            return first + offset
    raise LookupError(f"no # STOP {number} in the walk {scenario}")


def run_walk(scenario="ppo", stop=None):
    """Walk one scenario.  stop: where pdb opens (in a notebook, below the cell), or None.

    MINIRLHF_STOP in the environment names the place of a breakpoint.  Print options stay changed.
    """
    pdb_stop = parse_stop(None if stop is None else str(stop), scenario, "--stop")
    break_stop = parse_stop(os.environ.get(ENVIRONMENT), scenario, f"{ENVIRONMENT}:")
    np.set_printoptions(precision=4, suppress=True, threshold=60, edgeitems=2, linewidth=100)
    try:
        if pdb_stop is None:
            WALKS[scenario](break_stop)
            return
        debugger = pdb.Pdb(nosigint=True)
        for number in (4, 5, 8) if pdb_stop == "ratio" else (pdb_stop,):
            condition = ", ratio != 1" if pdb_stop == "ratio" else ""
            line = stop_line(scenario, number)
            debugger.rcLines.append(f"break {os.path.abspath(__file__)}:{line}{condition}")
        debugger.rcLines.append("continue")
        debugger.runcall(WALKS[scenario])
    except bdb.BdbQuit:  # q in the debugger
        return
