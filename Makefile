# Everything one does with this repository. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

CARGO ?= cargo
ARGS ?=

# One tier of tests is one file (or directory) in tests/; none can be forgotten here.
TIERS := $(sort $(basename $(notdir $(wildcard tests/*.rs))) $(notdir $(patsubst %/main.rs,%,$(wildcard tests/*/main.rs))))
# These start brokers of their own: one test at a time, or two cores and a few GiB are not enough.
SERIAL := harness documents kafka container health page prometheus chaos
# Mostly they wait for time to pass: more tests at a time than there are cores.
WAITING := bridge monitoring
# These run beside the others, in a lane of their own.
BESIDE := bridge cli documents harness health log page prometheus
# These print figures that are worth seeing each time.
TELLING := model properties chaos

KAFKA := target/kafka
KAFKA_SRC := tests/support/kafka

TOOLS := target/tools
CHART_TESTS := tests/chart

# A package of its own: what talks to container engines is no part of what everybody builds.
CONTAINER := --manifest-path tests/container/Cargo.toml
CONTAINER_TARGET := --target-dir target/container

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p;T;q' Cargo.toml)
IMAGE ?= b24kafka:$(VERSION)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## the main job with nothing else installed: a simulated portal, the bridge, a broker (ARGS="--events 5000")
	@$(CARGO) run --locked --quiet -- demo $(ARGS)

.PHONY: test
test: kafka ## all tiers of tests, real Apache Kafka included
	$(CARGO) test --locked --no-run
	@CARGO='$(CARGO)' SERIAL='$(SERIAL)' WAITING='$(WAITING)' TELLING='$(TELLING)' \
		tests/tiers.sh 'unit doc $(filter-out $(BESIDE),$(TIERS)) container-test' 'chart-test $(filter $(BESIDE),$(TIERS))'

.PHONY: check
check: lint test ## what CI runs: lint, then test

.PHONY: lint
lint: fmt-check clippy doc ## form, lints and documentation; warnings are errors

.PHONY: build
build: ## the optimised binary, target/release/b24kafka
	$(CARGO) build --locked --release

.PHONY: fmt
fmt: ## format the code
	$(CARGO) fmt --all
	$(CARGO) fmt $(CONTAINER)

.PHONY: fmt-check
fmt-check: ## is the code formatted?
	$(CARGO) fmt --all --check
	$(CARGO) fmt $(CONTAINER) --check

.PHONY: clippy
clippy: ## lints on all targets; and do the fuzzers still build?
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked $(CONTAINER) $(CONTAINER_TARGET) --all-targets -- -D warnings
	$(CARGO) check --locked --manifest-path fuzz/Cargo.toml --target-dir target

.PHONY: doc
doc: ## the crate's documentation, broken links refused
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

.PHONY: docs
docs: ## write the documents that are made from the code: docs/metrics.md and docs/configuration.md
	B24KAFKA_WRITE_DOCS=1 $(CARGO) test --locked --quiet --test generated

.PHONY: model
model: ## the exhaustive search over core, portal and broker, with its figures
	$(CARGO) test --locked --test model -- --nocapture $(ARGS)

# Another seed each time; a failure prints it. With B24KAFKA_FUZZ_SEED=... it runs again.
.PHONY: fuzz
fuzz: ## break good answers, configurations and registry files for a minute on a new seed, with figures
	@seed=$${B24KAFKA_FUZZ_SEED:-$$(date +%s)}; echo "seed $$seed"; \
	B24KAFKA_FUZZ_SEED=$$seed B24KAFKA_FUZZ_SECONDS=$${B24KAFKA_FUZZ_SECONDS:-60} \
		$(CARGO) test --locked --quiet --test hostile -- fuzz:: generated:: --nocapture --test-threads=16 $(ARGS)

# Their names are those of the tests that record them.
SAMPLES := reserve-orphan=life-a_reservation_of_somebody_who_died_is_published \
	reserve-dead-letter=kafka-a_record_that_is_too_large_becomes_a_dead_letter_and_its_neighbours_arrive \
	reserve-lost-answer=life-a_stop_looks_for_what_a_lost_answer_has_hidden \
	conditional-stranger=conditional-a_change_at_the_moment_of_its_deletion_is_published_all_the_same \
	conditional-two-lives=conditional-what_was_left_when_the_plan_was_raised_between_two_lives_says_that_it_may_be_late

.PHONY: traces
traces: ## record the samples of tests/replay anew, after the core has learned to act in another way
	@rm -rf target/samples
	@for sample in $(SAMPLES); do \
		test="$${sample#*=}"; \
		B24KAFKA_KEEP_TRACES=target/samples $(CARGO) test --locked --quiet --test bridge -- --exact "$${test/-/::}"; \
		cp "target/samples/$$test-1.jsonl" "tests/replay/$${sample%%=*}.jsonl"; \
	done
	@$(CARGO) test --locked --test replay

FUZZERS := $(basename $(notdir $(wildcard fuzz/targets/*.rs)))
.PHONY: fuzz-guided
fuzz-guided: ## the same readers under libFuzzer, which sees what its bytes have reached, 20 s each (needs a C++ compiler)
	@mkdir -p target/fuzz/artifacts
	@host=$$(rustc -vV | sed -n 's/^host: //p'); \
	RUSTC_WRAPPER='$(CURDIR)/fuzz/rustc.sh' $(CARGO) build --locked --quiet --manifest-path fuzz/Cargo.toml \
		--target-dir target/fuzz --target $$host; \
	for fuzzer in $(FUZZERS); do cp target/fuzz/$$host/debug/$$fuzzer target/fuzz/$$fuzzer; done
	@for fuzzer in $(FUZZERS); do \
		corpus=target/fuzz/corpus/$$fuzzer; log=target/fuzz/$$fuzzer.log; mkdir -p $$corpus; \
		B24KAFKA_FUZZ_CORPUS=$$corpus target/fuzz/$$fuzzer $$corpus -seed=$${B24KAFKA_FUZZ_SEED:-0} \
			-max_total_time=$${B24KAFKA_FUZZ_SECONDS:-20} -max_len=8192 -timeout=30 -rss_limit_mb=2048 -use_value_profile=1 \
			-dict=fuzz/words.dict -artifact_prefix=target/fuzz/artifacts/$$fuzzer- > $$log 2>&1 \
			|| { tail -n 40 $$log; echo "the input that did it is in target/fuzz/artifacts" >&2; exit 1; }; \
		printf '%-16s %s; %s\n' $$fuzzer "$$(grep '^Done' $$log)" "$$(grep -o 'cov: .*corp: [^ ]*' $$log | tail -n 1)"; \
	done

# Another seed each time, and it is printed. With B24KAFKA_CHAOS_SEED=... the same moments are chosen again.
.PHONY: chaos
chaos: kafka ## a quarter of an hour of kills, freezes, refusals and lies on real Kafka (a table, and target/chaos.json), then long schedules and the fuzzers
	@rm -f target/chaos.txt target/chaos.json
	@seed=$${B24KAFKA_CHAOS_SEED:-$$(date +%s)}; echo "seed $$seed"; code=0; \
	B24KAFKA_CHAOS_SEED=$$seed B24KAFKA_CHAOS_LONG=1 \
		$(CARGO) test --locked --quiet --test chaos -- --nocapture --test-threads=1 $(ARGS) || code=$$?; \
	B24KAFKA_PROPERTY_SEED=$$seed B24KAFKA_PROPERTY_SECONDS=$${B24KAFKA_PROPERTY_SECONDS:-60} \
		$(CARGO) test --locked --quiet --test properties -- --nocapture || code=$$?; \
	B24KAFKA_FUZZ_SEED=$$seed $(MAKE) --no-print-directory fuzz-guided || code=$$?; \
	echo; cat target/chaos.txt; exit $$code

.PHONY: bench
bench: kafka ## throughput, latency, processor and memory against a real broker (a table, and target/bench.json)
	$(CARGO) bench --locked --bench bridge $(ARGS)

.PHONY: bench-fleet
bench-fleet: kafka ## what thousands of portals cost one bridge (a table, and target/bench-fleet.json; ARGS="--portals 200")
	$(CARGO) bench --locked --bench fleet -- $(ARGS)

.PHONY: kafka
kafka: $(KAFKA)/ready ## fetch Apache Kafka for the tests (once, about 55 MB) and compile the independent reader

$(KAFKA)/ready: $(KAFKA)/fetched $(KAFKA_SRC)/Reader.java
	@mkdir -p $(KAFKA)/classes
	@javac -Xlint:all,-processing -Werror -cp '$(KAFKA)/libs/*' -d $(KAFKA)/classes $(KAFKA_SRC)/Reader.java
	@touch $@

# Into a fresh directory and then renamed: an interrupted download never looks complete.
$(KAFKA)/fetched: $(KAFKA_SRC)/pom.xml
	@command -v mvn >/dev/null || { echo "mvn is missing: make doctor tells what else is" >&2; exit 1; }
	@echo "fetching Apache Kafka for the tests"
	@rm -rf $(KAFKA)/libs $(KAFKA)/incoming && mkdir -p $(KAFKA)
	@mvn -q -B -f $(KAFKA_SRC)/pom.xml dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/$(KAFKA)/incoming
	@mv $(KAFKA)/incoming $(KAFKA)/libs
	@touch $@

.PHONY: chart-test
chart-test: $(TOOLS)/ready ## the Helm chart: both Helms, every Kubernetes there are schemas of (UPDATE_GOLDEN=1 writes the renders anew)
	@nice $(TOOLS)/venv/bin/python -B -m pytest -q -p no:cacheprovider $(CHART_TESTS) $(ARGS)

.PHONY: chart-docs
chart-docs: $(TOOLS)/ready ## the chart's README from its values
	$(TOOLS)/helm-docs --chart-search-root charts/b24kafka --sort-values-order file --log-level warning

$(TOOLS)/ready: $(CHART_TESTS)/tools.sh $(CHART_TESTS)/requirements.txt
	@nice $< $(TOOLS)
	@touch $@

# The program is built as the other tests build it, so that nothing is built twice.
.PHONY: container-test
container-test: kafka ## the image beside a Kafka on a container engine, which is started if there is none
	@$(CARGO) test --locked --quiet --no-run --test cli
	@$(CARGO) test --locked --quiet $(CONTAINER) $(CONTAINER_TARGET) -- --nocapture --test-threads=1 $(ARGS)

.PHONY: image
image: ## the container image from source (IMAGE=name:tag, ARGS="--build-arg RUNTIME=...")
	DOCKER_BUILDKIT=1 docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse --short HEAD) \
		-t $(IMAGE) $(ARGS) .

.PHONY: doctor
doctor: ## what this machine lacks, in one line
	@missing=""; \
	for tool in cc c++ make perl curl java javac mvn promtool prometheus chromium chromedriver cargo; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	if command -v cargo >/dev/null; then \
		cargo fmt --version >/dev/null 2>&1 || missing="$$missing rustfmt"; \
		cargo clippy --version >/dev/null 2>&1 || missing="$$missing clippy"; \
	fi; \
	if command -v java >/dev/null; then \
		major=$$(java -version 2>&1 | sed -nE 's/.* version "([0-9]+).*/\1/p;T;q'); \
		[ "$${major:-0}" -ge 17 ] || missing="$$missing java>=17"; \
	fi; \
	python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	[ -n "$${DOCKER_HOST:-}" ] || [ -S /var/run/docker.sock ] || command -v dockerd >/dev/null || missing="$$missing docker"; \
	if [ -n "$$missing" ]; then \
		echo "missing:$$missing - on Debian: make install-deps; Rust: https://rustup.rs" >&2; exit 1; \
	fi; \
	echo "nothing is missing"

.PHONY: install-deps
install-deps: ## install what a Debian machine lacks (as root): C compiler, make, perl, pkg-config, curl, Java 17, Maven, Python, Prometheus
	@missing=""; add() { command -v $$1 >/dev/null || missing="$$missing $$2"; }; \
	add cc build-essential; add c++ build-essential; add make build-essential; add perl perl; add pkg-config pkg-config; add curl curl; \
	add javac openjdk-17-jdk-headless; add mvn maven; add chromium chromium; add chromedriver chromium-driver; \
	python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3 python3-venv"; \
	[ -n "$${DOCKER_HOST:-}" ] || [ -S /var/run/docker.sock ] || add dockerd "docker.io ca-certificates"; \
	if [ -n "$$missing" ]; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -q; \
		apt-cache show openjdk-17-jdk-headless >/dev/null 2>&1 || missing=$${missing/openjdk-17-jdk-headless/default-jdk-headless}; \
		apt-get install -q -y --no-install-recommends $$missing; \
	fi; \
	for tool in promtool prometheus; do \
		command -v $$tool >/dev/null || { $(MAKE) --no-print-directory install-prometheus; break; }; \
	done

# The two programs out of Debian's package, not the package: it would start a service, now and at each boot.
.PHONY: install-prometheus
install-prometheus: ## install promtool and prometheus into /usr/local/bin (as root), without the service of Debian's package
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	[ -n "$$(ls /var/lib/apt/lists 2>/dev/null | grep -v -e lock -e partial -e auxfiles)" ] || apt-get update -q; \
	(cd "$$dir" && apt-get download -q -o APT::Sandbox::User=root prometheus); \
	dpkg-deb --fsys-tarfile "$$dir"/prometheus_*.deb | tar -x -C "$$dir" ./usr/bin/promtool ./usr/bin/prometheus; \
	install -m 755 "$$dir"/usr/bin/promtool "$$dir"/usr/bin/prometheus /usr/local/bin/

.PHONY: clean
clean: ## remove everything that was built or fetched
	rm -rf target
