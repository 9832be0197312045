# %% [markdown]
# # 01 A character transformer by hand
#
# The language model of this course is a transformer in plain NumPy. Nothing finds its slopes for
# us: we derive them. Here you write the four pieces in which most mistakes happen.
#
# - Read the shape of every array on the way from characters to probabilities.
# - See where the model looks while it reads "I am a robot."
# - Derive, for every number on that way, how a small change of it would change the result.
# - Believe no derivation before a measurement agrees, and find out which line is wrong.
#
# In the end your four functions work together in a whole model, and you break it on purpose.

# %%
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two threads are slower for small matrices
try:
    import minirlhf
except ModuleNotFoundError:
    print("minirlhf is missing here. Run this in a cell of its own, then all cells again:\n"
          "%pip install matplotlib git+https://github.com/OWNER/minirlhf")

# %%
import math
from functools import partial
from types import SimpleNamespace

import numpy as np

from minirlhf import gpt, layers
from minirlhf.course import check, play, pretrained, show, where
from minirlhf.course.lesson01 import exercises, figures
from minirlhf.course.notebook import hint, solution
from minirlhf.gradcheck import compare_params, relative_error
from minirlhf.step1_language_model import cross_entropy, language_model_loss
from minirlhf.tokenizer import BOS, build_tokenizer

# %% [markdown]
# **Terms**
#
# - **parameter** is a number that training may change: one weight.
# - **embedding** is the row of numbers that stands for a character or for a position.
# - **attention** is the part in which a position collects what it needs from earlier ones.
# - **head** (attention head) is one of several attentions side by side, each with its own look.
# - **causal mask** is what hides the characters to the right, which are still to be guessed.
# - **softmax** is $p_i = e^{z_i} / \sum_j e^{z_j}$: any numbers become shares that sum to 1.
# - **logits** are the numbers that go into the last softmax, one for each possible character.
# - **LayerNorm** gives each row mean 0 and variance 1, then a learned gain and shift.
# - **residual** is a path around a layer: what it found is added to what went in.
# - **loss** is one number that says how wrong the model is. Smaller is better.
# - **gradient** of an array holds, for each of its entries, the slope of the loss along it.
# - **forward pass** is the way from the characters to the loss.
# - **backward pass** is the way back, on which all gradients are computed.
# - **cache** is what the forward pass keeps for the backward pass.
# - **chain rule** says that the slopes of functions applied one after the other are multiplied.
# - **upstream gradient** is the gradient of a layer's output: what the backward pass brings along.
# - **finite difference** is a measured slope: nudge an entry up and down, compare the results.
# - **relative error** is the largest difference of two arrays, divided by their largest entry.
# - **float64** is a number with about 16 digits, float32 one with about 7.
# - **round-off** is the error in the last of these digits.

# %%
model = pretrained("en")
p, config, text = model.params, model.config, "Who are you?\nI am a robot."
ids = np.array([[BOS, *model.tokenizer.encode(text)]])  # (B, T)
hidden, cache = gpt.gpt_forward(p, config, ids)
logits, _ = gpt.lm_head_forward(p, hidden)
probs = layers.softmax(logits)
for what, array in (("characters", ids), ("hidden rows", hidden), ("logits", logits)):
    print(f"{what:12} {array.shape}")
place = text.index("robot")  # the model has read "... I am a "
best = np.argsort(-probs[0, place])[:5]
guesses = [f"{model.tokenizer.decode([i])} {probs[0, place, i]:.3f}" for i in best]
print(f"after 'I am a ' comes: {', '.join(guesses)}")
print(f"{p.flat.size} parameters, {config.n_layer} layers, {config.n_head} heads in each")

# %% [markdown]
# **Before 1.** How much more work is the backward pass, for *all* parameters, than one forward
# pass?
#
# - A. About as many forward passes as there are parameters.
# - B. About two forward passes.
# - C. Next to nothing: the losses are already known.
#
# <details><summary>Answer</summary>
#
# **B.** Forward, a matrix product $xw$ is one product. Backward there are two, one for $x$ and one
# for $w$. A is the price of measuring, C forgets that a slope is not a loss.
#
# </details>

# %% [markdown]
# **Before 2.** You measure a slope with a nudge h of a billionth. Now you take h a thousand times
# smaller. The result becomes
#
# - A. worse, because the two losses differ only in their last digits.
# - B. better, because a slope is a limit for h towards 0.
# - C. no different, because float64 has 16 digits.
#
# <details><summary>Answer</summary>
#
# **A.** Below, you see it. B is true on paper only. C forgets that 16 digits of both losses leave
# few digits of their difference.
#
# </details>

# %% [markdown]
# ## Looking back: attention
#
# B texts, T characters each, C numbers for a character, V possible characters: read the shapes as
# (B, T), (B, T, C), (B, T, V). H is the number of heads, D = C / H the width of one.
#
# Each position makes three rows of D numbers: a query $q$ (what it looks for), a key $k$ (what it
# has), a value $v$ (what it passes on). Position t scores position s by how well they fit:
#
# $$\text{scores}_{ts} = q_t \cdot k_s / \sqrt{D}, \qquad
# \text{shares} = \text{softmax of each row}, \qquad
# \text{mix}_t = \sum_s \text{shares}_{ts}\, v_s$$
#
# The next character is what the model must guess. So position t must not see what lies to its
# right: before the softmax, the causal mask replaces those scores.
#
# **Exercise 01.1.** Rows look, columns are looked at. About 3 lines. Help: `hint("01.1")`.

# %%
def causal_mask(scores):
    """scores (..., T, T) -> the same, but -inf where the column comes after the row."""
    ### BEGIN SOLUTION
    T = scores.shape[-1]
    future = np.triu(np.ones((T, T), bool), 1)  # (T, T)
    return np.where(future, -np.inf, scores)
    ### END SOLUTION

# %%
causal_mask = check(causal_mask)

# %%
shares = []
for block in cache.blocks:
    q, k = block.attention.q, block.attention.k  # (B, H, T, D)
    scores = q @ k.swapaxes(-1, -2) * q.shape[-1] ** -0.5  # (B, H, T, T)
    shares.append(layers.softmax(causal_mask(scores))[0])
    assert np.allclose(shares[-1], block.attention.probs[0])  # the package's own
shares, start = np.array(shares), text.index("I")
top, most = shares[1, 0, place, text.index("re") + 1], shares[0, :, start:].max()
show(figures.attention_rows(shares[:, :, start:], text[start - 1 :], "^" + text),
     "Each row reads a character, bright is where it looks, the future is blank. ^ is the start, "
     "left of the white line is the question. Before 'robot', head 1 of layer 2 puts "
     f"{100 * top:.0f} % on the r of 'are'. In layer 1 the most is {100 * most:.0f} %.")
where(layers.attention_forward)

# %%
# The mask's promise: what comes later changes nothing.
other = ids.copy()
other[0, -1] = model.tokenizer.encode("!")[0]  # the last character, "." becomes "!"
change = np.abs(gpt.gpt_forward(p, config, other)[0] - hidden).max(axis=-1)[0]  # (T,)
print(f"rows that changed: {(change > 0).sum()} of {len(change)}, namely the last")
assert change[-1] > 0.1 and change[:-1].max() == 0

# %% [markdown]
# Nobody told the heads where to look. Training found these habits, and the picture does not say
# what they are for.
#
# ## How wrong, and in which direction
#
# The loss of one guess is $L = -\ln p_y$, where $y$ is the character that really came. With the
# softmax written out, $L = \ln \sum_j e^{z_j} - z_y$, so its slope along logit $i$ is
#
# $$\frac{\partial L}{\partial z_i} = p_i - [i = y]$$
#
# Here $[i = y]$ is 1 if $i$ is $y$, and 0 if not. Probability minus truth: that is the whole
# formula.

# %%
y, slopes = ids[0, place + 1], probs[0, place].copy()  # the id of r; (V,)
slopes[y] -= 1
assert abs(slopes.sum()) < 1e-12
names = model.tokenizer.decode(best)
show(figures.probability_and_slope(names, probs[0, place, best], slopes[best]),
     f"The true next character r has {probs[0, place, y]:.3f} and the only negative slope, "
     f"{slopes[y]:.3f}: raising its logit lowers the loss. All other bars keep their height; "
     "together the slopes are 0.")

# %% [markdown]
# ## Trust, but check
#
# A formula can be wrong, and its code again. A finite difference needs no formula:
#
# $$\frac{\partial L}{\partial x_i} \approx \frac{L(x_i + h) - L(x_i - h)}{2h}$$
#
# **Exercise 01.2.** Measure the slope along every entry of an array. About 6 lines.

# %%
def numerical_grad(f, x, h):
    """f: array -> float, x: array of any shape, h: nudge -> slopes of f, an array like x."""
    ### BEGIN SOLUTION
    slopes = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[index] = h
        slopes[index] = (f(x + nudge) - f(x - nudge)) / (2 * h)
    return slopes
    ### END SOLUTION

# %%
numerical_grad = check(numerical_grad)

# %% [markdown]
# How large should h be? Here the true slopes are known: probability minus truth. So we can measure
# the error of the measurement.

# %%
def one_loss(z):
    """logits z (V,) -> loss of the true character, in the precision of z."""
    return np.log(np.exp(z - z.max()).sum()) + z.max() - z[y]

z, nudges = logits[0, place], 10.0 ** np.arange(-1, -13.1, -0.5)
single = z.astype(np.float32)
one_sided = exercises.numerical_grad_one_sided
ways = {"up and down": (numerical_grad, z), "up only": (one_sided, z),
        "up and down, float32": (numerical_grad, single)}
errors = {name: np.array([relative_error(way(one_loss, x, h).astype(float), slopes)
                          for h in nudges]) for name, (way, x) in ways.items()}
central, up, short = errors.values()

# %%
good = nudges[central < 1e-6]
assert good.min() < 1e-7 and 1e-4 < good.max() < 1e-2 and central.min() < 1e-9
assert 1e-6 < nudges[central.argmin()] < 1e-4 and central[nudges < 1e-11].min() > 1e-4
assert 1e-10 < up.min() < 1e-6 and short.min() > 1e-5
assert np.isclose(central[1] / central[3], 100, rtol=0.2)  # a tenth of h, a hundredth of the error
labels = ((3e-5, 3e-12), (3e-6, 6e-5), (3e-11, 8e-2))
curves = [(name, e, at) for (name, e), at in zip(errors.items(), labels)]
show(figures.v_curves(nudges, curves),
     "Three V shapes. On the right arm h is too large, on the left arm round-off is divided by a "
     "tiny h. Up and down is best, near h = 1e-5; in float32 no h enters the shaded band below "
     "1e-6.")

# %% [markdown]
# On the right arm a tenth of h leaves a hundredth of the error. We take float64 and $h = 10^{-5}$
# from here on, and call a gradient right if its relative error is below one in a million.
#
# ## Backwards through a softmax
#
# Now the softmax inside attention. Its output is not the end: an upstream gradient $g_j$ arrives
# for every share. Raising entry $i$ moves *all* shares of its row, by $p_j ([i = j] - p_i)$. The
# chain rule adds up all these paths:
#
# $$\frac{\partial L}{\partial z_i} = \sum_j g_j\, p_j ([i = j] - p_i)
# = p_i \Big( g_i - \sum_j p_j g_j \Big)$$
#
# **Exercise 01.3.** Write it for an array of rows. About 2 lines, no loop.

# %%
def softmax_backward(dprobs, probs):
    """upstream gradient dprobs (..., N), probs (..., N) -> gradient of what went in (..., N)."""
    ### BEGIN SOLUTION
    average = (dprobs * probs).sum(axis=-1, keepdims=True)  # (..., 1)
    return probs * (dprobs - average)
    ### END SOLUTION

# %%
softmax_backward = check(softmax_backward)

# %%
def projected(forward, upstream, x):
    """sum(upstream * forward(x)): its slopes along x are what a backward pass must give."""
    return float((upstream * forward(x)).sum())

rng = np.random.default_rng(0)
for shape in ((2, 3, 4), (3, 1, 5), (4, 5, 2)):
    x, upstream = rng.normal(size=shape), rng.normal(size=shape)
    measured = numerical_grad(partial(projected, layers.softmax, upstream), x, 1e-5)
    mine = softmax_backward(upstream, layers.softmax(x))
    assert relative_error(mine, measured) < 1e-6
    print(f"{shape}: agrees with finite differences")
truth = -np.eye(len(z))[y] / probs[0, place]  # upstream gradient of -ln p_y
assert np.allclose(softmax_backward(truth, probs[0, place]), slopes)  # probability minus truth
where(layers.softmax_backward)

# %% [markdown]
# ## Backwards through LayerNorm
#
# Forward, each row is centred, divided by its standard deviation, multiplied by a gain, shifted.

# %%
def layernorm(x, gain, bias):
    """x (B, T, C), gain (C,), bias (C,) -> y (B, T, C), cache."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)  # (B, T, 1)
    rstd = 1 / np.sqrt(variance + layers.LAYERNORM_EPS)  # (B, T, 1)
    xhat = centred * rstd  # (B, T, C)
    return xhat * gain + bias, (xhat, rstd, gain)

# %% [markdown]
# Backward, let $\hat g = g \cdot \text{gain}$. An entry of $x$ acts on three paths: directly,
# through the mean, and through the variance. The last two take something away:
#
# $$\frac{\partial L}{\partial x} = \text{rstd} \Big( \hat g - \text{mean}(\hat g)
# - \hat x \cdot \text{mean}(\hat g \hat x) \Big)$$
#
# The means run over the C numbers of a row. Why these two? A row may be shifted or stretched as a
# whole, and LayerNorm undoes it (stretching up to a tiny epsilon). So these two directions have
# slope 0.
#
# **Exercise 01.4.** Write `dx`, `dgain` and `dbias`. The last two are shared by all rows, so they
# are sums over the rows. About 5 lines.

# %%
def layernorm_backward(dy, cache):
    """dy (B, T, C), cache: xhat (B, T, C), rstd (B, T, 1), gain (C,) -> dx, dgain, dbias."""
    ### BEGIN SOLUTION
    xhat, rstd, gain = cache
    dxhat = dy * gain  # (B, T, C)
    along = (dxhat * xhat).mean(axis=-1, keepdims=True)  # (B, T, 1)
    dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * along)
    return dx, (dy * xhat).sum(axis=(0, 1)), dy.sum(axis=(0, 1))
    ### END SOLUTION

# %%
layernorm_backward = check(layernorm_backward)

# %%
def layernorm_value(gain, bias, x):
    return layernorm(x, gain, bias)[0]

for shape in ((2, 3, 4), (3, 1, 5), (4, 5, 2)):
    x, upstream = rng.normal(size=shape), rng.normal(size=shape)
    gain, bias = rng.normal(size=(2, shape[-1]))
    forward = partial(layernorm_value, gain, bias)
    measured = numerical_grad(partial(projected, forward, upstream), x, 1e-5)
    mine = layernorm_backward(upstream, layernorm(x, gain, bias)[1])
    assert relative_error(mine[0], measured) < 1e-6
    package = layers.layernorm_backward(upstream, layers.layernorm_forward(x, gain, bias)[1])
    assert all(np.allclose(a, b) for a, b in zip(mine, package))
    print(f"{shape}: agrees with finite differences and with the package")
where(layers.layernorm_backward)

# %% [markdown]
# ## A whole model, every array with a name
#
# A model small enough to measure every slope: one layer, three heads, two words. `keep` stores each
# array under a name, and adds a nudge if we ask for one.
#
# `qkv` is one product that makes queries, keys and values for all heads at once. The residual paths
# are the two lines with `x + h`. The second half of the block works on each character alone: wider,
# GELU (a smooth way to keep what is positive), narrow again.

# %%
tokenizer = build_tokenizer(["robot", "otter"])
tokens = np.array([[BOS, *tokenizer.encode(word)] for word in ("robot", "otter")])  # (B, T+1)
inputs, targets = tokens[:, :-1], tokens[:, 1:]  # (B, T) = (2, 5)
B, T, H, D, C, V = 2, 5, 3, 4, 12, len(tokenizer)  # no two are equal: a swapped axis shows
small = gpt.GPTConfig(vocab_size=V, block_size=T + 1, n_layer=1, n_head=H, n_embd=C)
weights = gpt.init_params(small, rng, np.float64)
weights.flat += rng.normal(0, 0.2, weights.flat.size)  # a gain of 1 or a bias of 0 hides errors
print(f"{weights.flat.size} parameters; B {B}, T {T}, H {H}, D {D}, C {C}, V {V}")

# %%
def keep(trace, name, output):
    """output: (value, cache) of a layer -> the value, nudged where the trace asks for it."""
    value, trace["cache"][name] = output
    trace["value"][name] = value + trace["nudge"].get(name, 0)
    return trace["value"][name]

# %%
def attention_half(p, x, trace):
    """x (B, T, C) -> x plus what attention collected, (B, T, C)."""
    h = keep(trace, "ln1", layernorm(x, p.ln1_g[0], p.ln1_b[0]))
    h = keep(trace, "qkv", layers.linear_forward(h, p.qkv_w[0], p.qkv_b[0]))  # (B, T, 3C)
    parts = h.reshape(B, T, 3, H, D).transpose(2, 0, 3, 1, 4)  # three times (B, H, T, D)
    q, k, v = [keep(trace, name, (part, None)) for name, part in zip("qkv", parts)]
    h = keep(trace, "scores", (q @ k.swapaxes(-1, -2) * D**-0.5, None))  # (B, H, T, T)
    probs = keep(trace, "probs", (layers.softmax(causal_mask(h)), None))
    mix = (probs @ v).swapaxes(1, 2).reshape(B, T, C)
    h = keep(trace, "mix", (mix, (q, k, v, probs)))
    h = keep(trace, "proj", layers.linear_forward(h, p.proj_w[0], p.proj_b[0]))
    return keep(trace, "x1", (x + h, None))

# %%
def mlp_half(p, x, trace):
    """x (B, T, C) -> x plus what two layers with a GELU between them make of it."""
    h = keep(trace, "ln2", layernorm(x, p.ln2_g[0], p.ln2_b[0]))
    h = keep(trace, "fc", layers.linear_forward(h, p.fc_w[0], p.fc_b[0]))  # (B, T, 4C)
    h = keep(trace, "gelu", layers.gelu_forward(h))
    h = keep(trace, "out", layers.linear_forward(h, p.out_w[0], p.out_b[0]))
    return keep(trace, "x2", (x + h, None))

# %%
def forward(p, nudge):
    """Params, nudge {name: array} -> loss, trace."""
    trace = {"value": {}, "cache": {}, "nudge": nudge}
    x = keep(trace, "x0", layers.embedding_forward(inputs, p.wte, p.wpe))
    x = mlp_half(p, attention_half(p, x, trace), trace)
    h = keep(trace, "hidden", layernorm(x, p.lnf_g, p.lnf_b))
    logits = keep(trace, "logits", gpt.lm_head_forward(p, h))
    loss, trace["dlogits"] = cross_entropy(logits, targets, np.ones(targets.shape))
    return loss, trace

# %%
loss, trace = forward(weights, {})
shapes = {name: value.shape for name, value in trace["value"].items()}
letters = {B: "B", T: "T", H: "H", D: "D", C: "C", V: "V", 3 * C: "3C", 4 * C: "4C"}
show(figures.computation_graph(shapes, letters),
     f"{len(shapes)} arrays from the embeddings x0 to the logits, then the loss. Blue arrows: "
     "forward, order 1 to 19. Orange: the same graph backwards. Grey: the two residual paths.")

# %% [markdown]
# ## The same way back
#
# The gradients of attention are one rule, used twice. If $Y = A B$ is a matrix product, then
#
# $$\frac{\partial L}{\partial A} = \frac{\partial L}{\partial Y} B^T, \qquad
# \frac{\partial L}{\partial B} = A^T \frac{\partial L}{\partial Y}$$
#
# The causal mask needs no line at all: where a share is 0, your softmax formula gives 0.
#
# Each forward line has a backward line, in reverse order. `use` holds the functions, so that we can
# exchange one later. Where an array is used twice, its gradient is a sum. That happens at the two
# residuals, and for `wte`: it looks up characters at the start and makes logits at the end.

# %%
def attention_half_backward(g, d, c, use):
    """Fills the gradients g of the parameters and d of the intermediates; c: the caches."""
    d["proj"] = d["x1"]
    d["mix"], g.proj_w[0], g.proj_b[0] = use.linear(d["proj"], c["proj"])
    q, k, v, probs = c["mix"]
    dy = d["mix"].reshape(B, T, H, D).swapaxes(1, 2)  # (B, H, T, D)
    d["probs"], d["v"] = dy @ v.swapaxes(-1, -2), probs.swapaxes(-1, -2) @ dy
    d["scores"] = use.softmax(d["probs"], probs)
    d["q"], d["k"] = use.scores(d["scores"], q, k)
    parts = np.stack([d["q"], d["k"], d["v"]])  # (3, B, H, T, D)
    d["qkv"] = parts.transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * C)
    d["ln1"], g.qkv_w[0], g.qkv_b[0] = use.linear(d["qkv"], c["qkv"])
    branch, g.ln1_g[0], g.ln1_b[0] = use.layernorm(d["ln1"], c["ln1"])
    d["x0"] = use.residual(d["x1"], branch)

# %%
def mlp_half_backward(g, d, c, use):
    """The same for the other half."""
    d["out"] = d["x2"]
    d["gelu"], g.out_w[0], g.out_b[0] = use.linear(d["out"], c["out"])
    d["fc"] = use.gelu(d["gelu"], c["gelu"])
    d["ln2"], g.fc_w[0], g.fc_b[0] = use.linear(d["fc"], c["fc"])
    branch, g.ln2_g[0], g.ln2_b[0] = use.layernorm(d["ln2"], c["ln2"])
    d["x1"] = use.residual(d["x2"], branch)

# %%
def backward(p, trace, use):
    """-> gradients of the parameters (Params), of the intermediates {name: array}."""
    g, d, c = gpt.Params(p.shapes, np.float64), {"logits": trace["dlogits"]}, trace["cache"]
    d["hidden"], as_head = gpt.lm_head_backward(p, d["logits"], c["logits"])
    d["x2"], g.lnf_g[...], g.lnf_b[...] = use.layernorm(d["hidden"], c["hidden"])
    mlp_half_backward(g, d, c, use)
    attention_half_backward(g, d, c, use)
    as_lookup, g.wpe[...] = use.embedding(d["x0"], c["x0"])
    g.wte[...] = use.both(as_head, as_lookup)
    return g, d

# %%
def scores_backward(dscores, q, k):
    """dscores (B, H, T, T), q and k (B, H, T, D) -> dq, dk."""
    return D**-0.5 * dscores @ k, D**-0.5 * dscores.swapaxes(-1, -2) @ q

RIGHT = {
    "softmax": softmax_backward, "layernorm": layernorm_backward,  # yours
    "scores": scores_backward, "residual": np.add, "both": np.add,
    "linear": layers.linear_backward, "gelu": layers.gelu_backward,
    "embedding": layers.embedding_backward,
}

# %%
g, d = backward(weights, trace, SimpleNamespace(**RIGHT))
package_loss, package = language_model_loss(
    weights, small, inputs, targets, np.ones(targets.shape))
assert np.isclose(loss, package_loss) and relative_error(g.flat, package.flat) < 1e-12
print(f"loss {loss:.4f}; all {g.flat.size} slopes are those of the package")
for part, slopes in zip(("queries", "keys", "values"), np.abs(g.qkv_b[0]).reshape(3, C)):
    print(f"largest slope along the shift of the {part}: {slopes.max():.4f}")
assert np.abs(g.qkv_b[0, C : 2 * C]).max() < 1e-12 < np.abs(g.qkv_w[0, :, C : 2 * C]).max()
where(gpt.gpt_backward)

# %% [markdown]
# ## The ladder
#
# Two programs may share an error, so we measure. Every entry of every array is nudged up and down,
# and so is every parameter. That takes thousands of forward passes; the backward pass was one.

# %%
def loss_with(name, nudge):
    """The loss when a nudge is added to the intermediate of this name."""
    return forward(weights, {name: nudge})[0]

def loss_of(flat):
    """The loss for other parameters, given as one vector."""
    moved = weights.copy()
    moved.flat[...] = flat
    return forward(moved, {})[0]

measured = {name: numerical_grad(partial(loss_with, name), np.zeros(shape), 1e-5)
            for name, shape in shapes.items()}
measured_weights = weights.copy()
measured_weights.flat[...] = numerical_grad(loss_of, weights.flat, 1e-5)

# %%
def errors_with(**replaced):
    """Replaced backward functions -> relative errors of intermediates and of parameters."""
    g, d = backward(weights, trace, SimpleNamespace(**{**RIGHT, **replaced}))
    rungs = {name: relative_error(d[name], measured[name]) for name in reversed(list(shapes))}
    tensors = compare_params(g, measured_weights)
    return rungs, {name: tensors[name] for name in reversed(list(tensors))}

rungs, tensors = errors_with()
calls = 2 * (sum(map(math.prod, shapes.values())) + weights.flat.size)
worst = max(*rungs.values(), *tensors.values())
assert worst < 1e-7
show(figures.ladder(rungs, tensors, "Nothing is broken"),
     f"All {len(rungs)} rungs on the left and {len(tensors)} on the right stand in the shaded "
     f"band, below 1e-6. {calls} forward passes have confirmed one backward pass.")

# %% [markdown]
# Read it from the top: the loss is above the first rung, and the backward pass climbs down.
#
# ## Break one line
#
# Each of these is a real mistake, and really runs. Seven more are in
# `minirlhf/course/lesson01/exercises.py`: four of them are known mistakes of your exercises.

# %%
def residual_branch_only(dx, branch):
    return branch  # the path around the layer is forgotten

def scores_without_root(dscores, q, k):
    return dscores @ k, dscores.swapaxes(-1, -2) @ q  # not divided by the root of D

def scores_not_turned(dscores, q, k):
    return D**-0.5 * dscores @ k, D**-0.5 * dscores @ q  # rows and columns mixed up

def gelu_constant_gate(dy, cache):
    x, gate = cache
    return dy * gate  # the gate depends on x, too

# %%
BREAKS = {
    "nothing": {},
    "scores: root of D forgotten": {"scores": scores_without_root},
    "scores: k not turned": {"scores": scores_not_turned},
    "softmax: no sum": {"softmax": exercises.softmax_without_the_sum},
    "softmax: wrong axis": {"softmax": exercises.softmax_wrong_axis},
    "LayerNorm: no mean path": {"layernorm": exercises.layernorm_without_mean},
    "LayerNorm: dgain = dbias": {"layernorm": exercises.layernorm_gain_like_bias},
    "residual: branch only": {"residual": residual_branch_only},
    "GELU: constant gate": {"gelu": gelu_constant_gate},
    "linear: mean for sum": {"linear": exercises.linear_mean_for_sum},
    "embedding: last one wins": {"embedding": exercises.lookup_last_wins},
    "wte: = for +=": {"both": exercises.lookup_only},
}

# %% [markdown]
# **Predict before you run.** `scores_without_root` forgets to divide by the root of D. Which rungs
# of the left ladder turn orange?
#
# - A. All: one wrong factor spoils the whole backward pass.
# - B. q, k and what lies below them. Not v, which is beside them.
# - C. Only scores, where the root stands.
#
# <details><summary>Answer, after you have run the next cell</summary>
#
# **B.** What lies above was finished before. v has a path of its own, past the scores. And scores
# itself is right: its gradient came from the softmax. The error is born one rung lower. So the
# highest orange rungs name the guilty line.
#
# </details>

# %%
def redraw(broken):
    rungs, tensors = errors_with(**BREAKS[broken])
    off = [name for name, error in rungs.items() if error > 1e-6]
    count = len(off) + sum(error > 1e-6 for error in tensors.values())
    first = f"The highest on the left is {off[0]}" if off else "None of them is on the left"
    show(figures.ladder(rungs, tensors, f"Broken: {broken}"),
         f"{count} of {len(rungs) + len(tensors)} rungs are orange crosses, right of the shaded "
         f"band that ends at 1e-6. {first}.")

redraw("scores: root of D forgotten")
found = errors_with(scores=scores_without_root)[0]
assert [name for name, error in found.items() if error > 1e-6] == ["k", "q", "qkv", "ln1", "x0"]
play(redraw, broken=list(BREAKS))

# %%
def train(replaced, updates=200):
    """Move all parameters a little against the (broken) gradient, again and again -> losses."""
    moving, losses, use = weights.copy(), [], SimpleNamespace(**{**RIGHT, **replaced})
    for _ in range(updates):
        loss, trace = forward(moving, {})
        losses.append(loss)
        moving.flat[...] -= 0.02 * backward(moving, trace, use)[0].flat
    return losses

# %%
print("broken                       off left  right  highest  loss at the end")
curves = {name: train(replaced) for name, replaced in BREAKS.items()}
for name, replaced in BREAKS.items():
    wrong = backward(weights, trace, SimpleNamespace(**{**RIGHT, **replaced}))[0]
    assert (wrong.flat * g.flat).sum() > 0  # less than 90 degrees from the right direction
    parts = errors_with(**replaced)
    left, right = [[n for n, e in part.items() if e > 1e-6] for part in parts]
    first = (left + right + ["-"])[0]
    print(f"{name:28} {len(left):8} {len(right):6}  {first:7}  {curves[name][-1]:.2f}")
    assert bool(left or right) == (name != "nothing")

# %% [markdown]
# The highest orange rung names the line. A wrong gradient of an intermediate spoils all that is
# computed from it. A wrong gradient of a parameter spoils the right only, and the left looks
# perfect.
#
# **A silent bug.** In the last column each model was trained, with its own broken gradient. Would
# you have noticed?
#
# <details><summary>Answer</summary>
#
# Hardly. Every loss falls at every update, and some broken models end below the right one. Two
# words are easy to learn, and all these wrong gradients still point downhill. A falling loss does
# not prove a gradient.
#
# </details>

# %%
floor = np.log(2) / T  # the first character is r or o, a fair coin; the rest follows from it
ends = {name: losses[-1] for name, losses in curves.items()}
broken = [end for name, end in ends.items() if name != "nothing"]
assert max(np.diff(losses).max() for losses in curves.values()) < 0  # no curve ever rises
assert min(broken) < ends["nothing"]
show(figures.loss_curves(curves, "nothing", floor),
     f"All {len(curves)} curves fall from {loss:.2f}, without a single rise. The right one ends at "
     f"{ends['nothing']:.2f}, the broken ones between {min(broken):.2f} and {max(broken):.2f}.")

# %% [markdown]
# **After 1.** One third of `qkv_b` has slope 0: the shift that is added to all keys. Is that a bug?
#
# - A. Yes. The gradient of the keys is lost somewhere.
# - B. Yes. These parameters started at 0 and cannot leave it.
# - C. No. It adds one number to a whole row of scores, and the softmax cancels it.
#
# <details><summary>Answer</summary>
#
# **C.** The query of the row times the shift is the same for all keys. Measurement agrees: the rung
# is not orange. Against A speaks `qkv_w`: its slopes for the keys are not 0. B is wrong twice: here
# they started elsewhere, and a slope says nothing about the start.
#
# </details>

# %% [markdown]
# **After 2.** Somebody tests `softmax_backward` with an upstream gradient of all ones, and it
# passes. What do you know?
#
# - A. Almost nothing. The right result is 0 everywhere, so a function that gives zeros passes.
# - B. It is right, since all entries were tested.
# - C. It is right up to a constant factor.
#
# <details><summary>Answer</summary>
#
# **A.** The shares of a row sum to 1, whatever goes in. So their sum has slope 0. Take a random
# upstream gradient instead. B and C: a function that gives only zeros passes, and for any other
# upstream gradient no factor makes it right.
#
# </details>

# %% [markdown]
# **After 3.** On your ladder, all is right from the logits down to `gelu`. From `fc` down to `x0`
# all is orange. Where do you look first?
#
# - A. In the embedding: it is the lowest orange rung.
# - B. In `gelu_backward`, which takes the gradient from `gelu` to `fc`.
# - C. In all orange places: each has a bug.
#
# <details><summary>Answer</summary>
#
# **B.** It had a right input and gave a wrong output. Everything below was computed from that
# output, so A and C blame the victims.
#
# </details>

# %%
some = layers.softmax(rng.normal(size=(2, 5)))
assert np.abs(softmax_backward(np.ones((2, 5)), some)).max() < 1e-15
assert [n for n, e in errors_with(gelu=gelu_constant_gate)[0].items() if e > 1e-6][0] == "fc"
gpt2 = gpt.GPTConfig(vocab_size=50257, block_size=1024, n_layer=12, n_head=12, n_embd=768)
count = sum(map(math.prod, gpt.param_shapes(gpt2).values()))
print(f"the same code with the sizes of GPT-2 small: {count} parameters")

# %% [markdown]
# **At scale.** With these sizes the same arrays make GPT-2 small, 124439808 parameters
# ([Radford et al. 2019](https://openai.com/index/better-language-models/)). PyTorch and JAX chain
# such pairs of functions for you. Whoever writes a new pair, as FlashAttention did
# ([Dao et al. 2022](https://arxiv.org/abs/2205.14135)), must test it. PyTorch's `gradcheck` is your
# ladder: finite differences, in float64.
#
# Next, lesson 02: the loss of this lesson, a corpus, and many small moves against the gradient.
