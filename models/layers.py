"""Layers that the networks share. keras.ops only, so that every Keras backend trains them."""

import keras
from keras import ops

# The form that trains fastest on a CPU with each backend (benchmarks/grouped_conv.py measures it).
_FASTEST_FORM = {"torch": "grouped", "tensorflow": "dense", "jax": "split"}
FORMS = ("grouped", "split", "dense")


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
