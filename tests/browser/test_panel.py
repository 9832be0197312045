"""The panel for teaching Rufus in real JupyterLab and Notebook 7 pages: rank, undo, correct, train.

What a person does, by mouse and by keyboard, and what then stands on the page and in the file.
"""

import os
import re
from pathlib import Path

import pytest
from helpers import lab

pytest.importorskip("playwright", reason="pip install playwright, for the tests in a browser")
import nbformat  # noqa: E402  (comes with jupyter, as ipywidgets does)

from minirlhf.teach.records import read_session  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(lab.find_browser() is None, reason="no Chromium or Chrome is installed"),
]
REPO = Path(__file__).parents[2]
CELL = """\
from minirlhf.teach.session import open_session
from minirlhf.teach.learning import TeachSettings
from minirlhf.teach.panel import teach_panel
small = TeachSettings(iterations=3, rollout_size=16, ppo_epochs=2, minibatch_size=8,
                      reward_steps=10, sft_steps=4, repeat_every=0)
session = open_session("s.jsonl", lang="{lang}", annotator="Ann", settings=small)
while session.round is None or len(session.round.responses) < 4:
    session.ask()
teach_panel(session)
"""
ANSWERS = {"en": "I am a robot.", "zh": "我是一个机器人。"}
LEARN = {"en": "Rufus, learn!", "zh": "Rufus，学吧！"}
NEXT = {"en": "next question", "zh": "下一题"}


def write_notebook(folder, lang):
    cell = nbformat.v4.new_code_cell(CELL.format(lang=lang))
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=about), folder / "panel.ipynb")


def press(page, i, word):
    """Press a button of answer i: its place, tie, best or unnatural."""
    place = {"rank": 0, "tie": 1, "best": 2, "unnatural": 3}[word]
    page.locator(".rufus-row").nth(i).locator("button").nth(place).click()


def wait_for_text(page, css, pattern):
    """-> the text of an element, when it has become what is expected."""
    page.locator(css, has_text=re.compile(pattern)).first.wait_for()
    return page.locator(css).first.inner_text()


def labels(path):
    """Kinds of the labels on the disk."""
    return [row["kind"] for row in read_session(path) if row["kind"] not in ("session", "round")]


def take_picture(page, name):
    """For a maintainer's eyes, where MINIRLHF_PICTURES names a folder."""
    if os.environ.get("MINIRLHF_PICTURES"):
        page.wait_for_timeout(300)
        page.screenshot(path=Path(os.environ["MINIRLHF_PICTURES"]) / f"panel-{name}.png")


@pytest.mark.parametrize("kind, lang", [("lab", "en"), ("notebook", "zh")])
def test_a_person_teaches_rufus(tmp_path, kind, lang):
    write_notebook(tmp_path, lang)
    path = tmp_path / "s.jsonl"
    env = {"PYTHONPATH": str(REPO), "MINIRLHF_STATIC": "0"}
    with lab.server(tmp_path, kind, env) as (address, token), lab.browser_page(1200, 1400) as page:
        lab.open_and_run(page, address, token, "panel.ipynb", kind)
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        page.locator(".rufus-row").first.scroll_into_view_if_needed()
        assert page.locator(".rufus-row").count() == 4
        assert page.locator(".rufus img").count() == 0

        # rank four, one of them by a mistake that is taken back, two alike
        for i, word in ((2, "rank"), (3, "rank")):
            press(page, i, word)
        wait_for_text(page, ".rufus-status", "3 > 4")
        page.get_by_role("button", name={"en": "undo", "zh": "撤销"}[lang]).click()
        wait_for_text(page, ".rufus-status", r"[:：] ?3[.。]")
        for i, word in ((0, "rank"), (1, "tie"), (3, "rank")):
            press(page, i, word)
        wait_for_text(page, ".rufus-status", "3 > 1 = 2 > 4")
        assert labels(path) == ["rank"]
        assert read_session(path)[-1]["ranks"] == [2, 2, 1, 3]

        # a label is taken back and given again
        press(page, 3, "unnatural")
        wait_for_text(page, ".rufus-status", "unnatural: 4|不自然：4")
        page.get_by_role("button", name={"en": "undo", "zh": "撤销"}[lang]).click()
        page.locator(".rufus-row").nth(3).locator("button", has_text="✓").nth(1).wait_for(
            state="detached")
        press(page, 3, "unnatural")
        wait_for_text(page, ".rufus-status", "unnatural: 4|不自然：4")
        assert labels(path) == ["rank", "unnatural", "undo", "unnatural"]

        # a wrong correction is a plain sentence; then the right one, typed fast, with Enter
        field = page.locator(".rufus input").first
        field.click()
        page.keyboard.type("☃")
        page.keyboard.press("Enter")
        assert "☃" in wait_for_text(page, "[role=alert].rufus-wrong", "Rufus does not know")
        take_picture(page, f"{kind}-wrong")
        field.fill("")
        page.keyboard.type(ANSWERS[lang])
        page.keyboard.press("Enter")
        wait_for_text(page, ".rufus-status", re.escape(ANSWERS[lang]))
        page.wait_for_function("document.querySelector('.rufus input').value === ''")
        assert labels(path)[-1] == "correction"
        take_picture(page, f"{kind}-judged")

        # train; read the changed text and the plot
        page.get_by_role("button", name=LEARN[lang], exact=True).click()
        said = wait_for_text(page, ".rufus-status", "version 1|第 1 版")
        assert re.search(r"\d\.\d (s|秒)", said)
        table = page.locator(".rufus-table")
        assert table.count() == 2
        cells = table.first.locator("td").all_inner_texts()
        assert len(cells) == 9 and all(cells)
        assert re.search("changed|变了", " ".join(table.locator("td").all_inner_texts()))
        picture = page.locator(".rufus img")
        assert picture.evaluate("image => image.complete && image.naturalWidth") > 500
        assert re.search("3 of 4|4 句中 3 句", picture.get_attribute("alt"))
        first, first_table = picture.get_attribute("src"), table.first.inner_text()
        take_picture(page, f"{kind}-learned")

        # by keyboard alone: the focus is on `next question`; then Tab, Enter and Space
        assert focused(page) == NEXT[lang]
        page.keyboard.press("Enter")
        wait_for_text(page, ".rufus-question", "Round [23]|第 [23] 轮")
        page.locator(".rufus-row").first.locator("button").first.focus()
        k = page.locator(".rufus-row").count()
        page.keyboard.press("Space")
        wait_for_text(page, ".rufus-row button", "✓")
        for _ in range(1, k):
            for _ in range(4):
                page.keyboard.press("Tab")
            page.keyboard.press("Space")
        wait_for_text(page, ".rufus-status", "Kept: 1 > 2|已保存：1 > 2")
        for _ in range(30):
            if focused(page) == LEARN[lang]:
                break
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        wait_for_text(page, ".rufus-status", "version 2|第 2 版")
        assert page.locator(".rufus img").get_attribute("src") != first
        assert page.locator(".rufus-table").first.inner_text() != first_table
        assert labels(path)[-2:] == ["rank", "learn"]
        take_picture(page, f"{kind}-again")
        if kind == "lab" and os.environ.get("MINIRLHF_PICTURES"):
            dark_theme(page)
            take_picture(page, f"{kind}-dark")
            page.set_viewport_size({"width": 700, "height": 1400})
            take_picture(page, f"{kind}-narrow")


def focused(page):
    """The words on the element that has the focus."""
    return page.evaluate("document.activeElement.innerText || ''").strip()


def dark_theme(page):
    """Settings > Theme > JupyterLab Dark."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Settings$")).first.click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Theme$")).first.click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^JupyterLab Dark$")).first.click()
    page.wait_for_timeout(1500)
