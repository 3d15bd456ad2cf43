# `make train` needs Python 3.11 or newer and nothing else: everything is installed into .venv.
PYTHON ?= python3
# More options of `reverie train`, for example `make train ARGS="--seed 1"`.
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
# Where Python 3.12 may be; a name in PATH may be one of pyenv, which runs nothing by itself.
PYTHON312 ?= python3.12 $(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python)
INSTALLED_312 := .venv-312/.installed
CODE := src tests $(wildcard benchmarks examples)

.PHONY: help train test test-slow test-312 run-312 test-envs test-robots lint format clean
.DEFAULT_GOAL := help

help:
	@echo 'make train      Train the quickstart agent in logdir/ (minutes on two cores).'
	@echo 'make test       Run the tests.'
	@echo 'make test-slow  Run the tests that take minutes.'
	@echo 'make test-312   Run the tests of what computes with Python 3.12 and the newest JAX.'
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

test-312:
	@for python in $(PYTHON312); do \
	  $$python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2>/dev/null && \
	    exec $(MAKE) run-312 PYTHON312=$$python; \
	done; \
	echo 'Skipped: none of these runs Python 3.12: $(PYTHON312)'

# The golden vectors with XLA as users have it, and not the quick compilation of the other tests.
run-312: $(INSTALLED_312)
	.venv-312/bin/python -c 'import jax; print("Testing with JAX", jax.__version__)'
	XLA_FLAGS= .venv-312/bin/python -m pytest $(QUICKLY) tests/golden
	.venv-312/bin/python -m pytest $(QUICKLY) \
	  tests/nn tests/agent tests/learner tests/run/test_training.py

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
	rm -rf .venv .venv-312 .venv-robots .pytest_cache .ruff_cache .hypothesis build dist
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
	$(PIP) -e '.[dev,atari,compress,crafter,dmc,box2d,video,tensorboard,wandb,scope,trackio,view]'
	@touch $@ $(INSTALLED)

$(INSTALLED_312): pyproject.toml constraints.txt
	$(PYTHON312) -m venv --clear .venv-312
	grep -vE '^jax(lib)?==' constraints.txt > .venv-312/constraints.txt
	.venv-312/bin/python -m pip install --disable-pip-version-check \
	  -c .venv-312/constraints.txt -e '.[dev,video]'
	@touch $@
