"""The exact answer: the best possible policy, and how far any policy is from it.

The task, maximise J(pi) = E[score] - beta * KL(pi || ref), has a solution in closed form:

    pi*(y) = ref(y) exp(score(y) / beta) / Z        log Z = log E_ref[exp(score / beta)]
    J* = beta log Z        J* - J(pi) = beta KL(pi || pi*)

Nobody can sum over all texts, except in a world as small as this one, where a few thousand answers
to a question hold nearly all of the probability.  They are found by a search over prefixes: what
is less likely than `smallest` is not followed, so the answers that are kept are exactly those
whose probability is at least `smallest`, each with its exact probability, and the probability of
all others together is known.  (This is best-first search, stopped when the best prefix left falls
below `smallest`; depth first it needs less memory.)

What is exact and what is not:
1. log_z is a sum over the answers found, a lower bound.  log_z_high adds all the rest at the
   highest score that any text whatever can get (score_bounds): a proven upper bound.  For a small
   beta it is far away, because a text that is a million times rarer and scores a little more is
   then what the best policy says.  So the truth about a small beta is an interval.
2. The best policy reported is pi* over the answers found.  That is a policy too, with exactly the
   score and KL reported, so the frontier drawn with it can be reached.
3. Score and KL of a trained policy: the answers found by a search through *its* tree are exact; the
   small rest is estimated from samples, with a standard error.

Estimating log Z from samples of the reference instead (log_z_from_samples) fails for a small beta:
the answers that matter are not in the sample, and the effective sample size hardly says so.
"""

import math
from typing import NamedTuple

import numpy as np

from minirlhf.beyond.best_of_n import response_rows
from minirlhf.beyond.dpo import response_logprobs
from minirlhf.data import Example
from minirlhf.debugger_view import one_line
from minirlhf.gpt import lm_head_forward
from minirlhf.layers import log_softmax
from minirlhf.sample import decode_step, read_prompts, sample
from minirlhf.step2_reward_model import score_rows
from minirlhf.step3_ppo import PPOSettings, score_samples
from minirlhf.tokenizer import EOS

CHUNK = 512  # prefixes that are continued at once; bounds the memory of the search


# ---- the search -----------------------------------------------------------------------------


class Texts(NamedTuple):
    """All answers to one prompt that are at least as likely as `smallest`."""

    examples: list  # of M Example
    logprobs: np.ndarray  # (M,) log pi(response | prompt), nats
    finished: np.ndarray  # (M,) bool  ended with EOS
    uncovered: float  # probability of all other answers together
    smallest: float
    __repr__ = one_line


class Prefixes(NamedTuple):
    """R beginnings of one length that wait to be continued."""

    ids: np.ndarray  # (R, t)
    logprobs: np.ndarray  # (R,)
    hidden: np.ndarray  # (R, C)  after the last id
    keys_values: np.ndarray  # (L, 2, R, H, T, D)
    __repr__ = one_line


def enumerate_texts(params, config, prompt, max_new_tokens, smallest):
    """prompt (ids) -> Texts: every answer with probability >= smallest (0: every answer)."""
    end = len(prompt) + max_new_tokens
    if end > config.block_size:
        raise ValueError(
            f"prompt of {len(prompt)} ids + {max_new_tokens} new tokens do not fit block_size "
            f"{config.block_size}"
        )
    log_smallest = math.log(smallest) if smallest > 0 else -math.inf
    rows, logprobs, finished = [], [], []
    uncovered = 0.0
    waiting = [first_prefix(params, config, prompt, end)]
    while waiting:
        prefixes = waiting.pop()
        logits, _ = lm_head_forward(params, prefixes.hidden)  # (R, V)
        steps = log_softmax(logits).astype(np.float64)  # (R, V)
        longer = prefixes.logprobs[:, None] + steps  # (R, V)
        kept = longer >= log_smallest  # (R, V) bool
        uncovered += float(np.exp(longer[~kept]).sum())

        row, token = kept.nonzero()  # (S,) each
        ids = np.concatenate([prefixes.ids[row], token[:, None]], axis=1)  # (S, t+1)
        total = longer[row, token]  # (S,)
        stopped = token == EOS  # (S,) bool
        ended = stopped | (ids.shape[1] == end)  # (S,) bool
        rows += ids[ended].tolist()
        logprobs += total[ended].tolist()
        finished += stopped[ended].tolist()
        go_on = np.flatnonzero(~ended)
        for start in range(0, len(go_on), CHUNK):
            part = go_on[start : start + CHUNK]
            waiting.append(continued(params, config, prefixes, ids[part], total[part], row[part]))
    order = np.argsort(logprobs, kind="stable")[::-1]  # (M,) the most likely first
    examples = [Example(ids=rows[i], prompt_length=len(prompt)) for i in order]
    return Texts(
        examples=examples, logprobs=np.array(logprobs)[order],
        finished=np.array(finished, bool)[order], uncovered=uncovered, smallest=smallest,
    )


def first_prefix(params, config, prompt, end):
    """The prompt alone -> Prefixes with R = 1 and room for `end` ids."""
    shape = (config.n_layer, 2, 1, config.n_head, end, config.n_embd // config.n_head)
    keys_values = np.zeros(shape, params.flat.dtype)  # (L, 2, 1, H, T, D)
    ids = np.array([prompt])  # (1, t)
    hidden = read_prompts(params, config, ids, np.array([len(prompt)]), keys_values)  # (1, C)
    return Prefixes(ids=ids, logprobs=np.zeros(1), hidden=hidden, keys_values=keys_values)


def continued(params, config, prefixes, ids, logprobs, row):
    """ids (S, t+1), their logprobs (S,), which prefix each continues, row (S,) -> Prefixes."""
    keys_values = prefixes.keys_values[:, :, row]  # (L, 2, S, H, T, D)
    positions = np.full(len(ids), ids.shape[1] - 1)  # (S,)
    hidden = decode_step(params, config, ids[:, -1], positions, keys_values)  # (S, C)
    return Prefixes(ids=ids, logprobs=logprobs, hidden=hidden, keys_values=keys_values)


def cover(params, config, prompt, max_new_tokens, uncovered, smallest=1e-9):
    """Search deeper until at most `uncovered` is left, but not below `smallest` -> Texts."""
    depth = 1e-3
    texts = enumerate_texts(params, config, prompt, max_new_tokens, depth)
    while texts.uncovered > uncovered and depth > smallest:
        depth = max(depth / 10, smallest)
        texts = enumerate_texts(params, config, prompt, max_new_tokens, depth)
    return texts


# ---- scores ---------------------------------------------------------------------------------


def score_bounds(reward_model):
    """Lowest and highest score that any text can get from a reward model, proven.

    The head reads xhat * gain + bias, and LayerNorm makes xhat a vector (C,) of mean 0 and length
    at most sqrt(C).  So score = xhat . v + constant with v = gain * head_w, of which the part along
    (1, .., 1) does not count, and |xhat . v| <= sqrt(C) |v| (Cauchy and Schwarz).
    """
    p = reward_model
    v = (p.lnf_g * p.head_w).astype(np.float64)  # (C,)
    v -= v.mean()
    constant = float(p.lnf_b.astype(np.float64) @ p.head_w) + float(p.head_b[0])
    radius = math.sqrt(len(v)) * float(np.linalg.norm(v))
    return constant - radius, constant + radius


def score_examples(models, examples, finished, missing_eos_score):
    """M Examples, finished (M,) -> scores (M,) float64: reward model, or missing_eos_score."""
    if not examples:
        return np.zeros(0)
    rows = [example.ids for example in examples]
    scores = score_rows(models.reward_model, models.reward_config, rows)  # (M,)
    return np.where(finished, scores.astype(np.float64), missing_eos_score)


# ---- the optimum ----------------------------------------------------------------------------


def optimal_policy(ref_logprobs, scores, beta):
    """pi* = ref * exp(score / beta) / Z over M answers.  Rafailov et al. 2023, eq. 4.

    ref_logprobs (M,), scores (M,) -> logprobs (M,), log Z; in nats.
    """
    weights = ref_logprobs + scores / beta  # (M,)
    log_z = float(np.logaddexp.reduce(weights))
    return weights - log_z, log_z


def log_z_bound(log_z, uncovered, highest, beta):
    """Upper bound of log Z: the answers not found, at the highest score a text can get.  nats.

    log_z: of the answers found, (M,); uncovered: the reference's probability of all others.
    """
    if uncovered <= 0:
        return log_z
    return float(np.logaddexp(log_z, math.log(uncovered) + highest / beta))


class PromptWorld(NamedTuple):
    """What the reference can say to one prompt, and what the reward model makes of it."""

    prompt: list  # ids
    texts: Texts  # of the reference
    scores: np.ndarray  # (M,)
    highest: float  # no text scores more than this
    __repr__ = one_line


def with_sampled_rest(models, world, max_new_tokens, missing_eos_score, n_samples, rng):
    """The reference's whole distribution: the answers found, and sampled ones for the others.

    PromptWorld -> probs (M + S,) that sum to 1, scores (M + S,).  Of n_samples sampled answers
    those that the search did not find share its uncovered probability.
    """
    texts = world.texts
    samples = sample(
        models.ref_policy, models.config, [world.prompt] * n_samples, max_new_tokens, rng
    )
    logprobs = samples.logprobs.sum(axis=1, dtype=np.float64)  # (n_samples,)
    rest = np.flatnonzero(logprobs < math.log(texts.smallest))  # (S,)
    judged = PPOSettings(missing_eos_score=missing_eos_score)
    scores = score_samples(models, samples, judged)[rest]  # (S,)
    shares = np.full(len(rest), texts.uncovered / max(len(rest), 1))  # (S,)
    probs = np.concatenate([np.exp(texts.logprobs), shares])  # (M + S,)
    return probs / probs.sum(), np.concatenate([world.scores, scores])


class Optimum(NamedTuple):
    """The best policy for one beta; means over prompts."""

    beta: float
    reward: float  # expected score
    kl: float  # to the reference, nats
    log_z: float  # of the answers found: a lower bound
    log_z_high: float  # proven upper bound
    log_z_seen: float  # upper bound if no other text scores more than the best one found


def explore(models, prompts, max_new_tokens, missing_eos_score, uncovered, smallest=1e-9):
    """Enumerate the reference for each prompt -> list of PromptWorld."""
    _, highest = score_bounds(models.reward_model)
    worlds = []
    for prompt in prompts:
        texts = cover(models.ref_policy, models.config, prompt, max_new_tokens, uncovered, smallest)
        scores = score_examples(models, texts.examples, texts.finished, missing_eos_score)
        worlds.append(
            PromptWorld(
                prompt=prompt, texts=texts, scores=scores, highest=max(highest, missing_eos_score)
            )
        )
    return worlds


def optimum(worlds, beta):
    """list of PromptWorld, beta -> Optimum, the mean over prompts."""
    rows = []
    for world in worlds:
        texts = world.texts
        logprobs, log_z = optimal_policy(texts.logprobs, world.scores, beta)  # (M,)
        reward = float(np.exp(logprobs) @ world.scores)
        kl = float(np.exp(logprobs) @ (logprobs - texts.logprobs))
        high = log_z_bound(log_z, texts.uncovered, world.highest, beta)
        seen = log_z_bound(log_z, texts.uncovered, float(world.scores.max()), beta)
        rows.append((reward, kl, log_z, high, seen))
    reward, kl, log_z, high, seen = np.mean(rows, axis=0).tolist()
    return Optimum(
        beta=beta, reward=reward, kl=kl, log_z=log_z, log_z_high=high, log_z_seen=seen
    )


def best_reward_at(worlds, kl, low=1e-3, high=1e3):
    """The frontier: expected score of the best policy at this mean KL -> reward, its beta.

    KL falls as beta rises, so beta is found by halving its logarithm's interval.
    """
    for _ in range(30):
        beta = math.sqrt(low * high)
        found = optimum(worlds, beta)
        low, high = (beta, high) if found.kl > kl else (low, beta)
    return found.reward, beta


def reward_ceiling_at(optima, kl):
    """Proven: no policy with this KL has a higher expected score.

    J(pi) <= J* holds for every beta, so reward <= beta * log_z_high + beta * kl; the least of them.
    """
    return min(o.beta * (o.log_z_high + kl) for o in optima)


# ---- how far a policy is from it ------------------------------------------------------------


class Outcome(NamedTuple):
    """Expected score and KL to the reference of one policy; of one prompt, or a mean."""

    reward: float
    kl: float  # nats per response
    reward_error: float  # standard error, of the sampled rest alone
    kl_error: float
    uncovered: float  # probability of that rest; 0: everything is exact


def measure_policy(models, prompt, max_new_tokens, missing_eos_score, smallest, n_samples, rng):
    """Expected score and KL of models.policy for one prompt (ids) -> Outcome.

    Answers with probability >= smallest are summed exactly.  An answer is one of them exactly if
    its log-probability is at least log(smallest), so among n_samples sampled ones the others are
    known, and they alone stand for the rest.
    """
    texts = enumerate_texts(models.policy, models.config, prompt, max_new_tokens, smallest)
    scores = score_examples(models, texts.examples, texts.finished, missing_eos_score)  # (M,)
    probs = np.exp(texts.logprobs)  # (M,)
    log_ratio = texts.logprobs - reference_of(models, texts.examples)  # (M,)
    reward, kl = float(probs @ scores), float(probs @ log_ratio)
    if n_samples == 0 or texts.uncovered == 0:
        return Outcome(
            reward=reward, kl=kl, reward_error=0.0, kl_error=0.0, uncovered=texts.uncovered
        )

    samples = sample(models.policy, models.config, [prompt] * n_samples, max_new_tokens, rng)
    logprobs = samples.logprobs.sum(axis=1, dtype=np.float64)  # (N,)
    rest = np.flatnonzero(logprobs < math.log(smallest))
    rows = response_rows(samples)
    examples = [Example(ids=rows[i], prompt_length=len(prompt)) for i in rest]
    rest_rewards, rest_kl = np.zeros(n_samples), np.zeros(n_samples)  # (N,) 0 for those summed
    if examples:
        judged = PPOSettings(missing_eos_score=missing_eos_score)
        rest_rewards[rest] = score_samples(models, samples, judged)[rest]
        rest_kl[rest] = logprobs[rest] - reference_of(models, examples)
    root = math.sqrt(n_samples)
    return Outcome(
        reward=reward + float(rest_rewards.mean()),
        kl=kl + float(rest_kl.mean()),
        reward_error=float(rest_rewards.std()) / root,
        kl_error=float(rest_kl.std()) / root,
        uncovered=texts.uncovered,
    )


def reference_of(models, examples):
    """M Examples -> (M,) float64 log-probabilities of the reference."""
    if not examples:
        return np.zeros(0)
    return response_logprobs(models.ref_policy, models.config, examples).astype(np.float64)


def mean_outcome(outcomes):
    """list of Q Outcomes, one per prompt -> Outcome of the mean; errors add up in squares."""
    table = np.array(outcomes)  # (Q, 5)
    means = table.mean(axis=0)  # (5,)
    errors = np.sqrt((table[:, 2:4] ** 2).sum(axis=0)) / len(table)  # (2,)
    return Outcome(
        reward=float(means[0]), kl=float(means[1]), reward_error=float(errors[0]),
        kl_error=float(errors[1]), uncovered=float(means[4]),
    )


def regret(outcome, best):
    """How far a policy is from the Optimum -> KL(pi || pi*) in nats: at least, at most.

    (J* - J) / beta, with log Z from the answers found and with its proven upper bound.
    """
    value = outcome.reward / best.beta - outcome.kl
    return best.log_z - value, best.log_z_high - value


# ---- and how not to do it -------------------------------------------------------------------


def log_z_from_samples(scores, beta):
    """log of the mean of exp(score / beta) over N samples of the reference: importance sampling.

    scores (N,) -> log Z, effective sample size (1 to N): how many samples the sum really rests on.
    """
    weights = scores.astype(np.float64) / beta  # (N,)
    log_sum = float(np.logaddexp.reduce(weights))
    shares = np.exp(weights - log_sum)  # (N,)
    return log_sum - math.log(len(scores)), float(1 / (shares @ shares))
