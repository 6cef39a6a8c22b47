# `make demo` and `make test` need only Python (3.11, 3.12, or 3.13). Everything else is installed
# into .venv. SAM CLI and checkov pin other versions of the same packages, so each has its own
# virtual environment.

PYTHON ?= python3
SUPPORTED := 3.11 3.12 3.13

BIN := .venv/bin
INSTALLED := .venv/.installed
SAM := .venv-sam/.installed
CHECKOV := .venv-checkov/.installed
TOO_OLD := stream-backup needs Python 3.11 or later. Set it with: make PYTHON=python3.13

# `make check` runs the tests on the Python of .venv, and on the oldest and the newest supported
# Python of this machine if they are others.
version = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
OURS = $(call version,$(BIN)/python)
FOUND = $(sort $(OURS) $(foreach each,$(SUPPORTED),$(call version,python$(each))))
OTHERS = $(filter-out $(OURS),$(firstword $(FOUND)) $(lastword $(FOUND)))

.PHONY: install demo test soak check lint-template docs hashes screenshots fix bench clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "$(TOO_OLD)")'
	$(call create,.venv,$(PYTHON))

.venv-3.%/.installed: pyproject.toml constraints.txt
	$(call create,.venv-3.$*,python3.$*)

define create
$(2) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(1)/bin/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[demo]'
	touch $(1)/.installed
endef

$(SAM): constraints-sam.txt
	$(PYTHON) -m venv .venv-sam
	.venv-sam/bin/python -m pip install --quiet --constraint constraints-sam.txt aws-sam-cli cfn-lint
	touch $@

$(CHECKOV): constraints-checkov.txt
	$(PYTHON) -m venv .venv-checkov
	.venv-checkov/bin/python -m pip install --quiet --constraint constraints-checkov.txt checkov
	touch $@

demo: $(INSTALLED)
	$(BIN)/stream-backup demo

# Most of the tests that take long wait for a server, so there are more workers than cores.
PYTEST := -n 6 --dist loadscope --no-loadscope-reorder

test: $(INSTALLED) $(SAM)
	@$(BIN)/python -m tests.browser
	$(BIN)/pytest $(PYTEST)

# For `make check`, on another Python: random histories are the same on each, so it runs fewer, and
# it leaves out long tests of what does not depend on Python. `make PYTHON=… test` runs them all.
test-3.%: .venv-3.%/.installed $(SAM)
	.venv-3.$*/bin/pytest $(PYTEST) --hypothesis-profile=dev -m 'not once'

# Runs the laws and the simulation on other and longer histories, and the mutants, for this many
# minutes.
MINUTES ?= 10

soak: $(INSTALLED)
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

check: $(INSTALLED) $(SAM) lint-template
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/make_cli_reference.py --check
	$(BIN)/python docs/make_parameters.py --check
	$(BIN)/python docs/make_operations.py --check
	$(BIN)/python docs/make_scale.py --check
	@echo 'The tests run on Python $(OURS)$(if $(OTHERS), and $(OTHERS),; no other supported one was found).'
	$(MAKE) test $(OTHERS:%=test-%)

# The exceptions are in the template, each with its reason.
lint-template: $(SAM) $(CHECKOV)
	SAM_CLI_TELEMETRY=0 AWS_REGION=us-east-1 .venv-sam/bin/sam validate --lint
	.venv-sam/bin/cfn-lint template.yaml
	mkdir -p .aws-sam
	.venv-sam/bin/python tests/deploy_transform.py template.yaml > .aws-sam/transformed.json
	.venv-sam/bin/cfn-lint .aws-sam/transformed.json
	.venv-checkov/bin/checkov --skip-download --quiet --compact \
		--file template.yaml .aws-sam/transformed.json

# Compares each hot path with boto3 and with a bare client. BENCH=growth runs only one part.
# For all parts, see python -m bench --help.
bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python -m bench $(BENCH)

# The pictures in docs/images need a browser.
screenshots: $(INSTALLED)
	$(BIN)/python docs/make_screenshots.py

docs: $(INSTALLED)
	$(BIN)/python docs/make_cli_reference.py
	$(BIN)/python docs/make_parameters.py
	$(BIN)/python docs/make_operations.py
	$(BIN)/python docs/make_scale.py

# Writes function/*requirements.txt, with the hash of each wheel, from function/*requirements.in.
# It asks the index that pip is configured to use.
hashes: $(INSTALLED)
	$(BIN)/python function/hash_wheels.py

fix: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-3.* .venv-sam .venv-checkov .aws-sam
