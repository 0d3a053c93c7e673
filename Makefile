# Everything lives in .venv, made here on first use. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN = .venv/bin
STAMP = .venv/installed

# The tests of a file stay in one process: they share what it made. The longest files come first (tests/conftest.py).
WORKERS = -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo arm64 test test-all test-torch devices test-devices lint wheel web web-packages test-web clean apk android-assets test-android run-android-tests
ANDROID = android_demo/build

demo: $(STAMP)  ## export the packaged XLSR x3, measure float32 against uint8, write the report; no data needed
	$(BIN)/mobile-sr demo --out demo_out

test: $(STAMP)  ## the tests; those that need images of ../shared/data or MOBILE_SR_DATA are skipped where it is absent
	$(BIN)/python -m pytest -m "not slow" $(WORKERS)

test-all: $(STAMP)  ## with the long ones
	$(BIN)/python -m pytest $(WORKERS)

test-torch: .venv-torch/installed  ## those that need PyTorch (several processes, dead ones; conversion), in a .venv-torch of its own
	.venv-torch/bin/python -m pytest tests/mobile_sr/training/test_distributed.py tests/converters/formats/test_pytorch.py tests/mobile_sr/quantization/test_pytorch_export.py tests/mobile_sr/importing/test_adadsr_import.py

devices: .venv/devices-installed  ## what virtual devices need and pip can install (300 MB); make test then tests them, too

test-devices: devices  ## the tests of virtual devices, with the long ones
	$(BIN)/python -m pytest tests/mobile_sr/devices

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

wheel: $(STAMP)
	$(BIN)/python -m build --wheel --outdir dist .

arm64: $(STAMP)  ## virtual:arm64's Arm system, into the cache folder; Debian or Ubuntu with qemu-user and gcc
	@$(BIN)/python -m mobile_sr.devices.arm64_root

android-assets: $(ANDROID)/assets/models  ## the app's models, exported here, and its sample images; Android Studio needs them, too

$(ANDROID)/assets/models: $(STAMP) android_demo/tools/assets.py mobile_sr/quantization/export.py mobile_sr/zoo/xlsr_x3.npz $(wildcard models/*.py converters/*.py)
	$(BIN)/python android_demo/tools/assets.py $(ANDROID)/assets

web: $(STAMP) web_demo/node_modules/installed  ## the browser page, in web_demo/dist; needs Node.js
	cd web_demo && npm run --silent check && npm run --silent build
	$(BIN)/python web_demo/tools/assets.py web_demo/dist

test-web: web  ## the tests of that page in a headless Chromium
	$(BIN)/python -m pytest tests/test_web_demo.py

web-packages: web_demo/node_modules/installed  ## what the page is built from, by npm

web_demo/node_modules/installed: web_demo/package.json web_demo/package-lock.json
	cd web_demo && npm ci --no-audit --no-fund
	touch $@

MODELS ?=
apk: android-assets  ## the Android app, signed with a debug key; no Android SDK or Gradle needed. MODELS: your .tflite files, packed too. RELEASE: android_demo/README.md
	android_demo/tools/apk.sh $(ANDROID)/assets $(ANDROID)/apk/mobile-sr.apk $(MODELS)

$(ANDROID)/test_models: $(STAMP) android_demo/tools/test_models.py tests/compiled_file.py mobile_sr/quantization/export.py $(wildcard models/*.py converters/*.py)
	rm -rf $@
	PYTHONPATH=. $(BIN)/python android_demo/tools/test_models.py $@.tmp && mv $@.tmp $@

test-android:  ## the app's tests, with the real interpreter on this machine's Java; screens in android_demo/build/test/screens
	@android_demo/tools/ready.sh || { [ $$? = 3 ] && exit 0 || exit 1; }; $(MAKE) --no-print-directory run-android-tests

run-android-tests: apk $(ANDROID)/test_models
	android_demo/tools/test.sh $(ANDROID)/assets $(ANDROID)/test_models $(ANDROID)/apk $(ANDROID)/test $(BIN)/python

clean:
	rm -rf .venv .venv-torch $(ANDROID) web_demo/dist web_demo/node_modules android_demo/core/target demo_out dist build *.egg-info .pytest_cache .ruff_cache

$(STAMP): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("mobile-sr needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $(STAMP)

.venv/devices-installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[snapdragon,ethos]'
	touch $@

.venv-torch/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	.venv-torch/bin/python -m pip install --quiet --disable-pip-version-check -e '.[torch,litert-torch]'
	touch $@
