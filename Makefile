# The commands of this project; `make` alone lists them.

# Records of `make demo`, `make bench-drain`, `-serving` and `-peers`, and rounds of the latter three; which
# variants (append, upsert, mirror) of the drain, if not all.
ROWS ?= 2000000
ROUNDS ?= 3
VARIANT ?=
# Rows of the table whose summary `make bench-serving` queries.
HISTORY ?= 20000000
# Of `make bench-peers`, if not all: some of go, python, telegraf, connect, flink, separated by commas.
PEERS ?=
comma := ,
# Of `make fuzz`, for each decoder and encoder.
INPUTS ?= 1000000

# How long `make torture` injects faults, and what decides them: a seed, or with PLAN=kill=300,commit=100
# exactly these instead of MINUTES. Without a SEED there is a new one, which the output tells.
MINUTES ?= 10
SEED ?=
PLAN ?=

# Where rustup puts cargo, for the first run after scripts/setup.sh has installed it.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

BIN := target/release

.DEFAULT_GOAL := help
.PHONY: help setup build demo up down docs test torture spark fuzz lint mutants screenshot bench bench-drain bench-latency bench-scale bench-serving bench-peers flamegraph

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install and download what is missing (Debian, Ubuntu)
	@scripts/setup.sh

# Everything is built in one profile, so that the C library librdkafka is compiled once.
build: setup ## Build all programs
	@cargo build --release --workspace

demo: build ## Move ROWS orders from a private Kafka into a private Postgres, and prove each of them
	@$(BIN)/demo --rows $(ROWS)

up: build ## Start Kafka and Postgres to play with
	@if ! $(BIN)/stack status >/dev/null 2>&1; then \
		$(BIN)/stack up --detach && $(BIN)/stack create-topic orders --partitions 6; fi
	@echo
	@echo 'Kafka and Postgres are up. Next:'
	@echo
	@echo '  set -a; . .stack/env; set +a'
	@echo '  $(BIN)/loadgen --brokers $$KAFKA_BROKERS --count 1M'
	@echo '  $(BIN)/tidegate run --config examples/orders.toml'
	@echo "  $(BIN)/stack psql -c 'SELECT status, count(*), sum(amount) FROM orders_realtime GROUP BY 1'"
	@echo '  make down'

down: ## Stop them and delete their data
	@$(BIN)/stack down

docs: setup ## Renew what docs/ has from the code: the tables of the configuration's keys
	RENEW_DOCS=1 cargo test --release --lib config::tests::keys

test: build lint ## Check the style and run every test, against real Kafka and Postgres
	@scripts/mutants.sh --check
	cargo test --release --workspace
	cargo test --release --features failpoints --test failpoints
	@if [ -x scripts/check-compose.sh ]; then scripts/check-compose.sh; fi

torture: build ## Inject faults at random for MINUTES, by SEED, and prove that nothing is lost or doubled
	@$(BIN)/torture --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(PLAN),--plan $(PLAN))

spark: build ## Try examples/spark, in Spark's local mode, against a real Kafka and Postgres
	@examples/spark/try.sh

# With checked arithmetic, which only this crate is compiled for once more.
fuzz: setup ## Try INPUTS random inputs on every decoder and encoder
	INPUTS=$(INPUTS) cargo test --release --config profile.release.package.tidegate.overflow-checks=true \
		--config profile.release.package.tidegate.debug-assertions=true --test fuzz

lint: ## Check the formatting, and clippy
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings

mutants: build ## Take out one guard of the delivery at a time, and show that the tests notice
	@scripts/mutants.sh

# With the typeface Inter, if it is there (Debian: fonts-inter).
screenshot: build ## Make the picture of the status page in the README anew
	cargo test --release --test integration page::the_page_shows
	mkdir -p docs/images && cp target/screenshots/desk-light.png docs/images/status-page.png

bench: ## Measure the codec, record by record, and the thread of a partition
	cargo bench --workspace --bench codec --bench thread

bench-drain: setup ## Measure the whole way of ROWS orders, beside psql from files, and check the floors
	cargo test --release --test instructions
	ROWS=$(ROWS) ROUNDS=$(ROUNDS) VARIANT=$(VARIANT) cargo bench --workspace --bench drain

bench-latency: setup ## Measure from a record's timestamp to its row's commit, at rising rates
	cargo bench --workspace --bench latency

bench-scale: setup ## Measure with 1 to 512 partitions, 1 to 4 instances, ten times the rows, and a distant Postgres
	ROWS=$(ROWS) cargo bench --workspace --bench scale

bench-serving: setup ## Measure the merged view beside the plain aggregate, what rollups cost, and a replay
	ROWS=$(ROWS) ROUNDS=$(ROUNDS) HISTORY=$(HISTORY) cargo bench --workspace --bench serving

bench-peers: setup ## Measure others beside tidegate, and write benches/RESULTS.md
	@benches/peers/setup.sh $(or $(subst $(comma), ,$(PEERS)),go python telegraf connect flink)
	ROWS=$(ROWS) ROUNDS=$(ROUNDS) PEERS=$(PEERS) cargo bench --workspace --bench peers

# Needs perf (Debian: linux-perf). ROWS counts here if it is given.
flamegraph: build ## Draw where the CPU time of a drain of 10,000,000 orders goes
	@benches/flamegraph.sh
