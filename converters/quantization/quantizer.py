"""Converts a float .tflite to another precision. Integer activations come from TensorFlow's quantizer, on the file's bytes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from mobile_sr.converters.quantization import activation_ranges, integer_forms, saturation, weight_storage
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite.constants import BIASED

PRECISIONS = ("float32", "float16", "uint8", "int8", "int16", "dynamic")
KEEPS_CONSTANTS = b"keep_stablehlo_constant"  # entry of a file's metadata
CALIBRATED = ("uint8", "int8", "int16")  # precisions with integer activations of fixed ranges


class ConversionError(RuntimeError):
    """TensorFlow's converter failed; the message contains the end of the converter's output."""


def check_arguments(precision: str, samples: Sequence[Sample]) -> None:
    """Check the arguments of `convert`. Raises: ValueError for a wrong precision or missing samples."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}")
    if precision in CALIBRATED and not samples:
        raise ValueError(f"precision {precision!r} needs calibration images, got none")


def convert(data: bytes, precision: str, samples: Sequence[Sample] = (), per_tensor: bool = False) -> bytes:
    """Convert a float32 .tflite to another precision.

    In 8 bits, limits such as a final clip become saturation of the tensor (saturation.py).

    Args:
        data: bytes of the float32 .tflite.
        precision: one of PRECISIONS:
            'float32': the bytes as they are;
            'float16': weights stored as float16;
            'uint8', 'int8': full integer quantization with inputs and outputs of this type and int8 weights;
            'int16': int8 weights, int16 activations, float inputs and outputs; depth_to_space, which the quantizer does not
            support in 16 bits, runs in float;
            'dynamic': int8 weights, float inputs and outputs; activations are quantized at run time.
        samples: inputs on which the ranges are measured, such as [1, H, W, 3] float32 images. Required for the CALIBRATED
            precisions. Ranges that the file contains (activation_ranges.store) are used in place of measured ones.
        per_tensor: use one scale for a whole kernel instead of one for each of its output channels.

    Returns:
        The bytes of the .tflite file.

    Raises:
        ValueError: the precision is wrong, or samples are missing.
        ConversionError: TensorFlow's quantizer failed.
    """
    check_arguments(precision, samples)
    if precision == "float32":
        return data
    if precision in CALIBRATED:
        return _quantize(data, precision, samples, per_tensor)
    graph = FloatGraph(data)
    if precision == "float16":
        weight_storage.as_float16(graph)
    else:
        weight_storage.as_int8(graph, per_tensor)
    return graph.packed()


def _quantize(data: bytes, precision: str, samples: Sequence[Sample], per_tensor: bool) -> bytes:
    graph = FloatGraph(data)
    # litert-torch writes this entry; the quantizer then leaves all convolutions in float.
    entries = graph.model.metadata or []
    graph.model.metadata = [entry for entry in entries if entry.name != KEEPS_CONSTANTS]
    break_equal_biases(graph)
    if precision != "int16":
        integer_forms.rewrite(graph)
    ranges = activation_ranges.stored(graph)
    if any(tensor not in ranges for tensor in activation_ranges.activations(graph)):
        ranges = activation_ranges.measure(graph, samples, limit_tanh=precision != "int16") | ranges
    if precision != "int16":
        saturation.saturate(graph, ranges)
    activation_ranges.attach(graph, ranges)
    with quiet() as captured, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
        from tensorflow.lite.python import lite

        try:
            if precision == "int16":
                # Without samples it keeps the ranges of the file. Its own calibration runs 20 to 50 times slower.
                result = lite._calibrator.Calibrator(graph.packed()).calibrate_and_quantize(
                    lambda: iter(()),
                    tf.float32,
                    tf.float32,
                    True,
                    tf.int16,
                    tf.int64,
                    disable_per_channel=per_tensor,
                )
            else:
                kind = getattr(tf, precision)
                result = lite._mlir_quantize(
                    graph.packed(),
                    per_tensor,
                    input_data_type=kind,
                    output_data_type=kind,
                    disable_per_channel_for_dense_layers=per_tensor,
                )
            return bytes(lite._deduplicate_readonly_buffers(result))
        except Exception as error:  # TensorFlow raises many types
            lines = [line for line in f"{captured()}\n{error}".splitlines() if line.strip()]
            reasons = [line.partition(" error: ")[2] for line in lines if " error: 'tfl." in line]  # they name the operator
            reason = reasons[0] if reasons else " | ".join(lines[-3:])
            raise ConversionError(f"TensorFlow cannot quantize the model to {precision}: {reason}") from error


def break_equal_biases(graph: FloatGraph) -> None:
    """Apply `break_equal_bias` to every bias of a graph, in place."""
    for op in graph.ops:
        name = graph.name(op)
        if name in BIASED and len(op.inputs) > BIASED[name][2]:
            bias = op.inputs[BIASED[name][2]]
            values = graph.constant(bias)
            if values is not None:
                graph.set_constant(bias, break_equal_bias(values))


def break_equal_bias(weights: np.ndarray) -> np.ndarray:
    """Return a copy of an array; in a vector of equal non-zero values the first one moves to the next number towards 0.

    The quantizer stores a bias of equal values as a single value and quantizes it with the scale of the first channel.
    """
    weights = np.array(weights)
    if weights.ndim == 1 and len(weights) > 1 and np.all(weights == weights[0]) and weights[0] != 0:
        weights[0] = np.nextafter(weights[0], np.float32(0))
    return weights
