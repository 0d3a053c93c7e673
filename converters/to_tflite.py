"""From a Keras model to the bytes of a .tflite file. The only module besides training that needs TensorFlow."""

import warnings

import numpy as np

from mobile_sr.converters import activation_ranges, adadsr_sparse, adadsr_sparse_integer
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import merge

PRECISIONS = ("float32", "float16", "uint8", "int8", "int16", "dynamic")
CALIBRATED = ("uint8", "int8", "int16")  # those whose activations are integers of fixed ranges
SPARSE = ("float32", "float16", "uint8", "int8")  # those that AdaDSR's sparse form has
OUTPUTS = ("sr", "depth_map")  # of a network with depth masks, in this order


class ConversionError(RuntimeError):
    """TensorFlow's converter refused the model; the message holds the end of what it said."""


def convert(build, weights, precision, *, clipped, size=None, calibration=(), per_tensor=False, form="dense"):
    """Convert a network to a .tflite file with one signature or none.

    8-bit files of a clipped network are made from its linear twin, ended by a fake quantization to 0..1: the output
    tensor then has scale 1/255 and zero point 0, saturates exactly where the clip would, and no clip op is left.

    Args:
        build: returns the Keras model in its export form, and with output_activation='linear' its twin without a clip:
            models.build_for_export with a configuration.
        weights: list of arrays for model.set_weights.
        precision: 'float32', 'float16' (weights stored in half), 'uint8' or 'int8' (full integer with these ends, int8
            weights), 'int16' (int8 weights, int16 activations, float ends; depth_to_space, for which the converter has no
            16-bit form, runs on floats), 'dynamic' (int8 weights, float ends; activations are quantized as they come).
        clipped: whether the network's output activation clips to 0..1.
        size: (height, width) of a fixed input, or None for a dynamic one.
        calibration: list of [1, H, W, 3] float32 images in 0..1, or of (image, [1, 1] desired depth) where the network takes
            one; needed for CALIBRATED precisions.
        per_tensor: one scale for a kernel instead of one for each of its output channels.
        form: 'dense', or 'sparse' for converters/adadsr_sparse.py's form of a network with depth masks, in float32 or float16
            (converters/adadsr_sparse_integer.py makes the others' from the dense file).
    Returns: bytes.
    Raises: ValueError for a wrong precision or form or a missing calibration set, ConversionError.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}")
    calibrated = precision in CALIBRATED
    saturating = clipped and precision in ("uint8", "int8")
    if calibrated and not calibration:
        raise ValueError("an integer file needs calibration images")
    if form == "sparse" and precision not in ("float32", "float16"):
        raise ValueError(f"TensorFlow converts the sparse form to float32 or float16, got {precision!r}")
    with quiet() as said, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras
        import tensorflow as tf

        model = build(output_activation="linear") if saturating else build()
        model.set_weights([break_equal_bias(w) for w in weights] if calibrated else weights)
        if saturating:
            sr, *others = model.outputs
            model = keras.Model(model.input, [_saturate(keras, tf)(sr), *others] if others else _saturate(keras, tf)(sr))
        if precision in ("uint8", "int8"):
            model = _saturating_masks(keras, tf, model)
        calibration = [list(sample) if isinstance(sample, tuple) else [sample] for sample in calibration]
        if size is not None:
            calibration = [[fit(image, size), *depth] for image, *depth in calibration]
        if form == "sparse":
            converter = _sparse_converter(tf, model, size)
        else:
            if size is not None or len(model.inputs) > 1:
                model = _of_one_image(keras, model, size or (None, None))
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if precision == "float16":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        if precision == "dynamic" or calibrated:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter._experimental_disable_per_channel = per_tensor
        if calibrated:
            kinds = tf.lite.OpsSet
            wide = [kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, kinds.TFLITE_BUILTINS]
            names = [tensor.name for tensor in model.inputs]  # the converter sorts several inputs by their names
            converter.representative_dataset = lambda: (
                sample if len(sample) == 1 else dict(zip(names, sample, strict=True)) for sample in calibration
            )
            converter.target_spec.supported_ops = wide if precision == "int16" else [kinds.TFLITE_BUILTINS_INT8]
        if precision in ("uint8", "int8"):
            converter.inference_input_type = converter.inference_output_type = getattr(tf, precision)
        try:
            with activation_ranges.fast_calibration():
                return converter.convert()
        except Exception as error:  # the converter raises many types
            lines = [line for line in f"{said()}\n{error}".splitlines() if line.strip()]
            raise ConversionError(f"TensorFlow cannot convert it to {precision}: {' | '.join(lines[-3:])}") from error


def convert_both(build, keras_model, weights, precision, **options):
    """A network with depth masks as a .tflite with the signatures `dense` and `sparse`, which share their weights.

    Args: as of `convert`; keras_model: the network, for its blocks' order and shapes.
    Returns: (bytes, bytes of the dense form alone).
    Raises: ConversionError, sparse_integer.NoSparseForm.
    """
    parts = {"dense": convert(build, weights, precision, **options)}
    if precision in CALIBRATED:
        parts["sparse"] = adadsr_sparse_integer.convert(parts["dense"], keras_model)
    else:
        parts["sparse"] = convert(build, weights, precision, form="sparse", **options)
    return merge.merge(parts, OUTPUTS), parts["dense"]


def _of_one_image(keras, model, size):
    lr = keras.Input((*size, 3), batch_size=1, name="lr")
    others = [keras.Input(other.shape[1:], batch_size=1, name=other.name) for other in model.inputs[1:]]
    return keras.Model([lr, *others] if others else lr, model([lr, *others] if others else lr))


def _sparse_converter(tf, model, size):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    run = adadsr_sparse.function(model)
    specs = [tf.TensorSpec((1, *(size or (None, None)), 3), name="lr")]
    specs += [tf.TensorSpec((1, *other.shape[1:]), name=other.name) for other in model.inputs[1:]]

    def outputs(*inputs):
        found = run(*inputs)
        return [found[name] for name in OUTPUTS]

    traced = tf.function(outputs, specs, autograph=False)
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen])


def break_equal_bias(weights):
    """The array; a vector of equal values, as a bias may be, with the first one moved by the least possible amount.

    The converter keeps equal values as one and quantizes them as one, with the first channel's scale for all.
    """
    weights = np.array(weights)
    if weights.ndim == 1 and len(weights) > 1 and np.all(weights == weights[0]) and weights[0] != 0:
        weights[0] = np.nextafter(weights[0], np.float32(0))
    return weights


# Subtracting 0 would be no op, and the first mask the depth map itself. The least that XNNPACK subtracts from a result of
# scale 1/255 is 2**-10; this one moves no level of a mask by more than its rounding.
_NEARLY_ZERO = 2.0**-9


def _saturate(keras, tf, most=1.0, below=0.0):
    class Saturate(keras.layers.Layer):
        """Ends a tensor's quantization at 0 and `most`, `below` being subtracted before; the limits become no op."""

        def call(self, x):
            return tf.quantization.fake_quant_with_min_max_args(x - below if below else x, min=0.0, max=most, num_bits=8)

    return Saturate()


def _saturating_masks(keras, tf, model):
    """The model with depths and masks that end at their limits by saturation; itself when it has no masks.

    A mask, clamp(depth - l, 0, 1), is then one subtraction whose result has the scale 1/255: exactly 0 and 1 at its ends. As
    the difference of two ReLUs, each rounded by its own scale, it would hardly ever be.
    """
    masks = [layer for layer in model.layers if type(layer).__name__ == "DepthMask"]
    if not masks:
        return model
    max_depth = float(1 + max(mask.block for mask in masks))
    depth = next(layer.name for layer in model.layers if layer.output is masks[0].input)

    def call(layer, *args, **kwargs):
        if type(layer).__name__ == "DepthMask":
            maps = args[0][..., layer.depth_map : layer.depth_map + 1]
            return _saturate(keras, tf, below=layer.block or _NEARLY_ZERO)(maps)
        result = layer(*args, **kwargs)
        return _saturate(keras, tf, most=max_depth)(result) if layer.name == depth else result

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def fit(image, size):
    """Centre-crop or edge-pad (below, on the right) a [..., H, W, 3] image to a size (height, width)."""
    top, left = (max(0, have - want) // 2 for have, want in zip(image.shape[-3:-1], size, strict=True))
    image = image[..., top : top + size[0], left : left + size[1], :]
    down, right = (want - have for have, want in zip(image.shape[-3:-1], size, strict=True))
    return np.pad(image, (*[(0, 0)] * (image.ndim - 3), (0, down), (0, right), (0, 0)), mode="edge")
