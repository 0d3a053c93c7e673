"""Training in several real processes on this machine: equal to one process, and safe when one of them dies."""

import argparse
import csv
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mobile_sr.commands import common
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.training import dataset, distributed, recipes
from tests.conftest import ROOT

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs PyTorch: pip install '.[torch]'")
TORCHRUN = ["-m", "torch.distributed.run"]
SECONDS = 300  # timeout of steps that take seconds on a free machine
# Two processes add the sums over half a batch each, which rounds differently: by 6e-8 of a number in float32. Relative to the
# largest number of an array, weights, averages and moments were measured to differ by up to 3e-7 after 20 steps of Adam, and
# by 1.3e-6 after 100 steps.
NOISE = 1e-5


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a job: no variable that selects another backend, and one thread per process.

    TensorFlow is hidden as if it were not installed. Otherwise every process would spend seconds on loading it, only
    because Keras seeds it.
    """
    kept = {k: v for k, v in os.environ.items() if k not in ("MOBILE_SR_DATA", "KERAS_BACKEND")}
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "tensorflow.py").write_text("raise ImportError")
    path = os.pathsep.join([str(hidden), *filter(None, [kept.get("PYTHONPATH")])])
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def job(image_folder, cache, environment):
    """Start `mobile_sr COMMAND` on the torch backend with its output in OUT.log. Returns the Popen."""
    started = []

    def start(out, *options, command="train", recipe="xlsr_x2", launcher=(), log=None):
        shared = ["--recipe", recipe, "--smoke", "--data", image_folder, "--cache", cache, "--out", out, "--backend", "torch"]
        with open(log or f"{out}.log", "w") as file:
            argv = [sys.executable, *launcher, "-m", "mobile_sr", command, *shared, *options]
            process = subprocess.Popen(list(map(str, argv)), stdout=file, stderr=subprocess.STDOUT, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()  # its ranks end, too


def said(out):
    """The lines that a job has printed."""
    return Path(f"{out}.log").read_text().splitlines()


def finish(process, out, status=0):
    """Wait for the end of a job. Returns its lines."""
    assert process.wait(timeout=SECONDS) == status, said(out)
    return said(out)


def history(out):
    file = out / "history.csv"
    return list(csv.DictReader(file.open())) if file.exists() else []


def wait_for(condition, process=None):
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        assert process is None or process.poll() is None
        time.sleep(0.05)


def ranks(launcher):
    """{rank: process id} of a launcher's processes."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            given = dict(pair.split("=", 1) for pair in (place / "environ").read_text().split("\0") if "=" in pair)
        except OSError:
            continue  # the process has just ended
        if parent == launcher.pid and "RANK" in given:
            found[int(given["RANK"])] = int(place.name)
    return found


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def assert_same(run, other, noise=NOISE):
    """Assert that two runs have the same checkpoint, history and best weights up to float noise."""
    for file in ("checkpoint.npz", "best.npz"):
        (arrays, meta), (others, others_meta) = (weights.read_arrays(folder / file) for folder in (run, other))
        assert meta["step"] == others_meta["step"]
        for name, value in arrays.items():
            largest = float(np.abs(value).max())
            np.testing.assert_allclose(others[name], value, rtol=0, atol=noise * largest, err_msg=f"{file} {name}")
    for row, others in zip(history(run), history(other), strict=True):
        assert (row["step"], row["rate"]) == (others["step"], others["rate"])
        for name in ("loss", "validation_psnr_rgb"):
            assert float(row[name]) == pytest.approx(float(others[name]), abs=2e-4)


def test_shares_of_all_ranks_are_the_batch(image_folder, cache, monkeypatch):
    images = dataset.TrainingImages(image_folder, 2, cache)
    how = {"batch": 6, "patch": 8, "brightness_factors": (1.0, 0.5), "seed": 3}
    whole = dataset.patch_batch(images, range(6), 5, **how)
    parts = []
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        parts.append(dataset.patch_batch(images, range(6), 5, **how, share=distributed.share(6)))
    for value, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_array_equal(np.concatenate(pieces), value)
    with pytest.raises(
        UserError, match="3 processes cannot split the recipe's batch of 16 into equal parts of 2 or more; use 1, 2, 4, 8$"
    ):
        distributed.share(16)


def test_refusals_are_one_line(image_folder, tmp_path, run_cli):
    options = ["--recipe", "xlsr_x2", "--smoke", "--data", image_folder, "--out", tmp_path / "run"]
    refused = run_cli("train", *options, "--processes", 3)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == "mobile-sr train: 3 processes cannot split the recipe's batch of 4 into equal parts of 2 or more; use 1, 2\n"
    )
    recipe = recipes.load("xlsr_x2", smoke=True)
    for processes, backend, message in (
        (4, None, "4 processes cannot split the recipe's batch of 4"),
        (0, None, "0 processes cannot split"),
        (2, "tensorflow", "2 processes need the torch backend, not tensorflow; give --backend torch"),
        (2, "jax", "2 processes need the torch backend, not jax"),
    ):
        with pytest.raises(UserError, match=message):
            common.launch(argparse.Namespace(processes=processes, backend=backend), recipe)
    assert common.launch(argparse.Namespace(processes=1, backend="jax"), recipe) is None
    if find_spec("torch") is None:
        with pytest.raises(UserError, match=r"pip install 'mobile-sr\[torch\]'"):
            common.launch(argparse.Namespace(processes=2, backend="torch"), recipe)


def test_sweep_script_of_the_docs(tmp_path):
    """The script of docs/guide/distributed.md, with a mobile-sr that prints its arguments."""
    page = (ROOT / "docs" / "guide" / "distributed.md").read_text()
    script = re.search(r"```\n(#!/bin/bash\n# sweep\.sh.*?)```", page, re.DOTALL)[1].replace("/cluster/runs", str(tmp_path))
    program = "mobile-sr() { echo $*; }\n" + script.replace("mobile-sr $", "echo ${jobs[*]}; mobile-sr $")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def call(order, number):
        command = ["bash", "-c", program, "sweep.sh", order]
        environment = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": str(number)}
        jobs, said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
        return jobs.split(), said.split()

    first = [name for name in recipes.RECIPES if name not in recipes.EXPECTED_INIT]
    second = [name for name in recipes.RECIPES if recipes.EXPECTED_INIT.get(name) in first]
    (jobs, said), (later, trained_on) = call("1", first.index("fgnas_l")), call("2", second.index("fgnas"))
    assert jobs == [f"{name}_x2" for name in first]
    assert later == [f"{name}_x2:{recipes.EXPECTED_INIT[name]}_x2" for name in second]
    assert (said[:3], said[-2:]) == (["search", "--recipe", "fgnas_l_x2"], ["--out", f"{tmp_path}/fgnas_l_x2"])
    assert (trained_on[:3], trained_on[-2:]) == (["train", "--recipe", "fgnas_x2"], ["--init", f"{tmp_path}/fgnas_mobile_x2"])
    (tmp_path / "fgnas_x2").mkdir()
    (tmp_path / "fgnas_x2" / "config.json").touch()
    assert call("2", second.index("fgnas"))[1][-2:] == [f"{tmp_path}/fgnas_x2", "--resume"]
