"""Measuring with the gold judge: how natural, how true, how far from the reference.

None of these figures ever reaches an update; they are for people to look at.
"""

from typing import NamedTuple

import numpy as np

from minirlhf.gpt import gpt_forward, lm_head_forward
from minirlhf.layers import exact_kl, log_softmax
from minirlhf.rufus.answers import ask, encode_prompts, read_answers
from minirlhf.sample import sample
from minirlhf.step2_reward_model import encode_rankings, pair_accuracy, score_rankings


class Judgement(NamedTuple):
    """What the gold judge finds in a model's answers.  Shares are between 0 and 1."""

    natural: float  # share of answers that a person would leave as they are
    naturalness: float  # mean of world.naturalness
    truthful: float  # share of the natural answers that state the fact
    distinct: float  # different natural answers per question
    samples: int


def judge_answers(world, answers):
    """list of Answer -> Judgement."""
    scores = [world.naturalness(a.prompt, a.text, a.finished) for a in answers]
    natural = [a for a, score in zip(answers, scores) if score == 1]
    true = [world.truthful(a.prompt, a.text) is True for a in natural]
    different = {(a.prompt, a.text) for a in natural}
    questions = {a.prompt for a in answers}
    return Judgement(natural=len(natural) / len(answers), naturalness=float(np.mean(scores)),
                     truthful=float(np.mean(true)) if true else float("nan"),
                     distinct=len(different) / len(questions), samples=len(answers))


def judge_model(model, world, split, n_samples, rng):
    """Ask every question of a split about equally often, n_samples in all -> Judgement."""
    questions = world.questions(split)
    repeats = -(-n_samples // len(questions))
    return judge_answers(world, ask(model, questions * repeats, rng))


def evaluate_model(model, world, n_samples, rng):
    """-> {"natural_train", "natural_held_out", "truthful", ..}: the figures of summary.json."""
    train = judge_model(model, world, "train", n_samples, rng)
    held_out = judge_model(model, world, "held_out", n_samples, rng)
    return {"natural_train": train.natural, "natural_held_out": held_out.natural,
            "truthful": train.truthful, "truthful_held_out": held_out.truthful,
            "naturalness_train": train.naturalness, "naturalness_held_out": held_out.naturalness,
            "distinct": train.distinct, "samples": train.samples + held_out.samples}


def kl_to_reference(model, reference, world, n_samples, rng):
    """Exact KL(model || reference) in nats per response, on the model's own samples."""
    questions = world.questions("train")
    repeats = -(-n_samples // len(questions))
    ids = encode_prompts(model, questions * repeats)
    samples = sample(model.params, model.config, ids, model.extra["max_new_tokens"], rng)
    hidden, _ = gpt_forward(reference.params, reference.config, samples.tokens[:, :-1])
    ref_all_logprobs = log_softmax(lm_head_forward(reference.params, hidden)[0])  # (B, T, V)
    kl = exact_kl(samples.all_logprobs, ref_all_logprobs) * samples.response_mask  # (B, T)
    return float(kl.sum(axis=1).mean())


def reward_accuracy(reward_model, rankings, world=None):
    """How often the reward model orders a pair right.

    -> {"labels": against the given ranks} and, with a world, {"gold": against the gold judge,
    "ceiling": how often the gold judge itself agrees with the noisy labels}.
    """
    rankings = [ranking for ranking in rankings if max(ranking.ranks) > 1]
    encoded = encode_rankings(reward_model.tokenizer, rankings, reward_model.config.block_size)
    scores = score_rankings(reward_model.params, reward_model.config, encoded)
    labels = [ranking.ranks for ranking in rankings]
    accuracy = {"labels": pair_accuracy(scores, labels)}
    if world is not None:
        gold = [np.array([world.naturalness(ranking.prompt, text) for text in ranking.responses])
                for ranking in rankings]
        accuracy["gold"] = pair_accuracy(scores, [-row for row in gold])
        accuracy["ceiling"] = pair_accuracy(gold, labels)
    return accuracy


class GoldWatch:
    """Looks at every rollout of PPO with the gold judge.  For the history, never for the update."""

    def __init__(self, world, tokenizer):
        self.world = world
        self.tokenizer = tokenizer

    def __call__(self, rollout):
        prompts = []
        for row, mask in enumerate(rollout.response_mask):
            first = int(mask.argmax()) + 1  # where the response starts in tokens
            prompts.append(self.tokenizer.decode(rollout.tokens[row, 1:first]).rstrip())
        judgement = judge_answers(self.world, read_answers(self.tokenizer, prompts, rollout))
        return {"naturalness": judgement.naturalness, "natural": judgement.natural}
