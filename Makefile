# What one does with this project, one command each. `make help` lists them.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo demo-operator test bench bench-operator bench-management fuzz fmt lint docs

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## See the metrics of a real PostgreSQL 18 until Ctrl-C (ONCE=1: show them and end)
	$(CARGO) build --locked --bin pgexporter --example demo
	@ONCE=$(ONCE) $(CARGO) run --quiet --locked --example demo

demo-operator: ## See PostgresTargets of a real Kubernetes API server become metrics (ONCE=1: show them and end)
	$(CARGO) build --locked --bin pgexporter --example demo_operator
	@ONCE=$(ONCE) $(CARGO) run --quiet --locked --example demo_operator

test: ## Run all tests, against real PostgreSQL 13 to 18 and a real Kubernetes API server
	$(CARGO) run --locked --example testbeds
	$(CARGO) test --locked

bench: ## Measure a scrape and write docs/performance.md (QUICK=1: a look; PEERS=1: others beside)
	$(CARGO) run --locked --example testbeds
	PEERS=$(PEERS) QUICK=$(QUICK) $(CARGO) bench --locked --bench scrape

bench-operator: ## Measure a thousand targets in Kubernetes and write docs/performance-operator.md (QUICK=1: a look)
	$(CARGO) run --locked --example testbeds
	QUICK=$(QUICK) $(CARGO) bench --locked --bench operator

bench-management: ## Measure management and write docs/performance-management.md (QUICK=1: a look)
	$(CARGO) run --locked --example testbeds
	QUICK=$(QUICK) $(CARGO) bench --locked --bench management

fuzz: ## Send every reader of what comes from outside bytes that nobody should send, a minute each
	fuzz/run 60

fmt: ## Format the code
	$(CARGO) fmt

lint: ## Check the format, and let clippy look
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target --no-default-features -- -D warnings

docs: ## Generate crds/, the chart's parts and the pages of docs/, and build the documentation of the code
	UPDATE_DOCS=1 $(CARGO) test --locked --test configuration_docs --test metrics_docs
	$(CARGO) run --quiet --locked --example crdgen
	$(CARGO) run --quiet --locked --example chartgen
	UPDATE_DOCS=1 $(CARGO) test --locked --test chart golden
	$(CARGO) doc --locked --no-deps --document-private-items
