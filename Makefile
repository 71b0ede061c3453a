# Every chore of this project. `make sweep` and `make test` work on a fresh machine with Python and make.

TORCH_BACKEND ?=
BIN := .venv/bin
PYTHON := $(BIN)/python
UV := $(shell command -v uv 2>/dev/null || echo .venv/uv/bin/uv)
INSTALL = $(UV) pip install --quiet --compile-bytecode --python $(PYTHON) $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND))

QUICK := not e2e and not cluster and not long and not browser and not faults
# The files that have tests of a suite: to collect all tests takes most of a minute.
with = $(shell grep -rlE 'mark\.$(1)\b' tests --include='test_*.py' | sort)

.DEFAULT_GOAL := help

help:  ## List the chores
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'
	@echo "  TORCH_BACKEND=cpu|cu128|auto ... chooses the torch build that uv installs"

.venv/uv/bin/uv:
	python3 -m venv .venv/uv
	.venv/uv/bin/python -m pip install --quiet uv

$(PYTHON): | $(UV)
	$(UV) venv --quiet --allow-existing --python '>=3.11' .venv

# Two stamps: running needs less than testing. Bytecode is compiled once: where PYTHONDONTWRITEBYTECODE is set, as in many
# containers, every process would compile torch and Ray anew, and a sweep take twice as long to start.
.venv/run.stamp: pyproject.toml | $(PYTHON)
	$(INSTALL) -e '.[dashboard,png]'
	@touch $@

.venv/dev.stamp: pyproject.toml | $(PYTHON)
	$(INSTALL) -e '.[dashboard,png,dev]'
	@touch $@ .venv/run.stamp

sweep: .venv/run.stamp  ## The main job on real data, about 3 minutes: a frontier of TRADES on digits
	$(PYTHON) run_sweep.py search_spaces/trades_beta.yaml

test: .venv/dev.stamp  ## All tests but the slow suites
	$(PYTHON) -m pytest -n 2 --dist loadfile -m '$(QUICK)'

test-e2e: .venv/dev.stamp  ## A user's commands from end to end
	$(PYTHON) -m pytest -n 2 --dist load -m e2e $(call with,e2e)

test-cluster: .venv/dev.stamp  ## Sweeps on a local Ray cluster, killed and resumed
	$(PYTHON) -m pytest -n 2 --dist load --timeout 600 -m 'cluster and not long' $(call with,cluster)

test-long: .venv/dev.stamp  ## Further sweeps on clusters, minutes each, an autoscaler among them; as root on Linux, not in CI
	$(PYTHON) -m pytest -m long $(call with,long)

test-faults: .venv/dev.stamp  ## Real processes killed at random moments, files damaged, storage gone: other rounds every day
	$(PYTHON) -m pytest -n 2 --dist loadfile -m faults $(call with,faults)

test-browser: .venv/dev.stamp  ## The report in headless Chromium
	$(PYTHON) -m pytest -m browser $(call with,browser)

test-oldest: | $(UV)  ## All tests but the slow suites, on the oldest versions that pyproject.toml allows
	$(UV) venv --quiet --allow-existing --python '>=3.11' .venv/oldest
	$(UV) pip install --quiet --compile-bytecode --python .venv/oldest/bin/python --resolution lowest-direct -e '.[dashboard,png,dev]'
	.venv/oldest/bin/python -m pytest -n 2 --dist loadfile -m '$(QUICK)'

test-trackers: | $(UV)  ## Listeners that speak to MLflow and Weights & Biases, in an environment of their own
	$(UV) venv --quiet --allow-existing --python '>=3.11' .venv/trackers
	$(UV) pip install --quiet --compile-bytecode --python .venv/trackers/bin/python -e '.[dashboard,mlflow,wandb,dev]'
	.venv/trackers/bin/python -m pytest tests/sweeps/test_trackers.py

test-all: test test-e2e test-cluster test-faults test-browser  ## Everything

lint: .venv/dev.stamp  ## Style, and weaknesses that bandit knows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml robustray sweeps analysis run_sweep.py

format: .venv/dev.stamp  ## Mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

audit: .venv/dev.stamp  ## Known weaknesses: bandit over the code, pip-audit over what it needs, where there is a network
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml robustray sweeps analysis run_sweep.py
	UV="$(UV)" $(PYTHON) -m tests.audited

types: .venv/dev.stamp  ## Types, strict
	$(BIN)/mypy

contracts: .venv/dev.stamp  ## Which package may import which
	$(BIN)/lint-imports --no-logo

reference: .venv/dev.stamp  ## docs/reference, from the fields of the options
	$(PYTHON) -m sweeps.space.reference

schema: .venv/dev.stamp  ## search_spaces/schema.json for editors, from the same fields
	$(PYTHON) -m sweeps.space.schema

docs: .venv/dev.stamp  ## The documentation as a site, in site/; a link that leads nowhere is a failure
	$(BIN)/zensical build --clean --strict

release: | $(UV)  ## Build wheel and sdist in dist/, check both, and sweep with each in an environment of its own
	rm -rf dist
	$(UV) build --quiet --out-dir dist .
	$(UV) tool run --quiet twine check --strict dist/*.whl dist/*.tar.gz
	for built in dist/*.whl dist/*.tar.gz; do \
	    $(UV) venv --quiet --clear --python '>=3.11' dist/env && \
	    $(UV) pip install --quiet --compile-bytecode --python dist/env/bin/python $$built && \
	    (cd dist && env/bin/run-sweep trades_beta --fresh --backend local --trials 2 --set trial.schedule.epochs=1 && \
	     env/bin/python -m analysis report results/trades_beta --no-png && env/bin/robustray doctor) || exit 1; \
	done

clean:  ## Remove the environment and caches; results stay
	rm -rf .venv dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
