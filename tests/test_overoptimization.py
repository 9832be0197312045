"""Over-optimisation: the fits on curves that are known, best-of-n on a pool against counting, the
minimum and the stopping rules, PPO with one judge against train_ppo, a tiny run, its resumption;
and what docs/results and docstrings say, held by the committed results of both languages."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.experiments import (
    PROMPTS,
    SETTINGS,
    check_wrong_arguments,
    draw_with_the_bundled_font,
    tiny_models,
)
from helpers.models import params_bytes

from minirlhf.__main__ import main
from minirlhf.beyond.best_of_n import best_of_n_distribution, best_of_n_kl
from minirlhf.cli import experiments as commands
from minirlhf.errors import InputError
from minirlhf.experiments.overoptimization import judges as judging
from minirlhf.experiments.overoptimization import run as overoptimization
from minirlhf.experiments.overoptimization.best_of_n_pool import Pool, best_of_n_points
from minirlhf.experiments.overoptimization.curves import fit_best_of_n, fit_rl, gain_at, peak
from minirlhf.experiments.overoptimization.ensemble import (
    MinimumScore,
    disagreement,
    ensemble_minimum,
    judge_scores,
)
from minirlhf.experiments.overoptimization.figure import plot_overoptimization
from minirlhf.experiments.overoptimization.judges import (
    BIASED,
    LABELS,
    collect_rankings,
    train_judges,
)
from minirlhf.experiments.overoptimization.run import (
    OveroptimizationSettings,
    Point,
    make_overoptimization_task,
    run_overoptimization,
)
from minirlhf.experiments.overoptimization.stopping import (
    RULES,
    Stop,
    stop_above,
    stop_at_peak,
    stop_by,
)
from minirlhf.experiments.overoptimization.summary import (
    BEST,
    MINIMUM,
    ONE,
    band_of,
    beside_the_free_path,
    fits_of,
    gains,
    group_of,
    remedies_of,
)
from minirlhf.experiments.overoptimization.words import sentences, table
from minirlhf.experiments.trials import HARD, Between, KeptRows, train_judge
from minirlhf.gpt import with_scalar_head
from minirlhf.rufus.world import World
from minirlhf.sample import sample
from minirlhf.step3_ppo import PPOHooks, make_rollout, score_samples, train_ppo

REPO = Path(__file__).parent.parent
TINY = OveroptimizationSettings(
    labels=("50", BIASED), prices=(0.0, 0.5), best_of=(1, 2, 4), pool=16, per_question=1, members=2,
    checkpoints=(0, 1, 2),
    ppo=replace(HARD, iterations=2, rollout_size=8, minibatch_size=8,
                ppo_epochs=1),
)


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
    pool = Pool(
        rows=None, text=None, question=question, finished=None, share=share, naturalness=gold,
        mean=None, deviation=None,
    )
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


def practise(models, judges):
    """PPO on the minimum of the judges -> after how many iterations the policy was looked at."""
    done, hooks = [], PPOHooks(score=MinimumScore(judges))
    between = Between(done.append, SETTINGS.iterations)
    train_ppo(models, PROMPTS, SETTINGS, np.random.default_rng(3), hooks, progress=between.steps)
    return done


def test_with_one_judge_the_minimum_is_train_ppo_number_for_number():
    ours, theirs = tiny_models(), tiny_models()
    done = practise(ours, [ours.reward_model])
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
        practise(models, judges)
        assert params_bytes(models.ref_policy, *judges) == before
        policies.append(models.policy.flat.copy())
    np.testing.assert_allclose(policies[1], policies[0], atol=1e-6)
    assert np.abs(policies[2] - policies[0]).max() > 1e-3


def test_the_minimum_is_what_stands_on_the_last_token():
    models, rng = tiny_models(), np.random.default_rng(1)
    other = with_scalar_head(models.ref_policy, models.config, np.random.default_rng(9))
    judges = [models.reward_model, other]
    samples = sample(models.policy, models.config, PROMPTS * 4, SETTINGS.max_new_tokens, rng)
    scores = MinimumScore(judges)(models, samples, SETTINGS)
    changed = make_rollout(models, samples, scores, 0.1, SETTINGS)
    rows = judge_scores(models, judges, samples, SETTINGS)
    np.testing.assert_allclose(rows[0], score_samples(models, samples, SETTINGS), atol=1e-6)
    np.testing.assert_array_equal(changed.scores, rows.min(axis=0))
    assert (changed.scores < rows[0]).any()
    log_ratio = (changed.old_logprobs - changed.ref_logprobs) * changed.response_mask
    expected = rows.min(axis=0) - SETTINGS.kl_coef * log_ratio.sum(axis=1)
    np.testing.assert_allclose(changed.rewards.sum(axis=1), expected, atol=1e-5)


# ---- a tiny run -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """-> folder, results of the whole experiment in miniature."""
    out = tmp_path_factory.mktemp("overoptimization")
    return out, run_overoptimization("zh", 3, out, 1, TINY)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_and_ends_the_same(tiny, tmp_path):
    def stop_early(steps):
        for number, step in enumerate(steps):
            if number == 3:
                raise KeyboardInterrupt
            yield step

    with pytest.raises(KeyboardInterrupt):
        run_overoptimization("zh", 3, tmp_path, 1, TINY, stop_early)
    kept = tmp_path / "points.resume.jsonl"
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 3
    assert not (tmp_path / "overoptimization.json").exists()
    with pytest.raises(InputError, match="another run"):
        KeptRows(kept, {"lang": "zh", "seed": 4}, Point)
    results = run_overoptimization("zh", 3, tmp_path, 1, TINY)
    for got, wanted in zip(results["rows"], tiny[1]["rows"], strict=True):
        assert {**got, "cpu_seconds": 0} == {**wanted, "cpu_seconds": 0}


@pytest.mark.slow
def test_both_kinds_of_people_rank_the_same_answers_and_the_watchers_others(tmp_path, monkeypatch):
    monkeypatch.setattr(judging, "COLLECTED", 120)
    task = make_overoptimization_task("zh", 3, tmp_path, 4)
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


@pytest.mark.slow
def test_the_verb_writes_and_prints_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(overoptimization, "OveroptimizationSettings", lambda: TINY)
    out = tmp_path / "out"
    arguments = ["overoptimization", "--lang", "zh", "--seeds", "1", "--out", str(out), "--quiet"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    wrote = {"overoptimization.json", "overoptimization.png", "sft.npz"}
    assert wrote <= {path.name for path in out.iterdir()}
    assert "| 50 | best of n | " in printed and "best of n 4: KL " in printed
    assert "overoptimization.json, overoptimization.png" in printed.splitlines()[-1]


def test_wrong_arguments_are_one_clear_line(tmp_path, monkeypatch, capsys):
    check_wrong_arguments("overoptimization", tmp_path, monkeypatch, capsys)


def test_out_is_named_after_language_and_seed(tmp_path, monkeypatch):
    import argparse

    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    commands.add_experiment_arguments(parser, "overoptimization")
    args = parser.parse_args(["--lang", "zh", "--seed", "7"])
    assert args.seeds == 5
    commands.prepare(args, "overoptimization")
    assert args.out == Path("runs/overoptimization-zh-7") and args.out.is_dir()


# ---- what the committed results say ---------------------------------------------------------

LANGS = ("en", "zh")
PRICES = OveroptimizationSettings().prices
CROWD = ("50", "100", "200", "600")


def load(lang):
    path = REPO / f"benchmarks/overoptimization_{lang}.json"
    return json.loads(path.read_text(encoding="utf-8"))


RESULTS = {lang: load(lang) for lang in LANGS}


def fitted(lang, labels, method, what="naturalness"):
    rows = RESULTS[lang]["fits"]
    wanted = (labels, method, what)
    return next(r for r in rows if (r["labels"], r["method"], r["what"]) == wanted)


def kept(lang, labels, remedy):
    rows = RESULTS[lang]["remedies"]
    return next(r for r in rows if (r["labels"], r["remedy"]) == (labels, remedy))


def gold(lang, labels, method):
    """-> (trials, C) gain in gold."""
    results = RESULTS[lang]
    group = group_of(results["rows"], labels, method)
    return np.array([gains(row, results["reference"], "naturalness") for row in group])


@pytest.mark.parametrize("lang", LANGS)
def test_five_trials_of_everything_and_the_summary_follows_from_them(lang):
    results = RESULTS[lang]
    assert (results["lang"], results["seed"], results["trials"]) == (lang, 0, 5)
    keys = {(r["labels"], r["trial"], r["method"], r["price"]) for r in results["rows"]}
    assert keys == set(overoptimization.wanted_points(OveroptimizationSettings(), 5))
    assert len(results["rows"]) == len(keys) == 150
    scale = results["reference"]
    assert results["fits"] == fits_of(results["rows"], scale)
    assert results["remedies"] == remedies_of(results["rows"], PRICES)
    assert results["beside_the_free_path"] == beside_the_free_path(results["rows"], PRICES)
    assert (REPO / f"benchmarks/overoptimization_{lang}.json").stat().st_size < 400_000


@pytest.mark.parametrize("lang", LANGS)
def test_without_a_price_every_policy_is_over_optimised(lang):
    """Score at least one standard deviation up, gold below the reference, natural answers lost."""
    for labels in LABELS:
        for row in group_of(RESULTS[lang]["rows"], labels, ONE):
            assert gains(row, RESULTS[lang]["reference"], "score")[-1] > 1
        assert gold(lang, labels, ONE)[:, -1].max() < -0.2
        assert kept(lang, labels, "none")["natural"] < 0.15
        assert kept(lang, labels, "none")["kl"] > 20
        # on the way it was above, but hardly so in English with 50 or 100 rankings
        summit = band_of(group_of(RESULTS[lang]["rows"], labels, ONE), RESULTS[lang]["reference"],
                         "naturalness")[2].max()
        assert (summit > 0.1) == ((lang, labels) not in (("en", "50"), ("en", "100")))


@pytest.mark.parametrize("lang", LANGS)
def test_best_of_n_turns_at_four_or_eight(lang):
    for labels in LABELS:
        rows = group_of(RESULTS[lang]["rows"], labels, BEST)
        for row, gain in zip(rows, gold(lang, labels, BEST)):
            assert row["curves"]["n"][int(gain.argmax())] in (4, 8)
            assert (np.diff(row["curves"]["score"]) > 0).all()
            assert all(kl <= bound + 1e-3 for kl, bound in
                       zip(row["curves"]["kl"], row["curves"]["bound"]))
        assert gold(lang, labels, BEST)[:, -1].mean() < gold(lang, labels, BEST).max() - 0.2
    assert gold(lang, "50", BEST)[:, -1].mean() < 0 < gold(lang, "600", BEST)[:, -1].min()


@pytest.mark.parametrize("lang", LANGS)
def test_more_labels_raise_the_summit_and_do_not_save_ppo(lang):
    alphas = [fitted(lang, labels, BEST)["alpha"] for labels in CROWD]
    tops = [gold(lang, labels, BEST).mean(axis=0).max() for labels in CROWD]
    assert alphas == sorted(alphas) and tops == sorted(tops)
    assert alphas[-1] - alphas[0] > 0.5 and tops[-1] - tops[0] > 0.3
    betas = [fitted(lang, labels, BEST)["beta"] for labels in CROWD]
    assert max(betas) - min(betas) < 0.2
    natural = [kept(lang, labels, "none")["natural"] for labels in CROWD]
    assert natural[-1] < natural[0]


@pytest.mark.parametrize("lang", LANGS)
def test_where_the_curves_of_gao_fit_and_where_not(lang):
    for labels in LABELS:
        for method in (ONE, MINIMUM):
            row = fitted(lang, labels, method)
            assert row["r_squared"] > (0.85 if method == ONE else 0.75)
            assert row["r_squared"] > row["other_r_squared"]  # RL's form is RL's
            assert row["beta"] > 0
    for labels in CROWD:
        assert 0.65 < fitted(lang, labels, BEST)["r_squared"] < 0.95
        assert fitted(lang, labels, BEST)["lowest_r_squared"] > 0.85  # one trial at a time
    assert fitted("zh", BIASED, BEST)["r_squared"] < 0.2
    assert fitted("en", BIASED, BEST)["r_squared"] > 0.85


def test_in_chinese_the_fitted_summit_of_ppo_is_too_low():
    """For four of five kinds of labels; the many points far to the right decide the fit."""
    low = []
    for labels in LABELS:
        group = group_of(RESULTS["zh"]["rows"], labels, ONE)
        seen = band_of(group, RESULTS["zh"]["reference"], "naturalness")[2].max()
        low.append(seen - fitted("zh", labels, ONE)["peak_gain"])
    assert [gap > 0.1 for gap in low] == [False, True, True, True, True]


@pytest.mark.parametrize("lang", LANGS)
def test_a_price_per_nat_is_the_best_remedy(lang):
    for labels in LABELS:
        best = max(kept(lang, labels, f"KL coefficient {price}")["natural"] for price in (0.1, 0.5))
        others = (*RULES, "minimum of the ensemble", "none", "KL coefficient 0.02")
        rivals = [kept(lang, labels, remedy)["natural"] for remedy in others]
        if (lang, labels) != ("zh", BIASED):  # there stopping by KL is as good
            assert best > max(rivals)
        assert best > max(rivals) - 0.04
    assert kept(lang, "600", "KL coefficient 0.1")["natural"] > 0.88
    assert kept(lang, "50", "KL coefficient 0.1")["natural"] < 0.67
    assert 0.69 <= kept(lang, "50", "KL coefficient 0.5")["natural"] < 0.8
    for labels in CROWD[1:]:
        assert kept(lang, labels, "KL coefficient 0.1")["natural"] > 0.77
    for labels in LABELS:
        assert kept(lang, labels, "KL coefficient 0.02")["natural"] < 0.57  # too cheap


@pytest.mark.parametrize("lang", LANGS)
def test_a_price_is_more_than_stopping_early(lang):
    """Gao et al. 2022 find no gain of a KL penalty at equal KL; here there is one."""
    for row in RESULTS[lang]["beside_the_free_path"]:
        if row["price"] == 0.1:
            assert row["ahead"] > (0.06 if lang == "en" else 0.025)
            assert sum(value > 0 for value in row["ahead_each"]) >= (5 if lang == "en" else 3)
        if row["price"] == 0.02:
            assert row["ahead"] < 0.06


@pytest.mark.parametrize("lang", LANGS)
def test_which_signals_warn(lang):
    """KL does.  Another judge and the disagreement of four fail in some trials of every kind."""
    for labels in LABELS:
        rows = {rule: kept(lang, labels, rule) for rule in RULES}
        assert rows["KL budget"]["natural"] > max(
            rows[rule]["natural"] for rule in ("held-out judge", "disagreement")
        )
        assert rows["KL budget"]["natural_sd"] < 0.12
        assert rows["held-out judge"]["natural_sd"] > 0.13
        assert min(rows["held-out judge"]["natural_each"]) < 0.25
        assert min(rows["disagreement"]["natural_each"]) < 0.2
        # the other judge, too, likes the end better than the start, but for one trial
        first = [(row["curves"]["held_out"][0], row["curves"]["held_out"][-1])
                 for row in group_of(RESULTS[lang]["rows"], labels, ONE)]
        assert sum(end > start for start, end in first) >= 4
        minimum = kept(lang, labels, "minimum of the ensemble")["natural"]
        assert minimum < 0.21 and minimum < kept(lang, labels, "none")["natural"] + 0.15


@pytest.mark.parametrize("lang", LANGS)
def test_who_likes_length_gets_length(lang):
    rows = RESULTS[lang]["rows"]
    length = [
        [row["curves"]["length"][-1] for row in group_of(rows, labels, ONE)]
        for labels in (BIASED, "600")
    ]
    assert np.mean(length[0]) > np.mean(length[1]) + 2
    assert fitted(lang, BIASED, BEST)["alpha"] < fitted(lang, "600", BEST)["alpha"] - 0.1


@pytest.mark.parametrize("lang", LANGS)
def test_the_sentences_are_kept_along_the_curve(lang):
    results = RESULTS[lang]
    for labels in LABELS:
        lines = sentences(results, labels)
        assert len(lines) == 17 + 17 + 9
    world = World.load(lang)
    row = next(r for r in results["rows"] if "sentences" in r)
    for said in row["sentences"]:
        for question, answer, _, naturalness in said:
            judged = [world.naturalness(question, answer, done) for done in (True, False)]
            assert min(abs(naturalness - value) for value in judged) < 0.006


# ---- run again, and draw --------------------------------------------------------------------


@pytest.mark.slow
def test_rows_of_the_committed_results_come_out_again(tmp_path):
    settings = OveroptimizationSettings()
    task = make_overoptimization_task("zh", 0, tmp_path, settings.pool)
    scale = RESULTS["zh"]["reference"]
    assert task.pool.mean == pytest.approx(scale["mean"], abs=0.005)
    judges = train_judges(task, "50", 1, settings.members, 0)
    for method, price, figure, off in ((BEST, 0.0, "naturalness", 0.02), (ONE, 0.1, "score", 0.2)):
        point = Point("50", 1, method, price)
        got = overoptimization.run_row(task, settings, judges, point, 0)
        wanted = group_of(RESULTS["zh"]["rows"], "50", method, price)[1]
        # equal on one machine; the last bits of another may lead to another sample
        np.testing.assert_allclose(got["curves"][figure], wanted["curves"][figure], atol=off)


@pytest.mark.slow
@pytest.mark.parametrize("lang", LANGS)
def test_the_picture_has_every_glyph_and_a_caption(lang, tmp_path, monkeypatch):
    figure = draw_with_the_bundled_font(
        plot_overoptimization, RESULTS[lang], lang, tmp_path, monkeypatch
    )
    assert len(figure.axes) == 3 * len(LABELS)


@pytest.mark.parametrize("lang", LANGS)
def test_at_one_nat_best_of_n_gains_more_than_ppo(lang):
    """As in Gao et al. 2022: reinforcement learning spends more KL for the same gold."""
    for labels in LABELS:
        at_one = []
        for method in (BEST, ONE):
            group = group_of(RESULTS[lang]["rows"], labels, method)
            d, _, mean, _ = band_of(group, RESULTS[lang]["reference"], "naturalness")
            at_one.append(float(np.interp(1.0, d, mean)))
        assert at_one[0] > at_one[1], (labels, at_one)
    assert at_one[0] > 0.5


def test_small_numbers_of_the_text():
    """The reference's natural answers; when 1.5 nats are passed; how often disagreement is mute."""
    mute = 0
    for lang, natural, iterations in (("en", 0.52, 4), ("zh", 0.43, 9)):
        start = group_of(RESULTS[lang]["rows"], "50", BEST)[0]["curves"]["natural"][0]
        assert start == pytest.approx(natural, abs=0.005)
        for labels in LABELS:
            passed = kept(lang, labels, "KL budget")["iteration"]
            assert passed == pytest.approx(iterations, abs=1.01)
            for row in group_of(RESULTS[lang]["rows"], labels, ONE):
                curve = row["curves"]["disagreement"]
                mute += curve[-1] < 1.1 * curve[0]
    assert mute == 21
