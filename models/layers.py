"""Layers that the networks share. keras.ops only, so that every Keras backend trains them."""

import keras
import numpy as np
from keras import ops

# The form that trains fastest on a CPU with each backend (benchmarks/grouped_conv.py measures it).
_FASTEST_FORM = {"torch": "grouped", "tensorflow": "dense", "jax": "split"}
FORMS = ("grouped", "split", "dense")
OUTPUT_ACTIVATIONS = ("clipped_relu", "linear")
# The last bias of networks that do not add their input: about the mean of photographs. From 0, half of the outputs start
# below the clip, where it has no slope.
GRAY = keras.initializers.Constant(0.45)


def check_output_activation(value):
    """Raises: ValueError when a network's `output_activation` is none of OUTPUT_ACTIVATIONS."""
    if value not in OUTPUT_ACTIVATIONS:
        raise ValueError(f"output_activation must be 'clipped_relu' or 'linear', got {value!r}")


@keras.saving.register_keras_serializable("mobile_sr")
class GroupedConv2D(keras.layers.Layer):
    """Grouped convolution, stride 1, SAME padding, with bias and an optional ReLU.

    One kernel [k, k, C_in / groups, filters], as in keras.layers.Conv2D(groups=g), and three equal ways to apply it:
    `grouped` (one grouped convolution: what is exported, and the fastest on PyTorch), `split` (one convolution per
    group, then a concatenation) and `dense` (one ordinary convolution with a block-diagonal kernel).
    TensorFlow's gradient of a grouped convolution is unusably slow on CPUs, hence the choice.

    Args:
        filters: output channels, a multiple of `groups`.
        kernel_size: odd int.
        groups: number of groups; must divide the input channels.
        activation: None or 'relu'.
        form: None (the backend's fastest), or one of 'grouped', 'split', 'dense'.
    """

    def __init__(self, filters, kernel_size, groups, activation=None, kernel_initializer="he_normal", form=None, **kwargs):
        super().__init__(**kwargs)
        if filters % groups:
            raise ValueError(f"filters={filters} is not a multiple of groups={groups}")
        if form not in (None, *FORMS):
            raise ValueError(f"form must be None or one of {FORMS}, got {form!r}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.groups = groups
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.form = form

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.groups:
            raise ValueError(f"{channels} input channels cannot be cut into {self.groups} groups")
        shape = (self.kernel_size, self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x):
        form = self.form or _FASTEST_FORM.get(keras.backend.backend(), "split")
        if form == "grouped":
            y = ops.conv(x, self.kernel, padding="same", data_format="channels_last")
        elif form == "split":
            pairs = zip(ops.split(x, self.groups, axis=-1), ops.split(self.kernel, self.groups, axis=-1), strict=True)
            y = ops.concatenate([ops.conv(a, k, padding="same", data_format="channels_last") for a, k in pairs], axis=-1)
        else:
            y = ops.conv(x, self._dense_kernel(), padding="same", data_format="channels_last")
        return self.activation(y + self.bias)

    def _dense_kernel(self):
        """[k, k, C_in, filters] with the groups' kernels on the diagonal and zeros elsewhere."""
        columns = []
        rows = self.kernel.shape[2]
        for group, part in enumerate(ops.split(self.kernel, self.groups, axis=-1)):
            columns.append(ops.pad(part, ((0, 0), (0, 0), (group * rows, (self.groups - 1 - group) * rows), (0, 0))))
        return ops.concatenate(columns, axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "groups": self.groups,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "form": self.form,
        }


@keras.saving.register_keras_serializable("mobile_sr")
class SubPixelConv2DTranspose(keras.layers.Layer):
    """Transposed convolution, SAME padding, that gives its pixels as channels, for a DepthToSpace(strides) after it.

    [N, H, W, C_in] -> [N, H, W, filters * strides**2]. The kernel is that of keras.layers.Conv2DTranspose(filters,
    kernel_size, strides, padding="same"), [k, k, filters, C_in], and so is every value; but it runs as one ordinary
    convolution of the kernel's phases, whose place among XNNPACK's and NPUs' operators is safer, and which a clip can follow
    at LR size. Whether `strides` divides `kernel_size` decides how many of the phases' taps are zeros.

    Args:
        filters: channels of the picture. kernel_size, strides: ints, kernel_size >= strides.
    """

    def __init__(self, filters, kernel_size, strides, kernel_initializer="glorot_uniform", bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        if kernel_size < strides:
            raise ValueError(f"kernel_size={kernel_size} is smaller than strides={strides}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        shape = (self.kernel_size, self.kernel_size, self.filters, input_shape[-1])
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer=self.bias_initializer, name="bias")

    def call(self, x):
        y = ops.conv(x, self.phases(self.kernel), padding="same", data_format="channels_last")
        return y + ops.tile(self.bias, self.strides**2)

    def phases(self, kernel):
        """[k, k, filters, C_in] -> [t, t, C_in, filters * strides**2], the kernel of the ordinary convolution."""
        rows = self._taps()
        taps = len(rows)
        padded = ops.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))  # row and column k hold zeros
        picked = ops.take(ops.take(padded, rows.reshape(-1), axis=0), rows.reshape(-1), axis=1)
        s, (filters, channels) = self.strides, kernel.shape[2:]
        split = ops.reshape(picked, (taps, s, taps, s, filters, channels))
        return ops.reshape(ops.transpose(split, (0, 2, 5, 1, 3, 4)), (taps, taps, channels, s * s * filters))

    def places(self):
        """[t, t, C_in, filters * strides**2] ints: 1 + the place in the flat kernel that a tap comes from, 0 for a zero."""
        numbers = np.arange(1, 1 + np.prod(self.kernel.shape), dtype=np.int32).reshape(self.kernel.shape)
        return ops.convert_to_numpy(self.phases(numbers))

    def from_phases(self, phases):
        """The kernel of these phases, the inverse of `phases`; what stands where that puts zeros is not read."""
        places = self.places()
        kernel = np.zeros(self.kernel.shape, phases.dtype)
        kernel.flat[places[places > 0] - 1] = phases[places > 0]
        return kernel

    def _taps(self):
        """[t, strides] int array: which kernel row (kernel_size: none) acts at LR offset t - t // 2 on which phase."""
        k, s = self.kernel_size, self.strides
        before = (k - s) // 2  # what SAME pads in front
        reach = max((s - 1 + before) // s, (k - 1 - before) // s)
        offsets = np.arange(-reach, reach + 1)[:, None]
        row = np.arange(s)[None] + before - offsets * s
        return np.where((row >= 0) & (row < k), row, k)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters * self.strides**2)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
        }


def at_most_one(w):
    """The constraint of PReLU's slopes."""
    return ops.minimum(w, 1.0)


@keras.saving.register_keras_serializable("mobile_sr")
class PReLU(keras.layers.Layer):
    """x where x > 0, alpha * x elsewhere, one slope per channel (He et al., ICCV 2015, Eq. 1), slopes kept at most 1.

    Written as x + relu((alpha - 1) * x), which equals it for such slopes: XNNPACK takes these operators in 8 bits and leaves
    PRELU to a reference kernel, which took several times as long, and what is above 0 is rounded once
    (docs/measurements/quantization.md).
    """

    def build(self, input_shape):
        self.alpha = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(0.25), constraint=at_most_one, name="alpha"
        )

    def call(self, x):
        return x + ops.relu(x * (self.alpha - 1.0))

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("mobile_sr")
class ScalarPReLU(PReLU):
    """PReLU with one slope for all channels."""

    def build(self, input_shape):
        super().build((1,))


@keras.saving.register_keras_serializable("mobile_sr")
class DepthToSpace(keras.layers.Layer):
    """[N, H, W, C * s * s] -> [N, H * s, W * s, C]; channel (i * s + j) * C + c goes to pixel (i, j)."""

    def __init__(self, block_size, **kwargs):
        super().__init__(**kwargs)
        self.block_size = block_size

    def call(self, x):
        return ops.depth_to_space(x, self.block_size)

    def compute_output_shape(self, input_shape):
        n, h, w, c = input_shape
        s = self.block_size
        return (n, h and h * s, w and w * s, c // (s * s))

    def get_config(self):
        return {**super().get_config(), "block_size": self.block_size}


@keras.saving.register_keras_serializable("mobile_sr")
class ClippedReLU(keras.layers.Layer):
    """max(0, min(x, 1)) (Ayazoglu, CVPRW 2021, Sec. 3.3).

    Written as minimum(relu(x), 1) so that TFLite fuses the relu into a convolution before it.
    """

    def call(self, x):
        return ops.minimum(ops.relu(x), 1.0)

    def compute_output_shape(self, input_shape):
        return input_shape
