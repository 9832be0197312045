"""Exercises of lesson 01: causal mask, numerical gradient, softmax and LayerNorm backwards."""

import numpy as np

from minirlhf import gradcheck, layers
from minirlhf.course import Exercise, Mistake

# ---- 01.1 causal_mask -----------------------------------------------------------------------


def causal_mask(scores):
    """scores (..., T, T) -> the same, but -inf where the column comes after the row."""
    T = scores.shape[-1]
    future = np.triu(np.ones((T, T), bool), 1)  # (T, T)
    return np.where(future, -np.inf, scores)


def causal_mask_strict(scores):
    return np.where(np.triu(np.ones(scores.shape[-2:], bool)), -np.inf, scores)


def causal_mask_zeros(scores):
    return scores * np.tril(np.ones(scores.shape[-2:]))


def causal_mask_of_the_past(scores):
    return np.where(np.tril(np.ones(scores.shape[-2:], bool), -1), -np.inf, scores)


def causal_mask_times_infinity(scores):
    return scores + np.triu(np.ones(scores.shape[-2:]), 1) * -np.inf


def causal_mask_large_number(scores):
    return np.where(np.triu(np.ones(scores.shape[-2:], bool), 1), -1e9, scores)


def causal_mask_cases(rng):
    """Two positions, then texts and heads of different sizes."""
    cases = [(np.array([[1.0, 2.0], [3.0, 4.0]]),)]
    for shape in ((3, 3), (2, 4, 4), (2, 3, 5, 5)):
        cases.append((rng.normal(size=shape),))
    return cases


MASK = Exercise(
    id="01.1", reference=causal_mask, package=layers.attention_forward, points=1,
    task="It takes scores (..., T, T) and gives the same numbers, with -inf wherever the column "
         "comes after the row.",
    example="causal_mask(np.array([[1., 2.], [3., 4.]])) is [[1, -inf], [3, 4]].",
    cases=causal_mask_cases,
    mistakes=(
        Mistake("strict", "A position may look at itself, yet yours hides it. Then the first row "
                "is empty, and the softmax of an empty row is not a number.", causal_mask_strict),
        Mistake("zeros", "The future got the score 0. After the exponential, a score of 0 counts "
                "as much as any other: e^0 is 1. Which score becomes 0?", causal_mask_zeros),
        Mistake("wrong triangle", "You hide the past and show the future. Rows are the positions "
                "that look, columns are what they look at.", causal_mask_of_the_past),
        Mistake("0 times infinity", "0 times infinity is NaN, so the allowed scores are lost. "
                "Choose between two numbers instead of multiplying.", causal_mask_times_infinity),
        Mistake("large number", "A large negative number mostly works. It fails where all scores "
                "are as large; -inf gives exactly 0 in every case.", causal_mask_large_number),
    ),
    hints=("Which entries (row, column) are the future? Those above the diagonal.",
           "np.triu(matrix, 1) keeps what lies above the diagonal and makes the rest 0. Apply it "
           "to a matrix of True.",
           "np.where(condition, a, b) takes a where the condition holds, else b. It repeats the "
           "(T, T) condition for every text and head."),
)
# ---- 01.2 numerical_grad --------------------------------------------------------------------


def numerical_grad(f, x, h):
    """f: array -> float, x: array of any shape, h: nudge -> slopes of f, an array like x."""
    slopes = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[index] = h
        slopes[index] = (f(x + nudge) - f(x - nudge)) / (2 * h)
    return slopes


def numerical_grad_one_sided(f, x, h):
    slopes = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[index] = h
        slopes[index] = (f(x + nudge) - f(x)) / h
    return slopes


def numerical_grad_float32(f, x, h):
    return numerical_grad(f, x.astype(np.float32), h)


def numerical_grad_not_put_back(f, x, h):
    slopes = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        x[index] += h
        above = f(x)
        x[index] -= 2 * h
        slopes[index] = (above - f(x)) / (2 * h)
    return slopes


def numerical_grad_nearly_put_back(f, x, h):
    slopes = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        x[index] += h
        above = f(x)
        x[index] -= 2 * h
        slopes[index] = (above - f(x)) / (2 * h)
        x[index] += h
    return slopes


def numerical_grad_all_at_once(f, x, h):
    return np.full_like(x, (f(x + h) - f(x - h)) / (2 * h))


def sum_of_squares(x):
    """sum of x^2: its slopes are 2x."""
    return float((x * x).sum())


def sum_of_cubes(x):
    """sum of x^3: its slopes are 3 x^2."""
    return float((x * x * x).sum())


def log_of_sum(x):
    """log of the sum of e^x: its slopes are the softmax of all entries."""
    return float(np.log(np.exp(x).sum()))


def numerical_grad_cases(rng):
    """Squares and cubes with a large nudge, then arrays of several shapes with small ones."""
    cases = [(sum_of_squares, np.array([3.0, 1.0]), 0.5), (sum_of_cubes, np.array([2.0, 0.3]), 0.1)]
    for f, shape, h in ((log_of_sum, (4,), 1e-2), (sum_of_cubes, (2, 3), 1e-3),
                        (log_of_sum, (2, 3, 5), 1e-5)):
        cases.append((f, rng.normal(size=shape), h))
    return cases


NUMERICAL = Exercise(
    id="01.2", reference=numerical_grad, package=gradcheck.numerical_gradient,
    task="It takes a function f (array -> float), an array x of any shape and a nudge h, and "
         "gives the slope of f along every entry of x, in the shape of x.",
    example="numerical_grad(f, np.array([3., 1.]), 0.5) is [6, 2] if f is the sum of squares.",
    cases=numerical_grad_cases,
    mistakes=(
        Mistake("one-sided", "You compare x + h with x itself. The error is then proportional to "
                "h; with x + h and x - h it is proportional to h squared.",
                numerical_grad_one_sided),
        Mistake("float32", "Somewhere it becomes float32. Seven digits minus the five that a "
                "difference loses leave two.", numerical_grad_float32),
        Mistake("not put back", "An entry that was nudged stays nudged. So the later slopes are "
                "those of another place, and the caller's array is changed.",
                numerical_grad_not_put_back),
        Mistake("nearly put back", "x + h - 2h + h is not exactly x: each addition rounds. The "
                "caller's array has moved a little. Keep the old value, or work on a copy.",
                numerical_grad_nearly_put_back),
        Mistake("all at once", "All entries move together, so you get one number: the sum of all "
                "slopes. Nudge one entry at a time.", numerical_grad_all_at_once),
    ),
    hints=("A loop over all entries. In each round, only one entry moves.",
           "for index in np.ndindex(x.shape) goes through an array of any shape; x[index] is one "
           "entry.",
           "An array of zeros with h at one place can be added to x and subtracted from it. The "
           "two places are 2h apart."),
)


# ---- 01.3 softmax_backward ------------------------------------------------------------------


def softmax_backward(dprobs, probs):
    """upstream gradient dprobs (..., N), probs (..., N) -> gradient of what went in (..., N)."""
    average = (dprobs * probs).sum(axis=-1, keepdims=True)  # (..., 1)
    return probs * (dprobs - average)


def softmax_without_the_sum(dprobs, probs):
    return probs * dprobs


def softmax_wrong_axis(dprobs, probs):
    return probs * (dprobs - (dprobs * probs).sum(axis=0, keepdims=True))


def softmax_one_jacobian_for_all(dprobs, probs):
    p = probs.ravel()
    return ((np.diag(p) - np.outer(p, p)) @ dprobs.ravel()).reshape(probs.shape)


def softmax_like_a_sigmoid(dprobs, probs):
    return dprobs * probs * (1 - probs)


def softmax_plain_mean(dprobs, probs):
    return probs * (dprobs - dprobs.mean(axis=-1, keepdims=True))


def softmax_backward_cases(rng):
    """One row of two, a row of four, then (B, T, N) with causal zeros and (B, H, T, N)."""
    cases = [(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.25, 0.75], [0.5, 0.5]]))]
    for shape in ((3, 4), (2, 5, 5), (2, 3, 4, 7)):
        scores = rng.normal(size=shape)
        if shape[-1] == shape[-2]:
            scores = causal_mask(scores)
        cases.append((rng.normal(size=shape), layers.softmax(scores)))
    return cases


SOFTMAX = Exercise(
    id="01.3", reference=softmax_backward, package=layers.softmax_backward,
    task="It takes the upstream gradient dprobs (..., N) and the probabilities (..., N), and "
         "gives the gradient of what went into the softmax (..., N).",
    example="softmax_backward(np.array([[1., 0.]]), np.array([[.25, .75]])) is "
            "[[0.1875, -0.1875]].",
    cases=softmax_backward_cases,
    mistakes=(
        Mistake("no sum", "Raising one entry also lowers the shares of all others. That is the "
                "sum term, and it is missing.", softmax_without_the_sum),
        Mistake("wrong axis", "The sum runs over the wrong axis: each row (the last axis) is a "
                "softmax of its own.", softmax_wrong_axis),
        Mistake("one Jacobian", "You treat the whole array as a single softmax. Rows know "
                "nothing of each other.", softmax_one_jacobian_for_all),
        Mistake("like a sigmoid", "p (1 - p) is only the slope of a share along its own entry. "
                "The slopes along the other entries are not 0.", softmax_like_a_sigmoid),
        Mistake("plain mean", "You subtract the plain mean of the upstream gradient. It is a "
                "weighted one: with which weights?", softmax_plain_mean),
    ),
    hints=("Each row is on its own. First find one number for each row.",
           "That number is the average of the row's upstream gradient, with the probabilities as "
           "weights. keepdims=True keeps its axis.",
           "The result is the probability times the distance of dprobs from that average."),
)


# ---- 01.4 layernorm_backward ----------------------------------------------------------------


def layernorm_backward(dy, cache):
    """dy (B, T, C), cache: xhat (B, T, C), rstd (B, T, 1), gain (C,) -> dx, dgain, dbias."""
    xhat, rstd, gain = cache
    dxhat = dy * gain  # (B, T, C)
    along = (dxhat * xhat).mean(axis=-1, keepdims=True)  # (B, T, 1)
    dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * along)
    return dx, (dy * xhat).sum(axis=(0, 1)), dy.sum(axis=(0, 1))


def layernorm_without_mean(dy, cache):
    xhat, rstd, gain = cache
    along = (dy * gain * xhat).mean(axis=-1, keepdims=True)
    return rstd * (dy * gain - xhat * along), *layernorm_backward(dy, cache)[1:]


def layernorm_without_variance(dy, cache):
    _, rstd, gain = cache
    dx = rstd * (dy * gain - (dy * gain).mean(axis=-1, keepdims=True))
    return dx, *layernorm_backward(dy, cache)[1:]


def layernorm_like_constants(dy, cache):
    return dy * cache[2] * cache[1], *layernorm_backward(dy, cache)[1:]


def layernorm_without_gain(dy, cache):
    xhat, rstd, gain = cache
    dx = layernorm_backward(dy, (xhat, rstd, np.ones_like(gain)))[0]
    return dx, *layernorm_backward(dy, cache)[1:]


def layernorm_gain_like_bias(dy, cache):
    dx, _, dbias = layernorm_backward(dy, cache)
    return dx, dbias, dbias


def layernorm_cases(rng):
    """One row of three, then (B, T, C) with B, T and C all different."""
    cases = [(np.array([[[1.0, 0.0, 0.0]]]),
              (np.sqrt(1.5) * np.array([[[-1.0, 0.0, 1.0]]]), np.full((1, 1, 1), 2.0),
               np.array([1.0, 1.0, 3.0])))]
    for shape in ((2, 3, 4), (3, 2, 5), (4, 5, 3)):
        x, gain = rng.normal(1, 2, size=shape), rng.normal(1, 0.5, size=shape[-1])
        cases.append((rng.normal(size=shape), layernorm_cache(x, gain)))
    return cases


def layernorm_cache(x, gain):
    """x (B, T, C), gain (C,) -> what LayerNorm's backward pass needs."""
    C = x.shape[-1]
    _, (xhat, rstd, gain) = layers.layernorm_forward(x, gain, np.zeros(C))
    return xhat.reshape(x.shape), rstd.reshape(*x.shape[:-1], 1), gain


LAYERNORM = Exercise(
    id="01.4", reference=layernorm_backward, package=layers.layernorm_backward, points=3,
    task="It takes the upstream gradient dy (B, T, C) and the cache (xhat, rstd, gain), and "
         "gives dx (B, T, C), dgain (C,), dbias (C,).",
    example="layernorm_backward gives dx = [[[1/3, -2/3, 1/3]]] if dy = [[[1, 0, 0]]], xhat = "
            "[[[-1.2247, 0, 1.2247]]], rstd = [[[2]]] and gain = [1, 1, 3].",
    cases=layernorm_cases,
    mistakes=(
        Mistake("no mean path", "The path through the mean is missing: every entry of x moves "
                "the mean of its row.", layernorm_without_mean),
        Mistake("no variance path", "The path through the variance is missing: every entry of x "
                "changes how much its row is divided by.", layernorm_without_variance),
        Mistake("constants", "You treat mean and variance as constants. Both depend on x: two "
                "paths are missing.", layernorm_like_constants),
        Mistake("no gain", "dx ignores the gain. The gradient goes backwards through the last "
                "multiplication first.", layernorm_without_gain),
        Mistake("dgain", "dgain is the same as dbias. The gain is multiplied by something before "
                "it is added.", layernorm_gain_like_bias),
    ),
    hints=("Backwards: first through gain and bias, then through the division, then through the "
           "mean.",
           "Call dy * gain dxhat. From it, dx loses two things: its mean over the row, and its "
           "part along xhat.",
           "The part along xhat is xhat times the row mean of dxhat * xhat. What is left is "
           "multiplied by rstd. dgain and dbias are sums over the first two axes."),
)


# ---- lines to break -------------------------------------------------------------------------


def linear_mean_for_sum(dy, cache):
    """dy (B, T, O) -> dx, dw, db.  b is used in every row, so its slopes should add up."""
    dx, dw, _ = layers.linear_backward(dy, cache)
    return dx, dw, dy.mean(axis=(0, 1))


def lookup_last_wins(dx, cache):
    """dx (B, T, C) -> dwte, dwpe.  A character that occurs twice is written twice."""
    dwpe, dwte = layers.embedding_backward(dx, cache)[1], np.zeros(cache[1])
    dwte[cache[0]] = dx
    return dwte, dwpe


def lookup_only(as_head, as_lookup):
    """Two gradients of wte (V, C) -> one.  `=` was written where `+=` was meant."""
    return as_lookup


EXERCISES = [MASK, NUMERICAL, SOFTMAX, LAYERNORM]
