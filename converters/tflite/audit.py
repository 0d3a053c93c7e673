"""Checks whether a .tflite file has the operators, types and scales that its precision requires. Needs no TensorFlow."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile_sr.converters.tflite import flatbuffer

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
CLIP_OPS = ("MINIMUM", "MAXIMUM", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "CLIP")


def describe(graph: flatbuffer.Graph, size_bytes: int) -> dict[str, Any]:
    """Summarize a file.

    Args:
        graph: the parsed file.
        size_bytes: size of the file.

    Returns:
        {"ops": {name: count}, "inputs", "outputs": see Tensor.describe, "size_bytes"}.
    """
    return {
        "ops": dict(sorted(collections.Counter(op.name for op in graph.ops).items())),
        "inputs": [graph.tensors[i].describe() for i in graph.inputs],
        "outputs": [graph.tensors[i].describe() for i in graph.outputs],
        "size_bytes": size_bytes,
    }


def check(
    graph: flatbuffer.Graph,
    precision: str,
    *,
    clipped: float | None,
    convolutions: int,
    per_tensor: bool = False,
    input_high: float | None = None,
) -> list[dict[str, Any]]:
    """Check a file against the requirements of its precision.

    Args:
        graph: the parsed file.
        precision: one of to_tflite.PRECISIONS.
        clipped: c if the network limits its output to 0..c, else None.
        convolutions: number of convolutions of the network.
        per_tensor: whether the kernels of an integer file were quantized with one scale each.
        input_high: c if the input is an image in 0..c: an integer input has the scale c / 255. 0 for another range, None for
            `clipped`.

    Returns:
        A list of {"check": requirement, "passed": bool, "found": value in the file}.
    """
    results: list[dict[str, Any]] = []

    def expect(what: str, passed: object, found: object) -> None:
        results.append({"check": what, "passed": bool(passed), "found": found})

    names = [op.name for op in graph.ops]
    used = sorted({i for op in graph.ops for i in (*op.inputs, *op.outputs) if i >= 0})
    custom = sorted({op.name for op in graph.ops if op.custom})
    expect("built-in operators only", not custom, custom)
    count = sum(names.count(kind) for kind in CONVOLUTIONS)
    expect("one CONV_2D per convolution", count == convolutions, f"{count} of {convolutions}")
    dtypes = collections.Counter(graph.tensors[i].dtype for i in used)
    if precision == "float32":
        expect("float32 throughout", not any(d in dtypes for d in ("int8", "uint8", "float16")), dict(dtypes))
    elif precision == "float16":
        kernels = [graph.tensors[i].dtype for i in used if graph.tensors[i].constant and len(graph.tensors[i].shape) == 4]
        expect("float16 kernels", kernels and set(kernels) == {"float16"}, sorted(set(kernels)))
    else:
        activations = {"int16": "int16", "dynamic": "float32"}.get(precision, "int8")
        _check_convolutions(graph, activations, per_tensor, expect)
        if activations == "int8":
            _check_integer(graph, precision, clipped, input_high, names, used, expect)
        else:
            first, last = _image_tensors(graph)
            expect("float32 in and out", first.dtype == last.dtype == "float32", f"{first.dtype}, {last.dtype}")
    return results


def _image_tensors(graph: flatbuffer.Graph) -> tuple[flatbuffer.Tensor, flatbuffer.Tensor]:
    """The input image and the output image; other inputs are scalars, other outputs are depth maps."""
    inputs = graph.image_inputs()
    outputs = [i for i in graph.outputs if graph.output_names.get(i) in ("sr", "output_0")]
    return graph.tensors[(inputs or graph.inputs)[0]], graph.tensors[(outputs or graph.outputs)[0]]


def check_sparse(graph: flatbuffer.Graph, constants: int, dense_constants: int, integer: bool) -> list[dict[str, Any]]:
    """Check the sparse signature of a file.

    Args:
        graph: the sparse signature.
        constants: bytes of constants in the file with both signatures.
        dense_constants: bytes of constants in the file with the dense signature only.
        integer: whether it is an integer file.

    Returns:
        As for `check`.
    """
    names = collections.Counter(op.name for op in graph.ops)
    custom = sorted({op.name for op in graph.ops if op.custom})
    products = {kind: names[kind] for kind in ("FULLY_CONNECTED", "BATCH_MATMUL")}
    shared = constants <= 1.02 * dense_constants + 4096  # the margin is for shapes and indices
    used = sorted({graph.tensors[i].dtype for op in graph.ops for i in (*op.inputs, *op.outputs) if i >= 0})
    floats = [dtype for dtype in used if dtype.startswith("float")]
    return [
        {"check": f"{'no' if integer else 'only'} float arithmetic (sparse)", "passed": bool(floats) != integer, "found": used},
        {"check": "built-in operators only (sparse)", "passed": not custom, "found": custom},
        {
            "check": "products by FULLY_CONNECTED (sparse)",
            "passed": products["FULLY_CONNECTED"] > 0 and products["BATCH_MATMUL"] == 0,
            "found": products,
        },
        {"check": "weights stored once", "passed": shared, "found": f"{constants} bytes, dense alone {dense_constants}"},
    ]


def _check_convolutions(
    graph: flatbuffer.Graph, activations: str, per_tensor: bool, expect: Callable[[str, object, object], None]
) -> None:
    tensors = graph.tensors
    convolutions = [op for op in graph.ops if op.name in CONVOLUTIONS]
    if activations == "float32":  # the converter does not quantize kernels of less than 1,024 weights
        convolutions = [op for op in convolutions if math.prod(tensors[op.inputs[1]].shape) >= 1024]
    wanted = [activations, "int8", activations]
    bad = [k for k, op in enumerate(convolutions) if [tensors[i].dtype for i in (*op.inputs[:2], op.outputs[0])] != wanted]
    what = "in int8" if activations == "int8" else f"with int8 weights and {activations} activations"
    found = f"others: {bad}" if convolutions else "no convolution"
    expect(f"every convolution {what}, the first and the last included", convolutions and not bad, found)
    axes = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}  # axis of the output channels
    kernels = [(tensors[op.inputs[1]], axes[op.name]) for op in convolutions]
    bad = [k for k, (kernel, axis) in enumerate(kernels) if len(kernel.scales) != (1 if per_tensor else kernel.shape[axis])]
    expect("one weight scale per " + ("kernel" if per_tensor else "output channel"), not bad, f"others: {bad}")


def _check_integer(
    graph: flatbuffer.Graph,
    precision: str,
    clipped: float | None,
    input_high: float | None,
    names: Sequence[str],
    used: Iterable[int],
    expect: Callable[[str, object, object], None],
) -> None:
    tensors = graph.tensors
    floats = [tensors[i].name for i in used if tensors[i].dtype.startswith("float")]
    kept = {op.name for op in graph.ops if any(tensors[i].dtype.startswith("float") for i in op.outputs)} - {"DEQUANTIZE"}
    expect("no float tensor", not floats, f"{', '.join(sorted(kept))} without a form for 8 bits" if kept else floats[:3])
    inner = [
        k
        for k, op in enumerate(graph.ops)
        if op.name == "QUANTIZE"
        and op.inputs[0] not in graph.inputs
        and op.outputs[0] not in graph.outputs
        # A requantization from int8 to int8 is an integer operation: a concatenation needs one scale for all inputs.
        and {tensors[op.inputs[0]].dtype, tensors[op.outputs[0]].dtype} != {"int8"}
    ]
    expect("QUANTIZE of floats only at the ends, no DEQUANTIZE", not inner and "DEQUANTIZE" not in names, f"others: {inner}")
    first, last = _image_tensors(graph)
    expect(f"{precision} in and out", first.dtype == last.dtype == precision, f"{first.dtype}, {last.dtype}")
    if clipped:
        clip = _last_clip(graph, last)
        expect("no clip op", clip is None, clip)
    zero_point = 0 if precision == "uint8" else -128
    for tensor, what, high in ((first, "input", clipped if input_high is None else input_high), (last, "output", clipped)):
        if not high:
            continue
        scale = "1/255" if high == 1 else f"{high / 255:g}"
        matches = (
            len(tensor.scales) == 1
            and abs(float(tensor.scales[0]) * 255 / high - 1) < 1e-6
            and tensor.zero_points[0] == zero_point
        )
        facts = tensor.describe()
        expect(f"{what} scale {scale}, zero point {zero_point}", matches, f"{facts['scale']}, {facts['zero_point']}")


def _last_clip(graph: flatbuffer.Graph, output: flatbuffer.Tensor) -> str | None:
    """The name of a clip operator from which the output is only moved, or None."""
    makers = {tensor: op for op in graph.ops for tensor in op.outputs}
    index = next(i for i, tensor in enumerate(graph.tensors) if tensor is output)
    while index in makers:
        op = makers[index]
        if op.name in CLIP_OPS:
            return op.name
        if op.name not in ("QUANTIZE", "DEPTH_TO_SPACE", "RESHAPE", "TRANSPOSE"):
            return None
        index = op.inputs[0]
    return None
