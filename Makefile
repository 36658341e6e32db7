# Everything happens in .venv, made here on first use. `make` lists the targets.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help install demo test coverage test-clients lint format bench fuzz accuracy clean

REQUIREMENTS := tests/clients/requirements
CLIENTS := $(patsubst $(REQUIREMENTS)/%.txt,.venv/clients/%.done,$(wildcard $(REQUIREMENTS)/*.txt))
NODE_CLIENTS := tests/clients/node
NODE_TESTS := tests/clients/test_node_clients.py
# One process a core, each with servers of its own (300 MB); a file's tests stay together, with the servers that they share.
# In the order of the files: the slowest, those of the clients, come first, so that no process is left alone with one at the end.
CORES := $(shell $(PYTHON) -c 'import os; print(os.cpu_count() or 1)')
SIDE_BY_SIDE := --numprocesses $(or $(WORKERS),$(shell expr $(CORES) + 1)) --maxprocesses 5 --dist loadfile --no-loadscope-reorder

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name one with PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: 3.11 or newer is needed; name one with PYTHON=..."; exit 1; }
	@echo "making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

.venv/demo.done: $(BIN)/python pyproject.toml
	@echo "installing headwater with its demo: about 500 MB in .venv, and 250 MB for the model in your cache folder"
	@$(PIP) --editable '.[demo]'
	@touch $@

.venv/test.done: $(BIN)/python pyproject.toml
	@echo "installing headwater with its test extras: about 800 MB in .venv, and 250 MB for the model in your cache folder"
	@$(PIP) --editable '.[lint]'
	@$(BIN)/headwater vocab install
	@touch .venv/demo.done $@

# Each set of clients in a folder of its own: their versions rule each other out, and none may touch those of the tests.
.venv/clients/%.done: $(REQUIREMENTS)/%.txt | $(BIN)/python
	@echo "installing the clients of $< into .venv/clients/$*"
	@rm -rf .venv/clients/$*
	@$(PIP) --no-compile --target .venv/clients/$* --requirement $<
	@touch $@

.venv/clients.done: $(CLIENTS)
	@du -sm .venv/clients | awk '{print "the clients that the tests run take " $$1 " MB"}'
	@touch $@

$(NODE_CLIENTS)/node_modules/.done: $(NODE_CLIENTS)/package.json $(NODE_CLIENTS)/package-lock.json
	@command -v npm >/dev/null || { echo "Node 20 or newer with npm is needed for make test-clients: https://nodejs.org"; exit 1; }
	@echo "installing the clients for Node: 130 MB in $(NODE_CLIENTS)/node_modules"
	@cd $(NODE_CLIENTS) && npm ci --loglevel=error
	@touch $@

install: .venv/demo.done ## make .venv and install headwater with the demo into it

demo: .venv/demo.done ## a real model, a real ledger, two users; ONCE=1 ends after the statement, PORT=N
	@exec $(BIN)/headwater demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

test: .venv/test.done .venv/clients.done ## run the tests, in WORKERS=N processes, else one more than there are cores, at most five
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) --ignore $(NODE_TESTS)

coverage: .venv/test.done .venv/clients.done ## the tests with branch coverage: takes about twice as long
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) --ignore $(NODE_TESTS) --cov --cov-report=term --cov-fail-under=97

test-clients: .venv/test.done $(NODE_CLIENTS)/node_modules/.done ## the clients for Node against real servers; needs node and npm
	@$(BIN)/python -m pytest $(NODE_TESTS)

lint: .venv/test.done ## ruff and strict types over package, tests, bench and examples
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: .venv/test.done ## let ruff rewrite the files
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/test.done ## the overhead of the middleware against the bare app
	@$(PIP) --editable '.[bench]'
	@$(BIN)/python bench/overhead.py

fuzz: .venv/test.done ## coverage-guided fuzzing of all parsers: FUZZ_SECONDS=60
	@$(PIP) --editable '.[fuzz]'
	@$(BIN)/python -m tests.fuzz.run_atheris -max_total_time=$(or $(FUZZ_SECONDS),60) -max_len=4096

accuracy: .venv/test.done ## our estimates and others' against measured rows: ROWS=FILE.csv
	@$(BIN)/python bench/accuracy.py --rows $(or $(ROWS),../shared/data/mlenergy_dev.csv) --peers

clean: ## remove .venv and caches (the ledger and the model file live in your user folders)
	rm -rf .venv $(NODE_CLIENTS)/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
