"""Times of whole AdaDSR networks: the sparse and the dense signature of one exported file (docs/measurements/adadsr.md).

python benchmarks/sparse_network.py                       # masks with given active shares, the same for all blocks
python benchmarks/sparse_network.py --network rcan --channels 64 --blocks 4
python benchmarks/sparse_network.py --trained RUN         # the depth map of a trained AdaEDSR at d = D / 4 and 0, and memory

Weights are random. With --trained (a run folder or .npz), the trained head and adapter replace the first channels of the
network's head and adapter, and all other weights of the adapter are 0: the depth map is the trained one, at the full cost of an
adapter. Both signatures take turns in one process with one thread. Times are medians of the process's CPU time in ms.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from sparse_block import blobs

from mobile_sr import models
from mobile_sr.adadsr import depth_export, files
from mobile_sr.adadsr.depth_counts import active_fractions
from mobile_sr.benchmarking.benchmark import interleave, measure_in_child
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quiet import quiet
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.resize import downscale
from mobile_sr.inference import litert, model_files, weights
from mobile_sr.models import adadsr
from mobile_sr.quantization.calibration import calibration_set

SETTINGS = ((180, 320, 64), (96, 96, 256))
ACTIVITIES = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
BLOCKS = 8
IMAGE = "chelsea"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", metavar="RUN", help="run folder or .npz of a trained AdaEDSR")
    parser.add_argument("--network", choices=("edsr", "rcan"), default="edsr")
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--precisions", nargs="+", default=["float32", "uint8"])
    parser.add_argument("--blocks", type=int, help="number of blocks, for RCAN in each of two groups; default 8")
    parser.add_argument("--runs", type=int, default=9)
    args = parser.parse_args()
    for height, width, channels in [setting for setting in SETTINGS if setting[2] in args.channels]:
        for precision in args.precisions:
            config = {
                "network": args.network,
                "scale": 2,
                "blocks": args.blocks or BLOCKS,
                "channels": channels,
                "depth": "input",
            }
            config |= {"groups": 2} if args.network == "rcan" else {}
            print(f"\n{args.network}, C = {channels}, {width}x{height}, {precision}, {config['blocks']} blocks", flush=True)
            (trained if args.trained else by_share)(args, config, precision, (height, width))


def by_share(args, config, precision, size):
    """Prints a row for each active share."""
    model = random_network(config)
    adadsr.follow_green(model)
    data = convert(model, config, precision, size, [np.random.default_rng(2).random((1, *size, 3)).astype(np.float32)])
    print("\n| active | dense | dense / sparse |\n|---|---|---|")
    for share in ACTIVITIES:
        dense, sparse = times(data, blob_image(*size, share), (config["blocks"],), args.runs)
        print(f"| {share:.0%} | {dense:.0f} | {dense / sparse:.2f} |", flush=True)


def trained(args, config, precision, size):
    """Prints times, their ratio and memory for a natural image at a quarter of the largest depth."""
    with quiet():
        source, known = weights.load_model(model_files.trained(args.trained)[0])
    model, depth = random_network(config), config["blocks"] / 4
    transplant(source, known["blocks"], model, config["blocks"])
    data = convert(model, config, precision, size, calibration_set(None, config["scale"])[0][:8])
    image = to_tflite.center_crop_or_pad(downscale(sample_images.images([IMAGE])[0][1], config["scale"]), size)
    runner = litert.TFLiteModel(data, options={"signature": "sparse", "desired_depth": str(depth)})
    dense, sparse, minimum = times(data, image, (depth, 0), args.runs)
    depth_map = model([image[None].astype(np.float32) / 255, np.full((1, 1), depth, np.float32)])[1][0].numpy()
    active = " ".join(f"{share:.0%}" for share in active_fractions(depth_map, config["blocks"])[:, 0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.tflite"
        path.write_bytes(data)
        peaks = [
            measure_in_child(f"{path}@signature={name},desired_depth={depth}", runner, size)["peak_memory_bytes"]
            for name in ("dense", "sparse")
        ]
    print(f"d = {depth:g}, mean depth {depth_map.mean():.2f}, active in each block: {active}")
    print(f"dense {dense:.0f} ms, sparse {sparse:.0f} ms, sparse / dense {sparse / dense:.2f}, at d = 0 {minimum / dense:.2f}")
    print("peak memory: dense {:.0f} MiB, sparse {:.0f} MiB".format(*(peak / 2**20 for peak in peaks)), flush=True)


def random_network(config):
    """Builds a Keras model with random weights that keep the size of the features."""
    model, rng = models.build(config), np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.7 * np.prod(w.shape[:-1]) ** -0.5, w.shape) for w in model.get_weights()])
    return model


def transplant(source, source_blocks, model, blocks):
    """Gives a model the depth map of a trained one with at most as many channels, scaled to the model's number of blocks."""
    for layer in [layer for layer in source.layers if layer.get_weights() and layer.name.startswith(("head", "adapter"))]:
        target = model.get_layer(layer.name)
        arrays = target.get_weights() if layer.name == "head" else [np.zeros(w.shape) for w in target.get_weights()]
        stretch = blocks / source_blocks
        factor = {"adapter1": 1 / stretch, "adapter5": stretch}.get(
            layer.name, 1
        )  # the first is multiplied by the desired depth
        for array, values in zip(arrays, layer.get_weights(), strict=True):
            array[tuple(slice(side) for side in values.shape)] = values * factor
        target.set_weights(arrays)


def blob_image(height, width, share):
    """Returns [H, W, 3] uint8 noise with a green channel of 255 in the blobs and 0 elsewhere."""
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    image[..., 1] = 255 * (blobs(height, width, share)[0, ..., 0] > 0)
    return image


def convert(model, config, precision, size, images):
    """Returns the bytes that export writes, with the signatures dense and sparse."""
    images = [*images, *(np.full((1, *size, 3), level, np.float32) for level in (0, 1))]
    exported = models.build_for_export(config)
    exported.set_weights(model.get_weights())
    samples = to_tflite.at_size(depth_export.with_depths(images, config["blocks"]), size)
    return files.convert_both(exported, to_tflite.float_tflite(exported, size), precision, samples, size=size)[0]


def times(data, image, depths, runs):
    """Returns the median CPU ms of the dense signature, which does not depend on depth, and of the sparse one at each depth."""
    kinds = [("dense", depths[0]), *(("sparse", depth) for depth in depths)]
    files = [litert.TFLiteModel(data, options={"signature": s, "desired_depth": str(depth)}) for s, depth in kinds]
    for opened in files:
        opened.set(image)
    return np.median(interleave([opened.invoke for opened in files], runs, warmup=2)[1], axis=1)


if __name__ == "__main__":
    main()
