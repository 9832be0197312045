"""What the ablations broke: every sentence held by the committed results of both languages
(benchmarks/ablations_LANG.json), one of their runs trained again, and a tiny run of the verb.

"Higher" in a sentence about both languages: each of the three trials lies higher than each of the
healthy run's.  "The same": the means differ by less than SAME.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.experiments import check_wrong_arguments, draw_with_the_bundled_font

from minirlhf import plots
from minirlhf.__main__ import main
from minirlhf.beyond.policy_gradient import k3_loss
from minirlhf.cli import experiments as commands
from minirlhf.data import read_demonstrations
from minirlhf.errors import InputError
from minirlhf.experiments.ablations.changes import ABLATIONS, HEALTHY, k2_loss, train
from minirlhf.experiments.ablations.figure import plot_ablations
from minirlhf.experiments.ablations.run import (
    REGIMES,
    Point,
    all_figures,
    make_ablations_task,
    run_ablations,
    run_one,
    summarise,
)
from minirlhf.experiments.ablations.words import EXHIBITS, NOTHING, PANELS, sentences, table
from minirlhf.experiments.trials import KeptRows, fresh
from minirlhf.messages import load_messages
from minirlhf.rufus import pipeline
from minirlhf.rufus.pipeline import PPO
from minirlhf.rufus.world import data_folder

REPO = Path(__file__).parent.parent
LANGS = ("en", "zh")
RESULTS = {
    lang: json.loads((REPO / f"benchmarks/ablations_{lang}.json").read_text(encoding="utf-8"))
    for lang in LANGS
}
SAME = {"score": 0.03, "natural": 0.035}
DASHBOARD = (  # its curves
    "score", "naturalness", "natural", "kl_exact", "kl_estimate", "entropy", "clip_fraction",
    "ratio_outside", "approx_kl", "explained_variance", "response_length",
)
TINY = replace(PPO, iterations=2, rollout_size=8, minibatch_size=8, ppo_epochs=2)


def trials(lang, regime, name, figure):
    """-> the figure of each trial (trials,)."""
    runs = RESULTS[lang]["runs"]
    group = [run for run in runs if (run["regime"], run["name"]) == (regime, name)]
    return np.array([all_figures(run)[figure] for run in group])


def mean(lang, regime, name, figure):
    return float(trials(lang, regime, name, figure).mean())


def higher(lang, regime, name, figure):
    """Whether each trial of the ablation lies above each of the healthy run's."""
    ours, healthy = trials(lang, regime, name, figure), trials(lang, regime, HEALTHY, figure)
    return bool(ours.min() > healthy.max())


def lower(lang, regime, name, figure):
    ours, healthy = trials(lang, regime, name, figure), trials(lang, regime, HEALTHY, figure)
    return bool(ours.max() < healthy.min())


def factor(lang, regime, name, figure):
    """How many times the healthy run's mean."""
    return mean(lang, regime, name, figure) / mean(lang, regime, HEALTHY, figure)


def difference(lang, regime, name, figure):
    return mean(lang, regime, name, figure) - mean(lang, regime, HEALTHY, figure)


def same(lang, regime, name):
    """Whether score and share of natural answers are those of the healthy run."""
    return all(abs(difference(lang, regime, name, key)) < SAME[key] for key in SAME)


def explained(lang, name):
    """-> explained variance (trials, iterations) at the usual learning rate."""
    runs = [r for r in RESULTS[lang]["runs"] if (r["regime"], r["name"]) == ("usual", name)]
    return np.array([run["curves"]["explained_variance"] for run in runs])


def in_both(test, regime, name, figure):
    return all(test(lang, regime, name, figure) for lang in LANGS)


# ---- the data -------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_three_trials_of_every_ablation_at_two_learning_rates(lang):
    results = RESULTS[lang]
    assert results["lang"] == lang and results["seed"] == 0
    points = {(run["regime"], run["name"], run["trial"]) for run in results["runs"]}
    assert points == {
        (regime, name, trial)
        for regime in REGIMES for name in (HEALTHY, *ABLATIONS) for trial in range(3)
    }
    assert len(results["runs"]) == len(points)
    for run in results["runs"]:
        assert {len(curve) for curve in run["curves"].values()} == {PPO.iterations}
    assert results["summary"] == summarise(results["runs"])
    assert (REPO / f"benchmarks/ablations_{lang}.json").stat().st_size < 400_000


def test_every_ablation_has_its_sentences_in_both_languages():
    assert tuple(EXHIBITS) == ABLATIONS
    say = load_messages("zh")
    for exhibit in EXHIBITS.values():
        for english in (exhibit.verdict, exhibit.broke, exhibit.seen):
            assert english.replace("±", "").replace("ε", "").replace("−", "").isascii()
            assert any("\u4e00" <= char <= "\u9fff" for char in say(english))
        for text in (exhibit.broke, exhibit.seen):
            assert len(re.findall(r"(?<!et al)\.(?: |$)", text)) in (1, 2), text
    for lang in LANGS:
        lines = sentences(lang)
        assert len(lines) == len(ABLATIONS)
        assert all(("仪表板：" if lang == "zh" else " Dashboard: ") in line for line in lines)


def test_every_sign_is_on_the_dashboard_and_shows_in_every_trial_of_both_languages():
    drawn = {key for _, _, lines in plots.DASHBOARD for key, *_ in lines}
    assert set(DASHBOARD) == drawn
    for name, exhibit in EXHIBITS.items():
        assert exhibit.regime in REGIMES and exhibit.picture in PANELS
        assert exhibit.picture in DASHBOARD
        for figure, direction in exhibit.signs.items():
            assert figure.split(" ")[-1] in DASHBOARD, (name, figure)
            test = {"higher": higher, "lower": lower}[direction]
            for lang in LANGS:
                assert test(lang, exhibit.regime, name, figure), (name, figure, lang)


# ---- what the sentences say -----------------------------------------------------------------


def test_no_clip():
    name = "no clip"
    for lang in LANGS:
        assert same(lang, "usual", name)
        assert higher(lang, "bold", name, "kl_exact")
        ours = trials(lang, "bold", name, "mean approx_kl")
        assert ours.min() > 2 * trials(lang, "bold", HEALTHY, "mean approx_kl").max()
        for regime in REGIMES:
            assert not trials(lang, regime, name, "mean ratio_outside").any()
    assert mean("en", "bold", name, "natural") < 0.5
    assert abs(difference("zh", "bold", name, "natural")) < SAME["natural"]


def test_one_epoch():
    name = "one epoch"
    for lang in LANGS:
        assert factor(lang, "usual", name, "score") == pytest.approx(0.8, abs=0.05)
        assert difference(lang, "bold", name, "objective") > 0
        assert mean(lang, "usual", name, "mean ratio_outside") < 0.001
        assert mean(lang, "usual", name, "mean score") < 0.75 * mean(
            lang, "usual", HEALTHY, "mean score"
        )


def test_no_kl():
    name = "no KL"
    for lang in LANGS:
        others = [mean(lang, "bold", other, "score") for other in (HEALTHY, *ABLATIONS)]
        assert mean(lang, "bold", name, "score") == max(others)
        assert lower(lang, "bold", name, "natural")
        for figure in ("score", "kl_exact"):  # both go on rising after the first half
            assert mean(lang, "bold", name, f"last {figure}") > 1.15 * mean(
                lang, "bold", name, f"mean {figure}"
            )
    assert mean("en", "bold", name, "natural") < 0.05
    for figure in set(DASHBOARD) - {"kl_exact", "kl_estimate", "response_length"}:
        warns = in_both(higher, "usual", name, f"last {figure}")
        assert not warns and not in_both(lower, "usual", name, f"last {figure}"), figure
    assert in_both(higher, "usual", name, "kl_exact")


def test_no_whitening():
    for lang in LANGS:
        for regime in REGIMES:
            assert same(lang, regime, "no whitening")
            assert factor(lang, regime, "no whitening", "mean policy_grad_norm") < 0.55
        assert factor(lang, "usual", "no whitening", "mean policy_grad_norm") < 0.5
        assert 0.75 < factor(lang, "usual", "no whitening", "kl_exact") < 1


def test_no_value_function():
    name = "no value function"
    for lang in LANGS:
        assert lower(lang, "usual", name, "score") and lower(lang, "usual", name, "natural")
        assert difference(lang, "usual", name, "kl_exact") > 0
        assert factor(lang, "bold", name, "kl_exact") > 3
        assert mean(lang, "bold", name, "score") < mean(lang, "usual", name, "score")
        assert lower(lang, "bold", name, "score")
        for regime in REGIMES:
            assert not trials(lang, regime, name, "mean explained_variance").any()


def test_value_from_the_sft_model():
    name = "value from the SFT model"
    for lang in LANGS:
        assert same(lang, "usual", name) and same(lang, "bold", name)
        ours, healthy = explained(lang, name), explained(lang, HEALTHY)
        assert not ours[:, 0].any() and healthy[:, 0].max() < -0.5
        assert abs(ours[:, 10:20].mean() - healthy[:, 10:20].mean()) < 0.06
        assert abs(ours[:, 20:].mean() - healthy[:, 20:].mean()) < 0.06


def test_value_from_noise():
    name = "value from noise"
    for lang in LANGS:
        assert same(lang, "usual", name) and same(lang, "bold", name)
        ours, healthy = explained(lang, name), explained(lang, HEALTHY)
        assert not ours[:, 0].any()
        assert ours[:, 5:].mean(axis=1).max() < healthy[:, 5:].mean(axis=1).min()


def test_kl_in_the_loss_k2():
    name = "KL in the loss, k2"
    assert factor("en", "usual", name, "kl_exact") == pytest.approx(5 / 3, abs=0.1)
    assert factor("zh", "usual", name, "kl_exact") == pytest.approx(5 / 4, abs=0.1)
    for lang in LANGS:
        assert abs(difference(lang, "usual", name, "score")) < 0.04
        assert abs(difference(lang, "usual", name, "natural")) < SAME["natural"]
    for figure in set(DASHBOARD) - {"kl_exact", "kl_estimate"}:
        for test in (higher, lower):
            assert not in_both(test, "usual", name, f"last {figure}"), figure


def test_kl_in_the_loss_k3():
    name = "KL in the loss, k3"
    far = np.array([[0.5, 3.0, 30.0]])  # log pi - log ref
    weights = np.ones_like(far)
    pull = k3_loss(far, np.zeros_like(far), weights)[1]
    assert (pull > 0).all() and (pull <= 1).all()
    np.testing.assert_array_equal(k2_loss(far, np.zeros_like(far), weights)[1], far)
    for lang in LANGS:
        assert lower(lang, "bold", name, "natural") and higher(lang, "bold", name, "entropy")
        assert lower(lang, "bold", name, "last naturalness") or lang == "zh"
        assert difference(lang, "bold", name, "last naturalness") < 0
    assert factor("en", "bold", name, "kl_exact") > 2


def test_mean_per_answer():
    name = "mean per answer"
    for lang in LANGS:
        assert same(lang, "usual", name) and same(lang, "bold", name)
        rows = read_demonstrations(data_folder(lang) / "sft.jsonl")
        lengths = np.array([len(answer) + 1 for _, answer in rows])  # and EOS
        assert lengths.std() < 0.15 * lengths.mean()
    for figure in DASHBOARD:
        for window in ("mean", "last"):
            for test in (higher, lower):
                assert not in_both(test, "usual", name, f"{window} {figure}"), figure


def test_score_on_every_token():
    name = "score on every token"
    for lang in LANGS:
        assert factor(lang, "usual", name, "kl_exact") > 1.5
        assert difference(lang, "usual", name, "score") < SAME["score"]
    assert mean("en", "bold", name, "natural") == pytest.approx(0.1, abs=0.05)
    assert higher("zh", "bold", name, "response_length")


def test_eos_masked_out():
    name = "EOS masked out"
    for lang in LANGS:
        assert factor(lang, "usual", name, "kl_exact") == pytest.approx(1, abs=0.1)
        assert lower(lang, "usual", name, "score") and lower(lang, "usual", name, "natural")
        assert mean(lang, "usual", name, "missing_eos") < 0.01
        assert factor(lang, "usual", name, "response_length") == pytest.approx(1, abs=0.05)


def test_nothing_broke_in_four_of_twelve():
    found = []
    for name in ABLATIONS:
        if all(same(lang, regime, name) for lang in LANGS for regime in REGIMES):
            if all(factor(lang, "usual", name, "kl_exact") < 1.24 for lang in LANGS):
                found.append(name)
    assert found == [name for name in ABLATIONS if EXHIBITS[name].verdict == NOTHING]
    assert len(found) == 4 and "four panels" in plot_ablations(RESULTS["en"]).get_label()


# ---- run again ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_of_the_committed_results_comes_out_again(tmp_path):
    task, limit = make_ablations_task("zh", 0, tmp_path)
    settings = replace(PPO, max_new_tokens=limit)
    got = run_one(task, Point("usual", "EOS masked out", 1), settings, 0)
    runs = RESULTS["zh"]["runs"]
    wanted = next(run for run in runs if (run["regime"], run["name"], run["trial"])
                  == ("usual", "EOS masked out", 1))
    # equal on one machine; the last bits of another may lead to another sample
    assert got["end"]["score"] == pytest.approx(wanted["end"]["score"], abs=0.12)
    assert got["end"]["natural"] == pytest.approx(wanted["end"]["natural"], abs=0.12)
    assert got["curves"]["score"][0] == pytest.approx(wanted["curves"]["score"][0], abs=0.02)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """-> folder, results of every ablation in miniature."""
    out = tmp_path_factory.mktemp("ablations")
    return out, run_ablations("zh", 3, out, 1, TINY)


@pytest.mark.slow
def test_a_tiny_run_from_start_to_end(tiny):
    out, results = tiny
    assert json.loads((out / "ablations.json").read_text(encoding="utf-8")) == results
    assert not list(out.glob("*.resume.*"))
    assert len(results["runs"]) == 2 * (1 + len(ABLATIONS)) == len(results["summary"])
    lines = table(results)
    assert len(lines) == 2 + 1 + len(ABLATIONS) and lines[2].startswith("| healthy | ")
    assert all(np.isfinite(run["end"]["score"]) for run in results["runs"])


@pytest.mark.slow
def test_the_gold_judge_measures_and_nothing_of_it_reaches_the_policy(tmp_path):
    task, limit = make_ablations_task("zh", 3, tmp_path)
    settings, seen = replace(TINY, iterations=2, max_new_tokens=limit), []
    for watch in (task.watch, None):
        models = fresh(task.models)
        rng = np.random.default_rng(0)
        history = train(HEALTHY, models, task.prompts, settings, rng, watch)
        seen.append(("natural" in history[0], models.policy.flat.tobytes()))
    assert [known for known, _ in seen] == [True, False]
    assert seen[0][1] == seen[1][1]


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on_and_ends_the_same(tiny, tmp_path):
    def stop_early(steps):
        for number, step in enumerate(steps):
            if number == 4:
                raise KeyboardInterrupt
            yield step

    with pytest.raises(KeyboardInterrupt):
        run_ablations("zh", 3, tmp_path, 1, TINY, stop_early)
    kept = tmp_path / "points.resume.jsonl"
    assert len(kept.read_text(encoding="utf-8").splitlines()) == 4
    assert not (tmp_path / "ablations.json").exists()
    with pytest.raises(InputError, match="another run"):
        KeptRows(kept, {"lang": "zh", "seed": 4}, Point)
    results = run_ablations("zh", 3, tmp_path, 1, TINY)
    for got, wanted in zip(results["runs"], tiny[1]["runs"], strict=True):
        assert got["name"] == wanted["name"]
        assert (got["end"], got["curves"]) == (wanted["end"], wanted["curves"])


# ---- the picture and the verb ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("lang", LANGS)
def test_the_picture_has_every_glyph_and_a_caption(lang, tmp_path, monkeypatch):
    figure = draw_with_the_bundled_font(
        plot_ablations, RESULTS[lang], lang, tmp_path, monkeypatch
    )
    assert len(figure.axes) == len(ABLATIONS)
    say = load_messages(lang)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    for title, exhibit in zip(titles, EXHIBITS.values(), strict=True):
        assert say(exhibit.verdict) in title
        assert ("4" in title) == (exhibit.regime == "bold")


@pytest.mark.slow
def test_the_verb_writes_and_prints_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "PPO", replace(TINY, iterations=1))
    out = tmp_path / "out"
    arguments = ["ablations", "--lang", "zh", "--seeds", "1", "--out", str(out), "--quiet"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert {"ablations.json", "ablations.png"} <= {path.name for path in out.iterdir()}
    assert "| no clip | " in printed and all(line in printed for line in sentences("zh"))
    assert "ablations.json, ablations.png" in printed.splitlines()[-1]


def test_wrong_arguments_are_one_clear_line(tmp_path, monkeypatch, capsys):
    check_wrong_arguments("ablations", tmp_path, monkeypatch, capsys)


def test_out_is_named_after_language_and_seed(tmp_path, monkeypatch):
    import argparse

    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    commands.add_experiment_arguments(parser, "ablations")
    args = parser.parse_args(["--lang", "zh", "--seed", "7"])
    assert args.seeds == 3
    commands.prepare(args, "ablations")
    assert args.out == Path("runs/ablations-zh-7") and args.out.is_dir()
