"""The pages of docs/results are what the committed figures give, in both languages."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

REPO = Path(__file__).parent.parent
sys.path.insert(0, str(REPO / "docs"))
import make_results  # noqa: E402

PAGES = sorted((REPO / "docs/results").glob("*.md"))
NUMBER = re.compile(r"\d+\.\d+|\d+ ?%")


@pytest.fixture(scope="module")
def made():
    """-> {Path: text} of everything that the figures give."""
    return make_results.pages()


def test_making_the_pages_again_changes_nothing(made):
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, "run python docs/make_results.py"


def test_every_page_comes_from_a_text(made):
    assert set(PAGES) == {path for path in made if path.parent == REPO / "docs/results"}
    assert len(PAGES) == 2 * (len(make_results.EXPERIMENTS) + 1)
    assert not any("<<" in text or ">>" in text for text in made.values())


def test_a_figure_that_nobody_takes_from_the_json_is_an_error():
    with pytest.raises(KeyError, match="of nowhere"):
        make_results.fill("<<of nowhere>>", {"of here": "1"})


def test_another_figure_in_the_json_changes_the_page(monkeypatch):
    runs = make_results.read("story")
    for run in runs["en"]:
        run["summary"]["ppo"]["natural_train"] = 0.125
    monkeypatch.setattr(make_results, "read", {"story": runs}.get)
    assert make_results.story()["en ppo natural_train"] == "12.5% (12.5% – 12.5%)"


@pytest.mark.parametrize("name", make_results.EXPERIMENTS)
def test_a_page_says_what_was_asked_how_to_run_it_and_who_judged(name, made):
    folder = REPO / "docs/results"
    for ending, asked, again, simulated in (
        (".md", "Asked: ", "## Run it again", "simulated"),
        (".zh.md", "问题：", "## 重新运行", "模拟"),
    ):
        text = made[folder / (name + ending)]
        first = next(line for line in text.splitlines()[3:] if line)
        assert first.startswith(asked) and again in text
        assert simulated in text or name == "speed"  # nobody annotates there
        assert re.search(r"!\[.+\]\(\.\./\.\./\.github/pictures/", text) or name == "speed"


@pytest.mark.parametrize("name", [*make_results.EXPERIMENTS, "findings", "index"])
def test_both_languages_show_the_same_figures(name):
    """The same gaps, but where a page shows the runs of its own language first."""
    gaps = []
    for ending in (".md", ".zh.md"):
        text = (make_results.TEXTS / (name + ending)).read_text(encoding="utf-8")
        gaps.append({re.sub(r"\b(en|zh) ", "LANG ", gap) for gap in re.findall("<<(.+?)>>", text)})
    assert gaps[0] == gaps[1]


def test_one_word_for_one_thing_in_chinese():
    texts = [*PAGES, REPO / "README.zh.md", *(REPO / "docs").glob("*.zh.md")]
    for path in texts:
        if path.name.endswith(".zh.md"):
            text = path.read_text(encoding="utf-8")
            for other in ("真实自然度", "真实的比", "留出", "未参与训练", "未教过", "黄金", "得分"):
                assert other not in text, (path.name, other)


def test_in_the_ten_committed_runs_fewer_natural_answers_are_true_after_ppo():
    text = (REPO / "benchmarks/story.json").read_text(encoding="utf-8")
    lost = []
    for runs in json.loads(text).values():
        for run in runs:
            lost.append(run["summary"]["sft"]["truthful"] - run["summary"]["ppo"]["truthful"])
    assert len(lost) == 10 and min(lost) > 0
    assert sorted(lost)[0] < 0.001 < 0.01 < sorted(lost)[1]  # in one of them hardly


def test_the_log_of_the_demo_is_whole():
    for lang, first, last in (("en", "Rufus, seed 0.", "Talk to him: "),
                              ("zh", "Rufus，随机种子 0。", "和他聊聊：")):
        path = REPO / f"docs/results/demo_{lang}.txt"
        lines = path.read_text(encoding="utf-8").strip().splitlines()
        assert lines[0].startswith(first) and lines[-1].startswith(last)
        assert f"runs/demo-{lang}-0" in lines[0]
        assert sum(line.startswith("== ") for line in lines) == 8


def test_the_findings_of_the_readme_are_figures(made):
    """What the pages' texts leave to a person is words: numbers stand in gaps."""
    for ending in (".md", ".zh.md"):
        text = (make_results.TEXTS / f"findings{ending}").read_text(encoding="utf-8")
        rest = re.sub(r"<<.+?>>", "", text)
        assert set(NUMBER.findall(rest)) <= {"0.1", "0.2"}  # coefficients
        assert text.count("\n- ") + 1 == 5


# ---- the figures once more, taken from the JSON in another way ------------------------------


def page(name, lang):
    ending = ".md" if lang == "en" else ".zh.md"
    return (REPO / f"docs/results/{name}{ending}").read_text(encoding="utf-8")


def figures_of(name, lang):
    """benchmarks/NAME_LANG.json -> what it holds."""
    return json.loads((REPO / f"benchmarks/{name}_{lang}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("lang", make_results.LANGS)
def test_the_cells_of_the_ablations(lang):
    rows = {(row["regime"], row["name"]): row for row in figures_of("ablations", lang)["summary"]}
    assert len(rows) == 26
    for _, who in rows:
        usual, bold = rows["usual", who], rows["bold", who]
        cells = [f"{usual['score']:.2f} ± {usual['score_sd']:.2f}"]
        for row in (usual, bold):
            cells.append(f"{row['kl_exact']:.2f} ± {row['kl_exact_sd']:.2f}")
            cells.append(f"{100 * row['natural']:.0f} ± {100 * row['natural_sd']:.0f} %")
        line = next(line for line in page("ablations", lang).splitlines()
                    if line.endswith(" | ".join(cells) + " |"))
        assert lang == "zh" or line.startswith(f"| {who} |")


@pytest.mark.parametrize("lang", make_results.LANGS)
def test_the_cells_of_over_optimisation(lang):
    results, rows = figures_of("overoptimization", lang), {}
    for row in results["remedies"]:
        natural = f"{100 * row['natural']:.0f} ± {100 * row['natural_sd']:.0f} %"
        rows.setdefault(row["remedy"], []).append(natural)
    for cells in rows.values():
        assert " | ".join(cells) + " |\n" in page("overoptimization", lang)
    for method in ("PPO", "PPO, minimum", "best of n"):
        found = [f for f in results["fits"] if (f["method"], f["what"]) == (method, "naturalness")]
        cells = [f"{f['alpha']:.2f}, {f['beta']:.2f} ({f['r_squared']:.2f})" for f in found]
        assert " | ".join(cells).replace("-", "−") + " |\n" in page("overoptimization", lang)


@pytest.mark.parametrize("lang", make_results.LANGS)
def test_the_cells_of_the_labels(lang):
    both = [figures_of("signals", each) for each in make_results.LANGS]
    kinds = ("raw scores", "z-scores", "scores as ranks", "rankings")
    for crowd in both[0]["crowds"]:
        cells = [f"{100 * results['crowds'][crowd][kind][-1][0]:.0f}"
                 for results in both for kind in kinds]
        assert " | ".join(cells) + " |\n" in page("labels", lang)
    for results in both:
        for rows in results["ways"].values():
            cells = [f"{100 * row['natural_held_out'][0]:.0f} ± "
                     f"{100 * row['natural_held_out'][1]:.0f} %; {100 * row['true'][0]:.0f} %"
                     for row in rows]
            assert " | ".join(cells) + " |\n" in page("labels", lang)


@pytest.mark.parametrize("lang", make_results.LANGS)
def test_the_cells_of_the_frontier(lang):
    both = [figures_of("frontier", each) for each in make_results.LANGS]
    for rows in zip(*(results["summary"] for results in both), strict=True):
        cells = []
        for row in rows:
            for key in ("reward", "kl", "gap", "regret"):
                known = key in row
                cells.append(f"{row[key]:.3f} ± {row[key + '_sd']:.3f}" if known else "–")
        assert " | ".join(cells).replace("-", "−") + " |\n" in page("frontier", lang), rows


@pytest.mark.parametrize("lang", make_results.LANGS)
def test_the_cells_of_teaching(lang):
    for each in make_results.LANGS:
        runs = figures_of("teach_curves", each)["runs"]
        for key in ("natural_train", "natural_held_out", "true"):
            for number in (20, 60):
                values = np.array([point[key] for run in runs for point in run["points"]
                                   if (run["who"], run["gives"]) == ("a1", "both")
                                   and point["round"] == number])
                low, middle, high = np.percentile(values, [0, 50, 100])
                cell = f"| {middle:.1%} ({low:.1%} – {high:.1%}) |"
                assert len(values) == 5 and cell in page("teaching", lang)


@pytest.mark.parametrize("lang", make_results.LANGS)
def test_the_cells_of_the_story(lang):
    runs = make_results.read("story")
    for model in ("pretrained", "sft", "ppo"):
        for key in ("natural_train", "natural_held_out"):
            cells = []
            for each in make_results.LANGS:
                values = [run["summary"][model][key] for run in runs[each]]
                low, middle, high = np.percentile(values, [0, 50, 100])
                cells.append(f"{middle:.1%} ({low:.1%} – {high:.1%})")
            assert f"| {cells[0]} | {cells[1]} |\n" in page("story", lang)


def test_where_nobody_was_asked_there_is_a_dash():
    points = [{"round": 60, "true": share} for share in (0.1, 0.9, 0.4)]
    runs = [{"who": "a1", "gives": "both", "points": [point]} for point in points]
    values = make_results.taught(runs, "a1", "both", 60, "true")
    assert make_results.spread(values) == "40.0% (10.0% – 90.0%)"
    assert make_results.taught(runs, "a1", "rankings", 60, "true") == []
