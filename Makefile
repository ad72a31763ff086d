# What one does with this project, one command each. `make help` lists them.

CARGO ?= cargo
# Most tests wait for a server most of their time, so more of them run at once than there are cores.
TEST_THREADS ?= 6

.DEFAULT_GOAL := help
.PHONY: help demo demo-operator test e2e image sbom bench bench-operator bench-management soak fuzz install install-files fmt lint docs

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## See the metrics of a real PostgreSQL 18 until Ctrl-C (ONCE=1: show them and end)
	$(CARGO) build --locked --package pgexporter --package xtask --bin pgexporter --bin xtask
	@ONCE=$(ONCE) target/debug/xtask demo

demo-operator: ## See PostgresTargets of a real Kubernetes API server become metrics (ONCE=1: show them and end)
	$(CARGO) build --locked --package pgexporter --package xtask --bin pgexporter --bin xtask
	@ONCE=$(ONCE) target/debug/xtask demo-operator

test: ## Run all tests, against real PostgreSQL 13 to 18 and a real Kubernetes API server
	$(CARGO) run --locked --package xtask -- testbeds
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked --no-fail-fast

e2e: ## Install it in a real cluster: one of one node made here (root on Linux), or that of KUBECONFIG
	$(CARGO) run --locked --package xtask -- testbeds --cluster
	$(CARGO) test --locked --test e2e -- --ignored --nocapture --test-threads=1

image: sbom ## Build the image as it is shipped, and look into it (root on Linux; else: docker build .)
	$(CARGO) test --locked --test image -- --ignored --nocapture

sbom: ## List every crate in the programs, with its licence: target/pgexporter.cdx.json (CycloneDX)
	$(CARGO) install --quiet --locked --root target/tools cargo-cyclonedx@0.5.9
	target/tools/bin/cargo-cyclonedx cyclonedx --quiet \
	  --format json --spec-version 1.5 --no-build-deps --override-filename pgexporter.cdx
	mv pgexporter.cdx.json target/
	rm -f tests/support/pgexporter.cdx.json xtask/pgexporter.cdx.json

bench: ## Measure a scrape and write docs/performance.md (QUICK=1: a look; PEERS=1: others beside)
	$(CARGO) run --locked --package xtask -- testbeds
	PEERS=$(PEERS) QUICK=$(QUICK) $(CARGO) bench --locked --bench scrape

bench-operator: ## Measure a thousand targets in Kubernetes and write docs/performance-operator.md (QUICK=1: a look)
	$(CARGO) run --locked --package xtask -- testbeds
	QUICK=$(QUICK) $(CARGO) bench --locked --bench operator

bench-management: ## Measure management and write docs/performance-management.md (QUICK=1: a look)
	$(CARGO) run --locked --package xtask -- testbeds
	QUICK=$(QUICK) $(CARGO) bench --locked --bench management

soak: ## Let everything go wrong at once and write docs/reliability.md (MINUTES=60; QUICK=1: a look)
	$(CARGO) run --locked --package xtask -- testbeds
	MINUTES=$(MINUTES) QUICK=$(QUICK) $(CARGO) bench --locked --bench soak

fuzz: ## Send every reader of what comes from outside bytes that nobody should send, a minute each
	fuzz/run 60

# Where `make install` puts what it installs; DESTDIR goes before all of it.
PREFIX ?= /usr/local
TARGET ?= target/release

install: ## Build the three programs and install them with man pages and completions (PREFIX, DESTDIR)
	$(CARGO) build --release --locked --bins
	$(MAKE) install-files

install-files:
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
	  $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	install -m 755 $(addprefix $(TARGET)/,pgexporter pgexporter-cli pgexporter-admin) $(DESTDIR)$(PREFIX)/bin
	ln -sf pgexporter-cli $(DESTDIR)$(PREFIX)/bin/kubectl-pgexporter
	install -m 644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1
	for program in pgexporter pgexporter-cli pgexporter-admin; do \
	  install -m 644 docs/completions/$$program.bash \
	    $(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$program && \
	  install -m 644 docs/completions/_$$program $(DESTDIR)$(PREFIX)/share/zsh/site-functions && \
	  install -m 644 docs/completions/$$program.fish \
	    $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d || exit 1; \
	done

fmt: ## Format the code
	$(CARGO) fmt --all

lint: ## Check the format, and let clippy look
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target --no-default-features -- -D warnings

docs: ## Generate crds/, the chart's parts and the pages of docs/, and build the documentation of the code
	UPDATE_DOCS=1 $(CARGO) test --locked --test configuration_docs --test metrics_docs --test command_lines
	$(CARGO) run --quiet --locked --package xtask -- crds
	$(CARGO) run --quiet --locked --package xtask -- chart
	UPDATE_DOCS=1 $(CARGO) test --locked --test chart golden
	$(CARGO) doc --locked --no-deps --document-private-items
