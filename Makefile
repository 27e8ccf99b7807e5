# Needs Python 3.11+, git and make; each target sets up what it needs in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Of the tests; more than there are cores, as many wait for a service or a time limit.
WORKERS ?= 3
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.PHONY: demo test lint bench screenshots lock clean

demo: $(VENV)/server.stamp
	$(BIN)/monitor demo

test: $(VENV)/dev.stamp lint
	$(BIN)/python -m tests.tools.browser
	$(BIN)/python -m tests.tools.clickhouse_library
	$(BIN)/python -m tests.tools.system
	$(BIN)/python -m tests.tools.javascript
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST)

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.receivers
	$(BIN)/python -m benchmarks.sdk
	$(BIN)/python -m benchmarks.sdk_memory
	$(BIN)/python -m benchmarks.sdk_others
	$(BIN)/python -m benchmarks.bias

screenshots: $(VENV)/dev.stamp
	$(BIN)/python -m tests.tools.browser
	$(BIN)/python docs/screenshots.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is wanted; name one with PYTHON=…" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/server.stamp: $(BIN)/python requirements/server.txt pyproject.toml
	@echo "installing the service into $(VENV) …"
	$(PIP) install --require-hashes -r requirements/server.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(BIN)/python requirements/dev.txt pyproject.toml
	@echo "installing the service and its tests into $(VENV) …"
	$(PIP) install --require-hashes -r requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/server.stamp

# Writes the locked requirements anew, without index addresses; needs uv.
lock:
	uv pip compile -q pyproject.toml --extra server --extra build --generate-hashes --no-header --universal --python-version 3.11 -o requirements/server.txt
	uv pip compile -q pyproject.toml --extra server --extra build --extra dev --generate-hashes --no-header --universal --python-version 3.11 -o requirements/dev.txt

clean:
	rm -rf $(VENV) demo-data .pytest_cache .mypy_cache .ruff_cache .hypothesis
