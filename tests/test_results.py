"""The pages of docs/results are what the committed figures give, in both languages."""

import json
import re
import sys
from pathlib import Path

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
