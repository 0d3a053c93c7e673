"""Layers that the networks share, written with keras.ops only, for every Keras backend."""

from typing import Any

import keras
import numpy as np
from keras import ops

Shape = tuple[Any, ...]  # of a tensor: ints, None where a size is unknown
# The form that trains fastest on a CPU with each backend, as measured by benchmarks/grouped_conv.py.
_FASTEST_FORM = {"torch": "grouped", "tensorflow": "dense", "jax": "split"}
FORMS = ("grouped", "split", "dense")
OUTPUT_ACTIVATIONS = ("clipped_relu", "linear")
# Initial bias of the last layer in networks that do not add their input: about the mean of photographs. With a bias of 0,
# half of the outputs start below the clip, where the gradient is 0.
GRAY = keras.initializers.Constant(0.45)


def check_output_activation(value: str) -> None:
    """Checks a network's `output_activation`. Raises: ValueError if it is not one of OUTPUT_ACTIVATIONS."""
    if value not in OUTPUT_ACTIVATIONS:
        raise ValueError(f"output_activation must be 'clipped_relu' or 'linear', got {value!r}")


@keras.saving.register_keras_serializable("mobile_sr")
class GroupedConv2D(keras.layers.Layer):
    """Grouped convolution with stride 1, SAME padding, bias and an optional ReLU.

    The kernel is [k, k, C_in / groups, filters], as in keras.layers.Conv2D(groups=g). There are three equivalent ways to
    apply it: `grouped` (one grouped convolution; the form that is exported, and the fastest on PyTorch), `split` (one
    convolution per group, then a concatenation) and `dense` (one ordinary convolution with a block-diagonal kernel).
    The alternatives exist because TensorFlow's gradient of a grouped convolution is too slow on CPUs.

    Args:
        filters: output channels, a multiple of `groups`.
        kernel_size: odd int.
        groups: number of groups; must divide the input channels.
        activation: None or 'relu'.
        kernel_initializer: as for keras.layers.Conv2D.
        form: None (the fastest for the backend), 'grouped', 'split' or 'dense'.
    Raises: ValueError for channels that are not a multiple of `groups`, or an unknown form.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        groups: int,
        activation: str | None = None,
        kernel_initializer: str | keras.initializers.Initializer = "he_normal",
        form: str | None = None,
        **kwargs: Any,
    ) -> None:
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

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if channels % self.groups:
            raise ValueError(f"{channels} input channels cannot be split into {self.groups} groups")
        shape = (self.kernel_size, self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        form = self.form or _FASTEST_FORM.get(keras.backend.backend(), "split")
        if form == "grouped":
            y = ops.conv(x, self.kernel, padding="same", data_format="channels_last")
        elif form == "split":
            pairs = zip(ops.split(x, self.groups, axis=-1), ops.split(self.kernel, self.groups, axis=-1), strict=True)
            y = ops.concatenate([ops.conv(a, k, padding="same", data_format="channels_last") for a, k in pairs], axis=-1)
        else:
            y = ops.conv(x, self._dense_kernel(), padding="same", data_format="channels_last")
        return self.activation(y + self.bias)

    def _dense_kernel(self) -> keras.KerasTensor:
        """[k, k, C_in, filters] with the groups' kernels on the diagonal and zeros elsewhere."""
        columns = []
        rows = self.kernel.shape[2]
        for group, part in enumerate(ops.split(self.kernel, self.groups, axis=-1)):
            columns.append(ops.pad(part, ((0, 0), (0, 0), (group * rows, (self.groups - 1 - group) * rows), (0, 0))))
        return ops.concatenate(columns, axis=-1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
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
    """Transposed convolution with SAME padding that returns HR pixels as channels; DepthToSpace(strides) follows it.

    [N, H, W, C_in] -> [N, H, W, filters * strides**2]. The kernel [k, k, filters, C_in] and all values equal those of
    keras.layers.Conv2DTranspose(filters, kernel_size, strides, padding="same"), or, with a `padding`, those of PyTorch's
    ConvTranspose2d with this padding and as many HR pixels. The layer runs as one ordinary convolution
    with the kernel's phases: XNNPACK and NPUs support that operator more widely, and a clip can follow at LR size.
    Some taps of the phases are always zero; their number depends on whether `strides` divides `kernel_size`.

    Args:
        filters: channels of the HR image.
        kernel_size: int, at least `strides`.
        strides: int, the upscaling factor.
        kernel_initializer: as for keras.layers.Conv2DTranspose.
        bias_initializer: as for keras.layers.Conv2DTranspose.
        padding: HR pixels that are cut at the top and left; None is SAME, (kernel_size - strides) // 2.
    Raises: ValueError for a kernel_size below `strides`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        strides: int,
        kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
        bias_initializer: str | keras.initializers.Initializer = "zeros",
        padding: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if kernel_size < strides:
            raise ValueError(f"kernel_size={kernel_size} is smaller than strides={strides}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.padding = padding
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape: Shape) -> None:
        shape = (self.kernel_size, self.kernel_size, self.filters, input_shape[-1])
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer=self.bias_initializer, name="bias")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        y = ops.conv(x, self.phases(self.kernel), padding="same", data_format="channels_last")
        return y + ops.tile(self.bias, self.strides**2)

    def phases(self, kernel: Any) -> Any:
        """Rearranges a kernel for the ordinary convolution: [k, k, filters, C_in] -> [t, t, C_in, filters * strides**2]."""
        rows = self._taps()
        taps = len(rows)
        padded = ops.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))  # zeros in row and column k
        picked = ops.take(ops.take(padded, rows.reshape(-1), axis=0), rows.reshape(-1), axis=1)
        s, (filters, channels) = self.strides, kernel.shape[2:]
        split = ops.reshape(picked, (taps, s, taps, s, filters, channels))
        return ops.reshape(ops.transpose(split, (0, 2, 5, 1, 3, 4)), (taps, taps, channels, s * s * filters))

    def places(self) -> np.ndarray:
        """[t, t, C_in, filters * strides**2] ints: 1 + the index in the flat kernel that a tap comes from, 0 for a zero tap."""
        numbers = np.arange(1, 1 + np.prod(self.kernel.shape), dtype=np.int32).reshape(self.kernel.shape)
        return ops.convert_to_numpy(self.phases(numbers))

    def from_phases(self, phases: np.ndarray) -> np.ndarray:
        """Inverse of `phases`: returns the kernel. Values at the taps that are always zero are ignored."""
        indices = self.places()
        kernel = np.zeros(self.kernel.shape, phases.dtype)
        kernel.flat[indices[indices > 0] - 1] = phases[indices > 0]
        return kernel

    def _taps(self) -> np.ndarray:
        """[t, strides] ints: the kernel row for each LR offset (index - t // 2) and phase; kernel_size if there is none."""
        k, s = self.kernel_size, self.strides
        before = (k - s) // 2 if self.padding is None else self.padding
        reach = max((s - 1 + before) // s, (k - 1 - before) // s)
        offsets = np.arange(-reach, reach + 1)[:, None]
        row = np.arange(s)[None] + before - offsets * s
        return np.where((row >= 0) & (row < k), row, k)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.filters * self.strides**2)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "padding": self.padding,
        }


def at_most_one(w: keras.KerasTensor) -> keras.KerasTensor:
    """Weight constraint of PReLU slopes: at most 1."""
    return ops.minimum(w, 1.0)


@keras.saving.register_keras_serializable("mobile_sr")
class PReLU(keras.layers.Layer):
    """PReLU with one slope per channel: x if x > 0, alpha * x otherwise (He et al., ICCV 2015, Eq. 1); alpha is at most 1.

    Computed as x + relu((alpha - 1) * x), which is equal for such slopes. XNNPACK supports these operators in 8 bits and
    leaves PRELU to a reference kernel that took several times as long. Values above 0 are rounded once
    (docs/measurements/quantization.md).
    """

    def build(self, input_shape: Shape) -> None:
        self.alpha = self.add_weight(
            shape=(input_shape[-1],), initializer=keras.initializers.Constant(0.25), constraint=at_most_one, name="alpha"
        )

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x + ops.relu(x * (self.alpha - 1.0))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


@keras.saving.register_keras_serializable("mobile_sr")
class ScalarPReLU(PReLU):
    """PReLU with a single slope for all channels."""

    def build(self, input_shape: Shape) -> None:
        super().build((1,))


@keras.saving.register_keras_serializable("mobile_sr")
class DepthToSpace(keras.layers.Layer):
    """Moves channels to pixels: [N, H, W, C * s * s] -> [N, H * s, W * s, C]; channel (i * s + j) * C + c to pixel (i, j)."""

    def __init__(self, block_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.block_size = block_size

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.depth_to_space(x, self.block_size)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        s = self.block_size
        return (n, h and h * s, w and w * s, c // (s * s))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block_size": self.block_size}


@keras.saving.register_keras_serializable("mobile_sr")
class ClippedReLU(keras.layers.Layer):
    """Clips to 0..1: max(0, min(x, 1)) (Ayazoglu, CVPRW 2021, Sec. 3.3).

    Computed as minimum(relu(x), 1): TFLite fuses the relu into the preceding convolution.
    """

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return ops.minimum(ops.relu(x), 1.0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape
