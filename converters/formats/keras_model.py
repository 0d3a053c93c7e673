"""Converts Keras model objects, functional and subclassed ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mobile_sr.converters.formats import tf_function
from mobile_sr.converters.formats.float_model import FloatModel, FormatError, first_line, fixed_size, image_ends
from mobile_sr.converters.quiet import quiet

_TRIALS = ((1, 48, 64, 3), (1, 48, 64, 1))


def is_keras_model(source: object) -> bool:
    """Whether an object is a model of Keras 3 or tf_keras; imports neither."""
    return any(
        kind.__name__ in ("Model", "Layer") and kind.__module__.split(".")[0] in ("keras", "tf_keras")
        for kind in type(source).__mro__
    )


def convert(model: Any, name: str, size: tuple[int, int] | None) -> FloatModel:
    """Convert a Keras model.

    The inputs of a subclassed model are found by calling it on an image of 3 channels, then of 1.

    Args:
        model: a model of Keras 3 on the TensorFlow backend, or of tf_keras.
        name: its name.
        size: (H, W) of a fixed input, None for a dynamic one.

    Raises:
        FormatError: it is not a network from one image to one image, or cannot be converted.
    """
    tf_function.require_tensorflow(name)
    notes: list[str] = []
    inputs = _inputs(model)
    shape = _shape_by_trial(model, name, notes) if inputs is None else _only(name, "input", inputs)
    layout, channels, own = image_ends(name, shape)
    size = fixed_size(name, own, size, notes)
    if layout == "NCHW":
        notes.append("channels first: the .tflite is channels last (NHWC)")

    def run(image: Any) -> Any:
        output = model(image, training=False)
        return only_image(name, output, notes)

    data = tf_function.convert(run, name, channels, size, layout)
    return FloatModel(data, name, "keras", tf_function.reference(run, layout), size, channels, notes=notes)


def only_image(name: str, output: Any, notes: list[str]) -> Any:
    """Choose the image of a network's output: the only tensor, or the largest one of 1 or 3 channels.

    Args:
        name: the network, for the message.
        output: a tensor, or a list, tuple or dict of tensors.
        notes: gets a line if other outputs are left out.

    Raises:
        FormatError: there is no image, or there are several of the largest size.
    """
    if hasattr(output, "shape"):
        return output
    values = list(output.values() if isinstance(output, dict) else output)
    if len(values) == 1:
        return values[0]
    images = [value for value in values if len(value.shape) == 4 and value.shape[3] in (1, 3)]
    if len(images) != 1:
        shapes = ", ".join(str(tuple(value.shape)) for value in values)
        raise FormatError(f"{name}: has the outputs {shapes}; expected one image")
    line = f"of {len(values)} outputs, only the image is kept"
    if line not in notes:
        notes.append(line)
    return images[0]


def _inputs(model: Any) -> list[tuple[int | None, ...]] | None:
    """Shapes of a functional model's inputs, None for another model."""
    inputs = getattr(model, "inputs", None)
    return [tuple(tensor.shape) for tensor in inputs] if inputs else None


def _only(name: str, what: str, shapes: Sequence[Sequence[int | None]]) -> Sequence[int | None]:
    if len(shapes) != 1:
        raise FormatError(f"{name}: has {len(shapes)} {what}s ({', '.join(map(str, shapes))}); expected one image")
    return shapes[0]


def _shape_by_trial(model: Callable[..., Any], name: str, notes: list[str]) -> tuple[int | None, ...]:
    """Call a model on trial images; the shape of the first one that works, of dynamic size."""
    errors = []
    for shape in _TRIALS:
        try:
            with quiet():
                model(np.zeros(shape, np.float32), training=False)
        except Exception as error:  # user code raises many types
            errors.append(first_line(error))
            continue
        notes.append(f"input of {shape[3]} channels, found by calling the model on {list(shape)}")
        return (1, None, None, shape[3])
    raise FormatError(f"{name}: fails on images of 3 and of 1 channels ({errors[0]})")
