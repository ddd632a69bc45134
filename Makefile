# One way in: `make reproduce` and `make test` set up what they need, once.
PROFILE ?= classroom
SEEDS ?= 0
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
READY := $(VENV)/.ready
READY_TEST := $(VENV)/.ready-test
READY_COURSE := $(VENV)/.ready-course
# uv leaves it to Python to compile what is imported, once.
export PYTHONDONTWRITEBYTECODE =
NOTEBOOKS := notebooks/*.ipynb notebooks/exercises/*.ipynb scripts/exercises/*.ipynb

.PHONY: reproduce figures test quick lint types lab course verify doctor setup clean

reproduce: $(READY)
	$(BIN)/ifr reproduce --profile $(PROFILE) --seeds $(SEEDS)

# Every figure from the networks kept with the reference run, without training.
figures: $(READY)
	$(BIN)/ifr figures --profile $(PROFILE) --weights reference

# One process a core, one thread a process: two that share cores slow each other. What drives a
# browser, kernels and processes of its own comes after, one test at a time.
UNIT := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile tests/paper tests/unit

test: lint types
	$(UNIT)
	$(BIN)/python -m pytest tests/e2e

quick: lint types
	$(UNIT)

lint: $(READY_TEST)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify $(NOTEBOOKS)

types: $(READY_TEST)
	$(BIN)/mypy

lab: $(READY)
	$(BIN)/jupyter lab notebooks

course: $(READY_COURSE)
	$(BIN)/ifr course build

verify: $(READY)
	$(BIN)/ifr verify --profile $(PROFILE)

doctor: $(READY)
	$(BIN)/ifr doctor

setup: $(READY)

# With uv, the system's or its own, in a quarter of pip's time; with pip where uv cannot. The
# constraints are the set behind the reference results.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ifr needs Python >= 3.11; $(PYTHON) is older: run make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@if command -v uv >/dev/null; then uv venv --quiet --allow-existing --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv $(VENV) && { $(PIP) uv || true; }; fi
	@PATH="$(BIN):$$PATH" uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.$(1)' || \
	  $(PIP) -e '.$(1)'
	@touch $@
endef

$(READY): pyproject.toml constraints.txt
	$(call install)

# The browser driver, ONNX, detection and the test runner: only what tests need.
$(READY_TEST): pyproject.toml constraints.txt
	$(call install,[test])
	@touch $(READY) $(READY_COURSE)

$(READY_COURSE): pyproject.toml constraints.txt
	$(call install,[course])
	@touch $(READY)

clean:
	rm -rf $(VENV) models results/smoke results/classroom
