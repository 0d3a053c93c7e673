"""Verification of a converted file: audit, colour errors and agreement with the original network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.quantization import saturation
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import audit
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.importing import foreign
from mobile_sr.inference import litert, model_io, tensor_values, upscaler
from mobile_sr.inference.onnx_model import OnnxModel
from mobile_sr.quantization.source import Source


def open_bytes(data: bytes, source: Source, options: Mapping[str, str] | None = None) -> litert.TFLiteModel:
    """Opens a converted file of a network.

    Args:
        data: bytes of the .tflite.
        source: the network; for one from elsewhere the file gets its value range and channel order.
        options: as for litert.TFLiteModel.
    """
    if source.config is not None:
        return litert.TFLiteModel(data, options=options)
    return foreign.open_as_file(data, source.name, {**source.options, **(options or {})})


def audit_file(
    data: bytes, source: Source, precision: str, per_tensor: bool = False, quantized_from: bytes | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Audit a converted .tflite.

    Args:
        data: bytes of the file.
        source: the network.
        precision: precision of the file.
        per_tensor: whether its kernels have one scale each.
        quantized_from: bytes of the float form that was quantized, if its output has other limits than the source's.
    Returns: (facts as `audit.describe`, checks as `audit.check`).
    """
    graph, original = litert.parse_graph(data), FloatGraph(source.data)
    convolutions = sum(original.name(op) in audit.CONVOLUTIONS for op in original.ops)
    limit = saturation.output_limit(FloatGraph(quantized_from or source.data))
    low, high = tensor_values.RANGES[source.io.range_in]
    checks = audit.check(
        graph,
        precision,
        clipped=limit,
        convolutions=convolutions,
        per_tensor=per_tensor,
        input_high=high if low == 0 else 0,
    )
    return audit.describe(graph, len(data)), checks


def colour_check(
    source: Source, data: bytes, limit: int = flat_colours.QUANTIZATION_LIMIT
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the error of a .tflite on flat colours and check it against the original.

    Args:
        source: the network.
        data: bytes of the .tflite.
        limit: maximum change of a flat colour by quantization, in levels of 0..255. If the error of the original itself is
            larger than `limit`, that error is the limit.
    Returns: (`flat_colours.measure` of the file, {"check", "passed", "found"} for the audit).
    """
    run = open_bytes(data, source, source.extension.options(source.extension.max_value)).run
    upscale, original = upscaler.once_per_image(run), source.levels
    error = flat_colours.measure(upscale, source.scale, source.size)
    added = flat_colours.measure(upscale, source.scale, source.size, original)["flat"]
    own = flat_colours.measure(original, source.scale, source.size)["flat"] if added > limit else 0
    limit = max(limit, own)  # an untrained network does not reproduce colours anyway
    check = {"check": f"flat colours within {limit} levels of {source.reference}", "passed": added <= limit, "found": added}
    return error, check


def signature_agreement(source: Source, data: bytes, signature: str | None = None, truth: str | None = None) -> dict[str, Any]:
    """`measure_agreement` of a signature of a .tflite, the worst over the values of its second input.

    The signature is compared with the original, or with the file's signature `truth`.
    """

    def runner(name: str | None, value: float | None) -> Callable[..., Any]:
        options = {} if name is None else {"signature": name}
        return open_bytes(data, source, options | source.extension.options(value)).run

    results = []
    for value in source.extension.values():
        expected = source.runner(value) if truth is None else runner(truth, value)
        results.append(measure_agreement(expected, runner(signature, value), source.scale, source.size))
    return max(results, key=lambda agreement: agreement["largest_error"])


def onnx_agreement(source: Source, tflite: bytes, data: bytes) -> dict[str, Any]:
    """`measure_agreement` of the .onnx file `data` with a .tflite, the worst over the values of the second input."""
    results = []
    for value in source.extension.values():
        options = source.extension.options(value)
        expected = open_bytes(tflite, source, options).run
        results.append(measure_agreement(expected, OnnxModel(data, options=options).run, source.scale, source.size))
    return max(results, key=lambda agreement: agreement["largest_error"])


def measure_agreement(
    truth: Callable[[np.ndarray], np.ndarray],
    runner: Callable[[np.ndarray], np.ndarray],
    scale: int,
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Compare the outputs of two runners on a generated image.

    Args:
        truth, runner: functions from [H, W, 3] uint8 to [H * s, W * s, 3], uint8 or float32 in 0..1.
        scale: scale factor.
        size: (H, W) of a fixed LR input, None for any.
    Returns: {"image", "largest_error": 1.0 is the difference of black and white, "psnr_rgb": in dB}.
    """
    image = test_card(*(size or (48, 64)))
    expected, actual = (model_io.check_finite("conversion", run(image)) for run in (truth, runner))
    wanted, real = (sr.astype(np.float32) / 255 if sr.dtype == np.uint8 else sr for sr in (expected, actual))
    return {
        "image": "generated test card",
        "largest_error": float(np.abs(np.clip(wanted, 0, 1) - np.clip(real, 0, 1)).max()),
        "psnr_rgb": metrics.psnr(upscaler.to_uint8(actual), upscaler.to_uint8(wanted), "rgb", scale),
    }


def error_check(other: str, agreement: Mapping[str, Any], limit: float) -> dict[str, Any]:
    """Returns the check {"check", "passed", "found"} that a largest error is at most `limit`, in the range 0..1."""
    error = agreement["largest_error"]
    return {"check": f"output within {limit:.0e} of {other}", "passed": error <= limit, "found": error}


def warn_if_poor(name: str | Path, run: Callable[..., Any], source: Source, io: model_io.ModelIO | None = None) -> bool:
    """Whether a network's output on a sample image is poor; prints a warning on standard error if so (`model_io.check`).

    Args:
        name: name of the network or file in the warning.
        run: the network, see source.Runner.
        source: the network that is exported.
        io: its value ranges and channels; a remark in it is printed, too. None is the source's without its remark.
    """
    about = (name, io or dataclasses.replace(source.io, remark=None), run, source.scale)
    size = model_io.sample_size(source.size, source.smallest_side)
    figures = model_io.check_and_warn(*about, size, options=source.config is None, hint=source.hint)
    return model_io.is_poor(figures)


def delegate_split(data: bytes, source: Source) -> dict[str, Any]:
    """Returns {"partitions", "left": {operator: count}} of XNNPACK for a converted .tflite, see `litert.delegate_split`."""
    partitions, left = litert.delegate_split(data, source.name)
    return {"partitions": partitions, "left": left}


def describe_split(split: Mapping[str, Any], dynamic: bool) -> str | None:
    """Returns a line about a file, of dynamic size or not, that XNNPACK does not run in one partition; None for the others."""
    if split["partitions"] == 1 and not split["left"]:
        return None
    left = ", ".join(f"{count} {name}" for name, count in split["left"].items())
    parts = f"{split['partitions']} partition{'' if split['partitions'] == 1 else 's'}"
    without = f", without {left}" if left else ""
    return f"XNNPACK runs it in {parts}{without}, which costs time{'; a fixed size may help' if dynamic else ''}"


def test_card(height: int, width: int) -> np.ndarray:
    """Returns a generated [H, W, 3] uint8 image of smooth waves with noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / (2 + c) + y / 7) * np.cos(y / (3 + c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 0.1, (height, width, 3))
    return np.clip((np.stack(waves, -1) * 0.4 + 0.5 + noise) * 255, 0, 255).astype(np.uint8)
