# Two commands to know: `make demo` and `make test`. Both create .venv, build and install first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find native/include native/bindings src -name '*.[ch]pp' -o -name '*.py' -o -name '*.pyi' 2>/dev/null)

.PHONY: demo test check bench native-test crash-build crash clusters sanitize clean

demo: $(VENV)/installed
	$(BIN)/allcores demo

# Two more builds of the core, for the tests only: one that can be made to die at named steps, one with sanitizers.
builds := build
variant = $(BIN)/pip install --quiet --no-deps --upgrade --target $(builds)/$(1) \
	-C build-dir=$(builds)/$(1)-cmake -C cmake.define.$(2)=ON . && touch $@

$(builds)/crash/built: $(VENV)/installed
	$(call variant,crash,ALLCORES_STEPS)

$(builds)/asan/built: $(VENV)/installed
	$(call variant,asan,ALLCORES_SANITIZE)

crash-build: $(builds)/crash/built

test: $(VENV)/installed crash-build
	$(MAKE) -C native/tests compiled
	ALLCORES_CRASH=1 $(BIN)/python -m pytest

# The long forms: minutes of kills, millions of messages, every step each time, and the sanitizers.
crash: $(VENV)/installed crash-build sanitize
	ALLCORES_CRASH=1 $(BIN)/python -m pytest tests/crash -m "slow or not slow" -s

# The suite over clusters, too long for the gate.
clusters: $(VENV)/installed
	$(BIN)/pip install --quiet '.[dask,ray]'
	$(BIN)/python -m pytest tests/cluster tests/contract -m "slow or not slow" -k "cluster or dask or [ray or -ray"

sanitize: $(builds)/asan/built
	$(BIN)/python tests/crash/sanitize.py $(builds)/asan

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
