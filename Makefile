# `make demo` and `make test` need Python 3.11+ and nothing else: all that they use is installed into .venv, and what pins other
# versions of the same packages (SAM CLI, checkov) into venvs of its own.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SAM := .venv-sam/.installed
CHECKOV := .venv-checkov/.installed

.PHONY: install demo test check lint-template docs fix bench clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stream-backup needs Python 3.11 or later; say which: make PYTHON=python3.13")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev --editable '.[demo]'
	touch $@

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

test: $(INSTALLED) $(SAM)
	$(BIN)/pytest -n 3 --dist loadscope

check: $(INSTALLED) $(SAM) lint-template
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/make_cli_reference.py --check
	$(BIN)/python docs/make_parameters.py --check
	$(BIN)/python docs/make_operations.py --check
	$(BIN)/pytest -n 3 --dist loadscope

# Exceptions stand in the template, each beside its reason.
lint-template: $(SAM) $(CHECKOV)
	SAM_CLI_TELEMETRY=0 AWS_REGION=us-east-1 .venv-sam/bin/sam validate --lint
	.venv-sam/bin/cfn-lint template.yaml
	mkdir -p .aws-sam
	.venv-sam/bin/python tests/deploy_transform.py template.yaml > .aws-sam/transformed.json
	.venv-sam/bin/cfn-lint .aws-sam/transformed.json
	.venv-checkov/bin/checkov --skip-download --quiet --compact --file template.yaml .aws-sam/transformed.json

# Each hot path beside plain boto3 and the bare client; BENCH=growth or another part, see python -m bench --help.
bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python -m bench $(BENCH)

docs: $(INSTALLED)
	$(BIN)/python docs/make_cli_reference.py
	$(BIN)/python docs/make_parameters.py
	$(BIN)/python docs/make_operations.py

fix: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-sam .venv-checkov .aws-sam
