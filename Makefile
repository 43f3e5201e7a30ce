# make quickstart: environment, real speech, pre-training, fine-tuning, decoding, report (10 minutes on two free cores)
# make bench:      benchmarks beside rivals, to examples/benchmarks/RESULTS.md (20 minutes; make bench-full: 105 minutes more)
# make mp3s-mini:  the probes of MP3S on synthetic speech, for a small encoder and a random one (14 minutes on two free cores)
# make analyse:    what the layers of small encoders hold: SummaryMixing, attention, random weights
# make export-demo: the quickstart's model in every format whose packages are there (pip install them to .venv), compared
# make test:       the test suite, without the tests that take longest (5 minutes on two free cores; WORKERS=N for N cores)
# make test-long:  the tests that take longest
# make lint:       ruff, mypy and import-linter
# make docs:       the pages as a site, to site/; a link that leads nowhere is an error
# make fuzz:       both fuzzers on everything that reads input (half an hour)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# where a machine forbids Python to keep what it compiles, every command would compile torch and fairseq again
export PYTHONDONTWRITEBYTECODE :=

.PHONY: options install quickstart bench bench-full mp3s-mini analyse export-demo test test-long fuzz lint docs format clean

install: $(VENV)/.installed

# torch first, by its own pin: otherwise a dependency may choose another build. Of all modules Python compiles those
# that it imports, in less time than pip would take for all.
$(VENV)/.installed: setup.py pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --no-compile --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install -q --no-compile --disable-pip-version-check -c constraints.txt -e ".[dev,docs,fuzz,test]"
	touch $@

quickstart: install
	$(BIN)/python examples/quickstart/run.py

bench: install
	$(BIN)/python examples/benchmarks/run.py

bench-full: install
	$(BIN)/python examples/benchmarks/run.py --full

mp3s-mini: install
	$(BIN)/python examples/mp3s/mini.py

analyse: install
	$(BIN)/python examples/analysis/run.py

export-demo: install
	$(BIN)/python examples/export/run.py

# each worker imports torch once, and keeps to one thread
WORKERS ?= 2
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 20

test-long: install
	$(BIN)/python -m pytest -m long

# minutes for each of the six targets, with each of the two fuzzers
FUZZ_MINUTES ?= 3
fuzz: install
	FUZZ_MINUTES=$(FUZZ_MINUTES) $(BIN)/python -m pytest -m long tests/fuzz
	$(BIN)/python tests/fuzz/run_atheris.py --minutes $(FUZZ_MINUTES)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

# the table of options in docs/configuration.md, out of the code
options: install
	$(BIN)/python tests/test_docs.py
