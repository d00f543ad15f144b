# Two commands do everything: `make run` and `make test`. Both build .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where the real data lives, if it is there: tests that need it are skipped, with a reason, where it is not.
DATA ?= ../shared/data
OUT ?= runs/digits

.PHONY: run test lint types tests clean
run: $(VENV)/.installed
	$(BIN)/growl run digits --out $(OUT) --resume

test: $(VENV)/.installed lint types tests

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed
	$(BIN)/mypy

tests: $(VENV)/.installed
	GROWL_DATA=$(DATA) OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

# Torch goes first: what follows must find the pinned CPU build, never look for a newer one.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
