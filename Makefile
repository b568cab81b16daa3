# The interface of this project, for people and CI alike. `make help` lists the targets.

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))) python3)
TEST_WORKERS ?= 3

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev test-servers demo test test-containers images check check-lint check-format check-types check-imports check-docs bench chaos docs lock format clean fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.set-up ## install FLOps with all it needs into .venv

setup-dev: $(VENV)/.set-up-dev ## the same with the tools for development

demo: setup ## from an SLA to predictions of a served model, on this machine
	$(BIN)/flops demo

test-servers: ## build the server that the tests of the MongoDB store need, unless a mongod is installed
	@command -v mongod >/dev/null || tests/servers/ferretdb/build.sh

test: setup-dev ## run the tests, without benchmarks and chaos tests
	-@$(MAKE) --no-print-directory test-servers
	$(PYTEST) -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test-containers: setup-dev ## run the tests that need images with Python in them, or several engines
	$(PYTEST) -m containers -n 2 --dist loadfile

images: ## build the images of FLOps' services with Docker, and push them to REGISTRY=host[:port] if that is given
	services/images.sh $(REGISTRY)

check: check-lint check-format check-types check-imports check-docs ## all checks of the code (-k: do not stop at the first)

check-lint: setup-dev
	$(BIN)/ruff check

check-format: setup-dev
	$(BIN)/ruff format --check

check-types: setup-dev
	$(BIN)/mypy

check-imports: setup-dev
	$(BIN)/lint-imports

check-docs: setup-dev
	$(BIN)/python tools/generate_documents.py --check

bench: setup-dev ## measure; prints tables of ratios
	$(PYTEST) -m bench -s tests/bench

chaos: setup-dev ## kill processes and the broker at every step
	$(PYTEST) -m "not bench" tests/chaos
	$(PYTEST) -m chaos tests --ignore tests/chaos

# atheris is no dependency: it is built for few versions of Python, and only this target needs it.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= json envelope request confirmation learning sla data topic

fuzz: setup-dev ## fuzz every decoder of the wire for a minute each
	$(BIN)/uv pip install --quiet --python $(BIN)/python 'atheris>=3,<4'
	set -e; for target in $(FUZZ_TARGETS); do \
		$(BIN)/python tests/fuzz/fuzz.py $$target .fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -print_final_stats=1; done

docs: setup-dev ## write the generated documents
	$(BIN)/python tools/generate_documents.py

format: setup-dev ## format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

LOCK := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --extra all --group build

lock: setup-dev ## resolve the dependencies anew (UPGRADE=--upgrade for newer ones)
	$(LOCK) $(UPGRADE) --output-file requirements/locked.txt
	$(LOCK) $(UPGRADE) --group dev --constraint requirements/locked.txt --output-file requirements/dev.txt

clean: ## remove the environment and all caches
	rm -rf $(VENV) build dist htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests tools -name __pycache__ -type d -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "FLOps needs Python 3.11 or newer, but $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
		echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		echo "The environment could not be made. On Debian and Ubuntu: apt install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.set-up: requirements/locked.txt pyproject.toml tools/set_up.py | $(VENV)/bin/python
	$(BIN)/python tools/set_up.py requirements/locked.txt
	@touch $@

$(VENV)/.set-up-dev: requirements/dev.txt pyproject.toml tools/set_up.py | $(VENV)/bin/python
	$(BIN)/python tools/set_up.py requirements/dev.txt
	@touch $@ $(VENV)/.set-up
