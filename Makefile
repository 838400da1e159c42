# One target a job, and each does all its own set-up: only Python >= 3.11 with venv has to be there.
# `make` alone lists the targets. A second call of any set-up is instant (stamp files).

PYTHON ?= python3
RUN_CMD ?= .venv/bin/brokersim bench watchers --workload bulk --jobs 15 --reps 8 --clock real
# Such as --gate (a missed ratio is an error), --json, or names of single benchmarks.
BENCH_OPTIONS ?=
# One more than the smallest machine has cores: a test that waits for a peer's next second leaves its core to another.
TEST_WORKERS ?= 3

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules
# Images of containers set it. pytest rewrites all of its plugins before it reads a conftest.py: hypothesis alone has 150
# files, and what may not be kept is compiled by each worker, and by each run, anew.
unexport PYTHONDONTWRITEBYTECODE

RUN_VENV := .venv/.stamp
TEST_VENV := .venv-test/.stamp
BIN := .venv-test/bin
# What is compiled where that can be done: an install builds it beside its sources.
TWINS := hatch_build.py $(wildcard src/brokersim/native/*.[ch])
PIP_OPTIONS := --quiet --disable-pip-version-check --no-input
PIP := .venv/bin/python -m pip install $(PIP_OPTIONS)
TEST_PIP := $(BIN)/python -m pip install $(PIP_OPTIONS)

# Loudly, because a test that is skipped for want of a peer looks like a test that passed.
skipping = echo "SKIPPING: $(1): the tests that talk to it will be skipped"

.PHONY: help completions venv run test fuzz pure site quick hunt torture lint bench docs docs-check docs-venv site-sources peers apt npm interop pins clean distclean

help:
	@echo "make venv   .venv with the brokersim command and what it needs to run, nothing else"
	@echo "make run    what each kind of hook costs here: eight rounds in turns, one sentence and five rows"
	@echo "make test   lint, the test suite, the wire fuzz test at length, the site's links; own environments"
	@echo "make quick  lint, and the tests of what changed against main"
	@echo "make hunt   the tests of properties on examples nobody has seen (make test draws the same ones in every run)"
	@echo "make torture  100,000 hostile inputs a port, 100 kills, 2,000 power cuts; takes an hour"
	@echo "make lint   ruff and mypy"
	@echo "make bench  every benchmark, each with a baseline in the same run; one table"
	@echo "make docs   the documentation as a site, with a page a command and manual pages, in build/site"
	@echo "make peers  real statsd, collectd, carbon and a browser for the tests, as far as they can be had (make test calls it)"
	@echo "make completions  the table a shell's completion is answered from, anew, after a command or an option changed"
	@echo "make pins   choose requirements/*.txt anew from the ranges in pyproject.toml"
	@echo "make clean  remove build products and caches (make distclean: the environments too)"

venv: $(RUN_VENV)

run: venv
	$(RUN_CMD)

test: export BROKERSIM_EXAMPLES ?= same
test:
	$(check_python)
	@# mypy has one core to itself, and so has what is fetched: side by side they take half as long.
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint peers docs-venv
	$(BIN)/pytest -q -n $(TEST_WORKERS) --dist loadgroup
	@# Two of these at a time: fuzz takes longest and is shared out, for the others workers would begin longer than run.
	@$(MAKE) --no-print-directory -j2 --output-sync=target fuzz pure site

fuzz: $(TEST_VENV)
	BROKERSIM_HYPOTHESIS_PROFILE=slow $(BIN)/pytest -q -n $(TEST_WORKERS) tests/protocol/test_wire_fuzz.py

# What is compiled is left out: the rooms that have a C twin once more, on the Python it is the twin of.
pure: $(TEST_VENV)
	BROKERSIM_PURE=1 $(BIN)/pytest -q tests/reactor tests/routing tests/host

site:
	@if $(MAKE) --no-print-directory .venv-docs/.stamp; then $(MAKE) --no-print-directory docs-check; \
	    else echo "SKIPPING: what the site is made with cannot be installed: the site is not checked"; fi

completions: $(TEST_VENV)
	$(BIN)/python -m brokersim.cli.quick.table_maker

lint: $(TEST_VENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

quick: lint
	@tests=$$($(BIN)/python tests/changed.py); if [ -n "$$tests" ]; then $(BIN)/pytest -q $$tests; fi

hunt: $(TEST_VENV)
	BROKERSIM_EXAMPLES=new $(BIN)/pytest -q -n $(TEST_WORKERS) --dist loadgroup -m hypothesis
	@BROKERSIM_EXAMPLES=new $(MAKE) --no-print-directory fuzz

torture: $(TEST_VENV)
	BROKERSIM_FUZZ_INPUTS=100000 $(BIN)/pytest -q tests/net/test_hostile.py tests/statsd_server/test_hostile.py \
	    -o faulthandler_timeout=7200
	BROKERSIM_KILLS=100 $(BIN)/pytest -q tests/cli/test_killed.py -o faulthandler_timeout=7200
	BROKERSIM_CUTS=2000 $(BIN)/pytest -q tests/power -o faulthandler_timeout=7200

bench: $(TEST_VENV)
	$(BIN)/python benchmarks/run_all.py $(BENCH_OPTIONS)

# -W: a link that leads nowhere, a heading that is not there, an example that cannot be coloured is an error.
SPHINX := PYTHONPATH=src .venv-docs/bin/python -m sphinx -q -W --keep-going

docs: site-sources
	$(SPHINX) -b html -d build/site/doctrees build/site/source build/site/html
	$(SPHINX) -b man -d build/site/doctrees build/site/source build/site/man
	@echo "build/site/html/index.html    and manual pages: man -l build/site/man/brokersim-start.1"

# The same without writing a page: a fifth of the time.
docs-check: site-sources
	$(SPHINX) -b dummy -d build/site/doctrees build/site/source build/site/html

# Ahead of time: whether it could be made is told where it is used.
docs-venv:
	@$(MAKE) --no-print-directory .venv-docs/.stamp >/dev/null 2>&1 || true

site-sources: .venv-docs/.stamp
	PYTHONPATH=src .venv-docs/bin/python docs/site/stage.py build/site/source

# --- environments

define check_python
@command -v "$(PYTHON)" >/dev/null || { \
    echo "error: no '$(PYTHON)' on the path; brokersim needs Python >= 3.11"; \
    echo "  try:  make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; } >&2
@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
    echo "error: '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1); brokersim needs Python >= 3.11"; \
    echo "  try:  make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; } >&2
@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
    echo "error: '$(PYTHON)' cannot make virtual environments (no ensurepip)"; \
    echo "  try:  install your system's venv package, on Debian python3-venv"; exit 1; } >&2
endef

# pip compiles what it installs, but not what stays in a checkout. With PYTHONDONTWRITEBYTECODE set, as images of
# containers have it, each command would compile all of it anew: `brokersim start true` takes 0.9 s then, not 0.5.
compiled = @$(1) -m compileall -q src modules

.venv/.requirements: requirements/run.txt
	$(check_python)
	"$(PYTHON)" -m venv .venv
	$(PIP) --require-hashes -r $<
	@touch $@

# The build backend lies outside .venv, pinned and hashed: build isolation would fetch whatever is newest, and a
# backend installed into .venv would stay there.
build/backend/.stamp: requirements/build.txt | .venv/.requirements
	@rm -rf build/backend
	$(PIP) --require-hashes --target build/backend -r $<
	@touch $@

$(RUN_VENV): .venv/.requirements build/backend/.stamp pyproject.toml $(TWINS)
	PYTHONPATH=build/backend $(PIP) --no-deps --no-build-isolation -e .
	@.venv/bin/python -m pip uninstall $(PIP_OPTIONS) --yes setuptools 2>/dev/null
	$(call compiled,.venv/bin/python)
	@touch $@

.venv-docs/.stamp: requirements/docs.txt
	$(check_python)
	"$(PYTHON)" -m venv --clear .venv-docs
	.venv-docs/bin/python -m pip install $(PIP_OPTIONS) --require-hashes -r $<
	@touch $@

.venv-test/.requirements: requirements/test.txt
	$(check_python)
	"$(PYTHON)" -m venv --clear .venv-test
	$(TEST_PIP) --require-hashes -r $<
	@touch $@

$(TEST_VENV): .venv-test/.requirements pyproject.toml $(TWINS)
	$(TEST_PIP) --no-deps --no-build-isolation -e .
	$(call compiled,$(BIN)/python)
	@touch $@

# --- real peers: never a reason to fail, since a machine may be offline or have no root

DEBIAN_PACKAGES := $(shell sed 's/\#.*//' requirements/debian.txt)
NPM_PACKAGES := $(shell sed 's/\#.*//' requirements/npm.txt)

peers: apt npm interop

apt:
	@mkdir -p build; missing=""; for name in $(DEBIAN_PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}\n' "$$name" 2>/dev/null | grep -qx installed || missing="$$missing $$name"; \
	done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null || [ "$$(id -u)" != 0 ]; then \
	    $(call skipping,Debian packages$$missing (needs apt-get and root)); exit 0; \
	fi; \
	export DEBIAN_FRONTEND=noninteractive; timeout 300 apt-get update -qq </dev/null >build/apt.log 2>&1 || true; \
	for name in $$missing; do \
	    timeout 300 apt-get install -qq -y --no-install-recommends $$name </dev/null >>build/apt.log 2>&1 \
	        || $(call skipping,Debian package $$name (see build/apt.log)); \
	done

npm: build/npm/.stamp
build/npm/.stamp: requirements/npm.txt
	@mkdir -p build/npm; \
	if ! command -v npm >/dev/null; then $(call skipping,$(NPM_PACKAGES) (needs npm)); exit 0; fi; \
	timeout 300 npm install --prefix build/npm --no-save --no-package-lock --omit=optional --ignore-scripts \
	    --no-audit --no-fund $(NPM_PACKAGES) </dev/null >build/npm.log 2>&1 && touch $@ \
	    || $(call skipping,$(NPM_PACKAGES) (see build/npm.log))

interop: build/interop/.stamp
build/interop/.stamp: requirements/interop.txt
	@mkdir -p build; rm -rf build/interop; \
	{ "$(PYTHON)" -m venv build/interop && timeout 300 build/interop/bin/python -m pip install $(PIP_OPTIONS) \
	    --require-hashes -r $<; } </dev/null >build/interop.log 2>&1 && touch $@ \
	    || $(call skipping,carbon and whisper (see build/interop.log))

# --- upkeep

PIN := build/pins/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links

# --universal: one file serves every platform and Python >= 3.11, with the hash of every wheel.
pins:
	$(check_python)
	"$(PYTHON)" -m venv build/pins
	build/pins/bin/python -m pip install $(PIP_OPTIONS) uv
	@mkdir -p build/pinned
	$(PIN) pyproject.toml --extra tui --extra plot -o build/pinned/run.txt >/dev/null
	$(PIN) pyproject.toml --extra test --extra fast --extra plot --extra parquet --extra schemas --extra tui -o build/pinned/test.txt >/dev/null
	$(PIN) pyproject.toml --extra docs -o build/pinned/docs.txt >/dev/null
	sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml | $(PIN) - -o build/pinned/build.txt >/dev/null
	$(PIN) requirements/interop.in.txt -o build/pinned/interop.txt >/dev/null
	@for name in run test docs build interop; do \
	    { echo "# Chosen by 'make pins'; do not edit."; cat build/pinned/$$name.txt; } >requirements/$$name.txt; \
	done

clean:
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f src/brokersim/native/*.so
	find src modules tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf .venv .venv-test .venv-docs
