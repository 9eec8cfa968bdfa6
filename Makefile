# `make help` lists the targets. Each makes the virtual environment that it needs.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
FLOOR_VENV ?= .venv-floor
WORKERS ?= auto
ONCE ?=
ARGS ?=

BIN := $(VENV)/bin
PIP := -m pip --quiet --disable-pip-version-check
PACKAGING := pyproject.toml install.json $(wildcard jupyter-config/*/*.json) \
  $(wildcard jupyter_wshandler/labextension/*.json jupyter_wshandler/labextension/static/*)
EXAMPLE := examples/pingbot/wshandler.yaml
export PIP_ROOT_USER_ACTION := ignore

# Create a virtual environment in $(1), where there is none, with words for what may be missing.
define create-venv
	@if ! command -v $(PYTHON) >/dev/null; then \
	  echo "There is no $(PYTHON) here. Install Python 3.11 or newer, or name one: make PYTHON=..." >&2; \
	  exit 1; \
	fi
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  echo "$$($(PYTHON) --version) is too old: 3.11 or newer is needed. Name one: make PYTHON=python3.12" >&2; \
	  exit 1; \
	fi
	@PYTHON=$(PYTHON) .ci/debian-packages venv
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; \
	  exit 1; \
	fi
	@echo "Creating $(1) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(1)
endef

$(VENV)/bin/python:
	$(call create-venv,$(VENV))

$(FLOOR_VENV)/bin/python:
	$(call create-venv,$(FLOOR_VENV))

# The stamps say what is installed: a second run installs nothing.
$(VENV)/.installed: $(PACKAGING) | $(VENV)/bin/python
	@echo "Installing the package into $(VENV)"
	@$(BIN)/python $(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: $(PACKAGING) | $(VENV)/bin/python
	@echo "Installing the package and its tools into $(VENV)"
	@$(BIN)/python $(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: $(PACKAGING) | $(VENV)/bin/python
	@echo "Installing the package and what it is measured against into $(VENV)"
	@$(BIN)/python $(PIP) install --editable '.[bench]'
	@touch $@ $(VENV)/.installed

$(FLOOR_VENV)/.installed: $(PACKAGING) .ci/floor.txt | $(FLOOR_VENV)/bin/python
	@echo "Installing the package with its oldest dependencies into $(FLOOR_VENV)"
	@$(FLOOR_VENV)/bin/python $(PIP) install --editable '.[test]' --constraint .ci/floor.txt
	@touch $@

# JupyterHub's proxy is a program for node; npm takes its newest version for the node there is.
# Without npm there is none, and its tests are skipped.
%/.installed-proxy: | %/bin/python
	@.ci/debian-packages node
	@if ! command -v npm >/dev/null; then \
	  echo "There is no npm here; going on without JupyterHub's proxy." >&2; \
	else \
	  echo "Installing JupyterHub's proxy into $*"; \
	  if log=$$(npm install --global --prefix '$*' --no-audit --no-fund --no-update-notifier \
	    --loglevel=error 'configurable-http-proxy@4.6 || 5' 2>&1 </dev/null); then touch $@; else \
	    echo "$$log" >&2; echo "Could not install JupyterHub's proxy; going on without." >&2; fi; \
	fi

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | \
	  while IFS=$$'\t' read -r target words; do printf '  make %-14s %s\n' "$$target" "$$words"; done

.PHONY: demo
demo: $(VENV)/.installed ## talk to the example bots, then serve their page (ONCE=1: end after the talk)
	@$(BIN)/python -m jupyter_wshandler demo $(if $(ONCE),--once) $(ARGS)

.PHONY: hub
hub: $(VENV)/.installed-dev $(VENV)/.installed-proxy ## start a JupyterHub with bots to click through (PORT=9000: elsewhere; LAB=0: no JupyterLab)
	@if ! [ -x $(BIN)/configurable-http-proxy ]; then \
	  echo "JupyterHub needs its proxy, and that needs npm. On Debian: apt-get install nodejs npm" >&2; \
	  exit 1; \
	fi
	@exec $(BIN)/python -m jupyterhub --config=examples/jupyterhub/jupyterhub_config.py $(ARGS)

.PHONY: scale
scale: $(VENV)/.installed-dev ## start three servers with the same rooms behind nginx (ARGS='--port 9000': elsewhere)
	@PYTHON=$(PYTHON) .ci/debian-packages nginx redis
	@exec $(BIN)/python examples/scale/run.py $(ARGS)

.PHONY: test
test: packages proxy frontend lint types examples ## everything: style, layers, types, examples, tests with real parts
	@echo "== pytest"
	@.ci/pytest $(BIN)/python $(WORKERS) $(ARGS)

.PHONY: packages
packages: ## install the Debian packages that tests need, where this user may
	@PYTHON=$(PYTHON) .ci/debian-packages \
	  venv chromium firefox curl nginx proxies openssl redis prometheus compiler tmux

.PHONY: proxy
proxy: $(VENV)/.installed-proxy ## install JupyterHub's proxy, where npm is there

.PHONY: frontend
frontend: $(VENV)/.installed-dev ## install what the example for Vite needs, where npm is there
	@.ci/debian-packages node
	@PYTHONPATH=tests $(BIN)/python -m support.frontend || echo "Going on without the example for Vite." >&2

.PHONY: lint
lint: $(VENV)/.installed-dev ## check style, layers and sizes
	@echo "== ruff"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@echo "== import-linter"
	@$(BIN)/lint-imports
	@echo "== house"
	@$(BIN)/python .ci/house

.PHONY: types
types: $(VENV)/.installed-dev ## check types
	@echo "== mypy"
	@$(BIN)/mypy

.PHONY: examples
examples: $(VENV)/.installed-dev ## check the examples and hold the demo's conversation
	@echo "== examples"
	@$(BIN)/python -m jupyter_wshandler check $(EXAMPLE)
	@$(BIN)/python -m jupyter_wshandler check examples/jupyterhub/routes/wshandler.yaml
	@$(BIN)/python -m jupyter_wshandler check examples/jupyterhub-service/routes/wshandler.yaml
	@$(BIN)/python -m jupyter_wshandler check examples/scale/wshandler.yaml
	@$(BIN)/python -m jupyter_wshandler demo --once

.PHONY: fmt
fmt: $(VENV)/.installed-dev ## put the code into style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

.PHONY: test-floor
test-floor: packages $(FLOOR_VENV)/.installed $(FLOOR_VENV)/.installed-proxy ## run the tests with the oldest supported dependencies
	@$(FLOOR_VENV)/bin/python $(PIP) freeze | grep -iE '^(jupyter.server|tornado|msgspec|websockets)=='
	@.ci/pytest $(FLOOR_VENV)/bin/python $(WORKERS) $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.installed-dev ## run the property tests for long
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile \
	  -m hypothesis --timeout=3600 $(ARGS)

.PHONY: endurance
endurance: $(VENV)/.installed-dev ## run the long tests in full size and print what they measure
	@$(BIN)/python -m pytest -m endurance -rP $(ARGS)

.PHONY: abuse
abuse: $(VENV)/.installed-dev ## abuse a server and a raw Tornado handler, and write docs/abuse.md
	@PYTHONPATH=tests $(BIN)/python -m support.abuse

.PHONY: who-gets-in
who-gets-in: $(VENV)/.installed-dev $(VENV)/.installed-proxy ## ask a real Hub who gets in, and write docs/deploy/who-gets-in.md
	@PYTHONPATH=tests $(BIN)/python -m support.admission

.PHONY: proxies
proxies: packages $(VENV)/.installed-dev $(VENV)/.installed-proxy ## measure proxies in front of a server, and write docs/deploy/proxies.md
	@PYTHONPATH=tests $(BIN)/python -m support.proxymatrix

.PHONY: notebooks
notebooks: $(VENV)/.installed-dev ## run the notebooks against a real server and keep their outputs
	@PYTHONPATH=tests $(BIN)/python -m support.notebooks $(ARGS)

.PHONY: picture
picture: $(VENV)/.installed-dev ## film the README's cells in a real JupyterLab, and write docs/images/notebook.gif
	@PYTHON=$(PYTHON) .ci/debian-packages chromium
	@PYTHONPATH=tests $(BIN)/python -m support.picture $(ARGS)

.PHONY: bench
bench: $(VENV)/.installed-bench ## measure against other servers, and write docs/benchmarks/
	@PYTHON=$(PYTHON) .ci/debian-packages compiler openssl
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-tls
bench-tls: $(VENV)/.installed-bench ## measure echo over TLS
	@PYTHON=$(PYTHON) .ci/debian-packages compiler openssl
	@$(BIN)/python -m benchmarks.tls $(ARGS)

.PHONY: bench-kernels
bench-kernels: $(VENV)/.installed-bench ## measure bots in a notebook's kernel
	@PYTHON=$(PYTHON) .ci/debian-packages compiler
	@$(BIN)/python -m benchmarks.kernels $(ARGS)

.PHONY: profile
profile: $(VENV)/.installed-bench ## say where a server's time goes (ARGS=--def, ARGS=--handshake: of what)
	@PYTHON=$(PYTHON) .ci/debian-packages compiler
	@$(BIN)/python -m benchmarks.profile $(ARGS)

.PHONY: clean
clean: ## remove what these targets made
	@rm -rf $(VENV) $(FLOOR_VENV) build dist benchmarks/build .hypothesis .mypy_cache \
	  .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
