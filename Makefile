# Everything a person or a machine runs. `make` alone says what there is.
.PHONY: help deps build demo demo-stop test bench fmt clean
.DEFAULT_GOAL := help

VARIANT := target/guests/variants/scheduler-most-allocated.wasm

help: ## Print this
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Install what is missing: runc, nftables, iproute2, busybox, gcc, the wasm target
	@docs/examples/deps.sh

build: deps ## Build target/release/pintle and pintle-shim
	cargo build --release

demo: build ## Two nodes, four pods, one swap of the scheduler; as root
	@cargo run --release --quiet -p pintle-plugin-build -- pintle-plugin-scheduler $(VARIANT) most-allocated
	@docs/examples/demo.sh

demo-stop: ## Remove what the demo made
	@docs/examples/demo.sh stop

test: deps ## Everything that CI runs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo build --workspace
	cargo test --workspace --no-fail-fast
	cargo test -p pintle-sdk-testing --features component --test component
	cargo test -p pintle-simulation --features components --test components

bench: build ## Print the table of figures, next to floors and peers
	@cargo run --release --quiet -p pintle-plugin-build -- pintle-plugin-scheduler $(VARIANT) most-allocated
	cargo run --release -p pintle-bench

fmt: ## Format all code
	cargo fmt --all

clean: ## Remove what was built
	cargo clean
