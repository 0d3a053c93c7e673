"""AdaDSR's sparse form: a TensorFlow graph of a trained AdaEDSR or AdaRCAN whose blocks work where their masks are not 0.

Paper: Liu et al., "AdaDSR: Adaptive Depth Super-Resolution", ECCV Workshops 2020, Sec. 3.3; the authors' sparse
convolution is a CUDA kernel, this one is made of operators that every TFLite runtime has. Every layer outside of the blocks is
the Keras model's own, so that the network stands in one place.

A block x + mask * conv2(relu(conv1(x))) needs conv2 where the mask is positive and conv1 where one of its 3x3 neighbours is.
Blocks that follow each other form a chain. A block's mask is positive only where that of the block before is, so that the
first blocks of a chain are the ones that dense convolutions compute faster. They run as a dense network; all later ones work
on *rows* [1 + N, C]: a row of zeros, which stands for what is outside of the picture, and the pixels within two of an active
one. Each convolution is a gather of the nine neighbours by an [N, 9] array of row numbers and a product with the dense kernel
as [9 * C, C]. After the last block the rows go back to their pixels.
"""

import dataclasses

SPAN = 2  # blocks that are dense or sparse together
FAR = 1e9  # above any depth
NEIGHBOURS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@dataclasses.dataclass
class Block:
    """A residual block's Keras layers; squeeze and excite are None without channel attention."""

    conv1: object
    conv2: object
    mask: object
    squeeze: object
    excite: object
    add: object
    inside: set  # the names of the layers that the sparse form replaces, all but `add`


def blocks(model):
    """The masked residual blocks of a Keras model, {name of its last layer: Block} in order."""
    layers = {layer.name: layer for layer in model.layers}
    found = {}
    for mask in [layer for layer in model.layers if type(layer).__name__ == "DepthMask"]:
        name = mask.name.removesuffix("_mask")
        inside = [f"{name}_{part}" for part in ("conv1", "conv2", "mask", "masked")]
        attention = [f"{name}_{part}" for part in ("mean", "squeeze", "excite", "attention")]
        inside += [part for part in attention if part in layers]
        conv1, conv2 = (layers[f"{name}_{part}"] for part in ("conv1", "conv2"))
        squeeze, excite = (layers.get(f"{name}_{part}") for part in ("squeeze", "excite"))
        found[name] = Block(conv1, conv2, mask, squeeze, excite, layers[name], set(inside))
    return found


def chains(model):
    """The names of a Keras model's masked blocks, in lists of those that follow each other: EDSR's one, RCAN's groups."""
    found, before = [], None
    for name, block in blocks(model).items():
        if before is not None and block.conv1.input is before.add.output:
            found[-1].append(name)
        else:
            found.append([name])
        before = block
    return found


def chunks_for(channels, integer=False):
    """Into how many products one convolution is cut, measured (benchmarks/sparse_block.py)."""
    return 4 if integer or channels > 64 else 16


def dense_above(channels, integer=False):
    """Share of the pixels that conv1 and conv2 work on, mean of a part's blocks, above which dense blocks are faster; measured.

    With few channels dense convolutions gain more from 8 bits than gathers and index arithmetic do.
    """
    if channels > 64:
        return 0.77
    return 0.22 if integer else 0.56


SAMPLED = 4  # The shares are taken from every fourth pixel of every fourth row: counting all of them would cost time.


def function(model, chunks=None, threshold=None, span=SPAN):
    """The sparse form of a Keras model as a function of tensors, to be run eagerly or traced by tf.function.

    Args:
        model: AdaEDSR or AdaRCAN, float32, with the desired depth as input or fixed. Its weights at the time of the
            call count.
        chunks: products per convolution, None for `chunks_for`.
        threshold: share of worked pixels above which blocks are computed densely; None for `dense_above`, 1 for never.
        span: blocks that are dense or sparse together.
    Returns: function of lr [1, H, W, 3] and, where the model takes it, the desired depth [1, 1], that returns
        {"sr": [1, H * s, W * s, 3], "depth_map": [1, H, W, maps]}, the Keras model's outputs.
        It raises ValueError for a batch of more than one image.
    Raises: ValueError for a model without masks.
    """
    return Walk(model, chunks, threshold, span).run


@dataclasses.dataclass
class _Rows:
    """Where the rows of a chain are; made once, of the pixels that its sparse blocks need.

    N pixels; a row's number is 0 for the row of zeros.
    """

    pixels: object  # [N], numbers in the picture
    neighbours: object  # [1 + N, 9], row numbers
    depth: object  # [1 + N, maps]
    reached: object  # [1 + N, 1], the largest depth of the 3x3 neighbours


class Walk:
    """A pass through a model's layers that computes its blocks sparsely; arguments as of `function`.

    `values` are [1, H, W, C] tensors by KerasTensor.
    """

    def __init__(self, model, chunks=None, threshold=None, span=SPAN):
        import tensorflow as tf

        self.tf, self.model, self.blocks = tf, model, blocks(model)
        if not self.blocks:
            raise ValueError(f"{model.name} has no depth masks, and so no sparse form")
        self.chunks = chunks or chunks_for(next(iter(self.blocks.values())).conv1.kernel.shape[-1])
        self.threshold, self.span = threshold, span
        # Arrays, for what a branch of tf.cond captures from outside would be no constant of the .tflite's branches.
        parts = [part for block in self.blocks.values() for part in (block.conv1, block.conv2, block.squeeze, block.excite)]
        self.arrays = {layer.name: layer.get_weights() for layer in parts if layer is not None}

    def run(self, lr, desired_depth=None):
        """What `function` returns."""
        if lr.shape[0] not in (1, None):
            raise ValueError(f"the sparse form takes one image at a time, got a batch of {lr.shape[0]}")
        values = {id(self.model.inputs[0]): lr}
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

    def run_blocks(self, names, x, depth):
        """The features [1, H, W, C] behind the blocks `names`, a chain, given those before them and the depth map."""
        tf = self.tf
        known, channels = x.shape[1:3], x.shape[-1]
        self.height, self.width = known if None not in known else tf.unstack(tf.shape(x)[1:3])
        self.area = self.height * self.width
        chain = [self.blocks[name] for name in names]
        which = chain[0].mask.depth_map
        reached = tf.nn.max_pool2d(depth[..., which : which + 1], 3, 1, "SAME")
        threshold = dense_above(channels) if self.threshold is None else self.threshold
        never = threshold >= 1
        parts = [chain] if never else [chain[at : at + self.span] for at in range(0, len(chain), self.span)]
        dense = None if never else self._dense_parts(chain, len(parts), depth[..., which : which + 1], reached, threshold)
        first = 0 if never else tf.reduce_sum(tf.cast(dense, tf.int32))
        rows = self._rows(chain, parts, first, depth, reached)
        values = tf.zeros((1, channels), x.dtype)
        for number, part in enumerate(parts):
            here, live = (
                (1, 1) if never else (tf.cast(condition, tf.int32) for condition in (tf.equal(first, number), first <= number))
            )
            entering = tf.gather(tf.reshape(x, (-1, channels)), rows.pixels[: tf.size(rows.pixels) * here])
            values = tf.concat([values, entering], axis=0)
            for block in part:
                values = self._sparse_block(block, values, rows, live)
            x = self._pass(part, x) if never else self._dense_part(part, dense[number], x, depth)
        return self._picture(x, values, rows.pixels)

    def _dense_parts(self, chain, parts, depth, reached, threshold):
        """[parts] bool: whether a part's blocks are computed densely; true for the first ones, as shares fall along a chain.

        Conv1 works where `reached` is above a block's number, conv2 where `depth`, the chain's own map, is.
        """
        tf = self.tf
        sample = tf.reshape(tf.concat([depth, reached], axis=3)[:, ::SAMPLED, ::SAMPLED], (-1, 1))
        levels = [float(block.mask.block) for block in chain]
        levels += [FAR] * (parts * self.span - len(chain))
        counts = tf.reduce_sum(tf.cast(sample > tf.constant([levels]), tf.int32), axis=0)
        counts = tf.reduce_sum(tf.reshape(counts, (parts, self.span)), axis=1)
        lengths = [min(self.span, len(chain) - at) for at in range(0, len(chain), self.span)]
        return counts * 64 > tf.size(sample) * tf.constant([int(64 * threshold) * length for length in lengths])

    def _rows(self, chain, parts, first, depth, reached):
        """The _Rows of the blocks from part number `first` on."""
        tf = self.tf
        further = tf.nn.max_pool2d(reached, 3, 1, "SAME")
        further = tf.reshape(further, tf.reshape(self.area, (1,)))  # fails for more than one image
        levels = tf.constant([float(part[0].mask.block) for part in parts] + [FAR])
        pixels = self._where(further > tf.gather(levels, first))
        # A border of one pixel, so that the neighbours of all pixels are at fixed distances.
        width = self.width + 2
        padded = pixels + 2 * (pixels // self.width) + width + 1
        places = self._places(padded, (self.height + 2) * width)
        neighbours = tf.gather(places, tf.reshape(padded, (-1, 1)) + self._offsets(width))
        neighbours = tf.concat([tf.zeros((1, 9), tf.int32), neighbours], axis=0)

        def of_pixels(values):
            maps = values.shape[-1]
            found = tf.gather(tf.reshape(values, (-1, maps)), pixels)
            return tf.concat([tf.zeros((1, maps), values.dtype), found], axis=0)

        return _Rows(pixels, neighbours, of_pixels(depth), of_pixels(reached))

    def _where(self, condition):
        """[M] int32: where a [N] bool is true."""
        return self.tf.cast(self.tf.reshape(self.tf.where(condition), (-1,)), self.tf.int32)

    def _offsets(self, width):
        """[1, 9]: how far a pixel's neighbours are, in pixels of a picture of that width."""
        tf = self.tf
        down, right = (tf.constant(steps) for steps in zip(*NEIGHBOURS, strict=True))
        return tf.reshape(down * width + right, (1, 9))

    def _sparse_block(self, block, x, rows, live):
        """The rows [1 + N, C] behind a block, given those before it; the row of zeros alone where `live` is 0."""
        tf = self.tf
        count = 1 + tf.size(rows.pixels) * live
        which, level = block.mask.depth_map, float(block.mask.block)
        at1 = self._where(tf.reshape(rows.reached[:count], (-1,)) > level)
        at2 = self._where(tf.reshape(rows.depth[:count, which : which + 1], (-1,)) > level)
        cut1, cut2 = self._cut(at1), self._cut(at2)
        h = self._product(block.conv1, x, tf.gather(rows.neighbours, cut1))
        neighbours = tf.gather(self._places(at1, count), tf.gather(rows.neighbours, cut2))
        y = self._product(block.conv2, h, neighbours, self._mask(block, tf.gather(rows.depth, cut2)))
        places = self._places(at2, count)
        if block.squeeze is not None:
            y = y * self._attention(block, self._mean_of_rows(y, places, rows, live))
        return x + tf.gather(y, places)

    def _cut(self, at):
        """The row numbers, with as many times the row of zeros behind them as make products of equal lengths, above 0."""
        tf = self.tf
        more = self.chunks - tf.size(at) % self.chunks
        return tf.concat([at, tf.zeros(tf.reshape(more, (1,)), tf.int32)], axis=0)

    def _mask(self, block, depth):
        return block.mask(depth)

    def _mean_of_rows(self, y, places, rows, live):
        """[1, C]: the mean over all pixels of what stands in the rows y."""
        tf = self.tf
        return tf.reduce_sum(y, axis=0, keepdims=True) / tf.cast(self.area, y.dtype)

    def _mean(self, y):
        """[1, C]: the mean over the pixels of a picture."""
        return self.tf.reduce_mean(y, axis=(1, 2))

    def _product(self, conv, x, neighbours, mask=None):
        """A row of zeros and then the convolution's results [1 + M, C'], times their masks if given.

        x: [1 + N, C]. neighbours: [M, 9], row numbers. mask: [M, 1]. Each gather is as long as fits the cache. That its product
        follows at once is converters/tflite/op_order.py's doing.
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

    def _places(self, at, count):
        """[count]: the place of each row among the results of the rows `at`, which start at 1; 0 for none."""
        tf = self.tf
        return tf.scatter_nd(tf.reshape(at, (-1, 1)), tf.range(1, tf.size(at) + 1), tf.reshape(count, (1,)))

    def _attention(self, block, mean):
        """[1, C] -> [1, C]."""
        for layer in (block.squeeze, block.excite):
            kernel, bias = self.arrays[layer.name]
            mean = layer.activation(self.tf.matmul(mean, kernel[0, 0]) + bias)
        return mean

    def _dense_part(self, part, condition, x, depth):
        """[1, H, W, C] behind blocks that are computed densely if `condition`, and skipped otherwise.

        Only these are in a branch: the runtime gives a branch's dynamic tensors back after each run, and touching fresh memory
        takes longer than the sparse products.
        """

        def dense():
            y = x
            for block in part:
                y = self._dense_block(block, y, self._mask(block, depth))
            return y

        result = self.tf.cond(condition, dense, lambda: self._pass(part, x))
        result.set_shape(x.shape)
        return result

    def _pass(self, part, x):
        """What blocks make of pixels where their masks are 0."""
        return x

    def _dense_block(self, block, x, mask):
        tf = self.tf
        (kernel1, bias1), (kernel2, bias2) = (self.arrays[conv.name] for conv in (block.conv1, block.conv2))
        y = block.conv1.activation(tf.nn.conv2d(x, kernel1, 1, "SAME") + bias1)
        y = (tf.nn.conv2d(y, kernel2, 1, "SAME") + bias2) * mask
        if block.squeeze is not None:
            y = y * tf.reshape(self._attention(block, self._mean(y)), (1, 1, 1, x.shape[-1]))
        return x + y

    def _picture(self, x, values, pixels):
        """x [1, H, W, C] with the rows' values at their pixels."""
        tf = self.tf
        both = tf.concat([tf.reshape(x, (self.area, x.shape[-1])), values], axis=0)
        moves = self.area + tf.range(1, tf.size(pixels) + 1) - pixels
        limit = tf.minimum(self.area, self.area + tf.size(pixels))  # of a known one, the file would hold all numbers
        places = tf.range(limit) + tf.scatter_nd(tf.reshape(pixels, (-1, 1)), moves, tf.reshape(self.area, (1,)))
        return tf.reshape(tf.gather(both, places), (1, self.height, self.width, x.shape[-1]))
