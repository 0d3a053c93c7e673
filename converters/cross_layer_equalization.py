"""Equalization: every channel of a tensor gets the same range, so that 8 bits serve all of them alike.

Between a convolution and the ones that read it, a channel may be scaled by any s > 0 when what lies between is positively
homogeneous (nothing, ReLU, PReLU, LeakyReLU, concatenation, addition, maxima, resizing, a product with a mask): the
producer's weights and bias are multiplied by s, the readers' input weights divided by it. And a channel may be shifted when
nothing non-linear lies between and all readers are 1x1 convolutions: their biases take the shift back (a larger kernel would
see the shift end at the picture's border). Either way the network's output stays what it was, up to float rounding.

Scaling is the idea of Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
Sec. 4.1, but with the ranges of the *activations*, measured on images: there these networks lose
(docs/measurements/quantization.md).
"""

import dataclasses

import numpy as np

from mobile_sr.converters.activations import activations

STRENGTH = 1.0  # chosen on DIV2K validation crops, docs/measurements/quantization.md
LARGEST = 64.0  # scale of a channel that is nearly always zero, so that its weights stay numbers to calculate with
_CONVOLUTIONS = ("Conv2D", "GroupedConv2D", "SubPixelConv2DTranspose", "SpreadConv2D", "DepthwiseConv2D")
_MOVES = ("ChannelRange", "MaxPooling2D", "ResizeLike", "EdgePad")  # commute with scale and shift; one range in and out


def equalize(model, images, strength=STRENGTH, center=True):
    """Equalize a functional Keras model.

    Args:
        model: of the layers of mobile_sr.models; it is left as it is.
        images: as for `activations`, in 0..1, on which the ranges are measured.
        strength: exponent of the scales, 0 (all 1) to 1 (equal ranges).
        center: shift channels so that their range is symmetric, where that is possible.
    Returns: (weights for model.set_weights, {layer name: {"largest_scale", "largest_shift"}} of the layers that changed).
    """
    graph = _Graph(model)
    lows, highs = graph.ranges(_ranges(model, graph.tensors, images))
    shift = np.zeros(lows.shape[1])
    if center:
        free = graph.shiftable()
        shift[free] = (lows.min(axis=0)[free] + highs.max(axis=0)[free]) / 2
    return _apply(model, graph, graph.scales(lows - shift, highs - shift, strength), shift)


def shared_ranges(model, images):
    """{layer name: (least, largest)} of the layers' outputs on images, 0 included; one range for what shares one in a .tflite.

    Args: as for `equalize`.
    """
    graph = _Graph(model)
    lows, highs = graph.ranges(_ranges(model, graph.tensors, images))
    pools = {name: _root(graph._pools, tensor.pool) for name, tensor in graph.tensors.items()}
    return {name: (min(0.0, lows[pool].min()), max(0.0, highs[pool].max())) for name, pool in pools.items()}


def _apply(model, graph, scale, shift):
    """`equalize`'s result for scale and shift of every atom; the shift is in the unit of the channel before it is scaled."""
    weights, record = [], {}
    for layer in model.layers:
        values = [np.array(w, np.float64) for w in layer.get_weights()]
        if layer.name in graph.inputs:
            kernel, *biases = values
            before = graph.atoms(graph.inputs[layer.name])
            if np.any(shift[before]):  # then it is a 1x1 convolution
                biases = [bias + shift[before] @ kernel[0, 0] for bias in biases]
            kernel = kernel / _on_inputs(layer, scale[before])
            if layer.name in graph.producers:
                own = graph.atoms(graph.producers[layer.name])
                of_outputs = scale[own][:, None] if type(layer).__name__ == "DepthwiseConv2D" else scale[own]
                kernel, biases = kernel * of_outputs, [(bias - shift[own]) * scale[own] for bias in biases]
                if np.any(scale[own] != 1) or np.any(shift[own]):
                    largest = float(np.abs(shift[own]).max())
                    record[layer.name] = {"largest_scale": float(scale[own].max()), "largest_shift": largest}
            values = [kernel, *biases]
        weights += [value.astype(np.float32) for value in values]
    return weights, record


def _on_inputs(layer, scale):
    """The scales [C_in] of a layer's input in a shape that broadcasts against its kernel."""
    if type(layer).__name__ == "SubPixelConv2DTranspose":  # [k, k, filters, C_in]
        return scale
    groups = getattr(layer, "groups", 1)
    if groups == 1:
        return scale[:, None]  # [k, k, C_in, C_out]
    per_group = scale.reshape(groups, -1)  # [groups, C_in / groups]; output channel o reads group o // (C_out / groups)
    return np.repeat(per_group, layer.kernel.shape[-1] // groups, axis=0).T


@dataclasses.dataclass
class _Tensor:
    """A layer's output: for each channel an atom (what is scaled as one), and the pool of tensors that share one range."""

    atoms: list
    pool: int


class _Graph:
    """Which channels of which layers may be scaled or shifted, and which must be so alike.

    Atoms and pools are numbers in union-find forests; atom 0 is the scale 1 and the shift 0.

    Attributes:
        tensors: {layer name: _Tensor} of every layer's output.
        inputs: {layer name: atoms of its input} of the convolutions.
        producers: {layer name: atoms of its output} of the convolutions whose output may be scaled.
    """

    def __init__(self, model):
        self._parent, self._pools, self._fixed = [0], [], {0}
        self.tensors, self.inputs, self.producers = {}, {}, {}
        found = {}
        for layer in model.layers:
            sources = layer.input if isinstance(layer.input, list) else [layer.input]
            found[id(layer.output)] = self._visit(layer, [found.get(id(s)) for s in sources])
        for output in model.outputs:
            self._pin(found[id(output)])

    def _visit(self, layer, inputs):
        kind, channels = type(layer).__name__, layer.output.shape[-1]
        if kind in _CONVOLUTIONS:
            tensor = self._convolution(layer, kind, inputs[0], channels)
        elif kind == "Concatenate":
            tensor = _Tensor([atom for t in inputs for atom in t.atoms], self._pool())
            for t in inputs:  # one scale and zero point for all in a quantized CONCATENATION
                self._pools[_root(self._pools, t.pool)] = _root(self._pools, tensor.pool)
        elif kind == "PadChannels":  # a quantized PAD keeps its input's scale
            tensor = _Tensor(inputs[0].atoms + self._new_atoms(channels - len(inputs[0].atoms)), inputs[0].pool)
            self._fixed.update(tensor.atoms)
        elif kind == "MixOfActivations":  # homogeneous where there is no tanh
            self._fixed.update(inputs[0].atoms)
            for atom in inputs[0].atoms[layer.straight :]:
                self._join(atom, 0)
            tensor = _Tensor(inputs[0].atoms, self._pool())
        elif kind in _MOVES:
            first = getattr(layer, "first", 0)
            tensor = _Tensor(inputs[0].atoms[first : first + channels], inputs[0].pool)
        elif kind in ("ReLU", "PReLU", "LeakyReLU", "Add"):
            for t in inputs:
                self._fixed.update(t.atoms)
                for a, b in zip(inputs[0].atoms, t.atoms, strict=True):
                    self._join(a, b)
            tensor = _Tensor(inputs[0].atoms, self._pool())
        elif kind == "Multiply" and inputs[1]:  # by a mask
            self._fixed.update(inputs[0].atoms)
            self._pin(inputs[1])
            tensor = _Tensor(inputs[0].atoms, self._pool())
        else:  # the input, and whatever is not known to be homogeneous
            for t in inputs:
                self._pin(t)
            tensor = _Tensor([0] * channels, self._pool())
        self.tensors[layer.name] = tensor
        return tensor

    def _convolution(self, layer, kind, source, channels):
        self.inputs[layer.name] = source.atoms
        if kind != "Conv2D" or tuple(layer.kernel_size) != (1, 1) or layer.groups != 1:
            self._fixed.update(source.atoms)
        tensor = _Tensor(self._new_atoms(channels), self._pool())
        activation = layer.activation.__name__ if hasattr(layer, "activation") else "linear"
        if kind == "SubPixelConv2DTranspose" or activation not in ("linear", "relu"):
            self._pin(tensor)
        else:
            own = getattr(layer, "positions", range(channels))
            self.producers[layer.name] = [tensor.atoms[place] for place in own]
            if activation == "relu":
                self._fixed.update(tensor.atoms)
        return tensor

    def _new_atoms(self, count):
        first = len(self._parent)
        self._parent += range(first, first + count)
        return list(range(first, first + count))

    def atoms(self, atoms):
        """[C] indices into the arrays of `scales` and `shiftable`."""
        return np.array([_root(self._parent, atom) for atom in atoms])

    def shiftable(self):
        """[atoms] bool."""
        fixed = {_root(self._parent, atom) for atom in self._fixed}
        return np.array([_root(self._parent, atom) not in fixed for atom in range(len(self._parent))])

    def ranges(self, measured):
        """Lows and highs, {layer name: (lows [C], highs [C])}, as two [pools, atoms] arrays.

        Where an atom is not in a pool they are inf and -inf.
        """
        lows = np.full((len(self._pools), len(self._parent)), np.inf)
        highs = -lows
        for name, tensor in self.tensors.items():
            pool, atoms = _root(self._pools, tensor.pool), self.atoms(tensor.atoms)
            np.minimum.at(lows[pool], atoms, measured[name][0])
            np.maximum.at(highs[pool], atoms, measured[name][1])
        return lows, highs

    def scales(self, lows, highs, strength):
        """[atoms]: how far each may grow until it fills the range of the pool in which it has the least room."""
        scale = np.full(len(self._parent), LARGEST)
        for ends in (-lows, highs):
            whole = ends.max(axis=1, keepdims=True)
            room = np.where(ends > 0, whole / np.maximum(ends, 1e-30), np.inf)
            scale = np.minimum(scale, room.min(axis=0) ** strength)
        scale[0] = 1.0
        return scale

    def _pool(self):
        self._pools.append(len(self._pools))
        return len(self._pools) - 1

    def _pin(self, tensor):
        for atom in tensor.atoms:
            self._join(atom, 0)

    def _join(self, a, b):
        a, b = _root(self._parent, a), _root(self._parent, b)
        self._parent[max(a, b)] = min(a, b)


def _root(parent, x):
    while parent[x] != x:
        x = parent[x]
    return x


def _ranges(model, tensors, images):
    """{layer name: (least [C], largest [C])} of the named layers' outputs over all images."""
    found = {}
    for batch in activations(model, [model.get_layer(name).output for name in tensors], images):
        for name, values in zip(tensors, batch, strict=True):
            axes = tuple(range(values.ndim - 1))
            low, high = values.min(axis=axes), values.max(axis=axes)
            if name in found:
                low, high = np.minimum(low, found[name][0]), np.maximum(high, found[name][1])
            found[name] = (low, high)
    return found
