# Isthmus. `make help` lists the targets.
SHELL := /bin/bash
export GOFLAGS ?= -buildvcs=false
MODULES := proto pkg mgc mgw integration
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
BIN := bin
NEED := integration/scripts/need.sh
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)
FUZZTIME ?= 30s

.PHONY: all run test bench unit fuzz specs lint lint-go gen verify verify-gen build web clean help need-build
all: lint gen test

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

need-build:
	@$(NEED) build

web: mgc/web/dist/index.html ## build the web phone
mgc/web/dist/index.html: $(shell find mgc/web/src mgc/web/public mgc/web/index.html mgc/web/package-lock.json mgc/web/vite.config.ts -type f 2>/dev/null)
	@echo "building the web phone ..."
	@cd mgc/web && npm ci --no-audit --no-fund --loglevel=error && npm run --silent build
	@touch $@

build: need-build web ## build the daemons and tools into bin/
	@mkdir -p $(BIN)
	@go build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./mgc/cmd/... ./mgw/cmd/... ./integration/cmd/...

run: build ## set up everything, place a self-test call, serve the web phone (ONCE=1: end after the self-test)
	@$(BIN)/isthmus-try $(if $(ONCE),--once) $(RUNFLAGS)

test: ## everything that CI runs
	@integration/scripts/test.sh

bench: need-build web ## measure the media gateway beside rtpengine, the kernel floor and the codec limit, the controller beside Kamailio (BENCHFLAGS=-help)
	@$(NEED) bench || echo "measuring without rtpengine and Kamailio where they are missing"
	@mkdir -p $(BIN)
	@go build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./mgc/cmd/mgc ./mgw/cmd/mgw ./integration/cmd/isthmus-bench
	@$(BIN)/isthmus-bench $(BENCHFLAGS)

unit: need-build ## unit, golden and property tests only, without SIP stacks (Chromium judges session descriptions)
	@$(NEED) unit
	@for m in $(MODULES); do go test $$(go list ./$$m/... | grep -v /scenarios/) || exit 1; done

fuzz: need-build ## every fuzz target for FUZZTIME (30s) each
	@integration/scripts/fuzz.sh $(FUZZTIME)

specs: ## conformance rows with their tests (SPECS="--sections A.1-A.7,B.1 --priority MS --files")
	@go run ./integration/cmd/isthmus-specs $(SPECS)

lint: lint-go ## gofmt, vet, staticcheck, web phone checks
	@cd mgc/web && { [ -d node_modules ] || npm ci --no-audit --no-fund --loglevel=error; } && npm run --silent check

lint-go:
	@bad=$$(git ls-files -co --exclude-standard '*.go' | grep -v '\.pb\.go$$' | xargs -r gofmt -l); [ -z "$$bad" ] || { echo "not gofmt-ed: $$bad"; exit 1; }
	@go vet $(MODULES:%=./%/...)
	@mkdir -p $(BIN) && GOBIN=$(CURDIR)/$(BIN) go install $(STATICCHECK)
	@$(BIN)/staticcheck $$(go list $(MODULES:%=./%/...) | grep -v /node_modules/)

gen: ## regenerate code from the .proto files
	@$(NEED) gen
	@proto/generate.sh

verify-gen: gen
	@git diff --exit-code -- proto || { echo "generated code differs: commit the result of 'make gen'"; exit 1; }

verify: verify-gen ## generated code, go.mod files and floors are up to date
	@for m in $(MODULES); do (cd $$m && go mod tidy -diff) || { echo "$$m: run go mod tidy"; exit 1; }; done
	@for m in mgc mgw; do go test -run Floors ./$$m || exit 1; done

clean: ## remove what was built
	@rm -rf $(BIN) run mgc/web/dist/assets mgc/web/dist/index.html mgc/web/node_modules
