# make reproduce    the default study and its report
# make test         every check that CI runs
# make help         the other targets

PYTHON ?= python3
CORES  ?= all
STUDY  ?=# a file such as studies/quick.yaml, laid over config.yaml
WORKERS ?= 3# processes of pytest; tests of one folder or file stay together
PYTEST  ?=# further options for pytest

BIN   := .venv/bin
STAMP := .venv/.installed
RULES  := Snakefile workflow/Snakefile workflow/rules
LOCKED := requirements.lock requirements-torch.txt pyproject.toml
quote     = '$(subst ','\'',$(1))'
FILES     = $(if $(STUDY),--configfile $(call quote,$(STUDY)))
SNAKEMAKE = $(BIN)/snakemake --cores $(CORES) $(FILES)
# The config is read before anything runs: its name, or what is wrong with it.
NAME      = name=$$($(BIN)/abspos name $(FILES))
# On a terminal, bars of progress; the plain log is in .snakemake/log either way.
LOGGER   := $(shell test -t 2 && echo --logger rich)
REPORT    = $(SNAKEMAKE) --report "results/$$name/report.html" --report-stylesheet workflow/report/report.css
# A terminal opens them at a click.
LINKS     = printf 'file://%s\n' "$$PWD/results/$$name/index.html" "$$PWD/results/$$name/report.html"

.DEFAULT_GOAL := help
.PHONY: help setup reproduce report test lint format lock docs bench
.PHONY: plan verdicts verify explain crate

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22
	@echo "  make plan | verdicts | verify | explain | crate   the commands of abspos; options in ARGS='...'"
	@echo "  variables: STUDY=studies/quick.yaml  CORES=2  PYTHON=python3.12  PYTEST='-k name'"

# The stamp holds the digest of what was installed: touched files and fresh clones change nothing.
# It stays empty while an install runs: an interrupted install starts again from an empty folder, since
# pip mistakes a half-written package for a complete one.
setup:  ## the environment in .venv, from the lock
	@set -e; digest=$$(cat $(LOCKED) | cksum); \
	if $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  if [ "$$(cat $(STAMP) 2>/dev/null)" = "$$digest" ]; then exit 0; fi; \
	  if [ -e $(STAMP) ] && [ ! -s $(STAMP) ]; then rm -rf .venv; fi; \
	else rm -rf .venv; fi; \
	if [ ! -d .venv ]; then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "error: PYTHON=$(PYTHON) gives '$$($(PYTHON) --version 2>&1)'; 3.11 or newer is needed:" \
	      "make setup PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	  echo "setting up .venv (once; some minutes; each package is named as it comes)"; \
	  $(PYTHON) -m venv .venv; \
	fi; \
	: > $(STAMP); \
	pip="$(BIN)/python -m pip --disable-pip-version-check"; \
	{ $$pip install --require-hashes --no-deps -r requirements.lock && echo done; } \
	| awk '/^Collecting/ {printf "  %s ", $$2; fflush()} {last = $$0} \
	       END {print ""; exit last != "done"}'; \
	$$pip install -r requirements-torch.txt; \
	$$pip install -qq --no-deps --no-build-isolation -e .; \
	$$pip check; \
	echo "$$digest" > $(STAMP)

reproduce: setup  ## the study, its page, its report and its verdicts
	@$(NAME) && { $(BIN)/abspos plan --brief $(FILES) || true; }
	$(NAME) && $(SNAKEMAKE) $(LOGGER) && $(REPORT)
	@$(BIN)/abspos verdicts $(FILES) || true
	@$(NAME) && $(LINKS)

report: setup  ## the report alone, of a study that has run
	$(NAME) && $(REPORT) && $(LINKS)

test: setup lint  ## every check
	$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST)

lint: setup  ## style, types and the workflow's own lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check $(RULES)
	$(BIN)/snakemake --lint

format: setup  ## format the sources
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/snakefmt $(RULES)

lock: setup  ## update requirements.lock to the newest versions that fit
	$(BIN)/uv pip compile pyproject.toml --all-extras --constraint requirements-torch.txt --upgrade \
	  --universal --python-version 3.11 --fork-strategy fewest --no-emit-package torch \
	  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet \
	  -o requirements.lock

docs: setup  ## the documentation site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: setup  ## measure time and memory against the bare forward pass (benchmarks/)
	$(BIN)/python -m benchmarks $(ARGS)

plan verdicts verify explain crate: setup
	$(BIN)/abspos $@ $(ARGS) $(FILES)
