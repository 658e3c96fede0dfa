# The doors of the house. `make help` lists them; `make test` is what CI runs, word for word.

# Cargo honours CARGO_TARGET_DIR, so whoever looks for its results must as well.
TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: demo test clients chaos seeds bench lint fmt clean help

demo: ## Start Longshore with nothing around it, submit jobs and watch them finish
	@.ci/install build demo
	cargo build --release -p longshore-runtime
	$(TARGET)/release/longshore demo

test: ## Format, lints and every test, with real RabbitMQ and PostgreSQL started by the tests
	@.ci/install build test
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@# The stories start the binary itself, and cargo builds it for no test of another crate. Built together with the tests, all
	@# dependencies have the same features and are compiled once.
	cargo build --workspace --bins --tests
	cargo test --workspace

chaos: ## Everything goes wrong at once, for minutes (PLAN=short) or half an hour (PLAN=full), and the table of what came of it
	@.ci/install build test
	cargo build --release -p longshore-tests --bins
	$(TARGET)/release/chaos --seed $(or $(SEED),1) --plan $(or $(PLAN),full)

seeds: ## The shipped code in simulated time, a storm for each of SEEDS=5000 seeds, and how many it did in a minute
	@.ci/install build
	LONGSHORE_SEEDS=$(or $(SEEDS),5000) cargo test --release -p longshore-runtime --lib simulation::whatever -- --nocapture

bench: ## How fast it is here, each figure beside a baseline of the same run
	@.ci/install build test
	cargo build --release -p longshore-runtime
	cargo bench -p longshore-tests --benches

clients: ## Write the shapes of the clients in Python and TypeScript anew, from what the API says of itself
	@.ci/install build test
	cargo build --workspace --bins --tests
	WRITE_CLIENTS=1 cargo test --workspace --test it -- clients_shapes

lint: ## Format and lints alone
	@.ci/install build
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## Format the sources
	cargo fmt --all

clean: ## Remove what was built
	cargo clean

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10
