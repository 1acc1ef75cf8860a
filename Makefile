# On a machine with Python 3.11 or newer:
#   make train [CONFIG=configs/cifar10.py] [ARGS='--config.seed=1']
#   make test        the tests that a change needs, a few minutes
#   make test-all    those and the slow ones
#   make lint        format, style and types
#   make docs        writes the documents that are made from the code
#   make site        writes the documents as web pages to site/, and checks their links
# EXTRA=cuda12, cuda13 or tpu installs JAX for an accelerator.
PYTHON ?= python3
CONFIG ?= configs/digits.py
EXTRA ?=
ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: train test test-all lint docs site clean

train: .venv/installed$(EXTRA)
	$(BIN)/python -m mecl_jax.main --config=$(CONFIG) $(ARGS)

test: .venv/tested-with
	$(BIN)/python -m pytest

test-all: test
	$(BIN)/python -m pytest -m slow

lint: .venv/tested-with
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/tested-with
	$(BIN)/python -m mecl_jax.config.document > docs/configuration.md
	$(BIN)/python -m experiments.results
	$(BIN)/python -m benchmarks.table

site: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict
	.venv-docs/bin/python docs/site/check.py site

# An environment of its own: it needs neither JAX nor the versions of the tests.
.venv-docs/installed: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# requirements.txt has the tested versions, pyproject.toml the oldest ones that are supported.
.venv/installed$(EXTRA): pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv .venv
	$(PIP) --constraint requirements.txt --editable '.$(if $(EXTRA),[$(EXTRA)])'
	touch $@

.venv/tested-with: .venv/installed$(EXTRA) requirements-test.txt
	$(PIP) --constraint requirements.txt --constraint requirements-test.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-docs site
