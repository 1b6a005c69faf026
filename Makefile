# Two commands do everything: `make serve` and `make test`. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/myriad
# One target folder for every clone: a second build is quick, wherever it happens.
export CARGO_TARGET_DIR ?= $(CACHE)/target
DEFAULT_MODEL := $(CACHE)/models/SmolLM2-135M-Instruct.Q4_1.gguf
MODEL ?= $(DEFAULT_MODEL)
# A model of your own needs no download.
WANTED := $(if $(filter $(DEFAULT_MODEL),$(MODEL)),model)
HOST ?= 127.0.0.1
PORT ?= 8080
# Where Node is missing the server is built without its chat, as it is with `make build WEB=`.
WEB ?= $(if $(shell tools/require.sh node),web)
MYRIAD := $(CARGO_TARGET_DIR)/release/myriad

.PHONY: help
help: ## Show this list
	@echo "Myriad. Start with:  make serve"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: serve
serve: build $(WANTED) ## Build, get the default model, serve it at http://127.0.0.1:8080
	exec "$(MYRIAD)" serve "$(MODEL)" --host "$(HOST)" --port "$(PORT)" $(ARGS)

.PHONY: chat
chat: build $(WANTED) ## Chat with the default model in the terminal
	exec "$(MYRIAD)" chat "$(MODEL)" $(ARGS)

.PHONY: build
build: tools-build $(WEB) ## Build the release binary, with the chat in it
	cargo build --release --locked --package myriad

.PHONY: install
install: tools-build $(WEB) ## Install `myriad` into cargo's bin folder
	cargo install --locked --path crates/cli

WEB_SOURCES := $(shell find web/src web/public web/tools -type f) web/index.html \
	web/vite.config.ts web/svelte.config.js
.PHONY: web
web: web/dist/index.html ## Build the chat that the binary carries
web/dist/index.html: web/node_modules/.package-lock.json $(WEB_SOURCES)
	npm --prefix web run build --silent
web/node_modules/.package-lock.json: web/package-lock.json
	npm --prefix web ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: model
model: ## Get the default model into the cache (98 MB), checked by its SHA-256
	@tools/default_model.sh "$(CACHE)/models"

.PHONY: test
test: tools-build tools-test $(WEB) model ## Everything that checks the project
	tools/test.sh

.PHONY: bench
bench: build $(WANTED) ## Measure this machine: prefill and decode tokens/s on the default model
	"$(MYRIAD)" bench "$(MODEL)" $(ARGS)

.PHONY: tools-build tools-test
tools-build:
	@tools/require.sh build
tools-test:
	@tools/require.sh test
