"""A JupyterLab (or Notebook 7) server of our own and a headless browser to look at it.

Needs playwright (pip install playwright; no browser download) and an installed Chromium or Chrome.
Everything stays on this machine: the server listens on 127.0.0.1, and home, Jupyter settings and
the browser's profile are folders that are thrown away.
"""

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]
START_SECONDS = 1200
RUNS = 20  # on a busy machine the first ones may come before the kernel listens


def find_browser():
    """-> path of an installed browser, or None."""
    found = [shutil.which(name) for name in BROWSERS]
    return next((path for path in found if path), None)


@contextlib.contextmanager
def server(folder, kind="lab", env=None):
    """Serve the notebooks of a folder -> base address with its token.  kind: lab or notebook."""
    token = secrets.token_hex(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        own = {"HOME": home, "OPENBLAS_NUM_THREADS": "1"}
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
            own[f"JUPYTER_{name}"] = str(Path(home) / name.lower())
        words = [
            sys.executable, "-m", "jupyter", kind, "--no-browser", "--allow-root",
            "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
            f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
            "--LabApp.news_url=None",
        ]
        if kind != "lab":
            words.pop()
        log_path = Path(home) / "server.log"
        with open(log_path, "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                words, stdout=log, stderr=log, env={**os.environ, **own, **(env or {})}
            )
        try:
            wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", process, log_path)
            yield f"http://127.0.0.1:{port}", token
        finally:
            process.terminate()
            try:
                process.wait(200)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(address, process, log_path):
    """Return when the server answers; raise with its log if it does not."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError("the server did not start:\n" + log_path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def browser_page(width=1300, height=1000):
    """-> a playwright Page in a fresh profile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=FLAGS)
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.set_default_timeout(600_000)
        try:
            yield page
        finally:
            browser.close()


def open_and_run(page, address, token, name, kind="lab", seconds=2400):
    """Open a notebook, run all its cells, wait until the kernel is idle again."""
    tree = "lab/tree" if kind == "lab" else "notebooks"
    page.goto(f"{address}/{tree}/{name}?token={token}")
    page.locator(".jp-Notebook").first.wait_for()
    wait_until_idle(page, kind, 1200)
    for word in ("Decline", "No", "Dismiss"):  # a question about news
        button = page.get_by_role("button", name=word, exact=True)
        if button.count():
            button.first.click()
    for _ in range(RUNS):
        page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).first.click()
        page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).first.click()
        page.wait_for_timeout(1500)
        wait_until_idle(page, kind, seconds)
        if any(map(str.isdigit, "".join(page.locator(".jp-InputPrompt").all_inner_texts()))):
            return
    raise TimeoutError(f"no cell has run after {RUNS} tries")


def wait_until_idle(page, kind, seconds):
    """Until no cell waits ([*]) and the kernel says idle; the first `idle` may come too early."""
    end, quiet = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        prompts = page.locator(".jp-InputPrompt").all_inner_texts()
        busy = any("*" in text for text in prompts)
        status = page.locator(".jp-Notebook-ExecutionIndicator").first.get_attribute("data-status")
        quiet = quiet + 1 if not busy and status == "idle" else 0
        if quiet >= 4:
            return
        page.wait_for_timeout(400)
    raise TimeoutError(f"the notebook was still busy after {seconds} s")
