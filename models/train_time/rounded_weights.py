"""Training with the weight rounding of 8-bit inference: the recipe option `weight_bits`.

Every kernel is rounded to 127 steps of its largest weight, for each output channel, as in an 8-bit .tflite file. Gradients pass
as if it were not rounded (the straight-through estimator of Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018, Sec. 3). The trained network is the plain one. Its weights survive the
rounding to the nearest integer that other quantizers apply (docs/measurements/quantization_peers.md).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mobile_sr.models.layers import Shape
from mobile_sr.models.train_time import quantized_layers


class RoundedWeights:
    """Mixin for a layer with a kernel: computes with the rounded kernel, of which the layer's variable is the source."""

    def build(self, input_shape: Shape) -> None:
        """Creates the variables, then plans their rounding (which a graph cannot do)."""
        super().build(input_shape)  # type: ignore[misc]  # of the layer's class
        self._rounded_kernel, self._round = quantized_layers.kernel(self)

    def call(self, inputs: keras.KerasTensor) -> Any:
        """Returns the layer's result for the rounded kernel."""
        rounded = self._round(ops.convert_to_tensor(self._rounded_kernel))
        with keras.StatelessScope([(self._rounded_kernel, rounded)]):
            return super().call(inputs)  # type: ignore[misc]  # likewise


def with_rounded_weights(model: keras.Model) -> keras.Model:
    """Returns a copy of a network with rounded kernels, the same weights and the same order of variables.

    Args:
        model: a functional keras.Model.
    Raises: ValueError for a model without convolutions, or one that cannot be cloned with its variables in the same order.
    """
    names = {layer.name for layer in model.layers if quantized_layers.has_kernel(layer)}
    if not names:
        raise ValueError("the network has no kernels to round")

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = type(layer)
        if layer.name in names:
            kind = type(kind.__name__, (RoundedWeights, kind), {})
        return kind.from_config(layer.get_config())

    result = keras.models.clone_model(model, clone_function=clone)
    if [v.path for v in result.variables] != [v.path for v in model.variables]:
        raise ValueError("rounded weights would change the order of the network's variables")
    result.set_weights(model.get_weights())
    return result
