# `make` lists the targets. All of them work from a bare checkout: what a target needs, it makes first, in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=
WORKERS ?= 4
INSTALL_VENV = { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing python3-venv" && \
	apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends python3-venv >/dev/null; } || \
	{ echo "$(PYTHON) cannot make virtual environments: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help venv demo test simulate faults lint types check mutate bench clean
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' Makefile | expand -t 8

venv: .venv/.dev  ## a virtual environment with everything for development

demo: .venv/.demo  ## see it work: a Dagster with HPC jobs, on this machine
	@$(BIN)/python -m definitions.demo

# Most tests wait for a scheduler most of the time: more of them than cores run side by side. A chosen few run in one process.
test: .venv/.dev  ## all tests; ARGS="-k slurm" goes to pytest; as root on Debian installs the systems they need
	@tests/systems/debian.sh
	@$(MAKE) --no-print-directory check
	$(BIN)/pytest $(or $(ARGS),-n $(WORKERS) --durations 12)

faults: .venv/.dev  ## 500 faults on a real Slurm: kills, outages, lost replies; ARGS="--seed 8 --ledger postgres"
	@$(BIN)/python -m tests.faults.campaign --faults 500 $(ARGS)

lint: .venv/.dev  ## style
	$(BIN)/ruff check .

types: .venv/.dev  ## static types
	$(BIN)/mypy

check: lint types  ## style and static types

simulate: .venv/.dev  ## a million simulated histories, overnight; HISTORIES=… for fewer
	DAGSTER_HPC_HISTORIES=$(or $(HISTORIES),1000000) $(BIN)/pytest -n $(WORKERS) tests/simulation

mutate: .venv/.dev  ## break the engine's rules one by one, and see that a test notices, hours; ARGS="--module verdict"
	@$(BIN)/python -m tests.mutation --jobs $(WORKERS) $(ARGS)

bench: .venv/.dev  ## the benchmarks, one table each
	@$(BIN)/python -m benchmarks

clean:  ## remove what was built and cached, but .venv
	rm -rf dist .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than pyproject.toml when the environment has what it names.
.venv/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing the package and its tools for development into .venv"
	@$(PIP) --editable '.[dev]'
	@touch $@

# What is installed for development includes the demo.
.venv/.demo: pyproject.toml | $(BIN)/python
	@[ .venv/.dev -nt pyproject.toml ] || echo "Installing the package and its demo into .venv"
	@[ .venv/.dev -nt pyproject.toml ] || $(PIP) --editable '.[demo]'
	@touch $@

# Debian keeps ensurepip, without which there is no pip in the environment, in a package of its own.
$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(INSTALL_VENV)
	@$(PYTHON) -m venv .venv
