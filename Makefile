# `make help` lists the commands. They share one environment, .venv, with the exact versions of constraints.txt.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12,$(shell command -v $(name))))
BIN := .venv/bin
export RCLREC_CACHE := $(CURDIR)/_build/runs
BUILD_BOOK := $(BIN)/jupyter-book build . --toc book/_toc.yml -W -n --keep-going
comma := ,
TEST_EXTRAS := book,test$(if $(shell command -v java),$(comma)spark)

.DEFAULT_GOAL := help
.PHONY: help book chapter test quick fuzz check pairs repository wheel lab clean

help:  ## list the commands
	@awk -F ':.*  ## ' '/^[a-z]+:.*  ## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: .venv/book.stamp  ## run the notebooks in full, build the book and print the page to open
	$(BUILD_BOOK)
	@echo "The book is built. Open file://$(CURDIR)/_build/html/index.html"

chapter: .venv/book.stamp  ## run and build one chapter in full, NAME=06_backbone, and print the page to open
	@mkdir -p _build && printf 'format: jb-book\nroot: notebooks/$(NAME)\n' > _build/chapter.yml
	$(BIN)/jupyter-book build . --toc _build/chapter.yml --path-output _build/chapter
	@echo "Links to other chapters are dead here. Open file://$(CURDIR)/_build/chapter/_build/html/notebooks/$(NAME).html"

test: .venv/test.stamp  ## run every test, the notebooks (fast mode) and the book's pages included
	RCLREC_FAST=1 $(BUILD_BOOK) --path-output _build/fast
	RCLREC_BOOK=_build/fast/_build/html $(BIN)/pytest

quick: .venv/test.stamp  ## run the tests that take seconds
	$(BIN)/pytest -m "not slow"

fuzz: .venv/test.stamp  ## run 1,000 cases of mutated logs, damaged results and killed verbs; SEED=1 for others
	$(BIN)/python tests/fuzz/fuzz.py --cases 1000 --seed $(or $(SEED),0)

check: .venv/test.stamp  ## lint, format, and notebook pairs in sync; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pytest -q tests/test_repository.py

pairs: .venv/book.stamp  ## write each notebook's .ipynb anew from its .py
	$(BIN)/jupytext --to ipynb --update notebooks/*.py

repository: .venv/bin/pip  ## write the repository's address, URL=https://github.com/OWNER/NAME or nothing, everywhere
	$(BIN)/python book/repository.py "$(URL)"

wheel: .venv/bin/pip  ## build dist/*.whl, which installs the library and its command anywhere
	rm -rf build dist
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .
	rm -rf build

lab: .venv/book.stamp  ## open the notebooks in JupyterLab
	$(BIN)/jupyter-lab notebooks

clean:  ## remove the built book and the caches; the environment stays (rm -r .venv removes it)
	rm -rf _build build dist .pytest_cache .ruff_cache .hypothesis
	find rclrec_mini tests notebooks book benchmarks -name __pycache__ -prune -exec rm -r {} +

.venv/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is missing. On Debian: apt-get install make git python3.11 python3.11-venv" >&2; exit 1; }
	@"$(PYTHON)" -c "import ensurepip, venv" 2>/dev/null || { echo "$(PYTHON) cannot make environments. On Debian: apt-get install python3.11-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv

.venv/book.stamp: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[book]'
	@touch $@

.venv/test.stamp: pyproject.toml constraints.txt | .venv/bin/pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[$(TEST_EXTRAS)]'
	@touch $@ .venv/book.stamp
