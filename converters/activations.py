"""Values of intermediate tensors of a Keras model on images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras

BATCH = 4  # images per batch: all requested tensors of a batch are in memory at once


def activations(
    model: keras.Model, tensors: list[keras.KerasTensor], images: Sequence[np.ndarray | tuple[np.ndarray, ...]]
) -> Iterator[list[np.ndarray]]:
    """Run the images in batches of equal size and yield the values of the tensors for each batch.

    Args:
        model: a functional Keras model.
        tensors: KerasTensors of the model.
        images: [1, H, W, 3] float32 images, or (image, [1, 1] desired depth) pairs for a model with a depth input.

    Yields:
        A list of [N, H, W, C] float32 arrays, one for each tensor.
    """
    import keras

    probe = keras.Model(model.input, tensors)
    by_shape: dict[tuple[int, ...], list[tuple[np.ndarray, ...]]] = {}
    for sample in images:
        arrays = sample if isinstance(sample, tuple) else (sample,)
        by_shape.setdefault(arrays[0].shape, []).append(arrays)
    for same_shape in by_shape.values():
        for first in range(0, len(same_shape), BATCH):
            inputs = [np.concatenate(part) for part in zip(*same_shape[first : first + BATCH], strict=True)]
            values = probe(inputs if len(inputs) > 1 else inputs[0], training=False)
            values = [values] if len(tensors) == 1 and not isinstance(values, (list, tuple)) else values  # Keras unpacks one
            yield [keras.ops.convert_to_numpy(value) for value in values]
