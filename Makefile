# One way in: `make reproduce` and `make test` set up what they need, once.
PROFILE ?= classroom
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: reproduce test lab course verify doctor setup lint clean

reproduce: $(READY)
	$(BIN)/ifr reproduce --profile $(PROFILE)

test: lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify notebooks/*.ipynb notebooks/exercises/*.ipynb

lab: $(READY)
	$(BIN)/jupyter lab notebooks

course: $(READY)
	$(BIN)/ifr course build

verify doctor: $(READY)
	$(BIN)/ifr $@ $(if $(filter verify,$@),--profile $(PROFILE))

setup: $(READY)

# uv when it is there, else venv and pip; the constraints are the set behind the reference results.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ifr needs Python >= 3.11; $(PYTHON) is older: run make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@if command -v uv >/dev/null; then \
	  uv venv --allow-existing --python $(PYTHON) $(VENV) && \
	  uv pip install --python $(BIN)/python -c constraints.txt -e '.[test]'; \
	else \
	  $(PYTHON) -m venv $(VENV) && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'; \
	fi
	@touch $(READY)

clean:
	rm -rf $(VENV) models results/smoke results/classroom
