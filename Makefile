# ranklsim: `make demo` and `make test` set up all they need below this folder (Python >= 3.11 and git must be there).
# Every path is relative, so a checkout below a folder with spaces in its name works too.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help

# The Python that makes the environment: PYTHON=... or the first of these that is new enough.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
endif

VENV := .venv
BIN := $(VENV)/bin
# The stamp's name holds the place of the checkout: a checkout that was moved or copied is set up anew.
STAMP := $(VENV)/.set-up-$(shell pwd | cksum | cut -d' ' -f1)

# What `make demo` runs, and where to: both can be given, as in `make demo TRIAL=freedom`.
TRIAL ?= modality
OUT ?= runs/$(TRIAL)

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1 /p' Makefile | while read -r target text; do printf '  make %-8s %s\n' "$$target" "$$text"; done

.PHONY: setup
setup: $(STAMP)  ## create the virtual environment .venv from requirements/lock.txt, if missing or out of date

$(STAMP): requirements/lock.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 on the PATH; install one, or give it: make PYTHON=/path/to/python" >&2; exit 1; }
	@if ! $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		"$(PYTHON)" -m venv --clear $(VENV); fi
	@rm -f $(VENV)/.set-up-*
	@echo "Setting up $(VENV) from requirements/lock.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements/lock.txt
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib pkpd cohorts reports || true # on all processors, which pip does on one
	@touch $@

.PHONY: demo
demo: $(STAMP)  ## run the four-arm trial `modality` and print the path of its report
	@scripts/demo "$(BIN)" "$(TRIAL)" "$(OUT)"

# On every core, up to four; the tests of a file that share something stay together (tests/conftest.py).
PYTEST := python -m pytest -n auto --maxprocesses=4 --dist loadgroup --no-loadscope-reorder
# The workers share the cores, so that threads of linear algebra within one only stand in each other's way.
test quick lowest: export OMP_NUM_THREADS = 1

.PHONY: test
test: $(STAMP)  ## run the tests
	@$(BIN)/$(PYTEST) $(PYTEST_ARGS)

.PHONY: quick
quick: $(STAMP)  ## run the tests that are not marked slow, of every folder: under 90 seconds on two cores
	@$(BIN)/$(PYTEST) -m "not slow" $(PYTEST_ARGS)

# SECONDS=600 VERBS="run fit" for a longer look at some verbs, SEED=7 for one search again; what goes wrong is kept in tests/fuzz/cases.
.PHONY: fuzz
fuzz: $(STAMP)  ## run every verb on changed input for a minute; each fault becomes a case of the tests
	@$(BIN)/python tests/fuzz/fuzz.py $(if $(filter command line,$(origin SECONDS)),$(SECONDS),60) $(VERBS) $(if $(SEED),--seed $(SEED))

# PATIENTS=500 for a quick look.
.PHONY: bench
bench: $(STAMP)  ## measure the engine's speed; prints tables and writes build/bench.json
	@$(BIN)/python scripts/bench.py $(if $(PATIENTS),--patients $(PATIENTS))

.PHONY: lint
lint: $(STAMP)  ## check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: format
format: $(STAMP)  ## correct style and format where a tool can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: types
types: $(STAMP)  ## check types
	@$(BIN)/mypy -p ranklsim

.PHONY: wheel
wheel: $(STAMP)  ## build the wheel into dist/
	@rm -rf dist build/lib build/bdist.* && mkdir -p build
	@$(BIN)/python -m build --no-isolation --wheel --outdir dist . >build/wheel.log 2>&1 || { cat build/wheel.log; exit 1; }
	@ls dist/*.whl

.PHONY: sbom
sbom: $(STAMP)  ## write the software bill of materials of a release into dist/ (CycloneDX)
	@$(BIN)/python scripts/sbom.py

.PHONY: docs
docs: $(STAMP)  ## build the documentation as a site into build/docs
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder html docs build/docs
	@echo build/docs/index.html

.PHONY: gallery
gallery: $(STAMP)  ## make the pictures of README and docs again, by the commands that these show (minutes)
	@$(BIN)/python scripts/gallery.py

.PHONY: readme
readme: $(STAMP)  ## update the README's tables of figures
	@$(BIN)/python scripts/readme.py
	@$(BIN)/python scripts/design.py

.PHONY: refit
refit: $(STAMP)  ## repeat all shipped fits (hours; continues where it stopped)
	@$(BIN)/python scripts/refit.py $(STEPS)
	@$(BIN)/python scripts/calibration.py

.PHONY: lock
lock:  ## update requirements/lock.txt with the newest versions that pyproject.toml allows
	@rm -rf build/lock && "$(PYTHON)" -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check "setuptools>=77,<85" ".[dev]"
	@{ sed '/^[^#]/,$$d' requirements/lock.txt; \
		build/lock/bin/python -m pip freeze --all --exclude ranklsim --exclude pip; } >build/lock.txt
	@mv build/lock.txt requirements/lock.txt && rm -rf build/lock

.PHONY: lowest
lowest:  ## run the tests with the lowest versions that pyproject.toml allows
	@rm -rf build/lowest && "$(PYTHON)" -m venv build/lowest
	@build/lowest/bin/python -m pip install --quiet --disable-pip-version-check "setuptools>=77,<85" -r requirements/lowest.txt
	@PYTHONWARNINGS=ignore build/lowest/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@build/lowest/bin/$(PYTEST) $(PYTEST_ARGS)

.PHONY: clean
clean:  ## remove the environment and everything that was built, except runs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
