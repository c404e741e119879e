# The commands of the project; "make" alone lists them. CI calls these targets and nothing else.

GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
IMAGE       ?= lapwing:dev
CA_BUNDLE   ?= /etc/ssl/certs/ca-certificates.crt
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
CYCLONEDX   := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# What "make release" builds, and where it goes.
PLATFORMS   ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
RELEASE_DIR ?= bin/release

# What "make test" adds to go test, e.g. TEST_FLAGS='-v -run TestJudge'. With Go alone the tests take
# less than 5 minutes; on real services and containers some run long, for which the time is.
TEST_FLAGS   ?=
TEST_TIMEOUT ?= 20m
# Packages tested at a time: they share one broker.
TEST_PACKAGES_AT_A_TIME ?= 2
# How long each fuzz target runs, and below which folders they are; which functions "make microbench" measures.
FUZZ_TIME ?= 10s
FUZZ_IN   ?= .
BENCH     ?= .
# The benchmark against peers, and the chart's tests, are modules of their own, so that none of their dependencies
# reach the product.
BENCH_DIR := deploy/bench
HELM_DIR  := deploy/helm

# The profile by which programs are built makes all that they import be compiled once more, which takes two minutes the first
# time. Tests and checks do without; "make chaos" and "make bench" have the program as it is.
test race lint: export GOFLAGS += -pgo=off

# One static file, with the same bytes wherever the folder is.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/lapwing, one static file
	$(BUILD) -o bin/lapwing ./cmd/lapwing

.PHONY: run
run: build ## build, and start everything in one process on loopback (lapwing dev)
	bin/lapwing dev

.PHONY: test
test: ## run all tests; those for services that are not there are skipped (see deploy/local)
	$(GO) test -p $(TEST_PACKAGES_AT_A_TIME) -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) ./...
	$(GO) test -tags msk -run 'TestSASL' -timeout $(TEST_TIMEOUT) ./cmd/lapwing # with what the tag adds
	cd $(BENCH_DIR) && $(GO) test -p $(TEST_PACKAGES_AT_A_TIME) -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) ./...
	cd $(HELM_DIR) && $(GO) test -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) ./...

.PHONY: race
race: ## run the tests of the packages with goroutines under the race detector, without the long ones
	$(GO) test -race -short -p $(TEST_PACKAGES_AT_A_TIME) -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) ./cmd/... ./consumer/... ./state/...

.PHONY: check
check: lint race ## all that CI checks beside "make test": lint and race

.PHONY: lint
lint: ## formatting, go vet, staticcheck, go.mod
	@files=$$(gofmt -l .); [ -z "$$files" ] || { echo "not formatted (gofmt -w):" $$files >&2; exit 1; }
	$(GO) mod verify
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) vet -tags msk ./cmd/lapwing
	$(GO) run $(STATICCHECK) ./...
	$(GO) run $(STATICCHECK) -tags msk ./cmd/lapwing
	cd $(BENCH_DIR) && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd $(HELM_DIR) && $(GO) mod tidy -diff && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...

.PHONY: download
download: ## fetch all that lint and the tests need of modules, so that they run offline
	$(GO) mod download
	cd $(BENCH_DIR) && $(GO) mod download
	cd $(HELM_DIR) && $(GO) mod download
	cd deploy/local/compose && $(GO) mod download
	$(GO) run $(STATICCHECK) -version
	$(GO) run $(CYCLONEDX) version

.PHONY: fuzz
fuzz: ## run each fuzz target for FUZZ_TIME (10s)
	@set -e; \
	grep -rl --include='*_test.go' '^func Fuzz' $(FUZZ_IN) | sort | while read -r file; do \
	  sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file" | while read -r target; do \
	    echo "$$target in $$(dirname "$$file")"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ_TIME) "./$$(dirname "$$file")" </dev/null || exit 1; \
	  done || exit 1; \
	done

.PHONY: microbench
microbench: ## measure single functions with go test -bench (BENCH: which)
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

# What bench, chaos and sim are given: --seed, --events, --duration, --faults and more; ARGS=--help lists them.
ARGS ?=

.PHONY: bench
bench: ## measure Lapwing and its peers side by side on real services (ARGS: --scenarios, --only 'lapwing*' ...)
	@cd $(BENCH_DIR) && $(GO) run . $(ARGS)

.PHONY: profile
profile: ## make the CPU profile anew by which the engine is built (cmd/lapwing/default.pgo)
	@$(BENCH_DIR)/profile

.PHONY: instructions
instructions: ## count instructions and allocations of the hot functions; fails if one takes over 5 % more (ARGS: --update)
	@$(BENCH_DIR)/instructions $(ARGS)

.PHONY: chaos
chaos: ## break a real cluster around real engines, and check all that came of it (ARGS: --seed 7 --faults all ...)
	@$(GO) run ./consumer/consumertest/cmd/chaos $(ARGS)

.PHONY: sim
sim: ## run seeds of the simulation: engines in one process, scripted faults (ARGS: --seeds 100:50)
	@$(GO) run ./consumer/consumertest/cmd/sim $(ARGS)

.PHONY: up
up: ## start a real Kafka and Redis on loopback, without Docker
	@deploy/local/up

.PHONY: down
down: ## stop them
	@deploy/local/down

# The context is a folder with just the image's files: the program, the configuration, and this
# machine's certificate authorities, where it has them in one file (for TLS to Kafka and Redis).
.PHONY: image
image: build ## build the container image IMAGE (lapwing:dev), from scratch
	rm -rf bin/image
	mkdir -p bin/image/etc/ssl/certs bin/image/etc/lapwing
	cp bin/lapwing bin/image/
	cp deploy/config/* bin/image/etc/lapwing/
	@cp -L $(CA_BUNDLE) bin/image/etc/ssl/certs/ca-certificates.crt || echo 'the image will know no certificate authorities' >&2
	docker build --tag $(IMAGE) --label org.opencontainers.image.version=$(VERSION) --file deploy/Dockerfile bin/image

.PHONY: manifests
manifests: ## render the chart with its default values to deploy/kubernetes
	cd $(HELM_DIR) && $(GO) run . ../kubernetes

# The version names the commit; what else Go would note of the checkout could differ between two builds of it.
.PHONY: release
release: ## build for all PLATFORMS, with bills of materials (CycloneDX) and SHA256SUMS, to RELEASE_DIR (bin/release)
	mkdir -p $(RELEASE_DIR)
	rm -f $(RELEASE_DIR)/lapwing-* $(RELEASE_DIR)/SHA256SUMS
	@set -e; for platform in $(PLATFORMS); do \
	  file=$(RELEASE_DIR)/lapwing-$(VERSION)-$${platform%/*}-$${platform#*/}; \
	  echo "$$file"; \
	  GOOS=$${platform%/*} GOARCH=$${platform#*/} $(BUILD) -buildvcs=false -o "$$file" ./cmd/lapwing; \
	  $(GO) run $(CYCLONEDX) bin -json -std -noserial -notimestamp -version $(VERSION) -output "$$file.cdx.json" "$$file"; \
	done
	cd $(RELEASE_DIR) && sha256sum lapwing-* >SHA256SUMS
