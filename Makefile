# make demo         the whole path on the built-in corpus: recordings to audio
# make test         lint and tests, in a virtual environment made for it
# make test-latest  the same on the newest TensorFlow, without tensorflow-io
# make format       the code as ruff formats it
# make clean        removes the virtual environments, never data or runs

.PHONY: help install demo test test-latest format clean
.DEFAULT_GOAL := help

# The first Python on the path that the default install supports.
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	2>/dev/null && echo $$p && break; done)
PYTHON_LATEST ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	2>/dev/null && echo $$p && break; done)

VENV := .venv
VENV_LATEST := .venv-latest
MINUTES ?= 8

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

# Called again, it goes on: data is made anew, the training is resumed.
demo: install
	$(VENV)/bin/python -m pipeline.preprocess --runner=DirectRunner \
		--config configs/digits8k.yaml --source demo \
		--output tfrecords/demo --overwrite
	$(VENV)/bin/python -m stftgan_tf.train --config configs/digits8k.yaml \
		--data tfrecords/demo --run runs/demo --minutes $(MINUTES) \
		$(if $(wildcard runs/demo/config.yaml),--resume)
	$(VENV)/bin/python -m stftgan_tf.export --run runs/demo \
		--output exports/demo --overwrite
	$(VENV)/bin/python -m stftgan_tf.evaluate --model exports/demo \
		--data tfrecords/demo
	$(VENV)/bin/python -m stftgan_tf.sample --model exports/demo \
		--num 16 --seed 0 --output samples/demo

test: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

test-latest: $(VENV_LATEST)/installed
	$(VENV_LATEST)/bin/python -m pytest -n 2 --dist loadfile

format: install
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf $(VENV) $(VENV_LATEST) *.egg-info build dist
