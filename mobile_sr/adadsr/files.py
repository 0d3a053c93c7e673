"""Conversion of networks with depth masks: .tflite files of the dense form, or with the signatures `dense` and `sparse`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mobile_sr.adadsr import mask_limits, sparse_form, sparse_integer
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import keras_sync, quantizer
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import merge

if TYPE_CHECKING:
    import keras

SPARSE = ("float32", "float16", "uint8", "int8")  # precisions of the sparse form
OUTPUTS = ("sr", "depth_map")  # outputs of a network with depth masks, in this order


def convert_dense(data: bytes, precision: str, samples: Sequence[Any] = (), per_tensor: bool = False) -> bytes:
    """Convert the float dense form to another precision; in 8 bits, masks become saturating tensors.

    Args:
        data: bytes of the float32 .tflite of the dense form.
        precision, samples, per_tensor: as for `quantizer.convert`.

    Raises:
        to_tflite.ConversionError: TensorFlow failed.
    """
    if precision in ("uint8", "int8"):
        graph = FloatGraph(data)
        mask_limits.limit(graph)
        data = graph.packed()
    return quantizer.convert(data, precision, samples, per_tensor)


def convert_both(
    model: keras.Model,
    data: bytes,
    precision: str,
    samples: Sequence[Any] = (),
    per_tensor: bool = False,
    size: tuple[int, int] | None = None,
) -> tuple[bytes, bytes]:
    """Convert a network to a .tflite file with the signatures `dense` and `sparse`, which share weights.

    Args:
        model: the network in its export form, with the weights that it had when `to_tflite.float_tflite` converted it.
        data: bytes of that float32 .tflite; its weights may have changed since.
        precision: one of SPARSE.
        samples, per_tensor: as for `quantizer.convert`.
        size: (height, width) of a fixed input, or None for a dynamic one.

    Returns:
        The bytes of the file, and the bytes of the dense form alone.

    Raises:
        to_tflite.ConversionError: TensorFlow failed.
        sparse_integer.NoSparseForm: the masked blocks were not found in the dense integer file.
        ValueError: the precision is not in SPARSE.
    """
    if precision not in SPARSE:
        raise ValueError(f"precision must be one of {SPARSE}, got {precision!r}")
    dense = convert_dense(data, precision, samples, per_tensor)
    if precision in quantizer.CALIBRATED:
        other = sparse_integer.convert(dense, model)
    else:
        trained = model.get_weights()
        keras_sync.copy_weights(FloatGraph(to_tflite.float_tflite(model, size)), FloatGraph(data), model)
        other = _float_sparse(model, size, precision == "float16")
        model.set_weights(trained)
    return merge.merge({"dense": dense, "sparse": other}, OUTPUTS), dense


def _float_sparse(model: keras.Model, size: tuple[int, int] | None, float16: bool) -> bytes:
    """The sparse form of a Keras model as a float .tflite."""
    with quiet() as captured, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf
        from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

        run = sparse_form.function(model)
        specs = [tf.TensorSpec((1, *(size or (None, None)), 3), name="lr")]
        specs += [tf.TensorSpec((1, *other.shape[1:]), name=other.name) for other in model.inputs[1:]]

        def outputs(*inputs: Any) -> list[Any]:
            results = run(*inputs)
            return [results[name] for name in OUTPUTS]

        traced = tf.function(outputs, specs, autograph=False)
        frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return to_tflite.run_converter(converter, captured)
