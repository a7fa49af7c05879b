# Everything runs from .venv in this checkout. Every target sets up what it needs first.
PYTHON ?= python3
BIN := .venv/bin
NATIVE := $(wildcard native/*) pyproject.toml

.PHONY: install demo test test-slow bench lint format clean FORCE

install: .venv/.built

.venv/.deps: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt \
		"scikit-build-core>=0.11" "nanobind>=2.4" "cmake>=3.24" "ninja>=1.11"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation \
		--editable ".[torch,mtl,demo,bench,dev]"
	touch $@

# Python sources are used in place: edits need nothing, but files that come or go do.
.venv/.sources: .venv/.deps FORCE
	@find src -name '*.py' | LC_ALL=C sort > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

.venv/.built: .venv/.deps .venv/.sources $(NATIVE)
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

demo: install
	$(BIN)/carls demo digits --plot out/digits.png --json out/digits.json

# A worker for each core, which the threads of torch and numpy would fight over.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not gpu"

test-slow: install
	$(BIN)/python -m pytest -m slow

bench: install
	$(BIN)/python -m benchmarks --out out/bench

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build out
