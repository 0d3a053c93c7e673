"""What a network costs at a size: parameters, the NTIRE challenge's FLOPs and activations, and true multiply-adds."""

import math

_MEASURES = ("script_flops", "flops", "multiply_adds", "activations", "convolutions")


def counts(model, height=256, width=256, script_skips=()):
    """The measures of the NTIRE 2022 efficient super-resolution challenge, for an LR input of one size.

    Li et al., CVPRW 2022, Table 1, prints them for 256x256, as its script counts them: multiply-adds of convolutions without
    biases, and 1 for each output element of a ReLU, LeakyReLU or PReLU; additions, products, concatenation, sigmoid, GELU,
    SiLU, softmax, layer normalization, pooling, resizing and depth_to_space are free. Three rows need the script's quirks:

    - It hooks modules. FMEN's LeakyReLU is a function outside of them and not seen: `script_skips`.
    - For a linear layer it multiplies the lengths of the *second* axes of its input and output, taking them for channels. In
      BSRN and MobileSR they are heights, or pixels of a window: a layer on [1, H, W, C] counts H * H whatever C is.
    - It counts no linear layer as a convolution, so that the 1x1 layers of these two are in no activation and in no #Conv.

    Args:
        model: functional Keras model of this package, its layers being named as in efficient_blocks.py.
        height, width: of the LR input in pixels.
        script_skips: class names of the layers that the script does not see.
    Returns: {"parameters", "script_flops", "flops", "multiply_adds", "activations", "convolutions"}, ints. `multiply_adds` are
        the true ones, of convolutions, linear layers and attention; `flops` these and 1 for each element of a rectifier's
        output, the script's rule without its quirks; `activations` the elements of all convolutions' outputs.
    """
    shapes = {id(t): (1, height, width, 3) if len(t.shape) == 4 else (1, *t.shape[1:]) for t in model.inputs}
    found = {"parameters": model.count_params(), **dict.fromkeys(_MEASURES, 0)}
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        several = isinstance(layer.input, list)
        before = [shapes[id(t)] for t in (layer.input if several else [layer.input])]
        after = shapes[id(layer.output)] = layer.compute_output_shape(before if several else before[0])
        if kind == "WindowAttention":
            linears, attention = layer.products()
            pixels, windows = layer.padded_pixels(*after[1:3])
            found["multiply_adds"] += pixels * (linears + attention)
            found["script_flops"] += 2 * windows * (pixels // windows) ** 2
        elif hasattr(layer, "kernel"):
            products = after[1] * after[2] * math.prod(layer.kernel.shape)
            linear = layer.name.endswith("_linear")
            found["multiply_adds"] += products
            found["script_flops"] += before[0][1] * after[1] if linear else products
            found["activations"] += 0 if linear else math.prod(after)
            found["convolutions"] += 0 if linear else 1
        if _rectifies(layer, kind):
            found["flops"] += math.prod(after)
            found["script_flops"] += 0 if kind in script_skips else math.prod(after)
    found["flops"] += found["multiply_adds"]
    return found


def _rectifies(layer, kind):
    own = getattr(getattr(layer, "activation", None), "__name__", None)
    return own == "relu" or kind in ("ReLU", "LeakyReLU", "PReLU", "ScalarPReLU")
