# Everything one needs to know: make demo, make test. `make help` lists the rest.

PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
PYTEST_WORKERS ?= auto
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo playground run test screenshots servers test-scaleout check bench clean

help:  ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

demo: .venv/runtime  ## A scripted conversation between a fake WeChat and the bot, with a verdict (about a minute)
	$(BIN)/python -m wxbot playground --demo

playground: .venv/runtime  ## Start a local WeChat simulator: a web page where you chat with your bot
	$(BIN)/python -m wxbot playground

run: .venv/runtime  ## Serve the bot with gunicorn, as in production (settings: docs/configuration.md)
	$(BIN)/python -m wxbot run

test: .venv/dev  ## Every test; for the browser's, Chromium is unpacked where there is none
	@$(BIN)/python -m tests.servers.install browser
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

screenshots: .venv/dev  ## Take the pictures in README and docs anew, in Chromium
	@$(BIN)/python -m tests.servers.install browser
	WXBOT_SCREENSHOTS=1 $(BIN)/python -m pytest tests/browser/test_screenshots.py

servers: .venv/dev  ## Real Redis, Valkey, RabbitMQ and Chromium for the tests that use them; without root, nothing is started
	@$(BIN)/python -m tests.servers.install

test-scaleout: .venv/dev  ## Ten thousand messages over five hosts while they fail; five minutes, as root
	$(BIN)/python -m tests.scaleout

check: .venv/dev  ## Formatting, lint, types and layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev  ## Speed: CPU for each message beside wechatpy by hand, a burst, a thousand waiting handlers
	$(BIN)/python -m benchmarks

clean:  ## Remove what the commands above have made
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
