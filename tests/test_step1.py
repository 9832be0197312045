"""Step 1: the loss of a language model, what it is worth, the optimiser, and learning itself."""

import functools
import math

import numpy as np
import pytest
from helpers.checks_step1 import (
    LOGITS,
    MASK,
    TARGETS,
    cross_entropy_errors,
    naive_cross_entropy,
)
from helpers.gradients import wrong
from helpers.models import random_params, tiny_config

from minirlhf.adam import adam_step, clip_gradient, init_adam, learning_rate
from minirlhf.data import Example, Texts, encode_example, make_batch
from minirlhf.errors import NotFiniteError
from minirlhf.gpt import GPTConfig, Params, gpt_forward, init_params, lm_head_forward, param_shapes
from minirlhf.layers import softmax
from minirlhf.step1_language_model import (
    LanguageModelSettings,
    bigram_entropy,
    cross_entropy,
    evaluate_loss,
    language_model_loss,
    train_language_model,
    unigram_entropy,
)
from minirlhf.tokenizer import BOS, EOS, PAD, Tokenizer

# ---- the loss -------------------------------------------------------------------------------


def test_cross_entropy_and_its_gradient():
    assert not wrong(cross_entropy_errors())


def test_cross_entropy_gradient_is_softmax_minus_onehot_where_the_mask_is_1():
    _, dlogits = cross_entropy(LOGITS, TARGETS, MASK)
    for b, t in np.ndindex(2, 3):
        expected = (softmax(LOGITS[b, t]) - np.eye(5)[TARGETS[b, t]]) * MASK[b, t] / 4
        np.testing.assert_allclose(dlogits[b, t], expected, atol=1e-15)


@pytest.mark.parametrize("vocab_size", [3, 50])
def test_a_uniform_model_loses_the_logarithm_of_the_vocabulary(vocab_size):
    config = GPTConfig(vocab_size=vocab_size, block_size=6, n_embd=4)
    params = Params(param_shapes(config), np.float64)  # every weight 0, so every logit 0
    inputs = np.array([[BOS, 2, 0, 1]])
    loss, _ = language_model_loss(params, config, inputs, np.roll(inputs, -1), np.ones((1, 4)))
    assert loss == pytest.approx(math.log(vocab_size), rel=1e-12)


def bigram_model(table):
    """A GPT whose prediction after token i is exactly table[i]: it passes the token through."""
    size = len(table)
    config = GPTConfig(
        vocab_size=size, block_size=8, n_layer=1, n_head=1, n_embd=size, tied_head=False
    )
    params = Params(param_shapes(config), np.float64)
    params.wte[...] = np.eye(size) * size  # attention and MLP are 0: only the embedding arrives
    params.lnf_g[...] = 1
    hidden, _ = gpt_forward(params, config, np.arange(size)[:, None])  # (size, 1, size)
    # LayerNorm's rows have mean 0, so they span one dimension less; the bias adds it back
    params.lnf_b[...] = 1
    params.lm_w[...] = np.linalg.solve(hidden[:, 0] + 1, np.log(table)).T
    return params, config


BIGRAMS = np.array(
    [
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.1, 0.1, 0.1, 0.3, 0.4],  # after BOS: 3 with .3
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.1, 0.1, 0.2, 0.1, 0.5],  # after 3: 4 with .5
        [0.1, 0.1, 0.7, 0.05, 0.05],  # after 4: EOS with .7
    ]
)


def test_log_probabilities_of_a_hand_made_bigram_model():
    """BOS 3 4 EOS costs ln .3, ln .5, ln .7: were inputs and targets shifted, it would not."""
    params, config = bigram_model(BIGRAMS)
    inputs, targets, mask = make_batch([Example([BOS, 3, 4, EOS], 1)], response_only=False)
    loss, _ = language_model_loss(params, config, inputs, targets, mask)
    assert loss == pytest.approx(-(math.log(0.3) + math.log(0.5) + math.log(0.7)) / 3, rel=1e-9)
    # fine-tuning, with 3 as the prompt, counts only what comes after it
    inputs, targets, mask = make_batch([Example([BOS, 3, 4, EOS], 2)], response_only=True)
    loss, _ = language_model_loss(params, config, inputs, targets, mask)
    assert loss == pytest.approx(-(math.log(0.5) + math.log(0.7)) / 2, rel=1e-9)


def test_every_counted_token_weighs_the_same_whatever_the_length_of_its_row():
    params, config = bigram_model(BIGRAMS)
    batch = [Example([BOS, 3, EOS], 1), Example([BOS, 3, 4, 4, 4, EOS], 1)]
    both, _ = language_model_loss(params, config, *make_batch(batch, False))
    short, long = (language_model_loss(params, config, *make_batch([e], False))[0] for e in batch)
    assert both == pytest.approx((2 * short + 5 * long) / 7, rel=1e-12)
    assert abs(both - (short + long) / 2) > 0.05


def test_a_mask_of_zeros_is_an_error():
    with pytest.raises(ValueError, match=r"mask \(2, 3\) is 0 everywhere"):
        cross_entropy(LOGITS, TARGETS, np.zeros((2, 3)))


@pytest.mark.parametrize("mask_dtype", [np.float32, np.float64, bool])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_keeps_the_dtype_of_the_logits_whatever_the_mask(dtype, mask_dtype):
    loss, dlogits = cross_entropy(LOGITS.astype(dtype), TARGETS, MASK.astype(mask_dtype))
    assert type(loss) is float and dlogits.dtype == dtype
    assert loss == pytest.approx(naive_cross_entropy()[0], rel=1e-6)


def test_extreme_logits_give_a_finite_loss():
    logits = np.array([[[1000.0, -1000.0, 0.0]]])
    loss, dlogits = cross_entropy(logits, np.array([[1]]), np.ones((1, 1)))
    assert loss == 2000 and np.isfinite(dlogits).all()


# ---- masks ----------------------------------------------------------------------------------


def test_what_pretraining_and_fine_tuning_count():
    tokenizer = Tokenizer("?\nab")
    example = encode_example(tokenizer, "a?", "b", 10)
    assert example.ids == [BOS, 5, 3, 4, 6, EOS] and example.prompt_length == 4
    short = encode_example(tokenizer, "", "b", 10)
    assert short.ids == [BOS, 6, EOS] and short.prompt_length == 1

    inputs, targets, mask = make_batch([example, short], response_only=False)
    np.testing.assert_array_equal(inputs, [[BOS, 5, 3, 4, 6], [BOS, 6, EOS, PAD, PAD]])
    np.testing.assert_array_equal(targets, [[5, 3, 4, 6, EOS], [6, EOS, PAD, PAD, PAD]])
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    mask = make_batch([example, short], response_only=True)[2]
    np.testing.assert_array_equal(mask, [[0, 0, 0, 1, 1], [1, 1, 0, 0, 0]])


@pytest.mark.parametrize("response_only", [False, True])
def test_the_decision_to_stop_is_learned(response_only):
    """The logit of EOS at the end of the text gets the gradient (p - 1) / n, not 0."""
    config = tiny_config()
    params = random_params(config)
    inputs, targets, mask = make_batch([Example([BOS, 4, 3, EOS], 2)], response_only)
    assert targets[0, -1] == EOS and mask[0, -1] == 1
    logits, _ = lm_head_forward(params, gpt_forward(params, config, inputs)[0])
    _, dlogits = cross_entropy(logits, targets, mask)
    expected = (softmax(logits[0, -1])[EOS] - 1) / mask.sum()
    assert dlogits[0, -1, EOS] == pytest.approx(expected, rel=1e-9) and expected < -0.1


def test_the_prompt_teaches_fine_tuning_nothing():
    """Its targets get no gradient: changing the loss's idea of them changes nothing."""
    inputs, targets, mask = make_batch([Example([BOS, 4, 3, 5, EOS], 3)], response_only=True)
    config = tiny_config()
    params = random_params(config)
    logits, _ = lm_head_forward(params, gpt_forward(params, config, inputs)[0])
    loss, dlogits = cross_entropy(logits, targets, mask)
    assert not dlogits[0, :2].any() and dlogits[0, 2:].any(axis=-1).all()
    other = targets.copy()
    other[0, :2] = 6
    assert cross_entropy(logits, other, mask)[0] == loss


# ---- what the loss is worth -----------------------------------------------------------------

HAND_MADE = [Example([BOS, 3, 4, EOS], 1), Example([BOS, 3, 3, EOS], 1)]


def test_unigram_entropy_of_a_hand_made_corpus():
    """Six targets: 3 three times, 4 once, EOS twice."""
    expected = -(3 * math.log(3 / 6) + math.log(1 / 6) + 2 * math.log(2 / 6)) / 6
    assert unigram_entropy(HAND_MADE, 5) == pytest.approx(expected, rel=1e-12)


def test_bigram_entropy_of_a_hand_made_corpus():
    """BOS -> 3 always, 4 -> EOS always; after 3 come 4, 3 and EOS, once each."""
    assert bigram_entropy(HAND_MADE, 5) == pytest.approx(3 / 6 * math.log(3), rel=1e-12)


def test_the_bigram_model_of_a_corpus_reaches_the_bigram_entropy():
    table = np.full((5, 5), 1e-12)
    table[BOS, 3] = table[4, EOS] = 1
    table[3, [3, 4, EOS]] = 1 / 3
    params, config = bigram_model(table)
    loss, _ = language_model_loss(params, config, *make_batch(HAND_MADE, False))
    assert loss == pytest.approx(bigram_entropy(HAND_MADE, 5), abs=1e-6)
    assert evaluate_loss(params, config, HAND_MADE, False) == pytest.approx(loss, rel=1e-12)


def test_evaluation_weighs_tokens_not_batches():
    config = tiny_config()
    params = random_params(config)
    examples = [Example([BOS, 3, EOS], 1), Example([BOS, 4, 5, 6, 3, EOS], 1)]
    whole, _ = language_model_loss(params, config, *make_batch(examples, False))
    in_ones = evaluate_loss(params, config, examples, False, batch_size=1)
    assert in_ones == pytest.approx(whole, rel=1e-12)


# ---- the optimiser --------------------------------------------------------------------------


def two_weights(a, b):
    params = Params({"w": (2,)}, np.float64)
    params.w[...] = a, b
    return params


def test_two_steps_of_adam_by_hand():
    """betas .9, .99; gradients (1, -2), then (3, 0); learning rate .1.

    Step 1: m = .1 g, v = .01 g^2, corrected: g and g^2, so the step is lr * sign(g).
    Step 2: m = .09 g1 + .1 g2 = (.39, -.18), / (1 - .81) = (2.0526, -.9474);
            v = .0099 g1^2 + .01 g2^2 = (.0999, .0396), / (1 - .9801) = (5.0201, 1.9899).
    """
    params, adam = two_weights(1.0, 1.0), init_adam(two_weights(0, 0))
    adam_step(params, two_weights(1, -2), adam, 0.1)
    np.testing.assert_allclose(params.w, [0.9, 1.1], atol=1e-8)
    adam_step(params, two_weights(3, 0), adam, 0.1)
    second = [0.39 / 0.19 / math.sqrt(0.0999 / 0.0199), -0.18 / 0.19 / math.sqrt(0.0396 / 0.0199)]
    np.testing.assert_allclose(second, [0.9161, -0.6716], atol=1e-4)
    np.testing.assert_allclose(params.w, [0.9 - 0.1 * second[0], 1.1 - 0.1 * second[1]], atol=1e-8)
    assert adam.step == 2


def test_adams_eps_stands_outside_the_root_on_the_corrected_value():
    """With g = eps = 1 the first step is lr * 1 / (1 + 1), whatever the betas."""
    params, adam = two_weights(0, 0), init_adam(two_weights(0, 0))
    adam_step(params, two_weights(1, -1), adam, 0.1, eps=1.0)
    np.testing.assert_allclose(params.w, [-0.05, 0.05], rtol=1e-12)


def test_weight_decay_acts_on_the_weights_and_not_through_the_gradient():
    params, adam = two_weights(2.0, -3.0), init_adam(two_weights(0, 0))
    adam_step(params, two_weights(0, 0), adam, 0.1, weight_decay=0.5)
    np.testing.assert_allclose(params.w, [2 * 0.95, -3 * 0.95], rtol=1e-12)


def test_adam_keeps_float32_and_works_in_place():
    params = init_params(tiny_config(), np.random.default_rng(0))
    grads, adam = params.copy(), init_adam(params)
    flat = params.flat
    kept = grads.flat.copy()
    adam_step(params, grads, adam, 1e-3, weight_decay=0.1)
    assert params.flat is flat and flat.dtype == adam.m.dtype == adam.v.dtype == np.float32
    np.testing.assert_array_equal(grads.flat, kept)


def test_a_gradient_is_clipped_to_the_largest_norm_and_not_stretched():
    grads = two_weights(3, 4)
    assert clip_gradient(grads, 2.5) == 5
    np.testing.assert_allclose(grads.w, [1.5, 2])
    assert clip_gradient(grads, 10) == pytest.approx(2.5)
    np.testing.assert_allclose(grads.w, [1.5, 2])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_names_the_tensor(bad):
    grads = random_params(tiny_config())
    grads.fc_b[1, 2] = bad
    with pytest.raises(NotFiniteError, match="^the gradient of fc_b is not finite$"):
        clip_gradient(grads, 1.0)


def test_learning_rate_warms_up_and_comes_down():
    rate = functools.partial(learning_rate, steps=110, peak=2.0, warmup=10)
    assert [rate(0), rate(4), rate(9), rate(10)] == pytest.approx([0.2, 1.0, 2.0, 2.0])
    assert rate(60) == pytest.approx(1.0)  # half-way down the cosine
    assert rate(109) == pytest.approx(1 + math.cos(math.pi * 0.99))
    assert rate(35, schedule="linear") == pytest.approx(1.5)
    assert rate(109, schedule="linear") == pytest.approx(0.02)
    assert rate(109, schedule="constant") == 2.0
    assert rate(60, floor=0.5) == pytest.approx(1.5)
    assert learning_rate(0, 1, 3.0, 0) == 3.0
    assert all(rate(step + 1) < rate(step) for step in range(10, 109))
    with pytest.raises(ValueError, match="'cubic' is not one of"):
        rate(50, schedule="cubic")


# ---- learning -------------------------------------------------------------------------------

TOKENIZER = Tokenizer("abc\n")
EXAMPLES = [
    encode_example(TOKENIZER, prompt, response, 12)
    for prompt, response in [("a", "abca"), ("b", "bb"), ("c", "cab"), ("ab", "c")]
]
TEXTS = Texts(training=EXAMPLES, held_out=EXAMPLES)
CONFIG = GPTConfig(vocab_size=len(TOKENIZER), block_size=12, n_layer=2, n_head=2, n_embd=16)


@functools.cache
def overfitted():
    """A model fine-tuned on four demonstrations until it knows them by heart -> params, history."""
    params = init_params(CONFIG, np.random.default_rng(0))
    settings = LanguageModelSettings(
        response_only=True, steps=120, batch_size=4, learning_rate=1e-2, warmup=5
    )
    rng = np.random.default_rng(1)
    return params, train_language_model(params, CONFIG, TEXTS, settings, rng)


def test_a_few_demonstrations_can_be_learned_by_heart():
    _, history = overfitted()
    assert history[0]["held_out_loss"] > 1 and history[-1]["held_out_loss"] < 0.02


def test_the_history_tells_every_step():
    _, history = overfitted()
    assert [row["step"] for row in history] == list(range(120))
    evaluated = [row["step"] for row in history if row["held_out_loss"] is not None]
    assert evaluated == [0, 100, 119]  # evaluate_every is 100, and the last step


def test_a_model_that_knows_its_answers_says_them_and_stops():
    params, _ = overfitted()
    for example in EXAMPLES:
        ids = example.ids[: example.prompt_length]
        while ids[-1] != EOS and len(ids) < 12:
            logits, _ = lm_head_forward(params, gpt_forward(params, CONFIG, np.array([ids]))[0])
            ids = [*ids, int(logits[0, -1].argmax())]
        assert ids == example.ids


def test_same_seed_same_bytes():
    settings = LanguageModelSettings(steps=3, batch_size=3)
    flats = []
    for noise in range(2):
        np.random.seed(noise)  # the global generator must not matter
        params = init_params(CONFIG, np.random.default_rng(0))
        train_language_model(params, CONFIG, TEXTS, settings, np.random.default_rng(5))
        flats.append(params.flat.tobytes())
    assert flats[0] == flats[1]


def test_held_out_texts_may_be_left_out_and_then_nothing_is_evaluated():
    params = init_params(CONFIG, np.random.default_rng(0))
    settings = LanguageModelSettings(steps=2, batch_size=2)
    history = train_language_model(
        params, CONFIG, Texts(training=EXAMPLES), settings, np.random.default_rng(5)
    )
    assert [row["held_out_loss"] for row in history] == [None, None]


class Spoiler:
    """A progress wrapper that puts a number that is not finite into a bias before one step."""

    def __init__(self, params, at, bad):
        self.params, self.at, self.bad = params, at, bad

    def __call__(self, steps):
        for step in steps:
            if step == self.at:
                self.params.fc_b[1, 2] = self.bad
            yield step


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_whose_gradient_is_not_finite_names_the_step_and_the_tensor(bad):
    """The first tensor of the flat vector that is spoilt: wte, of which everything else is made."""
    params = init_params(CONFIG, np.random.default_rng(0))
    settings = LanguageModelSettings(steps=10, batch_size=2)
    with np.errstate(all="ignore"), pytest.raises(NotFiniteError) as caught:
        train_language_model(
            params, CONFIG, TEXTS, settings, np.random.default_rng(5),
            progress=Spoiler(params, 7, bad),
        )
    assert str(caught.value) == "language model, step 7: the gradient of wte is not finite"
