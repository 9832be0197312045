"""One lesson in a real JupyterLab page: cells run, pictures appear, a slider redraws."""

import shutil
from pathlib import Path

import pytest
from helpers import lab

pytest.importorskip("playwright", reason="pip install playwright, for the tests in a browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(lab.find_browser() is None, reason="no Chromium or Chrome is installed"),
]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def test_lesson_04_runs_and_its_sliders_redraw(tmp_path):
    name = "04_from_rankings_to_numbers.ipynb"
    shutil.copy(NOTEBOOKS / name, tmp_path)
    with lab.server(tmp_path) as (address, token), lab.browser_page() as page:
        lab.open_and_run(page, address, token, name)
        kinds = "[data-mime-type='application/vnd.jupyter.error']"
        assert page.locator(f".jp-OutputArea-output{kinds}").count() == 0
        dropdown = page.locator(".widget-dropdown select")
        dropdown.scroll_into_view_if_needed()
        panel = page.locator(".jp-OutputArea-output", has=dropdown).last
        assert "A > B > C" in panel.inner_text()
        assert panel.locator("img").count() == 1
        dropdown.select_option(label="C > B > A")
        panel.get_by_text("in the order C > B > A").wait_for()
