# Two commands on a fresh machine with Python 3.11 or newer:
#   make train [CONFIG=configs/cifar10.py] [ARGS='--config.seed=1']
#   make test
# EXTRA=cuda12, cuda13 or tpu installs JAX for an accelerator.
PYTHON ?= python3
CONFIG ?= configs/digits.py
EXTRA ?=
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: train test lint clean

train: .venv/installed$(EXTRA)
	$(BIN)/python -m mecl_jax.main --config=$(CONFIG) $(ARGS)

test: .venv/tested-with
	$(BIN)/python -m pytest

lint: .venv/tested-with
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# requirements.txt pins what was tested; pyproject.toml says what is needed at least.
.venv/installed$(EXTRA): pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(PIP) --constraint requirements.txt --editable '.$(if $(EXTRA),[$(EXTRA)])'
	touch $@

.venv/tested-with: .venv/installed$(EXTRA) requirements-test.txt
	$(PIP) --constraint requirements.txt --constraint requirements-test.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv
