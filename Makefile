# Proue: one command each. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -q
UV_COMPILE := uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 --custom-compile-command "make lock" -q

CLIENTS := clients-old clients-frameworks

.PHONY: help setup setup-dev clients run test check bench bench-peers bench-national soak lock messages clean

help:
	@echo "make setup   .venv with the pinned libraries that Proue needs to run"
	@echo "make run     set-up, then everything on http://127.0.0.1:8400 with the demonstration world"
	@echo "make test    set-up, then the whole test suite"
	@echo "make check   format, lint, types, import contracts, translations, fast tests"
	@echo "make bench   benchmarks; prints tables"
	@echo "make bench-peers   the same load through LiteLLM's proxy, in an environment of its own"
	@echo "make soak    an hour of mixed load, faults and outages; prints each minute, then what must hold"
	@echo "make bench-national   the same at the size of a country: half an hour and 10 GB of disk"

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A stamp holds the digest of what is installed: a changed lock re-installs, an unchanged one costs nothing.
$(VENV)/run.stamp: requirements/run.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/run.lock
	$(PIP) install --no-deps --no-build-isolation -e .
	$(BIN)/python -m proue.config.messages
	@touch $@

$(VENV)/dev.stamp: requirements/dev.lock $(VENV)/run.stamp
	$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@

# Clients and peers of the gateway: their pins contradict ours, so each set has an environment of its own.
.others/%.stamp: requirements/%.lock
	$(PYTHON) -m venv --clear .others/$*
	.others/$*/bin/python -m pip --disable-pip-version-check --no-input -q install --require-hashes -r $<
	@touch $@

clients: $(CLIENTS:%=.others/%.stamp)

setup: $(VENV)/run.stamp
setup-dev: $(VENV)/dev.stamp

run: setup
	$(BIN)/proue up

test: setup-dev clients
	$(BIN)/python -m pytest

check: setup-dev
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m proue.config.messages --check
	$(BIN)/python -m pytest -q -m "not browser and not load and not slow"

bench: setup-dev
	$(BIN)/python -m bench

bench-peers: setup-dev .others/peers-litellm.stamp
	$(BIN)/python -m bench.peers

bench-national: setup-dev
	$(BIN)/python -m bench.national

soak: setup-dev
	$(BIN)/python -m bench.soak $(if $(SECONDS),--seconds $(SECONDS))

# Writes the locks anew; needs uv on the path. Never records where a package came from.
lock:
	$(UV_COMPILE) requirements/run.in requirements/build.in -o requirements/run.lock
	$(UV_COMPILE) requirements/llama.in requirements/build.in -o requirements/llama.lock
	$(UV_COMPILE) requirements/dev.in requirements/build.in -o requirements/dev.lock
	for other in $(CLIENTS) peers-litellm; do $(UV_COMPILE) requirements/$$other.in -o requirements/$$other.lock; done

messages: setup
	$(BIN)/python -m proue.config.messages --update

clean:
	rm -rf $(VENV) .others build .mypy_cache .ruff_cache .pytest_cache
