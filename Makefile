# Each target makes the virtual environment on first use; Python 3.11 or newer and pip are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DOCUMENTS := $(VENV)/.documents

.PHONY: demo test slow lint house docs notebooks bench reproduce clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $(STAMP)

# What only the site and the notebooks need: neither the demo nor the tests wait for it.
$(DOCUMENTS): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs,notebooks]'
	touch $(DOCUMENTS)

demo: $(STAMP)
	$(BIN)/noethers-razor demo --out demo --overwrite

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not slow"

# What takes ten seconds and more; CI runs it too.
slow: $(DOCUMENTS)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup -m slow

# The site, in site/; a warning is an error.
docs: $(DOCUMENTS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Runs all notebooks, two at a time; NOTEBOOKS is the folder where they are built, with their outputs.
NOTEBOOKS ?= notebooks
notebooks: $(DOCUMENTS)
	mkdir -p $(NOTEBOOKS)
	printf '%s\n' notebooks/*.py | PATH="$(CURDIR)/$(BIN):$$PATH" xargs -P 2 -I SOURCE sh -c \
	  'jupytext --quiet --to ipynb --execute --output $(NOTEBOOKS)/$$(basename SOURCE .py).ipynb SOURCE || exit 255'

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Sizes of files and functions, rooms, layers, lengths of texts, with the limits that a test holds them to.
house: $(STAMP)
	$(BIN)/python -m tests.project.house

bench: $(STAMP)
	$(BIN)/python -m benchmarks.steps
	$(BIN)/python -m benchmarks.profile
	$(BIN)/python -m benchmarks.jobs
	$(BIN)/python -m benchmarks.tracking

# `make reproduce BUDGET=quick` runs one seed of the paper's systems, into a folder of its own.
reproduce: $(STAMP)
ifeq ($(BUDGET),quick)
	$(BIN)/python -m experiments.oscillator --seeds 1 --out reproduced
	$(BIN)/python -m experiments.oscillators --seeds 1 --n 3 --out reproduced
	$(BIN)/python -m experiments.nbody --seeds 1 --case nbody --out reproduced
else
	$(BIN)/python -m experiments.oscillator
	$(BIN)/python -m experiments.oscillator --clean
	$(BIN)/python -m experiments.oscillators
	$(BIN)/python -m experiments.anisotropic
	$(BIN)/python -m experiments.nbody --case nbody
	$(BIN)/python -m experiments.nbody --case nbody_3d nbody_five nbody_masses --seeds 3
	$(BIN)/python -m experiments.starts
	$(BIN)/python -m experiments.curves
	for case in oscillators central_force kepler toda; do $(BIN)/python -m experiments.functions --case $$case --seeds 3; done
	$(BIN)/python -m experiments.functions --case kepler_3d --seeds 1
	$(BIN)/python -m experiments.functions --case henon_heiles pendulum --family neural --seeds 5
	for case in henon_heiles pendulum; do \
	  $(BIN)/python -m experiments.functions --case $$case --family polynomial --seeds 5; done
	$(BIN)/python -m experiments.algebras --trials 200
	$(BIN)/python -m experiments.controls --seeds 10
	$(BIN)/python -m experiments.coverage
	$(BIN)/python -m experiments.irregular
	$(BIN)/python -m experiments.noise --seeds 3
	$(BIN)/python -m experiments.interruptions --seeds 3 --kills 3
	$(BIN)/python -m experiments.refusals
	$(BIN)/python -m experiments.solar_system --seeds 3
	$(BIN)/python -m experiments.learning_dynamics --seeds 3
	$(BIN)/python -m experiments.manifold_embedding --seeds 3
	$(BIN)/python -m experiments.power
	$(BIN)/python -m experiments.answers
	$(BIN)/python -m experiments.how_a_fit_works
endif

clean:
	rm -rf $(VENV) demo site build
