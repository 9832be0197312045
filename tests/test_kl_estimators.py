"""The KL estimators: their algebra, their expected gradients by enumeration in a tiny world, and
what the committed runs (benchmarks/estimators_LANG.json) show, held with tolerance."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.experiments import check_wrong_arguments, draw_with_the_bundled_font

from minirlhf.__main__ import main
from minirlhf.beyond.policy_gradient import policy_forward
from minirlhf.data import Example
from minirlhf.errors import InputError
from minirlhf.experiments.kl_estimators import estimators
from minirlhf.experiments.kl_estimators.estimators import (
    KINDS,
    USES,
    EstimatorSettings,
    all_answers,
    cosine,
    estimate,
    loss_use,
    measure_directions,
    reward_use,
    sampled_answers,
    slope,
    use_gradient,
    values_of,
    with_reference,
)
from minirlhf.experiments.kl_estimators.figure import plot_estimators
from minirlhf.experiments.kl_estimators.run import Point, run_estimators
from minirlhf.experiments.kl_estimators.words import table
from minirlhf.experiments.trials import KeptRows
from minirlhf.gpt import GPTConfig, init_params, with_scalar_head
from minirlhf.gradcheck import numerical_gradient
from minirlhf.step3_ppo import PPOModels
from minirlhf.tokenizer import BOS, EOS

REPO = Path(__file__).parent.parent
RESULTS = {
    lang: json.loads((REPO / f"benchmarks/estimators_{lang}.json").read_text(encoding="utf-8"))
    for lang in ("en", "zh")
}
MASK = np.array([[0, 1, 1, 1], [0, 1, 0, 0], [1, 1, 1, 0]], float)  # B 3, T 4
CONFIG = GPTConfig(vocab_size=5, block_size=8, n_layer=1, n_head=1, n_embd=4)


def numbers(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(-1, 0.5, MASK.shape), rng.normal(-1, 0.5, MASK.shape), rng.random(3)


# ---- one at a time --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_slope_is_the_derivative_of_the_estimate(kind):
    d, h = np.linspace(-2, 2, 9), 1e-6
    measured = (estimate(kind, d + h) - estimate(kind, d - h)) / (2 * h)
    np.testing.assert_allclose(slope(kind, d), measured, atol=1e-8)


def test_estimates_by_hand():
    d = np.log([2.0, 0.5])
    np.testing.assert_allclose(estimate("k1", d), d)
    np.testing.assert_allclose(estimate("k2", d), d**2 / 2)
    np.testing.assert_allclose(estimate("k3", d), [0.5 - 1 + d[0], 2 - 1 + d[1]])


def test_ratio_times_k3_has_the_gradient_of_k2():
    """At ratio 1 the derivative of ratio * k3 by log pi is k3 and its slope together."""
    d = np.linspace(-2, 2, 9)
    np.testing.assert_allclose(estimate("k3", d) + slope("k3", d), slope("k2", d), atol=1e-12)


@pytest.mark.parametrize("unit", ("token", "answer"))
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_in_the_loss_agrees_with_finite_differences(kind, unit):
    logprobs, ref, weights = numbers(1)

    def naive():
        total = 0.0
        for b in range(3):
            rows = [logprobs[b, t] - ref[b, t] for t in range(4) if MASK[b, t]]
            rows = [sum(rows)] if unit == "answer" else rows
            for d in rows:
                k = {"k1": d, "k2": d**2 / 2, "k3": np.exp(-d) - 1 + d}[kind]
                total += weights[b] * k
        return total

    loss, dlogprobs = loss_use(kind, logprobs, ref, MASK, weights, unit)
    assert loss == pytest.approx(naive(), rel=1e-12)
    np.testing.assert_allclose(dlogprobs, numerical_gradient(naive, logprobs), atol=1e-8)


def test_gradient_in_the_reward_takes_the_estimate_as_a_number():
    logprobs, ref, weights = numbers(2)
    fixed = values_of("k1", logprobs, ref, MASK, "token") - 0.3  # (B,)

    def naive():
        return float((weights * fixed) @ (logprobs * MASK).sum(axis=1))

    loss, dlogprobs = reward_use("k1", logprobs, ref, MASK, weights, "token", np.full(3, 0.3))
    assert loss == pytest.approx(naive(), rel=1e-12)
    np.testing.assert_allclose(dlogprobs, numerical_gradient(naive, logprobs), atol=1e-8)


# ---- expectations, by enumeration -----------------------------------------------------------


def tiny_models():
    """Random float64 policy and reference, unlike each other."""
    rng = np.random.default_rng(0)
    policy = init_params(CONFIG, rng, dtype=np.float64)
    ref = init_params(CONFIG, rng, dtype=np.float64)
    policy.flat *= 5
    ref.flat *= 5
    reward = with_scalar_head(ref, CONFIG, rng)
    return PPOModels(policy, ref, reward, reward.copy(), CONFIG, CONFIG)


def every_answer(limit):
    """All lists of ids that end with EOS, or are `limit` long without it."""
    open_ones, done = [[]], []
    for _ in range(limit):
        longer = [ids + [token] for ids in open_ones for token in range(CONFIG.vocab_size)]
        done += [ids for ids in longer if ids[-1] == EOS]
        open_ones = [ids for ids in longer if ids[-1] != EOS]
    return done + open_ones


def brute_force(models, prompts, limit):
    """Answers: really all of them, each with its probability."""
    examples, question = [], []
    for q, ids in enumerate(prompts):
        for answer in every_answer(limit):
            examples.append(Example([*ids, *answer], len(ids)))
            question.append(q)
    batch = with_reference(models, examples, np.ones(len(examples)), question)
    return batch._replace(weights=np.exp(logprob_of(models.policy, batch)) / len(prompts))


def logprob_of(params, batch):
    """-> (B,) log-probs of whole answers."""
    logprobs, _ = policy_forward(params, CONFIG, batch.inputs, batch.targets)
    return (logprobs * batch.mask).sum(axis=1)


@pytest.fixture(scope="module")
def world():
    """A world small enough to sum over all answers: (models, prompts, limit, Answers)."""
    models, prompts, limit = tiny_models(), [[BOS, 3], [BOS, 4]], 3
    return models, prompts, limit, brute_force(models, prompts, limit)


def test_all_answers_stand_for_all(world):
    models, prompts, limit, batch = world
    assert batch.weights.sum() == pytest.approx(1, rel=1e-12)
    ours = all_answers(models, prompts, limit, 1e-9, 4000, np.random.default_rng(1))
    assert ours.weights.sum() == pytest.approx(1, abs=0.03)  # cut answers are sampled
    for use in ("k2 in the loss, per answer", "k1 in the reward", "k3 in the loss"):
        grads = [use_gradient(use, models.policy, CONFIG, b).flat for b in (ours, batch)]
        assert cosine(*grads) > 0.99, use


def test_expected_gradients_are_those_that_the_docstring_says(world, monkeypatch):
    """Against finite differences of the two exact KLs, along three random directions."""
    models, prompts, _, batch = world
    ref = (batch.ref_logprobs * batch.mask).sum(axis=1)
    grads = {use: use_gradient(use, models.policy, CONFIG, batch).flat for use in USES}
    monkeypatch.setitem(USES, "one more", ("reward", "k3", "answer"))
    k3_in_the_reward = use_gradient("one more", models.policy, CONFIG, batch).flat

    def kls(params):
        mine = logprob_of(params, batch)
        forward = np.exp(mine) @ (mine - ref) / len(prompts)
        return np.array([forward, np.exp(ref) @ (ref - mine) / len(prompts)])

    rng = np.random.default_rng(3)
    for _ in range(3):
        step = rng.normal(size=models.policy.flat.shape)
        up, down = models.policy.copy(), models.policy.copy()
        up.flat += 1e-6 * step
        down.flat -= 1e-6 * step
        forward, reverse = (kls(up) - kls(down)) / 2e-6
        along = {use: float(flat @ step) for use, flat in grads.items()}
        near = {"rel": 1e-5, "abs": 1e-6}
        assert along["k1 in the loss"] == pytest.approx(0, abs=1e-9)
        assert along["k2 in the loss, per answer"] == pytest.approx(forward, **near)
        assert along["k1 in the reward"] == pytest.approx(forward, **near)
        assert along["k3 in the loss, per answer"] == pytest.approx(reverse, **near)
        assert k3_in_the_reward @ step == pytest.approx(forward - reverse, **near)
        for use in ("k2 in the loss", "k3 in the loss"):  # per token: a third gradient
            for truth in (forward, reverse):
                assert abs(along[use] - truth) > 1e-3 * abs(truth)


def test_a_wrong_sign_is_noticed(world, monkeypatch):
    models, _, _, batch = world
    right = use_gradient("k2 in the loss, per answer", models.policy, models.config, batch).flat
    monkeypatch.setattr(estimators, "slope", wrong_slope)
    wrong = use_gradient("k2 in the loss, per answer", models.policy, models.config, batch).flat
    assert cosine(right, wrong) < 0


def wrong_slope(kind, d):
    return -d


def test_samples_agree_with_enumeration(world):
    models, prompts, limit, batch = world
    sampled = sampled_answers(models, prompts, limit, 3000, np.random.default_rng(4))
    for use in ("k2 in the loss, per answer", "k1 in the reward"):
        one = use_gradient(use, models.policy, models.config, sampled).flat
        two = use_gradient(use, models.policy, models.config, batch).flat
        assert cosine(one, two) > 0.98, use


# ---- what the committed runs show -----------------------------------------------------------


@pytest.mark.parametrize("lang", RESULTS)
def test_k1_and_k3_have_no_bias_and_k2s_grows(lang):
    rows = RESULTS[lang]["stations"]
    for row in rows:
        for name in ("k1", "exact per step"):
            assert abs(row["value"][name]["bias"][0]) < 0.05, (row["level"], name)
        assert abs(row["value"]["k3 per token"]["bias"][0]) < 0.15
    biases = [row["value"]["k2 per token"]["bias"][0] for row in rows]
    assert biases == sorted(biases) and biases[0] < 0.1 and biases[-1] > 1


@pytest.mark.parametrize("lang", RESULTS)
def test_near_the_reference_k1_spreads_most_and_far_away_it_does_not(lang):
    near, far = RESULTS[lang]["stations"][0]["value"], RESULTS[lang]["stations"][-1]["value"]
    spread = {name: near[name]["relative_sd"][0] for name in near}
    assert spread["k1"] > 2 * max(spread["k2 per token"], spread["k3 per token"])
    assert spread["exact per step"] == min(spread.values())
    assert far["k1"]["relative_sd"][0] < far["k2 per token"]["relative_sd"][0]


@pytest.mark.parametrize("lang", RESULTS)
def test_which_gradients_point_at_the_kl(lang):
    for row in RESULTS[lang]["stations"]:
        way = {use: row["direction"][use]["forward"][0] for use in USES}
        assert way["k2 in the loss, per answer"] > 0.97
        assert abs(way["k1 in the loss"]) < 0.5
        assert row["direction"]["k1 in the loss"]["size"][0] < 0.35  # 0, and the rest's noise
    near = RESULTS[lang]["stations"][0]["direction"]
    assert abs(near["k3 in the reward"]["forward"][0]) < 0.5
    middle = RESULTS[lang]["stations"][2]["direction"]
    assert middle["k3 in the loss, per answer"]["forward"][0] < 0.95


@pytest.mark.parametrize("lang", RESULTS)
def test_which_uses_lead_back(lang):
    ends = {use: pairs[-1][0] for use, pairs in RESULTS[lang]["descents"].items()}
    start = RESULTS[lang]["descents"]["k1 in the reward"][0][0]
    for use in ("k1 in the reward", "k2 in the loss", "k2 in the loss, per answer",
                "k3 in the loss", "k3 in the loss, per answer"):
        assert ends[use] < 0.35 * start, use
    assert ends["k1 in the loss"] > 0.9 * start
    assert min(ends["k2 in the reward"], ends["k3 in the reward"]) > 2 * ends["k1 in the reward"]


# ---- a tiny run -----------------------------------------------------------------------------

TINY = EstimatorSettings(levels=(0.0001, 0.0002), iterations=3, answers=20, rollout=5, rollouts=1,
                         smallest=0.02, rest=5, descents=(0, 1), descend_from=0.0001)


@pytest.mark.slow
def test_a_tiny_run_the_verb_and_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(estimators, "EstimatorSettings", tiny_settings)
    out = tmp_path / "out"
    arguments = ["estimators", "--lang", "zh", "--seeds", "1", "--out", str(out), "--quiet"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert {"estimators.json", "estimators.png"} <= {path.name for path in out.iterdir()}
    assert "| k1 in the loss | " in printed and "estimators.png" in printed.splitlines()[-1]
    results = json.loads((out / "estimators.json").read_text(encoding="utf-8"))
    assert all(line in printed for line in table(results))
    again = run_estimators("zh", 0, tmp_path, 1, TINY)
    for mine, theirs in zip(again["trials"], results["trials"], strict=True):
        assert mine["stations"] == theirs["stations"] and mine["descents"] == theirs["descents"]


def tiny_settings():
    return TINY


def test_another_runs_points_are_not_taken(tmp_path):
    path = tmp_path / "points.resume.jsonl"
    path.write_text('{"trial": 0, "lang": "en", "seed": 0}\n', encoding="utf-8")
    with pytest.raises(InputError, match="another run"):
        KeptRows(path, {"lang": "zh", "seed": 0}, Point)


def test_directions_of_a_tiny_world_have_every_use(world):
    models, prompts, limit, _ = world
    settings = replace(TINY, smallest=1e-6)
    rows = measure_directions(models, prompts, limit, settings, np.random.default_rng(0))
    assert set(rows) == set(USES) and rows["k1 in the reward"]["forward"] == pytest.approx(1)


@pytest.mark.parametrize("lang", RESULTS)
def test_the_picture_has_every_glyph_and_a_caption(lang, tmp_path, monkeypatch):
    figure = draw_with_the_bundled_font(plot_estimators, RESULTS[lang], lang, tmp_path, monkeypatch)
    assert len(figure.axes) == 4


def test_wrong_arguments_are_one_clear_line(tmp_path, monkeypatch, capsys):
    check_wrong_arguments("estimators", tmp_path, monkeypatch, capsys)
