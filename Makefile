# Two commands do all on a machine with Python >= 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: setup demo up down status test e2e check check-deps format clean
.DELETE_ON_ERROR:

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("vgan needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/vgan demo

up down status: $(STAMP)
	$(BIN)/vgan $@

# A process for each core; the tests of one file stay together, since they share servers and datasets.
test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile

e2e: $(STAMP)
	$(BIN)/python -m pytest -m e2e

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

# Not part of `check`: it asks PyPI for advisories. pip-audit has an environment of its own, so that it changes none.
AUDIT := $(VENV)/audit
define ADVISORIES
import json, sys, urllib.request
try:
    with urllib.request.urlopen("https://pypi.org/pypi/pip/24.0/json", timeout=20) as answer:
        json.load(answer)["vulnerabilities"]
except Exception as error:
    sys.exit(f"PyPI tells no advisories here (https://pypi.org/pypi/NAME/VERSION/json: {error}).\n"
             "Nothing was checked: run `make check-deps` where it can be reached.")
endef
export ADVISORIES

check-deps: $(STAMP)
	@$(BIN)/python -c "$$ADVISORIES"
	test -x $(AUDIT)/bin/pip-audit || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --constraint constraints.txt 'pip-audit>=2.9'
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
