"""Asking a model: what it says, how probable that is, and what a reward model gives for it."""

from typing import NamedTuple

import numpy as np

from minirlhf.data import decode_response, encode_example, encode_prompt, last_response_index
from minirlhf.gpt import gpt_forward, lm_head_forward
from minirlhf.layers import token_logprobs_forward
from minirlhf.sample import sample
from minirlhf.step2_reward_model import score_rows


class Answer(NamedTuple):
    """One sampled response."""

    prompt: str
    text: str
    finished: bool  # ended with EOS
    n_tokens: int  # EOS included


def ask(model, prompts, rng, temperature=1.0, batch_size=256):
    """Model, list of prompts (str) -> list of Answer, one each, at most as long as it was told."""
    answers = []
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        ids = encode_prompts(model, batch)
        limit = model.extra["max_new_tokens"]
        samples = sample(model.params, model.config, ids, limit, rng, temperature)
        answers += read_answers(model.tokenizer, batch, samples)
    return answers


def encode_prompts(model, prompts):
    """list of str -> list of ids.  Raises InputError if one is too long for an answer to follow."""
    room = model.config.block_size - model.extra["max_new_tokens"] + 1
    return [encode_prompt(model.tokenizer, prompt, room) for prompt in prompts]


def encode_text(model, prompt, response):
    """One text -> Example.  Raises InputError if the model cannot read it, or it is too long."""
    return encode_example(model.tokenizer, prompt, response, model.config.block_size)


def read_answers(tokenizer, prompts, samples):
    """Samples of B prompts -> list of B Answer."""
    answers = []
    for row, prompt in enumerate(prompts):
        ids = samples.tokens[row, 1:][samples.response_mask[row] > 0]
        answers.append(Answer(prompt=prompt, text=decode_response(tokenizer, ids),
                              finished=bool(samples.finished[row]), n_tokens=len(ids)))
    return answers


def collect_answers(models, prompts, k, rng, rounds=3):
    """Ask every prompt until it has k different answers.

    models: {name: Model}, asked in turn, `rounds` times each at most.  Answers that did not end,
    are empty, or hold a special token inside cannot be written down and are left out.
    -> list of {"prompt", "responses", "models"} with 2 to k responses, in random order.
    """
    collected = [{"prompt": prompt, "responses": [], "models": []} for prompt in prompts]
    for _ in range(rounds):
        for name, model in models.items():
            for place, answer in zip(collected, ask(model, prompts, rng)):
                new = answer.text.strip() and answer.text not in place["responses"]
                special = "<pad>" in answer.text or "<bos>" in answer.text
                if new and not special and answer.finished and len(place["responses"]) < k:
                    place["responses"].append(answer.text)
                    place["models"].append(name)
    enough = [place for place in collected if len(place["responses"]) >= 2]
    for place in enough:
        order = rng.permutation(len(place["responses"]))
        place["responses"] = [place["responses"][i] for i in order]
        place["models"] = [place["models"][i] for i in order]
    return enough


def reference_rows(model, prompts, rng, n_samples=256):
    """-> list of lists of ids: finished responses of the model, with their prompts."""
    repeats = -(-n_samples // len(prompts))
    ids = encode_prompts(model, prompts * repeats)
    samples = sample(model.params, model.config, ids, model.extra["max_new_tokens"], rng)
    last = last_response_index(samples.response_mask) + 1
    rows = np.flatnonzero(samples.finished)
    return [samples.tokens[row, : last[row] + 1].tolist() for row in rows]


def response_logprob(model, prompt, response):
    """log P(response and EOS | prompt) in nats, a sum over characters."""
    example = encode_text(model, prompt, response)
    tokens = np.array([example.ids])  # (1, T+1)
    hidden, _ = gpt_forward(model.params, model.config, tokens[:, :-1])
    logits, _ = lm_head_forward(model.params, hidden)  # (1, T, V)
    logprobs, _ = token_logprobs_forward(logits, tokens[:, 1:])  # (1, T)
    return float(logprobs[0, example.prompt_length - 1 :].sum())


def score_texts(reward_model, prompt, responses):
    """prompt, list of K responses (str) -> scores (K,)."""
    rows = [encode_text(reward_model, prompt, response).ids for response in responses]
    return score_rows(reward_model.params, reward_model.config, rows)
