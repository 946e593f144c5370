# Two commands to know: `make demo` and `make test`. Both create .venv, build and install first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find native/include native/bindings src -name '*.[ch]pp' -o -name '*.py' -o -name '*.pyi' 2>/dev/null)

.PHONY: demo test check bench native-test clean

demo: $(VENV)/installed
	$(BIN)/allcores demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/pip install --quiet -r bench/requirements.txt
	$(BIN)/python -m bench

native-test:
	$(MAKE) -C native/tests

$(VENV)/installed: pyproject.toml CMakeLists.txt $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet '.[test,check]'
	touch $@

clean:
	rm -rf build out $(VENV)
