# Commands for developers. `make` lists them. Targets that need .venv and .env create them first.

PYTHON := .venv/bin/python
FLASK := $(PYTHON) -m flask --app wsgi
# The number that `make call` calls: Acme Dental, a demo tenant.
DID ?= +14155550100
# How many processes `make chaos` kills, and the seed of their order.
KILLS ?= 1000
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup run call test test-fast test-all chaos lint catalogues lock bench

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /  make \1|/p' Makefile | while IFS='|' read -r name text; \
		do printf '%-17s  %s\n' "$$name" "$$text"; done

setup: export SETUP_SCRIPT = $(value SETUP)
setup: ## Create .venv and .env, or update .venv; the other targets do this first
	@/bin/sh -euc "$$SETUP_SCRIPT"

run: setup ## Run everything with two demo tenants; PORT=9000 sets the port, Ctrl-C stops it
	@$(FLASK) up

call: setup ## Call a demo tenant while `make run` runs; DID=+44… calls another number
	@$(FLASK) calls simulate '$(DID)' $(ARGS)

test: export PYTHONDONTWRITEBYTECODE =
test: setup ## Run the tests on a separate Postgres; ARGS='-k word' selects tests
	@$(PYTHON) -m pytest -n auto --dist worksteal \
		--ignore tests/generated --ignore tests/chaos $(ARGS)

test-fast: export PYTHONDONTWRITEBYTECODE =
test-fast: setup ## Run the unit, architecture and contract tests, which need no Postgres
	@$(PYTHON) -m pytest -n auto --dist worksteal \
		tests/unit tests/architecture tests/contract $(ARGS)

test-all: export PYTHONDONTWRITEBYTECODE =
test-all: setup ## Run every test and list the lines that none runs
	@$(PYTHON) -m pytest -n auto --dist worksteal \
		--cov --cov-report=term-missing:skip-covered $(ARGS)

chaos: export PYTHONDONTWRITEBYTECODE =
chaos: setup ## Kill processes in calls; KILLS=50 SEED=7 choose how often
	@SHUFFLES=1000 $(PYTHON) -m pytest tests/integration/tenant/test_state_machine.py
	@$(PYTHON) -m tests.chaos --kills '$(KILLS)' --seed '$(SEED)'

lint: setup ## Check style, types and imports
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(PYTHON) .venv/bin/lint-imports

catalogues: setup ## Update and compile the translations; LANGUAGE=sw adds a language
	@$(PYTHON) -m vca.devtools.catalogues $(LANGUAGE)

# uv resolves for every platform and Python version at once. It is not a dependency of the project, so
# this target installs it in a virtual environment of its own.
lock: setup ## Update the lock files after a change of requirements
	@$(PYTHON) -m venv .venv/lock
	@.venv/lock/bin/python -m pip install -qq --disable-pip-version-check uv==0.13.9
	@for name in requirements requirements-dev tests/system/clients/requirements; do \
		.venv/lock/bin/uv pip compile -q --universal --generate-hashes --python-version 3.11 \
			--custom-compile-command 'make lock' $$name.txt --output-file $$name.lock; \
	done

bench: export PYTHONDONTWRITEBYTECODE =
bench: setup ## Measure requests, turns and 10,000 tenants; takes over an hour
	@POOL_REQUESTS=10000 $(PYTHON) -m pytest tests/integration/tenancy/test_pool.py -k mixed_requests
	@$(PYTHON) -m benchmarks

# An interrupted install leaves the file `unfinished`. pip may then accept packages that are only
# partly installed, so the next run creates .venv again. A complete install writes `installed`.
define SETUP
lock_checksum=$(cksum <requirements-dev.lock)
stamp=.venv/installed
unfinished=.venv/unfinished

new_enough() {
	"$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

usable() {
	new_enough .venv/bin/python && .venv/bin/python -c 'import pip' 2>/dev/null
}

up_to_date() {
	[ "$(cat $stamp 2>/dev/null)" = "$lock_checksum" ] && usable
}

find_python() {
	lacking=
	for python in python3 python3.13 python3.12 python3.11; do
		new_enough $python || continue
		if $python -c 'import ensurepip, venv' 2>/dev/null; then return; fi
		lacking=$python
	done
	if [ "$lacking" ]; then
		echo "$($lacking --version) lacks its venv module: install it (Debian and Ubuntu:" \
			"apt install python3-venv) and try again." >&2
	else
		echo 'VCA needs Python 3.11 or newer, but the PATH has none.' >&2
	fi
	exit 1
}

make_venv() {
	find_python
	echo "Creating .venv with $($python --version) …"
	rm -rf .venv
	mkdir .venv
	: >$unfinished
	$python -m venv .venv
	# Python 3.11 adds an old setuptools, which nothing needs.
	.venv/bin/python -m pip uninstall -qq --yes setuptools 2>/dev/null || :
}

install() {
	if [ -e $unfinished ] || ! usable; then make_venv; fi
	: >$unfinished
	rm -f $stamp
	echo 'Installing into .venv; this takes a minute …'
	.venv/bin/python -m pip install -qq --disable-pip-version-check --no-input \
		--root-user-action=ignore --require-hashes --no-deps \
		--requirement requirements-dev.lock
	echo "$lock_checksum" >$stamp
	rm $unfinished
}

if ! up_to_date; then
	# One install at a time, if the system has flock: the folder itself is the lock.
	exec 9<.
	flock 9 2>/dev/null || :
	up_to_date || install
fi
[ -e .env ] || .venv/bin/python -c 'from vca.devtools.env_file import write_env_file; from vca.settings import ROOT
if write_env_file(ROOT / ".env", ROOT / ".env.example"):
    print("Wrote .env with new secrets.")'
if [ ! -r .env ]; then
	echo '.env cannot be read: another user created it, perhaps with sudo.' \
		'To own the folder, run: sudo chown -R "$USER" .' >&2
	exit 1
fi
endef
