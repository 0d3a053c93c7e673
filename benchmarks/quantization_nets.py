"""Trains the networks of docs/measurements/quantization.md: `python benchmarks/quantization_nets.py TRAIN WORK`.

Three networks at x3, each with a clipped and with a linear output, under one budget (recipes fsrcnn, espcn, xlsr_zoo; 10,000
steps, without branches and downscaled copies), and two quantization-aware trainings of each (1,000 steps). WORK contains the
runs; a second call continues an interrupted one. Weights, logs and .tflite files are written to benchmarks/quantization_nets/.
The FSRCNN and ESPCN there were trained before the initialization of these networks changed (docs/measurements/training.md).
"""

import shutil
import subprocess
import sys
from pathlib import Path

from training_tricks import PLAIN, options

NETS = ("fsrcnn_x3", "fsrcnn_linear_x3", "espcn_x3", "espcn_linear_x3", "xlsr_zoo_x3", "xlsr_zoo_linear_x3")
FOLDER = Path(__file__).parent / "quantization_nets"
STEPS, QAT_STEPS = 10_000, 1_000


def mobile_sr(*arguments):
    """Runs a command of the toolkit. Raises: CalledProcessError if it fails."""
    subprocess.run([sys.executable, "-m", "mobile_sr", *map(str, arguments)], check=True)


def train(net, data, work):
    """Trains a network and copies its weights and log to FOLDER, unless they are there."""
    run = work / net
    if not (FOLDER / f"{net}.npz").exists():
        resume = ["--resume"] if (run / "config.json").exists() else []
        settings = ["--steps", STEPS, *options([*PLAIN, "peak_learning_rate=25e-4"]), "--bfloat16"]
        mobile_sr("train", "--recipe", net, *settings, "--data", data, "--out", run, *resume)
        shutil.copy(run / "history.csv", FOLDER / f"{net}.csv")
        shutil.copy(run / "best.npz", FOLDER / f"{net}.npz")


def fine_tune(net, data, work, variant, *options):
    """Runs a quantization-aware training and copies its .tflite and log to FOLDER, unless they are there."""
    out, name = work / f"{net}_{variant}", f"{net}_{variant}"
    if not (FOLDER / f"{name}.tflite").exists():
        shutil.rmtree(out, ignore_errors=True)
        model = FOLDER / f"{net}.npz"
        mobile_sr("qat", "--model", model, "--data", data, "--out", out, "--steps", QAT_STEPS, *options)
        shutil.copy(out / "history.csv", FOLDER / f"{name}.csv")
        shutil.copy(out / f"{net}_uint8.tflite", FOLDER / f"{name}.tflite")


def main(data, work):
    """Runs all trainings that have no result in FOLDER yet."""
    FOLDER.mkdir(exist_ok=True)
    for net in NETS:
        train(net, data, work)
    for net in NETS:
        fine_tune(net, data, work, "qat")
        fine_tune(net, data, work, "qat_per_tensor", "--per-tensor")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
