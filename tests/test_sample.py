"""Sampling: the cache against the plain forward pass, frequencies against probabilities, masks.

The sampler is the one place where the model is written a second time, for speed.  So the first
tests compare the two, position by position.
"""

import math

import numpy as np
import pytest
from helpers.arrays import floating_dtypes
from helpers.enumerable import POLICY, RESPONSES, SMALL, world_logprobs
from helpers.models import random_params, tiny_config

from minirlhf.gpt import GPTConfig, Params, gpt_forward, lm_head_forward, param_shapes
from minirlhf.layers import log_softmax, softmax
from minirlhf.sample import draw, sample
from minirlhf.step3_ppo import last_response_index
from minirlhf.tokenizer import BOS, EOS, PAD

CONFIG = GPTConfig(vocab_size=7, block_size=12, n_layer=2, n_head=2, n_embd=4)
PROMPTS = [[BOS, 3], [BOS, 4, 5, 6, 3], [BOS], [BOS, 6, 3, 3], [BOS, 5]] * 8


def some_samples(temperature=1.0, seed=0, config=CONFIG, dtype=np.float64):
    params = random_params(config, dtype=dtype)
    rng = np.random.default_rng(seed)
    return params, sample(params, config, PROMPTS, 7, rng, temperature)


def response(samples, row):
    """Ids of one response, EOS included."""
    return samples.tokens[row, 1:][samples.response_mask[row] > 0].tolist()


# ---- the cached path is the plain path ------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
@pytest.mark.parametrize("tied", [True, False])
def test_recorded_log_probabilities_are_those_of_the_plain_forward_pass(tied, temperature):
    config = GPTConfig(vocab_size=7, block_size=12, n_layer=2, n_head=2, n_embd=4, tied_head=tied)
    params, samples = some_samples(temperature, config=config)
    lengths = {len(response(samples, row)) for row in range(len(PROMPTS))}
    assert len(lengths) > 4  # rows end at different times

    inputs, targets = samples.tokens[:, :-1], samples.tokens[:, 1:]
    logits, _ = lm_head_forward(params, gpt_forward(params, config, inputs)[0])
    everything = log_softmax(logits / temperature) * samples.response_mask[..., None]
    np.testing.assert_allclose(samples.all_logprobs, everything, atol=1e-10)
    picked = np.take_along_axis(everything, targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(samples.logprobs, picked, atol=1e-10)


def test_a_row_does_not_depend_on_its_batch_mates():
    """Same random numbers, other neighbours: with early and late enders the text is the same."""
    params, samples = some_samples()
    changed = [[BOS, 4, 4]] * len(PROMPTS)
    changed[3] = PROMPTS[3]
    other = sample(params, CONFIG, changed, 7, np.random.default_rng(0))
    assert response(other, 3) == response(samples, 3)
    got, wanted = other.logprobs[3], samples.logprobs[3]
    np.testing.assert_allclose(got[got != 0], wanted[wanted != 0], atol=1e-12)


def test_a_batch_of_one():
    params, samples = some_samples()
    alone = sample(params, CONFIG, PROMPTS[:1], 7, np.random.default_rng(0))
    assert response(alone, 0) == response(samples, 0)  # the first row draws the first numbers


def test_all_rows_end_at_once():
    """A policy that always says EOS: the response is one token, and no step follows."""
    params = Params(param_shapes(CONFIG), np.float64)
    params.lnf_b[...] = 1
    params.wte[EOS] = 100
    samples = sample(params, CONFIG, [[BOS], [BOS, 3]], 5, np.random.default_rng(0))
    np.testing.assert_array_equal(samples.tokens, [[BOS, EOS, PAD], [BOS, 3, EOS]])
    np.testing.assert_array_equal(samples.response_mask, [[1, 0], [0, 1]])
    assert samples.finished.all()


# ---- what is drawn --------------------------------------------------------------------------


def chi_square_is_ordinary(counts, probabilities):
    """Pearson's statistic within 4 standard deviations of its mean: false alarms are rare."""
    expected = counts.sum() * probabilities
    keep = expected > 5
    statistic = ((counts - expected)[keep] ** 2 / expected[keep]).sum()
    freedom = keep.sum() - 1
    return abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_frequencies_agree_with_the_softmax(temperature):
    """Every id may come, PAD and BOS too: nothing is filtered, or log-probs would be wrong."""
    config = tiny_config()
    params = random_params(config)
    params.lnf_g *= 3  # opinions
    logits, _ = lm_head_forward(params, gpt_forward(params, config, np.array([[BOS, 4]]))[0])
    samples = sample(params, config, [[BOS, 4]] * 10_000, 1, np.random.default_rng(0), temperature)
    counts = np.bincount(samples.tokens[:, 2], minlength=7)
    assert chi_square_is_ordinary(counts, softmax(logits[0, 1] / temperature))
    assert not chi_square_is_ordinary(counts, softmax(logits[0, 1] / (1.3 * temperature)))
    assert counts.min() > 0


def test_frequencies_of_whole_responses_agree_with_their_enumerated_probabilities():
    samples = sample(POLICY, SMALL, [[BOS]] * 8000, 3, np.random.default_rng(0))
    place = {tuple(ids): i for i, ids in enumerate(RESPONSES)}
    drawn = [place[tuple(response(samples, row))] for row in range(8000)]
    probabilities = np.exp(world_logprobs(POLICY).sum(axis=1))
    assert chi_square_is_ordinary(np.bincount(drawn, minlength=40), probabilities)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_ends_of_the_distribution(dtype):
    """A random number of 0 never draws the impossible, one just below 1 never leaves the ids."""
    with np.errstate(divide="ignore"):
        impossible_first = np.log(np.array([[0, 0.25, 0.75]], dtype))
    assert draw(impossible_first, np.array([0.0])) == [1]
    rounded = np.log(np.array([[0.5, 0.4999]], dtype))  # sums to less than 1, as float32 may
    assert draw(rounded, np.array([1 - 1e-9])) == [1]


def plus_one_policy():
    """Says the id after the one it has read; after the last letter, EOS."""
    size = 9
    config = GPTConfig(
        vocab_size=size, block_size=10, n_layer=1, n_head=1, n_embd=size, tied_head=False
    )
    params = Params(param_shapes(config), np.float32)
    params.wte[...] = np.eye(size)  # attention and MLP are 0: only the embedding arrives
    params.lnf_g[...] = 1
    for i in range(size):
        params.lm_w[i + 1 if i + 1 < size else EOS, i] = 100
    return params, config


def test_the_plus_one_policy_counts_on_from_every_prompt_and_stops():
    params, config = plus_one_policy()
    prompts = [[BOS, 5], [BOS, 8], [BOS, 3, 7], [BOS, 4, 3, 3]]
    samples = sample(params, config, prompts, 6, np.random.default_rng(0))
    assert response(samples, 0) == [6, 7, 8, EOS]
    assert response(samples, 1) == [EOS]
    assert response(samples, 2) == [8, EOS]
    assert response(samples, 3) == [4, 5, 6, 7, 8, EOS]
    assert samples.finished.all()
    cut = sample(params, config, prompts, 4, np.random.default_rng(0))
    assert response(cut, 3) == [4, 5, 6, 7]  # at the limit, without EOS
    np.testing.assert_array_equal(cut.finished, [True, True, True, False])


# ---- masks ----------------------------------------------------------------------------------


def test_the_mask_covers_the_response_with_its_eos_and_nothing_else():
    _, samples = some_samples()
    ends = last_response_index(samples.response_mask)
    for row, (prompt, end) in enumerate(zip(PROMPTS, ends)):
        mask = samples.response_mask[row]
        np.testing.assert_array_equal(samples.tokens[row, : len(prompt)], prompt)
        assert not mask[: len(prompt) - 1].any() and mask[len(prompt) - 1 : end + 1].all()
        assert (samples.tokens[row, end + 2 :] == PAD).all() and not mask[end + 1 :].any()
        ids = response(samples, row)
        assert EOS not in ids[:-1] and samples.finished[row] == (ids[-1] == EOS)
        assert len(ids) <= 7 and (samples.finished[row] or len(ids) == 7)
    outside = samples.response_mask == 0
    assert not samples.logprobs[outside].any() and not samples.all_logprobs[outside].any()
    assert (samples.logprobs[~outside] < 0).all()


def test_the_batch_is_as_wide_as_its_longest_row():
    params, config = plus_one_policy()
    samples = sample(params, config, [[BOS, 7], [BOS, 8]], 6, np.random.default_rng(0))
    assert samples.tokens.shape == (2, 4) and samples.response_mask.shape == (2, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_samples_keep_the_dtype_of_the_weights(dtype):
    assert floating_dtypes(some_samples(dtype=dtype)[1]) == {np.dtype(dtype)}


# ---- randomness -----------------------------------------------------------------------------


def sample_bytes(samples):
    return [array.tobytes() for array in samples]


def test_same_seed_same_bytes_and_another_seed_other_bytes():
    np.random.seed(0)
    first = sample_bytes(some_samples(seed=3)[1])
    np.random.seed(1)  # the global generator must not matter
    assert sample_bytes(some_samples(seed=3)[1]) == first
    assert sample_bytes(some_samples(seed=4)[1]) != first


def test_the_generator_moves_on_by_the_same_amount_whatever_is_said():
    """So what is drawn later does not depend on when the answers of today have stopped."""
    states = []
    for seed in (0, 1):  # two different models, with different answers
        rng = np.random.default_rng(9)
        sample(random_params(CONFIG, seed), CONFIG, PROMPTS, 7, rng)
        states.append(rng.random())
    assert states[0] == states[1]


def test_sampling_changes_no_weight_and_no_prompt():
    params = random_params(CONFIG)
    before, prompts = params.flat.tobytes(), [list(prompt) for prompt in PROMPTS]
    sample(params, CONFIG, prompts, 7, np.random.default_rng(0))
    assert params.flat.tobytes() == before and prompts == PROMPTS


# ---- limits and errors ----------------------------------------------------------------------


def test_prompt_and_response_must_fit_the_block():
    params = random_params(CONFIG)
    longest = [BOS] + [3] * 5
    samples = sample(params, CONFIG, [longest], 6, np.random.default_rng(0))  # 12 of 12
    assert samples.tokens.shape[1] <= 12
    with pytest.raises(ValueError, match="prompt of 6 ids . 7 new tokens do not fit block_size 12"):
        sample(params, CONFIG, [longest, [BOS]], 7, np.random.default_rng(0))


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature is"):
        sample(random_params(CONFIG), CONFIG, PROMPTS, 2, np.random.default_rng(0), temperature)
