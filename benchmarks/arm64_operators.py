"""Writes models/nas/arm64_costs.json: instructions of int8 operators on a Cortex-A76, counted on virtual:arm64.

Each operator is a file of its own (single_operator.py) with an input of 64x64 pixels and one thread. What the call of the
interpreter takes is subtracted and given as "call". Counts are the same on every machine, to 0.02 %. Takes about 5 minutes;
needs `make arm64`.

    python benchmarks/arm64_operators.py
"""

import json
import sys
from pathlib import Path

import numpy as np
import single_operator as build

from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.devices import arm64

FILE = Path(__file__).parents[1] / "models" / "nas" / "arm64_costs.json"
CHANNELS = range(4, 65, 4)
IMAGE = (3, 12, 27, 48)  # channels of images, and in front of depth_to_space at x2, x3 and x4


def instructions(device, data):
    """Returns the instructions of one invocation, of the second of two runs."""
    graph = flatbuffer.parse(data)
    inputs = {i: np.zeros(graph.tensors[i].shape, graph.tensors[i].dtype) for i in graph.inputs}
    random = np.random.default_rng(0)
    for values in inputs.values():
        values[...] = random.integers(0, 100, values.shape)
    session = device.open(data, "operator", tuple(graph.tensors[graph.inputs[0]].shape))
    for _ in range(2):
        session.run(inputs)
    count = session.facts()["instructions"]
    session.close()
    return count


def convolutions():
    """Yields (kernel side, groups, inputs, outputs): all of 3x3 and 1x1, some others."""
    for kernel in (1, 3):
        for inputs in sorted({1, 3, *CHANNELS}):
            yield from ((kernel, 1, inputs, outputs) for outputs in sorted({1, *IMAGE, *CHANNELS}))
    for inputs, outputs in ((1, 32), (3, 16), (3, 32), (3, 64), (8, 8), (16, 16), (16, 27), (32, 32), (64, 64), (64, 32)):
        yield from ((kernel, 1, inputs, outputs) for kernel in (5, 7, 9))
    for groups in (2, 4, 8):
        yield from ((kernel, groups, channels, channels) for kernel in (1, 3) for channels in (16, 32, 48, 64))


def call(device):
    """Returns the instructions of a call: a conversion to int8 of no channels, on the line through two counts."""
    half, whole = (instructions(device, build.quantize("UINT8", "INT8", channels)) for channels in (32, 64))
    return 2 * half - whole


def measure(device, overhead):
    """Returns {table: rows}; each row ends in instructions per pixel of the operator's input, without the overhead."""

    def per_pixel(data):
        return round((instructions(device, data) - overhead) / build.SIDE**2, 1)

    def rows(make, keys):
        keys = [key if isinstance(key, tuple) else (key,) for key in keys]
        print(f"{len(keys)} operators", file=sys.stderr, flush=True)
        return [[*key, per_pixel(make(*key))] for key in keys]

    channels = [3, *CHANNELS]

    def each(make, *first):
        return rows(lambda c: make(*first, c), channels)

    def convolution(kernel, groups, inputs, outputs):
        return build.convolution(kernel, inputs, outputs, groups)

    def depthwise(kernel, c):
        return build.depthwise(kernel, c)

    return {
        "CONV_2D": rows(convolution, convolutions()),
        "DEPTHWISE_CONV_2D": rows(depthwise, [(kernel, c) for kernel in (3, 5, 7) for c in CHANNELS]),
        "TRANSPOSE_CONV": rows(
            build.transposed,
            [
                (kernel, inputs, outputs, stride)
                for stride in (2, 3, 4)
                for kernel in sorted({stride, 3 * stride, 9})
                for inputs in (16, 32, 64)
                for outputs in (1, 3, 16, 32)
            ],
        ),
        "FULLY_CONNECTED": rows(build.fully_connected, [(i, o) for i in (8, 16, 32, 64, 144, 288) for o in (8, 16, 32, 64)]),
        "DEPTH_TO_SPACE": rows(build.depth_to_space, [(b, c) for b in (2, 3, 4) for c in (1, 3, 8, 16)]),
        "SPACE_TO_DEPTH": rows(build.space_to_depth, [(b, c) for b in (2, 4) for c in (1, 3, 8, 16)]),
        "QUANTIZE uint8 to int8": each(build.quantize, "UINT8", "INT8"),
        "QUANTIZE int8 to uint8": each(build.quantize, "INT8", "UINT8"),
        "QUANTIZE int8 to int8": each(build.quantize, "INT8", "INT8"),
        **{name: each(build.binary, name) for name in ("ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM")},
        **{name: each(build.unary, name) for name in ("RELU", "RELU6")},
        **{f"{name} constant": each(build.by_constant, name) for name in ("ADD", "SUB", "MUL")},
        "PRELU": rows(lambda c: build.unary("PRELU", c, version=1), channels),
        "LOGISTIC": rows(lambda c: build.unary("LOGISTIC", c, scale=1 / 256, zero=-128), channels),
        "TANH": rows(lambda c: build.unary("TANH", c, scale=1 / 128, zero=0), channels),
        "LEAKY_RELU": rows(lambda c: build.unary("LEAKY_RELU", c, "LeakyReluOptions", alpha=0.2), channels),
        "HARD_SWISH": rows(lambda c: build.unary("HARD_SWISH", c, "HardSwishOptions", 1), channels),
        "GELU": rows(lambda c: build.unary("GELU", c, "GeluOptions"), channels),
        "CONCATENATION": rows(lambda c: build.concatenation(c, c), channels),
        "SPLIT": rows(lambda c: build.split(4, c), channels),
        "SLICE": rows(lambda c: build.slice_channels(c, c // 2), CHANNELS),
        "PAD": each(build.pad),
        "RESIZE_BILINEAR": rows(
            lambda f, c: build.resize("RESIZE_BILINEAR", f, c), [(f, c) for f in (2, 3, 4) for c in (1, 3, 16, 32)]
        ),
        "RESIZE_NEAREST_NEIGHBOR": rows(
            lambda f, c: build.resize("RESIZE_NEAREST_NEIGHBOR", f, c), [(f, c) for f in (2, 3, 4) for c in (1, 3, 16, 32)]
        ),
        "MAX_POOL_2D": rows(
            lambda s, t, c: build.pool("MAX_POOL_2D", s, t, c), [(s, t, c) for s, t in ((2, 2), (7, 3)) for c in CHANNELS]
        ),
        "AVERAGE_POOL_2D": rows(lambda s, t, c: build.pool("AVERAGE_POOL_2D", s, t, c), [(2, 2, c) for c in CHANNELS]),
        "MEAN": each(build.mean),
    }


def main():
    """Counts everything and writes the file."""
    device = arm64.Arm64Device("cortex-a76")
    overhead = call(device)
    tables = measure(device, overhead)
    about = {"device": device.label, "input": [1, build.SIDE, build.SIDE, "channels"], "threads": 1, "call": overhead}
    text = ",\n".join(
        f"  {json.dumps(name)}: [\n    " + ",\n    ".join(map(json.dumps, rows)) + "\n  ]" for name, rows in tables.items()
    )
    FILE.write_text(f'{{\n  "format": "mobile-sr operator costs 1",\n  "about": {json.dumps(about)},\n{text}\n}}\n')


if __name__ == "__main__":
    main()
