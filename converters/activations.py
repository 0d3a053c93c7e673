"""What tensors of a Keras model hold on images."""

import numpy as np

BATCH = 4  # images at once: all tensors of all of them are in memory


def activations(model, tensors, images):
    """Run images of one size together and yield, for each batch, the values of the tensors.

    Args:
        model: a functional Keras model. tensors: list of its KerasTensors.
        images: list of [1, H, W, 3] float32, or of (image, [1, 1] desired depth) where the model takes one.
    Yields: list of [N, H, W, C] float32 arrays, one for each tensor.
    """
    import keras

    probe = keras.Model(model.input, tensors)
    by_shape = {}
    for sample in images:
        inputs = sample if isinstance(sample, tuple) else (sample,)
        by_shape.setdefault(inputs[0].shape, []).append(inputs)
    for same in by_shape.values():
        for first in range(0, len(same), BATCH):
            inputs = [np.concatenate(part) for part in zip(*same[first : first + BATCH], strict=True)]
            values = probe(inputs if len(inputs) > 1 else inputs[0], training=False)
            values = [values] if len(tensors) == 1 and not isinstance(values, (list, tuple)) else values  # Keras unpacks one
            yield [keras.ops.convert_to_numpy(value) for value in values]
