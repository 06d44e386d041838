# make install    create the virtual environment .venv that the other targets use
# make demo       run the whole pipeline on the built-in corpus: report, model, audio
# make test       lint, then all tests but the slow ones
# make test-fast  the tests that train nothing, in about a minute
# make test-slow  the slow tests: kills at random moments, load, several workers
# make test-cluster  jobs on Flink and Spark clusters, and on several hosts
# make docs       build the documentation into site/
# make tfx        create an environment with TFX, for pipeline.tfx_pipeline
# make tfx-test   run the TFX tests in it
# make format     format the code with ruff
# make clean      remove the virtual environments, never data or runs

.PHONY: help install demo test test-fast test-slow test-cluster docs has-python-tfx tfx tfx-test format clean
.DEFAULT_GOAL := help

# The first supported Python on the path.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10 python3.13; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo $$p && break; done)
# TFX 1.16 supports no Python above 3.10.
PYTHON_TFX ?= $(shell for p in python3 python3.10 $(HOME)/.pyenv/versions/3.10.*/bin/python; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' \
	2>/dev/null && echo $$p && break; done)

VENV := .venv
VENV_TFX := .venv-tfx
PYTEST := $(VENV)/bin/python -m pytest -n 2 --dist loadscope
STEPS ?= 1500

help:
	@grep '^# make' Makefile | cut -c3-

install: $(VENV)/installed

# Always a new environment, so that it contains what the project's files name.
$(VENV)/installed: setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 to 3.13 found" \
		"($$(python3 --version 2>&1)); TensorFlow supports these versions." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 13))' || exit 0; \
		echo "Python 3.13: installing the newest TensorFlow, without tensorflow-io" \
		"(its last release supports Python 3.12 at most)"
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check \
		-c constraints.txt -e '.[all,docs,test]'
	touch $@

$(VENV_TFX)/installed: setup.py constraints-tfx.txt
	@test -n "$(PYTHON_TFX)" || { echo "error: no Python 3.10 found" >&2; exit 1; }
	rm -rf $(VENV_TFX)
	$(PYTHON_TFX) -m venv $(VENV_TFX)
	$(VENV_TFX)/bin/pip install -q --disable-pip-version-check -c constraints-tfx.txt \
		-e '.[train,pipeline,serving,demo]' 'tfx[kfp]' dill pytest
	touch $@

# Run again after an interruption, it continues where it stopped. A model that is
# not blessed is not published, but can still be heard.
DEMO = $(VENV)/bin/python -m pipeline.run --config digits8k --source demo \
	--root pipelines/demo --base_path serving/demo \
	--steps $(STEPS) --runner=DirectRunner
demo: install
	$(DEMO); code=$$?; \
	model="$$($(DEMO) --dry_run | awk '$$1 == "export" { print $$NF }')"; \
	test -d "$$model" && \
	$(VENV)/bin/python -m stftgan_tf.sample --model "$$model" --num 16 \
		--seed 0 --output samples/demo && exit $$code

test: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PYTEST) -m 'not slow and not cluster'

test-fast: install
	$(PYTEST) -q -m 'not slow and not cluster and not trains'

test-slow: install
	$(PYTEST) -m 'slow and not cluster'

# Flink's and Spark's jars take 600 MB. One test at a time: each starts a cluster.
test-cluster: $(VENV)/cluster-installed
	$(VENV)/bin/python -m pytest -m cluster tests/cluster

$(VENV)/cluster-installed: $(VENV)/installed
	$(VENV)/bin/pip install -q --disable-pip-version-check \
		-c constraints.txt -e '.[cluster]'
	touch $@

docs: install
	$(VENV)/bin/mkdocs build --strict

has-python-tfx:
	@test -n "$(PYTHON_TFX)"

tfx: $(VENV_TFX)/installed

tfx-test: tfx
	$(VENV_TFX)/bin/python -m pytest -W ignore tests/pipeline/test_tfx_pipeline.py

format: install
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(VENV_TFX) *.egg-info build dist site
