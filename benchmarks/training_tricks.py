"""Comparison of training methods for XLSR x3 at equal steps: `python benchmarks/training_tricks.py TRAIN DATA RUNS`.

Trains `xlsr_zoo_x3` once without any method and once with each, into folders of RUNS, and prints the table of
docs/measurements/training.md: PSNR in dB, for the held-out training images in RGB, for Set5, Set14 and B100 in DATA in Y.
Finished trainings are not repeated; an interrupted one continues.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mobile_sr.evaluation import evaluate
from mobile_sr.inference import upscaler
from mobile_sr.training.run_folder import read_history
from mobile_sr.zoo import SETS

PLAIN = ["branches=none", "downscale_factors=", "brightness_factors=1,0.7,0.5", "end_learning_rate=1e-4", "optimizer=adam"]
ECB = ["branches=ecb"]
TAKEN = [*ECB, "downscale_factors=0.8,0.6"]  # the methods that xlsr_zoo adopted first
BRIGHT = [*TAKEN, "brightness_factors=1"]  # and second
WAYS = {
    "plain": [],
    "squared error": ["loss=l2"],
    "frequency loss": ["frequency_weight=0.05"],
    "no darkened patches": ["brightness_factors=1"],
    "ecb": ECB,
    "ecb, eps 0.01": [*ECB, "charbonnier_eps=0.01"],
    "taken": TAKEN,
    "rep for ecb": [*TAKEN, "branches=rep"],
    "no darkened patches besides": BRIGHT,
    "PSNR as the loss": [*BRIGHT, "loss=psnr"],
    "SOAP for Adam": [*BRIGHT, "optimizer=soap"],
    "SOAP for Adam, no branches": [*BRIGHT, "branches=none", "optimizer=soap"],
    "no average of the weights": [*TAKEN, "ema_decay=0"],
    "peak rate doubled": [*TAKEN, "peak_learning_rate=5e-3"],
    "patches of 48": [*TAKEN, "patch=48"],
    "a teacher": [*TAKEN, "teacher=fgnas_x3"],
    "contrastive loss": [*TAKEN, "contrastive_weight=0.001"],
    "mixup": [*TAKEN, "mixing=mixup"],
    "cutmix": [*TAKEN, "mixing=cutmix"],
    "colours": [*TAKEN, "mixing=colours"],
}


def options(settings):
    """Returns command-line options for settings KEY=VALUE; the last setting of a key wins."""
    return [part for setting in settings for part in ("--set", setting)]


def folder(runs, way):
    """Returns the run folder of a method."""
    return runs / "".join(c if c.isalnum() else "_" for c in way)


def train(way, data, out, steps):
    """Trains with one method, or continues an interrupted training."""
    command = [sys.executable, "-m", "mobile_sr", "train", "--recipe", "xlsr_zoo_x3", "--data", data, "--out", str(out)]
    command += ["--bfloat16", "--steps", str(steps), "--seed", "1", *options([*PLAIN, *WAYS[way]])]
    subprocess.run(command + ["--resume"] * (out / "config.json").exists(), check=True)


def finished(out, steps):
    """Whether a run folder contains a finished training."""
    log = out / "history.csv"
    rows = read_history(log) if log.exists() else []  # no file before the first validation
    return bool(rows) and int(rows[-1]["step"]) == steps


def row(way, data, out, steps):
    """Returns the table row of a finished run."""
    log = {int(line["step"]): line for line in read_history(out / "history.csv")}
    course = [float(log[at]["validation_psnr_rgb"]) for at in (steps // 2, steps)]
    scores = [evaluate.evaluate(upscaler.load(str(out)), data / s, ssim=False)["mean"]["psnr"] for s in SETS]
    cells = [f"{course[0]:.3f}", f"{course[1]:.3f}", *(f"{score:.2f}" for score in scores)]
    return f"| {way} | {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", help="folder of training images")
    parser.add_argument("data", type=Path, help="folder with Set5, Set14 and B100")
    parser.add_argument("runs", type=Path, help="folder of the run folders")
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--way", action="append", choices=WAYS, help="method to train; repeatable (default: all)")
    args = parser.parse_args()
    for way in args.way or WAYS:
        if not finished(folder(args.runs, way), args.steps):
            train(way, args.train, folder(args.runs, way), args.steps)
    print(f"| | half the steps | all {args.steps:,} | {' | '.join(SETS)} |\n|---|---|---|---|---|---|")
    for way in args.way or WAYS:
        print(row(way, args.data, folder(args.runs, way), args.steps), flush=True)


if __name__ == "__main__":
    main()
