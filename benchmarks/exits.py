"""Cost of the exits of a network, compared with plain networks of as many layers: `python benchmarks/exits.py FILE [SIZE]`.

FILE is an exported uint8 .tflite with exits. The plain networks have random weights, which change the count by 0.1 % at most.
Prints the table of docs/measurements/routing.md: instructions per LR pixel counted on virtual:arm64 (Cortex-A76, 64x64 LR
pixels), and CPU time on this machine for SIZE x SIZE LR pixels (default 256), one thread, in interleaved rounds. Each file is
opened twice, in the order exit, plain, plain, exit. The ratio is that of the sums, and the last column that of the two equal
plain files: how far the times repeat.
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

COUNTED, RUNS = (64, 64), 120


def plain(config, layers, folder):
    """Returns the uint8 file of a plain network of as many layers as an exit of `config` has."""
    own = {**config, "layers": layers, "exits": [], "widths": list(config.get("widths", ())[:layers])}
    model, file = models.build(own), folder / f"plain{layers}.npz"
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    weights.save_model(file, model, own)
    return str(export.export(file, folder, ["uint8"], methods=(), log=lambda line: None)[0])


def counts(exits, static):
    """Returns the (instructions per LR pixel of an exit, of its plain network) for each exit."""
    results = virtual.measure([*exits, *static], names.find("virtual:arm64", "cortex-a76"), COUNTED)["results"]
    found = [result["instructions_per_lr_pixel"] for result in results]
    return list(zip(found[: len(exits)], found[len(exits) :], strict=True))


def times(own, static, side):
    """Returns (median CPU ms of the plain network, ratio of the exit to it, ratio of the plain network to itself)."""
    results = benchmark.benchmark([own, static, static, own], (side, side), 1, RUNS)["results"]
    first, second, third, last = (result["ratio_to_first"] for result in results)
    return results[1]["cpu_ms"]["p50"], (first + last) / (second + third), second / third


def main(file, side=256):
    """Prints the table."""
    sidecar = read_json(Path(file).with_suffix(".json"))
    header = ["layers", "instructions: exit", "plain", "ratio", "CPU ms, plain", "ratio", "plain to itself"]
    print(f"| {' | '.join(header)} |", "|---" * len(header) + "|", sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        exits = [f"{file}@signature={entry['signature']}" for entry in sidecar["exits"]]
        static = [plain(sidecar["config"], entry["layers"], Path(folder)) for entry in sidecar["exits"]]
        for index, (own, other) in enumerate(counts(exits, static)):
            ms, ratio, again = times(exits[index], static[index], side)
            costs = f"{own:,.1f} | {other:,.1f} | {own / other:.4f} | {ms:.2f} | {ratio:.3f} | {again:.3f}"
            print(f"| {sidecar['exits'][index]['layers']} | {costs} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
