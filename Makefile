# Thin names over scripts/ and .venv/bin. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup run test check fast bench coverage site release lock format clean

BIN := .venv/bin
# Test processes that run side by side.
N ?= 2
PYTEST := $(BIN)/python -m pytest -n $(N) --dist loadgroup

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## make .venv with every dependency and tool (PYTHON=... chooses the interpreter)
	@scripts/setup.sh

run: setup  ## start Tidegate on real flight data and show what it does (KEEP=1 leaves it running)
	$(BIN)/python examples/flights.py $(if $(KEEP),--keep)

test: setup  ## run every test, the slow ones too (ARGS=... is passed to pytest)
	@scripts/setup.sh --test-packages
	$(PYTEST) $(ARGS)

fast: setup  ## run the fast tests alone
	$(PYTEST) -m "not slow and not servers" $(ARGS)

check: setup  ## format, lint, types, import directions, lock files, fast tests: about a minute
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	scripts/lock.sh --check
	$(PYTEST) -m "not slow and not servers" $(ARGS)

bench: setup  ## run the benchmarks (BENCH=... is passed to them)
	$(BIN)/python -m benchmarks $(BENCH)

coverage: setup  ## run every test with branch coverage, also of the processes they start
	$(PYTEST) --cov --cov-report=term --cov-report=html $(ARGS)

site: setup  ## write the documentation as a site into site/; a link that leads nowhere fails it
	$(BIN)/zensical build --clean --strict

release: setup  ## build and try a release, list its parts, look for known weaknesses; publishes nothing
	scripts/release.sh

lock: setup  ## write the lock files anew; UPGRADE=1 takes new versions
	scripts/lock.sh

format: setup  ## format the code and mend what the linter can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## remove caches, reports and builds; .venv stays
	rm -rf build dist site htmlcov .coverage .coverage.* coverage.xml .hypothesis .schemathesis \
	  .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests examples benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
