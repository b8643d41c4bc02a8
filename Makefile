# Start here: `make demo` shows the whole chain on this machine, `make test` tests it.
# Both install what is missing (Debian packages, by sudo when you are not root), touch no
# running service and leave nothing running. Without root rights `make check` still works.

GO     = $(shell scripts/go.sh)
SUDO   = $(if $(filter 0,$(shell id -u)),,sudo -E)
EXEC   = $(if $(SUDO),-exec "$(SUDO)",)
T     ?= 30s
export CGO_ENABLED = 0
export GOFLAGS += -buildvcs=auto
# Debian's Go may be told to be content with itself; go.mod names the version that is needed.
export GOTOOLCHAIN = auto

.PHONY: help build demo demo-cloud cloud-shell test soak-cloud soak-servers soak-streams test-kernel check check-root gallery golden fuzz bench bench-cloud bench-trace setup setup-demo clean

help:
	@echo "make demo         a virtual machine gets its NIC, MAC and IP, step by step"
	@echo "make demo-cloud   the same on a controller, two compute nodes and a network node"
	@echo "make cloud-shell  demo-cloud, then a shell from which to look into each node"
	@echo "make test         all tests, as root in private namespaces"
	@echo "make soak-cloud   faults on several hosts: what make test has no time for"
	@echo "make soak-servers T=10m  three servers killed and paused; is what clients hear linearizable?"
	@echo "make soak-streams T=15m  streams read, left, cut and never read for so long: does anything grow?"
	@echo "make test-kernel  the tests of the host again, on the kernel datapath in a Debian guest"
	@echo "make build        bin/weft"
	@echo "make check        format, vet, staticcheck and the tests that need no root"
	@echo "make check-root   only the tests that need root"
	@echo "make gallery      faults of all kinds made for real: what does weft trace say, and is it right?"
	@echo "make golden       rewrite golden files and generated documents; then review the diff"
	@echo "make fuzz T=30s   each fuzz target for T"
	@echo "make bench        figures beside those of a real Neutron"
	@echo "make bench-cloud  servers under 1,000 simulated hosts (a quiet machine, some minutes)"
	@echo "make bench-trace  how long weft trace takes in a healthy cloud of 1,000 ports (limit 1 s)"
	@echo "make clean        remove bin and .cache"

setup:
	@scripts/setup.sh test

setup-demo:
	@scripts/setup.sh demo

build:
	@scripts/go.sh >/dev/null || scripts/setup.sh demo
	@echo "building bin/weft (the first time takes some minutes)"
	@$(GO) build -trimpath -ldflags "-s -w" -o bin/weft ./cmd/weft

demo: setup-demo build
	@$(SUDO) bin/weft demo

demo-cloud: setup-demo build
	@$(SUDO) bin/weft demo --cloud

cloud-shell: setup-demo build
	@$(SUDO) bin/weft demo --cloud --keep

# Test binaries run as root (through sudo for others) and isolate themselves. The stories of
# the whole system come last and alone: they measure time. Nothing is taken from Go's cache of
# results, which knows nothing of Open vSwitch.
test: setup build
	@echo "vet, then the tests of each package; the first time the compiler takes some minutes"
	@$(GO) vet ./... && $(GO) vet -tags soak ./test
	$(GO) test $(EXEC) -count=1 -p 2 -timeout 15m $$($(GO) list ./... | grep -v '^weft/test$$')
	WEFT_BIN=$(CURDIR)/bin/weft $(GO) test $(EXEC) -count=1 -timeout 20m ./test

# The faults of a cloud of several hosts that take long, with figures.
soak-cloud: setup build
	WEFT_SOAK=1 WEFT_BIN=$(CURDIR)/bin/weft $(GO) test $(EXEC) -count=1 -timeout 30m -v -run 'ManyHosts' ./test

# Servers killed and paused under clients whose histories are judged, for T.
soak-servers: setup build
	WEFT_SOAK_SERVERS=$(T) WEFT_BIN=$(CURDIR)/bin/weft $(GO) test $(EXEC) -count=1 -timeout 0 -v -run 'TestServersLinearizable' ./test

# Clients of streams, good and bad, for T: figures of server and agent each minute, which may not grow.
soak-streams: setup build
	WEFT_SOAK_STREAMS=$(T) WEFT_BIN=$(CURDIR)/bin/weft $(GO) -C test test $(EXEC) -tags soak -count=1 -timeout 0 -run 'TestStreamsEndure$$'

# Real users run Open vSwitch's kernel datapath: test/kernel/tests.txt lists what is tested on it.
test-kernel: setup build
	@$(GO) run ./test/kernel

check:
	@scripts/check.sh "$(GO)"

check-root: setup build
	$(GO) test $(EXEC) -count=1 -p 2 -timeout 15m ./internal/lab/... ./internal/host/... ./internal/agent/... ./cmd/...
	WEFT_BIN=$(CURDIR)/bin/weft $(GO) test $(EXEC) -count=1 -timeout 20m ./test

# Each fault is made on a cloud of several hosts; docs/trace.md has what weft trace must say of it.
gallery: setup build
	WEFT_GALLERY=1 WEFT_BIN=$(CURDIR)/bin/weft $(GO) -C test test $(EXEC) -count=1 -timeout 20m -run 'TestGallery$$'

golden:
	@scripts/golden.sh "$(GO)"

fuzz:
	@scripts/fuzz.sh "$(GO)" "$(T)"

bench: setup build
	@$(GO) build -trimpath -o bin/weft-bench ./test/bench
	@$(SUDO) bin/weft-bench -weft bin/weft
	@echo "an agent with 1,000 ports, from a change to flows that Open vSwitch has acknowledged (reach: plan 100 ms, first programming 1 s, a change 10 ms)"
	@$(GO) test ./internal/agent -run xxx -bench Host -benchtime 200x -v
	@$(GO) test ./internal/host/ovs -run xxx -bench FromNothing -benchtime 20x
	@echo "validation of a token, by 1,000 users (reach: 50 us)"
	@$(GO) test ./internal/identity -run xxx -bench Authenticate

bench-trace: setup build
	@$(GO) build -trimpath -o bin/weft-bench ./test/bench
	@$(SUDO) bin/weft-bench -weft bin/weft -only trace

bench-cloud: build
	@bin/weft bench cloud

clean:
	rm -rf bin .cache
