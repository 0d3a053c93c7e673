# Everything lives in .venv, made here on first use. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN = .venv/bin
STAMP = .venv/installed

.PHONY: demo test test-all lint wheel clean

demo: $(STAMP)  ## export the packaged XLSR x3, measure float32 against uint8, write the report; no data needed
	$(BIN)/mobile-sr demo --out demo_out

test: $(STAMP)  ## the tests; those that need images of ../shared/data or MOBILE_SR_DATA are skipped where it is absent
	$(BIN)/python -m pytest -m "not slow"

test-all: $(STAMP)  ## with the long ones
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

wheel: $(STAMP)
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf .venv demo_out dist build *.egg-info .pytest_cache .ruff_cache

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("mobile-sr needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $(STAMP)
