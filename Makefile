# make install      the virtual environment of demo and test, .venv
# make demo         all of it on the built-in corpus: report, version, audio
# make test         lint and tests, in a virtual environment made for it
# make test-latest  the same on the newest TensorFlow, without tensorflow-io
# make tfx          an environment with TFX, for pipeline.tfx_pipeline
# make tfx-test     the tests of it
# make format       the code as ruff formats it
# make clean        removes the virtual environments, never data or runs

.PHONY: help install demo test test-latest has-python-tfx tfx tfx-test format clean
.DEFAULT_GOAL := help

# The first Python on the path that the default install supports.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	2>/dev/null && echo $$p && break; done)
PYTHON_LATEST ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo $$p && break; done)
# TFX can be installed on 3.10 alone.
PYTHON_TFX ?= $(shell for p in python3 python3.10 $(HOME)/.pyenv/versions/3.10.*/bin/python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' \
	2>/dev/null && echo $$p && break; done)

VENV := .venv
VENV_LATEST := .venv-latest
VENV_TFX := .venv-tfx
STEPS ?= 2500

help:
	@grep '^# make' Makefile | cut -c3-

install: $(VENV)/installed

# A new environment each time: what is in it comes from the project's files.
$(VENV)/installed: setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.12 found" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check \
		-c constraints.txt -e '.[io,demo,serving,test]'
	touch $@

$(VENV_LATEST)/installed: setup.py constraints-latest.txt
	@test -n "$(PYTHON_LATEST)" || { echo "no Python 3.11 to 3.13 found" >&2; exit 1; }
	rm -rf $(VENV_LATEST)
	$(PYTHON_LATEST) -m venv $(VENV_LATEST)
	$(VENV_LATEST)/bin/pip install -q --disable-pip-version-check \
		-c constraints-latest.txt -e '.[demo,serving,test]'
	touch $@

$(VENV_TFX)/installed: setup.py constraints-tfx.txt
	@test -n "$(PYTHON_TFX)" || { echo "no Python 3.10 found" >&2; exit 1; }
	rm -rf $(VENV_TFX)
	$(PYTHON_TFX) -m venv $(VENV_TFX)
	$(VENV_TFX)/bin/pip install -q --disable-pip-version-check \
		-c constraints-tfx.txt -e '.[demo,serving]' 'tfx[kfp]' dill pytest
	touch $@

# Called again, it goes on where it was, or says that nothing is to do.
# What is not blessed is not served, but can be listened to.
DEMO = $(VENV)/bin/python -m pipeline.run --config digits8k --source demo \
	--root pipelines/demo --base_path serving/demo \
	--set train.steps=$(STEPS) --runner=DirectRunner
demo: install
	$(DEMO); code=$$?; \
	model="$$($(DEMO) --dry-run | awk '$$1 == "export" { print $$NF }')"; \
	test -d "$$model" && echo "samples of $$model" && \
	$(VENV)/bin/python -m stftgan_tf.sample --model "$$model" --num 16 \
		--seed 0 --output samples/demo && exit $$code

test: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

test-latest: $(VENV_LATEST)/installed
	$(VENV_LATEST)/bin/python -m pytest -n 2 --dist loadfile

has-python-tfx:
	@test -n "$(PYTHON_TFX)"

tfx: $(VENV_TFX)/installed

tfx-test: tfx
	$(VENV_TFX)/bin/python -m pytest -W ignore tests/test_tfx_pipeline.py

format: install
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(VENV_LATEST) $(VENV_TFX) *.egg-info build dist
