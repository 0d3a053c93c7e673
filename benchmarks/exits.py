"""Cost of the exits of a network, compared with plain networks of as many layers: `python benchmarks/exits.py FILE [SIZE]`.

FILE is an exported uint8 .tflite with exits. The plain networks have random weights, which change the count by 0.1 % at most.
Prints the table of docs/measurements/routing.md: instructions per LR pixel counted on virtual:arm64 (Cortex-A76, 64x64 LR
pixels), and CPU ms on this machine for SIZE x SIZE LR pixels (default 256), one thread, medians of interleaved rounds.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from mobile_sr import models
from mobile_sr.benchmarking import benchmark, virtual
from mobile_sr.devices import names
from mobile_sr.files import read_json
from mobile_sr.inference import weights
from mobile_sr.quantization import export

COUNTED, RUNS = (64, 64), 60


def plain(config, layers, folder):
    """Returns the uint8 file of a plain network of as many layers as an exit of `config` has."""
    own = {**config, "layers": layers, "exits": [], "widths": list(config.get("widths", ())[:layers])}
    model, file = models.build(own), folder / f"plain{layers}.npz"
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    weights.save_model(file, model, own)
    return str(export.export(file, folder, ["uint8"], methods=(), log=lambda line: None)[0])


def main(file, side=256):
    """Prints the table."""
    sidecar = read_json(Path(file).with_suffix(".json"))
    with tempfile.TemporaryDirectory() as folder:
        rows = [entry["layers"] for entry in sidecar["exits"]]
        exits = [f"{file}@signature={entry['signature']}" for entry in sidecar["exits"]]
        static = [plain(sidecar["config"], layers, Path(folder)) for layers in rows]
        counts = virtual.measure([*exits, *static], names.find("virtual:arm64", "cortex-a76"), COUNTED)["results"]
        times = benchmark.benchmark([*exits, *static], (side, side), 1, RUNS)["results"]
    print("| layers | instructions: exit | plain | ratio | CPU ms: exit | plain | ratio |\n|---|---|---|---|---|---|---|")
    for index, layers in enumerate(rows):
        pairs = [(result[index], result[index + len(rows)]) for result in (counts, times)]
        (a, b), (c, d) = (
            [row[key] if one is None else row[key][one] for row in pair]
            for pair, key, one in zip(pairs, ("instructions_per_lr_pixel", "cpu_ms"), (None, "p50"), strict=True)
        )
        print(f"| {layers} | {a:,.1f} | {b:,.1f} | {a / b:.4f} | {c:.2f} | {d:.2f} | {c / d:.3f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
