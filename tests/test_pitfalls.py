"""The pitfalls of RLHF implementations, and the test that guards against each.

The numbers are those of the list this package was written against: faults found in well-known
projects, ranked by harm (1 to 12 silently ruin a run, 13 to 24 bias it, the rest confuse).  Most
guards live beside what they guard; the remaining ones stand below.
"""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.models import random_params, tiny_config
from helpers.ppo import PROMPTS, SETTINGS, four_models, responses_of, rollout_of

from minirlhf import data, gpt, step1_language_model, step2_reward_model, step3_ppo
from minirlhf.data import Ranking, encode_prompt, read_preferences, read_rankings
from minirlhf.errors import InputError
from minirlhf.gpt import gpt_forward, lm_head_forward
from minirlhf.layers import softmax
from minirlhf.sample import sample
from minirlhf.step2_reward_model import encode_rankings, reward_model_loss
from minirlhf.step3_ppo import PPOSettings, ppo_policy_loss, train_ppo
from minirlhf.tokenizer import BOS, EOS, PAD, Tokenizer

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "minirlhf"

GUARDS = {
    1: (  # logits and labels not shifted, response off by one
        "test_step1.py::test_a_uniform_model_loses_the_logarithm_of_the_vocabulary",
        "test_step1.py::test_log_probabilities_of_a_hand_made_bigram_model",
        "test_step1.py::test_what_pretraining_and_fine_tuning_count",
    ),
    2: (  # sign or direction of the KL
        "test_step3.py::test_expected_log_ratio_is_the_exact_kl_and_positive",
        "test_step3.py::test_the_policy_gradient_is_the_gradient_of_expected_score_minus_kl",
        "test_pitfalls.py::test_with_scores_of_0_ppo_brings_the_policy_back_to_the_reference",
    ),
    3: (  # EOS masked out together with PAD
        "test_pitfalls.py::test_pad_bos_and_eos_are_three_different_ids",
        "test_step1.py::test_the_decision_to_stop_is_learned",
        "test_step2.py::test_eos_gets_gradient_from_the_reward",
        "test_step3.py::test_stopping_gets_a_gradient_from_ppo",
    ),
    4: (  # the score on the wrong token
        "test_step3.py::test_the_score_is_paid_on_the_eos_action",
        "test_step3.py::test_the_score_stands_on_the_last_response_token",
        "test_step3.py::test_rewards_of_a_response_sum_to_score_minus_kl_coef_times_log_ratio",
    ),
    5: (  # padding leaks
        "test_step3.py::test_padding_changes_no_loss_reward_or_advantage",
        "test_step3.py::test_padding_of_a_rollout_does_not_reach_the_update",
        "test_step3.py::test_example_the_value_on_the_padding_is_inert",
        "test_gpt.py::test_padding_changes_nothing_in_ppo",
        "test_gpt.py::test_padding_changes_no_loss_and_no_gradient_of_a_language_model",
    ),
    6: (  # a value bootstrapped after the last token
        "test_step3.py::test_with_lambda_1_advantage_plus_value_is_the_sum_of_what_follows",
        "test_step3.py::test_nothing_outside_the_response_reaches_gae",
    ),
    7: (  # sampled from one distribution, scored with another
        "test_sample.py::test_recorded_log_probabilities_are_those_of_the_plain_forward_pass",
        "test_step3.py::test_log_probabilities_of_the_rollout_are_those_of_policy_and_reference",
        "test_step3.py::test_on_the_first_minibatch_ppo_is_the_plain_policy_gradient",
    ),
    8: (  # the ratio is always 1
        "test_step3.py::test_the_six_cells_of_the_clipped_surrogate",
        "test_step3.py::test_an_update_is_several_epochs_of_minibatches_and_the_ratio_leaves_1",
        "test_step3.py::test_ppo_really_clips_and_really_starts_at_ratio_1",
    ),
    9: (  # old, reference and current policy mixed up
        "test_step3.py::test_reference_and_reward_model_keep_every_byte",
        "test_step3.py::test_an_update_is_several_epochs_of_minibatches_and_the_ratio_leaves_1",
        "test_step3.py::test_log_probabilities_of_the_rollout_are_those_of_policy_and_reference",
    ),
    10: (  # filters while sampling
        "test_sample.py::test_frequencies_agree_with_the_softmax",
        "test_pitfalls.py::test_eos_may_come_first",
    ),
    11: (  # the reward model reads padding
        "test_gpt.py::test_padding_changes_no_logit_score_or_value",
        "test_step2.py::test_score_is_the_head_on_eos_and_nothing_after_it",
        "test_gpt.py::test_a_ranking_does_not_see_its_batch_mates",
    ),
    12: (  # a path forgotten in a backward pass
        "test_gpt.py::test_gradient_of_every_weight_agrees_with_finite_differences",
        "test_gpt.py::test_a_tied_embedding_gets_the_gradients_of_both_its_uses",
        "test_mutations.py::test_every_broken_line_is_noticed",
    ),
    13: (  # gradient through constants; differences taken on a kink
        "test_step3.py::test_only_logprobs_are_differentiated",
        "test_gpt.py::test_every_ratio_is_far_from_the_clips_kink",
        "test_gpt.py::test_every_value_is_far_from_the_clips_kinks",
    ),
    14: (  # sum or mean over tokens
        "test_step3.py::test_twice_as_long_a_drift_costs_twice_as_much",
        "test_step3.py::test_figures_of_an_iteration",
    ),
    15: (  # advantages normalised row by row
        "test_step3.py::test_whitening_is_over_all_response_tokens_of_the_batch",
    ),
    16: (  # the scale of scores
        "test_step2.py::test_normalised_scores_have_mean_0_and_deviation_1",
        "test_step3.py::test_ppo_raises_the_score",
    ),
    17: (  # the reward model sees other text in training than in PPO
        "test_step2.py::test_training_reads_what_the_rollout_will_read",
        "test_pitfalls.py::test_a_rollout_and_a_ranking_with_the_same_text_get_the_same_score",
    ),
    18: (  # prompts on both sides of a split; pairs of a prompt torn apart
        "test_step2.py::test_no_prompt_is_on_both_sides_of_the_split",
        "test_step2.py::test_all_answers_of_a_ranking_go_through_one_forward_pass",
        "test_step2.py::test_every_epoch_sees_every_ranking_once_and_k_is_constant_in_a_batch",
    ),
    19: (  # identical answers
        "test_pitfalls.py::test_identical_answers_are_refused",
        "test_step2.py::test_rankings_of_ties_alone_are_left_out",
    ),
    20: (  # a cold critic
        "test_gpt.py::test_a_scalar_head_is_added_to_a_copy_of_the_trunk",
        "test_step3.py::test_the_value_model_starts_without_an_opinion_and_learns_to_explain",
        "test_pitfalls.py::test_the_value_model_shares_no_weight_with_the_policy",
    ),
    21: (  # log(sigmoid), exp of something large
        "test_step2.py::test_scores_1000_apart_give_finite_numbers",
        "test_layers.py::test_softmax_of_extreme_inputs_is_finite_and_sums_to_1",
        "test_layers.py::test_log_probabilities_of_extreme_logits_are_finite",
    ),
    22: (  # beta explained backwards (of PPO here; DPO has its own test)
        "test_step3.py::test_nothing_pulls_at_the_optimum_and_a_larger_kl_coef_keeps_it_closer",
    ),
    23: (  # an estimator of the KL taken for its gradient
        "test_step3.py::test_what_the_kl_estimators_differentiate_to_when_put_into_a_loss",
    ),
    24: (  # returns computed after whitening
        "test_step3.py::test_returns_are_taken_before_the_advantages_are_whitened",
    ),
    25: (  # how exactly one whitens
        "test_step3.py::test_example_whitened_advantages",
        "test_step3.py::test_agrees_with_its_naive_version",
    ),
    26: (  # mean over tokens or over rows
        "test_step1.py::test_every_counted_token_weighs_the_same_whatever_the_length_of_its_row",
        "test_step1.py::test_evaluation_weighs_tokens_not_batches",
        "test_pitfalls.py::test_a_long_answer_weighs_more_in_ppo_token_by_token",
    ),
    27: (  # 0 / 0
        "test_step3.py::test_whitening_equal_numbers_gives_zeros",
        "test_step3.py::test_a_mask_of_zeros_is_an_error",
        "test_step3.py::test_explained_variance",
        "test_step1.py::test_a_mask_of_zeros_is_an_error",
        "test_step2.py::test_a_ranking_of_ties_alone_teaches_nothing",
        "test_step2.py::test_equal_scores_have_no_scale",
        "test_gpt.py::test_padding_changes_nothing_in_ppo",  # rows of padding alone
    ),
    28: (  # Adam's eps and its memory
        "test_step1.py::test_two_steps_of_adam_by_hand",
        "test_step1.py::test_adams_eps_stands_outside_the_root_on_the_corrected_value",
        "test_pitfalls.py::test_every_run_starts_with_an_optimiser_at_rest",
    ),
    29: (  # gradients left over from before
        "test_gpt.py::test_backward_gives_a_fresh_gradient_each_time_and_changes_nothing",
    ),
    30: (  # a global generator; draws that depend on the neighbours
        "test_pitfalls.py::test_nothing_draws_from_the_global_generator",
        "test_step1.py::test_same_seed_same_bytes",
        "test_step2.py::test_same_seed_same_bytes",
        "test_step3.py::test_same_seed_same_bytes",
        "test_step3.py::test_what_watch_returns_goes_into_the_history_and_nowhere_else",
        "test_sample.py::test_same_seed_same_bytes_and_another_seed_other_bytes",
        "test_sample.py::test_a_row_does_not_depend_on_its_batch_mates",
        "test_sample.py::test_the_generator_moves_on_by_the_same_amount_whatever_is_said",
    ),
}


def test_every_pitfall_has_a_guard_and_every_guard_collects():
    assert sorted(GUARDS) == list(range(1, 31))
    names = sorted({f"tests/{name}" for names in GUARDS.values() for name in names})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *names],
        cwd=TESTS.parent, capture_output=True, text=True, encoding="utf-8",
    )
    missing = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    assert done.returncode == 0, missing or done.stdout[-3000:]
    assert set(names) <= {line.split("[")[0] for line in done.stdout.splitlines()}


def test_no_guard_is_defined_twice():
    """A second function of the same name would silently replace the first."""
    for path in sorted(TESTS.glob("test_*.py")):
        names = [
            node.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.FunctionDef)
        ]
        assert len(names) == len(set(names)), path.name


# ---- the guards that stand nowhere else -----------------------------------------------------


def test_with_scores_of_0_ppo_brings_the_policy_back_to_the_reference():
    """Only the KL is left of the reward.  With its sign flipped the policy would run away."""
    models = four_models()
    models.reward_model.head_w[...] = models.reward_model.head_b[...] = 0
    settings = PPOSettings(
        iterations=15, rollout_size=64, max_new_tokens=4, kl_coef=1.0, missing_eos_score=0.0,
        learning_rate=1e-2, minibatch_size=32,
    )
    history = train_ppo(models, PROMPTS, settings, np.random.default_rng(0))
    assert {row["score"] for row in history} == {0}
    first, last = history[0]["kl_exact"], np.mean([row["kl_exact"] for row in history[-3:]])
    assert last < 0.5 * first


def test_pad_bos_and_eos_are_three_different_ids():
    assert len({PAD, BOS, EOS}) == 3
    assert Tokenizer("ab").encode("ab") == [3, 4]  # and no character has one of them


def test_eos_may_come_first():
    """No minimum length: an empty answer is as likely as the model says."""
    config = tiny_config()
    params = random_params(config)
    logits, _ = lm_head_forward(params, gpt_forward(params, config, np.array([[BOS, 3]]))[0])
    p = softmax(logits[0, 1])[EOS]
    samples = sample(params, config, [[BOS, 3]] * 4000, 3, np.random.default_rng(0))
    share = (samples.tokens[:, 2] == EOS).mean()
    assert abs(share - p) < 4 * np.sqrt(p * (1 - p) / 4000) and p > 0.05


def test_a_rollout_and_a_ranking_with_the_same_text_get_the_same_score():
    tokenizer = Tokenizer("ab\n?")  # 7 ids
    models = four_models()
    prompts = [encode_prompt(tokenizer, "a?", 9)] * 30
    rollout = rollout_of(models, prompts, 0.1, SETTINGS, np.random.default_rng(0))
    compared = 0
    for (row, _), score, finished in zip(responses_of(rollout), rollout.scores, rollout.finished):
        text = tokenizer.decode(row[len(prompts[0]) : -1])
        if not finished or not text or "<" in text:  # a text that a ranking file can hold
            continue
        ranking = Ranking("a?", [text, "?" if text != "?" else "a"], [1, 2], ["", ""], "")
        encoded = encode_rankings(tokenizer, [ranking], 9)
        scores = reward_model_loss(models.reward_model, models.config, encoded, "k-wise")[2]
        assert scores[0, 0] == pytest.approx(score, abs=1e-10)
        compared += 1
    assert compared > 3


def test_identical_answers_are_refused(tmp_path):
    rankings, pairs = tmp_path / "rankings.jsonl", tmp_path / "pairs.jsonl"
    rankings.write_text('{"prompt": "a", "responses": ["b", "b"], "ranks": [1, 2]}\n', "utf-8")
    with pytest.raises(InputError, match="line 1: response 'b' is not a text or occurs twice"):
        read_rankings(rankings)
    pairs.write_text('{"prompt": "a", "chosen": "b", "rejected": " b"}\n', "utf-8")
    with pytest.raises(InputError, match="line 1: chosen and rejected are both 'b'"):
        read_preferences(pairs)


def test_the_value_model_shares_no_weight_with_the_policy():
    """A cold value function cannot pull at the policy: its errors do not reach those weights."""
    models, other = four_models(), four_models()
    other.value_model.flat[...] = 0  # gives other values, so whitened advantages differ ...
    settings = PPOSettings(iterations=1, rollout_size=6, minibatch_size=6, max_new_tokens=4)
    frozen = PPOSettings(**vars(settings) | {"value_learning_rate": 0.0})
    before = other.value_model.flat.copy()
    train_ppo(other, PROMPTS, frozen, np.random.default_rng(0))
    np.testing.assert_array_equal(other.value_model.flat, before)

    again = four_models()  # ... but how fast the values learn does not reach the policy's step
    train_ppo(models, PROMPTS, settings, np.random.default_rng(0))
    train_ppo(again, PROMPTS, frozen, np.random.default_rng(0))
    assert models.policy.flat.tobytes() == again.policy.flat.tobytes()
    assert models.value_model.flat.tobytes() != again.value_model.flat.tobytes()


def test_a_long_answer_weighs_more_in_ppo_token_by_token():
    """One mean over all response tokens: 5 tokens of one row and 1 of another are 6 tokens."""
    mask = np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0.0]])
    advantages = np.array([[1.0] * 5, [-1.0] * 5])
    loss, dlogprobs, _ = ppo_policy_loss(0 * mask, 0 * mask, advantages, mask, 0.2)
    assert loss == pytest.approx(-(5 - 1) / 6)
    np.testing.assert_allclose(dlogprobs, -advantages * mask / 6)


def test_every_run_starts_with_an_optimiser_at_rest():
    """Two runs of one iteration are not one run of two: momentum is not carried over in secret."""
    settings = PPOSettings(iterations=1, rollout_size=6, minibatch_size=6, max_new_tokens=4)
    models, fresh = four_models(), four_models()
    train_ppo(models, PROMPTS, settings, np.random.default_rng(0))
    fresh.policy.flat[...] = models.policy.flat
    fresh.value_model.flat[...] = models.value_model.flat
    for each in (models, fresh):
        train_ppo(each, PROMPTS, settings, np.random.default_rng(1))
    assert models.policy.flat.tobytes() == fresh.policy.flat.tobytes()


def test_nothing_draws_from_the_global_generator():
    """In the whole package np.random is mentioned only to make or to name a Generator."""
    allowed = {"Generator", "default_rng"}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "np.random":
                assert node.attr in allowed, f"{path.name}, line {node.lineno}: {node.attr}"
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imported = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                assert not imported & {"random", "numpy.random"}, f"{path.name}: {imported}"


def test_everything_that_draws_takes_the_generator_as_an_argument():
    """make_batch, losses and evaluation draw nothing; what draws says so in its signature."""
    for module in (data, gpt, step1_language_model, step2_reward_model, step3_ppo):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            uses = "rng." in inspect.getsource(function)
            assert not uses or "rng" in inspect.signature(function).parameters, name
