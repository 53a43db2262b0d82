# make setup        install tutelage into .venv (reuses the PyTorch of the interpreter, if it has one)
# make demo         train and evaluate a chat model on the built-in world, from raw text
# make test         fast tests: up to 12 minutes on 2 cores, installation included
# make test-all     every test
# make lint         ruff and mypy
# make bench        compare with peers (an hour or two on 2 cores)
# make bench-quick  the same in up to 2 minutes per benchmark, noisier
# make clean        remove caches and builds (never .venv or runs/)

NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
# The first interpreter that is new enough; `make PYTHON=/path/to/python setup` chooses another.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" $(NEW_ENOUGH) 2>/dev/null && echo "$$p" && break; done)

VENV := .venv
BIN := $(VENV)/bin
# pip's warnings (-q leaves them, -qq does not) are about the machine's package sources; errors are still printed.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
# Muon, which we train with, came with PyTorch 2.9.
HAS_TORCH := -c 'import torch; torch.optim.Muon'

.PHONY: setup demo test test-all lint bench bench-quick clean
.DELETE_ON_ERROR:

setup: $(VENV)/core.stamp

$(VENV)/core.stamp: pyproject.toml constraints.txt
	@"$(PYTHON)" $(NEW_ENOUGH) 2>/dev/null || { \
		echo "Tutelage needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python setup"; exit 1; }
	@if [ ! -x $(BIN)/python ]; then \
		if "$(PYTHON)" $(HAS_TORCH) 2>/dev/null; then "$(PYTHON)" -m venv --system-site-packages $(VENV); \
		else "$(PYTHON)" -m venv $(VENV); fi; \
	fi
	@if $(BIN)/python $(HAS_TORCH) 2>/dev/null; then \
		echo "Using the PyTorch that is installed."; \
		grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt; \
	else \
		echo "Downloading PyTorch 2.13.0, about 200 MB (the CPU build; where your package index offers only a CUDA build,"; \
		echo "about 3 GB: to choose another, stop here, install torch into $(VENV) yourself and call make again)."; \
		cp constraints.txt $(VENV)/constraints.txt; \
		$(PIP) -c constraints.txt torch==2.13.0; \
	fi
	@echo "Installing tutelage and what it needs (up to 30 MB to download)."
	@$(PIP) -c $(VENV)/constraints.txt -e .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	@echo "Installing what the tests need (up to 150 MB to download)."
	@$(PIP) -c $(VENV)/constraints.txt -e '.[dev]'
	@touch $@

$(VENV)/peers.stamp: $(VENV)/core.stamp
	@echo "Installing what the benchmarks compare with (up to 100 MB to download)."
	@$(PIP) -c $(VENV)/constraints.txt -e '.[peers,corpus]'
	@touch $@

demo: $(VENV)/core.stamp
	@$(BIN)/tutelage demo

test: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest

test-all: $(VENV)/dev.stamp
	@$(BIN)/python -m pytest -m ""

lint: $(VENV)/dev.stamp
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# common.py is no benchmark.
BENCHMARKS = $(filter-out benchmarks/common.py,$(wildcard benchmarks/*.py))

bench: $(VENV)/peers.stamp
	@for script in $(BENCHMARKS); do echo "$$script"; $(BIN)/python "$$script" $(BENCH_OPTIONS) || exit 1; done

bench-quick: BENCH_OPTIONS = --quick
bench-quick: bench

clean:
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
