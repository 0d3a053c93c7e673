"""Times of AdaDSR's residual blocks, sparse and dense, in the .tflite runtime (docs/measurements/adadsr.md).

python benchmarks/sparse_block.py            # four blocks of 64 channels at 180x320 and of 256 channels at 96x96
python benchmarks/sparse_block.py --variants # other numbers of products, and of consecutive blocks that are dense together

The masks are blobs with an exact active share. All forms take turns in one process with one thread. Times are medians of the
process's CPU time in ms per block. The ratio is dense / sparse, of the medians.
"""

import argparse
import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from mobile_sr.benchmarking.benchmark import interleave
from mobile_sr.converters.quiet import quiet

SETTINGS = ((180, 320, 64), (96, 96, 256))
ACTIVITIES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
BLOCKS = 4


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", action="store_true", help="measure other forms, too")
    parser.add_argument("--runs", type=int, default=11)
    args = parser.parse_args()
    for height, width, channels in SETTINGS:
        with quiet():
            files = make_files(height, width, channels, args.variants)
        print(f"\nC = {channels}, {height}x{width}, {BLOCKS} blocks: ms per block of the dense form, dense / other\n")
        print(f"| active | reached | dense | {' | '.join(list(files)[1:])} |\n|{'---|' * (len(files) + 2)}")
        measure(files, height, width, channels, args.runs)


def make_files(height, width, channels, variants):
    """Returns {form: .tflite bytes}, the dense form first. Inputs are features and a mask."""
    import tensorflow as tf

    from mobile_sr.adadsr import sparse_form
    from mobile_sr.converters.tflite import merge

    model = network(height, width, channels)
    forms = {"shipped": sparse_form.Walk(model), "never dense": sparse_form.Walk(model, threshold=1)}
    if variants:
        forms |= {f"K = {count}": sparse_form.Walk(model, count, 1) for count in (1, 4, 8, 16, 32)}
        forms |= {f"span {span}": sparse_form.Walk(model, span=span) for span in (1, 2, 4)}
    files = {"dense": tf.lite.TFLiteConverter.from_keras_model(model).convert()}
    specs = [tf.TensorSpec((1, height, width, channels)), tf.TensorSpec((1, height, width, 1))]
    for name, walk in forms.items():
        traced = tf.function(lambda x, mask, walk=walk: walk.run(x, mask)["sr"], specs, autograph=False)
        data = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()]).convert()
        files[name] = merge.merge({"sparse": data}, ["sr"])
    return files


def network(height, width, channels):
    """Builds BLOCKS masked blocks that share one mask, the second input."""
    import keras

    from mobile_sr.models.adadsr import DepthMask
    from mobile_sr.models.classic.edsr import conv

    x, depth = (keras.Input((height, width, last), batch_size=1) for last in (channels, 1))
    y = x
    for index in range(1, BLOCKS + 1):
        z = conv(conv(y, channels, f"block{index}_conv1", "relu"), channels, f"block{index}_conv2")
        z = keras.layers.Multiply(name=f"block{index}_masked")([z, DepthMask(0, name=f"block{index}_mask")(depth)])
        y = keras.layers.Add(name=f"block{index}")([y, z])
    return keras.Model([x, depth], [y, depth])


def blobs(height, width, share):
    """Returns a [1, H, W, 1] float32 mask of smooth blobs; `share` of its values are above 0."""
    if share >= 1:
        return np.ones((1, height, width, 1), np.float32)
    noise = np.random.default_rng(0).normal(size=(height, width))
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij"))
    smooth = np.fft.ifft2(np.fft.fft2(noise) * np.exp(-((frequencies * 27) ** 2))).real
    level = np.quantile(smooth, 1 - share)
    return np.clip((smooth - level) / (smooth.max() - level) * 4, 0, 1).astype(np.float32)[None, :, :, None]


def measure(files, height, width, channels, runs):
    """Prints a row for each active share."""

    from mobile_sr.adadsr.depth_counts import active_fractions
    from mobile_sr.converters.tflite.runtime import create_interpreter

    with quiet():
        interpreters = {name: create_interpreter(data) for name, data in files.items()}
        for interpreter in interpreters.values():
            interpreter.allocate_tensors()
    features = np.random.default_rng(1).normal(size=(1, height, width, channels)).astype(np.float32)
    for share in ACTIVITIES:
        mask, results = blobs(height, width, share), {}
        for interpreter in interpreters.values():
            for tensor in interpreter.get_input_details():
                interpreter.set_tensor(tensor["index"], mask if tensor["shape"][3] == 1 else features)
        times = interleave([interpreter.invoke for interpreter in interpreters.values()], runs, warmup=1)[1]
        for name, interpreter in interpreters.items():
            outputs = [tensor for tensor in interpreter.get_output_details() if tensor["shape"][3] == channels]
            results[name] = interpreter.get_tensor(outputs[0]["index"])
            error = np.abs(results[name] - results["dense"]).max() / np.abs(results["dense"]).max()
            assert error < 1e-5, f"{name} differs from dense by {error}"
        dense, *others = np.median(times, axis=1) / BLOCKS
        reached = active_fractions(mask[0], 1)[0, 1]
        cells = " | ".join(f"{dense / other:.2f}" for other in others)
        print(f"| {share:.0%} | {reached:.0%} | {dense:.0f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
