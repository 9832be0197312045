"""A world that can be enumerated: four ids, three tokens, 40 possible responses."""

import itertools

import numpy as np

from helpers.models import plain_logprobs, random_params
from minirlhf.gpt import GPTConfig
from minirlhf.tokenizer import BOS, EOS, PAD

# PAD, BOS, EOS and one letter; up to 3 tokens after <bos>: 40 possible responses
SMALL = GPTConfig(vocab_size=4, block_size=4, n_layer=1, n_head=2, n_embd=4)


def all_responses(vocab_size, limit):
    """Every response there is: ends with EOS, or has `limit` tokens -> lists of ids."""
    responses = []
    for length in range(1, limit + 1):
        for ids in itertools.product(range(vocab_size), repeat=length):
            if EOS not in ids[:-1] and (ids[-1] == EOS or length == limit):
                responses.append(list(ids))
    return responses


RESPONSES = all_responses(4, 3)
WORLD = np.array([[BOS, *ids, *[PAD] * (3 - len(ids))] for ids in RESPONSES])  # (40, 4)
WORLD_MASK = np.array([[1.0] * len(ids) + [0.0] * (3 - len(ids)) for ids in RESPONSES])


def world_logprobs(params):
    """-> (40, 3) log-probabilities of the tokens of every response, 0 on padding."""
    return plain_logprobs(params, SMALL, WORLD[:, :-1], WORLD[:, 1:]) * WORLD_MASK


POLICY, REFERENCE = random_params(SMALL, 0), random_params(SMALL, 1)
