"""What 16-bit activations in single layers would give; a part of quantization.py.

A simulation: the network runs in float with every tensor rounded to 8 bits but for those named. With none named it is
within 0.003 dB of the real file.
"""

import keras
import numpy as np

from mobile_sr.inference import upscaler


def runner(model, ranges, wide):
    """A function from [H, W, 3] uint8 to the picture [H * s, W * s, 3] float32; outputs of the `wide` layers are not rounded.

    Nor are those at and behind the last convolution: the picture is rounded to uint8 in any case.

    Args:
        ranges: equalize.shared_ranges of the model.
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
    for layer in model.layers:  # by name: with what was put between them Keras may order them otherwise
        simulated.get_layer(layer.name).set_weights(layer.get_weights())
    return upscaler.keras_runner(simulated)
