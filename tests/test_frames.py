"""Stepping comfort: how deep a debugger goes below a training loop, and what it shows there.

Counted are Python frames whose code lies in minirlhf/, all of them: context managers, `__repr__`
and small helpers too.  Frames of NumPy are not ours.
"""

import functools
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from helpers.ppo import known_order

from minirlhf.data import Example, Texts
from minirlhf.debugger_view import one_line
from minirlhf.gpt import GPTConfig, Params, gpt_forward, init_params, with_scalar_head
from minirlhf.sample import sample
from minirlhf.step1_language_model import LanguageModelSettings, train_language_model
from minirlhf.step2_reward_model import (
    RewardModelSettings,
    reward_model_forward,
    train_reward_model,
)
from minirlhf.step3_ppo import (
    PolicyStats,
    PPOModels,
    PPOSettings,
    cut_minibatch,
    make_rollout,
    score_samples,
    train_ppo,
)
from minirlhf.tokenizer import BOS, EOS

PACKAGE = Path(__file__).parent.parent / "minirlhf"
DEEPEST = 5  # own frames below the training loop
CALLS_OF_A_MINIBATCH = 142  # the policy's share and the value model's
MINIBATCHES = 4  # of the iteration that is counted: 2 epochs x 2
# ends with /, so that no neighbour of the folder counts
INSIDE = str(PACKAGE) + os.sep


class Call(NamedTuple):
    """One frame of the package, as a debugger lists it."""

    stack: tuple  # names of the functions, from the training loop down to this one
    code: object


def small_models():
    """-> PPOModels of two layers, and a Generator."""
    rng = np.random.default_rng(0)
    config = GPTConfig(vocab_size=12, n_layer=2, n_head=2, n_embd=8)
    policy = init_params(config, rng)
    reward_model = with_scalar_head(policy, config, rng)
    models = PPOModels(
        policy=policy, ref_policy=policy.copy(), reward_model=reward_model,
        value_model=reward_model.copy(), config=config, reward_config=config,
    )
    return models, rng


def calls_of(function, *args, **kwargs):
    """function(*args, **kwargs) -> list of Call: itself, and all that is called below it."""
    calls, stack = [], []

    def count(frame, event, argument):
        if not frame.f_code.co_filename.startswith(INSIDE):
            return
        if event == "call":
            stack.append(frame.f_code.co_name)
            calls.append(Call(tuple(stack), frame.f_code))
        elif event == "return":
            stack.pop()

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function(*args, **kwargs)
    finally:
        sys.setprofile(before)
    return calls


@functools.cache
def calls_of_step_1():
    """One step, with its look at a held-out text."""
    models, rng = small_models()
    texts = [Example(ids=[BOS, 3 + i, 4, EOS], prompt_length=2) for i in range(4)]
    return calls_of(
        train_language_model, models.policy, models.config,
        Texts(training=texts, held_out=texts), LanguageModelSettings(steps=1, batch_size=2), rng,
    )


@functools.cache
def calls_of_step_2(loss):
    models, rng = small_models()
    settings = RewardModelSettings(epochs=1, batch_size=9, loss=loss)
    rankings = known_order(rng, 4)
    return calls_of(
        train_reward_model, models.reward_model, models.reward_config, rankings, settings, rng
    )


@functools.cache
def calls_of_step_3(folder=None):
    """One iteration, sampling included, with everything switched on that is not two threads."""
    models, rng = small_models()
    settings = PPOSettings(
        iterations=1, rollout_size=4, minibatch_size=2, max_new_tokens=4, entropy_coef=0.01,
        target_kl=0.1, save_every=1,
        max_grad_norm=1e-6,  # every gradient is clipped, so the count does not hang on numbers
    )
    resume_path = None if folder is None else folder / "ppo.npz"
    return calls_of(
        train_ppo, models, [[BOS, 4, 5], [BOS, 6]], settings, rng, resume_path=resume_path
    )


def test_a_training_step_is_at_most_five_frames_deep(tmp_path):
    """From the loop to the last line, whatever the step: rollout, sampling and files included."""
    for calls, loop, deepest in (
        (calls_of_step_1(), "train_language_model", 4),
        (calls_of_step_2("k-wise"), "train_reward_model", 5),
        (calls_of_step_2("plackett-luce"), "train_reward_model", 5),
        (calls_of_step_3(), "train_ppo", 5),
        (calls_of_step_3(tmp_path), "train_ppo", 5),
    ):
        assert calls[0].stack == (loop,)
        depths = [len(call.stack) - 1 for call in calls]
        assert max(depths) == deepest <= DEEPEST, [c.stack for c in calls if len(c.stack) > 6]


def test_what_stands_at_the_bottom():
    """Five frames down there are only helpers of the layers and of the losses."""
    calls = calls_of_step_2("k-wise") + calls_of_step_3()
    bottom = {call.stack[-1] for call in calls if len(call.stack) - 1 == DEEPEST}
    assert bottom == {"softmax", "softmax_backward", "column_sum", "token_count"}
    below = {call.stack[1] for call in calls_of_step_3() if len(call.stack) > 1}
    assert {"sample", "score_samples", "make_rollout", "update_policy", "update_value_model",
            "draw_prompts", "draw_minibatches", "rollout_figures"} <= below


def all_calls(folder):
    return (
        calls_of_step_1() + calls_of_step_2("k-wise") + calls_of_step_2("plackett-luce")
        + calls_of_step_3(folder)
    )


def test_no_frame_is_a_lambda_a_generator_or_a_closure(tmp_path):
    for call in all_calls(tmp_path):
        assert call.stack[-1] not in ("<lambda>", "<genexpr>"), call.stack
        comprehension = call.stack[-1].startswith("<")  # its variables are those of its function
        assert comprehension or not call.code.co_freevars, call.stack


MATHEMATICS = {
    "gpt_forward", "gpt_backward", "language_model_loss", "reward_model_forward",
    "reward_model_backward", "policy_objective", "value_objective", "update_policy",
    "update_value_model", "make_rollout", "read_prompts", "decode_step", "clip_gradient",
    "adam_step",
}


def test_no_frame_of_the_mathematics_is_a_comprehension(tmp_path):
    """Lists of texts and tables of figures are made by comprehensions, which are frames of their
    own before Python 3.12.  Where arrays are computed there is none."""
    seen = set()
    for call in all_calls(tmp_path):
        seen |= MATHEMATICS & set(call.stack)
        if MATHEMATICS & set(call.stack):
            assert not call.stack[-1].startswith("<"), call.stack
    assert seen == MATHEMATICS


def test_reading_and_writing_a_weight_is_no_frame(tmp_path):
    """params.wte is a plain attribute; F11 on a line with five weights enters no method.

    Params(...) is made once by each backward pass; nothing else of the class is entered.
    """
    counts = {}
    for call in all_calls(tmp_path):
        name = call.stack[-1]
        counts[name] = counts.get(name, 0) + 1
    assert not {"__setattr__", "__getitem__", "__getattr__"} & set(counts)
    assert counts["gpt_backward"] > 0


def test_the_test_would_see_a_weight_that_is_a_method():
    params = small_models()[0].policy
    assert calls_of(params.__getitem__, "wte")[0].stack == ("__getitem__",)
    with pytest.raises(AttributeError):
        calls_of(setattr, params, "wte", 0)


def test_every_frame_is_a_function_under_its_own_name(tmp_path):
    """Nothing is wrapped: what the stack shows is what the file says."""
    for call in all_calls(tmp_path):
        name = call.stack[-1]
        if name.startswith("<"):
            continue  # a comprehension: see above
        parts = Path(call.code.co_filename).relative_to(PACKAGE).with_suffix("").parts
        module = vars(sys.modules[".".join(["minirlhf", *parts])])
        classes = [thing for thing in module.values() if isinstance(thing, type)]
        functions = [module.get(name), *(vars(cls).get(name) for cls in classes)]
        assert call.code in [getattr(f, "__code__", None) for f in functions], call.stack


def test_the_number_of_calls_of_a_training_step():
    """2 epochs x 2 minibatches, 2 layers: what a reader who presses F11 all the way would see."""
    calls = calls_of_step_3()
    updates = [c for c in calls if {"update_policy", "update_value_model"} & set(c.stack)]
    counts = {}
    for call in updates:
        counts[call.stack[-1]] = counts.get(call.stack[-1], 0) + 1
    print(f"{len(calls)} calls in one iteration, {len(updates)} of them in the updates")
    assert counts["update_policy"] == counts["update_value_model"] == 1
    assert counts["policy_objective"] == counts["value_objective"] == MINIBATCHES
    assert counts["gpt_forward"] == counts["gpt_backward"] == 2 * MINIBATCHES
    assert counts["attention_forward"] == counts["softmax"] == 2 * 2 * MINIBATCHES
    # around the minibatches, for each network: its function, its learning rate, `with at(...)`
    assert len(updates) == CALLS_OF_A_MINIBATCH * MINIBATCHES + 2 * (1 + 1 + 3)


# ---- what a debugger shows of a record ------------------------------------------------------


def test_records_fit_one_line_with_names_and_shapes():
    models, rng = small_models()
    prompts = [[1, 4, 5], [1, 6]]
    settings = PPOSettings(rollout_size=2, max_new_tokens=4)
    samples = sample(models.policy, models.config, prompts, 4, rng)
    scores = score_samples(models, samples, settings)
    rollout = make_rollout(models, samples, scores, 0.1, settings)
    _, cache = gpt_forward(models.policy, models.config, rollout.tokens)
    _, reward_cache = reward_model_forward(
        models.reward_model, models.reward_config, rollout.tokens, np.array([3, 3])
    )
    batch = cut_minibatch(rollout, np.array([0, 1]))
    records = (models, rollout, batch, samples, cache, cache.blocks[0], cache.blocks[0].attention,
               reward_cache, models.policy)
    for record in records:
        text = repr(record)
        assert "\n" not in text and len(text) <= 100, text
        assert text.startswith(type(record).__name__ + "(") and text.endswith(")")
    B, T = rollout.response_mask.shape
    assert f"tokens ({B}, {T + 1}), response_mask ({B}, {T}), finished ({B},)" in repr(rollout)
    assert "probs (2, 2, " in repr(cache.blocks[0].attention)
    assert "policy Params" in repr(models)
    stats = PolicyStats(clip_fraction=0.5, ratio_outside=0.25, approx_kl=0.125)
    assert one_line(stats) == "PolicyStats(clip_fraction 0.5, ratio_outside 0.25, approx_kl 0.125)"
    assert repr(Params({"w": (2,)})) == "Params(2 x float32: w (2,))"


def test_the_repr_helpers_live_away_from_the_layers():
    """So that the first file a reader opens holds layers only."""
    assert Path(one_line.__code__.co_filename).name == "debugger_view.py"
