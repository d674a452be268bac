# Every target works from a fresh clone; the first one that needs it makes .venv.
SHELL := /bin/bash
BIN := .venv/bin
# five seeds of chaos take ten minutes, a hundred of the simulation half a minute
CHAOS_SEEDS := $(or $(SEEDS),5)
SEEDS ?= 100
FIRST_SEED ?= 1
SECONDS ?= 60
ONLY ?=
RECORD ?=
PYTEST_ARGS ?=

.PHONY: help venv demo test lint format bench bench-check bench-peers bench-published simulate crash chaos seed-bugs clean

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

bench: venv ## measure; ONLY="map_100k huge" for some
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

bench-check: venv ## measure, and fail where a ratio is worse than in benchmarks/baseline.json, past the noise
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) --baseline benchmarks/baseline.json

bench-peers: venv ## measure others beside ours: Huey, Dask, Parsl, Celery, Dramatiq, HyperQueue, Prefect; ONLY="huey dask" for some
	test -e build/peers/.installed || ($(BIN)/python -m venv build/peers && build/peers/bin/pip install --quiet -r benchmarks/peers/requirements.txt)
	touch build/peers/.installed
	$(BIN)/python -m benchmarks.peers --python build/peers/bin/python $(if $(ONLY),--only $(ONLY))

bench-published: venv ## published tables by the scheduler in virtual time; ONLY=psplib for one
	$(BIN)/python -m benchmarks.published $(ONLY)

simulate: venv ## rehearse random worlds: SEEDS=100 FIRST_SEED=1; RECORD=1 keeps what was run and goes on from there
	$(BIN)/python -m $(if $(RECORD),benchmarks.reliability simulate,kos_ray.sim) --seeds $(SEEDS) --first-seed $(FIRST_SEED)

crash: venv ## kill real processes at every failpoint (ONLY=journal for some), and cut the power
	$(BIN)/python -m tests.crash $(if $(ONLY),--only $(ONLY))
	$(if $(ONLY),,$(BIN)/python -m tests.crash.kills --kills 100)
	$(if $(ONLY),,KOS_RAY_STATES=5000 $(BIN)/python -m pytest -q tests/crash/storage)

chaos: venv ## kill processes of real Ray clusters: SEEDS=5 FIRST_SEED=1 SECONDS=60, RECORD=1
	$(BIN)/python -m tests.chaos --seeds $(CHAOS_SEEDS) --first-seed $(FIRST_SEED) --seconds $(SECONDS) $(if $(RECORD),--record)

seed-bugs: venv ## plant bugs, one after another, and see which proof finds each: ONLY=name for some
	$(BIN)/python -m tests.seeding $(if $(ONLY),--only $(ONLY),--resume)

clean: ## remove what the other targets have made
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
