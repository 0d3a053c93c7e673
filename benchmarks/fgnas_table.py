"""Comparison of FGNAS's networks with hand-made ones for docs/measurements/fgnas.md: `benchmarks/fgnas_table.py DATA RUN...`.

`python benchmarks/fgnas_table.py uniform BLOCKS CHANNELS FILE` writes the architecture of a hand-made network, with all
channels and ReLU in every layer and without 1x1 convolutions, for `mobile-sr train --recipe fgnas_x2 --architecture FILE`.
DATA contains Set5, Set14 and B100; RUN is a run folder or a zoo name. PSNR is in Y, for the validation images in RGB. CPU ms at
180x320, one thread, interleaved.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


from mobile_sr import models
from mobile_sr.architecture_search import architecture
from mobile_sr.benchmarking import benchmark
from mobile_sr.evaluation import evaluate
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.models.nas import fgnas
from mobile_sr.quantization import export
from mobile_sr.zoo import SETS

SIZE, RUNS = (180, 320), 12


def main(data, runs):
    """Prints the table."""
    rows, files = [], []
    with tempfile.TemporaryDirectory() as out:
        for run in runs:
            file, name = model_files.trained(run)
            model, config = weights.load_model(file)
            validation = weights.read_arrays(file)[1]["validation_psnr_rgb"]
            pixels = 1280 * 720 / config["scale"] ** 2
            giga = [count(model, pixels) / 1e9 for count in (models.multiply_adds, fgnas.executed_multiply_adds)]
            scores = [evaluate.evaluate(upscaler.load(run), data / s, ssim=False)["mean"]["psnr"] for s in SETS]
            made = export.export(run, out, ["float32", "uint8"], log=lambda line: None)
            quantized = [evaluate.evaluate(upscaler.load(made[1]), data / s, ssim=False)["mean"]["psnr"] for s in SETS]
            rows.append((name, model.count_params(), giga, (validation, *scores, *quantized)))
            files += made
        timed = benchmark.benchmark([str(file) for file in files], SIZE, 1, RUNS, 2)["results"]
    columns = ["network", "parameters", "Mult-Adds, G", "executed", "validation", *SETS]
    columns += [*(f"uint8 {s}" for s in SETS), "CPU ms float32", "uint8"]
    print(f"| {' | '.join(columns)} |\n" + "|---" * len(columns) + "|")
    for k, (name, parameters, giga, scores) in enumerate(rows):
        cells = [name, f"{parameters:,}", *(f"{count:.2f}" for count in giga), *(f"{score:.3f}" for score in scores)]
        cells += [f"{timed[2 * k + i]['cpu_ms']['p50']:.1f}" for i in (0, 1)]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if sys.argv[1] == "uniform":
        blocks, channels = map(int, sys.argv[2:4])
        architecture.write(Path(sys.argv[4]), fgnas.uniform(blocks, channels), {"channels": channels})
    else:
        main(Path(sys.argv[1]), sys.argv[2:])
