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
build: tools-build ## Build the release binary
	cargo build --release --locked --package myriad

.PHONY: install
install: tools-build ## Install `myriad` into cargo's bin folder
	cargo install --locked --path crates/cli

.PHONY: model
model: ## Get the default model into the cache (98 MB), checked by its SHA-256
	@tools/default_model.sh "$(CACHE)/models"

.PHONY: test
test: tools-build tools-test model ## Everything that checks the project
	tools/test.sh

.PHONY: bench
bench: build $(WANTED) ## Measure this machine: prefill and decode tokens/s on the default model
	"$(MYRIAD)" bench "$(MODEL)" $(ARGS)

.PHONY: tools-build tools-test
tools-build:
	@tools/require.sh build
tools-test:
	@tools/require.sh test
