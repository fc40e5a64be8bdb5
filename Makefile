# `make demo` and `make test` do all the set-up on a machine that has Python >= 3.11 and make.
PYTHON ?= python3
DEMO := .venv
TEST := .venv-test
SOURCES := $(shell find src -type f -not -name '*.pyc') pyproject.toml constraints.txt
PIP := -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint types unit bench browser clean

demo: $(DEMO)/ready
	$(DEMO)/bin/filterdb demo filterdb-demo

test: lint types unit

lint: $(TEST)/ready
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .

types: $(TEST)/ready
	$(TEST)/bin/mypy

unit: $(TEST)/ready browser
	OMP_NUM_THREADS=1 $(TEST)/bin/pytest -q -n auto --durations=10

# The report is looked at in a browser; where there is none and none can be installed, those tests
# are skipped, and say why.
browser:
	@command -v chromium >/dev/null || { timeout 60 apt-get update -qq && \
		timeout 240 apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 || \
		echo "There is no chromium, and it cannot be installed here: browser tests are skipped."

bench: $(TEST)/ready
	$(TEST)/bin/pytest benchmarks -o addopts= -p no:cacheprovider --benchmark-only \
		--benchmark-columns=min,median,max,rounds --benchmark-sort=name

# The demo gets the package as a user gets it: built and installed, without torch.
$(DEMO)/ready: $(SOURCES)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python $(PIP) '.[report]'
	touch $@

# The tests run on the sources themselves.
$(TEST)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(TEST)
	$(TEST)/bin/python $(PIP) -e '.[dev]'
	touch $@

clean:
	rm -rf $(DEMO) $(TEST) filterdb-demo .mypy_cache .ruff_cache .benchmarks .hypothesis dist
