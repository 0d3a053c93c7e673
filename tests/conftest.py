"""Fixtures: synthetic images, a small network with known weights, its converted files, and the research image sets."""

import contextlib
import fcntl
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two processes of tests share two cores; waiting threads would take them

import numpy as np
import pytest

from mobile_sr.converters.quantization import gptq
from mobile_sr.errors import UserError
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.images import write_image
from mobile_sr.quantization import calibration

UserError.names_options = True  # messages as the command line prints them; test_api.py and test_errors.py ask for the others

# A shell's background jobs ignore it, and so would what is started here to be interrupted.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Fewer and smaller crops and fewer flat colours than users get, and fewer positions of them: exports in this process are quick.
calibration.COUNT, calibration.CROP = 8, 48
ALL_COLOURS, flat_colours.COLOURS = flat_colours.COLOURS, flat_colours.COLOURS[::2]  # the corners and the middle of every face
GPTQ_POSITIONS, gptq.POSITIONS = gptq.POSITIONS, 4_000  # test_gptq.py has those of users

ROOT = Path(__file__).resolve().parents[1]

# Modules that take longest. They run first: a process that started one of them last would go on alone.
LONGEST = (
    "test_fuzz.py",
    "test_kill.py",
    "test_qat.py",
    "test_search.py",
    "quantization/test_foreign.py",
    "test_keras_trainer.py",
    "test_sparse_form.py",
    "test_depth.py",
    "test_cross_layer_equalization.py",
    "test_fgnas.py",
    "test_examples.py",
    "test_zoo.py",
)


def pytest_collection_modifyitems(items):
    """The longest modules first, the others in their order."""

    def place(item):
        return next((k for k, end in enumerate(LONGEST) if item.path.as_posix().endswith(f"/{end}")), len(LONGEST))

    items.sort(key=place)


def pytest_collection_finish():
    """Leave all that was imported out of garbage collections: each would look at 300,000 objects."""
    gc.freeze()


def research_data():
    """The folder with Set5, Set14, ...: MOBILE_SR_DATA or ../shared/data; None when there is none."""
    for place in (os.environ.get("MOBILE_SR_DATA"), ROOT.parent / "shared" / "data"):
        if place and (Path(place) / "Set5").is_dir():
            return Path(place)
    return None


@pytest.fixture(scope="session")
def data_dir():
    """The research images, or a visible skip."""
    folder = research_data()
    if folder is None:
        pytest.skip("needs the research images: set MOBILE_SR_DATA to the folder that holds Set5, Set14, B100")
    return folder


def make_image(height, width, seed=0):
    """A natural-looking [H, W, 3] uint8 image: shapes, gradients, texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    image = np.stack([0.5 + 0.4 * np.sin(9 * x + c) * np.cos(7 * y - c) for c in range(3)], -1)
    for _ in range(12):
        cy, cx, radius = rng.random(3) * (1, 1, 0.2)
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2
        image[inside] = 0.6 * image[inside] + 0.4 * rng.random(3)
    image += rng.normal(0, 0.02, image.shape)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def smoke_recipe(name, **changes):
    """A recipe shrunk to a few steps on the synthetic images, with other values of its fields."""
    from mobile_sr.training import recipes

    recipe = recipes.load(name, smoke=True)
    for field, value in changes.items():
        setattr(recipe, field, value)
    return recipe


@pytest.fixture
def train_interrupted(image_folder, cache, monkeypatch):
    """Train on the synthetic images, be interrupted right after a step, and resume: train_interrupted(recipe, out, step)."""
    from mobile_sr.training import train_loop

    def train(recipe, out, step):
        original = train_loop.TrainingRun.finish_step

        def interrupted(run, logs):
            original(run, logs)
            if run.step == step:
                raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(train_loop.TrainingRun, "finish_step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train_loop.train(recipe, image_folder, out, cache=cache)
        train_loop.train(recipe, image_folder, out, resume=True, cache=cache)

    return train


def assert_same_arrays(found, wanted):
    """Assert that two .npz files contain the same arrays, bit for bit."""
    from mobile_sr.inference import weights

    found, wanted = (weights.read_arrays(file)[0] for file in (found, wanted))
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture
def all_colours(monkeypatch):
    """The 27 flat colours of users."""
    monkeypatch.setattr(flat_colours, "COLOURS", ALL_COLOURS)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """The folder of prepared training images, one for all tests."""
    return tmp_path_factory.getbasetemp() / "cache"


@pytest.fixture(scope="session")
def photo():
    """One synthetic image, [96, 120, 3] uint8."""
    return make_image(96, 120)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """A folder of six synthetic images of different sizes."""
    folder = tmp_path_factory.mktemp("images")
    for k in range(6):
        write_image(folder / f"p{k}.png", make_image(120 + 7 * k, 150 - 5 * k, seed=k))
    return folder


@pytest.fixture(scope="session")
def few_images(image_folder, tmp_path_factory):
    """A folder of two of the synthetic images, for commands that run a network on each."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("p0.png", "p1.png"):
        shutil.copy(image_folder / name, folder)
    return folder


@pytest.fixture(scope="session")
def model_file(tmp_path_factory):
    """An XLSR x3 with random weights whose output is spread over 0..1, as an .npz model file."""
    import keras

    from mobile_sr import models
    from mobile_sr.inference import weights

    keras.utils.set_random_seed(3)
    config = {"network": "xlsr", "scale": 3, "output_activation": "clipped_relu"}
    model = models.build(config)
    rng = np.random.default_rng(3)
    arrays = [rng.normal(0, (1.6 / np.prod(w.shape[:-1])) ** 0.5, w.shape) if w.ndim == 4 else w for w in model.get_weights()]
    arrays[-1] = arrays[-1] + 0.5
    model.set_weights(arrays)
    path = tmp_path_factory.mktemp("model") / "tiny.npz"
    weights.save_model(path, model, config)
    return path


@pytest.fixture(scope="session")
def depth_file(tmp_path_factory):
    """A small AdaEDSR x2 of 3 blocks with random weights, whose depth varies over an image and with the desired depth."""
    from mobile_sr import models
    from mobile_sr.inference import weights

    config = {"network": "edsr", "scale": 2, "blocks": 3, "channels": 8, "depth": "input"}
    path = tmp_path_factory.mktemp("depth") / "ada.npz"
    model = models.build(config)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.2, w.shape) for w in model.get_weights()])
    weights.save_model(path, model, config)
    return path


@pytest.fixture(scope="session")
def exported(model_file, tmp_path_factory):
    """The folder with tiny_float32, _float16, _uint8 and _int8 .tflite and their sidecars, one for all processes of a run."""
    from mobile_sr.quantization.export import export

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out, unfinished = base / "deploy", base / "deploy_unfinished"
    with (base / "deploy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other processes wait for the first one
        if not out.exists():
            export(model_file, unfinished, ["float32", "float16", "uint8", "int8"], log=lambda line: None)
            unfinished.rename(out)
    return out


@pytest.fixture(scope="session")
def run_cli():
    """Run `python -m mobile_sr ...` in its own process; returns the CompletedProcess."""

    def run(*args, cwd=None, env=None):
        command = [sys.executable, "-m", "mobile_sr", *map(str, args)]
        clean = {k: v for k, v in os.environ.items() if k not in ("MOBILE_SR_DATA", "KERAS_BACKEND")}
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**clean, **(env or {})}, timeout=300)

    return run


@pytest.fixture(scope="session")
def run_here():
    """As `run_cli`, but in this process, which has imported everything. For all that needs no process of its own."""
    from mobile_sr import cli

    def run(*args, env=None):
        words, terminated = ["mobile-sr", *map(str, args)], signal.getsignal(signal.SIGTERM)
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace") for _ in range(2))
        with mock.patch.dict(os.environ), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            os.environ.pop("MOBILE_SR_DATA", None)
            os.environ.update(env or {})
            try:
                status = cli.main(cli._parse_or_exit(words))
            except SystemExit as error:
                status = error.code
            finally:
                signal.signal(signal.SIGTERM, terminated)  # the command has set its own
        said = [stream.buffer.getvalue().decode() for stream in (out, err) if not stream.flush()]
        return subprocess.CompletedProcess(words, status, *said)

    return run
