"""The KL estimators k1, k2, k3 beside the exact KL: their values, and where their gradients point.

With d = log pi(y) - log ref(y) and y sampled from pi (Schulman 2020, joschu.net/blog/kl-approx):

    k1 = d    k2 = d^2 / 2    k3 = e^-d - 1 + d

They estimate KL(pi || ref), per token and summed over the answer, as is usual, or per answer, with
d of the whole answer.  k1 is the same both ways.  An estimator can be used in two places:

    in the loss      it is differentiated as it stands, its own samples taken as given
    in the reward    it is a number that the policy gradient multiplies with grad log pi

and what the expected gradient is depends on the place (checked by enumeration in the tests):

    k1 in the loss                 0
    k2 in the loss, per answer     grad KL(pi || ref)
    k3 in the loss, per answer     grad KL(ref || pi), the other direction
    ratio * k3 in the loss         at ratio 1 the very gradient of k2, sample by sample
    k1 in the reward               grad KL(pi || ref)
    k3 in the reward, per answer   grad KL(pi || ref) - grad KL(ref || pi), nearly 0 near ref

Per token, k2 and k3 in the loss have a third gradient: each token is held to the reference where it
stands, but does not answer for the beginnings that it leads to.

run.py measures all this on policies at several distances from the reference.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minirlhf.adam import adam_step, clip_gradient, init_adam
from minirlhf.beyond.dpo import response_logprobs
from minirlhf.beyond.optimum import enumerate_texts, mean_outcome, measure_policy
from minirlhf.beyond.policy_gradient import policy_backward, policy_forward
from minirlhf.data import Example, make_batch
from minirlhf.errors import at
from minirlhf.experiments.trials import MISSING_EOS_SCORE
from minirlhf.gpt import gpt_forward, lm_head_forward
from minirlhf.layers import exact_kl, log_softmax
from minirlhf.sample import sample

KINDS = ("k1", "k2", "k3")
VALUES = (  # what is compared with the exact KL
    "k1", "k2 per token", "k3 per token", "k2 per answer", "k3 per answer", "exact per step",
)
USES = {  # how an estimator is used: (place, kind, unit)
    "k1 in the loss": ("loss", "k1", "token"),
    "k2 in the loss": ("loss", "k2", "token"),
    "k3 in the loss": ("loss", "k3", "token"),
    "k2 in the loss, per answer": ("loss", "k2", "answer"),
    "k3 in the loss, per answer": ("loss", "k3", "answer"),
    "k1 in the reward": ("reward", "k1", "token"),
    "k2 in the reward": ("reward", "k2", "token"),
    "k3 in the reward": ("reward", "k3", "token"),
}
FORWARD, REVERSE = "k1 in the reward", "k3 in the loss, per answer"  # which two are the truth


@dataclass(frozen=True, kw_only=True)
class EstimatorSettings:
    """What is measured."""

    levels: tuple = (0.03, 0.3, 1.0, 3.0, 10.0)  # nats: a station where a run first passes one
    iterations: int = 60  # of PPO, at most
    answers: int = 1000  # per question, for the values
    rollout: int = 10  # answers per question in what is called a rollout
    rollouts: int = 5  # gradients of single rollouts, per station
    smallest: float = 3e-4  # answers as likely, for pi or ref, are summed exactly in gradients
    rest: int = 400  # samples per question that stand for the others
    descents: tuple = (0, 5, 10, 20, 40)  # steps after which the KL is looked at
    descend_from: float = 1.0  # the level from which a use, alone, is to lead back
    descend_rate: float = 3e-4  # learning rate on the way back


# ---- the estimators -------------------------------------------------------------------------


def estimate(kind, d):
    """k1, k2 or k3 of log-ratios d (any shape), in nats."""
    if kind == "k1":
        return d
    return d * d / 2 if kind == "k2" else np.expm1(-d) + d


def slope(kind, d):
    """The derivative of an estimator by d, which is its derivative by log pi.  Any shape."""
    if kind == "k1":
        return np.ones_like(d)
    return d if kind == "k2" else -np.expm1(-d)


def log_ratios(logprobs, ref_logprobs, mask, unit):
    """(B, T) three times -> d: (B, T) per token, 0 off the mask; or (B, 1) per answer."""
    d = (logprobs - ref_logprobs) * mask  # (B, T)
    return d if unit == "token" else d.sum(axis=1, keepdims=True)


def values_of(kind, logprobs, ref_logprobs, mask, unit):
    """An estimator for each answer -> (B,) nats.  The first three (B, T)."""
    return estimate(kind, log_ratios(logprobs, ref_logprobs, mask, unit)).sum(axis=1)


def loss_use(kind, logprobs, ref_logprobs, mask, weights, unit):
    """The estimator as a loss -> loss in nats, dlogprobs (B, T).

    logprobs, ref_logprobs, mask (B, T); weights (B,): 1/B for samples, pi(y) for all answers y.
    """
    d = log_ratios(logprobs, ref_logprobs, mask, unit)  # (B, T) or (B, 1)
    loss = float(weights @ estimate(kind, d).sum(axis=1))
    return loss, weights[:, None] * slope(kind, d) * mask


def reward_use(kind, logprobs, ref_logprobs, mask, weights, unit, baseline):
    """The estimator as a reward of -k, without a derivative of its own -> loss, dlogprobs (B, T).

    baseline (B,): the mean of k over answers to the same question.  It leaves the expected gradient
    alone.  The loss's value means nothing.
    """
    excess = values_of(kind, logprobs, ref_logprobs, mask, unit) - baseline  # (B,)
    pushed = (weights * excess)[:, None] * mask  # (B, T)
    return float((pushed * logprobs).sum()), pushed


def use_gradient(use, params, config, batch):
    """batch (Answers) -> grads (Params): the gradient of one of USES, as something to descend."""
    place, kind, unit = USES[use]
    logprobs, cache = policy_forward(params, config, batch.inputs, batch.targets)  # (B, T)
    if place == "loss":
        _, pushed = loss_use(kind, logprobs, batch.ref_logprobs, batch.mask, batch.weights, unit)
    else:
        baseline = means_by_question(
            values_of(kind, logprobs, batch.ref_logprobs, batch.mask, unit), batch
        )
        _, pushed = reward_use(
            kind, logprobs, batch.ref_logprobs, batch.mask, batch.weights, unit, baseline
        )
    return policy_backward(params, config, pushed.astype(logprobs.dtype), cache)


# ---- answers with weights -------------------------------------------------------------------


class Answers(NamedTuple):
    """B answers, each with a weight; the weights of a question's answers sum to 1/Q."""

    inputs: np.ndarray  # (B, T)
    targets: np.ndarray  # (B, T)
    mask: np.ndarray  # (B, T)
    ref_logprobs: np.ndarray  # (B, T)
    weights: np.ndarray  # (B,)
    question: np.ndarray  # (B,) ints


def means_by_question(values, batch):
    """values (B,) -> (B,): the weighted mean over the answers to the same question."""
    total = np.bincount(batch.question, batch.weights * values)  # (Q,)
    return (total / np.bincount(batch.question, batch.weights))[batch.question]


def with_reference(models, examples, weights, question):
    """list of B Examples, weights (B,), question (B,) -> Answers."""
    inputs, targets, mask = make_batch(examples, True)  # each (B, T)
    mask = mask.astype(models.policy.flat.dtype)
    ref_logprobs, _ = policy_forward(models.ref_policy, models.config, inputs, targets)
    return Answers(
        inputs=inputs, targets=targets, mask=mask, ref_logprobs=ref_logprobs,
        weights=np.array(weights), question=np.array(question),
    )


def sampled_answers(models, prompts, limit, per_question, rng):
    """Own samples of the policy, per_question to each of Q prompts -> Answers."""
    asked = [ids for ids in prompts for _ in range(per_question)]
    samples = sample(models.policy, models.config, asked, limit, rng)
    examples = examples_of(samples, asked)
    question = np.repeat(np.arange(len(prompts)), per_question)  # (B,)
    return with_reference(models, examples, np.full(len(asked), 1 / len(asked)), question)


def examples_of(samples, asked):
    """Samples of B prompts -> list of B Examples."""
    examples = []
    for row, ids in enumerate(asked):
        length = len(ids) + int(samples.response_mask[row].sum())
        answer = samples.tokens[row, :length].tolist()
        examples.append(Example(ids=answer, prompt_length=len(ids)))
    return examples


def all_answers(models, prompts, limit, smallest, rest, rng):
    """What stands for every answer: those as likely as `smallest` for policy or reference, with
    their probability, and for the others `rest` samples of the policy -> Answers."""
    examples, weights, question = [], [], []
    for q, ids in enumerate(prompts):
        found = {}
        for params in (models.policy, models.ref_policy):
            texts = enumerate_texts(params, models.config, ids, limit, smallest)
            found.update({tuple(example.ids): example for example in texts.examples})
        mine = list(found.values())
        shares = np.exp(response_logprobs(models.policy, models.config, mine).astype(np.float64))
        asked = [ids] * rest
        said = examples_of(sample(models.policy, models.config, asked, limit, rng), asked)
        others = [example for example in said if tuple(example.ids) not in found]
        examples += mine + others
        weights += [*shares / len(prompts), *[1 / rest / len(prompts)] * len(others)]
        question += [q] * (len(mine) + len(others))
    return with_reference(models, examples, weights, question)


# ---- measuring a policy ---------------------------------------------------------------------


def measure_values(models, prompts, limit, settings, kls, rng):
    """Every estimator on the policy's own samples, beside the exact KL of each question, kls (Q,).

    -> {estimator: {"mean", "sd" (of one answer, within a question), "rollout_sd", "median" (over
    rollouts), "below" (share of rollouts below the exact KL), "negative" (share below 0)}}.
    """
    asked = [ids for ids in prompts for _ in range(settings.answers)]
    samples = sample(models.policy, models.config, asked, limit, rng)
    inputs, targets, mask = samples.tokens[:, :-1], samples.tokens[:, 1:], samples.response_mask
    ref = []  # blocks of (b, T, V)
    for start in range(0, len(inputs), 500):
        hidden, _ = gpt_forward(models.ref_policy, models.config, inputs[start : start + 500])
        ref.append(log_softmax(lm_head_forward(models.ref_policy, hidden)[0]))
    ref = np.concatenate(ref)  # (B, T, V)
    ref_logprobs = np.take_along_axis(ref, targets[..., None], -1)[..., 0]  # (B, T)
    logprobs, mask = samples.logprobs.astype(np.float64), mask.astype(np.float64)
    values = {"k1": values_of("k1", logprobs, ref_logprobs, mask, "token")}
    for unit in ("token", "answer"):
        for kind in ("k2", "k3"):
            values[f"{kind} per {unit}"] = values_of(kind, logprobs, ref_logprobs, mask, unit)
    values["exact per step"] = (exact_kl(samples.all_logprobs, ref) * mask).sum(axis=1)  # (B,)
    rows = {}
    for name in VALUES:
        table = values[name].reshape(len(prompts), settings.answers)  # (Q, N)
        rollouts = table.reshape(len(prompts), -1, settings.rollout).mean(axis=(0, 2))
        rows[name] = {
            "mean": float(table.mean()),
            "sd": float(np.sqrt(table.var(axis=1).mean())),
            "rollout_sd": float(rollouts.std()),
            "median": float(np.median(rollouts)),
            "below": float((rollouts < np.mean(kls)).mean()),
            "negative": float((rollouts < 0).mean()),
        }
    return rows


def cosine(a, b):
    """Two flat gradients (N,) -> the cosine of their angle."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def measure_directions(models, prompts, limit, settings, rng):
    """Every use's expected gradient, and that of single rollouts, beside the two true gradients.

    -> {use: {"forward", "reverse": cosine of the expected gradient with grad KL(pi || ref) and
    grad KL(ref || pi); "size": its length, that of grad KL(pi || ref) being 1; "rollout": mean
    cosine of a rollout's gradient with grad KL(pi || ref)}}.
    """
    everything = all_answers(models, prompts, limit, settings.smallest, settings.rest, rng)
    expected = {}
    for use in USES:
        expected[use] = use_gradient(use, models.policy, models.config, everything).flat
    noisy = {use: [] for use in USES}
    for _ in range(settings.rollouts):
        batch = sampled_answers(models, prompts, limit, settings.rollout, rng)
        for use in USES:
            grads = use_gradient(use, models.policy, models.config, batch)
            noisy[use].append(cosine(grads.flat, expected[FORWARD]))
    rows = {}
    length = float(np.linalg.norm(expected[FORWARD]))
    for use in USES:
        rows[use] = {
            "forward": cosine(expected[use], expected[FORWARD]),
            "reverse": cosine(expected[use], expected[REVERSE]),
            "size": float(np.linalg.norm(expected[use])) / length,
            "rollout": float(np.mean(noisy[use])),
        }
    return rows


def exact_kls(models, prompts, limit, rng, smallest=1e-5):
    """KL(policy || ref) to each of Q prompts -> (Q,), nats; the standard error of their mean."""
    outcomes = []
    for ids in prompts:
        outcomes.append(measure_policy(models, ids, limit, MISSING_EOS_SCORE, smallest, 400, rng))
    return np.array([o.kl for o in outcomes]), mean_outcome(outcomes).kl_error


def descend(use, models, prompts, limit, settings, rng):
    """Follow one use alone, by Adam, on own samples -> exact KL after each of settings.descents."""
    models = models._replace(policy=models.policy.copy())
    adam, kls = init_adam(models.policy), []
    for step in range(max(settings.descents) + 1):
        if step in settings.descents:
            kls.append(float(exact_kls(models, prompts, limit, rng, 1e-4)[0].mean()))
        batch = sampled_answers(models, prompts, limit, settings.rollout, rng)
        grads = use_gradient(use, models.policy, models.config, batch)
        with at(f"{use}, step {step}"):
            clip_gradient(grads, 1.0)
        adam_step(models.policy, grads, adam, settings.descend_rate)
    return kls
