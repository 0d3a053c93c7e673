"""Converts Keras models to .tflite files. The only module besides training that needs TensorFlow."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters import activation_ranges, adadsr_sparse, adadsr_sparse_integer
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import merge

if TYPE_CHECKING:
    import keras

PRECISIONS = ("float32", "float16", "uint8", "int8", "int16", "dynamic")
CALIBRATED = ("uint8", "int8", "int16")  # precisions with integer activations of fixed ranges
SPARSE = ("float32", "float16", "uint8", "int8")  # precisions of AdaDSR's sparse form
OUTPUTS = ("sr", "depth_map")  # outputs of a network with depth masks, in this order


class ConversionError(RuntimeError):
    """TensorFlow's converter failed; the message contains the end of the converter's output."""


def convert(
    build: Callable[..., keras.Model],
    weights: Sequence[np.ndarray],
    precision: str,
    *,
    clipped: bool,
    size: tuple[int, int] | None = None,
    calibration: Sequence[np.ndarray | tuple[np.ndarray, np.ndarray]] = (),
    per_tensor: bool = False,
    form: str = "dense",
) -> bytes:
    """Convert a network to a .tflite file with at most one signature.

    8-bit files of a clipped network are made from its variant without the clip, followed by a fake quantization to 0..1.
    The output tensor then has scale 1/255 and zero point 0 and saturates exactly where the clip would. No clip op remains.

    Args:
        build: function that returns the Keras model in its export form, and the variant without a clip when called with
            output_activation='linear': models.build_for_export with a configuration.
        weights: arrays for model.set_weights.
        precision: one of PRECISIONS:
            'float32';
            'float16': weights stored as float16;
            'uint8', 'int8': full integer quantization with inputs and outputs of this type and int8 weights;
            'int16': int8 weights, int16 activations, float inputs and outputs; depth_to_space, which the converter does not
            support in 16 bits, runs in float;
            'dynamic': int8 weights, float inputs and outputs; activations are quantized at run time.
        clipped: whether the network's output activation clips to 0..1.
        size: (height, width) of a fixed input, or None for a dynamic one.
        calibration: [1, H, W, 3] float32 images in 0..1, or (image, [1, 1] desired depth) pairs for a network with a depth
            input. Required for the CALIBRATED precisions.
        per_tensor: use one scale for a whole kernel instead of one for each of its output channels.
        form: 'dense', or 'sparse' for the sparse form of a network with depth masks (converters/adadsr_sparse.py) in float32
            or float16. For the other precisions, converters/adadsr_sparse_integer.py makes it from the dense file.

    Returns:
        The bytes of the .tflite file.

    Raises:
        ValueError: the precision or form is wrong, or calibration images are missing.
        ConversionError: TensorFlow's converter failed.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}")
    calibrated = precision in CALIBRATED
    saturating = clipped and precision in ("uint8", "int8")
    if calibrated and not calibration:
        raise ValueError(f"precision {precision!r} needs calibration images, got none")
    if form == "sparse" and precision not in ("float32", "float16"):
        raise ValueError(f"the sparse form can be converted to float32 or float16, got {precision!r}")
    with quiet() as captured, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
        import tensorflow as tf

        model = build(output_activation="linear") if saturating else build()
        model.set_weights([break_equal_bias(w) for w in weights] if calibrated else weights)
        if saturating:
            sr, *others = model.outputs
            model = keras.Model(model.input, [_saturate(tf)(sr), *others] if others else _saturate(tf)(sr))
        if precision in ("uint8", "int8"):
            model = _saturating_masks(keras, tf, model)
        samples = [list(sample) if isinstance(sample, tuple) else [sample] for sample in calibration]
        if size is not None:
            samples = [[center_crop_or_pad(image, size), *depth] for image, *depth in samples]
        if form == "sparse":
            converter = _sparse_converter(tf, model, size)
        else:
            if size is not None or len(model.inputs) > 1:
                model = _with_batch_size_1(keras, model, size or (None, None))
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        if precision == "dynamic" or calibrated:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter._experimental_disable_per_channel = per_tensor
        if calibrated:
            op_sets = tf.lite.OpsSet
            int16_ops = [op_sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, op_sets.TFLITE_BUILTINS]
            names = [tensor.name for tensor in model.inputs]  # the converter sorts several inputs by their names
            converter.representative_dataset = lambda: (
                sample if len(sample) == 1 else dict(zip(names, sample, strict=True)) for sample in samples
            )
            converter.target_spec.supported_ops = int16_ops if precision == "int16" else [op_sets.TFLITE_BUILTINS_INT8]
        if precision in ("uint8", "int8"):
            converter.inference_input_type = converter.inference_output_type = getattr(tf, precision)
        try:
            with activation_ranges.fast_calibration():
                return converter.convert()
        except Exception as error:  # the converter raises many types
            lines = [line for line in f"{captured()}\n{error}".splitlines() if line.strip()]
            raise ConversionError(f"TensorFlow cannot convert the model to {precision}: {' | '.join(lines[-3:])}") from error


def convert_both(
    build: Callable[..., keras.Model],
    keras_model: keras.Model,
    weights: Sequence[np.ndarray],
    precision: str,
    **options: Any,
) -> tuple[bytes, bytes]:
    """Convert a network with depth masks to a .tflite file with the signatures `dense` and `sparse`, which share weights.

    Args:
        build: as for `convert`.
        keras_model: the network, from which the order and shapes of its blocks are read.
        weights: as for `convert`.
        precision: as for `convert`.
        **options: the other arguments of `convert`.

    Returns:
        The bytes of the file, and the bytes of the dense form alone.

    Raises:
        ConversionError: TensorFlow's converter failed.
        adadsr_sparse_integer.NoSparseForm: the masked blocks were not found in the dense integer file.
    """
    parts = {"dense": convert(build, weights, precision, **options)}
    if precision in CALIBRATED:
        parts["sparse"] = adadsr_sparse_integer.convert(parts["dense"], keras_model)
    else:
        parts["sparse"] = convert(build, weights, precision, form="sparse", **options)
    return merge.merge(parts, OUTPUTS), parts["dense"]


def _with_batch_size_1(keras, model, size):
    lr = keras.Input((*size, 3), batch_size=1, name="lr")
    others = [keras.Input(other.shape[1:], batch_size=1, name=other.name) for other in model.inputs[1:]]
    return keras.Model([lr, *others] if others else lr, model([lr, *others] if others else lr))


def _sparse_converter(tf, model, size):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    run = adadsr_sparse.function(model)
    specs = [tf.TensorSpec((1, *(size or (None, None)), 3), name="lr")]
    specs += [tf.TensorSpec((1, *other.shape[1:]), name=other.name) for other in model.inputs[1:]]

    def outputs(*inputs):
        results = run(*inputs)
        return [results[name] for name in OUTPUTS]

    traced = tf.function(outputs, specs, autograph=False)
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen])


def break_equal_bias(weights: np.ndarray) -> np.ndarray:
    """Return a copy of an array; in a vector of equal non-zero values the first one moves to the next number towards 0.

    The converter stores a bias of equal values as a single value and quantizes it with the scale of the first channel.
    """
    weights = np.array(weights)
    if weights.ndim == 1 and len(weights) > 1 and np.all(weights == weights[0]) and weights[0] != 0:
        weights[0] = np.nextafter(weights[0], np.float32(0))
    return weights


# Without a subtraction, the first mask would be the depth map itself. The smallest number that XNNPACK subtracts from a result
# of scale 1/255 is 2**-10. This one changes no level of a mask by more than its rounding.
_NEARLY_ZERO = 2.0**-9


def _saturate(tf: Any, high: float = 1.0, subtracted: float = 0.0) -> keras.layers.Layer:
    import keras

    class Saturate(keras.layers.Layer):
        """Subtracts `subtracted`, then limits a tensor to 0..`high` by its quantization, without an op for the limits."""

        def call(self, x):
            x = x - subtracted if subtracted else x
            return tf.quantization.fake_quant_with_min_max_args(x, min=0.0, max=high, num_bits=8)

    return Saturate()


def _saturating_masks(keras: Any, tf: Any, model: keras.Model) -> keras.Model:
    """Return the model with depths and masks that saturate at their limits; a model without masks is returned unchanged.

    A mask, clamp(depth - l, 0, 1), is then one subtraction with a result of scale 1/255: exactly 0 and 1 at its limits. As
    the difference of two ReLUs, each rounded with its own scale, it would hardly ever be exact.
    """
    masks = [layer for layer in model.layers if type(layer).__name__ == "DepthMask"]
    if not masks:
        return model
    max_depth = float(1 + max(mask.block for mask in masks))
    depth = next(layer.name for layer in model.layers if layer.output is masks[0].input)

    def call(layer, *args, **kwargs):
        if type(layer).__name__ == "DepthMask":
            maps = args[0][..., layer.depth_map : layer.depth_map + 1]
            return _saturate(tf, subtracted=layer.block or _NEARLY_ZERO)(maps)
        result = layer(*args, **kwargs)
        return _saturate(tf, high=max_depth)(result) if layer.name == depth else result

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def center_crop_or_pad(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop an image at its centre, or pad it below and on the right with its edge pixels, to a given size.

    Args:
        image: [..., H, W, 3].
        size: (height, width).

    Returns:
        [..., height, width, 3].
    """
    top, left = (max(0, current - target) // 2 for current, target in zip(image.shape[-3:-1], size, strict=True))
    image = image[..., top : top + size[0], left : left + size[1], :]
    down, right = (target - current for current, target in zip(image.shape[-3:-1], size, strict=True))
    return np.pad(image, (*[(0, 0)] * (image.ndim - 3), (0, down), (0, right), (0, 0)), mode="edge")
