# Start with `make demo` and `make test`. `make help` lists all commands.

PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
PYTEST_WORKERS ?= auto
PYTEST_ARGS ?=
# One process runs a whole file. tests/conftest.py sorts the files by duration.
PYTEST_ORDER := --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo playground run test test-deep screenshots servers test-scaleout check bench clean

help:  ## Show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

demo: .venv/runtime  ## Run a scripted conversation with a simulated WeChat and check every reply (about a minute)
	$(BIN)/python -m wxbot playground --demo

playground: .venv/runtime  ## Start a local WeChat simulator: a web page where you chat with your bot
	$(BIN)/python -m wxbot playground

run: .venv/runtime  ## Run the bot with gunicorn, as in production (settings: docs/configuration.md)
	$(BIN)/python -m wxbot run

test: .venv/dev  ## Run all tests; unpacks Chromium for the browser tests if it is not installed
	@$(BIN)/python -m tests.servers.install browser
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) $(PYTEST_ORDER) $(PYTEST_ARGS)

test-deep: .venv/dev  ## Run all tests with many examples for the property tests and every pair of stores (for releases)
	@$(BIN)/python -m tests.servers.install
	TEST_DEPTH=deep $(BIN)/python -m pytest -n $(PYTEST_WORKERS) $(PYTEST_ORDER) $(PYTEST_ARGS)

screenshots: .venv/dev  ## Take the screenshots of README and docs again, in Chromium
	@$(BIN)/python -m tests.servers.install browser
	WXBOT_SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser/test_screenshots.py

servers: .venv/dev  ## Unpack Redis, Valkey, RabbitMQ and Chromium for the tests that use them; needs no root and starts nothing
	@$(BIN)/python -m tests.servers.install

test-scaleout: .venv/dev  ## Process ten thousand messages on five simulated hosts while hosts fail (five minutes, as root)
	$(BIN)/python -m tests.scaleout

check: .venv/dev  ## Check formatting, lint, types and package layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev  ## Measure speed: CPU per message compared with plain wechatpy, a burst, a thousand waiting handlers
	$(BIN)/python -m benchmarks

clean:  ## Remove all files that the commands above created
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .servers

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "wxbot needs Python 3.11 or newer, and none was found on the PATH."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "This Python has no venv module. On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: .venv/bin/python requirements.txt requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ .venv/runtime
