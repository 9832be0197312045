"""Settings that must be made before NumPy or matplotlib is imported.  Your own settings win."""

import os

# With other programs on the machine, two BLAS threads are up to ten times slower than one
# for matrices this small.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")  # draws to memory, needs no window

import importlib.util
from pathlib import Path

import pytest

pytest.register_assert_rewrite("helpers")  # an assert there explains itself as one here does

LESSON_SECONDS = {}  # filled by test_notebooks.py, printed at the end of the run


@pytest.fixture
def lesson_seconds():
    """{lesson: seconds it took}, kept for the summary."""
    return LESSON_SECONDS


@pytest.fixture(scope="session")
def build():
    """notebooks/build.py as a module."""
    path = Path(__file__).parent.parent / "notebooks" / "build.py"
    spec = importlib.util.spec_from_file_location("build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_terminal_summary(terminalreporter):
    """How long each lesson took."""
    if LESSON_SECONDS:
        terminalreporter.section("lessons")
        for name, seconds in LESSON_SECONDS.items():
            terminalreporter.write_line(f"{seconds:6.1f} s  {name}")
