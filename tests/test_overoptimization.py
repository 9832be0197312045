"""Over-optimisation: the fits on curves that are known, best-of-n on a pool against counting, the
minimum and the stopping rules, PPO with one judge against train_ppo, a tiny run, its resumption;
and what README and docstrings say, held by the committed results of both languages."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_ablations import PROMPTS, SETTINGS, tiny_models
from test_gpt import params_bytes

from minirlhf.__main__ import main
from minirlhf.beyond import commands, overoptimization, remedies
from minirlhf.beyond.best_of_n import best_of_n_distribution, best_of_n_kl
from minirlhf.beyond.gao import fit_best_of_n, fit_rl, gain_at, peak
from minirlhf.beyond.goodhart import (
    BEST,
    BIASED,
    MINIMUM,
    ONE,
    RULES,
    sentences,
    stop_by,
    table,
)
from minirlhf.beyond.overoptimization import (
    OverSettings,
    collect_rankings,
    make_task,
    run_overoptimization,
    run_rows,
    train_judge,
)
from minirlhf.beyond.pool import best_of_n_points
from minirlhf.beyond.remedies import (
    Stop,
    disagreement,
    ensemble_minimum,
    judge_scores,
    practise,
    stop_above,
    stop_at_peak,
)
from minirlhf.errors import InputError
from minirlhf.gpt import with_scalar_head
from minirlhf.human import World, length_lover, make_annotators
from minirlhf.step3_ppo import make_rollout, train_ppo

REPO = Path(__file__).parent.parent
TINY = OverSettings(
    labels=("50", BIASED), prices=(0.0, 0.5), best_of=(1, 2, 4), pool=16, per_question=1, members=2,
    checkpoints=(0, 1, 2),
    ppo=replace(overoptimization.HARD, iterations=2, rollout_size=8, minibatch_size=8,
                ppo_epochs=1),
)  # fmt: skip


# ---- the curves of Gao et al. ---------------------------------------------------------------


@pytest.mark.parametrize("alpha, beta", [(1.4, 0.6), (0.3, 0.4), (-0.2, 0.1), (0.8, -0.2)])
def test_the_fits_find_the_coefficients_of_curves_that_are_known(alpha, beta):
    kl = np.linspace(0, 30, 25)
    d = np.sqrt(kl)
    for fit, gain in (
        (fit_best_of_n, d * (alpha - beta * d)),
        (fit_rl, d * (alpha - beta * np.log(np.maximum(d, 1e-9)))),
    ):
        found = fit(kl, gain)
        assert (found.alpha, found.beta) == pytest.approx((alpha, beta), abs=1e-9)
        assert found.r_squared == pytest.approx(1)
        np.testing.assert_allclose(gain_at(found, kl), gain, atol=1e-9)


def test_no_other_coefficients_leave_a_smaller_error_than_the_fit():
    rng = np.random.default_rng(0)
    kl = rng.uniform(0.01, 20, 40)
    gain = np.sqrt(kl) * (0.5 - 0.4 * np.log(np.sqrt(kl))) + rng.normal(0, 0.3, 40)
    for fit in (fit_best_of_n, fit_rl):
        found = fit(kl, gain)
        left = ((gain - gain_at(found, kl)) ** 2).sum()
        for da, db in itertools.product((-0.02, 0, 0.02), repeat=2):
            near = found._replace(alpha=found.alpha + da, beta=found.beta + db)
            assert ((gain - gain_at(near, kl)) ** 2).sum() >= left
        assert found.r_squared == pytest.approx(1 - left / ((gain - gain.mean()) ** 2).sum())


def test_the_peak_is_where_no_other_kl_gains_more():
    kl = np.linspace(1e-6, 40, 200_001)
    for fit, truth in ((fit_best_of_n, (1.2, 0.5)), (fit_rl, (0.4, 0.5))):
        curve = fit(kl[::5000], np.zeros(len(kl[::5000])))._replace(alpha=truth[0], beta=truth[1])
        top_kl, top = peak(curve)
        values = gain_at(curve, kl)
        assert top == pytest.approx(values.max(), rel=1e-6)
        assert top_kl == pytest.approx(kl[values.argmax()], rel=2e-2)
        assert peak(curve._replace(beta=-0.1)) == (math.inf, math.inf)
    assert peak(fit_best_of_n([1, 2], [-1, -2])._replace(alpha=-1, beta=1)) == (0, 0)


def test_a_fit_needs_two_kls():
    with pytest.raises(ValueError, match="1 different KLs above 0"):
        fit_rl([0.0, 2.0, 2.0], [0, 1, 1])


# ---- best-of-n on a pool --------------------------------------------------------------------


def naive_best_of_n(share, scores, n):
    """Every way to draw n with replacement; equal best scores share by what they were drawn."""
    probs = np.zeros(len(share))
    for drawn in itertools.product(range(len(share)), repeat=n):
        chance = np.prod(share[list(drawn)])
        top = max(scores[i] for i in drawn)
        best = [i for i in drawn if scores[i] == top]
        for i in best:
            probs[i] += chance / len(best)
    return probs


def test_best_of_n_on_a_pool_is_counting_all_ways_to_draw():
    share = np.array([0.5, 0.25, 0.125, 0.125, 0.75, 0.25])
    scores = np.array([0.0, 1.0, 1.0, -1.0, 2.0, 0.5])
    gold = np.array([0.2, 1.0, 0.5, 0.1, 0.3, 1.0])
    question = np.array([0, 0, 0, 0, 1, 1])
    pool = {"share": share, "naturalness": gold, "question": question}
    got = best_of_n_points(pool, scores, (1, 2, 5))
    for place, n in enumerate((1, 2, 5)):
        expected = []
        for q in (0, 1):
            mine = question == q
            best = naive_best_of_n(share[mine], scores[mine], n)
            said = best > 0
            kl = (best[said] * np.log(best[said] / share[mine][said])).sum()
            natural = best[gold[mine] == 1].sum()
            expected.append((kl, best @ scores[mine], best @ gold[mine], natural))
        names = ("kl", "score", "naturalness", "natural")
        for name, value in zip(names, np.mean(expected, axis=0)):
            assert got[name][place] == pytest.approx(value, rel=6e-4), (n, name)  # 4 digits
        assert got["kl"][place] <= got["bound"][place] + 1e-4
    assert got["kl"][0] == 0


def test_a_pool_stands_for_the_distribution_it_was_drawn_from():
    """42 questions, 1,024 draws each from long-tailed distributions, against those themselves."""
    rng = np.random.default_rng(3)
    truth = 1 / np.arange(1, 2001) ** 1.1
    truth /= truth.sum()
    off = {8: [], 64: [], 256: []}
    for _ in range(42):
        scores = rng.normal(size=2000)
        share = np.bincount(rng.choice(2000, 1024, p=truth), minlength=2000) / 1024
        for n, rows in off.items():
            kl, drawn = best_of_n_kl(truth, scores, n), best_of_n_distribution(share, scores, n)
            score = (drawn - best_of_n_distribution(truth, scores, n)) @ scores
            rows.append((best_of_n_kl(share, scores, n) / kl - 1, score))
    for n, rows in off.items():
        kl, score = np.mean(rows, axis=0)
        assert abs(kl) < 0.02, (n, kl)
        assert abs(score) < 0.1, (n, score)
    assert np.mean(off[256], axis=0)[1] < 0  # the rarest answers are missing from a pool


# ---- remedies -------------------------------------------------------------------------------


def test_minimum_and_disagreement_by_hand():
    scores = np.array([[1.0, 2.0, -1.0], [0.0, 2.0, 3.0]])
    np.testing.assert_array_equal(ensemble_minimum(scores), [0, 2, -1])
    assert disagreement(scores) == pytest.approx((0.5 + 0 + 2) / 3)


def test_stop_above_keeps_the_last_checkpoint_below():
    assert stop_above([0, 0.5, 1.2, 3, 0.1], 1) == Stop(1, 2)
    assert stop_above([0, 0.5, 1], 1) == Stop(2, 2)  # equal is not above
    assert stop_above([2, 3], 1) == Stop(0, 0)  # from the start


def test_stop_at_peak_keeps_the_best_and_never_looks_past_its_patience():
    assert stop_at_peak([0, 2, 1, 1, 9], 2) == Stop(1, 3)
    assert stop_at_peak([0, 2, 1, 3, 1], 2) == Stop(3, 4)
    assert stop_at_peak([0, 2, 2, 2], 1) == Stop(1, 2)  # equal is not higher
    assert stop_at_peak([0, 1, 2], 2) == Stop(2, 2)
    with pytest.raises(ValueError, match="patience is 0"):
        stop_at_peak([1, 2], 0)


def test_no_rule_reads_gold():
    """The curves without naturalness are enough, and another naturalness changes nothing."""
    curves = {"kl": [0, 1, 2, 3], "held_out": [0, 1, 0, 0], "disagreement": [1, 1, 1, 2]}
    assert [stop_by(rule, curves) for rule in RULES] == [Stop(1, 2), Stop(1, 3), Stop(2, 3)]
    with pytest.raises(ValueError, match="'luck' is not one of KL budget"):
        stop_by("luck", curves)


def test_with_one_judge_practise_is_train_ppo_number_for_number():
    ours, theirs = tiny_models(), tiny_models()
    done = list(practise(ours, [ours.reward_model], PROMPTS, SETTINGS, np.random.default_rng(3)))
    train_ppo(theirs, PROMPTS, SETTINGS, np.random.default_rng(3))
    assert done == list(range(SETTINGS.iterations + 1))
    assert params_bytes(ours.policy) == params_bytes(theirs.policy)


def test_with_two_equal_judges_too_and_with_two_different_ones_not():
    policies = []
    for copies in (1, 2, 0):
        models = tiny_models()
        judge = models.reward_model
        other = with_scalar_head(models.ref_policy, models.config, np.random.default_rng(9))
        judges = [judge] * copies or [judge, other]
        before = params_bytes(models.ref_policy, *judges)
        list(practise(models, judges, PROMPTS, SETTINGS, np.random.default_rng(3)))
        assert params_bytes(models.ref_policy, *judges) == before
        policies.append(models.policy.flat.copy())
    np.testing.assert_allclose(policies[1], policies[0], atol=1e-6)
    assert np.abs(policies[2] - policies[0]).max() > 1e-3


def test_the_minimum_is_what_stands_on_the_last_token():
    models = tiny_models()
    other = with_scalar_head(models.ref_policy, models.config, np.random.default_rng(9))
    judges = [models.reward_model, other]
    rollout = make_rollout(models, PROMPTS * 4, 0.1, SETTINGS, np.random.default_rng(1))
    changed = remedies.with_minimum(models, judges, rollout, SETTINGS)
    rows = judge_scores(models, judges, rollout, SETTINGS.missing_eos_score)
    np.testing.assert_allclose(rows[0], rollout.scores, atol=1e-6)
    np.testing.assert_array_equal(changed.scores, rows.min(axis=0))
    assert (changed.scores < rollout.scores).any()
    log_ratio = (rollout.old_logprobs - rollout.ref_logprobs) * rollout.response_mask
    expected = rows.min(axis=0) - SETTINGS.kl_coef * log_ratio.sum(axis=1)
    np.testing.assert_allclose(changed.rewards.sum(axis=1), expected, atol=1e-5)


# ---- a tiny run -----------------------------------------------------------------------------


def people():
    return {"crowd": make_annotators(np.random.default_rng(0)), BIASED: [length_lover()]}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """-> folder, results of the whole experiment in miniature."""
    out = tmp_path_factory.mktemp("overoptimization")
    return out, run_overoptimization("zh", 3, out, 1, World.load("zh"), people(), TINY)


def test_a_tiny_run_from_start_to_end(tiny):
    out, results = tiny
    assert json.loads((out / "overoptimization.json").read_text(encoding="utf-8")) == results
    assert not list(out.glob("*.resume.*"))
    kinds = [(ONE, 0.0), (ONE, 0.5), (MINIMUM, 0.0), (BEST, 0.0)]
    got = [(row["labels"], row["method"], row["price"]) for row in results["rows"]]
    assert got == [(labels, *kind) for labels in TINY.labels for kind in kinds]
    for row in results["rows"]:
        assert row["curves"]["kl"][0] == pytest.approx(0, abs=1e-3)
        assert ("held_out" in row["curves"]) == (row["price"] == 0 and row["method"] != BEST)
    lines = table(results)
    assert "| natural answers with | 50 | biased |" in lines
    assert len(sentences(results)) == 3 + 3 + 3


def test_a_run_that_was_interrupted_goes_on_and_ends_the_same(tiny, tmp_path):
    def stop_early(steps):
        for number, step in enumerate(steps):
            if number == 3:
                raise KeyboardInterrupt
            yield step

    world = World.load("zh")
    with pytest.raises(KeyboardInterrupt):
        run_overoptimization("zh", 3, tmp_path, 1, world, people(), TINY, stop_early)
    kept = tmp_path / "points.resume.jsonl"
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 3
    assert not (tmp_path / "overoptimization.json").exists()
    with pytest.raises(InputError, match="another run"):
        run_rows(None, TINY, 1, {"lang": "zh", "seed": 4}, kept)
    results = run_overoptimization("zh", 3, tmp_path, 1, world, people(), TINY)
    for got, wanted in zip(results["rows"], tiny[1]["rows"], strict=True):
        assert {**got, "cpu_seconds": 0} == {**wanted, "cpu_seconds": 0}


def test_both_kinds_of_people_rank_the_same_answers_and_the_watchers_others(tiny, monkeypatch):
    monkeypatch.setattr(overoptimization, "COLLECTED", 120)
    task = make_task("zh", 3, tiny[0], World.load("zh"), people(), 4)
    crowd, watch = collect_rankings(task, "50", 0, 3)
    again, _ = collect_rankings(task, "50", 0, 3)
    biased, _ = collect_rankings(task, BIASED, 0, 3)
    assert crowd == again and len(crowd) == len(watch) == 50
    assert [(r.prompt, r.responses) for r in crowd] == [
        (r.prompt, r.responses) for r in biased[:50]
    ]
    assert [r.ranks for r in crowd] != [r.ranks for r in biased[:50]]
    assert {r.annotator for r in biased} == {"length lover"}
    assert not any(r in watch for r in crowd)
    judge = train_judge(task.sft, crowd, np.random.default_rng(0))
    assert params_bytes(judge) != params_bytes(task.sft.params)


def test_the_verb_writes_and_prints_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(overoptimization, "OverSettings", lambda: TINY)
    out = tmp_path / "out"
    arguments = ["overoptimization", "--lang", "zh", "--seeds", "1", "--out", str(out), "--quiet"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    wrote = {"overoptimization.json", "overoptimization.png", "sft.npz"}
    assert wrote <= {path.name for path in out.iterdir()}
    assert "| 50 | best of n | " in printed and "best of n 4: KL " in printed
    assert "overoptimization.json, overoptimization.png" in printed.splitlines()[-1]


def test_wrong_arguments_are_one_clear_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "points.resume.jsonl").write_text("", encoding="utf-8")
    for arguments, expected in (
        (("--lang", "xx"), "--lang xx"),
        (("--seeds", "0"), "--seeds 0: expected 1 or more"),
        (("--seed", "-1"), "--seed -1"),
        (("--out", "out"), "--resume"),
    ):
        assert main(["overoptimization", *arguments]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "points.resume.jsonl"]


def test_out_is_named_after_language_and_seed(tmp_path, monkeypatch):
    import argparse

    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    commands.add_overoptimization_arguments(parser)
    args = parser.parse_args(["--lang", "zh", "--seed", "7"])
    assert args.seeds == 5
    commands.prepare(args, commands.OVEROPTIMIZATION_OUT)
    assert args.out == Path("runs/overoptimization-zh-7") and args.out.is_dir()
