"""How far a network sees, by the kernels in its .tflite file."""

# The kernel's place among an operator's inputs; it is [out, h, w, in], or [1, h, w, channels] of a depthwise convolution.
_KERNELS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1}
_RESIZING = ("DEPTH_TO_SPACE", "TRANSPOSE_CONV", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")


def reach(graph):
    """LR pixels to each side that some output pixel of a tflite_file.Graph depends on, at least.

    A lower bound: strides, dilations, pooling and everything behind the first enlargement are left out. For networks of
    plain convolutions at the LR size it is the receptive field.
    """
    found, enlarged = dict.fromkeys(graph.inputs, 0), set()
    for op in graph.ops:
        sources = [tensor for tensor in op.inputs if tensor in found]
        if not sources:
            continue
        far = max(found[tensor] for tensor in sources)
        larger = any(tensor in enlarged for tensor in sources)
        kernel = graph.tensors[op.inputs[_KERNELS[op.name]]].shape if op.name in _KERNELS else ()
        if len(kernel) == 4 and not larger:
            far += max(kernel[1:3]) // 2
        for tensor in op.outputs:
            found[tensor] = far
            if larger or op.name in _RESIZING:
                enlarged.add(tensor)
    return max((found.get(tensor, 0) for tensor in graph.outputs), default=0)
