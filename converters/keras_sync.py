"""Copies changed weights of a float graph back to the Keras model that it was converted from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobile_sr.converters.float_graph import FloatGraph
from mobile_sr.converters.tflite.constants import BIASED

if TYPE_CHECKING:
    import keras


def copy_weights(before: FloatGraph, after: FloatGraph, model: keras.Model) -> None:
    """Set a model's weights to those of a changed graph.

    A layer and an operator belong together if their kernels are equal before the change; constants of other operators belong
    to the variables with the same values.

    Args:
        before: the graph as it was converted from the model.
        after: the same graph with other constants. Tensors have the same numbers in both.
        model: the Keras model. Its variables are changed.

    Raises:
        ValueError: a changed constant belongs to no variable, for example because the converter merged two layers.
    """
    variables = {variable.path: np.asarray(variable) for variable in model.variables}
    assigned: dict[str, np.ndarray] = {}
    biases = {}
    for layer in model.layers:
        if getattr(layer, "kernel", None) is not None and getattr(layer, "bias", None) is not None:
            biases[layer.kernel.path] = layer.bias.path
    for op, changed in zip(before.ops, after.ops, strict=True):
        name = before.name(op)
        for position, (old, new) in enumerate(zip(op.inputs, changed.inputs, strict=False)):
            was, now = before.constant(old), after.constant(new)
            if was is None or now is None or not before.is_float(old) or (was.shape == now.shape and np.array_equal(was, now)):
                continue
            if name in BIASED and position == BIASED[name][2]:
                continue  # follows its kernel
            path = _find(variables, was, assigned)
            if path is None:
                raise ValueError(f"the weights of {before.tensor_name(op.outputs[0])} belong to no layer of the model")
            assigned[path] = _as_stored(now, was, variables[path])
        if name in BIASED:
            weights, bias = BIASED[name][1:]
            kernel = before.constant(op.inputs[weights])
            path = None if kernel is None else _find(variables, kernel, {})
            if path in biases and len(changed.inputs) > bias and (values := after.constant(changed.inputs[bias])) is not None:
                assigned[biases[path]] = values
    for variable in model.variables:
        if variable.path in assigned:
            variable.assign(assigned[variable.path].reshape(variable.shape))


def _find(variables: dict[str, np.ndarray], values: np.ndarray, taken: dict[str, np.ndarray]) -> str | None:
    """The path of a variable with the given values, in the axes of Keras or of the .tflite; None if there is none."""
    for path, variable in variables.items():
        if path not in taken and variable.size == values.size and variable.size and any(
            np.array_equal(form.reshape(-1), values.reshape(-1)) for form in _forms(variable)
        ):
            return path
    return None


def _forms(variable: np.ndarray) -> list[np.ndarray]:
    if variable.ndim == 4:
        return [variable.transpose(3, 0, 1, 2), variable, variable.transpose(2, 0, 1, 3)]
    return [variable.T, variable] if variable.ndim == 2 else [variable]


def _as_stored(now: np.ndarray, was: np.ndarray, variable: np.ndarray) -> np.ndarray:
    """The values `now` of a constant in the axes of the variable that held `was`."""
    if variable.ndim == 4 and np.array_equal(variable.transpose(3, 0, 1, 2).reshape(-1), was.reshape(-1)):
        return now.reshape(np.array(variable.shape)[[3, 0, 1, 2]]).transpose(1, 2, 3, 0)
    if variable.ndim == 2 and np.array_equal(variable.T.reshape(-1), was.reshape(-1)):
        return now.reshape(variable.shape[::-1]).T
    return now
