"""Kills the real command line at seeded random moments: every file that remains must be complete, and runs must resume."""

import csv
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import mobile_sr
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.inference import weights
from mobile_sr.training.dataset import TrainingImages

STARTUP_SHARE = 0.25  # share of the moments before the work begins: imports, opening files
KILLS = pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
IMPORTS_S = 4.0  # seconds, about, until the training command begins to work
DECODE = "import sys; from mobile_sr.training.dataset import TrainingImages; TrainingImages(sys.argv[1], 2, sys.argv[2])"


@dataclasses.dataclass
class Victim:
    """A command that runs to its end or is killed before.

    Attributes:
        argv: the arguments of `python`.
        log: file of its output.
        begun: returns whether the work has begun, judged by the files written so far.
        last: prefix of its last line of output.
        startup_s, work_s: seconds before and after the beginning of the work in an uninterrupted run; `run` sets them.
    """

    argv: list
    log: Path
    begun: callable
    last: str = ""
    startup_s: float = 0.0
    work_s: float = 0.0

    def _start(self):
        env = {k: v for k, v in os.environ.items() if k not in ("MOBILE_SR_DATA", "KERAS_BACKEND")}
        command = [sys.executable, *map(str, self.argv)]
        with self.log.open("w") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**env, "PYTHONUNBUFFERED": "1"})

    def _wait(self, process, until, seconds=300.0):
        """Wait until `until()` is true, the process has ended or the timeout has passed. Returns the seconds that took."""
        start = time.monotonic()
        while process.poll() is None and not until() and time.monotonic() < start + seconds:
            time.sleep(0.001)
        return time.monotonic() - start

    def run(self):
        """Run to the end."""
        process = self._start()
        self.startup_s = self._wait(process, self.begun)
        self.work_s = self._wait(process, lambda: False)
        assert process.returncode == 0, self.log.read_text()

    def kill(self, moment, number):
        """Send a signal at a moment in 0..1 of the run. Returns whether it hit the work."""
        process = self._start()
        if moment < STARTUP_SHARE:
            self._wait(process, lambda: False, self.startup_s * moment / STARTUP_SHARE)
        else:
            self._wait(process, self.begun)
            self._wait(process, lambda: False, self.work_s * (moment - STARTUP_SHARE) / (1 - STARTUP_SHARE))
        process.send_signal(number)
        process.wait(timeout=300)
        said = self.log.read_text()
        if moment >= STARTUP_SHARE and number != signal.SIGKILL and f"\n{self.last}" not in f"\n{said}":
            assert process.returncode == 130, said
            assert said.endswith(": interrupted\n")
            assert "Traceback" not in said
        assert process.returncode in (0, 130, -number), said
        return moment >= STARTUP_SHARE and process.returncode != 0


def plan(kills, seed):
    """Seeded (moment, signal) pairs: shuffled moments spread over 0..1, and mostly SIGKILL. A single one hits the work."""
    if kills == 1:
        return [((1 + STARTUP_SHARE) / 2, signal.SIGKILL)]
    rng = random.Random(seed)
    moments = [(k + rng.random()) / kills for k in range(kills)]
    signals = [(signal.SIGTERM, signal.SIGINT)[k % 2] if k % 3 == 2 else signal.SIGKILL for k in range(kills)]
    rng.shuffle(moments)
    return list(zip(moments, signals, strict=True))


def check_hits(hits):
    """Assert that half of the signals, rounded down, hit the work, or the only one. Otherwise the test would show nothing.

    The moments follow from the time of an earlier run. If the machine was busier then, some signals come too late.
    """
    assert sum(hits) >= max(1, len(hits) // 2), hits


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def training(steps, image_folder, out, cache):
    """The training command, new or resumed if the folder contains a run. Its work begins with a TensorBoard file.

    The network has three layers: each of these processes compiles it.
    """
    recipe = ["--recipe", "espcn_x2", "--smoke", "--set", "branches=none", "--steps", steps]
    options = [*recipe, "--data", image_folder, "--out", out, "--cache", cache]
    resume = ["--resume"] if (out / "config.json").exists() else []
    argv = ["-m", "mobile_sr", "train", *options, "--backend", "tensorflow", *resume]
    before, log = set(out.glob("tensorboard/*")), out.with_suffix(".log")
    return Victim(argv, log, lambda: set(out.glob("tensorboard/*")) != before, "best validation PSNR")


def read_run(out):
    """The content of all files of a run folder, each complete: {file name: content}."""
    found = {}
    for path in out.glob("*.npz"):
        if not path.name.startswith("."):
            found[path.name] = weights.read_arrays(path)
    if (out / "config.json").exists():
        found["config.json"] = json.loads((out / "config.json").read_text())
        assert "checkpoint.npz" in found or "checkpoint.previous.npz" in found
    if (out / "history.csv").exists():
        rows = list(csv.DictReader((out / "history.csv").open()))
        found["history.csv"] = [(row["step"], row["loss"], row["rate"], row["validation_psnr_rgb"]) for row in rows]
    return found


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_train(image_folder, tmp_path, run_here, kills):
    """One run killed many times in a row and, with slow tests, several runs killed once: all end like an undisturbed run.

    The undisturbed run is one of this process, which saves a start.
    """
    steps, single = 40 * kills, kills // 5
    whole = training(steps, image_folder, tmp_path / "whole", tmp_path / "cache")
    assert run_here(*whole.argv[2:]).returncode == 0
    whole.startup_s, whole.work_s = IMPORTS_S, time.time() - (tmp_path / "whole" / "config.json").stat().st_mtime
    wanted = read_run(tmp_path / "whole")
    assert [int(row[0]) for row in wanted["history.csv"]] == list(range(20, steps + 1, 20))
    hits, out = [], tmp_path / "run0"
    for k, (moment, number) in enumerate(plan(kills, 28)):
        if k >= kills - single or read_run(out).get("history.csv") == wanted["history.csv"]:
            out = tmp_path / f"run{k}"
        victim = training(steps, image_folder, out, tmp_path / f"cache_{out.name}")
        victim.startup_s, victim.work_s = whole.startup_s, whole.work_s * (1 if k >= kills - single else min(1, 3 / kills))
        hits.append(victim.kill(moment, number))
        read_run(out)
    check_hits(hits)
    for out in tmp_path.glob("run*[0-9]"):
        training(steps, image_folder, out, tmp_path / f"cache_{out.name}").run()
        found = read_run(out)
        assert found["config.json"] == wanted["config.json"]
        assert found["history.csv"] == wanted["history.csv"]
        for file in ("checkpoint.npz", "best.npz"):
            assert list(found[file][0]) == list(wanted[file][0])
            for key, value in wanted[file][0].items():
                np.testing.assert_array_equal(found[file][0][key], value, err_msg=f"{out} {file} {key}")
        assert (out / "best.npz").read_bytes() == (tmp_path / "whole" / "best.npz").read_bytes()
        assert found["checkpoint.npz"][1]["best"] == wanted["checkpoint.npz"][1]["best"]
        left = [name for name in names(out) if not name.startswith("tensorboard/")]
        assert left == ["best.npz", "checkpoint.npz", "checkpoint.previous.npz", "config.json", "history.csv", "last.npz"]


@pytest.mark.slow
@KILLS
def test_export(model_file, image_folder, tmp_path, kills):
    def export(out):
        options = ["--model", model_file, "--out", out, "--precision", "float32,uint8", "--calibration", image_folder]
        log = tmp_path / f"{out.name}.log"
        argv = ["-m", "mobile_sr", "export", *options]
        return Victim(argv, log, lambda: "converting to" in log.read_text(), f"{out / 'tiny_uint8.tflite'}: ")

    whole = export(tmp_path / "whole")
    whole.run()
    out, hits = tmp_path / "out", []
    for moment, number in plan(kills, 2):
        victim = dataclasses.replace(export(out), startup_s=whole.startup_s, work_s=whole.work_s)
        hits.append(victim.kill(moment, number))
        for path in out.glob("[!.]*"):
            if path.suffix == ".tflite":
                assert len(flatbuffer.load(path).ops) > 10
                assert mobile_sr.load(path).scale == 3
            else:
                assert json.loads(path.read_text())["network"] == "xlsr"
    check_hits(hits)
    export(out).run()
    assert names(out) == [f"tiny_{p}.{s}" for p in ("float32", "uint8") for s in ("json", "tflite")]
    for name in names(out):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
@KILLS
def test_compare(exported, image_folder, tmp_path, kills):
    """The work begins when the result is printed, so the kills hit the writing of the report."""

    def compare(out):
        files = ["--reference", exported / "tiny_float32.tflite", "--model", exported / "tiny_uint8.tflite"]
        log = tmp_path / f"{out.name}.log"
        argv = ["-m", "mobile_sr", "compare", *files, "--data", image_folder, "--report", out]
        return Victim(argv, log, lambda: "6 images" in log.read_text(), "report: ")

    whole = compare(tmp_path / "whole")
    whole.run()
    out, hits = tmp_path / "out", []
    for moment, number in plan(kills, 3):
        victim = dataclasses.replace(compare(out), startup_s=whole.startup_s, work_s=whole.work_s)
        hits.append(victim.kill(moment, number))
        for path in out.glob("[!.]*"):
            assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
    check_hits(hits)
    compare(out).run()
    assert names(out) == ["report.html", "report.json", "report.md"]


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_data_cache(image_folder, tmp_path, kills):
    wanted = TrainingImages(image_folder, 2, tmp_path / "whole")
    cache = tmp_path / "cache"
    decode = Victim(["-c", DECODE, image_folder, cache], tmp_path / "log", lambda: any(cache.rglob("*.bin")))
    decode.run()
    hits = []
    for k, moment in enumerate(random.Random(4).sample(range(1000), kills)):
        cache = tmp_path / f"cache{k}"
        decode.argv[-1] = cache
        hits.append(decode.kill(STARTUP_SHARE + moment / 1000 * (1 - STARTUP_SHARE), signal.SIGKILL))
        found = TrainingImages(image_folder, 2, cache)
        assert (found.names, found.sha256) == (wanted.names, wanted.sha256)
        for a, b in zip([*found.hr, *found.lr], [*wanted.hr, *wanted.lr], strict=True):
            np.testing.assert_array_equal(a, b)
        assert [name.partition("/")[2] for name in names(cache)] == ["hr.bin", "index.json", "lr.bin"]
    check_hits(hits)
