# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# The first interpreter that is new enough; name another one with PYTHON=...
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3.14 python3; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Processes that share the tests; one file stays in one process, in the order of the files: the
# quick ones come last, so that no process waits long for the other. JOBS=0 for a debugger.
JOBS ?= auto

.PHONY: help demo demo-local test coverage attacks lint type api format unit_tests bench eval-local docs notebooks compare dist pythons lowest clean

help: ## show the commands
	@grep -E '^[a-z_-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "langchain-replm needs Python 3.11 or newer; none was found."; exit 1; }
	@echo "==> making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@touch $@

# One stamp for each dependency group, so that the demo does not wait for the test tools.
$(VENV)/.group-%: $(VENV)/.python pyproject.toml
	@echo "==> installing langchain-replm and its '$*' tools"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group $*
	@touch $@

demo: $(VENV)/.group-demo ## answer questions over a long real text; no key needed
	@$(BIN)/python examples/demo.py $(ARGS)

demo-local: $(VENV)/.group-demo $(VENV)/.group-local ## the same, with a small real model on this machine
	@$(BIN)/python examples/demo.py --local $(ARGS)

test: lint type ## check style and types, then run every test
	@echo "==> running the tests"
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

unit_tests: $(VENV)/.group-dev ## only the fast tests
	@$(BIN)/python -m pytest tests/unit_tests $(ARGS)

coverage: $(VENV)/.group-dev ## every test again, and which branches none of them takes
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m pytest -p tests.worker_coverage --cov --cov-report= --cov-fail-under=0 \
		--numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)
	@$(BIN)/python -m coverage combine --quiet --append
	@$(BIN)/python -m coverage report

attacks: $(VENV)/.group-dev ## every attack of the corpus in every sandbox, the heavy ones too
	@EVERY_ATTACK=1 $(BIN)/python -m pytest tests/security_tests/test_corpus.py $(ARGS)

lint: $(VENV)/.group-dev ## style and floors
	@echo "==> checking style and structure"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }

type: $(VENV)/.group-dev ## types, strictly, and whether all that is public has them
	@echo "==> checking types"
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python tools/type_completeness.py

api: $(VENV)/.group-dev ## write the snapshot of the public names anew; look at its diff
	@UPDATE_SNAPSHOTS=1 $(BIN)/python -m pytest -q tests/unit_tests/test_public_api.py

format: $(VENV)/.group-dev ## rewrite the code in the house style
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

docs: $(VENV)/.group-docs ## build the site into site/, strictly; ARGS=serve shows it while you write
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs $(or $(ARGS),build) --strict

notebooks: $(VENV)/.group-dev ## execute the notebooks of the cookbook and write their outputs; ARGS=name for one
	@$(BIN)/python -m tools.notebooks $(ARGS)

bench: $(VENV)/.group-dev ## measure, beside other RLMs too; rewrites the tables
	@$(BIN)/python -m benchmarks $(ARGS)

eval-local: $(VENV)/.group-dev $(VENV)/.group-local ## the evaluation with a small real model on this machine; takes a quarter of an hour
	@$(BIN)/python -m benchmarks.eval_local $(ARGS)

compare: $(VENV)/.group-dev ## probe other RLMs in .venv-peers/ and write the tables of the comparison
	@$(BIN)/python -m benchmarks.compare $(ARGS)

dist: $(VENV)/.group-release ## build both archives, twice, and check them
	@$(BIN)/python tools/release.py dist

pythons: $(VENV)/.group-release ## install the wheel on every supported Python that is here, and test it
	@$(BIN)/python tools/release.py pythons

lowest: $(VENV)/.group-release ## resolve every extra, and test with the oldest versions that are allowed
	@$(BIN)/python tools/release.py lowest

clean: ## remove what the commands above have made
	@rm -rf $(VENV) .venv-peers .venv-server dist site .coverage* .eval-local .mypy_cache .ruff_cache .pytest_cache .hypothesis
