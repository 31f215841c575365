# The two commands for newcomers are `make demo` and `make test`; `make help` lists the rest.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E env PATH="$$PATH")

.PHONY: help setup build demo demo-down test machine bench fmt lint
.DEFAULT_GOAL := help

help: ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## The release binary, in target/release/lotse
	@scripts/setup.sh build
	cargo build --release --locked -p lotse

demo: ## Install what is missing, build, start Lotse, deliver the Students system, wait until it answers
	@scripts/setup.sh demo
	cargo build --release --locked -p lotse -p students
	$(SUDO) scripts/demo.sh $(TARGET)/release

demo-down: ## Stop the demo and delete everything it made
	$(SUDO) scripts/demo.sh $(TARGET)/release down

test: ## Everything that must pass: format, lints, unit, integration and end-to-end tests
	@scripts/setup.sh test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo build --workspace --locked
	$(SUDO) scripts/images.sh $(TARGET)/debug
	$(SUDO) env CARGO_TARGET_DIR=$(abspath $(TARGET)) cargo test --workspace --locked

machine: ## The demo on an ordinary Debian with cgroup v2 in an emulator, with a real reboot (about ten minutes)
	@scripts/setup.sh demo
	cargo build --release --locked -p lotse -p students
	$(SUDO) tests/machine/run.sh $(TARGET)/release

bench: ## The figures, each beside its peer's in the same run
	@scripts/setup.sh bench
	cargo build --release --locked -p lotse -p students -p lotse-bench
	$(SUDO) scripts/images.sh $(TARGET)/release
	$(SUDO) benches/run.sh $(TARGET)/release

fmt: ## Format
	cargo fmt --all

lint: ## Format check, clippy, fuzz targets, licences and duplicate stacks (cargo-deny)
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo check --manifest-path fuzz/Cargo.toml
	command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny check bans licenses sources
