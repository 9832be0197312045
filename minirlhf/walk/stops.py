"""What must be seen at each `# STOP n` of a walk: the table, and what prints it.

The walks print it, notebooks/debugger_tour.md shows it, and tests/test_walk.py replays the walks
and compares.
"""

from math import log, log10, sqrt
from typing import NamedTuple

import numpy as np

from minirlhf.layers import LAYERNORM_EPS, log_softmax, softmax
from minirlhf.messages import later, load_messages

# ---- the table ------------------------------------------------------------------------------


class Stop(NamedTuple):
    """One line of the table.  An exact value is a Python expression; tests evaluate it."""

    number: int
    title: str
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
    Stop(number=1, title=later("rollout"), formula="old_probs = softmax(logits), logits = ln(1, 3)",
         values=(("old_probs", "[1/4, 3/4]"), ("old_logprobs", "[[log(1/4)], [log(3/4)]]"))),
    Stop(number=2, title=later("reward"),
         formula="rewards = scores - kl_coef * kl, kl = old_logprobs - ref_logprobs",
         values=(("scores", "[1, -1]"), ("kl", "[[0], [0]]"), ("rewards", "[[1], [-1]]"))),
    Stop(number=3, title=later("advantage"),
         formula="advantages = gae(rewards, values), values = 0",
         values=(("advantages", "[[1], [-1]]"),)),
    Stop(number=4, title=later("epoch 1, sample A"),
         formula="ratio = pi / pi_old, dlogits = ratio * advantage * (onehot - probs)",
         values=(("ratio", "1"), ("onehot_minus_probs", "[3/4, -3/4]"),
                 ("dlogits", "[3/4, -3/4]"))),
    Stop(number=5, title=later("epoch 1, sample B"),
         formula="ratio = pi / pi_old, dlogits = ratio * advantage * (onehot - probs)",
         values=(("ratio", "1"), ("onehot_minus_probs", "[-1/4, 1/4]"),
                 ("dlogits", "[1/4, -1/4]"))),
    Stop(number=6, title=later("update"),
         formula="logits += lr * grad, lr = ln 3, grad = mean of dlogits",
         values=(("grad", "[1/2, -1/2]"), ("logits", "[log(3)/2, log(3)/2]"),
                 ("probs", "[1/2, 1/2]"))),
    Stop(number=7, title=later("KL"),
         formula="kl = sum p log(p / p_ref); k1 = -log r, k2 = (log r)^2 / 2, k3 = r - 1 - log r, "
                 "r = p_ref / p",
         values=(("kl_new_ref", "log(4/3)/2"), ("k1", "log(4/3)/2"), ("k3", "log(4/3)/2"),
                 ("k2", "(log(2)**2 + log(3/2)**2)/4"))),
    Stop(number=8, title=later("epoch 2"),
         formula="clipped where clip(ratio, 0.8, 1.2) * A < ratio * A",
         values=(("ratio", "[2, 2/3]"), ("is_clipped", "[True, True]"), ("grad", "[0, 0]"))),
    Stop(number=9, title=later("clip off"), formula="the same step with clip_range = infinity",
         values=(("grad", "[2/3, -2/3]"), ("probs", "[3**(4/3)/(1+3**(4/3)), 1/(1+3**(4/3))]"))),
    Stop(number=10, title=later("entropy"), formula="entropy = -sum p log p",
         values=(("entropy_before", "log(4) - log(3)*3/4"), ("entropy_after", "log(2)"))),
    Stop(number=11, title=later("where should it stop?"),
         formula="optimal = pi_ref * exp(score / beta) / Z",
         values=(("optimal_half", "[1/2, 1/2]"), ("optimal_three", "[3/4, 1/4]"),
                 ("optimal_sharp", "[27/28, 1/28]"))),
    Stop(number=12, title=later("preference side"),
         formula="p = sigmoid(margin), margin = ln 3; elo = 400 log10(odds)",
         values=(("preferred", "3/4"), ("loss", "log(4/3)"), ("elo", "400*log10(3)"))),
    Stop(number=13, title=later("group methods"),
         formula="rloo = R - mean of the others; grpo = (R - mean) / std",
         values=(("rloo", "[2, -2/3, -2/3, -2/3]"),
                 ("grpo", "[sqrt(3), -1/sqrt(3), -1/sqrt(3), -1/sqrt(3)]"))),
    Stop(number=14, title=later("GAE"),
         formula="delta = r + next V - V, A = delta + 1/2 next A, returns = A + V",
         values=(("delta", "[[0, 0, 1/2]]"), ("advantages", "[[1/8, 1/4, 1/2]]"),
                 ("returns", "[[5/8, 3/4, 1]]"))),
)

TRANSFORMER_STOPS = (
    Stop(number=1, title=later("embedding"), formula="x = wte[inputs] + wpe",
         values=(("x", "[WTE[:3]]"),)),
    Stop(number=2, title=later("LayerNorm"), formula="h1 = (x - mean) / std * gain",
         values=(("h1", "[WTE[:3]]"),)),
    Stop(number=3, title=later("queries, keys, values"),
         formula="q = ln2 * first two channels of h1, k = v = h1",
         values=(("q", "[[WTE[:3] * [log(2), log(2), 0, 0]]]"), ("k", "[[WTE[:3]]]"),
                 ("v", "[[WTE[:3]]]"))),
    Stop(number=4, title=later("scores"),
         formula="scores = q k^T / sqrt(4), before the future is hidden",
         values=(("scores", "[[[[log(2), 0, 0], [0, log(2), log(2)], [0, log(2), log(2)]]]]"),)),
    Stop(number=5, title=later("attention"),
         formula="probs = softmax(scores + future): 2^0 and 2^1, normalised",
         values=(("probs", "[[[[1, 0, 0], [1/3, 2/3, 0], [1/5, 2/5, 2/5]]]]"),)),
    Stop(number=6, title=later("what attention found"), formula="y = probs v; x2 = x + y",
         values=(("y", "[X2 - WTE[:3]]"), ("x2", "[X2]"))),
    Stop(number=7, title=later("MLP"),
         formula="gelu(u) - gelu(-u) = u, so this MLP returns its input; x3 = x2 + mlp",
         values=(("h2", "[H2]"), ("mlp", "[H2]"), ("x3", "[X3]"))),
    Stop(number=8, title=later("logits"), formula="logits = LayerNorm(x3) wte^T",
         values=(("hidden", "[HIDDEN]"), ("logits", "[HIDDEN @ WTE.T]"))),
    Stop(number=9, title=later("loss"), formula="loss = mean of -log softmax(logits)[target]",
         values=(("loss", "-sum(log_softmax(HIDDEN @ WTE.T)[[0, 1, 2], [1, 2, 3]]) / 3"),)),
    Stop(number=10, title=later("backward: logits"), formula="dlogits = (probs - onehot) / 3",
         values=(("dlogits", "[(softmax(HIDDEN @ WTE.T) - np.eye(5)[1:4]) / 3]"),
                 ("dlogits_agrees", "True"))),
    Stop(number=11, title=later("backward: MLP"),
         formula="dx3 splits in two: dmlp = dx3, and dx2 = dx3 + dh2 path",
         values=(("dhidden_agrees", "True"), ("dx3_agrees", "True"), ("dmlp_agrees", "True"),
                 ("du_agrees", "True"), ("dh2_agrees", "True"), ("dx2_agrees", "True"))),
    Stop(number=12, title=later("backward: attention"),
         formula="dscores = probs * (dprobs - sum probs * dprobs)",
         values=(("dy_agrees", "True"), ("dprobs_agrees", "True"), ("dscores_agrees", "True"),
                 ("row_sums", "[[[0, 0, 0]]]"))),
    Stop(number=13, title=later("backward: q, k, v"),
         formula="dq = dscores k / 2, dk = dscores^T q / 2",
         values=(("dq_agrees", "True"), ("dk_agrees", "True"), ("dv_agrees", "True"))),
    Stop(number=14, title=later("backward: weights"),
         formula="dwte = as lookup + as head; all tensors agree",
         values=(("dh1_agrees", "True"), ("dx_agrees", "True"), ("dwte_agrees", "True"),
                 ("all_agree", "True"))),
)

REWARD_STOPS = (
    Stop(number=1, title=later("scores before"), formula="scores = hidden head_w + head_b",
         values=(("scores", "[[0, 0, log(2)]]"),)),
    Stop(number=2, title=later("pairs before"), formula="p(i beats j) = sigmoid(s_i - s_j)",
         values=(("p_ab", "1/2"), ("p_ac", "1/3"), ("p_bc", "1/3"), ("accuracy", "1/6"))),
    Stop(number=3, title=later("K-wise loss"),
         formula="loss = mean over the 3 pairs of -log p; A > B > C",
         values=(("loss", "log(18)/3"), ("dscores", "[[-7/18, -1/18, 8/18]]"))),
    Stop(number=4, title=later("gradient of the head"),
         formula="dhead_w = sum dscore * hidden, dhead_b = sum dscore",
         values=(("dhead_w", "[-7/18, -1/18, 8/18]"), ("dhead_b", "[0]"))),
    Stop(number=5, title=later("scores after"), formula="head_w -= lr * dhead_w, lr = 9 ln 2",
         values=(("scores_after", "[[7*log(2)/2, log(2)/2, -3*log(2)]]"), ("p_ab", "8/9"),
                 ("accuracy", "1"),
                 ("loss_after", "log((1+2**-3) * (1+2**-6.5) * (1+2**-3.5))/3"))),
)

STOPS = {"ppo": PPO_STOPS, "transformer": TRANSFORMER_STOPS, "reward": REWARD_STOPS}
# What an exact value may name.
NAMES = {"log": log, "log10": log10, "sqrt": sqrt, "np": np, "softmax": softmax,
         "log_softmax": log_softmax, "WTE": WTE, "X2": X2, "H2": H2, "X3": X3, "HIDDEN": HIDDEN}


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


def markdown_table(scenario, lang="en"):
    """-> the stops as a Markdown table, for the tour."""
    say = load_messages(lang)
    rows = [say("| stop | title | formula | exact values |"), "|---|---|---|---|"]
    for stop in STOPS[scenario]:
        values = [f"`{name}` = `{exact}`" for name, exact in stop.values]
        formula = stop.formula.replace("|", "\\|")
        rows.append(f"| {stop.number} | {say(stop.title)} | `{formula}` | {'<br>'.join(values)} |")
    return "\n".join(rows)
