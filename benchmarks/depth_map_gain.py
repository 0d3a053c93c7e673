"""What AdaDSR's depth map is worth: `python benchmarks/depth_map_gain.py DATA ADA [--precision float32|uint8] ...`.

Compares the exported file of an AdaEDSR with the same file at a uniform depth, where the adapter's last kernel is 0 and its
bias is 0, 1, ... D: every pixel then computes the same blocks. Both are scored at their executed multiply-adds, the adapter
included; the gain is the PSNR at a desired depth minus that of the uniform depths, interpolated linearly at equal
multiply-adds. For uint8 it counts what the 8-bit sparse path executes. Prints the table of docs/measurements/adadsr.md, and
the largest mean depth on images of one colour at each desired depth (128x128 LR pixels, the colours of `flat_colours`).
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobile_sr import models
from mobile_sr.adadsr import depth_counts
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.evaluation import evaluate
from mobile_sr.files import sha256_file
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.quantization import export

SIDE = 128  # LR pixels of images of one colour


def uniform(data, depth):
    """Returns a dense float or 8-bit .tflite of EDSR with a depth map of one depth everywhere.

    The convolution that computes the map gets the kernel 0 and the bias `depth`. All else stays, so the file is the same
    network with another map.
    """
    graph = flatbuffer.parse(data)
    maps = [index for index, name in graph.output_names.items() if name == "output_1"]
    producers = {output: op for op in graph.ops for output in op.outputs}
    conv = producers[maps[0]]
    while conv.name != "CONV_2D":  # QUANTIZE, or a limit
        conv = producers[conv.inputs[0]]
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    image, kernel, bias = (model.subgraphs[0].tensors[index] for index in conv.inputs)
    values = np.float32(depth)
    if graph.tensors[conv.inputs[1]].dtype == "int8":
        step = float(graph.tensors[maps[0]].scales[0])
        level = int(depth / step)  # a level above the depth would make one more block active
        values = np.int32(round(level * step / (image.quantization.scale[0] * kernel.quantization.scale[0])))
    model.buffers[kernel.buffer].data = np.zeros_like(model.buffers[kernel.buffer].data)
    model.buffers[bias.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    return flatbuffer.pack(model)


def measure(runner, costs, pairs, scale, depth):
    """Returns (mean PSNR in Y, mean multiply-adds per LR pixel, mean depth) of a set."""
    rows = []
    for _, hr, lr, gray in pairs:
        sr, depths = runner.with_depth_map(lr, depth=depth)
        used = depth_counts.count(costs, depths) / (lr.shape[0] * lr.shape[1])
        rows.append((metrics.psnr(sr, hr, "y", scale, gray), used, depths.mean()))
    return np.mean(rows, axis=0)


def depth_of_colours(runner, desired):
    """Returns the largest mean depth on an image of one colour at a desired depth."""
    images = [flat_colours.flat(colour, SIDE, SIDE) for colour in flat_colours.COLOURS]
    return max(float(runner.depth_map(image, desired).mean()) for image in images)


def main(data, ada, precision, images, sets, uniform_depths, desired, folder):
    """Prints one table per set. The folder `folder` receives the .tflite files."""
    model, config = weights.load_model(model_files.trained(ada)[0])
    scale, blocks = config["scale"], int(models.max_depth(config))
    costs = depth_counts.costs(model, precision == "uint8")
    pairs = {name: list(evaluate.each_pair(data / name, scale, []))[:images] for name in sets}
    (file,) = export.export(ada, folder, [precision], path="dense", max_colour_error=255, log=lambda line: None)
    adaptive, original = upscaler.load(str(file)), file.read_bytes()
    desired = desired or list(range(1, blocks + 1))
    maps = {name: [measure(adaptive, costs, pairs[name], scale, depth) for depth in desired] for name in sets}
    print("mean depth on images of one colour, at most:", end=" ")
    print(", ".join(f"{depth_of_colours(adaptive, depth):.2f} at d = {depth:g}" for depth in desired), flush=True)
    record, flat = json.loads(file.with_suffix(".json").read_text()), {}
    for depth in uniform_depths or range(blocks + 1):
        other = folder / f"uniform{depth}.tflite"
        other.write_bytes(uniform(original, depth))
        other.with_suffix(".json").write_text(json.dumps({**record, "sha256": sha256_file(other)}))
        runner = upscaler.load(str(other))
        flat[depth] = {name: measure(runner, costs, pairs[name], scale, blocks) for name in sets}
        print(f"uniform depth {depth}", file=sys.stderr)
    to_giga = 1280 * 720 / scale**2 / 1e9
    for name in sets:
        psnr, used, _ = np.transpose([row[name] for row in flat.values()])
        print(f"\n| {name}, {precision} | mean depth | Mult-Adds, G | PSNR, dB | above uniform depth, dB |")
        print("|---|---|---|---|---|")
        for depth, row in flat.items():
            print(f"| uniform, {depth} | {row[name][2]:.2f} | {row[name][1] * to_giga:.1f} | {row[name][0]:.3f} | |")
        for depth, (score, work, mean) in zip(desired, maps[name], strict=True):
            gain = f"{score - np.interp(work, used, psnr):+.3f}" if used[0] <= work <= used[-1] else ""
            print(f"| d = {depth:g} | {mean:.2f} | {work * to_giga:.1f} | {score:.3f} | {gain} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("ada")
    parser.add_argument("--precision", default="float32", choices=["float32", "uint8"])
    parser.add_argument("--images", type=int, help="number of images of each set (default: all)")
    parser.add_argument("--uniform", type=int, nargs="+", help="ascending uniform depths (default: 0 to all blocks)")
    parser.add_argument("--desired", type=float, nargs="+", help="desired depths (default: 1 to all blocks)")
    parser.add_argument("--sets", nargs="+", default=["Set5", "B100"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        main(args.data, args.ada, args.precision, args.images, args.sets, args.uniform, args.desired, Path(scratch))
