# `make train` needs Python 3.11 or newer and nothing else: everything is installed into .venv.
PYTHON ?= python3
# More options of `reverie train`, for example `make train ARGS="--seed 1"`.
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
CODE := src tests $(wildcard benchmarks examples)

.PHONY: help train test test-slow test-envs test-robots lint format clean
.DEFAULT_GOAL := help

help:
	@echo 'make train      Train the quickstart agent in logdir/ (minutes on two cores).'
	@echo 'make test       Run the tests.'
	@echo 'make test-slow  Run the tests that take minutes.'
	@echo 'make test-envs  Install all suites of environments and run their tests.'
	@echo 'make lint       Check style, formatting and types.'
	@echo 'make format     Format the code.'
	@echo 'make clean      Remove .venv and caches; runs in logdir/ stay.'

train: $(INSTALLED)
	$(BIN)/reverie train --configs quickstart --logdir 'logdir/{timestamp}' $(ARGS)

# Two processes, each of which keeps to whole files, so that their fixtures are made once. In the
# order of the folders the shortest files come last; xdist's own order ends with the longest.
QUICKLY := -m 'not slow' -n 2 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED_DEV)
	$(BIN)/python -m pytest $(QUICKLY)

test-slow: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -m slow

test-envs: $(INSTALLED_DEV)
	$(PIP) -e '.[dev,atari,bsuite,compress,crafter,dm,dmc,envpool,memmaze,minigrid,popgym,procgen,box2d,video,vizdoom]'
	$(PIP) --no-deps procgen-mirror==0.10.7 gym3==0.3.3 langroom==0.1.2 nle==1.3.0
	$(BIN)/python -m pytest -m 'not slow' tests/envs
	$(MAKE) test-robots

# The robot tasks need another MuJoCo than DM Control, and so an environment of their own.
test-robots:
	$(PYTHON) -m venv .venv-robots
	grep -v '^mujoco==' constraints.txt > .venv-robots/constraints.txt
	.venv-robots/bin/python -m pip install --disable-pip-version-check \
	  -c .venv-robots/constraints.txt -e '.[dev,metaworld,robotics]'
	.venv-robots/bin/python -m pytest tests/envs/test_gym_packages.py

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/pyright

format: $(INSTALLED_DEV)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

clean:
	rm -rf .venv .venv-robots .pytest_cache .ruff_cache .hypothesis build dist
	find src tests $(wildcard benchmarks examples) -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed; name one, as in: make PYTHON=python3.11 train'; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# The stamps are older than a changed pyproject.toml or constraints.txt, which installs again.
$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev,atari,compress,crafter,dmc,box2d,video,tensorboard,wandb,scope]'
	@touch $@ $(INSTALLED)
