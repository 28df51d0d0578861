# make build   the program, bin/autoglm-sidecar, and beside it the one that reads NVML
# make test    everything that has to hold; sets itself up on a fresh Debian machine
# make demo    a worker restarted, a leak foreseen and the sidecar killed under load, in a minute
# make help    the rest

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

GO ?= go
BIN := bin/autoglm-sidecar
VERSION ?= $(shell tools/version.sh)

# The keeper is the program's entry point. An external linker drops -E without a word: hence no cgo.
LDFLAGS := -E autoglm-sidecar/sockets/keeper.Entry -X autoglm-sidecar/supervisor/cli.version=$(VERSION)

# The program beside it has cgo, and so a linker of the system. What that finds of NVML's functions is decided when they are
# called: hence lazy. The warnings are of go-nvml's bindings, which have all that is deprecated, too.
NVML := bin/autoglm-sidecar-nvml
NVML_BUILD = CGO_ENABLED=1 CGO_CFLAGS='-O2 -g -Wno-deprecated-declarations' $(GO) build -trimpath \
	-ldflags '-X main.version=$(VERSION) -extldflags=-Wl,-z,lazy' -o $@ ./gpu/nvml

.PHONY: build
build: $(BIN) $(NVML) ## the program, one static file for any image, and the one that reads NVML

.PHONY: $(BIN) # always asked for: only go knows whether something changed
$(BIN):
	@tools/setup.sh go
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ .
	@tools/verify.sh $@

.PHONY: nvml
nvml: $(NVML) ## the program that reads NVML; it needs glibc

.PHONY: $(NVML)
$(NVML):
	@tools/setup.sh go gcc
	$(NVML_BUILD)
	@tools/verify-nvml.sh $@

.PHONY: nvml-arm64
nvml-arm64: $(NVML)-arm64 ## the same for arm64, cross-built

.PHONY: $(NVML)-arm64
$(NVML)-arm64:
	@tools/setup.sh go gcc_arm64
	GOARCH=arm64 CC=aarch64-linux-gnu-gcc $(NVML_BUILD)
	@tools/verify-nvml.sh $@

.PHONY: test
test: lint build ## linters, all tests with -race, end-to-end tests with the shipped build and a race build
	@tools/setup.sh prometheus
	@tools/test.sh

.PHONY: lint
lint: ## gofumpt, vet, fix, staticcheck, exhaustive switches
	@tools/setup.sh go gcc
	@tools/lint.sh

# A stand-in for NVIDIA's library, for those who have no GPU: it says what a file says.
DOUBLE := bin/double/libnvidia-ml.so.1
$(DOUBLE): gpu/nvml/double/library/libnvidia-ml.c
	@tools/setup.sh go gcc
	@mkdir -p $(@D)
	$${CC:-gcc} -shared -fPIC -O1 -Wall -pthread -Wl,-soname,$(@F) -I"$$($(GO) list -m -f '{{.Dir}}' github.com/NVIDIA/go-nvml)/pkg/nvml" -o $@ $<

.PHONY: demo
demo: build $(DOUBLE) ## a worker restarted, a leak foreseen and the sidecar killed under load
	@$(BIN) demo --gpu-library $(abspath $(DOUBLE))

KILLS ?= 50
STREAMS ?= 256
.PHONY: crash-gate
crash-gate: ## KILLS=50 deaths of the runner under STREAMS=256 streams, in each of eight ways; as large as you like
	@tools/setup.sh go gcc
	AUTOGLM_SIDECAR_KILLS=$(KILLS) AUTOGLM_SIDECAR_STREAMS=$(STREAMS) tools/test.sh e2e CrashGate

RESTARTS ?= 5
OPEN ?= 100
.PHONY: soak
soak: ## RESTARTS=5 restarts of the worker, at each of which OPEN=100 streams are open; full size: RESTARTS=20 OPEN=500
	@tools/setup.sh go
	AUTOGLM_SIDECAR_RESTARTS=$(RESTARTS) AUTOGLM_SIDECAR_OPEN=$(OPEN) tools/test.sh e2e Soak

MINUTES ?= 10
.PHONY: saturated
saturated: ## a worker that answers no probe for MINUTES=10 while its streams flow is not restarted
	@tools/setup.sh go
	AUTOGLM_SIDECAR_SATURATED=$$(( $(MINUTES) * 60 )) tools/test.sh e2e Saturated

ROUNDS ?= 5
WINDOW ?= 20s
LOADS ?=
.PHONY: bench
bench: $(BIN) ## what the sidecar costs beside HAProxy, nginx and ReverseProxy; ROUNDS=5 of WINDOW=20s, LOADS=sse,unary: some only
	@tools/setup.sh haproxy nginx
	$(GO) run ./supervisor/check/bench -program $(BIN) -rounds $(ROUNDS) -window $(WINDOW) -loads '$(LOADS)'

.PHONY: sim-gpu
sim-gpu: ## the tables of simulated leaks by which the memory forecast is judged; some minutes
	@tools/setup.sh go
	@$(GO) run ./gpu/leaksim/tables

FUZZTIME ?= 10s
.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME=10s
	@tools/setup.sh go
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: arm64
arm64: ## the demonstration on arm64, emulated by qemu: minutes, and a kernel to download
	@tools/setup.sh go
	@tools/arm64.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin .tools

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 14
