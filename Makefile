# evpnd: two commands do everything on a fresh Debian with Rust: `make lab` and `make test`.

CARGO ?= cargo
# What forwards packets in `make lab`: kernel or ovs.
BACKEND ?= kernel
# How the kernel does it: device-per-vni or single-device.
LAYOUT ?= device-per-vni
# Seconds for each fuzz target.
FUZZ_TIME ?= 60

.PHONY: help lab test lint vm vm-shell bench fuzz deps deps-lab deps-vm

help:
	@echo "make lab     build evpnd and run the lab: a controller and three hosts in network namespaces; BACKEND=ovs: with Open vSwitch"
	@echo "         LAYOUT=single-device: 18 endpoints in four overlays on one VXLAN device a host; in a virtual machine if need be"
	@echo "make test    everything that is checked: format, lints, docs, unit tests, fuzz corpora, end to end, virtual machine"
	@echo "make lint    format, clippy, licences, docs"
	@echo "make vm      the tests that need Debian's own kernel, in a virtual machine; those with T=name in their name"
	@echo "make vm-shell  a shell in that machine"
	@echo "make bench   speed and memory, as ratios to FRR, gobgpd and bridge -batch; VLANs in the virtual machine"
	@echo "make fuzz    each fuzz target for FUZZ_TIME=$(FUZZ_TIME) seconds (installs cargo-fuzz and a nightly Rust, saying so)"
	@echo "make deps    install the Debian packages that the tests and benchmarks need"

lab: deps-lab
	$(CARGO) build --quiet --locked --profile fast --bin evpnd
	$(CARGO) run --quiet --locked --profile fast --bin evpnd -- lab run --backend $(BACKEND) --layout $(LAYOUT)

test: deps deps-vm
	@.ci/check lint test

lint:
	@.ci/check lint

vm: deps deps-vm
	@.ci/vm test $(T)

vm-shell: deps-vm
	@.ci/vm shell

bench: deps deps-vm
	$(CARGO) build --quiet --locked --release --package evpnd --package evpnd-bench
	$(CARGO) run --quiet --locked --release --package evpnd-bench -- all

fuzz:
	@.ci/fuzz $(FUZZ_TIME)

deps:
	@.ci/deps iproute2 iputils-ping util-linux gobgpd frr tshark openvswitch-switch ethtool

deps-lab:
	@.ci/deps iproute2 iputils-ping util-linux $(if $(filter ovs,$(BACKEND)),openvswitch-switch ethtool)
	@$(if $(filter single-device,$(LAYOUT)),.ci/vm filtering || .ci/deps $$(.ci/vm missing))

deps-vm:
	@.ci/vm deps
