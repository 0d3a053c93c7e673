"""Training steps per second of XLSR x3 with each form of the grouped convolution, interleaved, on one Keras backend.

    KERAS_BACKEND=torch python benchmarks/grouped_conv.py

TensorFlow's `grouped` form is skipped without --all: one step takes minutes on a CPU.
"""

import argparse
import statistics
import time

import keras
import numpy as np

from mobile_sr import models
from mobile_sr.models.layers import FORMS


def main():
    """Prints the median wall and CPU time of a step for each form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10, help="steps per round")
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    backend = keras.backend.backend()
    forms = [f for f in FORMS if args.all or (backend, f) != ("tensorflow", "grouped")]
    rng = np.random.default_rng(0)
    x, y = rng.random((16, 32, 32, 3), np.float32), rng.random((16, 96, 96, 3), np.float32)
    nets = {}
    for form in forms:
        keras.utils.set_random_seed(0)
        nets[form] = models.build({"network": "xlsr", "scale": 3}, grouped_form=form)
        nets[form].compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
        for _ in range(3):
            nets[form].train_on_batch(x, y)
    wall, cpu = ({form: [] for form in forms} for _ in range(2))
    for _ in range(args.rounds):
        for form in forms:
            start, start_cpu = time.perf_counter(), time.process_time()
            for _ in range(args.steps):
                nets[form].train_on_batch(x, y)
            wall[form].append((time.perf_counter() - start) / args.steps)
            cpu[form].append((time.process_time() - start_cpu) / args.steps)
    for form in forms:
        seconds, busy = statistics.median(wall[form]), statistics.median(cpu[form])
        print(f"{backend:<11} {form:<8} {1 / seconds:6.1f} steps/s  {busy * 1000:7.1f} CPU ms a step")


if __name__ == "__main__":
    main()
