# make test, make check and make bench each set up what they need in .venv (benchmarks' peers in .venv-peers).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: test check format bench clean

test: .venv/.installed
	$(BIN)/pytest -n 2

check: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	scripts/check_native_symbols build/*/

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.installed
	scripts/setup_peers
	scripts/bench_all

# Editable: Python changes need no step; a change of the native core reinstalls.
.venv/.installed: pyproject.toml tests/readers.txt CMakeLists.txt $(wildcard native/* native/*/*)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement tests/readers.txt
	touch $@

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
