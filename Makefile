# The checks themselves are in .ci/run, which needs no make.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
BENCH ?= .
BENCHTIME ?= 1s
FUZZTIME ?= 30s
CHAOS ?= 1m
SEEDS ?= 1000
REALHOST ?= ^TestReal

# Without cgo gopsutil cannot read the CPU times of macOS: build on a Mac, with cgo, for that.
TARGETS = linux/amd64 linux/arm64 windows/amd64

# Nothing of the machine that builds may end up in the binary, and GOFLAGS may hold -buildvcs=false.
GOBUILD = CGO_ENABLED=0 GOFLAGS= go build -trimpath -buildvcs=true \
	-ldflags '-s -w -buildid= -X main.version=$(VERSION:v%=%)'

.DEFAULT_GOAL := help
.PHONY: help build test race lint generate bench fuzz sim sim-report chaos realhost check release

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build the static binary bin/headroom
	$(GOBUILD) -o bin/headroom ./cmd/headroom

test: ## Run the tests
	go test ./...

race: ## Run the tests under the race detector
	.ci/run race

lint: ## Check format, vet, staticcheck and the contract
	.ci/run format tools vet staticcheck proto

generate: ## Write the Go code of the protos
	.ci/run tools
	bin/buf format -w proto
	bin/buf generate

bench: ## Run the benchmarks that match BENCH, without the tests
	go test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) ./...

fuzz: ## Run every fuzz target for FUZZTIME
	@set -e; git grep -o --untracked '^func Fuzz[A-Za-z0-9]*' -- '*_test.go' | while IFS=: read -r file func; do \
		echo "==> $$file $${func#func }"; \
		go test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")"; \
	done

sim: ## Simulate permits in SEEDS worlds; a fault prints the command that replays it
	go test ./internal/sim -count 1 -timeout 1h -run '^TestPermit' -sim.seeds $(SEEDS) -v

sim-report: ## Try the limit laws on simulated hosts, and write the tables of docs/limit-laws.md
	go test ./internal/sim -count 1 -timeout 1h -run '^TestSimReport$$' -hostsim.report -v

chaos: ## Kill, stop and restart real workers and servers for CHAOS, and try the largest tasks
	go test ./internal/chaos -count 1 -timeout 1h -run '^TestChaos$$' -chaos.for $(CHAOS) -v
	go test ./server -count 1 -timeout 1h -run '^Test(PidUsedAgainIsNotSampled|LargeSandbox)$$' \
		-pid.rounds 10000 -sandbox.entries 1000000

realhost: ## Try headroom run on this machine beside xargs and GNU parallel; needs root and cgroup v1
	go test ./internal/realhost -count 1 -timeout 1h -run '$(REALHOST)' -realhost -v

check: ## Run everything that the continuous integration runs
	.ci/run

release: ## Record the contract as released and build dist/ from a clean tree
	.ci/run tools
	bin/buf build proto --exclude-source-info -o proto/released.binpb
	@test -z "$$(git status --porcelain)" || { git status --short; echo 'commit this first'; exit 1; }
	rm -rf dist
	set -e; $(foreach target,$(TARGETS),GOOS=$(word 1,$(subst /, ,$(target))) \
		GOARCH=$(word 2,$(subst /, ,$(target))) $(GOBUILD) \
		-o dist/headroom-$(subst /,-,$(target))$(if $(findstring windows,$(target)),.exe) ./cmd/headroom;)
	cd dist && sha256sum headroom-* >SHA256SUMS && cat SHA256SUMS
