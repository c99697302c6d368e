# One environment, one command each. PYTHON chooses the interpreter, VENV the environment (made when absent).
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
# Where the road writes its tables, models and pages.
RUNS ?= runs

ROAD_EXTRAS := beam,ray,onnx,eval,demo,search
TEST_EXTRAS := $(ROAD_EXTRAS),language,tensorboard,gcs,dev
# Tests of engines wait more than they compute, so two files run at once; fixtures are shared within a file. In the order
# of their names, the long files stand first, and neither worker waits for the other at the end.
TWO_AT_ONCE := -n 2 --dist loadfile --no-loadscope-reorder
# What looks at the installed packages stands apart: it brings jsonschema's formats, and where those are installed each of
# Ray's many processes is a second longer in starting.
AUDIT := $(VENV)-audit
SOURCES := vsalign pipelines jobs infra tests

.DEFAULT_GOAL := help
.PHONY: help demo demo-short flickr8k scenes test test-all browser lint types docs wheels sbom audit format clean java

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The stamps make a second `make` instant; a changed pyproject.toml installs again.
$(PY):
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-road: pyproject.toml models/pyproject.toml | $(PY)
	@echo "installing vsalign[$(ROAD_EXTRAS)] into $(VENV): some minutes and several GB, once"
	$(PIP) -e ".[$(ROAD_EXTRAS)]" -e ./models
	@touch $@

$(VENV)/.installed-tests: pyproject.toml models/pyproject.toml | $(PY)
	@echo "installing vsalign[$(TEST_EXTRAS)] into $(VENV): some minutes and several GB, once"
	$(PIP) -e ".[$(TEST_EXTRAS)]" -e ./models
	@touch $(VENV)/.installed-road $@

$(AUDIT)/.installed: Makefile
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.7" "cyclonedx-bom>=5"
	@touch $@

java:
	@if command -v java >/dev/null 2>&1; then echo "java: found, METEOR is measured"; \
	else echo "java: absent, METEOR and the PTB tokenizer are left out (install a JRE, version 8 or later, to have them)"; fi

demo: $(VENV)/.installed-road  ## the whole road on rendered scenes and on real photographs
	$(PY) -m infra.road.demo --output "$(RUNS)/demo"

demo-short: $(VENV)/.installed-road  ## the same on few scenes, for CI
	DEMO_SHORT=1 $(PY) -m infra.road.demo --output "$(RUNS)/demo"

flickr8k: $(VENV)/.installed-road java  ## DATA=<folder>: the whole road on Flickr8k, with its figures
	@test -n "$(DATA)" || { echo "error: say where Flickr8k is: make flickr8k DATA=<folder>" >&2; exit 2; }
	@test -d "$(DATA)" || { echo "error: there is no folder $(DATA); correct DATA=<folder>" >&2; exit 2; }
	$(PY) -m infra.road.flickr8k --data "$(DATA)" --output "$(RUNS)/flickr8k"

scenes: $(VENV)/.installed-road  ## alignment and region descriptions against rendered truth
	$(PY) -m infra.road.scenes --output "$(RUNS)/scenes"

test: $(VENV)/.installed-tests  ## the tests
	OMP_NUM_THREADS=1 $(PY) -m pytest $(TWO_AT_ONCE)

test-all: $(VENV)/.installed-tests java  ## every test, the long ones in full
	OMP_NUM_THREADS=1 VSALIGN_LONG=1 $(PY) -m pytest

browser: $(VENV)/.installed-tests  ## the search page in Chromium (Debian: apt-get install chromium)
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/browser

lint: $(VENV)/.installed-tests  ## ruff: rules and format
	$(PY) -m ruff check $(SOURCES)
	$(PY) -m ruff format --check $(SOURCES)

types: $(VENV)/.installed-tests  ## mypy
	$(PY) -m mypy

docs: $(VENV)/.installed-tests  ## the site, under site/; a broken link fails
	$(PY) -m mkdocs build --strict --site-dir site

wheels: $(VENV)/.installed-tests  ## both distributions, under dist/
	$(PY) -m pip wheel --quiet --no-deps --wheel-dir dist . ./models

sbom: $(VENV)/.installed-tests $(AUDIT)/.installed  ## what the images install, and its licences, under dist/
	@mkdir -p dist
	$(AUDIT)/bin/cyclonedx-py requirements --output-file dist/sbom.json infra/docker/constraints.txt
	$(PY) -m infra.licences --table > dist/licences.csv

audit: $(VENV)/.installed-tests $(AUDIT)/.installed  ## known faults of the installed versions (needs a network), and unusual licences
	$(AUDIT)/bin/pip-audit --skip-editable --path "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	$(PY) -m infra.licences

format: $(VENV)/.installed-tests  ## put the sources into ruff's format
	$(PY) -m ruff check --fix $(SOURCES)
	$(PY) -m ruff format $(SOURCES)

clean:  ## remove the default environment, caches and what the road wrote under runs/
	rm -rf .venv .venv-audit runs build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
