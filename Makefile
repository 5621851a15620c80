# Everything runs in .venv, which is made on first use. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3.11)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TORCH ?= torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check

STYLE ?= cafe-terrace
DEMO_OPTIONS ?=
STDVID_RUNS ?= $(HOME)/.local/state/stdvid
JEMALLOC = $(shell ldconfig -p 2>/dev/null | sed -n 's/.*=> \(.*libjemalloc\.so\.2\)$$/\1/p' | head -n 1)
JEMALLOC_ENV = LD_PRELOAD=$(JEMALLOC) MALLOC_CONF=narenas:2,dirty_decay_ms:3000,muzzy_decay_ms:3000,background_thread:true
SCRIPTS = docs $(if $(wildcard benchmarks/*.py),benchmarks)

.PHONY: help setup demo check format test test-all bench train-teacher train-nano docs clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup: $(READY) ## make .venv and install everything into it

# torch first and by itself: where an index offers a build without CUDA, that one is taken and then kept.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY) ## stylize the bundled clip: demo/demo.mp4 and a contact sheet demo/demo.png
	@mkdir -p demo
	$(BIN)/stdvid stylize presets/demo/bunny.mp4 --style $(STYLE) -o demo/demo.mp4 -y $(DEMO_OPTIONS)
	$(BIN)/python docs/contact_sheet.py presets/demo/bunny.mp4 demo/demo.mp4 demo/demo.png
	@echo "look at demo/demo.mp4 and demo/demo.png"

check: $(READY) ## format, lint, types, layers, CLI reference: all without running tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy stdvid cli $(SCRIPTS)
	$(BIN)/lint-imports
	$(BIN)/python docs/generate_cli_reference.py --check

format: $(READY) ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# One process a core; each of one thread (tests/conftest.py). One that dies ends the run, which names its test.
PYTEST = $(BIN)/pytest -q --numprocesses auto --maxprocesses 8 --dist loadfile --max-worker-restart 0

test: $(READY) ## the fast tests
	$(PYTEST) -m 'not slow and not gpu and not bench'

test-all: $(READY) ## every test that needs no accelerator
	$(PYTEST) -m 'not gpu'

bench: $(READY) ## run every benchmarks/bench_*.py and the tests that measure time
	for script in $(sort $(wildcard benchmarks/bench_*.py)); do $(BIN)/python "$$script"; done
	$(BIN)/pytest -q -m bench || test $$? -eq 5

# Threads that wait for one another asleep, not spinning: whatever else runs then costs its own time and no more.
TRAIN = nice -n 19 env OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE $(if $(JEMALLOC),$(JEMALLOC_ENV)) $(BIN)/stdvid distill
PICTURES = $(if $(STYLES),--styles $(STYLES)) $(if $(PHOTOS),--photos $(PHOTOS))

train-teacher: $(READY) ## train the embedded teacher on: make train-teacher STYLES=DIR PHOTOS=DIR
	$(TRAIN) teacher --start nano-teacher --out $(STDVID_RUNS)/nano-teacher $(PICTURES)

train-nano: $(READY) ## train the embedded student on: make train-nano STYLES=DIR PHOTOS=DIR
	$(TRAIN) student --config nano-continue --teacher nano-teacher --start nano --out $(STDVID_RUNS)/nano $(PICTURES)

docs: $(READY) ## write docs/cli.md anew
	$(BIN)/python docs/generate_cli_reference.py

clean: ## remove what was built, not .venv
	rm -rf build dist demo *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find stdvid cli presets tests docs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
