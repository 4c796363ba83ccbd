# Everything works from a bare clone with Python >= 3.11, a C compiler and make.
#
#   make watch ARGS="--count 12"   print this machine's process events
#   make test                      lint, types and all default tests
#   make share                     regenerate the man page and shell completions
#   make screens                   regenerate the screens in the guide
#   make bench                     compare with other implementations
#   make bench-commands            count correct, wrong and missing command lines
#   make bench-fleet               measure shipping to NATS servers
#   make wheel                     build, repair and check the sdist and the wheel
#   make test-wheel                test the wheel on every CPython here
#   make test-nobody               test the wheel as an ordinary user (as root)
#   make test-pythons              test the wheel on the Pythons of Debian unstable (as root)
#   make test-musl                 test the musl wheel on a CPython linked with musl
#   make test-freethreaded         test on a Python without the GIL, built here
#   make test-sdist                build and test from the sdist alone
#   make test-kernels              test on other kernels, under emulation (as root):
#                                  all, or KERNELS="5.10 newest"
#   make test-arm64, test-s390x    test on other architectures, likewise
#   make platforms                 print where the suite has run
#   make workflows                 check the workflows of .github
#   make fuzz FUZZ_SECONDS=120     feed random and malformed bytes to the parsers
#   make sanitize                  test the C module under ASan, UBSan and TSan
#   make refleaks                  count references in a debug build of Python
#   make slow                      check images and recordings with other programs
#
# What is built goes into .venv; `make clean` removes it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

SOURCES := pyproject.toml setup.py $(wildcard csrc/* csrc/*/*)
STRICT := -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror

.PHONY: watch test lint types c-warnings unit share screens bench bench-readme \
    bench-commands bench-fleet wheel test-wheel test-nobody test-pythons test-musl \
    test-freethreaded test-sdist test-kernels test-arm64 test-s390x platforms workflows fuzz \
    sanitize refleaks slow clean

watch: $(VENV)/installed
	$(BIN)/procconn watch $(ARGS)

test: lint types c-warnings unit

lint: $(VENV)/developing
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/developing
	$(BIN)/mypy
	$(BIN)/basedpyright

c-warnings: $(VENV)/developing
	for file in csrc/*/*.c; do \
	    $(CC) $(STRICT) -Icsrc $$($(BIN)/python -c 'import sysconfig; print("-I" + sysconfig.get_path("include"))') \
	        -c $$file -o $(VENV)/unused.o || exit 1; \
	done

unit: $(VENV)/developing
	$(BIN)/pytest $(ARGS)

test-kernels: $(VENV)/developing
	$(BIN)/python tests/kernels/run.py $(shell uname -m) $(ARGS)

test-arm64: processor = aarch64
test-s390x: processor = s390x
test-arm64 test-s390x: $(VENV)/developing $(VENV)/packaging
	$(BIN)/python tests/kernels/run.py $(processor) $(ARGS)

# tests/conftest.py appends the results of each complete run, here or in an emulated machine.
RESULTS := $(abspath build)/results.jsonl
unit test-%: export PROCCONN_RESULTS := $(RESULTS)

platforms: $(VENV)/developing
	$(BIN)/python tests/support/platforms.py $(RESULTS) $(ARGS)

share: $(VENV)/installed
	$(BIN)/python share/generate.py

screens: $(VENV)/installed
	$(BIN)/python docs/screens.py

bench: $(VENV)/developing
	$(BIN)/python -m benchmarks $(ARGS)

bench-readme: $(VENV)/developing
	$(BIN)/python -m benchmarks --write

bench-commands: $(VENV)/developing
	$(BIN)/pytest --quiet -c pyproject.toml benchmarks/check_results.py
	$(BIN)/python -m benchmarks.commands $(ARGS)

bench-fleet: $(VENV)/developing
	$(BIN)/python -m benchmarks.fleet $(ARGS)

# Build for a C library older than this machine's, whose headers are only the last resort: Debian
# keeps Python's pyconfig.h there.
ZIG := $(abspath $(BIN))/python -m ziglang cc -target $(shell uname -m)-linux-gnu.2.17 \
    -idirafter /usr/include

wheel: export CC := $(ZIG)
wheel: export LDSHARED := $(ZIG) -shared
wheel: export SOURCE_DATE_EPOCH = $(shell git log -1 --format=%ct)
wheel: export PATH := $(abspath $(BIN)):$(PATH)
wheel: $(VENV)/packaging
	rm -rf dist wheelhouse build/again
	for round in dist build/again; do \
	    python -m build --outdir $$round && \
	    auditwheel repair --wheel-dir $$round/repaired $$round/*.whl || exit 1; \
	done
	mv dist/repaired wheelhouse
	abi3audit --strict wheelhouse/*.whl
	twine check --strict dist/*.tar.gz wheelhouse/*.whl
	check-wheel-contents wheelhouse/*.whl
	python tests/packages/check_wheel.py wheelhouse build/again/repaired

# Targets that repeat the suite for another Python or user skip heavy tests.
AGAIN := -m "not heavy"

test-wheel: wheel
	$(BIN)/python tests/packages/try_wheel.py wheelhouse/*.whl -- $(AGAIN) $(ARGS)

EVERYONES_PYTHON ?= /usr/bin/python3

test-nobody: wheel
	command -v $(EVERYONES_PYTHON) || \
	    { apt-get update -qq && apt-get install -qq --no-install-recommends python3; }
	$(BIN)/python tests/packages/try_wheel.py --user nobody wheelhouse/*.whl $(EVERYONES_PYTHON) -- $(AGAIN) $(ARGS)

test-pythons: wheel
	tests/pythons/run.sh $(BIN)/python wheelhouse/*.whl $(AGAIN) $(ARGS)

test-musl: $(VENV)/packaging
	tests/pythons/musl.sh $(abspath $(BIN))/python $(AGAIN) $(ARGS)

test-freethreaded: $(VENV)/created
	tests/pythons/freethreaded.sh suite $(abspath $(BIN))/python $(AGAIN) $(ARGS)
	setarch --addr-no-randomize tests/pythons/freethreaded.sh races $(abspath $(BIN))/python $(ARGS)

test-sdist: wheel
	folder=$$(mktemp -d) && chmod a+rx $$folder && tar -xzf dist/*.tar.gz -C $$folder --strip-components=1 && \
	    $(MAKE) -C $$folder $(VENV)/developing && \
	    (cd $$folder && $(BIN)/pytest $(AGAIN) $(ARGS)) && rm -r $$folder

workflows: $(VENV)/workflows
	$(BIN)/zizmor --offline --persona=pedantic .
	$(BIN)/actionlint
	for arch in x86_64 aarch64; do \
	    $(BIN)/cibuildwheel --print-build-identifiers --platform linux --archs $$arch; \
	done | diff tests/packages/expected-wheels.txt -

FUZZ_SECONDS ?= 120
FUZZ_JOBS ?= $(shell nproc)

fuzz: $(VENV)/installed
	tests/fuzz/run.sh $(BIN)/python $(FUZZ_SECONDS) $(FUZZ_JOBS)

sanitize:
	tests/sanitize/threads.sh 60 $(ARGS)
	tests/sanitize/run.sh $(PYTHON) 1200 $(ARGS)

# Named like their Debian packages, so that root can install missing ones.
SLOW_TOOLS := chromium tshark tmux nats-server strace gdb

slow: $(VENV)/developing
	(PATH=$$PATH:/usr/sbin; for tool in $(SLOW_TOOLS); do command -v $$tool || exit; done) || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -qq --no-install-recommends $(SLOW_TOOLS); }
	$(PIP) install --group slow
	$(BIN)/pytest -m slow $(ARGS)

DEBUG_PYTHON ?= python3-dbg

refleaks:
	tests/refleaks/run.sh $(DEBUG_PYTHON)

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

$(VENV)/packaging $(VENV)/workflows: $(VENV)/created pyproject.toml
	$(PIP) install --group $(@F)
	@touch $@

clean:
	rm -rf $(VENV) build dist wheelhouse *.egg-info procconn/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
