# CLIP, Q, PORT, DATA and TESTS are read from the environment or the command line (make hands both to the shell).
# make chat | make demo | make test | make check | make tiny: each sets itself up from nothing but Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
UNIFUSION := $(VENV)/bin/unifusion
PIP := $(PY) -m pip install -c constraints.txt
DATA ?= $(or $(UNIFUSION_DATA),$(wildcard ../shared/data))

.PHONY: help install chat demo test test-thorough check lint types floors tiny clean

help:
	@echo "make chat [CLIP=file.mp4] [Q='What happens?']   talk about a clip with the model that ships with the project"
	@echo "make demo                                       the same in the browser"
	@echo "make test | make check                          tests | lint, types, floors, budgets"
	@echo "make tiny [DATA=path/to/sets]                   train the shipped model again (without DATA, on clip world alone)"
	@echo "make install                                    only set up $(VENV) with the command $(UNIFUSION)"

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed.stamp: pyproject.toml constraints.txt | $(PY)
	$(PIP) -e '.[demo,world,plots,eval]'
	@touch $@

$(VENV)/installed-dev.stamp: pyproject.toml constraints.txt | $(PY)
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/installed.stamp

install: $(VENV)/installed.stamp

# Without CLIP: the first example that ships with the project. Without Q: a conversation, or one question where there is no terminal.
chat: install
	@clip="$${CLIP:-}"; [ -n "$$clip" ] || clip=$$(ls demo/examples/*.mp4 2>/dev/null | head -n 1); \
	[ -n "$$clip" ] || { echo "no clip: make chat CLIP=path/to/clip.mp4" >&2; exit 2; }; \
	question="$${Q:-}"; [ -n "$$question" ] || [ -t 0 ] || question="What happens in this clip?"; \
	echo "$(UNIFUSION) chat $$clip$${question:+ -q \"$$question\"}" >&2; \
	if [ -n "$$question" ]; then exec $(UNIFUSION) chat "$$clip" -q "$$question"; else exec $(UNIFUSION) chat "$$clip"; fi

demo: install
	$(UNIFUSION) demo $(if $(PORT),--port $(PORT))

test: $(VENV)/installed-dev.stamp
	$(PY) -m pytest -n auto $(TESTS)

# Also every encoder with every adapter and language model, every export, every strategy: twice the time.
test-thorough: $(VENV)/installed-dev.stamp
	$(PY) -m pytest -n auto --thorough $(TESTS)

check: lint types floors

lint: $(VENV)/installed-dev.stamp
	$(PY) -m ruff check .

types: $(VENV)/installed-dev.stamp
	$(PY) -m mypy

floors: $(VENV)/installed-dev.stamp
	$(PY) -m pytest -q tests/test_floors.py tests/test_budgets.py

# Without sets of real recordings another, smaller model comes of it, which does not take the place of the shipped one.
tiny: install
	$(UNIFUSION) train tiny $(if $(DATA),--data $(DATA),--out runs/tiny/out)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
