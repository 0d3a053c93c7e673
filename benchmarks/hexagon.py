"""The simulated Snapdragon NPU compared with XNNPACK: `python benchmarks/hexagon.py DATA [--soc v73]`.

DATA is a folder of images. Prints two tables of docs/measurements/snapdragon.md: the PSNR of every packaged uint8 network, and
how often single operators of these networks differ when both get the same integers.
"""

import argparse
import collections

import numpy as np
import onnxruntime

import mobile_sr
from mobile_sr import zoo
from mobile_sr.converters.qdq import operators
from mobile_sr.converters.qdq.static_graph import StaticGraph
from mobile_sr.converters.qdq.writer import Writer
from mobile_sr.converters.tflite import flatbuffer, runtime
from mobile_sr.devices import hexagon
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import metrics, sample_images

SHAPE = (1, 64, 64, 3)
MODELS = [f"{name}:uint8" for name in zoo.names() if not name.startswith("ada")]


def compare(model, data, soc):
    """Prints a row of the first table."""
    cpu, npu = mobile_sr.load(model), mobile_sr.load(model, device="virtual:hexagon", soc=soc)
    rows = []
    for _, hr, lr, gray in evaluate.each_pair(data, cpu.scale, []):
        results = [np.asarray(upscaler(lr)) for upscaler in (cpu, npu)]
        scores = [evaluate.score(sr, hr, "y", cpu.scale, gray, ssim=False)["psnr"] for sr in results]
        error = np.abs(results[0].astype(int) - results[1])
        rows.append([*scores, scores[1] - scores[0], 100 * (error > 0).mean(), error.max(), metrics.psnr(*results, "rgb", 0)])
    on_cpu, on_npu, _, share, _, between = np.mean(rows, axis=0)
    worst, largest = np.min(rows, axis=0)[2], np.max(rows, axis=0)[4]
    print(
        f"| {model} | {on_cpu:.3f} | {on_npu:.3f} | {worst:+.3f} | {share:.0f} % | {largest:.0f} | {between:.1f} |", flush=True
    )


def single(static, op):
    """Returns (one operator as an ONNX file, {input tensor: name})."""
    writer = Writer(static)
    inputs = {tensor: f"in{tensor}" for tensor in op.inputs if tensor >= 0 and not static.is_constant(tensor)}
    for tensor, name in inputs.items():
        writer.add_input(tensor, name)
    operators.emit(writer, op)
    return writer.finish(inputs, {tensor: f"out{tensor}" for tensor in op.outputs}), inputs


def operator_differences(model, device):
    """Yields (kind of an operator, |NPU - CPU| of its output) on the integers that it gets in the network."""
    data = zoo.resolve(model).read_bytes()
    static = StaticGraph(data, SHAPE)
    interpreter = runtime.create_interpreter(data, delegate=False, keep=True)
    (image,) = flatbuffer.parse(data).inputs
    interpreter.resize_tensor_input(image, SHAPE)
    interpreter.allocate_tensors()
    interpreter.set_tensor(image, sample_images.generated(*SHAPE[1:3])[None])
    interpreter.invoke()
    for op in static.ops:
        if op.name == "QUANTIZE":
            continue
        onnx, inputs = single(static, op)
        feeds = {}
        for tensor, name in inputs.items():
            values = interpreter.get_tensor(tensor)
            feeds[name] = (values.astype(np.int16) + 128).astype(np.uint8) if values.dtype == np.int8 else values
        expected = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"]).run(None, feeds)[0]
        session = device.open_onnx(onnx, op.label)
        result = session.run(dict(enumerate(feeds.values())), hexagon.LIMIT_S)[0]
        session.close()
        kind = op.name + (" with ReLU" if op.option("fusedActivationFunction") else "")
        yield kind, np.abs(result.astype(int) - expected)


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--soc", default="v73")
    args = parser.parse_args()
    print("| network | XNNPACK, dB | NPU, dB | worst image, dB | bytes that differ | largest | between the two, dB |")
    print("|---|---|---|---|---|---|---|")
    for model in MODELS:
        compare(model, args.data, args.soc)
    differences = collections.defaultdict(list)
    for model in MODELS:
        for kind, error in operator_differences(model, hexagon.HexagonDevice(args.soc)):
            differences[kind].append((100 * (error > 0).mean(), error.max()))
    print("\n| operator | count | values that differ | largest |\n|---|---|---|---|")
    for kind, rows in sorted(differences.items()):
        shares, largest = zip(*rows, strict=True)
        print(f"| {kind} | {len(rows)} | {min(shares):.1f} to {max(shares):.1f} % | {max(largest)} |")


if __name__ == "__main__":
    main()
