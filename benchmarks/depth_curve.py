"""PSNR and cost over the desired depth: `python benchmarks/depth_curve.py DATA ADA PEER...` (about twenty minutes).

ADA is an AdaEDSR, each PEER an EDSR with fewer blocks trained under the same budget: run folders, .npz files or zoo names.
DATA holds Set5, Set14 and B100. Prints the table of docs/measurements/adadsr.md and writes docs/measurements/adadsr_curve.svg
(Liu et al. 2020, Fig. 5 and Table 3). *above EDSR* is the mean PSNR of the sets minus that of the plain networks at equal
multiply-adds, interpolated linearly. Times are CPU ms of the float32 .tflite files on an image of Set5, one thread, medians
of interleaved runs.
"""

import functools
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from mobile_sr import models
from mobile_sr.adadsr import depth_counts
from mobile_sr.benchmarking.benchmark import interleave
from mobile_sr.evaluation import evaluate, plots
from mobile_sr.imaging import metrics
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.quantization import export
from mobile_sr.zoo import SETS

STEPS = 8  # desired depths besides 0
RUNS = 7


def measure(runner, model, config, data, depth=None):
    """Returns (mean PSNR in Y of every set, G multiply-adds per 1280x720 output, mean depth) at one desired depth."""
    scale, scores, shares, depths = config["scale"], [], [], []
    for name in SETS:
        psnrs = []
        for _, hr, lr, gray in evaluate.each_pair(data / name, scale, []):
            if depth is None:
                sr, count = runner(lr), models.multiply_adds(model, lr.shape[0] * lr.shape[1])
            else:
                sr, depth_map = runner.with_depth_map(lr, depth=depth)
                count = depth_counts.multiply_adds(model, depth_map)
                depths.append(depth_map.mean())
            psnrs.append(metrics.psnr(sr, hr, "y", scale, gray))
            shares.append(count / (lr.shape[0] * lr.shape[1]))
        scores.append(np.mean(psnrs))
    giga = np.mean(shares) * 1280 * 720 / scale**2 / 1e9
    return scores, giga, float(np.mean(depths)) if depths else None


def times(files, image):
    """Returns the median CPU ms of each .tflite, given by name with options, on one LR image; runs are interleaved."""
    calls = [functools.partial(upscaler.load(name), image, tile=0) for name in files]
    return np.median(interleave(calls, RUNS, warmup=1)[1], axis=1)


def above(rows, score, giga):
    """Returns the mean PSNR minus that of the plain networks, interpolated linearly at equal multiply-adds."""
    plain = sorted((cost, np.mean(scores)) for _, scores, cost, depth in rows if depth is None)
    costs, means = zip(*plain, strict=True)
    return f"{score - np.interp(giga, costs, means):+.3f}" if costs[0] <= giga <= costs[-1] else ""


def main(data, ada, peers, out):
    """Prints the table and writes the plot. The folder `out` receives the .tflite files."""
    rows, files = [], []
    loaded = {name: weights.load_model(model_files.trained(name)[0]) for name in (ada, *peers)}
    model, config = loaded[ada]
    exported = export.export(ada, out, ["float32"], log=lambda line: None)[0]
    runner = upscaler.load(ada)
    for depth in np.arange(STEPS + 1) * models.max_depth(config) / STEPS:
        rows.append((f"AdaEDSR, d = {depth:g}", *measure(runner, model, config, data, depth)))
        files.append(f"{exported}@signature=sparse,desired_depth={depth}")
        print(rows[-1][0], file=sys.stderr)
    for peer in peers:
        model, config = loaded[peer]
        rows.append((f"EDSR, {config['blocks']} blocks", *measure(upscaler.load(peer), model, config, data)))
        files.append(str(export.export(peer, out, ["float32"], log=lambda line: None)[0]))
        print(rows[-1][0], file=sys.stderr)
    image = next(iter(evaluate.each_pair(data / "Set5", config["scale"], [])))[2]
    print("| network | " + " | ".join(SETS) + " | mean depth | Mult-Adds, G | CPU ms | above EDSR, dB |", end="")
    print("\n|---" + "|---" * (len(SETS) + 4) + "|")
    for (name, scores, giga, depth), cpu in zip(rows, times(files, image), strict=True):
        cells = [*(f"{score:.3f}" for score in scores), "" if depth is None else f"{depth:.2f}", f"{giga:.1f}", f"{cpu:.0f}"]
        cells.append("" if depth is None else above(rows, np.mean(scores), giga))
        print(f"| {name} | " + " | ".join(cells) + " |")
    points = [(giga, float(np.mean(scores)), name.split(", ")[1]) for name, scores, giga, _ in rows]
    count = STEPS + 1  # without depth 0, which is so far below that it would flatten the rest of the plot
    series = [("AdaEDSR, desired depth d", points[1:count], True), ("EDSR", points[count:], True)]
    title = "PSNR against Mult-Adds, x2, mean of the sets' means"
    text = plots.plot(title, "Mult-Adds for a 1280x720 output, G", "PSNR in Y, dB", series)
    (Path(__file__).parent.parent / "docs" / "adadsr_curve.svg").write_text(text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:], Path(folder))
