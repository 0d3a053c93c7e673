"""Convolutions, pooling, padding and resizing of ONNX, compared with ONNX Runtime at several sizes."""

import numpy as np
import pytest

from mobile_sr.converters.formats.float_model import FormatError
from tests.converters.formats.onnx_nets import floats, ints, node
from tests.converters.formats.onnx_network.test_operators import check

CONVOLUTIONS = {
    "same": {"pads": [1, 1, 1, 1]},
    "valid": {},
    "uneven pads": {"pads": [0, 1, 2, 1]},
    "dilated": {"pads": [2, 2, 2, 2], "dilations": [2, 2]},
    "strided": {"pads": [1, 1, 1, 1], "strides": [2, 2]},
    "uneven strides": {"pads": [1, 1, 1, 1], "strides": [1, 2]},
    "same upper": {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    "same lower": {"auto_pad": "SAME_LOWER"},
    "valid by name": {"auto_pad": "VALID"},
}


@pytest.mark.parametrize("form", CONVOLUTIONS)
def test_convolutions(form, tmp_path):
    check(tmp_path, [node("Conv", ["x", "w", "b"], ["y"], **CONVOLUTIONS[form])], {"w": floats(4, 3, 3, 3), "b": floats(4)})


def test_depthwise_and_even_kernels(tmp_path):
    nodes = [
        node("Conv", ["x", "w", "b"], ["d"], group=3, pads=[1, 1, 1, 1]),
        node("Conv", ["d", "v"], ["y"], pads=[0, 1, 1, 0]),
    ]
    check(tmp_path, nodes, {"w": floats(6, 1, 3, 3), "b": floats(6), "v": floats(2, 6, 2, 2)})


TRANSPOSED = {
    "kernel of twice the stride": (4, {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "kernel of the stride": (2, {"strides": [2, 2]}),
    "output padding": (9, {"strides": [3, 3], "pads": [4, 4, 4, 4], "output_padding": [2, 2]}),
    "uneven pads": (5, {"strides": [2, 2], "pads": [0, 1, 2, 3]}),
    "longer than its kernels": (3, {"strides": [3, 3], "output_padding": [1, 2]}),
    "same": (3, {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
}


@pytest.mark.parametrize("form", TRANSPOSED)
def test_transposed_convolutions(form, tmp_path):
    side, attributes = TRANSPOSED[form]
    nodes = [node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)]
    check(tmp_path, nodes, {"w": floats(3, 2, side, side), "b": floats(2)})


def test_grouped_transposed_convolution(tmp_path):
    nodes = [node("ConvTranspose", ["x", "w"], ["y"], group=3, strides=[2, 2])]
    check(tmp_path, nodes, {"w": floats(3, 2, 2, 2)})


POOLS = {
    "average": ("AveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "average without padding": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "average with padding": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    "strided average": (
        "AveragePool",
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1},
    ),
    "maximum": ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "global maximum": ("GlobalMaxPool", {}),
}


@pytest.mark.parametrize("form", POOLS)
def test_pooling(form, tmp_path):
    name, attributes = POOLS[form]
    check(tmp_path, [node(name, ["x"], ["y"], **attributes)])


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pads(mode, tmp_path):
    nodes = [node("Pad", ["x", "p", "v" if mode == "constant" else ""], ["y"], mode=mode)]
    check(tmp_path, nodes, {"p": ints(0, 0, 1, 3, 0, 0, 2, 0), "v": np.float32(0.5)})


def test_pads_of_some_sides_and_crops(tmp_path):
    check(tmp_path, [node("Pad", ["x", "p", "", "axes"], ["y"])], {"p": ints(2, -1, 1, -2), "axes": ints(2, -1)})


RESIZES = {
    "upsample": ("nearest", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, 3),
    "nearest of ONNX": ("nearest", {}, 2),
    "bilinear": ("linear", {"coordinate_transformation_mode": "half_pixel"}, 3),
    "bilinear of PyTorch": ("linear", {"coordinate_transformation_mode": "pytorch_half_pixel"}, 2),
    "aligned corners": ("linear", {"coordinate_transformation_mode": "align_corners"}, 2),
    "asymmetric": ("linear", {"coordinate_transformation_mode": "asymmetric"}, 2),
}


@pytest.mark.parametrize("form", RESIZES)
def test_resizes(form, tmp_path):
    mode, attributes, scale = RESIZES[form]
    nodes = [node("Resize", ["x", "", "s"], ["y"], mode=mode, **attributes)]
    check(tmp_path, nodes, {"s": np.array([1, 1, scale, scale], np.float32)})


def test_half_the_size(tmp_path):
    """Of an odd side, ONNX takes exactly a half and .tflite the nearest size: refused for a dynamic size."""
    nodes = [node("Resize", ["x", "", "s"], ["y"], mode="linear")]
    constants = {"s": np.array([1, 1, 0.5, 0.5], np.float32)}
    check(tmp_path, nodes, constants, (1, 3, 16, 24), sizes=[(16, 24)])
    with pytest.raises(FormatError, match="operator Resize .* depends on the image size"):
        check(tmp_path, nodes, constants)


def test_resize_to_a_computed_size(tmp_path):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Mul", ["shape", "k"], ["sizes"]),
        node("Resize", ["x", "", "", "sizes"], ["y"], mode="linear"),
    ]
    check(tmp_path, nodes, {"k": ints(1, 1, 2, 2)})


def test_resize_back_to_the_size_of_the_image(tmp_path):
    """As in the attention of RFDN: the smaller size is not a part of the image's."""
    nodes = [
        node("MaxPool", ["x"], ["small"], kernel_shape=[3, 3], strides=[3, 3]),
        node("Shape", ["x"], ["sizes"]),
        node("Resize", ["small", "", "", "sizes"], ["y"], mode="linear"),
    ]
    check(tmp_path, nodes)


def test_upsample_of_old_operator_sets(tmp_path):
    check(tmp_path, [node("Upsample", ["x", "s"], ["y"])], {"s": np.array([1, 1, 2, 2], np.float32)}, opset=9)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"mode": "cubic"}, "operator Resize .node up. with mode cubic is not supported; use nearest or linear"),
        ({"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}, "with coordinates tf_crop_and_resize is"),
        ({"coordinate_transformation_mode": "align_corners"}, "with align_corners and round_prefer_floor at this scale has no"),
    ],
)
def test_refused_resizes(attributes, reason, tmp_path):
    nodes = [node("Resize", ["x", "roi", "s"], ["y"], name="up", **attributes)]
    constants = {"s": np.array([1, 1, 2, 2], np.float32), "roi": np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32)}
    with pytest.raises(FormatError, match=reason):
        check(tmp_path, nodes, constants)
