"""FGNAS's supernet: a network with gates on channels and activations, trained together with the weights.

Paper: Kim et al., "Fine-Grained Neural Architecture Search for Image Super-Resolution", JVCIR 2022, Table 1, Fig. 1(d) and
Eqs. 1 to 4. mobile_sr/architecture_search/compaction.py removes the channels with closed gates; fgnas.py is the resulting
network.

A gate has a parameter psi without a unit. It is open if psi > 0.5. psi is initialized uniformly in PSI_START; the paper does
not give an initialization. Costs and budgets are fractions of the full supernet's cost, 0..1. `weight` is lambda, which
multiplies the cost. Images are in 0..1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, Shape, at_most_one, check_output_activation
from mobile_sr.models.nas import fgnas_costs
from mobile_sr.models.nas.fgnas_costs import Number, Operator

ACTIVATIONS = ("relu", "prelu", "tanh")
SEARCHES = ("both", "channels", "activations")
PSI_START = (0.6, 1.4)
_RAMP = 0.1, 0.6  # fractions of the steps between which the target falls from 1 to the budget
_LAMBDA_SPEED = 40, 0.02  # maximum relative change of lambda: summed over all steps, and in one step
_SOFT = 0.02  # relative distance from the target at which lambda changes at full speed


def straight_through(psi: keras.KerasTensor) -> keras.KerasTensor:
    """Eq. 1: 1[psi > 0.5] forward, the gradient of sigmoid(psi) backward. Any shape; values are exactly 0 or 1."""
    soft = ops.sigmoid(psi)
    return ops.cast(psi > 0.5, "float32") + (soft - ops.stop_gradient(soft))


def alive(gates: keras.KerasTensor) -> keras.KerasTensor:
    """Eq. 4: gates [C, M] of the M sub-features of C channels -> [C]: 1[sum >= 1] forward, the gradient of the sum backward."""
    total = ops.sum(gates, axis=-1)
    return ops.cast(total >= 1, "float32") + (total - ops.stop_gradient(total))


class Gate(keras.layers.Layer):
    """Multiplies [N, H, W, C] by one gate per channel.

    Args:
        channels: C, the number of channels.
        features: M, the number of gates for each channel; `call` uses the first.
        rate: factor by which psi moves farther than other weights in a step of Adam; the variable stores psi / rate. 0 for
            gates that are always open and have no psi.
        constraint: function of the stored variable that Keras applies after each step.
    """

    def __init__(
        self,
        channels: int,
        features: int = 1,
        rate: float = 1.0,
        constraint: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shape, self.rate, self.constraint = (channels, features), rate, constraint

    def build(self, input_shape: Shape | None = None) -> None:
        if self.rate:
            initializer = keras.initializers.RandomUniform(*(psi / self.rate for psi in PSI_START))
            options = {"dtype": "float32", "autocast": False, "name": "psi", "constraint": self.constraint}
            self.stored = self.add_weight(shape=self.shape, initializer=initializer, **options)
        self.built = True

    @property
    def psi(self) -> keras.KerasTensor:
        """The gates' parameters, [C, M] float32."""
        return self.stored * self.rate

    def open(self) -> keras.KerasTensor:
        """The gates, [C, M] float32: 1 if open, 0 if closed; see `straight_through`."""
        return straight_through(self.psi) if self.rate else ops.ones(self.shape)

    def call(self, x: keras.KerasTensor, survives: float | keras.KerasTensor = 1.0) -> keras.KerasTensor:
        return x * (ops.cast(self.open()[:, 0], x.dtype) * ops.cast(survives, x.dtype))


class MixedActivations(keras.layers.Layer):
    """The gated sum of ReLU, PReLU and tanh of a feature, divided by their number (Sec. 3.1).

    Args:
        channels: C, the number of channels.
        kinds: the activations, from ACTIVATIONS.
        each: True for one gate per channel and activation, False for one gate per channel.
        rate: as for Gate.
    """

    def __init__(self, channels: int, kinds: Sequence[str], each: bool = True, rate: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kinds = kinds
        self.gate = Gate(channels, len(kinds) if each else 1, rate, name="gate")

    def build(self, input_shape: Shape) -> None:
        self.gate.build()
        if "prelu" in self.kinds:
            quarter = keras.initializers.Constant(0.25)
            self.alpha = self.add_weight(shape=input_shape[-1:], initializer=quarter, constraint=at_most_one, name="alpha")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        gates = ops.cast(self.gate.open(), x.dtype) / len(self.kinds)
        gates = ops.broadcast_to(gates, (gates.shape[0], len(self.kinds)))
        gate = {kind: gates[:, index] for index, kind in enumerate(self.kinds)}
        positive, y = gate.get("relu", 0.0), 0.0
        if "prelu" in gate:  # alpha * x + (1 - alpha) * relu(x)
            positive = positive + gate["prelu"] * (1 - self.alpha)
            y = x * (gate["prelu"] * self.alpha)
        if "relu" in gate or "prelu" in gate:
            y = y + ops.relu(x) * positive
        return y + ops.tanh(x) * gate["tanh"] if "tanh" in gate else y


class GatedConvolution(keras.layers.Layer):
    """A 3x3 convolution with gates on its output channels: the first convolution and the body's last.

    Args:
        channels: number of output channels.
        rate: as for Gate.
    """

    def __init__(self, channels: int, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv = _conv(channels, 3, "conv")
        self.gate = Gate(channels, rate=rate, name="gate")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return self.gate(self.conv(x))


class SearchableBlock(keras.layers.Layer):
    """1x1 convolution, 3x3 convolution, activations, 3x3 convolution and skip (Fig. 1(d)): [N, H, W, C] -> [N, H, W, C].

    The block adds exactly 0 if one of its layers has no open channel.

    Args:
        channels: C, the number of channels.
        kinds: the activations, from ACTIVATIONS.
        pointwise: whether the block has the 1x1 convolution.
        search: one of SEARCHES.
        rate: as for Gate.
    """

    def __init__(self, channels: int, kinds: Sequence[str], pointwise: bool, search: str, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        others = 0.0 if search == "activations" else rate
        self.pointwise = _conv(channels, 1, "pointwise") if pointwise else None
        self.pointwise_gate = Gate(channels, rate=others, name="pointwise_gate") if pointwise else None
        self.conv1 = _conv(channels, 3, "conv1", initializer="he_normal")
        self.activation = MixedActivations(channels, kinds, search != "channels", rate, name="activation")
        self.conv2 = _conv(channels, 3, "conv2")
        self.residual_gate = Gate(channels, rate=others, name="residual_gate")

    def build(self, input_shape: Shape) -> None:
        for layer in (self.pointwise, self.pointwise_gate, self.conv1, self.activation, self.conv2, self.residual_gate):
            if layer is not None:
                layer.build(input_shape)

    def gates(self) -> dict[str, Gate]:
        """Returns {name of the gated layer: Gate}."""
        gates = {} if self.pointwise_gate is None else {"pointwise": self.pointwise_gate}
        return gates | {"activation": self.activation.gate, "residual": self.residual_gate}

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        y = x
        if self.pointwise is not None and self.pointwise_gate is not None:
            y = self.pointwise_gate(self.pointwise(y))
        y = self.conv2(self.activation(self.conv1(y)))
        return x + self.residual_gate(y, _survives(gate.open() for gate in self.gates().values()))


def _survives(layers: Iterable[keras.KerasTensor]) -> float | keras.KerasTensor:
    """1 if each layer of a block has an open channel, otherwise 0, without a gradient. `layers` are gates of 0 and 1."""
    result = 1.0
    for values in layers:
        result = result * ops.stop_gradient(ops.max(values))
    return result


class Resources(keras.layers.Layer):
    """Adds lambda * cost to the loss (Eq. 2) and adapts lambda until the cost meets the budget. Returns its input unchanged.

    With a budget, the target of the cost falls linearly from 1 to the budget between 10 % and 60 % of the steps. In each step
    lambda grows if the cost is above the target and shrinks if it is below, by at most 40 / steps and at most 2 %. This is
    slower than psi can move: a lambda that grows too fast closes gates regardless of their value.

    Args:
        cost: function that returns the current cost as a fraction of the full supernet's cost.
        weight: initial lambda.
        budget: fraction of the full supernet's cost, None for a constant lambda.
        steps: number of training steps.
    """

    def __init__(
        self, cost: Callable[[], keras.KerasTensor], weight: float, budget: float | None, steps: int, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._cost, self._budget, self._steps = cost, budget, steps
        state = {"trainable": False, "dtype": "float32", "autocast": False}
        self.weight = self.add_weight(shape=(), initializer=keras.initializers.Constant(weight), name="lambda", **state)
        self.step = self.add_weight(shape=(), initializer="zeros", name="step", **state)

    def call(self, sr: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        cost = self._cost()
        if training and self._budget is not None:
            first, last = (share * self._steps for share in _RAMP)
            done = ops.clip((self.step - first) / (last - first), 0.0, 1.0)
            target = 1 + (0.98 * self._budget - 1) * done  # slightly below the budget, to meet it
            miss = ops.clip((ops.stop_gradient(cost) / target - 1) / _SOFT, -1.0, 1.0)
            speed = min(_LAMBDA_SPEED[0] / self._steps, _LAMBDA_SPEED[1])
            self.weight.assign(ops.clip(self.weight * (1 + speed * miss), 1e-6, 1e2))
            self.step.assign(self.step + 1)
        self.add_loss(self.weight * cost)
        return sr


def _conv(channels: int, size: int, name: str, initializer: str = "glorot_uniform") -> keras.layers.Conv2D:
    return keras.layers.Conv2D(channels, size, padding="same", kernel_initializer=initializer, name=name)


def build(
    scale: int = 2,
    output_activation: str = "clipped_relu",
    blocks: int = 16,
    channels: int = 64,
    activations: Sequence[str] = ACTIVATIONS,
    pointwise: bool = True,
    search: str = "both",
    gate_rate: float = 1.0,
    cost: str | Mapping[str, Any] = "multiply_adds",
    weight: float = 1e-3,
    budget: float | None = None,
    steps: int = 1,
) -> keras.Model:
    """The supernet as a functional Keras model.

    Args:
        scale: positive int.
        output_activation: 'clipped_relu' or 'linear'.
        blocks: n, the number of blocks; 16, 32 and 64 for the paper's S, M and L.
        channels: C, the number of channels in every layer; 64 in the paper.
        activations: one or more of ACTIVATIONS.
        pointwise: whether blocks have 1x1 convolutions (Table 5).
        search: 'both', 'channels' (one gate for a sum of activations) or 'activations' (no other gates and no cost); Table 4.
        gate_rate: factor by which psi moves farther than other weights in a step.
        cost: one of fgnas_costs.KINDS, or a latency table.
        weight: lambda; the initial lambda if there is a budget.
        budget: fraction of the full supernet's cost, None for a constant lambda.
        steps: number of training steps.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an unknown output_activation, search, activation or cost, or for activations without a figure in the
        cost 'arm64'.
    """
    check_output_activation(output_activation)
    if search not in SEARCHES:
        raise ValueError(f"search must be one of {SEARCHES}, got {search!r}")
    if not activations or set(activations) - set(ACTIVATIONS):
        raise ValueError(f"activations must be some of {ACTIVATIONS}, got {activations!r}")
    kinds = tuple(kind for kind in ACTIVATIONS if kind in activations)
    rate = 0.0 if search == "activations" else gate_rate
    lr = keras.Input((None, None, 3), name="lr")
    features = x = GatedConvolution(channels, rate, name="head")(lr)
    for index in range(blocks):
        x = SearchableBlock(channels, kinds, pointwise, search, gate_rate, name=f"block{index + 1}")(x)
    x = keras.layers.Add(name="skip")([GatedConvolution(channels, rate, name="tail")(x), features])
    x = keras.layers.Conv2D(3 * scale**2, 3, padding="same", bias_initializer=GRAY, name="last")(x)
    sr = DepthToSpace(scale, name="pixels")(x)
    sr = ClippedReLU(name="sr")(sr) if output_activation == "clipped_relu" else sr
    measured = fgnas_costs.Cost(cost)
    if rate:

        def total(model: keras.Model, full: bool) -> Number:
            return measured.total(operators(model, full, measured.executed))

        sr = priced(lr, sr, total, weight, budget, steps)
    return keras.Model(lr, sr, name=f"fgnas_supernet_x{scale}")


def priced(
    lr: keras.KerasTensor,
    sr: keras.KerasTensor,
    total: Callable[[keras.Model, bool], Number],
    weight: float,
    budget: float | None,
    steps: int,
) -> keras.KerasTensor:
    """Returns the output `sr` of a supernet of `lr` with its cost added to the loss.

    Args:
        total: function of the supernet that returns its cost, or with True that with all gates open.
        weight, budget, steps: as for `build`.
    """
    model = keras.Model(lr, sr)
    full = total(model, True)
    cost = Resources(lambda: total(model, False) / full, weight, budget, steps, dtype="float32", name="resources")
    return cost(sr)


def operators(model: keras.Model, full: bool = False, executed: bool = False) -> list[Operator]:
    """Lists the supernet's operators at LR size as (operator, input channels, output channels), differentiably.

    Operators are 'conv3x3', 'conv1x1', 'relu', 'prelu', 'tanh', 'add' and, if `executed`, 'depth_to_space'. The input channels
    of a layer after a skip are the union of both branches (Sec. 3.2.4). The input channels of 'prelu' are those with a slope,
    its output channels all that pass through it.

    Args:
        model: the supernet.
        full: return the numbers with all gates open, as Python floats.
        executed: count as the exported network runs: the convolution of a residual computes all channels of the trunk, and a
            vanished block costs nothing. Otherwise count as in Eq. 3.
    Returns: a list of (name, float or scalar tensor, float or scalar tensor).
    """

    def openings(gate: Gate) -> keras.KerasTensor:
        return ops.ones(gate.shape) if full else gate.open()

    def count(vector: keras.KerasTensor) -> Number:
        total = ops.sum(vector)
        return float(total) if full else total

    def union(*vectors: keras.KerasTensor) -> keras.KerasTensor:
        return alive(ops.stack(vectors, axis=-1))

    def residual(inputs: Number, own: keras.KerasTensor, trunk: keras.KerasTensor, survives: Number = 1.0) -> list[Operator]:
        """The convolution and the addition at the end of a block or the body."""
        width = count(trunk) * survives
        return [("conv3x3", inputs, width if executed else count(own)), ("add", width, width)]

    def activations(gates: dict[str, keras.KerasTensor]) -> list[Operator]:
        """A layer's activations. PReLU includes the ReLU; a separate ReLU exists only together with tanh and without PReLU."""
        channels: dict[str, Any] = {kind: count(vector) for kind, vector in gates.items()}
        result = [("tanh", channels["tanh"], channels["tanh"])] if "tanh" in channels else []
        if "prelu" in channels:
            prelu = channels["prelu"]
            either = count(union(*(gates[kind] for kind in ("relu", "prelu") if kind in gates)))
            result.append(("prelu", prelu, prelu * ops.stop_gradient(either / ops.maximum(prelu, 1.0))))
        if "relu" in channels and "tanh" in channels:
            separate = channels["relu"] * ops.stop_gradient(
                ops.minimum(channels["tanh"], 1.0) * (1.0 - ops.minimum(channels.get("prelu", 0.0), 1.0))
            )
            result.append(("relu", separate, separate))
        return result

    head, tail, last = (model.get_layer(name) for name in ("head", "tail", "last"))
    first = trunk = alive(openings(head.gate))
    result: list[Operator] = [("conv3x3", 3.0, count(first))]
    for block in searchable_blocks(model):
        gates = {name: openings(gate) for name, gate in block.gates().items()}
        inner = {name: alive(values) for name, values in gates.items()}
        survives: Number = 1.0
        if executed:  # the exported network has no vanished blocks
            survives = _survives(inner.values())
            gates, inner = ({name: values * survives for name, values in d.items()} for d in (gates, inner))
        before = count(trunk)
        if "pointwise" in inner:
            result.append(("conv1x1", before, count(inner["pointwise"])))
            before = count(inner["pointwise"])
        mixed = count(inner["activation"])
        result.append(("conv3x3", before, mixed))
        kinds = block.activation.kinds
        each = ops.broadcast_to(gates["activation"], (block.activation.gate.shape[0], len(kinds)))
        result += activations({kind: each[:, index] for index, kind in enumerate(kinds)})
        trunk = union(trunk, inner["residual"])
        result += residual(mixed, inner["residual"], trunk, survives)
    body = alive(openings(tail.gate))
    out = union(first, body)
    result += residual(count(trunk), body, out)
    result.append(("conv3x3", count(out), float(last.filters)))
    return [*result, ("depth_to_space", float(last.filters), float(last.filters))] if executed else result


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of 3x3 convolutions on the longest path."""
    return 2 * config["blocks"] + 3


def searchable_blocks(model: keras.Model) -> list[SearchableBlock]:
    """Returns the model's SearchableBlocks in order."""
    return [layer for layer in model.layers if isinstance(layer, SearchableBlock)]
