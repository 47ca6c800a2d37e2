# Everything a developer types. Each environment is built from its own lock file, with hashes.

PYTHON ?= python3
SOURCES := $(shell find src -type f -not -name '*.pyc') pyproject.toml hatch_build.py
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
install_into = .venv-build/bin/python -m pip --python $(1)/bin/python install --quiet --disable-pip-version-check
WHEEL := build/wheel/.built
# "no" leaves the gateway's call path interpreted (after `make clean`); see hatch_build.py.
COMPILE ?= yes
COMPILED_TESTS := tests/unit/primitives/http1 tests/unit/strongroom/gateway tests/unit/strongroom/leases tests/unit/platform/traces/understanding tests/unit/platform/traces/ingest/test_decoding.py tests/unit/platform/traces/ingest/test_counting.py
RUN_DEV := KEYLEASE_STRONGROOM_PYTHON=$(CURDIR)/.venv-strongroom/bin/python .venv-dev/bin/python
UP_OPTIONS ?=
# Percent of branches and lines in this process; what child processes run is not counted, nor what
# tests/conftest.py leaves out. Only rises. TEST_OPTIONS=--cov-report=html shows where.
COVERAGE_FLOOR := 80
# On two cores; one more, because many tests wait for processes that they started.
TEST_PROCESSES := 3

.DEFAULT_GOAL := help
.PHONY: help up demo install test postgresql check format lock bench clean docs

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

up: install ## Set everything up and start the product
	@KEYLEASE_PROMISES_FILE=$(CURDIR)/build/promises.json .venv/bin/keylease up $(UP_OPTIONS)

demo: install ## Show a first call with a simulated provider: no account, no key
	@.venv/bin/keylease demo

install: .venv/.installed .venv-strongroom/.installed ## Build the product's two environments

test: .venv-dev/.installed .venv-strongroom/.installed .venv/.installed ## Set everything up and run all tests
	$(RUN_DEV) -m pytest -n $(TEST_PROCESSES) --dist worksteal --cov --cov-report= $(or $(TEST_OPTIONS),--cov-fail-under=$(COVERAGE_FLOOR))
	PYTHONPATH=build/wheel/unpacked $(RUN_DEV) -m pytest -n $(TEST_PROCESSES) --dist worksteal $(COMPILED_TESTS)

postgresql: .venv-dev/.installed .venv-strongroom/.installed ## Run tests of whole servers again, on PostgreSQL
	$(RUN_DEV) -m pytest -n $(TEST_PROCESSES) --dist worksteal -p tests.support.on_postgresql tests/integration/platform tests/integration/link tests/promises

check: .venv-dev/.installed ## Lint, types, import contracts, documentation
	.venv-dev/bin/ruff check
	.venv-dev/bin/ruff format --check
	.venv-dev/bin/mypy
	.venv-dev/bin/lint-imports
	.venv-dev/bin/python -m docs.generate --check

format: .venv-dev/.installed ## Format the code and mend what the linter can
	.venv-dev/bin/ruff check --fix
	.venv-dev/bin/ruff format

docs: .venv-dev/.installed ## Write the generated reference pages again
	.venv-dev/bin/python -m docs.generate

bench: .venv-dev/.installed .venv-strongroom/.installed ## Compare side by side with the peers that are installed
	$(RUN_DEV) bench/run.py $(BENCH_OPTIONS)
	-$(RUN_DEV) bench/platform_server.py
	-$(RUN_DEV) bench/access.py
	-$(RUN_DEV) bench/audit.py
	-$(RUN_DEV) bench/scan_speed.py
	-$(RUN_DEV) bench/scan/run.py
	-$(RUN_DEV) bench/traces/run.py $(TRACES_BENCH_OPTIONS)

lock: .venv-dev/.installed ## Resolve the dependencies again
	$(call compile,pyproject.toml --extra aws --extra keyring --extra server --extra tracing,base)
	$(call compile,requirements/strongroom.in,strongroom)
	$(call compile,requirements/build.in,build)
	$(call compile,pyproject.toml --extra aws --extra grpc --extra keyring --extra server --extra tracing --group dev,dev)

define compile
.venv-dev/bin/uv pip compile -q --upgrade --universal --generate-hashes --no-header --python-version 3.11 $(1) -o requirements/$(2).lock

endef

clean: ## Remove environments and build files
	rm -rf .venv .venv-dev .venv-strongroom .venv-build build dist

.venv-build/.installed: requirements/build.lock
	@echo "Preparing the build environment ..."
	@$(PYTHON) -m venv --clear .venv-build
	@.venv-build/bin/python $(PIP_INSTALL) --require-hashes -r $<
	@touch $@

$(WHEEL): .venv-build/.installed $(SOURCES) README.md LICENSE
	@echo "Building the product (with a C compiler: about a minute) ..."
	@rm -rf build/wheel && mkdir -p build/wheel
	@KEYLEASE_COMPILE=$(COMPILE) .venv-build/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w build/wheel .
	@! ls build/wheel/*-none-any.whl >/dev/null 2>&1 || echo "The gateway's call path is interpreted here and takes twice the time; see hatch_build.py."
	@.venv-build/bin/python -m zipfile -e build/wheel/keylease-*.whl build/wheel/unpacked
	@touch $@

.venv/.dependencies: requirements/base.lock
	@echo "Installing the product's dependencies ..."
	@$(PYTHON) -m venv --clear .venv
	@.venv/bin/python $(PIP_INSTALL) --no-deps --require-hashes -r $<
	@touch $@

# Without pip, so that nothing but the lock file's distributions and no .pth file lies beside a key.
.venv-strongroom/.dependencies: requirements/strongroom.lock .venv-build/.installed
	@echo "Installing the strongroom's own environment ..."
	@$(PYTHON) -m venv --clear --without-pip .venv-strongroom
	@$(call install_into,.venv-strongroom) --require-hashes -r $<
	@touch $@

.venv/.installed .venv-strongroom/.installed: %/.installed: %/.dependencies $(WHEEL)
	@$(call install_into,$*) --no-deps --force-reinstall build/wheel/keylease-*.whl
	@touch $@

.venv-dev/.dependencies: requirements/dev.lock
	@echo "Installing the development environment ..."
	@$(PYTHON) -m venv --clear .venv-dev
	@.venv-dev/bin/python $(PIP_INSTALL) --no-deps --require-hashes -r $<
	@touch $@

.venv-dev/.installed: .venv-dev/.dependencies pyproject.toml
	@.venv-dev/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@
