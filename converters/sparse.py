"""AdaDSR's sparse form: a TensorFlow graph of a trained AdaEDSR or AdaRCAN whose blocks work where their masks are not 0.

Paper: Liu et al., "AdaDSR: Adaptive Depth Super-Resolution", ECCV Workshops 2020, Sec. 3.3; the authors' sparse
convolution is a CUDA kernel, this one is made of operators that every TFLite runtime has. Every layer outside of the blocks is
the Keras model's own, so that the network stands in one place.

A block x + mask * conv2(relu(conv1(x))) needs conv2 where the mask is positive and conv1 where one of its 3x3 neighbours is.
Between blocks the features are rows [(H + 2) * (W + 2), C]: the picture with a border of zeros, so that a pixel's neighbours
are at fixed distances and none needs to be tested. Each convolution is a gather of the nine neighbours by one [N, 9] array of
row numbers and a product with the dense kernel as [9 * C, C]. Its results are N rows behind a row of zeros; an array with the
place of each pixel's row there, 0 for pixels that have none, brings them back into the picture.
"""

import dataclasses

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


def chunks_for(channels):
    """Into how many products one convolution is cut, measured (benchmarks/sparse_block.py)."""
    return 4 if channels <= 64 else 2


def dense_above(channels, integer=False):
    """Share of a block's rows (mean of both convolutions) from which on the dense block is faster, measured.

    Dense convolutions gain more from 8 bits than gathers and index arithmetic do.
    """
    if integer:
        return 0.2 if channels <= 64 else 0.5
    return 0.5 if channels <= 64 else 0.8


def function(model, chunks=None, threshold=None):
    """The sparse form of a Keras model as a function of tensors, to be run eagerly or traced by tf.function.

    Args:
        model: AdaEDSR or AdaRCAN, float32, with the desired depth as input or fixed. Its weights at the time of the
            call count.
        chunks: products per convolution, None for `chunks_for`.
        threshold: share of active rows above which a block is computed densely; None for `dense_above`, 1 for never.
    Returns: function of lr [1, H, W, 3] and, where the model takes it, the desired depth [1, 1], that returns
        {"sr": [1, H * s, W * s, 3], "depth_map": [1, H, W, maps]}, the Keras model's outputs.
        It raises ValueError for a batch of more than one image.
    Raises: ValueError for a model without masks.
    """
    return Walk(model, chunks, threshold).run


class Walk:
    """A pass through a model's layers that computes its blocks sparsely; arguments as of `function`.

    `values` are [1, H, W, C] tensors, `rows` the padded rows of some, by KerasTensor.
    """

    def __init__(self, model, chunks=None, threshold=None):
        import tensorflow as tf

        self.tf, self.model, self.blocks = tf, model, blocks(model)
        if not self.blocks:
            raise ValueError(f"{model.name} has no depth masks, and so no sparse form")
        self.chunks, self.threshold = chunks, threshold
        # Arrays, for what a branch of tf.cond captures from outside would be no constant of the .tflite's branches.
        parts = [part for block in self.blocks.values() for part in (block.conv1, block.conv2, block.squeeze, block.excite)]
        self.arrays = {layer.name: layer.get_weights() for layer in parts if layer is not None}

    def run(self, lr, desired_depth=None):
        """What `function` returns."""
        if lr.shape[0] not in (1, None):
            raise ValueError(f"the sparse form takes one image at a time, got a batch of {lr.shape[0]}")
        self._set_size(lr)
        self.rows, self.values = {}, {id(self.model.inputs[0]): lr}
        if len(self.model.inputs) > 1:
            self.values[id(self.model.inputs[1])] = desired_depth
        inside = set().union(*(block.inside for block in self.blocks.values()))
        for layer in self.model.layers:
            if layer.name in self.blocks:
                self._block(self.blocks[layer.name])
            elif layer.name not in inside and id(layer.output) not in self.values:
                sources = layer.input if isinstance(layer.input, list) else [layer.input]
                inputs = [self._value(source) for source in sources]
                self.values[id(layer.output)] = layer(inputs if len(inputs) > 1 else inputs[0])
        sr, depth = (self._value(output) for output in self.model.outputs)
        return {"sr": sr, "depth_map": depth}

    def run_blocks(self, names, x, depth_map):
        """The features [1, H, W, C] behind the blocks `names`, which follow each other, given those before them."""
        chain = [self.blocks[name] for name in names]
        self._set_size(x)
        self.rows, self.values = {}, {id(chain[0].conv1.input): x, id(chain[0].mask.input): depth_map}
        for block in chain:
            self._block(block)
        return self._value(chain[-1].add.output)

    def _set_size(self, x):
        known = x.shape[1:3]
        self.height, self.width = known if None not in known else self.tf.unstack(self.tf.shape(x)[1:3])
        self.area = (self.height + 2) * (self.width + 2)

    def _value(self, tensor):
        """[1, H, W, C], cut out of the rows where only those are there."""
        if id(tensor) not in self.values:
            padded = self._picture(self.rows[id(tensor)])
            self.values[id(tensor)] = padded[:, 1:-1, 1:-1]
        return self.values[id(tensor)]

    def _picture(self, rows):
        return self.tf.reshape(rows, (1, self.height + 2, self.width + 2, rows.shape[-1]))

    def _rows(self, tensor, pool=False):
        """[area, C] with a border of zeros; `pool`: of the maximum over 3x3 pixels."""
        key = (id(tensor), "pooled") if pool else id(tensor)
        if key not in self.rows:
            value = self._value(tensor)
            value = self.tf.nn.max_pool2d(value, 3, 1, "SAME") if pool else value
            padded = self.tf.pad(value, [[0, 0], [1, 1], [1, 1], [0, 0]])
            self.rows[key] = self.tf.reshape(padded, (self.area, value.shape[-1]))
        return self.rows[key]

    def _block(self, block):
        """A mask grows with the depth and is 0 where that is 0: the border, and its maximum is that of the maximum's."""
        tf = self.tf
        x, depth = self._rows(block.conv1.input), block.mask.input
        mask, dilated = (
            tf.reshape(self._mask(block, self._picture(self._rows(depth, pool))), (self.area, 1)) for pool in (False, True)
        )
        active, reached = (tf.reshape(m, (-1,)) > 0 for m in (mask, dilated))
        threshold = dense_above(x.shape[-1]) if self.threshold is None else self.threshold
        if threshold >= 1:
            y, places = self._sparse_rows(block, x, mask, active, reached)
            result = x + tf.gather(y, places)
        else:
            # Where the dense block runs, the sparse one has no rows. It stays outside of the branch, because the runtime
            # gives a branch's dynamic tensors back after each run, and touching fresh memory takes longer than the products.
            rows = sum(tf.reduce_sum(tf.cast(m, tf.int32)) for m in (active, reached))
            few = rows <= self.height * self.width // 64 * int(2 * 64 * threshold)
            y, places = self._sparse_rows(block, x, mask, active & few, reached & few)
            result = tf.cond(few, lambda: x + tf.gather(y, places), lambda: self._dense_block(block, x, mask))
            result.set_shape(x.shape)
        self.rows[id(block.add.output)] = result

    def _sparse_rows(self, block, x, mask, active, reached):
        """(A row of zeros and what the block adds to its active rows, [1 + N, C]; the place of each row there, [area])."""
        tf = self.tf
        at1, at2 = (tf.cast(tf.reshape(tf.where(m), (-1,)), tf.int32) for m in (reached, active))
        offsets = self._offsets()
        h = self._product(block.conv1, at1, lambda at: tf.gather(x, at + offsets))
        places = self._places(at1)
        y = self._product(block.conv2, at2, lambda at: tf.gather(h, tf.gather(places, at + offsets)), mask)
        places = self._places(at2)
        return (y if block.squeeze is None else y * self._attention(block, self._mean_of_rows(y, places))), places

    def _mask(self, block, depth):
        return block.mask(depth)

    def _mean_of_rows(self, y, places):
        """[1, C]: the mean over all pixels of what stands in the rows y at `places`."""
        tf = self.tf
        return tf.reduce_sum(y, axis=0, keepdims=True) / tf.cast(self.height * self.width, y.dtype)

    def _mean(self, y):
        """[1, C]: the mean over the pixels of a picture with a border of zeros."""
        tf = self.tf
        return tf.reduce_sum(y, axis=(1, 2)) / tf.cast(self.height * self.width, y.dtype)

    def _offsets(self):
        """[1, 9]: how far a pixel's neighbours are, in rows."""
        tf = self.tf
        down, right = (tf.constant(steps) for steps in zip(*NEIGHBOURS, strict=True))
        return tf.reshape(down * (self.width + 2) + right, (1, 9))

    def _product(self, conv, at, gather, mask=None):
        """A row of zeros and then the convolution's results [1 + N, C] for the rows `at`, times their masks if given."""
        tf = self.tf
        kernel, bias = self.arrays[conv.name]
        inputs, outputs = 9 * kernel.shape[2], kernel.shape[3]
        parts = [tf.zeros((1, outputs), kernel.dtype)]
        count, size = self.chunks or chunks_for(outputs), tf.size(at)
        for part in range(count):
            rows = at[size * part // count : size * (part + 1) // count]
            patches = tf.reshape(gather(tf.reshape(rows, (-1, 1))), (-1, inputs))
            result = conv.activation(tf.matmul(patches, kernel.reshape(inputs, outputs)) + bias)
            parts.append(result if mask is None else result * tf.gather(mask, rows))
        return tf.concat(parts, axis=0)

    def _places(self, at):
        """[area]: the place of each pixel's row among the results of the rows `at`, which start at 1; 0 for none."""
        tf = self.tf
        return tf.scatter_nd(tf.reshape(at, (-1, 1)), tf.range(1, tf.size(at) + 1), tf.reshape(self.area, (1,)))

    def _attention(self, block, mean):
        """[1, C] -> [1, C]."""
        for layer in (block.squeeze, block.excite):
            kernel, bias = self.arrays[layer.name]
            mean = layer.activation(self.tf.matmul(mean, kernel[0, 0]) + bias)
        return mean

    def _dense_block(self, block, x, mask):
        """The block for all rows.

        Padding conv1's result by 2 keeps the border, whose results the mask puts to 0; XNNPACK pads inside the convolution.
        """
        tf = self.tf
        (kernel1, bias1), (kernel2, bias2) = (self.arrays[conv.name] for conv in (block.conv1, block.conv2))
        y = block.conv1.activation(tf.nn.conv2d(self._picture(x), kernel1, 1, "VALID") + bias1)
        y = tf.pad(y, [[0, 0], [2, 2], [2, 2], [0, 0]])
        y = (tf.nn.conv2d(y, kernel2, 1, "VALID") + bias2) * self._picture(mask)
        if block.squeeze is not None:
            y = y * tf.reshape(self._attention(block, self._mean(y)), (1, 1, 1, x.shape[-1]))
        return x + tf.reshape(y, (self.area, x.shape[-1]))
