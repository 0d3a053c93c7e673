"""AdaDSR's sparse form: computes the blocks of a trained AdaEDSR or AdaRCAN only at pixels with non-zero masks.

Paper: Liu et al., "Deep Adaptive Inference Networks for Single Image Super-Resolution", ECCV Workshops 2020, Sec. 3.2. The
authors' sparse convolution is a CUDA kernel; this one consists of operators that every TFLite runtime has. All layers outside
of the blocks are those of the Keras model.

A block x + mask * conv2(relu(conv1(x))) needs conv2 where the mask is positive, and conv1 where the mask of one of the 3x3
neighbours is. Consecutive blocks form a chain. The mask of a block can be positive only where that of the previous block is.
Dense convolutions are therefore faster for the first blocks of a chain, if for any, and these blocks run as a dense network.

All later blocks work on *rows* [1 + N, C]: a row of zeros, for the neighbours outside of the image, and the pixels within a
distance of two from an active one. Each convolution is a gather of the nine neighbours with an [N, 9] array of row numbers,
followed by a product with the dense kernel as [9 * C, C]. After the last block, the rows are written back to their pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

SPAN = 2  # consecutive blocks that are all dense or all sparse
FAR = 1e9  # above any depth
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@dataclasses.dataclass
class Block:
    """Keras layers of a masked residual block.

    Attributes:
        conv1: first convolution, with its activation.
        conv2: second convolution.
        mask: DepthMask layer.
        squeeze: first convolution of the channel attention, None without attention.
        excite: second convolution of the channel attention, None without attention.
        add: addition that ends the block.
        inside: names of the layers that the sparse form replaces, all except `add`.
    """

    conv1: keras.layers.Layer
    conv2: keras.layers.Layer
    mask: keras.layers.Layer
    squeeze: keras.layers.Layer | None
    excite: keras.layers.Layer | None
    add: keras.layers.Layer
    inside: set[str]


def blocks(model: keras.Model) -> dict[str, Block]:
    """Find the masked residual blocks of a Keras model.

    Args:
        model: the network.

    Returns:
        {name of the block's last layer: Block}, in the order of the network.
    """
    layers = {layer.name: layer for layer in model.layers}
    result = {}
    for mask in [layer for layer in model.layers if type(layer).__name__ == "DepthMask"]:
        name = mask.name.removesuffix("_mask")
        inside = [f"{name}_{part}" for part in ("conv1", "conv2", "mask", "masked")]
        attention = [f"{name}_{part}" for part in ("mean", "squeeze", "excite", "attention")]
        inside += [part for part in attention if part in layers]
        conv1, conv2 = (layers[f"{name}_{part}"] for part in ("conv1", "conv2"))
        squeeze, excite = (layers.get(f"{name}_{part}") for part in ("squeeze", "excite"))
        result[name] = Block(conv1, conv2, mask, squeeze, excite, layers[name], set(inside))
    return result


def chains(model: keras.Model) -> list[list[str]]:
    """Return the names of a Keras model's masked blocks in lists of consecutive ones: the chain of EDSR, the groups of RCAN."""
    result: list[list[str]] = []
    previous: Block | None = None
    for name, block in blocks(model).items():
        if previous is not None and block.conv1.input is previous.add.output:
            result[-1].append(name)
        else:
            result.append([name])
        previous = block
    return result


def chunks_for(channels: int, integer: bool = False) -> int:
    """Return the number of products into which a convolution is split, chosen by measurement (benchmarks/sparse_block.py)."""
    return 4 if integer or channels > 64 else 16


def dense_above(channels: int, integer: bool = False) -> float:
    """Return the share of computed pixels above which dense blocks are faster, chosen by measurement.

    The share is that of the pixels at which conv1 and conv2 are computed, averaged over the blocks of a span. With few
    channels, dense convolutions gain more from 8 bits than gathers and index arithmetic do.
    """
    if channels > 64:
        return 0.77
    return 0.22 if integer else 0.56


SAMPLED = 4  # shares are measured on every fourth pixel of every fourth row, as counting all of them would cost time


def function(
    model: keras.Model, chunks: int | None = None, threshold: float | None = None, span: int = SPAN
) -> Callable[..., dict[str, tf.Tensor]]:
    """Return the sparse form of a Keras model as a function of tensors, to be run eagerly or traced by tf.function.

    Args:
        model: AdaEDSR or AdaRCAN, float32, with the desired depth as an input or fixed. Its weights are read now; later
            changes have no effect.
        chunks: products per convolution, None for `chunks_for`.
        threshold: share of computed pixels above which blocks are computed densely; None for `dense_above`, 1 for never.
        span: number of consecutive blocks that are all dense or all sparse.

    Returns:
        A function of lr [1, H, W, 3] and, if the model has this input, the desired depth [1, 1]. It returns the outputs of
        the Keras model, {"sr": [1, H * s, W * s, 3], "depth_map": [1, H, W, maps]}. It raises ValueError for a batch of
        more than one image.

    Raises:
        ValueError: the model has no masks.
    """
    return Walk(model, chunks, threshold, span).run


@dataclasses.dataclass
class _Rows:
    """The N pixels that the sparse blocks of a chain need, computed once per chain. Row number 0 is the row of zeros.

    Attributes:
        pixels: [N], pixel numbers in the image.
        neighbours: [1 + N, 9], row numbers of the 3x3 neighbours.
        depth: [1 + N, maps], depth maps.
        reached: [1 + N, 1], largest depth of the 3x3 neighbours.
    """

    pixels: tf.Tensor
    neighbours: tf.Tensor
    depth: tf.Tensor
    reached: tf.Tensor


class Walk:
    """Evaluates a model layer by layer and computes its blocks sparsely; the arguments are those of `function`."""

    def __init__(self, model: keras.Model, chunks: int | None = None, threshold: float | None = None, span: int = SPAN) -> None:
        import tensorflow as tf

        self.tf: Any = tf
        self.model, self.blocks = model, blocks(model)
        if not self.blocks:
            raise ValueError(f"{model.name} has no depth masks and therefore no sparse form")
        self.chunks = chunks or chunks_for(next(iter(self.blocks.values())).conv1.kernel.shape[-1])
        self.threshold, self.span = threshold, span
        # Arrays instead of variables: a branch of tf.cond would capture a variable, which is then not a constant of the branch.
        parts = [part for block in self.blocks.values() for part in (block.conv1, block.conv2, block.squeeze, block.excite)]
        self.arrays = {layer.name: layer.get_weights() for layer in parts if layer is not None}

    def run(self, lr: tf.Tensor, desired_depth: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Compute the outputs of the model; this is the function that `function` returns."""
        if lr.shape[0] not in (1, None):
            raise ValueError(f"the sparse form accepts one image at a time, got a batch of {lr.shape[0]}")
        values = {id(self.model.inputs[0]): lr}  # [1, H, W, C] tensors by the id of their KerasTensor
        if len(self.model.inputs) > 1:
            values[id(self.model.inputs[1])] = desired_depth
        firsts = {chain[0]: chain for chain in chains(self.model)}
        inside = set(self.blocks).union(*(block.inside for block in self.blocks.values()))
        for layer in self.model.layers:
            if layer.name in firsts:
                chain = firsts[layer.name]
                first, last = (self.blocks[chain[end]] for end in (0, -1))
                x, depth = values[id(first.conv1.input)], values[id(first.mask.input)]
                values[id(last.add.output)] = self.run_blocks(chain, x, depth)
            elif layer.name not in inside and id(layer.output) not in values:
                sources = layer.input if isinstance(layer.input, list) else [layer.input]
                inputs = [values[id(source)] for source in sources]
                values[id(layer.output)] = layer(inputs if len(inputs) > 1 else inputs[0])
        sr, depth = (values[id(output)] for output in self.model.outputs)
        return {"sr": sr, "depth_map": depth}

    def run_blocks(self, names: Sequence[str], x: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
        """Compute a chain of blocks.

        Args:
            names: names of the blocks.
            x: features before the chain, [1, H, W, C].
            depth: depth maps, [1, H, W, maps].

        Returns:
            The features after the chain, [1, H, W, C].
        """
        tf = self.tf
        known, channels = x.shape[1:3], x.shape[-1]
        self.height, self.width = known if None not in known else tf.unstack(tf.shape(x)[1:3])
        self.area = self.height * self.width
        chain = [self.blocks[name] for name in names]
        map_index = chain[0].mask.depth_map
        reached = tf.nn.max_pool2d(depth[..., map_index : map_index + 1], 3, 1, "SAME")
        threshold = dense_above(channels) if self.threshold is None else self.threshold
        never = threshold >= 1
        parts = [chain] if never else [chain[at : at + self.span] for at in range(0, len(chain), self.span)]
        dense = (
            None if never else self._dense_parts(chain, len(parts), depth[..., map_index : map_index + 1], reached, threshold)
        )
        first = 0 if never else tf.reduce_sum(tf.cast(dense, tf.int32))
        rows = self._rows(chain, parts, first, depth, reached)
        values = tf.zeros((1, channels), x.dtype)
        for number, part in enumerate(parts):
            # Whether the sparse part of the chain starts here; whether this part is sparse.
            starts, active = (
                (1, 1) if never else (tf.cast(condition, tf.int32) for condition in (tf.equal(first, number), first <= number))
            )
            entering = tf.gather(tf.reshape(x, (-1, channels)), rows.pixels[: tf.size(rows.pixels) * starts])
            values = tf.concat([values, entering], axis=0)
            for block in part:
                values = self._sparse_block(block, values, rows, active)
            x = self._skipped(part, x) if dense is None else self._dense_part(part, dense[number], x, depth)
        return self._write_rows(x, values, rows.pixels)

    def _dense_parts(
        self, chain: Sequence[Block], parts: int, depth: tf.Tensor, reached: tf.Tensor, threshold: float
    ) -> tf.Tensor:
        """[parts] bool: whether the blocks of a part are computed densely.

        It is true for the first parts, because the shares decrease along a chain. Conv1 is computed where `reached` exceeds the
        number of a block, conv2 where `depth`, the depth map of the chain, does.
        """
        tf = self.tf
        sample = tf.reshape(tf.concat([depth, reached], axis=3)[:, ::SAMPLED, ::SAMPLED], (-1, 1))
        levels = [float(block.mask.block) for block in chain]
        levels += [FAR] * (parts * self.span - len(chain))
        counts = tf.reduce_sum(tf.cast(sample > tf.constant([levels]), tf.int32), axis=0)
        counts = tf.reduce_sum(tf.reshape(counts, (parts, self.span)), axis=1)
        lengths = [min(self.span, len(chain) - at) for at in range(0, len(chain), self.span)]
        return counts * 64 > tf.size(sample) * tf.constant([int(64 * threshold) * length for length in lengths])

    def _rows(
        self, chain: Sequence[Block], parts: Sequence[Sequence[Block]], first: Any, depth: tf.Tensor, reached: tf.Tensor
    ) -> _Rows:
        """The _Rows of the blocks from part number `first` on."""
        tf = self.tf
        further = tf.nn.max_pool2d(reached, 3, 1, "SAME")
        further = tf.reshape(further, tf.reshape(self.area, (1,)))  # fails for more than one image
        levels = tf.constant([float(part[0].mask.block) for part in parts] + [FAR])
        pixels = self._where(further > tf.gather(levels, first))
        # With a border of one pixel, the neighbours of all pixels are at fixed distances.
        width = self.width + 2
        padded = pixels + 2 * (pixels // self.width) + width + 1
        numbers = self._row_numbers(padded, (self.height + 2) * width)
        neighbours = tf.gather(numbers, tf.reshape(padded, (-1, 1)) + self._offsets(width))
        neighbours = tf.concat([tf.zeros((1, 9), tf.int32), neighbours], axis=0)

        def of_pixels(values):
            maps = values.shape[-1]
            gathered = tf.gather(tf.reshape(values, (-1, maps)), pixels)
            return tf.concat([tf.zeros((1, maps), values.dtype), gathered], axis=0)

        return _Rows(pixels, neighbours, of_pixels(depth), of_pixels(reached))

    def _where(self, condition: tf.Tensor) -> tf.Tensor:
        """[M] int32: indices at which a [N] bool is true."""
        return self.tf.cast(self.tf.reshape(self.tf.where(condition), (-1,)), self.tf.int32)

    def _offsets(self, width: Any) -> tf.Tensor:
        """[1, 9]: offsets from a pixel number to those of the neighbours, in an image of this width."""
        tf = self.tf
        down, right = (tf.constant(steps) for steps in zip(*NEIGHBOURS, strict=True))
        return tf.reshape(down * width + right, (1, 9))

    def _sparse_block(self, block: Block, x: tf.Tensor, rows: _Rows, active: Any) -> tf.Tensor:
        """The rows [1 + N, C] after a block, given those before it; only the row of zeros if `active` is 0."""
        tf = self.tf
        count = 1 + tf.size(rows.pixels) * active
        map_index, level = block.mask.depth_map, float(block.mask.block)
        at1 = self._where(tf.reshape(rows.reached[:count], (-1,)) > level)
        at2 = self._where(tf.reshape(rows.depth[:count, map_index : map_index + 1], (-1,)) > level)
        padded1, padded2 = self._pad(at1), self._pad(at2)
        h = self._product(block.conv1, x, tf.gather(rows.neighbours, padded1))
        neighbours = tf.gather(self._row_numbers(at1, count), tf.gather(rows.neighbours, padded2))
        y = self._product(block.conv2, h, neighbours, self._mask(block, tf.gather(rows.depth, padded2)))
        numbers = self._row_numbers(at2, count)
        if block.squeeze is not None:
            y = y * self._attention(block, self._mean_of_rows(y, numbers, rows, active))
        return x + tf.gather(y, numbers)

    def _pad(self, at: tf.Tensor) -> tf.Tensor:
        """Append the number of the row of zeros until all chunks have the same non-zero length."""
        tf = self.tf
        missing = self.chunks - tf.size(at) % self.chunks
        return tf.concat([at, tf.zeros(tf.reshape(missing, (1,)), tf.int32)], axis=0)

    def _mask(self, block: Block, depth: tf.Tensor) -> tf.Tensor:
        return block.mask(depth)

    def _mean_of_rows(self, y: tf.Tensor, numbers: tf.Tensor, rows: _Rows, active: Any) -> tf.Tensor:
        """[1, C]: the mean of the rows `y` over all pixels of the image."""
        tf = self.tf
        return tf.reduce_sum(y, axis=0, keepdims=True) / tf.cast(self.area, y.dtype)

    def _mean(self, y: tf.Tensor) -> tf.Tensor:
        """[1, C]: the mean over the pixels of an image."""
        return self.tf.reduce_mean(y, axis=(1, 2))

    def _product(
        self, conv: keras.layers.Layer, x: tf.Tensor, neighbours: tf.Tensor, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """A row of zeros followed by the results of a convolution, [1 + M, C'], times their masks if given.

        The result of each gather fits into the cache. converters/tflite/op_order.py makes its product follow immediately.

        Args:
            conv: the convolution.
            x: rows, [1 + N, C].
            neighbours: row numbers, [M, 9].
            mask: [M, 1].
        """
        tf = self.tf
        kernel, bias = self.arrays[conv.name]
        inputs, outputs = 9 * kernel.shape[2], kernel.shape[3]
        parts = [tf.zeros((1, outputs), kernel.dtype)]
        masks = [1] * self.chunks if mask is None else tf.unstack(tf.reshape(mask, (self.chunks, -1, 1)))
        for part, factor in zip(tf.unstack(tf.reshape(neighbours, (self.chunks, -1))), masks, strict=True):
            patches = tf.reshape(tf.gather(x, part), (-1, inputs))
            result = conv.activation(tf.matmul(patches, kernel.reshape(inputs, outputs)) + bias)
            parts.append(result if mask is None else result * factor)
        return tf.concat(parts, axis=0)

    def _row_numbers(self, at: tf.Tensor, count: Any) -> tf.Tensor:
        """[count]: the number of each row among the results of the rows `at`, starting at 1; 0 if it is not in `at`."""
        tf = self.tf
        return tf.scatter_nd(tf.reshape(at, (-1, 1)), tf.range(1, tf.size(at) + 1), tf.reshape(count, (1,)))

    def _attention(self, block: Block, mean: tf.Tensor) -> tf.Tensor:
        """Channel attention, from the mean [1, C] to factors [1, C]."""
        for layer in (block.squeeze, block.excite):
            assert layer is not None
            kernel, bias = self.arrays[layer.name]
            mean = layer.activation(self.tf.matmul(mean, kernel[0, 0]) + bias)
        return mean

    def _dense_part(self, part: Sequence[Block], condition: tf.Tensor, x: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
        """[1, H, W, C] after blocks that are computed densely if `condition` is true, and skipped otherwise.

        Only dense blocks are in a branch: the runtime frees the dynamic tensors of a branch after each run, and accessing new
        memory takes longer than the sparse products.
        """

        def dense():
            y = x
            for block in part:
                y = self._dense_block(block, y, self._mask(block, depth))
            return y

        result = self.tf.cond(condition, dense, lambda: self._skipped(part, x))
        result.set_shape(x.shape)
        return result

    def _skipped(self, part: Sequence[Block], x: tf.Tensor) -> tf.Tensor:
        """The result of blocks at pixels where their masks are 0."""
        return x

    def _dense_block(self, block: Block, x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        tf = self.tf
        (kernel1, bias1), (kernel2, bias2) = (self.arrays[conv.name] for conv in (block.conv1, block.conv2))
        y = block.conv1.activation(tf.nn.conv2d(x, kernel1, 1, "SAME") + bias1)
        y = (tf.nn.conv2d(y, kernel2, 1, "SAME") + bias2) * mask
        if block.squeeze is not None:
            y = y * tf.reshape(self._attention(block, self._mean(y)), (1, 1, 1, x.shape[-1]))
        return x + y

    def _write_rows(self, x: tf.Tensor, values: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
        """x [1, H, W, C] with the values of the rows written to their pixels."""
        tf = self.tf
        both = tf.concat([tf.reshape(x, (self.area, x.shape[-1])), values], axis=0)
        moves = self.area + tf.range(1, tf.size(pixels) + 1) - pixels
        limit = tf.minimum(self.area, self.area + tf.size(pixels))  # with a known limit, the file would contain the whole range
        indices = tf.range(limit) + tf.scatter_nd(tf.reshape(pixels, (-1, 1)), moves, tf.reshape(self.area, (1,)))
        return tf.reshape(tf.gather(both, indices), (1, self.height, self.width, x.shape[-1]))
