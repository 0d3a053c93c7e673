"""CPU cost of every recipe: CPU seconds of a training step, and core hours of all steps.

    KERAS_BACKEND=torch OMP_NUM_THREADS=1 python benchmarks/sweep_cost.py [--scale 2] [--architecture FILE] [RECIPE ...]

Prints a Markdown row for each recipe, measured with random batches and random weights in bfloat16. CPU time does not depend on
other work on the machine. Without RECIPE it measures all recipes; fgnas_m and fgnas_l were never run.
"""

import argparse
import gc
import resource
import time

import keras
import numpy as np

from mobile_sr import extensions, models
from mobile_sr.architecture_search import architecture
from mobile_sr.training import losses, recipes, train_loop


def batch(recipe):
    """Returns random (inputs, targets) for one step."""
    rng, side = np.random.default_rng(0), recipe.patch * recipe.network["scale"]
    lr = rng.random((recipe.batch, recipe.patch, recipe.patch, 3), np.float32)
    hr = rng.random((recipe.batch, side, side, 3), np.float32)
    return extensions.training(recipe).batch(lr, hr, 0, slice(None))


def step_seconds(recipe, seconds, max_steps):
    """Returns (mean CPU seconds of a training step, number of steps measured), at most `max_steps` within `seconds`."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = models.build(recipe.network)
    keras.config.set_dtype_policy("float32")
    if recipe.branches != "none":
        model = train_loop._branched(model, recipe)
    loss = losses.make_loss(recipe)
    model.compile(train_loop._optimizer(recipe), extensions.training(recipe).losses(loss)["loss"])
    inputs, targets = batch(recipe)
    model.train_on_batch(inputs, targets)
    start, cpu, steps = time.perf_counter(), time.process_time(), 0
    while steps < max_steps and (not steps or time.perf_counter() - start < seconds):
        model.train_on_batch(inputs, targets)
        steps += 1
    return (time.process_time() - cpu) / steps, steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="names without a scale")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--architecture", metavar="FILE", help="architecture for the recipe fgnas, which is skipped without")
    parser.add_argument("--seconds", type=float, default=8.0, help="time limit for each recipe, after its first step")
    args = parser.parse_args()
    print("| recipe | steps | batch x patch | CPU s a step (of how many) | core hours | peak GB so far |")
    print("|---|---|---|---|---|---|")
    total = 0.0
    for name in args.recipes or recipes.RECIPES:
        recipe = recipes.load(f"{name}_x{args.scale}")
        if recipe.network["network"] == "fgnas":
            if not args.architecture:
                continue
            recipe.network |= architecture.read(args.architecture)
        if name == "chainsr":  # the result of a search; its sizes are measured
            continue
        recipe.network |= {"steps": recipe.steps} if recipe.network["network"] in models.SUPERNETS else {}
        seconds, measured = step_seconds(recipe, args.seconds, 30)
        hours = seconds * recipe.steps / 3600
        total += hours
        gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        row = f"{name} | {recipe.steps:,} | {recipe.batch} x {recipe.patch} | {seconds:.3g} ({measured}) | {hours:,.1f}"
        print(f"| {row} | {gigabytes:.1f} |", flush=True)
        keras.backend.clear_session()
        gc.collect()
    print(f"\n{total:,.0f} core hours in all")


if __name__ == "__main__":
    main()
