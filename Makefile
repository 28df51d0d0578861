# make build   the program, bin/autoglm-sidecar
# make test    everything that has to hold; sets itself up on a fresh Debian machine
# make demo    a worker restarted and the sidecar killed under load, in 40 seconds
# make help    the rest

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

GO ?= go
BIN := bin/autoglm-sidecar
RACE_BIN := bin/autoglm-sidecar-race
VERSION ?= $(shell tools/version.sh)

# The keeper is the program's entry point. An external linker drops -E without a word: hence no cgo, and internal
# linking for the race build, which needs it.
LDFLAGS := -E autoglm-sidecar/sockets/keeper.Entry -X autoglm-sidecar/supervisor/cli.version=$(VERSION)
RACE_LDFLAGS := -linkmode=internal $(LDFLAGS)

.PHONY: build
build: $(BIN) ## the program: one static file for any image

# Always asked for: only go knows whether something changed.
.PHONY: $(BIN) $(RACE_BIN)
$(BIN):
	@tools/setup.sh go
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ .
	@tools/verify.sh $@

$(RACE_BIN):
	@tools/setup.sh go gcc
	CGO_ENABLED=1 $(GO) build -race -trimpath -ldflags '$(RACE_LDFLAGS)' -o $@ .
	@tools/verify.sh $@

.PHONY: test
test: lint $(BIN) $(RACE_BIN) ## linters, then all tests with -race, then end-to-end tests with the shipped build and a race build
	@tools/test.sh

.PHONY: lint
lint: ## gofumpt, vet, fix, staticcheck, exhaustive switches
	@tools/setup.sh go gcc
	@tools/lint.sh

.PHONY: demo
demo: $(BIN) ## a worker restarted and the sidecar killed under load
	@$(BIN) demo

FUZZTIME ?= 10s
.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10s)
	@tools/setup.sh go
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .tools

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 14
