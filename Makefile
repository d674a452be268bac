# Every target works from a fresh clone; the first one that needs it makes .venv.
SHELL := /bin/bash
BIN := .venv/bin
SEEDS ?= 100
FIRST_SEED ?= 1
ONLY ?=
PYTEST_ARGS ?=

.PHONY: help venv demo test lint format bench bench-published simulate clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

venv: .venv/.installed ## make .venv with everything in it; again only when pyproject.toml has changed

.venv/.installed: pyproject.toml scripts/venv.sh
	bash scripts/venv.sh .venv
	touch $@

demo: venv ## replay a recorded workflow of 58 tasks on this machine
	$(BIN)/kos demo

test: lint ## lint, then all tests; PYTEST_ARGS="-k name" for some
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: venv ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: venv ## write the code in the house's form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

bench: venv ## measure; ONLY=name for one benchmark
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

bench-published: venv ## published tables by the scheduler in virtual time; ONLY=psplib for one
	$(BIN)/python -m benchmarks.published $(ONLY)

simulate: venv ## rehearse random worlds: SEEDS=100 FIRST_SEED=1
	$(BIN)/python -m kos_ray.sim --seeds $(SEEDS) --first-seed $(FIRST_SEED)

clean: ## remove what the other targets have made
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
