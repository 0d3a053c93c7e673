"""FGNAS over plain chains: a supernet of ChainSR (models/chainsr.py) with gates on groups of channels and on whole layers.

The gates, the cost and lambda are those of Kim et al., "Fine-Grained Neural Architecture Search for Image Super-Resolution",
JVCIR 2022 (fgnas_supernet.py). The space is this project's: 3x3 convolutions with ReLU in one chain and one long skip.
Differences from the paper:

- A gate opens `step` neighbouring channels together. Int8 kernels process channels in blocks, and a smaller part of a block
  saves nothing (arm64.py).
- A layer is a convolution plus the identity, relu(x + conv(x)), and has a gate of its own. Without its convolution it is the
  identity, because x is not negative: a closed layer vanishes, and the remaining chain is a valid plain network. The
  identity is part of the kernel, so that open layers are plain convolutions, too.
- The skip adds the output of the last open layer to that of the head. That layer therefore has the channels of the head.
- Psi stays within 0..1. Otherwise it grows while lambda is small, and many gates then close late and at once.
- Kernels and activations are rounded to 8 bits as in a uint8 file.

mobile_sr/architecture_search/plain_compaction.py makes the plain network with the same function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, Shape, check_output_activation
from mobile_sr.models.nas import fgnas_costs
from mobile_sr.models.nas.fgnas_costs import Number
from mobile_sr.models.nas.fgnas_supernet import Gate, priced
from mobile_sr.models.train_time.fake_quantization import quantize_weights, rounded

RESIDUAL = keras.initializers.VarianceScaling(0.1)  # of kernels beside an identity: features then grow by 5 % in a layer
HELD = 1e3  # distance of psi from the threshold at which a gate is fixed: no training moves it across
_ALL_BUT_OUTPUTS = (0, 1, 2)  # axes of a kernel


class PlainChain(keras.layers.Layer):
    """All convolutions of the supernet: [N, H, W, 3] -> [N, H, W, outputs].

    Args:
        layers: number of layers between the head and the tail.
        channels: channels of the head and of every layer with all gates open.
        step: channels of a gate; `channels` is a multiple of it.
        outputs: channels of the last convolution.
        bits: bits of rounded kernels and activations; 0 for no rounding.
        rate: of the gates, see fgnas_supernet.Gate.

    Attributes:
        width_gates: gates [channels / step, 1] of the head, and of every layer but the last, which has the head's channels.
        layer_gates: gates [1, 1] of the layers.
    """

    def __init__(self, layers: int, channels: int, step: int, outputs: int, bits: int, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers, self.channels, self.step, self.outputs, self.bits = layers, channels, step, outputs, bits

        def bounded(stored: keras.KerasTensor) -> keras.KerasTensor:
            psi = stored * rate
            return ops.where(ops.abs(psi - 0.5) > HELD / 2, psi, ops.clip(psi, 0.0, 1.0)) / rate

        options: dict[str, Any] = {"rate": rate, "constraint": bounded if rate else None}
        self.width_gates = [Gate(channels // step, name=f"width{k}", **options) for k in range(max(layers, 1))]
        self.layer_gates = [Gate(1, name=f"layer{k + 1}", **options) for k in range(layers)]

    def build(self, input_shape: Shape) -> None:
        for gate in (*self.width_gates, *self.layer_gates):
            gate.build()
        options = {"autocast": False, "dtype": "float32"}  # kernels are rounded in float32

        def weights(name: str, inputs: int, outputs: int, initializer: Any, bias: Any = "zeros") -> list[keras.Variable]:
            return [
                self.add_weight(shape=(3, 3, inputs, outputs), initializer=initializer, name=f"{name}_kernel", **options),
                self.add_weight(shape=(outputs,), initializer=bias, name=f"{name}_bias", **options),
            ]

        self.head = weights("head", input_shape[-1], self.channels, "glorot_uniform")
        self.convs = [weights(f"conv{k + 1}", self.channels, self.channels, RESIDUAL) for k in range(self.layers)]
        self.tail = weights("tail", self.channels, self.outputs, "glorot_uniform", GRAY)
        self.identity = np.zeros((3, 3, self.channels, self.channels), np.float32)
        self.identity[1, 1] = np.eye(self.channels)

    def folded(self, layer: int) -> keras.KerasTensor:
        """Returns the kernel of a layer with its identity, [3, 3, channels, channels] float32.

        Args:
            layer: index from 0.
        """
        return self.convs[layer][0] + self.identity

    def open_layers(self) -> list[keras.KerasTensor]:
        """Returns a scalar for each layer, 1 if it is open and 0 if it has vanished. A layer without channels has vanished."""
        result = []
        for index, gate in enumerate(self.layer_gates):
            value = gate.open()[0, 0]
            if index + 1 < self.layers:
                value = value * ops.stop_gradient(ops.max(self.width_gates[index + 1].open()))
            result.append(value)
        return result

    def open_widths(self) -> list[keras.KerasTensor]:
        """Returns the gates [channels / step] of the head's output and of each layer's, as far as it is open.

        The last open layer has the gates of the head.
        """
        head, *own = (gate.open()[:, 0] for gate in self.width_gates)
        last: Number = 1.0  # 1 if all later layers have vanished
        result = []
        for value, z in zip([*own, head][::-1] if self.layers else [], self.open_layers()[::-1], strict=True):
            result.append(last * head + (1 - last) * value)
            last = last * (1 - ops.stop_gradient(z))
        return [head, *result[::-1]]

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        head, *masks = (ops.repeat(gates, self.step) for gates in self.open_widths())
        x = ops.relu(self._convolve(x, self.head[0], self.head[1]))
        features = x = self._rounded(x * ops.cast(head, x.dtype))
        inputs = head
        for index, (mask, z) in enumerate(zip(masks, self.open_layers(), strict=True)):
            y = ops.relu(self._convolve(x, self.folded(index), self.convs[index][1], inputs))
            y, share = self._rounded(y * ops.cast(mask, y.dtype)), ops.cast(z, y.dtype)
            x = share * y + (1 - share) * x
            inputs = z * mask + (1 - z) * inputs
        return self._convolve(self._rounded(x + features), self.tail[0], self.tail[1], head)

    def _convolve(self, x: keras.KerasTensor, kernel: Any, bias: Any, inputs: Any = None) -> keras.KerasTensor:
        """A 3x3 convolution with a rounded kernel.

        Closed inputs are zero. Their weights stay for the gradient of their gates, but must not widen the kernel's range.
        """
        if self.bits:
            masked = kernel if inputs is None else kernel * ops.stop_gradient(inputs)[:, None]
            kernel = quantize_weights(masked, _ALL_BUT_OUTPUTS) + (kernel - masked)
        y = ops.conv(x, ops.cast(kernel, x.dtype), padding="same", data_format="channels_last")
        return y + ops.cast(bias, x.dtype)

    def _rounded(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return rounded(x, self.bits) if self.bits else x

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.outputs)


def build(
    scale: int = 3,
    output_activation: str = "clipped_relu",
    layers: int = 16,
    channels: int = 32,
    step: int = 8,
    activation_bits: int = 8,
    gate_rate: float = 1.0,
    cost: str | Mapping[str, Any] = "arm64",
    weight: float = 1e-3,
    budget: float | None = None,
    steps: int = 1,
) -> keras.Model:
    """The supernet as a functional Keras model.

    Args:
        scale: positive int.
        output_activation: 'clipped_relu' or 'linear'.
        layers: number of 3x3 convolutions between the first and the last one.
        channels: channels of the first convolution and of every layer.
        step: channels of a gate. `channels` is a multiple of it.
        activation_bits: bits of rounded kernels and activations; 0 for no rounding.
        gate_rate, cost, weight, budget, steps: as in fgnas_supernet.build.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output_activation or cost, or channels that are not a multiple of the step.
    """
    check_output_activation(output_activation)
    if step < 1 or channels < 1 or channels % step:
        raise ValueError(f"channels must be a multiple of step, got {channels} channels and a step of {step}")
    outputs = 3 * scale**2
    lr = keras.Input((None, None, 3), name="lr")
    x = PlainChain(layers, channels, step, outputs, activation_bits, gate_rate, name="chain")(lr)
    if output_activation == "clipped_relu":
        x = ClippedReLU(name="clip")(x)
    sr = DepthToSpace(scale, name="pixels")(x)
    measured = fgnas_costs.Cost(cost)
    sr = priced(lr, sr, lambda model, full: total(model, measured, full), weight, budget, steps)
    return keras.Model(lr, sr, name=f"fgnas_plain_supernet_x{scale}")


def chain(model: keras.Model) -> PlainChain:
    """Returns the PlainChain of a supernet."""
    return model.get_layer("chain")


def total(model: keras.Model, cost: fgnas_costs.Cost, full: bool = False) -> Number:
    """Cost of the plain network of the open gates, differentiably; vanished layers cost nothing.

    Args:
        model: the supernet.
        cost: the kind of cost.
        full: the cost with all gates open, as a Python float.
    """
    body = chain(model)
    if full:
        return of_widths([body.channels] * (body.layers + 1), body.outputs, cost)
    head, *widths = (ops.sum(gates) * body.step for gates in body.open_widths())
    result, before = _ends(head, body.outputs, cost), head
    for width, z in zip(widths, body.open_layers(), strict=True):
        result = result + z * cost.of("conv3x3", before, width)
        before = z * width + (1 - z) * before
    return result


def of_widths(widths: Sequence[int], outputs: int, cost: fgnas_costs.Cost) -> float:
    """Cost of a plain network.

    Args:
        widths: channels of the head and of the layers.
        outputs: channels of the last convolution.
        cost: the kind of cost.
    """
    layers = sum(float(cost.of("conv3x3", float(a), float(b))) for a, b in zip(widths, widths[1:], strict=False))
    return float(_ends(float(widths[0]), outputs, cost)) + layers


def _ends(head: Number, outputs: int, cost: fgnas_costs.Cost) -> Number:
    """Cost of everything but the layers."""
    last = float(outputs)
    operators = [("conv3x3", 3.0, head), ("add", head, head), ("conv3x3", head, last), ("depth_to_space", last, last)]
    return cost.total(operators)


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of 3x3 convolutions."""
    return config["layers"] + 2
