"""Lower bound of a network's receptive field, from the kernels in its .tflite file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobile_sr.converters.tflite import flatbuffer

# Index of the kernel among an operator's inputs. It is [out, h, w, in], or [1, h, w, channels] for a depthwise convolution.
_KERNELS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1}
_RESIZING = ("DEPTH_TO_SPACE", "TRANSPOSE_CONV", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")


def lower_bound(graph: flatbuffer.Graph) -> int:
    """Return a lower bound of the number of LR pixels to each side that an output pixel depends on.

    Strides, dilations, pooling and everything after the first upscaling operator are ignored. For networks of plain
    convolutions at LR size, the bound is the receptive field.

    Args:
        graph: the parsed file.
    """
    radius, enlarged = dict.fromkeys(graph.inputs, 0), set()
    for op in graph.ops:
        sources = [tensor for tensor in op.inputs if tensor in radius]
        if not sources:
            continue
        reached = max(radius[tensor] for tensor in sources)
        larger = any(tensor in enlarged for tensor in sources)
        kernel = graph.tensors[op.inputs[_KERNELS[op.name]]].shape if op.name in _KERNELS else ()
        if len(kernel) == 4 and not larger:
            reached += max(kernel[1:3]) // 2
        for tensor in op.outputs:
            radius[tensor] = reached
            if larger or op.name in _RESIZING:
                enlarged.add(tensor)
    return max((radius.get(tensor, 0) for tensor in graph.outputs), default=0)
