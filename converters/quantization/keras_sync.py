"""Equalizes and rounds Keras models: changes the float graph and copies its weights back to the model."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import gptq, prelu
from mobile_sr.converters.quantization.channels import channel_mixing, cross_layer_equalization, mask_scaling
from mobile_sr.converters.quantization.float_graph import FloatGraph, Sample
from mobile_sr.converters.tflite.constants import BIASED

if TYPE_CHECKING:
    import keras


def equalize(
    model: keras.Model, samples: Sequence[Sample], strength: float, export_form: keras.Model | None = None
) -> dict[str, dict[str, float]]:
    """Equalize a functional Keras model in place, as `cross_layer_equalization.equalize`.

    Kernels that no variable has, such as that of a bicubic layer, are kept.

    Args:
        model: the model.
        export_form: its export form, see models.build_for_export, with any weights; None if the model has it itself.
        samples: its inputs, such as [1, H, W, 3] float32 images.
        strength: exponent of the scales.

    Returns:
        The record of the changes.

    Raises:
        ValueError: a changed constant belongs to no variable of the model, which is then unchanged.
        to_tflite.ConversionError: TensorFlow failed.
    """
    with _exported(model, export_form) as exported:
        data = to_tflite.float_tflite(exported)
        graph = FloatGraph(data)
        record = cross_layer_equalization.equalize(graph, samples, strength, fixed=_fixed_kernels(graph, exported))
        copy_weights(FloatGraph(data), graph, exported)
    return record


def mix(model: keras.Model, data: bytes, samples: Sequence[Sample], export_form: keras.Model | None = None) -> dict[str, float]:
    """Mix the channels of a functional Keras model in place, as `channel_mixing.mix`. Its output stays the same.

    Args:
        model: the model.
        data: its float .tflite.
        samples: its inputs, such as [1, H, W, 3] float32 images.
        export_form: as for `equalize`.

    Returns:
        The record of the changes.

    Raises:
        ValueError: a changed constant belongs to no variable of the model, which is then unchanged.
    """
    before, after = FloatGraph(data), FloatGraph(data)
    record = channel_mixing.mix(after, samples, widen=False)
    with _exported(model, export_form) as exported:
        copy_weights(before, after, exported)
    return record


def prepare(
    model: keras.Model,
    data: bytes,
    samples: Sequence[Sample],
    strength: float,
    per_tensor: bool = False,
    export_form: keras.Model | None = None,
    rounded: bool = True,
) -> bool:
    """Equalize a functional Keras model in place, scale its masks and round its weights, as `export` does for 8-bit files.

    Args:
        model: the model.
        data: the float .tflite of the model that `export` converts.
        samples: its inputs, such as [1, H, W, 3] float32 images.
        strength: exponent of the equalization's scales.
        per_tensor: use one scale for a whole kernel instead of one for each of its output channels.
        export_form: as for `equalize`.
        rounded: whether to round the weights (gptq.py).

    Returns:
        Whether the weights are exactly those of `export`. Otherwise, biases of phases are their means, or kernels without a
        variable or a bias are not changed like there.

    Raises:
        ValueError: a changed constant belongs to no variable of the model, which is then unchanged.
    """
    with _exported(model, export_form) as exported:
        try:
            return copy_weights(*_prepared(data, samples, strength, per_tensor, rounded), exported)
        except ValueError:
            copy_weights(*_prepared(data, samples, strength, per_tensor, rounded, exported), exported)
            return False


@contextlib.contextmanager
def _exported(model: keras.Model, export_form: keras.Model | None) -> Iterator[keras.Model]:
    """The model in its export form; the model gets the weights that this one has at the end."""
    exported = model if export_form is None else export_form
    exported.set_weights(model.get_weights())
    yield exported
    model.set_weights(exported.get_weights())


def _prepared(
    data: bytes,
    samples: Sequence[Sample],
    strength: float,
    per_tensor: bool,
    rounded: bool,
    model: keras.Model | None = None,
) -> tuple[FloatGraph, FloatGraph]:
    """A graph before and after equalization and rounding; only what a model can have, if one is given."""
    before, after = FloatGraph(data), FloatGraph(data)
    for graph in (before, after):
        prelu.rewrite(graph)
    fixed = set() if model is None else _fixed_kernels(after, model)
    cross_layer_equalization.equalize(after, samples, strength, center=model is None, fixed=fixed)
    if model is None and mask_scaling.scale_masks(after, samples):
        cross_layer_equalization.equalize(after, samples, strength)
    if not rounded:
        return before, after
    if model is not None:
        fixed |= {
            op.inputs[BIASED[name][1]] for op in after.ops if (name := after.name(op)) in BIASED and not _has_bias(before, op)
        }
    gptq.round_weights(after, samples, per_tensor, fixed)
    return before, after


def _has_bias(graph: FloatGraph, op: Any) -> bool:
    """Whether an operator's bias is not 0: TensorFlow adds one of zeros to a layer without bias."""
    position = BIASED[graph.name(op)][2]
    values = graph.constant(op.inputs[position]) if len(op.inputs) > position else None
    return values is not None and bool(values.any())


def _fixed_kernels(graph: FloatGraph, model: keras.Model) -> set[int]:
    """The constant kernels of a graph that belong to no variable of the model."""
    forms = _Forms(model)
    result = set()
    for op in graph.ops:
        if graph.name(op) in BIASED:
            kernel = op.inputs[BIASED[graph.name(op)][1]]
            values = graph.constant(kernel)
            if values is not None and forms.find(values, ()) is None:
                result.add(kernel)
    return result


def copy_weights(before: FloatGraph, after: FloatGraph, model: keras.Model) -> bool:
    """Set a model's weights to those of a changed graph.

    A layer and an operator belong together if their kernels are equal before the change; constants of other operators belong
    to the variables with the same values.

    Args:
        before: the graph as it was converted from the model.
        after: the same graph with other constants. Tensors have the same numbers in both.
        model: the Keras model. Its variables are changed.

    Returns:
        Whether the model has exactly the weights of the graph. The phases of a transposed convolution share one bias, the mean
        of theirs.

    Raises:
        ValueError: a changed constant belongs to no variable, for example because the converter merged two layers, or a layer
            without bias would need one. The model is then unchanged.
    """
    forms = _Forms(model)
    biases = {
        layer.kernel.path: layer.bias.path
        for layer in model.layers
        if getattr(layer, "kernel", None) is not None and getattr(layer, "bias", None) is not None
    }
    assigned: dict[str, np.ndarray] = {}
    for op, changed in zip(before.ops, after.ops, strict=True):
        name = before.name(op)
        for position, (old, new) in enumerate(zip(op.inputs, changed.inputs, strict=False)):
            was, now = before.constant(old), after.constant(new)
            if was is None or now is None or not before.is_float(old) or (was.shape == now.shape and np.array_equal(was, now)):
                continue
            if name in BIASED and position == BIASED[name][2]:
                continue  # follows its kernel
            match = forms.find(was, assigned)
            if match is None:
                raise ValueError(f"the weights of {before.layer_name(op.outputs[0])} belong to no layer of the model")
            assigned[match[0]] = match[1](now)
        if name in BIASED:
            _, weights, bias = BIASED[name]
            kernel = before.constant(op.inputs[weights])
            match = None if kernel is None else forms.find(kernel, {})
            was = before.constant(op.inputs[bias]) if len(op.inputs) > bias else None
            now = after.constant(changed.inputs[bias]) if len(changed.inputs) > bias else None
            if now is None or np.array_equal(now, np.zeros_like(now) if was is None else was):
                continue
            path = biases.get(match[0]) if match else None
            picked = forms.positions.get(match[0], slice(None)) if match else slice(None)
            if path is None or was is None or not np.array_equal(np.resize(forms.values[path], was[picked].shape), was[picked]):
                raise ValueError(f"the bias of {before.layer_name(op.outputs[0])} belongs to no layer of the model")
            assigned[path] = now[picked]
    exact = True
    for variable in model.variables:
        if variable.path in assigned:
            copies = assigned[variable.path].reshape(-1, *variable.shape)
            exact &= bool((copies == copies[0]).all())
            variable.assign(copies.mean(axis=0) if len(copies) > 1 else copies[0])
    return exact


class _Forms:
    """The values of a model's variables in the axes that constants of a .tflite may have, and the way back.

    Attributes:
        values: {path of a variable: its values}.
        positions: {path of a kernel: output channels of its constants}; all of them for a kernel that is not listed.
    """

    def __init__(self, model: keras.Model) -> None:
        spread = {layer.kernel.path: layer for layer in model.layers if hasattr(layer, "positions")}
        self.positions = {path: list(layer.positions) for path, layer in spread.items()}
        phased = {layer.kernel.path: layer for layer in model.layers if hasattr(layer, "phases")}
        self.values = {variable.path: np.asarray(variable) for variable in model.variables}
        self._entries: list[tuple[str, np.ndarray, Callable[[np.ndarray], np.ndarray]]] = []
        for variable in model.variables:
            path = variable.path
            values = self.values[path]
            if path in spread:
                layer = spread[path]
                form = np.zeros((layer.width, *values.shape[:3]), values.dtype)
                form[layer.positions] = values.transpose(3, 0, 1, 2)
                self._entries.append((path, form, functools.partial(_picked, layer.positions)))
            if path in phased:
                form = np.asarray(phased[path].phases(variable)).transpose(3, 0, 1, 2)
                self._entries.append((path, form, functools.partial(_from_phases, phased[path])))
            for axes in ((3, 0, 1, 2), (2, 0, 1, 3)) if values.ndim == 4 else ((1, 0),) if values.ndim == 2 else ():
                form = values.transpose(axes)
                self._entries.append((path, form, functools.partial(_transposed_back, axes, form.shape)))
            self._entries.append((path, values, np.asarray))

    def find(self, values: np.ndarray, taken: Collection[str]) -> tuple[str, Callable[[np.ndarray], np.ndarray]] | None:
        """(path of the variable with the given values, function that returns changed values in its axes), or None."""
        for path, form, back in self._entries:
            if path not in taken and form.size == values.size and np.array_equal(form.reshape(-1), values.reshape(-1)):
                return path, back
        return None


def _from_phases(layer: Any, values: np.ndarray) -> np.ndarray:
    return np.asarray(layer.from_phases(values.transpose(1, 2, 3, 0)))


def _picked(positions: Sequence[int], values: np.ndarray) -> np.ndarray:
    return values[list(positions)].transpose(1, 2, 3, 0)


def _transposed_back(axes: tuple[int, ...], shape: tuple[int, ...], values: np.ndarray) -> np.ndarray:
    return values.reshape(shape).transpose(np.argsort(axes))
