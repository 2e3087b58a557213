# `make demo` and `make test` need only Python 3.11 or newer, make and a compiler; everything goes into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
UV     := $(shell command -v uv)

.DEFAULT_GOAL := help
.PHONY: help demo test unit fuzz simulate mutate kill soak bench node lint format lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "voicepilot needs Python 3.11 or newer: make PYTHON=/path/to/python3.11")'
	@echo "creating $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
ifdef UV
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --require-hashes -r requirements/dev.txt
	@VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation -e .
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@

demo: $(READY)  ## voice sessions kept alive through faults, on the built-in emulator (ends by itself)
	@$(BIN)/voicepilot demo

test: $(READY)  ## everything that must pass, with the coverage figure
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest -n 2 --dist worksteal
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python tests/coverage_gate.py

unit: $(READY)  ## the quick part: the core, the runtime, recovery and privacy, in virtual time
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not sockets and not slow" \
	  tests/lifecycle tests/runtime tests/stories tests/testing tests/privacy tests/recovery

$(VENV)/.fuzz $(VENV)/.mutate: $(VENV)/.%: requirements/%.txt $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

fuzz: $(VENV)/.fuzz  ## hostile input: hypothesis at length, then guided by coverage, SECONDS=60 for each kind of input
	@VOICEPILOT_FUZZ=60 $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/fuzz tests/credentials/test_fuzz.py \
	  tests/emulator/test_fuzz.py tests/emulator/test_fuzz_sockets.py
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

mutate: $(VENV)/.mutate  ## whether the tests notice small changes (hours; ONLY='voicepilot.recovery.*', or SAMPLE=350 SEED=1 of it)
ifdef SAMPLE
	@names="$$($(BIN)/python -m tests.mutation.sample $(SAMPLE) $(or $(SEED),1) '$(or $(ONLY),*)')" || exit 1; \
	  CI=1 $(BIN)/python -m mutmut run --max-children 2 $$names || true; \
	  $(BIN)/python -m tests.mutation.report $$names
else
	@CI=1 $(BIN)/python -m mutmut run --max-children 2 $(if $(ONLY),'$(ONLY)') || true
	@$(BIN)/python -m tests.mutation.report
	@$(BIN)/python -m tests.mutation.rows
endif

kill: $(READY)  ## a process is told to end, and killed at KILLS=50 seeded moments: what it still does, what it leaves
	@VOICEPILOT_KILLS=$(or $(KILLS),50) $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/kill

soak: $(READY)  ## 2,000 sessions and 100 conversations for MINUTES=30 against faults; prints figures, draws a picture
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) --sessions $(or $(SESSIONS),2000) \
	  --conversations $(or $(CONVERSATIONS),100)
	@$(BIN)/python -m tests.conversation.outage 60

bench: $(READY)  ## what it costs, beside floor and rival (minutes; ROW=start_end for one row, JSON=1 for JSON)
	@$(BIN)/python -m benchmarks $(ROW) $(if $(JSON),--json)

simulate: $(READY)  ## a million session-hours of simulated days, every invariant checked (an hour or more; HOURS=20000 for less)
	@$(BIN)/python -m tests.sim.campaign

node: $(READY)  ## the official Node client's stories (needs node 20 and npm)
	@cd tests/node && npm ci --no-audit --no-fund
	@$(BIN)/python tests/node/run.py

lint: $(READY)  ## types and style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(READY)  ## mend what can be mended by a tool
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: ## pin every dependency again (needs uv)
	$(LOCK) --group dev --all-extras pyproject.toml -o requirements/dev.txt
	$(LOCK) --group fuzz -o requirements/fuzz.txt
	$(LOCK) --group mutate -c requirements/dev.txt -o requirements/mutate.txt

clean:  ## forget the environment and what the tools left
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
