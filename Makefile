# Each target does all its own set-up: a virtual environment in .venv with the tested versions (constraints.txt).
# make demo    convert, train, eval, predict and visualize on the sample data (two to four minutes on 2 CPU cores)
# make test    the test suite (five to ten minutes on 2 CPU cores); PYTEST_ARGS="-m 'not slow'" passes options to pytest
# make lint    ruff and mypy
# make clean   remove the environment and everything these targets made
# PYTHON=/path/to/python3.12 in front or behind chooses the interpreter (3.11 or newer)
# EXTRAS=0 leaves the optional readers out, in an environment of its own (.venv-bare)

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3 python,\
            $(if $(shell $(p) -c 'import sys, ensurepip; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(p))))
VERSION := $(if $(PYTHON),$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
EXTRAS ?= 1
VENV := $(if $(filter 0,$(EXTRAS)),.venv-bare,.venv)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(VERSION)
PYTEST_ARGS ?=

.PHONY: help install demo test lint clean
.DEFAULT_GOAL := help

help:
	@awk '/^# (make|PYTHON|EXTRAS)/ { sub(/^# /, ""); print }' Makefile

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found. Try: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	test -x $(BIN)/python$(VERSION) || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt -e . --group dev
	test "$(EXTRAS)" = 0 || $(BIN)/python -m pip install --quiet -c constraints.txt --group formats || \
		echo "note: some optional readers cannot be installed here; their tests will be skipped"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/armseg demo -o demo_out

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv .venv-bare demo_out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
