# Everything a developer types. A bare `make` lists the targets.
#
# Needs Python >= 3.11, make and (where a wheel is missing) a C compiler. Everything is installed
# into .venv from requirements/*.lock: exact versions, with hashes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for each in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$each >/dev/null && $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	&& echo $$each && break; done)
VENV := .venv
BIN := $(VENV)/bin
#: checkov pins half of the world: it gets an environment of its own.
INFRA_VENV := .venv-infra
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -q
#: Tests of a file, or a class, share what they start, and stay together. Peers have one machine.
SIDE_BY_SIDE := --numprocesses auto --maxprocesses 4 --dist loadscope
#: Where the counts of the runs are kept for .ci/run.
REPORTS := .cache/reports
SEEDS ?= 25
SOAK_S ?= 600
LOCK_TOOLS := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock'
LOCK := $(LOCK_TOOLS) pyproject.toml

.PHONY: help setup demo test test-peers test-infra check lambdas acceptance bench crash soak lock \
	clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(VENV)/.dev-ready  ## install everything for development into .venv

demo: $(VENV)/.demo-ready  ## migrate made-up studies on this machine, killed in the middle
	@$(BIN)/python -m cloudmig demo

test: setup  ## run the tests that need nothing but Python
	@$(PYTEST) $(SIDE_BY_SIDE) --junitxml=$(REPORTS)/test.xml tests

test-peers: setup  ## install or find real PACS and stores, then run the tests against them
	@tests/peers/install.sh
	@CI=true REQUIRE_PEERS=1 $(PYTEST) --timeout 900 --junitxml=$(REPORTS)/test-peers.xml \
		-k 'peers or postgresql' tests/peers tests/integration tests/property

test-infra: lambdas $(INFRA_VENV)/.ready  ## apply infra/ to a moto server and look what is there
	@CLOUDMIG_INFRA_BIN=$(INFRA_VENV)/bin $(PYTEST) --timeout 900 \
		--junitxml=$(REPORTS)/test-infra.xml tests/infra

check: setup  ## lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

lambdas: setup  ## build one reproducible zip per function into .cache/lambdas
	@$(BIN)/python lambdas/build.py

acceptance: setup lambdas $(INFRA_VENV)/.ready  ## run every line of "Done when": hours
	@tests/peers/install.sh
	@CI=true REQUIRE_PEERS=1 CLOUDMIG_ACCEPTANCE=1 CLOUDMIG_CRASH_SEEDS=$(SEEDS) \
		CLOUDMIG_INFRA_BIN=$(INFRA_VENV)/bin \
		$(PYTEST) --timeout 7200 --junitxml=$(REPORTS)/acceptance.xml tests tests/peers tests/infra
	@$(MAKE) --no-print-directory --keep-going demo bench soak

bench: setup  ## measure side by side with the usual ways, write docs/benchmarks.md
	@$(BIN)/python -m bench.run
	@$(BIN)/python -m bench.reconcile --keep

crash: setup  ## kill -9 at SEEDS=25 points, restart until done, reconcile
	@CLOUDMIG_CRASH_SEEDS=$(SEEDS) $(PYTEST) --timeout 7200 tests/crash

soak: setup  ## run for SOAK_S=600 seconds and watch memory and descriptors
	@$(BIN)/python -m bench.soak --seconds $(SOAK_S)

lock: setup  ## compile requirements/*.lock anew from pyproject.toml
	@$(LOCK) --extra agent --extra demo --extra parquet --extra postgresql --group dev \
		-o requirements/dev.lock
	@$(LOCK) --extra demo -c requirements/dev.lock -o requirements/demo.lock
	@$(LOCK) --extra agent --extra postgresql -c requirements/dev.lock -o requirements/agent.lock
	@$(LOCK) --extra cloud -c requirements/dev.lock -o requirements/cloud.lock
	@$(LOCK_TOOLS) --group infra -o requirements/infra.lock
	@$(LOCK_TOOLS) --no-deps --group emulator -o requirements/emulator.lock

clean:  ## remove what the targets made, the catalogs of `cloudmig init` excepted
	@rm -rf $(VENV) $(INFRA_VENV) .cache .demo .hypothesis .import_linter_cache .mypy_cache \
		.pytest_cache .ruff_cache bench/work
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "cloudmig needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "no venv in $(PYTHON): on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

$(VENV)/.demo-ready: requirements/demo.lock | $(BIN)/python
	@echo "installing what the demo needs into $(VENV)"
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/.dev-ready: requirements/dev.lock pyproject.toml | $(BIN)/python
	@echo "installing what development needs into $(VENV)"
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $(VENV)/.demo-ready $@

$(INFRA_VENV)/.ready: requirements/infra.lock | $(BIN)/python
	@echo "installing checkov and cfn-lint into $(INFRA_VENV)"
	@test -d $(INFRA_VENV) || $(PYTHON) -m venv $(INFRA_VENV)
	@$(INFRA_VENV)/bin/python -m pip --quiet --disable-pip-version-check \
		install --require-hashes -r $<
	@touch $@
