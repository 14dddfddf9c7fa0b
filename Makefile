# `make help` lists the targets. Everything runs on the Node that package.json brings.
SHELL := /bin/bash
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

# All of test/ but what needs Docker, a cluster, foreign toolchains or a quiet machine.
ROOMS := $(filter-out test/e2e/ test/clients/ test/bench/ test/cluster/,$(wildcard test/*/))
EVERYDAY := 'test/*.test.ts' $(patsubst %,'%**/*.test.ts',$(ROOMS))
# Each writes a file that is committed, or with --check compares it.
GENERATORS := scripts/schema.ts scripts/chart-schema.ts scripts/chart-readme.ts scripts/chart-files.ts
# What is compiled once is kept for every process that the tests start; a test that hangs ends in 25 minutes.
TEST := env NODE_COMPILE_CACHE=$(CURDIR)/node_modules/.cache/compiled node --test --test-reporter=spec --test-timeout=1500000

.DEFAULT_GOAL := help
.PHONY: help setup run test check fix build bench e2e cluster image pack schema clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: node_modules/.installed ## Install what package.json names (the other targets do it by themselves)

node_modules/.installed: package.json package-lock.json
	npm ci --no-fund --no-audit
	@touch $@

run: setup ## Start a development issuer, mint a token, verify it by the published JWKS, keep serving
	@node scripts/run.ts

test: build ## Run the everyday tests, on the built program
	MINTMARK_TEST_PROGRAM=dist/main.js $(TEST) --test-concurrency=4 $(EVERYDAY)

check: setup ## Format, lint, types, and that generated files are what the sources make
	biome check --error-on-warnings .
	tsc
	@for script in $(GENERATORS); do echo "node $$script --check"; node $$script --check || exit 1; done

fix: setup ## Format and repair what can be repaired
	biome check --write .
	@for script in $(GENERATORS); do node $$script || exit 1; done

build: setup ## Bundle src into dist
	node scripts/build.ts

bench: build ## Measure the built program; prints a table and writes bench.json
	node test/bench/bench.ts

e2e: build ## Containers, Prometheus, foreign verifiers, load and kill tests (needs Docker, Go, Python)
	$(TEST) --test-concurrency=1 'test/e2e/**/*.test.ts' 'test/clients/**/*.test.ts'
	MINTMARK_TEST_RUNS=all $(TEST) test/config/fuzz.test.ts test/config/salvage.test.ts test/chart/values.test.ts

cluster: build ## Helm, sidecars, replicas and outages on a real Kubernetes (needs root, Go 1.26, Docker)
	test/cluster/cluster run $(TEST) --test-concurrency=1 'test/cluster/**/*.test.ts'

image: build ## Build the container image (BASE=image to start from)
	docker build -f deploy/Dockerfile $(if $(BASE),--build-arg BASE=$(BASE)) -t mintmark:local .

pack: build ## Make the npm package
	npm pack

schema: setup ## Make anew what is made of the sources: JSON Schemas, the chart's README and files
	@for script in $(GENERATORS); do node $$script || exit 1; done

clean: ## Remove what was built
	rm -rf dist bench.json mintmark-*.tgz
