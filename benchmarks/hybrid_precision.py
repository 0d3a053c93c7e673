"""What 16-bit activations in single layers would give; a part of quantization.py.

A simulation: the network runs in float with every tensor rounded to 8 bits but for those named. With none named it is
within 0.003 dB of the real file.
"""

import keras
import numpy as np

from mobile_sr.converters import equalize


def ranges(model, images):
    """{layer name: (least, largest)} of the output tensors, one range for what shares one in a .tflite."""
    graph = equalize._Graph(model)
    measured = equalize._ranges(model, graph.tensors, images)
    pool = {name: equalize._root(graph._pools, tensor.pool) for name, tensor in graph.tensors.items()}
    joint = {}
    for name, (low, high) in measured.items():
        least, largest = joint.get(pool[name], (0.0, 0.0))
        joint[pool[name]] = (min(least, low.min()), max(largest, high.max()))
    return {name: joint[number] for name, number in pool.items()}


def runner(model, ranges, wide):
    """A function from [H, W, 3] uint8 to the picture [H * s, W * s, 3] float32; outputs of the `wide` layers are not rounded.

    Nor are those at and behind the last convolution: the picture is rounded to uint8 in any case.
    """
    last = [layer.name for layer in model.layers if hasattr(layer, "kernel")][-1]
    rounded = {layer.name for layer in model.layers if hasattr(layer, "kernel")} - {last, *wide}

    def run(image):
        values = {id(model.input): keras.ops.convert_to_tensor(image[None].astype(np.float32) / 255)}
        for layer in model.layers[1:]:
            sources = [values[id(t)] for t in (layer.input if isinstance(layer.input, list) else [layer.input])]
            y = layer(sources if len(sources) > 1 else sources[0])
            if layer.name in rounded:
                low, high = ranges[layer.name]
                step = (high - low) / 255
                zero = np.round(-low / step)
                y = (keras.ops.clip(keras.ops.round(y / step) + zero, 0, 255) - zero) * step
            values[id(layer.output)] = y
        return keras.ops.convert_to_numpy(y)[0]

    return run
