"""Longer runs of lesson 08: a task to share, policies pushed too far, flawed people, sums.

The people are SIMULATED.  `learn` makes a reward model of their rankings, `push` lets PPO climb it
and looks at the policy on the way.  The gold judge measures; nothing of it reaches a policy.
`Believer` is one more simulated annotator: one who likes to hear what they already believe.
`learn_sums` trains a language model on arithmetic, to see what it makes of sums it has not read.
"""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minirlhf.checkpoint import Model
from minirlhf.course import pretrained
from minirlhf.data import DATA, Texts, encode_example, make_batch, read_text
from minirlhf.experiments.overoptimization.ensemble import MinimumScore, judge_scores
from minirlhf.experiments.trials import HARD, Between, models_of, train_judge, train_reference
from minirlhf.gpt import Params, gpt_forward, lm_head_forward
from minirlhf.layers import token_logprobs_forward
from minirlhf.rufus.answers import (
    ask,
    collect_answers,
    encode_prompts,
    read_answers,
    response_logprob,
)
from minirlhf.rufus.measure import judge_answers
from minirlhf.rufus.people import make_annotators, rank_answers
from minirlhf.rufus.pipeline import ANSWERS, Size, build_language_model
from minirlhf.rufus.world import World
from minirlhf.sample import sample
from minirlhf.step1_language_model import LanguageModelSettings, train_language_model
from minirlhf.step2_reward_model import score_rows
from minirlhf.step3_ppo import PPOHooks, make_rollout, train_ppo

# ---- one task for all -----------------------------------------------------------------------


class Task(NamedTuple):
    """What every run starts from."""

    world: World
    sft: Model  # the reference
    questions: list  # the training questions
    collected: list  # answers that people may rank
    crowd: list  # simulated annotators, five
    mean: float  # naturalness of the reference's answers
    deviation: float  # its standard deviation


def prepare(lang, seed=0, rankings=600):
    """Step 1, and answers to be ranked, as in `python -m minirlhf overoptimization` -> Task."""
    with tempfile.TemporaryDirectory() as folder:
        first, sft = train_reference(lang, seed, Path(folder), pretrained(lang))
    world = World.load(lang)
    questions, rng = world.questions("train"), np.random.default_rng([seed, 1])
    prompts = (questions * -(-rankings // len(questions)))[:rankings]
    models = {"pretrained": first, "sft": sft}
    collected = collect_answers(models, prompts, ANSWERS, rng)
    gold = []
    for answer in ask(sft, questions * 20, rng):
        gold.append(world.naturalness(answer.prompt, answer.text, answer.finished))
    crowd = make_annotators(np.random.default_rng(seed))
    return Task(
        world=world, sft=sft, questions=questions, collected=collected, crowd=crowd,
        mean=float(np.mean(gold)), deviation=float(np.std(gold)),
    )


def learn(task, people, count, start=0, seed=0):
    """A reward model on `count` rankings by these simulated people -> Params, mean 0, sd 1.

    start: the first of the collected answers that they rank; seed: of the training.
    """
    answers = task.collected[start : start + count]
    ranked = rank_answers(task.world, answers, people, np.random.default_rng([start, 2]))
    return train_judge(task.sft, ranked, np.random.default_rng([seed, 3]))


# ---- Chinese, word by word ------------------------------------------------------------------

GLOSS = json.loads(read_text(DATA / "zh" / "gloss.json"))  # {Chinese word: English}


def gloss(text):
    """A sentence of the Chinese world, word by word in English; ~ for what is no word of it."""
    words, start = [], 0
    while start < len(text):
        fits = [word for word in GLOSS if text.startswith(word, start)]
        longest = max(fits, key=len) if fits else text[start]
        words.append(GLOSS.get(longest, "~"))
        start += len(longest)
    return " ".join(words)


# ---- PPO, looked at on its way --------------------------------------------------------------

# Rounding differs between processors, and a policy that is pushed too far enlarges the difference:
# after 25 iterations it is 1e-9 nats of KL, after 40 it shows.
LOOKS = (0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 25)


def push(task, judges, price=0.0, other=None, seed=0, looks=LOOKS):
    """PPO on the minimum of `judges`, hard on purpose -> policy (Model), dict of lists.

    looks: after which iterations the policy is asked every question three times.  The dict has
    iteration, kl, score, gold (in standard deviations of the reference's answers), natural,
    truthful, length, held_out (what `other`, a reward model that PPO has not seen, says) and said:
    for each look the answers, as (question, answer, score, naturalness).
    """
    models = models_of(task.sft, judges[0])
    settings = replace(HARD, kl_coef=price, iterations=looks[-1],
                       max_new_tokens=task.sft.extra["max_new_tokens"])
    prompts = encode_prompts(task.sft, task.questions)
    rng, look_rng = np.random.default_rng([seed, 4]), np.random.default_rng([seed, 5])
    seen = Looks(task, models, judges, other, looks, look_rng)
    between = Between(seen.look, settings.iterations)
    train_ppo(models, prompts, settings, rng, PPOHooks(score=MinimumScore(judges)),
              progress=between.steps)
    return task.sft._replace(params=models.policy), seen.curves


class Looks:
    """What the policy is like on its way."""

    def __init__(self, task, models, judges, other, looks, rng):
        self.task, self.models, self.judges, self.other = task, models, judges, other
        self.looks, self.rng, self.curves = looks, rng, {}

    def look(self, done):
        """The policy after `done` iterations, if that is wanted."""
        if done in self.looks:
            found = look(self.task, self.models, self.judges, self.other, self.rng)
            for name, value in ({"iteration": done} | found).items():
                self.curves.setdefault(name, []).append(value)


def look(task, models, judges, other, rng):
    """The policy at one moment -> dict of figures, and what it said."""
    settings = replace(HARD, max_new_tokens=task.sft.extra["max_new_tokens"])
    asked = task.questions * 3
    prompts = encode_prompts(task.sft, asked)
    samples = sample(models.policy, models.config, prompts, settings.max_new_tokens, rng)
    scores = judge_scores(models, judges, samples, settings)  # (M, B)
    rollout = make_rollout(models, samples, scores[0], 0.0, settings)
    scores = scores.min(axis=0)  # (B,)
    answers = read_answers(task.sft.tokenizer, asked, samples)
    gold = [task.world.naturalness(a.prompt, a.text, a.finished) for a in answers]
    verdict = judge_answers(task.world, answers)
    kl = max(float(rollout.exact_kl.sum(axis=1).mean()), 0.0)  # not -0.0
    figures = {"kl": kl, "score": float(scores.mean()),
               "gold": (float(np.mean(gold)) - task.mean) / task.deviation,
               "natural": verdict.natural, "truthful": verdict.truthful,
               "length": float(np.mean([len(a.text) for a in answers]))}
    if other is not None:
        figures["held_out"] = float(judge_scores(models, [other], samples, settings).mean())
    texts = [(a.prompt, a.text) for a in answers]
    said = [(*text, float(score), g) for text, score, g in zip(texts, scores, gold)]
    return figures | {"said": said}


def score(task, judge, prompt, answers):
    """One reward model (Params) on K answers (texts) to a prompt -> (K,)."""
    rows = [encode_example(task.sft.tokenizer, prompt, text, task.sft.config.block_size).ids
            for text in answers]
    return score_rows(judge, task.sft.config, rows)


def gallery(task, curves, judge, count):
    """The `count` answers of the last look that the judge has most in excess of gold.

    -> list of (question, usual true answer, its score, its naturalness, answer, score,
    naturalness), one for each question at most.
    """
    rows = {}
    for question, text, learned, gold in curves["said"][-1]:
        usual = task.world.references(question)[0]
        own = float(score(task, judge, question, [usual])[0])
        if gold < 1 and learned > rows.get(question, (0,) * 5 + (own,))[5]:
            rows[question] = (question, usual, own, 1.0, text, learned, gold)
    return sorted(rows.values(), key=excess)[:count]


def excess(row):
    """A row of gallery: minus how much more the answer scores than the usual one; to sort by."""
    return row[2] - row[5]


# ---- natural is not true --------------------------------------------------------------------


def chances(model, world, prompt):
    """P(usual sentence | prompt) for each content, the fact first -> {content: probability}."""
    question, found = world.question(prompt), {}
    for text, word in zip(question.references, question.contents):
        if word not in found:  # the first is the usual sentence
            found[word] = float(np.exp(response_logprob(model, prompt, text)))
    return found


@dataclass(frozen=True)
class Believer:
    """A SIMULATED annotator with naturalness in mind, who likes to hear what they believe.

    An answer that states `belief`, true or not, feels `taste` better.
    """

    name: str
    beliefs: tuple  # content words
    taste: float = 0.6
    noise: float = 0.12

    def rank(self, world, prompt, responses, rng):
        """K texts -> (K,) ranks, 1 is best."""
        felt = []
        for text in responses:
            pleased = world.stated(prompt, text) in self.beliefs
            felt.append(world.naturalness(prompt, text) + self.taste * pleased)
        felt = np.array(felt) + rng.normal(0, self.noise, len(felt))  # (K,)
        return np.unique(-felt, return_inverse=True)[1] + 1


# ---- sums -----------------------------------------------------------------------------------


class Sums(NamedTuple):
    """A language model that has read sums, and the sums."""

    model: Model
    seen: list  # of (a, b)
    unseen: list  # of (a, b); neither a + b nor b + a was read
    history: list


def learn_sums(largest, held_out, steps, seed=0):
    """A small language model, one layer, on texts such as `7+5=` `12` -> Sums."""
    rng = np.random.default_rng([seed, 6])
    pairs = [(a, b) for a in range(largest + 1) for b in range(a, largest + 1)]
    kept = {pairs[i] for i in rng.permutation(len(pairs))[: round(held_out * len(pairs))]}
    everything = [(a, b) for a in range(largest + 1) for b in range(largest + 1)]
    seen = [pair for pair in everything if tuple(sorted(pair)) not in kept]
    unseen = [pair for pair in everything if tuple(sorted(pair)) in kept]
    texts = [f"{a}+{b}=\n{a + b}" for a, b in everything]
    model = build_language_model(texts, Size(n_layer=1, n_head=2, n_embd=32), rng)
    params = Params(model.params.shapes, np.float64)
    params.flat[...] = model.params.flat
    examples = [encode_sum(model, a, b, a + b) for a, b in seen]
    settings = LanguageModelSettings(response_only=True, steps=steps, batch_size=32,
                                     learning_rate=3e-3)
    history = train_language_model(
        params, model.config, Texts(training=examples), settings, rng
    )
    model = model._replace(params=params)
    return Sums(model=model, seen=seen, unseen=unseen, history=history)


def encode_sum(model, a, b, answer):
    """-> Example."""
    return encode_example(model.tokenizer, f"{a}+{b}=", str(answer), model.config.block_size)


def answer_chances(model, a, b, answers):
    """P(answer and EOS | a+b=) -> (N,) for N candidate answers."""
    examples = [encode_sum(model, a, b, answer) for answer in answers]
    inputs, targets, mask = make_batch(examples, True)  # (N, T)
    logits, _ = lm_head_forward(model.params, gpt_forward(model.params, model.config, inputs)[0])
    logprobs, _ = token_logprobs_forward(logits, targets)  # (N, T)
    return np.exp((logprobs * mask).sum(axis=1))


def examine(sums, pairs):
    """What the model answers to each sum -> list of (its probability, 1 if right else 0, answer).

    Every number up to the largest sum is tried; the likeliest is its answer.
    """
    rows, candidates = [], range(max(a + b for a, b in sums.seen) + 1)
    for a, b in pairs:
        found = answer_chances(sums.model, a, b, candidates)  # (N,)
        rows.append((float(found.max()), int(found.argmax() == a + b), int(found.argmax())))
    return rows
