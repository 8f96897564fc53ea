# Every target says what it does: make help. What they do lives in deploy/local, scripts/ and the tools themselves.
# Variables on the command line (make up EXECUTORS=4) reach them as environment variables.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

bin := .venv/bin
local := $(bin)/python -m deploy.local
sources := services cli deploy tests bench audit

##@ Run it

.PHONY: up
up: install ## Start the whole mesh and run a first program (SCHEDULERS=2 GATEWAYS=1 EXECUTORS=2 PORT=8080)
	@$(local) up

.PHONY: up-infra
up-infra: install ## Start PostgreSQL, RabbitMQ and Redis only
	@$(local) up-infra

.PHONY: health
health: ## Ask the edge how the service is; fails unless it is well
	@$(local) health

.PHONY: status
status: ## Show which processes run
	@$(local) status

.PHONY: logs
logs: ## Follow the logs (NAMES="scheduler gateway-0" for some of them)
	@$(local) logs $(NAMES)

.PHONY: down
down: ## Stop everything in order; data stays
	@$(local) down

.PHONY: down-clean
down-clean: ## Stop everything and delete its data
	@$(local) down-clean

##@ Work on it

.PHONY: install
install: ## Install what is missing: Debian packages, .venv, buf (quick when nothing is)
	@scripts/install.sh

.PHONY: languages
languages: install ## Install what programs may be written in (LANGUAGES="java go"; all by default)
	@scripts/languages.sh

.PHONY: dev-api
dev-api: install ## Run a scheduler, a gateway and Envoy in the foreground (after make up-infra)
	@$(local) dev-api

.PHONY: dev-worker
dev-worker: install ## Run an executor in the foreground (beside make dev-api)
	@$(local) dev-worker

.PHONY: migrate
migrate: ## Bring the database schema up to date
	@$(local) migrate

.PHONY: migrate-down
migrate-down: ## Take the last migration back
	@$(local) migrate-down

.PHONY: proto
proto: install ## Generate gen/ from proto/
	@scripts/generate.sh

##@ Prove it

.PHONY: check
check: install lint types ## All that needs no running mesh: lint, types, contracts, import rules, shell, edge
	@scripts/check-proto.sh
	@scripts/check-edge.sh
	@$(bin)/shellcheck scripts/*.sh .ci/run

.PHONY: lint
lint: ## ruff (rules and format) and the import rules
	@$(bin)/ruff check $(wildcard $(sources))
	@$(bin)/ruff format --check $(wildcard $(sources))
	@$(bin)/lint-imports

.PHONY: types
types: ## mypy --strict
	@$(bin)/mypy --strict $(wildcard $(sources))

.PHONY: test
test: install check ## Everything: make check, then every test against real servers and in every language
	@LANGUAGES= scripts/languages.sh
	@$(bin)/pytest

.PHONY: test-languages
test-languages: languages ## Only what every language must prove, in real jails
	@$(bin)/pytest tests/languages

.PHONY: security-audit
security-audit: install ## Attack a mesh of its own with the whole catalogue (AUDIT="--only S01,F* --repeat 3 --neighbours 4")
	@$(bin)/python -m audit $(AUDIT)

.PHONY: bench
bench: install ## Measure against a mesh of its own; writes bench/RESULTS.md
	@$(bin)/python -m bench

##@ Help

.PHONY: help
help: ## Show this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  \033[36m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)
