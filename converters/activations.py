"""What tensors of a Keras model hold on images."""

import numpy as np

BATCH = 16


def activations(model, tensors, images):
    """Run images of one size together and yield, for each batch, the values of the tensors.

    Args:
        model: a functional Keras model. tensors: list of its KerasTensors.
        images: list of [1, H, W, 3] float32.
    Yields: list of [N, H, W, C] float32 arrays, one for each tensor.
    """
    import keras

    probe = keras.Model(model.input, tensors)
    by_shape = {}
    for image in images:
        by_shape.setdefault(image.shape, []).append(image)
    for same in by_shape.values():
        for first in range(0, len(same), BATCH):
            values = probe(np.concatenate(same[first : first + BATCH]), training=False)
            yield [keras.ops.convert_to_numpy(value) for value in values]
