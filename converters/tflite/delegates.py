"""Predicts which operators of a .tflite file Android's delegates refuse, by the delegates' own rules; no phone is needed.

delegate_operators.json lists the operators of LiteRT's GPU delegate and of its NPU plugins, each with the file and commit of
the source; `python -m tools.delegate_operators` writes it. The GPU delegate's further rules are those of the same file. NNAPI's
are those of TensorFlow Lite's delegates/nnapi/nnapi_delegate.cc, for Android 11 (API level 30) and later; Android 15 deprecated
it. A refused operator runs on the CPU and splits the graph; Samsung's plugin refuses the whole file. A driver or an NPU's
compiler may still refuse, or run slowly, an operator that the delegate supports.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobile_sr.converters.tflite import flatbuffer

_8_BIT = ("int8", "uint8")
_ANY = ("float32", *_8_BIT)
_FLOAT = ("float32",)
# NNAPI: {operator: (lowest supported version, highest one, supported types of the first data input)}
_NNAPI: dict[str, tuple[int, int, tuple[str, ...]]] = {
    **dict.fromkeys(("ADD", "MUL", "AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION", "SPACE_TO_DEPTH", "PAD"), (1, 2, _ANY)),
    **dict.fromkeys(("RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "PADV2", "TRANSPOSE", "SLICE"), (1, 2, _ANY)),
    **dict.fromkeys(("MEAN", "STRIDED_SLICE", "QUANTIZE", "DEQUANTIZE", "DEPTH_TO_SPACE"), (1, 2, _ANY)),
    **dict.fromkeys(("SUB", "MAXIMUM", "MINIMUM", "DEPTHWISE_CONV_2D", "RESIZE_BILINEAR", "TRANSPOSE_CONV"), (1, 3, _ANY)),
    **dict.fromkeys(("CONV_2D", "FULLY_CONNECTED"), (1, 5, _ANY)),
    **dict.fromkeys(("LEAKY_RELU", "PRELU", "TILE", "RESHAPE", "EXPAND_DIMS", "HARD_SWISH"), (1, 1, _ANY)),
    **dict.fromkeys(("SPLIT_V", "SOFTMAX", "SQUARED_DIFFERENCE", "PACK", "GATHER"), (2, 2, _ANY)),
    "SPLIT": (3, 3, _ANY),
    **dict.fromkeys(("ABS", "EXP", "LOG", "RSQRT", "SQRT", "POW", "SIN", "DIV", "ELU", "SUM"), (1, 1, _FLOAT)),
}
_TABLE = json.loads(Path(__file__).with_name("delegate_operators.json").read_text())
_NPUS = ("qualcomm", "mediatek", "samsung", "google", "intel")
TITLES = {
    "gpu": "GPU delegate",
    "qualcomm": "Qualcomm NPU plugin",
    "mediatek": "MediaTek NPU plugin",
    "samsung": "Samsung NPU plugin",
    "google": "Google NPU plugin",
    "intel": "Intel NPU plugin",
    "nnapi": "NNAPI delegate (legacy)",
}
_NEED_CONSTANT = ("RESHAPE", "RESIZE_BILINEAR", "PAD", "PADV2", "MIRROR_PAD", "STRIDED_SLICE", "SLICE", "TILE", "TRANSPOSE")
_DATA = {"SPLIT": 1, "TRANSPOSE_CONV": 2}  # index of the data among the inputs, if it is not 0


def refused(graph: flatbuffer.Graph) -> dict[str, list[dict[str, Any]]]:
    """List the operators that each delegate of TITLES leaves to the CPU.

    Args:
        graph: the parsed file.

    Returns:
        {"gpu": [{"op", "count", "reason"}], ..., "nnapi": [...]}, sorted by operator name. An NPU refuses all "operators" of a
        file of dynamic size.
    """
    result = {}
    dynamic = any(-1 in graph.tensors[index].shape[1:] for index in graph.inputs)
    for delegate in TITLES:
        if dynamic and delegate in _NPUS:
            whole = {"op": "operators", "count": len(graph.ops), "reason": "dynamic size; export with --height and --width"}
            result[delegate] = [whole]
            continue
        reasons: collections.Counter[tuple[str, str]] = collections.Counter()
        for op in graph.ops:
            if reason := _reason(delegate, op, graph.tensors):
                reasons[op.name, reason] += 1
        result[delegate] = [{"op": op, "count": count, "reason": reason} for (op, reason), count in sorted(reasons.items())]
    return result


def describe(refusals: Iterable[Mapping[str, Any]]) -> str:
    """Return one phrase for a list of `refused`, such as '4 GELU (not supported), 1 PAD (...)'; '' for an empty list."""
    return ", ".join(f"{r['count']} {r['op']} ({r['reason']})" for r in refusals)


def _reason(delegate: str, op: flatbuffer.Op, tensors: Sequence[flatbuffer.Tensor]) -> str | None:
    """The reason why a delegate refuses an operator, or None."""
    if delegate == "nnapi":
        return _nnapi(op, tensors)
    row = _TABLE[delegate]
    listed = op.name in (row["unsupported"] if "unsupported" in row else row["operators"]).split()
    if op.custom or listed == ("unsupported" in row):
        return "not supported"
    if delegate == "gpu":
        if op.name == "GATHER" and len(tensors[op.inputs[1]].shape) != 1:
            return "indices have more than one dimension"
        return _shapes(op, tensors)
    # NEURON_CONV_2D of create_model.cc, beside the list, has no argument for groups.
    if delegate == "mediatek" and op.name == "CONV_2D" and tensors[op.inputs[1]].shape[-1] != tensors[op.inputs[0]].shape[-1]:
        return "grouped; export with --dense-groups"
    return None


def _nnapi(op: flatbuffer.Op, tensors: Sequence[flatbuffer.Tensor]) -> str | None:
    """Returns the reason why the NNAPI delegate refuses an operator, or None."""
    if op.custom or op.name not in _NNAPI:
        return "not supported"
    low, high, dtypes = _NNAPI[op.name]
    data = tensors[op.inputs[_DATA.get(op.name, 0)]]
    if data.dtype not in dtypes:
        return f"not in {data.dtype}"
    if not low <= op.version <= high:
        return f"not in its form for {data.dtype} (version {op.version})"
    if op.name == "CONV_2D" and (len(op.inputs) < 3 or op.inputs[2] < 0):
        return "without bias"
    return _shapes(op, tensors)


def _shapes(op: flatbuffer.Op, tensors: Sequence[flatbuffer.Tensor]) -> str | None:
    if op.name in _NEED_CONSTANT and len(op.inputs) > 1 and not tensors[op.inputs[1]].constant:
        return "its size is computed at run time; export with --height and --width"
    rank = max((len(tensors[i].shape) for i in (*op.inputs, *op.outputs) if i >= 0), default=0)
    return f"tensors of {rank} dimensions" if rank > 4 else None
