"""The networks of description.py in tf_keras: float, or fake-quantized by tfmot's wrappers. For the child process only."""

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

from mobile_sr.qat.quantizers import FixedQuantizer, KernelQuantizer, LayerConfig, RangeQuantizer, SlopeQuantizer

_UNIT = (0.0, 1.0)
_TANH = (-1.0, 127 / 128)  # what TFLite prescribes for the output of an int8 TANH: scale 1/128, zero point 0


class PReLU(tf_keras.layers.Layer):
    """models/layers.py's PReLU, x + relu(x * (alpha - 1)), whose product can be quantized as an activation."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.bend = tf_keras.activations.relu
        self.slope = tf.identity  # quantizes alpha - 1, the constant of the file

    def build(self, input_shape):
        self.alpha = self.add_weight("alpha", shape=(input_shape[-1],), initializer="zeros")

    def call(self, x):
        return x + self.bend(x * self.slope(self.alpha - 1.0))


class DepthToSpace(tf_keras.layers.Layer):
    """[N, H, W, C * s * s] -> [N, H * s, W * s, C]; tf_keras has none."""

    def __init__(self, block, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def call(self, x):
        return tf.nn.depth_to_space(x, self.block)


class Net:
    """A tf_keras model of a description, and its variables by the description's names.

    Attributes:
        model: tf_keras.Model, [N, H, W, 3] float32 in 0..1 -> [N, H * s, W * s, 3].
        variables: {'node/what': variable}. ranges: the variables of the activations' ranges, in the order of the net.
    """

    def __init__(self, nodes, arrays, *, grouped=True, quantized=False, per_tensor=False, ranges="fixed"):
        """Build it and set its weights.

        Args:
            nodes, arrays: see description.py.
            grouped: one grouped convolution for a grouped convolution (for inference and export); else an ordinary one with
                a block-diagonal kernel, because TensorFlow's gradient of the former takes minutes on CPUs.
            quantized: with fake quantization; the clip is then the 0..1 of the output's quantizer.
            per_tensor: of the kernels. ranges: 'learned', 'moving' or 'fixed', see quantizers.RangeQuantizer.
        """
        self.nodes, self.grouped, self.quantized = nodes, grouped, quantized
        self.per_tensor, self.how = per_tensor, ranges
        self.variables, self.ranges = {}, []
        self._readers = {n["name"]: [r for r in nodes if n["name"] in r["inputs"]] for n in nodes}
        values = {}
        for node in nodes:
            values[node["name"]] = self._apply(node, [values[name] for name in node["inputs"]], arrays)
        self.model = tf_keras.Model(self._input, values[nodes[-1]["name"]])
        self.set(arrays)

    def get(self):
        """The weights as arrays of the description."""
        return {name: self._compact(name, variable.numpy()) for name, variable in self.variables.items()}

    def set(self, arrays):
        """Set the weights from arrays of the description."""
        for name, variable in self.variables.items():
            variable.assign(self._expand(name, arrays[name]))

    def get_ranges(self):
        return [variable.numpy() for variable in self.ranges]

    def set_ranges(self, values):
        for variable, value in zip(self.ranges, values, strict=True):
            variable.assign(value)

    def named_ranges(self):
        """{tensor's name: [low, high]}."""
        values = [float(v) for v in self.get_ranges()]
        names = [v.name.split(":")[0].removesuffix("_min").removeprefix("quant_") for v in self.ranges[::2]]
        return dict(zip(names, zip(values[::2], values[1::2], strict=True), strict=True))

    def gradient_rules(self, arrays):
        """{'node/what': function of the gradient}: keeps zeros zero and tied biases equal, exactly."""
        rules = {}
        for node in self.nodes:
            name, period = node["name"], node.get("bias_period")
            if node.get("zeros"):
                rules[f"{name}/kernel"] = _masked(arrays[f"{name}/mask"])
            elif node.get("groups", 1) > 1 and not self.grouped:
                rules[f"{name}/kernel"] = _masked(self._expand(f"{name}/kernel", np.ones_like(arrays[f"{name}/kernel"])))
            if period:
                rules[f"{name}/bias"] = _tied(period)
        return rules

    def _apply(self, node, inputs, arrays):
        name, kind = node["name"], node["kind"]
        if kind == "input":
            self._input = tf_keras.Input((None, None, 3), name=name)
            return QuantizeLayer(FixedQuantizer(*_UNIT))(self._input) if self.quantized else self._input
        if kind == "conv":
            return self._conv(node, inputs[0], arrays[f"{name}/kernel"])
        if kind == "prelu":
            layer = PReLU(name=name)
            config = LayerConfig({}, {"bend": self._range(True)}, self._range(False))
            if self.quantized:
                layer.slope = lambda alpha: SlopeQuantizer()(alpha, False, {})
            x = self._wrap(layer, config, inputs[0])
            self.variables[f"{name}/alpha"] = layer.alpha
            return x
        if kind == "clip":
            return inputs[0] if self.quantized else tf_keras.layers.ReLU(max_value=1.0, name=name)(inputs[0])
        if kind == "depth_to_space":
            return self._wrap(DepthToSpace(node["block"], name=name), LayerConfig(output=self._output(node, False)), inputs[0])
        if kind == "concat":
            return self._wrap(tf_keras.layers.Concatenate(name=name), LayerConfig(output=self._output(node, False)), inputs)
        raise ValueError(f"node {name}: unknown kind {kind!r}")

    def _conv(self, node, x, kernel):
        name, activation = node["name"], node["activation"]
        fused = None if activation == "tanh" else activation
        layer = tf_keras.layers.Conv2D(
            kernel.shape[-1],
            kernel.shape[:2],
            padding="same",
            groups=node["groups"] if self.grouped else 1,
            activation=fused,
            name=name,
        )
        layer.build(x.shape)
        self.variables.update({f"{name}/kernel": layer.kernel, f"{name}/bias": layer.bias})
        output = self._range(False) if activation == "tanh" else self._output(node, activation == "relu")
        x = self._wrap(layer, LayerConfig({"kernel": KernelQuantizer(self.per_tensor)}, {}, output), x)
        if activation == "tanh":
            layer = tf_keras.layers.Activation("tanh", name=f"{name}_tanh")
            x = self._wrap(layer, LayerConfig(output=FixedQuantizer(*_TANH)), x)
        return x

    def _output(self, node, positive):
        """The quantizer of a node's output; None where TFLite has the tensor share the scale of the one made from it."""
        readers = self._readers[node["name"]]
        if not readers:
            clipped = any(n["kind"] == "clip" for n in self.nodes)
            return FixedQuantizer(*_UNIT) if clipped else self._range(False)
        if any(r["kind"] in ("concat", "clip", "depth_to_space") for r in readers):
            return None
        return self._range(positive)

    def _range(self, positive):
        return RangeQuantizer(self.how, positive)

    def _wrap(self, layer, config, x):
        if not self.quantized:
            return layer(x)
        wrapper = QuantizeWrapperV2(layer, config)
        y = wrapper(x)
        ends = [v for v in wrapper.weights if v.name.split(":")[0].endswith(("_min", "_max"))]
        self.ranges += sorted(ends, key=lambda v: v.name, reverse=True)  # NAME_min before NAME_max, trainable or not
        return y

    def _expand(self, name, value):
        """A description's array in this net's form: grouped kernels become block-diagonal ones."""
        groups = self._groups(name)
        if groups == 1:
            return value
        rows, columns = value.shape[2], value.shape[3] // groups
        dense = np.zeros((*value.shape[:2], rows * groups, columns * groups), np.float32)
        for g in range(groups):
            part = slice(g * columns, (g + 1) * columns)
            dense[:, :, g * rows : (g + 1) * rows, part] = value[..., part]
        return dense

    def _compact(self, name, value):
        """The inverse of _expand."""
        groups = self._groups(name)
        if groups == 1:
            return value
        rows, columns = value.shape[2] // groups, value.shape[3] // groups
        parts = [value[:, :, g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] for g in range(groups)]
        return np.concatenate(parts, axis=-1)

    def _groups(self, name):
        """How many blocks the named array's kernel has here."""
        node, what = name.rsplit("/", 1)
        if self.grouped or what != "kernel":
            return 1
        return next(n for n in self.nodes if n["name"] == node)["groups"]


def _masked(mask):
    mask = tf.constant(mask, tf.float32)
    return lambda gradient: gradient * mask


def _tied(period):
    def tie(gradient):
        mean = tf.reduce_mean(tf.reshape(gradient, (-1, period)), axis=0)
        return tf.tile(mean, [gradient.shape[0] // period])

    return tie
