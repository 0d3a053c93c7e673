"""Training branches: 3x3 convolutions whose kernel is a sum of linear branches, and plain again after the training.

Papers: Zhang, Zeng and Zhang, "Edge-oriented Convolution Block for Real-time Super Resolution on Mobile Devices", ACM MM
2021 (`ecb`); Du et al., "Fast and Memory-Efficient Network Towards Efficient Image Super-Resolution", CVPRW 2022, its
residual-in-residual re-parameterizable block (`rep`). Both run every branch on the features while they train, and merge the
branches' kernels at the end. Here the kernels are merged in every step, so that one convolution runs and what is exported is
what was trained. docs/reference/training.md has the formulas, the start and what else differs from the papers.
"""

import keras
import numpy as np
from keras import ops

from mobile_sr.models.layers import GroupedConv2D

KINDS = ("ecb", "rep")
RATIO = 2  # how much wider than the narrower of its ends a branch is inside; both papers' nets use 2
# Sobel across, Sobel down, Laplacian (Zhang et al. 2021), [3, 3, 3].
EDGES = np.array(
    [[[1, 0, -1], [2, 0, -2], [1, 0, -1]], [[1, 2, 1], [0, 0, 0], [-1, -2, -1]], [[0, 1, 0], [1, -4, 1], [0, 1, 0]]], np.float32
)


class Branched:
    """What makes a layer with a kernel [3, 3, C_in / groups, filters] a branched one: the first base of such a class.

    The variable named `kernel` is the plain 3x3 branch. Inside group g, with i inputs, m middle and o output channels:

        ecb: expand[g, i, m] then squeeze[g, m, 3, 3, o]; edges[e, i, filters] * edge_scales[e, 1, filters], one 1x1 before
            each of EDGES
        rep: expand[g, i, m], then inner[g, m, 3, 3, m] with a skip around it, then reduce[g, m, o]

    The last factor of each product starts at 0. The bias is the layer's one bias: biases inside of the branches would only
    add to it, as both papers' code pads their middle channels with that very bias.

    Args:
        branches: 'ecb' or 'rep'; the others as for the layer.
    """

    def __init__(self, *args, branches, **kwargs):
        super().__init__(*args, **kwargs)
        self.branches = _known(branches)

    def add_weight(self, *args, **kwargs):
        # The branches are summed in float32 whatever the layer calculates in; only the sum is cast.
        return super().add_weight(*args, **{"autocast": kwargs.get("name") == "bias", **kwargs})

    def build(self, input_shape):
        super().build(input_shape)
        inputs, outputs = self._kernel.shape[2], self.filters // self.groups
        middle = RATIO * min(inputs, outputs)

        def factor(name, shape, variance=0.0):
            return self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(0.0, variance**0.5), name=name)

        self.expand = factor("expand", (self.groups, inputs, middle), 1 / inputs)
        if self.branches == "ecb":
            self.squeeze = factor("squeeze", (self.groups, middle, 3, 3, outputs))
            self.edges = factor("edges", (len(EDGES), inputs, self.filters), 1 / inputs)
            self.edge_scales = factor("edge_scales", (len(EDGES), 1, self.filters))
        else:
            self.inner = factor("inner", (self.groups, middle, 3, 3, middle), 1 / (9 * middle))
            self.reduce = factor("reduce", (self.groups, middle, outputs))

    @property
    def kernel(self):
        """[3, 3, C_in / groups, filters]: the sum of all branches, in the dtype that the layer calculates in."""
        return ops.cast(self.merged(), self.compute_dtype)

    @kernel.setter
    def kernel(self, variable):  # GroupedConv2D sets it, keras.layers.Conv2D has its own property
        self._kernel = variable

    def merged(self):
        """The same in float32: the kernel of the plain layer that this one is."""
        if self.branches == "ecb":
            product = ops.einsum("gim,gmhwo->hwigo", self.expand, self.squeeze)
            product = ops.reshape(product, self._kernel.shape)
            return self._kernel + product + ops.einsum("ehw,eif->hwif", EDGES, self.edges * self.edge_scales)
        product = ops.einsum("gim,gmhwn->ghwin", self.expand, self.inner + _skip(self.inner.shape[1]))
        product = ops.einsum("ghwin,gno->hwigo", product, self.reduce)
        return self._kernel + ops.reshape(product, self._kernel.shape)

    def get_config(self):
        return {**super().get_config(), "branches": self.branches}


def _known(kind):
    if kind not in KINDS:
        raise ValueError(f"branches must be one of {KINDS}, got {kind!r}")
    return kind


def _skip(channels):
    """[m, 3, 3, m] float32, the 3x3 kernel that leaves everything as it is."""
    kernel = np.zeros((channels, 3, 3, channels), np.float32)
    kernel[:, 1, 1] = np.eye(channels)
    return kernel


@keras.saving.register_keras_serializable("mobile_sr")
class BranchedConv2D(Branched, keras.layers.Conv2D):
    """keras.layers.Conv2D(kernel_size=3) with branches."""


@keras.saving.register_keras_serializable("mobile_sr")
class BranchedGroupedConv2D(Branched, GroupedConv2D):
    """GroupedConv2D(kernel_size=3) with branches, which stay inside of their groups."""


_BRANCHED = {keras.layers.Conv2D: BranchedConv2D, GroupedConv2D: BranchedGroupedConv2D}


def branched(model, kind):
    """The same network, with the same weights and outputs, whose 3x3 convolutions have branches.

    Layers of other kernel sizes, depthwise and transposed ones and those inside of other layers stay as they are.

    Args:
        model: a functional keras.Model. kind: one of KINDS.
    Raises: ValueError when there is no such kind, or no 3x3 convolution.
    """
    _known(kind)

    def clone(layer):
        config, layer_type = layer.get_config(), type(layer)
        if layer_type in _BRANCHED and config["kernel_size"] in (3, (3, 3)):
            return _BRANCHED[layer_type].from_config({**config, "branches": kind})
        return layer_type.from_config(config)

    result = keras.models.clone_model(model, clone_function=clone)
    if not any(isinstance(layer, Branched) for layer in result.layers):
        raise ValueError("no 3x3 convolution that could have branches")
    given = {v.path: v for v in model.variables}
    for variable in result.variables:
        if variable.path in given:
            variable.assign(given[variable.path])
    return result


def collapse(model, plain):
    """Give `plain`, the network that `branched` made `model` of, the weights with which it has the same outputs as `model`."""
    values = {v.path: v for v in model.variables}
    values |= {layer._kernel.path: layer.merged() for layer in model.layers if isinstance(layer, Branched)}
    for variable in plain.variables:
        variable.assign(values[variable.path])
