# Everything a newcomer needs; each target makes the environment it needs and reuses it afterwards.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet
# Threads that wait by spinning stand in the way of whatever else the machine does.
export OMP_WAIT_POLICY ?= passive

.PHONY: help demo test sweep long lint sanitize bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

KERNELS := CMakeLists.txt $(wildcard csrc/*.* csrc/*/*.* csrc/*/cpu/*.*)

$(STAMP): pyproject.toml $(KERNELS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making the environment $(VENV), once; this takes several minutes."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "1 of 2: PyTorch, a download of several gigabytes ..."
	@$(PIP) "torch>=2.10" "torchvision>=0.25"  # first: the kernels are built with its headers
	@echo "2 of 2: this package, its kernels and what the tests need ..."
	@$(PIP) --editable ".[dev]"
	@touch $(STAMP)

demo: $(STAMP)  ## train a plain CNN and decoupled ones side by side (about three minutes on two cores)
	$(BIN)/decoupled compare --no-batch-norm --no-relu --operators conv,tanh-cos,ball-cos --train-size 3000 --epochs 2 --seeds 5 --out runs/demo

test: $(STAMP)  ## run the tests, an example of every kind
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not sweep and not long"

sweep: $(STAMP)  ## run the tests with the full sweeps
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not long"

long: $(STAMP)  ## run the longest tests: more networks under long attacks
	$(BIN)/python -m pytest -n auto --dist worksteal -m long

lint: $(STAMP)  ## formatting, rules, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

sanitize: $(STAMP)  ## run the C++ kernels under the address and undefined-behaviour sanitizers (about a minute)
	$(BIN)/python scripts/sanitize.py

bench: $(STAMP)  ## measure decoupled convolution against plain (about ten minutes on two idle cores)
	$(BIN)/decoupled bench conv --grid all --operators tanh-cos --paths layer,composed,released --rounds 5 --out runs/bench

clean:  ## remove the environment (results in runs/ stay)
	rm -rf $(VENV)
