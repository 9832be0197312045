# Everything is installed into .venv, once; nothing outside this folder is touched.
# Another Python: make test PYTHON=python3.12        More arguments: make demo ARGS="--seed 1"
PYTHON ?= python3
ARGS ?=
WORKERS ?= 2
VENV_PYTHON := .venv/bin/python
INSTALLED := .venv/.installed
# An open() without encoding= fails here before it fails on someone's Windows.
PYTEST := $(VENV_PYTHON) -X warn_default_encoding -m pytest \
  $(if $(WORKERS),-n $(WORKERS) --dist loadfile)

help:
	@echo "make demo       the three steps of RLHF on Rufus (ARGS=\"--seed 1\" passes through)"
	@echo "make demo-zh    the same in Chinese"
	@echo "make teach      teach Rufus yourself (ARGS=\"--annotator Ann\")"
	@echo "make notebooks  the course, in JupyterLab"
	@echo "make test       the quick tests, two files at a time (WORKERS= : one, in this process)"
	@echo "make test-slow  the rest: whole lessons, kill -9, mutations, a wheel in an empty folder"
	@echo "make test-all   both"
	@echo "make results    write docs/results/ again from benchmarks/*.json"
	@echo "make docs       write docs/command_line.md again from the parser"
	@echo "make wheel      a wheel and an sdist, into dist/"
	@echo "make install    only .venv"
	@echo "make clean      remove .venv, dist/ and caches; your runs/ stay"

install: $(INSTALLED)

demo: $(INSTALLED)
	$(VENV_PYTHON) -m minirlhf demo $(ARGS)

demo-zh: $(INSTALLED)
	$(VENV_PYTHON) -m minirlhf demo --lang zh $(ARGS)

teach: $(INSTALLED)
	$(VENV_PYTHON) -m minirlhf teach $(ARGS)

notebooks: $(INSTALLED)
	$(VENV_PYTHON) -m jupyter lab --notebook-dir notebooks $(ARGS)

test: $(INSTALLED)
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: $(INSTALLED)
	$(PYTEST) -m slow $(ARGS)

test-all: test test-slow

results: $(INSTALLED)
	$(VENV_PYTHON) docs/make_results.py $(ARGS)

docs: $(INSTALLED)
	$(VENV_PYTHON) docs/command_line.py $(ARGS)

wheel: $(INSTALLED)
	$(VENV_PYTHON) -m hatchling build

clean:
	rm -rf .venv .pytest_cache .ruff_cache dist
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

# A venv whose Python was upgraded away is made anew.
BROKEN := $(shell test -x $(VENV_PYTHON) || echo force)

$(INSTALLED): requirements.txt pyproject.toml $(BROKEN)
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "'$(PYTHON)' not found: install Python 3.10 or newer, or name yours: PYTHON=..." >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; v < (3, 10) and sys.exit( \
	  "minirlhf needs Python 3.10 or newer, this is %d.%d: name a newer one, as in" \
	  " PYTHON=python3.12" % v[:2])'
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' has no venv module: on Debian or Ubuntu, sudo apt install python3-venv" >&2; \
	  exit 1; }
	@echo "Installing into .venv: once, 1-2 minutes, about 460 MB"
	"$(PYTHON)" -m venv $(if $(BROKEN),--clear) .venv
	$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.PHONY: help install demo demo-zh teach notebooks test test-slow test-all results docs wheel clean force
