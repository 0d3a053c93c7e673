"""Training branches: convolutions with kernels that sum linear branches, collapsed to plain ones after training.

Papers: Zhang, Zeng and Zhang, "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices", ACM MM
2021 (`ecb`); Du et al., "Fast and Memory-Efficient Network Towards Efficient Image Super-Resolution", CVPRW 2022, its
residual-in-residual re-parameterizable block (`rep`); Bhardwaj et al., "Collapsible Linear Blocks for Super-Efficient Super
Resolution", MLSys 2022 (`clb`). The first two papers run every branch on the features during training and merge the kernels at
the end. Here, as in the third, the kernels are merged in every step: only one convolution runs, and the exported network is the
trained one. docs/reference/training.md has the formulas, the initialization and further differences from the papers.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import GroupedConv2D, Shape

KINDS = ("ecb", "rep", "clb")
RATIO = 2  # middle channels of a branch, as a multiple of the fewer of its input and output channels; 2 in both papers
WIDE = 256  # middle channels of a linear block of SESR (Bhardwaj et al. 2022)
# Horizontal Sobel, vertical Sobel, Laplacian (Zhang et al. 2021), [3, 3, 3].
EDGES = np.array(
    [[[1, 0, -1], [2, 0, -2], [1, 0, -1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]], [[0, 1, 0], [1, -4, 1], [0, 1, 0]]], np.float32
)


_Mixin: Any = object  # Any: its methods and attributes are those of the layer that Branched is mixed into


class Branched(_Mixin):
    """Mixin that adds branches to a layer with a kernel [k, k, C_in / groups, filters]; must be the first base class.

    k is 3 for `ecb` and `rep`, and any number for `clb`. The variable named `kernel` is the plain branch. Within group g, with
    i input, m middle and o output channels, the other branches are:

        ecb: expand[g, i, m] then squeeze[g, m, 3, 3, o]; edges[e, i, filters] * edge_scales[e, 1, filters], one 1x1 before
            each of EDGES
        rep: expand[g, i, m], then inner[g, m, 3, 3, m] with a skip around it, then reduce[g, m, o]
        clb: wide[g, k, k, i, m] for m = WIDE, then reduce[g, m, o]

    The last factor of each product starts at 0. The layer has a single bias. Biases inside of the branches would only add to
    it, because the code of both papers pads the middle channels with their bias.

    Args:
        args: arguments of the layer.
        branches: one of KINDS.
        kwargs: further arguments of the layer.
    Raises: ValueError for other branches.
    """

    def __init__(self, *args: Any, branches: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.branches = _known(branches)

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        # The branches are summed in float32 for every compute dtype; only the sum is cast.
        return super().add_weight(*args, **{"autocast": kwargs.get("name") == "bias", **kwargs})

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        inputs, outputs = self._kernel.shape[2], self.filters // self.groups
        middle = RATIO * min(inputs, outputs)

        def factor(name: str, shape: tuple[int, ...], variance: float = 0.0) -> keras.Variable:
            return self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(0.0, variance**0.5), name=name)

        if self.branches == "clb":
            side = self._kernel.shape[0]
            self.wide = factor("wide", (self.groups, side, side, inputs, WIDE), 1 / (side * side * inputs))
            self.reduce = factor("reduce", (self.groups, WIDE, outputs))
            return
        self.expand = factor("expand", (self.groups, inputs, middle), 1 / inputs)
        if self.branches == "ecb":
            self.squeeze = factor("squeeze", (self.groups, middle, 3, 3, outputs))
            self.edges = factor("edges", (len(EDGES), inputs, self.filters), 1 / inputs)
            self.edge_scales = factor("edge_scales", (len(EDGES), 1, self.filters))
        else:
            self.inner = factor("inner", (self.groups, middle, 3, 3, middle), 1 / (9 * middle))
            self.reduce = factor("reduce", (self.groups, middle, outputs))

    @property
    def kernel(self) -> keras.KerasTensor:
        """[k, k, C_in / groups, filters]: the sum of all branches, in the layer's compute dtype."""
        return ops.cast(self.merged(), self.compute_dtype)

    @kernel.setter
    def kernel(self, variable: keras.Variable) -> None:  # GroupedConv2D sets it, keras.layers.Conv2D has its own property
        self._kernel = variable

    def merged(self) -> keras.KerasTensor:
        """The sum of all branches in float32: the kernel of the equivalent plain layer."""
        if self.branches == "clb":
            product = ops.einsum("ghwim,gmo->hwigo", self.wide, self.reduce)
            return self._kernel + ops.reshape(product, self._kernel.shape)
        if self.branches == "ecb":
            product = ops.einsum("gim,gmhwo->hwigo", self.expand, self.squeeze)
            product = ops.reshape(product, self._kernel.shape)
            return self._kernel + product + ops.einsum("ehw,eif->hwif", EDGES, self.edges * self.edge_scales)
        product = ops.einsum("gim,gmhwn->ghwin", self.expand, self.inner + _skip(self.inner.shape[1]))
        product = ops.einsum("ghwin,gno->hwigo", product, self.reduce)
        return self._kernel + ops.reshape(product, self._kernel.shape)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "branches": self.branches}


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"branches must be one of {KINDS}, got {kind!r}")
    return kind


def _is_large(kernel_size: int | tuple[int, int], kind: str) -> bool:
    """Whether a convolution of this size has branches of this kind."""
    sides = {kernel_size} if isinstance(kernel_size, int) else set(kernel_size)
    return sides == {3} or (kind == "clb" and len(sides) == 1 and min(sides) > 1)


def _skip(channels: int) -> np.ndarray:
    """The identity as a 3x3 kernel, [m, 3, 3, m] float32."""
    kernel = np.zeros((channels, 3, 3, channels), np.float32)
    kernel[:, 1, 1] = np.eye(channels)
    return kernel


@keras.saving.register_keras_serializable("mobile_sr")
class BranchedConv2D(Branched, keras.layers.Conv2D):
    """keras.layers.Conv2D with branches."""


@keras.saving.register_keras_serializable("mobile_sr")
class BranchedGroupedConv2D(Branched, GroupedConv2D):
    """GroupedConv2D with branches within each group."""


_BRANCHED = {keras.layers.Conv2D: BranchedConv2D, GroupedConv2D: BranchedGroupedConv2D}


def branched(model: keras.Model, kind: str) -> keras.Model:
    """Returns a copy of a network with branches in its 3x3 convolutions, and with the same weights and outputs.

    With `clb`, larger convolutions have branches, too. Layers with other kernel sizes, depthwise and transposed convolutions
    and layers inside of other layers do not change.

    Args:
        model: a functional keras.Model.
        kind: one of KINDS.
    Raises: ValueError for another kind, or if the network has no 3x3 convolution.
    """
    _known(kind)

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config, layer_type = layer.get_config(), type(layer)
        if layer_type in _BRANCHED and _is_large(config["kernel_size"], kind):
            return _BRANCHED[layer_type].from_config({**config, "branches": kind})
        return layer_type.from_config(config)

    result = keras.models.clone_model(model, clone_function=clone)
    if not any(isinstance(layer, Branched) for layer in result.layers):
        raise ValueError(f"no 3x3 {'or larger ' if kind == 'clb' else ''}convolution that could have branches")
    values = {v.path: v for v in model.variables}
    for variable in result.variables:
        if variable.path in values:
            variable.assign(values[variable.path])
    return result


def collapse(model: keras.Model, plain: keras.Model) -> None:
    """Copies the merged weights of a branched network into the plain network, which then has the same outputs.

    Args:
        model: a network returned by `branched`.
        plain: the network that `branched` copied. Modified in place.
    """
    values = {v.path: v for v in model.variables}
    values |= {layer._kernel.path: layer.merged() for layer in model.layers if isinstance(layer, Branched)}
    for variable in plain.variables:
        variable.assign(values[variable.path])
