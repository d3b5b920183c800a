# `make demo` and `make test` are all that a newcomer needs; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# uv does not read pip's find-links setting, which offline mirrors use.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

.PHONY: setup demo test test-slow test-older check lint clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("multibench needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@if command -v uv >/dev/null 2>&1; then \
		uv venv --quiet --seed --allow-existing --python $(PYTHON) $(VENV) && \
		VIRTUAL_ENV=$(VENV) uv pip install --quiet -c constraints.txt -e ".[dev]"; \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"; \
	fi
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/multibench demo --results .work/results

# Tests run one thread each: two workers with two threads each would fight for two cores.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup -m slow --timeout 1800 $(TESTS)

# What GPU images carry: Python 3.12, torch 2.11, transformers 5.17, no datasets and no evaluate.
test-older:
	$(PYTHON) tests/support/older.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
