# Each target makes the virtual environment on first use; Python 3.11 or newer and pip are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint bench reproduce clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/noethers-razor demo --out demo --overwrite

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python benchmarks/training_step.py

reproduce: $(STAMP)
	$(BIN)/python -m experiments.oscillator
	$(BIN)/python -m experiments.oscillator --clean
	$(BIN)/python -m experiments.oscillators
	$(BIN)/python -m experiments.anisotropic

clean:
	rm -rf $(VENV) demo
