"""The frontier: what docs/results says of it, read from the committed results of both languages
(benchmarks/frontier_LANG.json); one of their points trained again; and a tiny run of the verb."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.experiments import draw_with_the_bundled_font

from minirlhf.cli import experiments as commands
from minirlhf.errors import InputError
from minirlhf.experiments.frontier import figure as pictures
from minirlhf.experiments.frontier.methods import METHODS, settings_of
from minirlhf.experiments.frontier.run import FrontierSettings, Point, run_frontier, run_point
from minirlhf.experiments.frontier.words import table
from minirlhf.experiments.trials import KeptRows, make_task

REPO = Path(__file__).parent.parent
LANGS = ("en", "zh")
RESULTS = {
    lang: json.loads((REPO / f"benchmarks/frontier_{lang}.json").read_text(encoding="utf-8"))
    for lang in LANGS
}
TINY = FrontierSettings(
    betas=(0.5,), kept_of=(4,), best_of=(1, 4), seeds=1, answers=96, uncovered=0.2, smallest=1e-3,
    policy_smallest=1e-2, policy_samples=50,
)


def row(lang, method, price):
    """One row of the summary."""
    rows = RESULTS[lang]["summary"]
    return next(r for r in rows if (r["method"], r["price"]) == (method, price))


def optimum(lang, beta):
    return next(r for r in RESULTS[lang]["optima"] if r["beta"] == beta)


# ---- what the committed results say ---------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_five_seeds_of_every_method_at_several_prices(lang):
    summary = RESULTS[lang]["summary"]
    assert {r["method"] for r in summary} == set(METHODS)
    assert all(r["trials"] == 5 for r in summary) and len(summary) == 32
    assert len(RESULTS[lang]["points"]) == 160


@pytest.mark.parametrize("lang", LANGS)
def test_nobody_is_above_the_frontier(lang):
    for point in RESULTS[lang]["points"]:
        allowed = 4 * point["reward_error"] + 4 * point["kl_error"]  # of the sampled rest
        assert point["reward"] < point["ceiling"] and point["gap"] > -allowed
        assert point["reward_error"] < 0.01 and point["uncovered"] < 0.06


@pytest.mark.parametrize("lang", LANGS)
def test_ppo_and_rloo_are_close_to_the_best_and_ppo_closest_at_a_low_price(lang):
    for beta in (1.0, 0.5, 0.2, 0.1):
        assert row(lang, "PPO", beta)["gap"] < 0.08 and row(lang, "RLOO", beta)["gap"] < 0.08
    for beta in (0.2, 0.1):
        ours = row(lang, "PPO", beta)["regret"]
        for method in ("RLOO", "REINFORCE", "GRPO", "Dr. GRPO", "DPO"):
            assert ours < row(lang, method, beta)["regret"], method
    for method in ("REINFORCE", "GRPO", "Dr. GRPO", "DPO"):
        assert row(lang, "RLOO", 0.2)["regret"] < row(lang, method, 0.2)["regret"], method


@pytest.mark.parametrize("lang", LANGS)
def test_every_training_is_better_than_none(lang):
    for start in RESULTS[lang]["reference"]:
        for method in ("PPO", "RLOO", "REINFORCE", "GRPO", "Dr. GRPO", "DPO"):
            assert row(lang, method, start["beta"])["regret"] < 0.6 * start["regret"]


@pytest.mark.parametrize("lang", LANGS)
def test_grpos_deviation_makes_beta_weaker(lang):
    """The same beta, the same learning rate: with the deviation GRPO ends further away."""
    for beta in (0.5, 0.2, 0.1):
        grpo, dr_grpo = row(lang, "GRPO", beta), row(lang, "Dr. GRPO", beta)
        assert grpo["kl"] > 1.7 * dr_grpo["kl"] and grpo["gap"] > dr_grpo["gap"]


@pytest.mark.parametrize("lang", LANGS)
def test_dpo_gets_less_from_the_same_answers(lang):
    for beta in (0.5, 0.2, 0.1):
        assert row(lang, "DPO", beta)["regret"] > 2.5 * row(lang, "PPO", beta)["regret"]
        assert row(lang, "DPO", beta)["reward"] < row(lang, "PPO", beta)["reward"] - 0.15


@pytest.mark.parametrize("lang", LANGS)
def test_best_of_n_is_below_its_kl_bound_and_close_to_the_frontier(lang):
    results = RESULTS[lang]
    optima = sorted((r["kl"], r["reward"]) for r in results["optima"])
    kls, rewards = np.array(optima).T
    for best in results["best_of_n"]:
        assert best["kl"] <= best["bound"] + 1e-9
        if best["n"] > 1:
            assert best["kl"] < best["bound"]
            gap = np.interp(best["kl"], kls, rewards) - best["reward"]
            assert -0.005 < gap < (0.04 if best["n"] <= 8 else 0.12)
    n64 = results["best_of_n"][-1]
    assert n64["n"] == 64 and n64["kl"] < 0.98 * n64["bound"]


def test_the_kl_bound_can_be_far_off():
    """English: at n = 64 the formula says 3.18 nats, the truth is 2.42."""
    n64 = RESULTS["en"]["best_of_n"][-1]
    assert n64["bound"] == pytest.approx(3.175, abs=0.001) and n64["kl"] < 0.8 * n64["bound"]


@pytest.mark.parametrize("lang", LANGS)
def test_rejection_sampling_loses_what_the_imitation_loses(lang):
    """It learns from best-of-n and stays below the best-of-n of the same n."""
    for best in RESULTS[lang]["best_of_n"]:
        if best["n"] in (2, 4, 8, 16):
            assert row(lang, "rejection sampling", best["n"])["reward"] < best["reward"]


@pytest.mark.parametrize("lang", LANGS)
def test_log_z_is_known_at_a_large_beta_and_not_at_a_small_one(lang):
    assert optimum(lang, 1.0)["log_z_high"] - optimum(lang, 1.0)["log_z"] < 0.6
    assert optimum(lang, 1.0)["log_z_seen"] - optimum(lang, 1.0)["log_z"] < 0.03
    assert optimum(lang, 0.1)["log_z_high"] - optimum(lang, 0.1)["log_z"] > 20


@pytest.mark.parametrize("lang", LANGS)
def test_importance_sampling_fails_at_a_small_beta_with_hardly_a_warning(lang):
    """It misses more than 2.5 nats of a lower bound, and counts dozens of effective samples."""
    exact = {r["beta"]: r["log_z"] for r in RESULTS[lang]["optima"]}
    estimates = RESULTS[lang]["importance_sampling"]
    smallest = min(estimates, key=lambda r: r["beta"])
    assert exact[smallest["beta"]] - smallest["log_z"] > 2.5
    assert smallest["effective_samples"] > 20
    for estimate in estimates:
        if estimate["beta"] > 0.3:
            assert abs(exact[estimate["beta"]] - estimate["log_z"]) < 0.1


@pytest.mark.parametrize("lang", LANGS)
def test_the_search_covers_nearly_all_of_the_reference(lang):
    for question in RESULTS[lang]["questions"]:
        assert question["uncovered"] < 0.008
        assert question["highest_score"] < question["highest_possible_score"]


def test_the_best_english_policy_exploits_the_reward_model_too():
    """The highest score of all goes to a sentence that nobody would call natural."""
    answers = [q["highest_answer"] for q in RESULTS["en"]["questions"]]
    assert "I am am cat.." in answers and "Ben is a cat." in answers  # asked: Who is Mia?


# ---- run again ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_point_of_the_committed_results_comes_out_again(tmp_path):
    task = make_task("zh", 0, tmp_path)
    got = run_point(task, Point("RLOO", 0.5, 0), FrontierSettings(), 0)
    points = RESULTS["zh"]["points"]
    wanted = next(p for p in points if (p["method"], p["price"], p["trial"]) == ("RLOO", 0.5, 0))
    for name in ("reward", "kl"):
        # equal on one machine; the last bits of another may lead to another sample
        assert got[name] == pytest.approx(wanted[name], abs=0.08), name


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """-> folder, results of a run of every method in miniature."""
    out = tmp_path_factory.mktemp("frontier")
    return out, run_frontier("zh", 3, out, TINY)


@pytest.mark.slow
def test_a_tiny_run_from_start_to_end(tiny):
    out, results = tiny
    assert json.loads((out / "frontier.json").read_text(encoding="utf-8")) == results
    assert not list(out.glob("*.resume.*"))
    assert len(results["points"]) == len(METHODS) == len(results["summary"])
    lines = table(results)
    assert len(lines) == 2 + len(METHODS) and lines[2].startswith("| PPO | 0.5 | ")
    assert all(np.isfinite(p["gap"]) for p in results["points"])


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_and_ends_the_same(tiny, tmp_path):
    def stop_early(steps):
        for number, step in enumerate(steps):
            if number == 5:
                raise KeyboardInterrupt
            yield step

    with pytest.raises(KeyboardInterrupt):
        run_frontier("zh", 3, tmp_path, TINY, stop_early)
    kept = tmp_path / "points.resume.jsonl"
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 5
    with pytest.raises(InputError, match="another run"):
        KeptRows(kept, {"lang": "zh", "seed": 4, "answers": 96}, Point)
    results = run_frontier("zh", 3, tmp_path, TINY)
    for got, wanted in zip(results["points"], tiny[1]["points"], strict=True):
        assert got["method"] == wanted["method"]
        assert (got["reward"], got["kl"]) == (wanted["reward"], wanted["kl"])


def test_every_method_samples_as_many_answers():
    for price in (1.0, 0.1):
        ppo = settings_of("PPO", price, 14, 2880)
        assert ppo.iterations * ppo.rollout_size == 2880 and ppo.kl_coef == price
        for method in ("RLOO", "REINFORCE", "GRPO", "Dr. GRPO"):
            settings = settings_of(method, price, 14, 2880)
            assert settings.iterations * settings.rollout_size == 2880
            assert settings.kl_coef == price
        for method in ("DPO", "IPO"):
            settings = settings_of(method, price, 14, 2880)
            assert 2 * settings.pairs == 2880 and settings.loss == method.lower()
    for n in (2, 4, 8, 16):
        settings = settings_of("rejection sampling", n, 14, 2880)
        assert settings.n * settings.questions == 2880
    dr_grpo = settings_of("Dr. GRPO", 0.1, 14, 2880)
    assert not dr_grpo.divide_by_std and not dr_grpo.per_response
    assert settings_of("GRPO", 0.1, 14, 2880) == replace(
        dr_grpo, divide_by_std=True, per_response=True
    )


# ---- the picture and the verb ---------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_the_picture_has_every_glyph_and_a_caption(lang, tmp_path, monkeypatch):
    draw_with_the_bundled_font(pictures.plot_frontier, RESULTS[lang], lang, tmp_path, monkeypatch)
    assert set(pictures.LOOKS) == set(METHODS)


def run(*arguments, cwd):
    command = [sys.executable, "-m", "minirlhf", "frontier", *arguments]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, encoding="utf-8",
        env={"PYTHONPATH": str(REPO), "PATH": ""},
    )


def test_wrong_arguments_are_one_clear_line(tmp_path):
    for arguments, expected in (
        (("--lang", "xx"), "--lang xx"),
        (("--seeds", "0"), "--seeds 0: expected 1 or more"),
        (("--seed", "-1"), "--seed -1"),
    ):
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2 and expected in done.stderr
        assert done.stderr.count("\n") == 1
    left = tmp_path / "out" / "points.resume.jsonl"
    left.parent.mkdir()
    left.write_text("", encoding="utf-8")
    done = run("--out", "out", cwd=tmp_path)
    assert done.returncode == 2 and "--resume" in done.stderr and left.exists()


def test_fresh_throws_an_interrupted_run_away(tmp_path):
    (tmp_path / "points.resume.jsonl").write_text("rubbish", encoding="utf-8")
    parser = commands_parser()
    commands.prepare(parser.parse_args(["--out", str(tmp_path), "--fresh"]), "frontier")
    assert not list(tmp_path.iterdir())


def commands_parser():
    import argparse

    parser = argparse.ArgumentParser()
    commands.add_experiment_arguments(parser, "frontier")
    return parser
