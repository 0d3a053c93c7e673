"""FGNAS's supernet: a network whose channels and activations have gates that are trained with the weights.

Paper: Kim et al., "Fine-Grained Neural Architecture Search for Image Super-Resolution", JVCIR 2022, Table 1, Fig. 1(d) and
Eqs. 1 to 4. converters/fgnas_compact.py cuts the gated-off channels out of it; models/nas/fgnas.py is what remains.

Units: psi has none; a gate is open where psi > 0.5, and psi starts uniform in PSI_START (the paper gives no start). Costs and
budgets are shares of the full supernet's cost, 0..1, which `weight` (lambda) multiplies; images are in 0..1.
"""

import keras
from keras import ops

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, at_most_one, check_output_activation
from mobile_sr.models.nas import fgnas_costs

ACTIVATIONS = ("relu", "prelu", "tanh")
SEARCHES = ("both", "channels", "activations")
PSI_START = (0.6, 1.4)
_RAMP = 0.1, 0.6  # shares of the steps between which the target falls from 1 to the budget
_LAMBDA_SPEED = 40, 0.02  # by which factor lambda grows or shrinks in all steps together, and in a step, at most
_SOFT = 0.02  # relative miss of the target at which it does so in full


def straight_through(psi):
    """Eq. 1: forward 1[psi > 0.5], backward sigmoid(psi). Any shape; exactly 0 or 1."""
    soft = ops.sigmoid(psi)
    return ops.cast(psi > 0.5, "float32") + (soft - ops.stop_gradient(soft))


def alive(gates):
    """Eq. 4: [C, M] gates of C channels' sub-features -> [C]: forward 1[sum >= 1], backward the sum."""
    total = ops.sum(gates, axis=-1)
    return ops.cast(total >= 1, "float32") + (total - ops.stop_gradient(total))


class Gate(keras.layers.Layer):
    """[N, H, W, C] times one gate per channel. `open` is [C] or [C, M] tensors of `straight_through`.

    Args:
        channels, features: C and M; `rate`: how many times farther than other weights psi moves in a step of Adam, which
            is why psi / rate is what is stored; 0: no psi, every gate is open.
    """

    def __init__(self, channels, features=1, rate=1.0, **kwargs):
        super().__init__(**kwargs)
        self.shape, self.rate = (channels, features), rate

    def build(self, input_shape=None):
        if self.rate:
            start = keras.initializers.RandomUniform(*(psi / self.rate for psi in PSI_START))
            self.stored = self.add_weight(shape=self.shape, initializer=start, dtype="float32", autocast=False, name="psi")
        self.built = True

    @property
    def psi(self):
        """[C, M] float32."""
        return self.stored * self.rate

    def open(self):
        """[C, M] float32."""
        return straight_through(self.psi) if self.rate else ops.ones(self.shape)

    def call(self, x, survives=1.0):
        return x * (ops.cast(self.open()[:, 0], x.dtype) * ops.cast(survives, x.dtype))


class MixedActivations(keras.layers.Layer):
    """The sum of a feature's ReLU, PReLU and tanh, each gated for every channel, divided by their number (Sec. 3.1).

    Args:
        channels: C. kinds: of ACTIVATIONS. each: False has one gate for each channel's sum instead. rate: Gate's.
    """

    def __init__(self, channels, kinds, each=True, rate=1.0, **kwargs):
        super().__init__(**kwargs)
        self.kinds = kinds
        self.gate = Gate(channels, len(kinds) if each else 1, rate, name="gate")

    def build(self, input_shape):
        self.gate.build()
        if "prelu" in self.kinds:
            quarter = keras.initializers.Constant(0.25)
            self.alpha = self.add_weight(shape=input_shape[-1:], initializer=quarter, constraint=at_most_one, name="alpha")

    def call(self, x):
        gates = ops.cast(self.gate.open(), x.dtype) / len(self.kinds)
        gates = ops.broadcast_to(gates, (gates.shape[0], len(self.kinds)))
        of = {kind: gates[:, place] for place, kind in enumerate(self.kinds)}
        positive, y = of.get("relu", 0.0), 0.0
        if "prelu" in of:  # alpha * x + (1 - alpha) * relu(x)
            positive = positive + of["prelu"] * (1 - self.alpha)
            y = x * (of["prelu"] * self.alpha)
        if "relu" in of or "prelu" in of:
            y = y + ops.relu(x) * positive
        return y + ops.tanh(x) * of["tanh"] if "tanh" in of else y


class GatedConvolution(keras.layers.Layer):
    """A convolution whose output channels have gates: the first and the body's last one."""

    def __init__(self, channels, rate, **kwargs):
        super().__init__(**kwargs)
        self.conv = _conv(channels, 3, "conv")
        self.gate = Gate(channels, rate=rate, name="gate")

    def call(self, x):
        return self.gate(self.conv(x))


class SearchableBlock(keras.layers.Layer):
    """1x1 convolution, 3x3 convolution, activations, 3x3 convolution, skip (Fig. 1(d)); [N, H, W, C] -> the same.

    Where one of its layers has no open channel the block adds exactly nothing.
    """

    def __init__(self, channels, kinds, pointwise, search, rate, **kwargs):
        super().__init__(**kwargs)
        others = 0.0 if search == "activations" else rate
        self.pointwise = _conv(channels, 1, "pointwise") if pointwise else None
        self.pointwise_gate = Gate(channels, rate=others, name="pointwise_gate") if pointwise else None
        self.conv1 = _conv(channels, 3, "conv1", initializer="he_normal")
        self.activation = MixedActivations(channels, kinds, search != "channels", rate, name="activation")
        self.conv2 = _conv(channels, 3, "conv2")
        self.residual_gate = Gate(channels, rate=others, name="residual_gate")

    def build(self, input_shape):
        for layer in (self.pointwise, self.pointwise_gate, self.conv1, self.activation, self.conv2, self.residual_gate):
            if layer is not None:
                layer.build(input_shape)

    def gates(self):
        """The block's Gates, {name of the layer whose output they gate: Gate}."""
        found = {"pointwise": self.pointwise_gate} if self.pointwise else {}
        return found | {"activation": self.activation.gate, "residual": self.residual_gate}

    def call(self, x):
        y = self.pointwise_gate(self.pointwise(x)) if self.pointwise else x
        y = self.conv2(self.activation(self.conv1(y)))
        return x + self.residual_gate(y, _survives(gate.open() for gate in self.gates().values()))


def _survives(layers):
    """1 when each of a block's layers, tensors of 0 and 1, has an open channel, else 0; without a gradient."""
    found = 1.0
    for values in layers:
        found = found * ops.stop_gradient(ops.max(values))
    return found


class Resources(keras.layers.Layer):
    """Adds lambda * cost to the loss (Eq. 2) and steers lambda until the cost meets its budget; the picture passes through.

    With a budget the cost's target falls linearly from 1 to it between a tenth and 60 % of the steps; at each step lambda grows
    where the cost is above the target and shrinks where it is below, by up to 40 / steps and 2 %. Slower than psi may move:
    a lambda that runs ahead closes gates whatever they are worth.
    """

    def __init__(self, cost, weight, budget, steps, **kwargs):
        super().__init__(**kwargs)
        self._cost, self._budget, self._steps = cost, budget, steps
        state = {"trainable": False, "dtype": "float32", "autocast": False}
        self.weight = self.add_weight(shape=(), initializer=keras.initializers.Constant(weight), name="lambda", **state)
        self.step = self.add_weight(shape=(), initializer="zeros", name="step", **state)

    def call(self, sr, training=False):
        cost = self._cost()
        if training and self._budget is not None:
            first, last = (share * self._steps for share in _RAMP)
            done = ops.clip((self.step - first) / (last - first), 0.0, 1.0)
            target = 1 + (0.98 * self._budget - 1) * done  # a little below, so that it is met
            miss = ops.clip((ops.stop_gradient(cost) / target - 1) / _SOFT, -1.0, 1.0)
            speed = min(_LAMBDA_SPEED[0] / self._steps, _LAMBDA_SPEED[1])
            self.weight.assign(ops.clip(self.weight * (1 + speed * miss), 1e-6, 1e2))
            self.step.assign(self.step + 1)
        self.add_loss(self.weight * cost)
        return sr


def _conv(channels, size, name, initializer="glorot_uniform"):
    return keras.layers.Conv2D(channels, size, padding="same", kernel_initializer=initializer, name=name)


def build(
    scale=2,
    output_activation="clipped_relu",
    blocks=16,
    channels=64,
    activations=ACTIVATIONS,
    pointwise=True,
    search="both",
    gate_rate=1.0,
    cost="multiply_adds",
    weight=1e-3,
    budget=None,
    steps=1,
):
    """The supernet as a functional Keras model.

    Args:
        blocks, channels: n and C; the paper's S, M and L have 16, 32 and 64 blocks of 64 channels.
        activations: of ACTIVATIONS.
        pointwise: False leaves the 1x1 convolutions out (Table 5).
        search: 'both', 'channels' (one gate for a sum of activations) or 'activations' (no others, no cost); Table 4.
        gate_rate: how many times farther than other weights psi moves in a step.
        cost: of fgnas_costs.KINDS, or a latency table.
        weight: lambda, at the start where there is a budget. budget: share of the full supernet's cost, None for none.
        steps: of the training.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for an argument that is none of the above.
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
        full = measured.total(operators(model := keras.Model(lr, sr), full=True, executed=measured.executed))
        sr = Resources(
            lambda: measured.total(operators(model, executed=measured.executed)) / full,
            weight,
            budget,
            steps,
            dtype="float32",
            name="resources",
        )(sr)
    return keras.Model(lr, sr, name=f"fgnas_supernet_x{scale}")


def operators(model, full=False, executed=False):
    """What an image costs: list of (operator, inputs, outputs) with differentiable float counts of channels, at LR size.

    Operators are 'conv3x3', 'conv1x1', 'relu', 'prelu', 'tanh' and 'add'. The inputs of a layer behind a skip are the union of
    both (Sec. 3.2.4); those of 'prelu' are the channels that have a slope, its outputs all that pass through it.
    Args:
        full: with all gates open, as numbers.
        executed: as the exported network runs them: a residual's convolution gives all of the trunk's channels, and a block
            that has vanished costs nothing. Otherwise as Eq. 3 counts them.
    """

    def openings(gate):
        return ops.ones(gate.shape) if full else gate.open()

    def count(vector):
        total = ops.sum(vector)
        return float(total) if full else total

    def union(*vectors):
        return alive(ops.stack(vectors, axis=-1))

    def residual(inputs, own, trunk, survives=1.0):
        """The convolution and the addition that end a block and the body."""
        width = count(trunk) * survives
        return [("conv3x3", inputs, width if executed else count(own)), ("add", width, width)]

    def bends(of):
        """A layer's activations: PReLU does ReLU's part with its own, and ReLU stands alone beside tanh only."""
        own = {kind: count(vector) for kind, vector in of.items()}
        found = [("tanh", own["tanh"], own["tanh"])] if "tanh" in own else []
        if "prelu" in own:
            both = count(union(*(of[kind] for kind in ("relu", "prelu") if kind in of)))
            found.append(("prelu", own["prelu"], own["prelu"] * ops.stop_gradient(both / ops.maximum(own["prelu"], 1.0))))
        if "relu" in own and "tanh" in own:
            alone = own["relu"] * ops.stop_gradient(
                ops.minimum(own["tanh"], 1.0) * (1.0 - ops.minimum(own.get("prelu", 0.0), 1.0))
            )
            found.append(("relu", alone, alone))
        return found

    head, tail, last = (model.get_layer(name) for name in ("head", "tail", "last"))
    first = trunk = alive(openings(head.gate))
    found = [("conv3x3", 3.0, count(first))]
    for block in searchable_blocks(model):
        gates = {name: openings(gate) for name, gate in block.gates().items()}
        inner = {name: alive(values) for name, values in gates.items()}
        survives = 1.0
        if executed:  # a block that has vanished is not in the exported network
            survives = _survives(inner.values())
            gates, inner = ({name: values * survives for name, values in of.items()} for of in (gates, inner))
        before = count(trunk)
        if "pointwise" in inner:
            found.append(("conv1x1", before, count(inner["pointwise"])))
            before = count(inner["pointwise"])
        mixed = count(inner["activation"])
        found.append(("conv3x3", before, mixed))
        kinds = block.activation.kinds
        each = ops.broadcast_to(gates["activation"], (block.activation.gate.shape[0], len(kinds)))
        of = {kind: each[:, place] for place, kind in enumerate(kinds)}
        found += bends(of)
        trunk = union(trunk, inner["residual"])
        found += residual(mixed, inner["residual"], trunk, survives)
    body = alive(openings(tail.gate))
    out = union(first, body)
    found += residual(count(trunk), body, out)
    found.append(("conv3x3", count(out), float(last.filters)))
    return found


def searchable_blocks(model):
    """The model's SearchableBlocks in order."""
    return [layer for layer in model.layers if isinstance(layer, SearchableBlock)]
