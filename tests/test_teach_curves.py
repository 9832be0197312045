"""It really teaches: what docs/results says of the human loop, read from the committed results
(benchmarks/teach_curves_LANG.json, SIMULATED annotators); the start of a run again; the script.

Where the aim was missed, a test says so too.
"""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from helpers.experiments import draw_with_the_bundled_font

from minirlhf import plots
from minirlhf.teach.learning import TeachSettings

REPO = Path(__file__).parent.parent
PATH = REPO / "benchmarks" / "teach_curves.py"
SPEC = importlib.util.spec_from_file_location("teach_curves", PATH)
curves = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(curves)

LANGS = ("en", "zh")
RESULTS = {lang: curves.read_results(lang) for lang in LANGS}
SPLITS = ("train", "held_out")
TINY = TeachSettings(
    iterations=1, rollout_size=12, ppo_epochs=1, minibatch_size=6, sft_steps=2, reward_steps=4,
    repeat_every=4,
)


def middle(lang, gives, number, key, who="a1"):
    """Median over the seeds."""
    return float(np.median(curves.spread(curves.select(RESULTS[lang], who, gives), number, key)))


# ---- what the committed results say ---------------------------------------------------------


@pytest.mark.parametrize("lang", LANGS)
def test_every_run_is_there_and_made_with_the_settings_of_today(lang):
    assert RESULTS[lang]["settings"] == asdict(TeachSettings())
    done = {(run["who"], run["gives"], run["seed"]) for run in RESULTS[lang]["runs"]}
    wanted = curves.planned(5)
    assert done == {(who, gives, seed) for who, gives, seed, _ in wanted}
    assert len(RESULTS[lang]["runs"]) == len(wanted) == 40
    for who, gives, seed, at in wanted:
        points = next(run["points"] for run in RESULTS[lang]["runs"]
                      if (run["who"], run["gives"], run["seed"]) == (who, gives, seed))
        assert [point["round"] for point in points] == list(at)


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("gives", curves.MODES)
def test_all_start_from_the_pretrained_model(lang, gives):
    for split in SPLITS:
        runs = curves.select(RESULTS[lang], "a1", gives)
        for value in curves.spread(runs, 0, f"natural_{split}"):
            assert 0.25 < value < 0.4


@pytest.mark.parametrize("lang", LANGS)
def test_for_a1_to_please_is_to_be_natural(lang):
    for run in RESULTS[lang]["runs"]:
        for point in run["points"] if run["who"] == "a1" else ():
            for split in SPLITS:
                assert point[f"pleases_{split}"] == point[f"natural_{split}"]


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("split", SPLITS)
def test_over_80_per_cent_within_20_rounds_with_corrections(lang, split):
    for gives in ("corrections", "both", curves.WITH_SEEDS):
        assert middle(lang, gives, 20, f"natural_{split}") > 0.8


@pytest.mark.parametrize("lang", LANGS)
def test_rankings_alone_take_longer(lang):
    """They miss 80 % within 20 rounds on training questions, and get there within 60."""
    train, held_out = (f"natural_{split}" for split in SPLITS)
    assert 0.7 < middle(lang, "rankings", 20, train) < 0.8
    assert middle(lang, "rankings", 20, train) < middle(lang, "both", 20, train) - 0.08
    assert middle(lang, "rankings", 20, held_out) < middle(lang, "both", 20, held_out) - 0.02
    assert min(curves.spread(curves.select(RESULTS[lang], "a1", "rankings"), 60, train)) > 0.8


@pytest.mark.parametrize("lang", LANGS)
def test_over_95_per_cent_within_60_rounds_is_missed_on_held_out_questions(lang):
    for gives in curves.MODES:
        runs = curves.select(RESULTS[lang], "a1", gives)
        values = curves.spread(runs, 60, "natural_held_out")
        assert 0.85 < np.median(values) < 0.95 and min(values) > 0.78
    assert middle(lang, "rankings", 60, "natural_train") < 0.92


@pytest.mark.parametrize("gives", ("corrections", "both"))
def test_on_training_questions_it_is_reached_in_english_and_just_missed_in_chinese(gives):
    assert 0.95 < middle("en", gives, 60, "natural_train") < 0.96
    assert 0.94 < middle("zh", gives, 60, "natural_train") < 0.95


@pytest.mark.parametrize("lang", LANGS)
def test_seed_labels_alone_teach_most_of_it_and_beside_the_person_they_help_early(lang):
    for split in SPLITS:
        key = f"natural_{split}"
        alone, beside = curves.SEEDS_ALONE, curves.WITH_SEEDS
        assert middle(lang, beside, 5, key) > middle(lang, "both", 5, key) + 0.08
        assert abs(middle(lang, beside, 20, key) - middle(lang, "both", 20, key)) < 0.06
        start = middle(lang, alone, 0, key)
        rise, of_both = (middle(lang, gives, 20, key) - start for gives in (alone, "both"))
        assert 0.6 < rise / of_both < 0.95


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("gives", curves.MODES)
def test_truth_is_what_it_costs(lang, gives):
    """The annotator judges how Rufus sounds: fewer natural answers are true, in every run."""
    for points in curves.select(RESULTS[lang], "a1", gives):
        true = {point["round"]: point["true"] for point in points}
        assert true[20] < true[0] - 0.08
    assert middle(lang, gives, 60, "true") > middle(lang, gives, 20, "true")


@pytest.mark.parametrize("lang", LANGS)
def test_he_hardly_answers_other_questions_and_keeps_several_answers(lang):
    for gives in curves.MODES:
        for points in curves.select(RESULTS[lang], "a1", gives):
            assert points[-1]["elsewhere_train"] < 0.04 and points[-1]["kinds"] > 1.2
        assert middle(lang, gives, 60, "kinds") > 0.8 * middle(lang, gives, 0, "kinds")


@pytest.mark.parametrize("lang, taste, reached", [
    ("en", "greets", 0.7), ("zh", "greets", 0.8), ("en", "brief", 0.85), ("zh", "brief", 0.75),
    ("zh", "pirate", 0.65), ("en", "pirate", 0.25),
])
def test_another_taste_is_taught_in_20_rounds(lang, taste, reached):
    """Rufus hardly ever pleases such a person before; after 20 rounds every seed does."""
    for split in SPLITS:
        runs = curves.select(RESULTS[lang], taste, "both")
        assert max(curves.spread(runs, 0, f"pleases_{split}")) < 0.03
        assert min(curves.spread(runs, 20, f"pleases_{split}")) > reached


def test_an_english_pirate_takes_longer_than_20_rounds():
    assert middle("en", "both", 20, "pleases_train", "pirate") < 0.6
    assert middle("en", "both", 20, "pleases_held_out", "pirate") < 0.45


@pytest.mark.parametrize("lang", LANGS)
def test_a_round_costs_less_than_three_seconds(lang):
    for run in RESULTS[lang]["runs"]:
        if run["gives"] != curves.SEEDS_ALONE:
            assert run["points"][-1]["seconds"] < 3, run["gives"]


# ---- the start of a run again ---------------------------------------------------------------


@pytest.mark.slow
def test_five_rounds_of_a_committed_run_teach_again():
    """Equal on one machine; on another the annotator soon sees other answers."""
    points = curves.one_run("zh", "a1", "corrections", 0, (0, 5))
    committed = curves.select(RESULTS["zh"], "a1", "corrections")[0]
    for split in SPLITS:
        key = f"natural_{split}"
        assert points[0][key] == pytest.approx(committed[0][key], abs=0.05)
        assert points[1][key] > points[0][key] + 0.1
        assert committed[1][key] > committed[0][key] + 0.1


@pytest.mark.slow
def test_measuring_changes_nothing():
    often = curves.one_run("zh", "a1", "both", 3, (0, 1, 2), TINY)
    seldom = curves.one_run("zh", "a1", "both", 3, (0, 2), TINY)
    for point in (often[-1], seldom[-1]):
        assert point.pop("seconds") > 0 and point.pop("slowest") > 0
    assert often[-1] == seldom[-1] and often[0] == seldom[0] != often[-1]


@pytest.mark.slow
def test_seed_labels_alone_hear_no_annotator(monkeypatch):
    def silent(*arguments):
        raise AssertionError("the annotator was asked")

    monkeypatch.setattr(curves, "judge", silent)
    points = curves.one_run("zh", "a1", curves.SEEDS_ALONE, 3, (0, 2), TINY)
    assert [point["round"] for point in points] == [0, 2]
    assert points[0]["natural_train"] != points[1]["natural_train"]
    with pytest.raises(AssertionError, match="was asked"):
        curves.one_run("zh", "a1", curves.WITH_SEEDS, 3, (0, 1), TINY)


# ---- the script -----------------------------------------------------------------------------


def make_points(at):
    """Points of no run."""
    keys = [f"{name}_{split}" for name in ("pleases", "natural", "elsewhere") for split in SPLITS]
    rows = [{"round": number, "true": 0.5, "kinds": 2.0} | dict.fromkeys(keys, number / 60)
            for number in at]
    rows[-1]["seconds"] = 1.0
    return rows


def test_every_run_is_kept_at_once_and_only_what_is_missing_is_run(tmp_path, monkeypatch, capsys):
    asked = []

    def one_run(lang, who, gives, seed, at):
        asked.append((who, gives, seed))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return make_points(at)

    monkeypatch.setattr(curves, "HERE", tmp_path)
    monkeypatch.setattr(curves, "one_run", one_run)
    with pytest.raises(KeyboardInterrupt):
        curves.run_all("zh", 1)
    assert len(curves.read_results("zh")["runs"]) == 3
    curves.run_all("zh", 1)
    wanted = [(who, gives, seed) for who, gives, seed, _ in curves.planned(1)]
    assert asked == wanted[:4] + wanted[3:]
    assert "zh a1 both 0: 1.00 1.00" in capsys.readouterr().out
    results = curves.read_results("zh")
    path = tmp_path / "teach_curves_zh.json"
    path.write_text(json.dumps(results | {"settings": {"dtype": "float64"}}), encoding="utf-8")
    with pytest.raises(SystemExit, match="settings have changed"):
        curves.run_all("zh", 2)



@pytest.mark.parametrize("lang", LANGS)
def test_the_picture_has_every_glyph_and_a_caption(lang, tmp_path, monkeypatch):
    figure = draw_with_the_bundled_font(
        curves.plot_curves, RESULTS[lang], lang, tmp_path, monkeypatch
    )
    caption = figure.get_label()
    assert ("SIMULATED" if lang == "en" else "模拟") in caption
    for number in (0, 20, 60):
        for key in ("natural_held_out", "true"):
            assert plots.percent(middle(lang, "both", number, key)) in caption
