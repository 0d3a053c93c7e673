"""Simulation of 16-bit activations in single layers; a part of quantization.py.

The network runs in float with every tensor rounded to 8 bits except for those of the named layers. Without named layers, the
result is within 0.003 dB of the real file.
"""

import keras
import numpy as np

from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.inference import upscaler


def ranges_of(data):
    """Returns {layer name: (minimum, maximum)} that the tensors of an int8 or uint8 .tflite can represent."""
    graph = flatbuffer.parse(data)
    ranges = {}
    for tensor in graph.tensors:
        if tensor.dtype == "int8" and len(tensor.scales) == 1:
            name = tensor.name.split(";")[0].split("/")[-2:][0].removesuffix("_1")
            ranges[name] = tuple(float(tensor.scales[0]) * (level - tensor.zero_points[0]) for level in (-128, 127))
    return ranges


def runner(model, ranges, wide):
    """Returns a function from [H, W, 3] uint8 to the SR output [H * s, W * s, 3] float32.

    Outputs of the `wide` layers are not rounded, nor those of the last convolution and later layers: the SR output is rounded
    to uint8 in any case.

    Args:
        model: Keras model.
        ranges: `ranges_of` the model's 8-bit file.
        wide: names of layers with 16-bit outputs.
    """
    last = [layer.name for layer in model.layers if hasattr(layer, "kernel")][-1]
    rounded = {layer.name for layer in model.layers if hasattr(layer, "kernel")} - {last, *wide}

    def call(layer, *args, **kwargs):
        y = layer(*args, **kwargs)
        if layer.name not in rounded:
            return y
        low, high = ranges[layer.name]
        step = (high - low) / 255
        zero = np.round(-low / step)
        return keras.layers.Lambda(lambda y: (keras.ops.clip(keras.ops.round(y / step) + zero, 0, 255) - zero) * step)(y)

    simulated = keras.models.clone_model(model, call_function=call)
    for layer in model.layers:  # by name: Keras may order the layers differently after the insertion
        simulated.get_layer(layer.name).set_weights(layer.get_weights())
    return upscaler.keras_runner(simulated)
