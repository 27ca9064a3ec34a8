# Muster: what to type.
#
# Everything is built by cargo and npm; this file only puts their commands in order, names what is missing, and skips
# what is up to date. One target directory and one profile: `make run` and `make test` share their work.

# dev or release
PROFILE ?= dev
# More words for the program: make run ARGS="--data-dir /srv/muster"
ARGS ?=

TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/muster

# The whole workspace, even for one program: cargo chooses features by what is built together, and what the tests build
# with other features would be built twice.
CARGO_BUILD := cargo build --workspace

STAMPS := target/stamps
WEB_SOURCES := $(shell find web-ui node/openapi.json -type f \
	-not -path '*/node_modules/*' -not -path 'web-ui/dist/*' -not -path 'web-ui/src/api/schema*' 2>/dev/null)

.PHONY: help
help: ## Show this list
	@echo "make run, then open http://127.0.0.1:8080"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)$$/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-13s %s\n", $$1, $$2 }'
	@echo
	@echo "  PROFILE=release builds with optimisation; ARGS=\"...\" goes to the program."

.PHONY: run
run: build ## Build everything and run one node with its page at http://127.0.0.1:8080
	exec $(BIN) run $(ARGS)

.PHONY: build
build: web ## Build the page and the program
	@./scripts/check-tools.sh cargo cc perl
	$(CARGO_BUILD) --profile $(PROFILE) --bin muster

.PHONY: test
test: ## Run every check and every test, then say what was skipped
	@./scripts/test.sh

.PHONY: mqtt-clients
mqtt-clients: target/mqtt-clients/.stamp ## Install the MQTT clients from PyPI that tests use, under target/

# A file per client that can be imported, so that a test knows what is there.
target/mqtt-clients/.stamp:
	python3 -m venv target/mqtt-clients
	target/mqtt-clients/bin/pip install --quiet paho-mqtt==2.2.0 aiomqtt==2.5.1
	target/mqtt-clients/bin/python -c "import paho.mqtt.client" && touch target/mqtt-clients/paho-mqtt.ok
	target/mqtt-clients/bin/python -c "import aiomqtt" && touch target/mqtt-clients/aiomqtt.ok
	touch $@

.PHONY: demo
demo: build ## Three nodes, a flood, a cut and a healed network, told as it happens
	exec $(BIN) demo $(ARGS)

.PHONY: bench
bench: ## Measure with a release build; tables here, JSON lines under target/bench/
	@./scripts/check-tools.sh cargo cc perl
	@mkdir -p target/bench
	$(CARGO_BUILD) --release --bin muster --bin bench
	exec $(TARGET)/release/bench $(ARGS)

# How many seeds, from which on, and which bug is looked for: make sim SEEDS=1 FIRST=8812; make sim-planted BUG=skip-signature
SEEDS ?= 1000
FIRST ?= 1
BUG ?= all
CAMPAIGN := cargo run --quiet --profile sim --package sim --bin campaign --

.PHONY: sim
sim: ## Simulate SEEDS disasters from FIRST on, compare each with the model, count what occurred
	@./scripts/check-tools.sh cargo cc perl
	$(CAMPAIGN) --seeds $(SEEDS) --first $(FIRST) $(ARGS)

.PHONY: sim-planted
sim-planted: ## Plant each known mistake and look for the seed that shows it (docs/planted-bugs.md)
	@./scripts/check-tools.sh cargo cc perl
	$(CAMPAIGN) --planted $(BUG) $(ARGS)

# How long each target runs, and which; all of them where nothing is said.
SECONDS ?= 60
FUZZ ?= $(patsubst fuzz/fuzz_targets/%.rs,%,$(wildcard fuzz/fuzz_targets/*.rs))

.PHONY: fuzz
fuzz: ## Fuzz every decoder of the sync path, SECONDS each (see fuzz/README.md)
	@./scripts/check-tools.sh cargo c++ cargo-fuzz
	@set -e; for target in $(FUZZ); do \
		mkdir -p fuzz/found/$$target; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(SECONDS) -max_len=8192 -print_final_stats=1; \
	done

.PHONY: dev
dev: $(STAMPS)/web-ui ## Run a node and the page, both rebuilt whenever a source changes
	@./scripts/check-tools.sh cargo cc perl node npm
	@./scripts/dev.sh $(ARGS)

.PHONY: audit
audit: ## Check licences, sources and known vulnerabilities of every dependency
	@./scripts/audit.sh

.PHONY: no-std-check
no-std-check: ## Prove that firmware-protocol runs without std and without an allocator
	@./scripts/check-tools.sh cargo
	@./scripts/no-std-check.sh

.PHONY: npm-packages
npm-packages: $(STAMPS)/web-ui $(STAMPS)/tests/browser

.PHONY: web
web: web-ui/dist/index.html ## Build the page into web-ui/dist

.PHONY: fmt
fmt: $(STAMPS)/web-ui ## Format all sources
	cargo fmt --all
	npm --prefix web-ui run --silent format

.PHONY: clean
clean: ## Remove everything that was built (not your data)
	rm -rf target web-ui/dist web-ui/node_modules tests/browser/node_modules

# A page is up to date when no source of it is newer than its first file.
web-ui/dist/index.html: $(STAMPS)/web-ui $(WEB_SOURCES)
	npm --prefix web-ui run --silent build
	@touch $@

# npm packages are installed again when the lock file changed, or when somebody removed them.
define npm_packages
$(STAMPS)/$(1): $(1)/package-lock.json $(if $(wildcard $(1)/node_modules),,missing-packages)
	@./scripts/check-tools.sh node npm
	npm --prefix $(1) ci --no-audit --no-fund
	@mkdir -p $$(@D)
	@touch $$@
endef
$(eval $(call npm_packages,web-ui))
$(eval $(call npm_packages,tests/browser))

.PHONY: missing-packages
missing-packages:
