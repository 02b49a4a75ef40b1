# make demo, make test, make check and make bench each set up what they need in .venv (benchmarks' peers in .venv-peers).
PYTHON ?= python3
BIN := .venv/bin
NATIVE := CMakeLists.txt $(wildcard native/* native/*/*)

.PHONY: demo test check format bench clean

# Everything that can be seen, on the pictures in demo/. A developer's .venv will do; else a small one is made.
demo: $(if $(wildcard .venv/.installed),.venv/.installed,.venv/.demo)
	@$(BIN)/python scripts/demo

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
.venv/.installed: pyproject.toml tests/readers.txt $(NATIVE)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,test]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --requirement tests/readers.txt
	touch $@

.venv/.demo: pyproject.toml $(NATIVE)
	@echo "setting up .venv: a few packages from the package index, and the native core; a minute or two"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[eval]'
	touch $@

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
