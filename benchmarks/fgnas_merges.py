"""Ways to add a residual to some of a trunk's channels: `python benchmarks/fgnas_merges.py [RUN ...]` (three minutes).

Measures FGNAS's compact network in its forms `zeros`, `slices` and `gather`, float32 and uint8, 180x320, one thread: median CPU
ms of interleaved runs, multiply-adds of the architecture (Eq. 3) and executed ones. RUN is a run folder of a search or
training. Without RUN, it measures architectures with 8 blocks of 32 channels, a random part of them open.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


import numpy as np

from mobile_sr import models
from mobile_sr.architecture_search import architecture, compaction
from mobile_sr.benchmarking.benchmark import cpu_ms
from mobile_sr.converters import to_tflite
from mobile_sr.inference import litert
from mobile_sr.models.nas import fgnas

SIZE, RUNS = (180, 320), 9


def random_architecture(share):
    """Returns an architecture with 8 blocks of 32 channels, ReLU and PReLU; each gate is open with the probability `share`."""
    rng = np.random.default_rng(0)
    config = {"network": "fgnas_supernet", "blocks": 8, "channels": 32, "activations": ["relu", "prelu"]}
    supernet = models.build(config)
    for variable in supernet.variables:
        if variable.path.endswith("psi"):
            variable.assign((rng.random(variable.shape) < share).astype(np.float32))
    return architecture.parts(compaction.compact(supernet, config)[0])


def main(runs):
    """Prints the table."""
    images = [np.random.default_rng(k).random((1, *SIZE, 3)).astype(np.float32) for k in range(2)]
    architectures = {run: architecture.of_model(run) for run in runs}
    architectures = architectures or {f"{share:.0%} open": random_architecture(share) for share in (0.4, 0.7)}
    print("| architecture | precision | " + " | ".join(fgnas.MERGES) + " | partitions | Mult-Adds per LR pixel | executed |")
    print("|---" * (5 + len(fgnas.MERGES)) + "|")
    for name, parts in architectures.items():
        config = {"network": "fgnas", "scale": 2, **parts}
        for precision in ("float32", "uint8"):
            nets = [models.build(config, merge=merge) for merge in fgnas.MERGES]
            for net in nets[1:]:
                net.set_weights(nets[0].get_weights())
            files = [to_tflite.convert(net, precision, size=SIZE, calibration=images) for net in nets]
            times = " | ".join(f"{ms:.1f}" for ms in cpu_ms(files, RUNS))
            counts = ", ".join(str(litert.delegate_partitions(data)) for data in files)
            work = f"{models.multiply_adds(nets[0], 1):,} | {fgnas.executed_multiply_adds(nets[0], 1):,}"
            print(f"| {name} | {precision} | {times} | {counts} | {work} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
