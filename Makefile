# `make run` trains and compacts a network, `make check` is for every change (lint, types and the fast tests: under two
# minutes on two cores, warm), `make test` is everything. All build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The folder with real data: tests that need it are skipped, with a reason, if it does not exist.
DATA ?= ../shared/data
OUT ?= runs/digits

PYTEST := GROWL_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

.PHONY: run check test lint types fast tests mutations docs clean
run: $(VENV)/.installed
	$(BIN)/growl run digits --out $(OUT) --resume

check: $(VENV)/.installed lint types fast

test: $(VENV)/.installed lint types tests

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed
	$(BIN)/mypy

# The slowest tests are shown, so that a slow one gets its marker.
fast: $(VENV)/.installed
	$(PYTEST) -q -m "not slow" --durations=5 --durations-min=1

tests: $(VENV)/.installed
	$(PYTEST)

# All mutations of tests/house, of which `make test` tries every fourth one.
mutations: $(VENV)/.installed
	GROWL_MUTATIONS=all $(PYTEST) tests/house/test_mutations.py

# The site is built from nothing but this checkout; a warning or a broken link is an error.
docs: $(VENV)/.installed
	PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site
	$(BIN)/python -m docs_build.links site

# Torch goes first: what follows must find the pinned CPU build, never look for a newer one.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis
