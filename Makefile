# Everything works from a bare clone with Python >= 3.11, a C compiler and make.
#
#   make watch ARGS="--count 12"   print this machine's process events
#   make test                      lint, types and tests
#   make bench                     compare with other implementations
#
# What is built goes into .venv; `make clean` removes it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

SOURCES := pyproject.toml setup.py $(wildcard csrc/*)
STRICT := -std=c11 -O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror

.PHONY: watch test lint types c-warnings unit bench clean

watch: $(VENV)/installed
	$(BIN)/procconn watch $(ARGS)

test: lint types c-warnings unit

lint: $(VENV)/developing
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/developing
	$(BIN)/mypy

c-warnings: $(VENV)/developing
	for file in decode receive tuples; do \
	    $(CC) $(STRICT) -Icsrc $$($(BIN)/python -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))') \
	        -c csrc/$$file.c -o /dev/null || exit 1; \
	done

unit: $(VENV)/developing
	$(BIN)/pytest $(ARGS)

bench: $(VENV)/developing
	$(BIN)/pytest benchmarks $(ARGS)

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("procconn needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	@touch $@

$(VENV)/installed: $(VENV)/created $(SOURCES)
	$(PIP) install --editable .
	@touch $@

$(VENV)/developing: $(VENV)/installed
	$(PIP) install --group dev
	@touch $@

clean:
	rm -rf $(VENV) build dist wheelhouse *.egg-info procconn/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
