"""Linear spaces: which tensors may be mixed, and that mixing them keeps the network's output."""

import numpy as np
import pytest

from mobile_sr.converters.quantization.channels import linear_spaces
from tests.converters.quantization.small_graphs import Builder, images, names, run

CHANNELS = 4


def graph(case):
    """A graph with a tensor of CHANNELS channels between two convolutions, and what `case` adds there."""
    builder = Builder()
    x = builder.conv(0, 3, CHANNELS, layer="head")
    if case == "sum":
        x = builder.op("ADD", [x, builder.conv(x, CHANNELS, CHANNELS, 3, layer="block")])
    elif case == "difference":
        x = builder.op("SUB", [x, builder.conv(x, CHANNELS, CHANNELS, 3, layer="block")])
    elif case == "mask of all channels":
        x = builder.op("MUL", [x, builder.conv(0, 3, 1, layer="mask")])
    elif case == "number":
        x = builder.op("ADD", [x, builder.op("MUL", [builder.conv(x, CHANNELS, CHANNELS, layer="block"), np.float32(0.1)])])
    elif case == "factor of each channel":
        x = builder.op("MUL", [x, np.arange(1.0, CHANNELS + 1)])
    elif case == "concatenation":
        x = builder.op("CONCATENATION", [builder.conv(0, 3, 3, layer="first"), x], axis=3)
    elif case == "nearest":
        x = builder.op("RESIZE_NEAREST_NEIGHBOR", [x, builder.ints([12, 16])])
    elif case == "depth_to_space":
        x = builder.op("DEPTH_TO_SPACE", [builder.conv(x, CHANNELS, 4 * CHANNELS, layer="up")], blockSize=2)
    elif case == "grouped reader":
        x = builder.conv(x, CHANNELS, CHANNELS, 3, groups=2, layer="grouped", activation="RELU")
    elif case == "grouped writer":
        x = builder.conv(x, CHANNELS, CHANNELS, 3, groups=2, layer="grouped")
    elif case == "ReLU":
        x = builder.op("RELU", [x])
    elif case == "constant":
        x = builder.op("ADD", [x, np.ones(CHANNELS)])
    elif case == "mask of each channel":
        x = builder.op("MUL", [x, builder.conv(0, 3, CHANNELS, layer="mask")])
    elif case == "pooling":
        x = builder.op("MAX_POOL_2D", [x], filterWidth=3, filterHeight=3, strideW=1, strideH=1)
    elif case == "depthwise":
        x = builder.depthwise(x, CHANNELS)
    elif case == "sum of the phases":
        phases = builder.conv(x, CHANNELS, 4 * CHANNELS, layer="up")
        x = builder.op("DEPTH_TO_SPACE", [phases], blockSize=2)
        x = builder.op("ADD", [x, builder.op("DEPTH_TO_SPACE", [builder.op("ABS", [phases])], blockSize=2)])
    channels = CHANNELS + 3 if case == "concatenation" else CHANNELS
    result = builder.conv(x, channels, 3, 3, layer="tail")
    return builder.finished(result, x) if case == "output" else builder.finished(result)


def written(found, space):
    return sorted(found.layer_name(op.outputs[0]) for op in space.writers)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("sum", [["block", "head"]]),
        ("difference", [["block", "head"]]),
        ("mask of all channels", [["head"]]),
        ("number", [["block", "head"]]),
        ("factor of each channel", []),
        ("concatenation", [["first"], ["head"]]),
        ("nearest", [["head"]]),
        ("depth_to_space", [["head"], ["up"]]),
        ("grouped reader", [["head"]]),
        ("grouped writer", [["grouped"], ["head"]]),
        ("ReLU", []),
        ("constant", []),
        ("mask of each channel", []),
        ("pooling", []),
        ("depthwise", []),
        ("sum of the phases", [["head"]]),
        ("output", []),
    ],
)
def test_mixed_channels_keep_the_output(case, expected):
    built = graph(case)
    spaces = linear_spaces.find(built)
    assert sorted(written(built, space) for space in spaces) == expected
    before = run(built, images()[0])
    rng = np.random.default_rng(0)
    for space in spaces:
        blocks = np.kron(np.eye(space.channels // space.block), np.ones((space.block, space.block)))
        linear_spaces.apply(built, space, (np.eye(space.channels) + 0.3 * rng.standard_normal((space.channels,) * 2)) * blocks)
    for now, then in zip(run(built, images()[0]), before, strict=True):
        np.testing.assert_allclose(now, then, atol=1e-5 * np.abs(then).max())


def test_blocks_of_grouped_convolutions():
    assert [space.block for space in linear_spaces.find(graph("grouped reader"))] == [2]
    assert sorted(space.block for space in linear_spaces.find(graph("grouped writer"))) == [2, 2]


def test_pointwise_readers_allow_a_shift():
    """Only a tensor by itself that 1x1 convolutions read: a larger kernel would see the shift end at the border."""
    builder = Builder()
    x = builder.conv(0, 3, CHANNELS, 3, layer="head")
    built = builder.finished(builder.conv(x, CHANNELS, 3, layer="tail"))
    assert [space.is_pointwise(built) for space in linear_spaces.find(built)] == [True]
    other = graph("plain")
    assert [space.is_pointwise(other) for space in linear_spaces.find(other)] == [False]


def padded(before=0, after=1, value=None, **head):
    """A trunk of 7 channels that is padded to 8 for a sum."""
    builder = Builder()
    x = builder.conv(0, 3, 7, 3, layer="head", **head)
    amounts = builder.ints([[0, 0], [0, 0], [0, 0], [before, after]])
    wide = builder.op("PAD", [x, amounts]) if value is None else builder.op("PADV2", [x, amounts, np.float32(value)])
    total = builder.op("ADD", [wide, builder.conv(x, 7, 7 + before + after, 3, layer="block")])
    return builder.finished(builder.conv(total, 7 + before + after, 3, 3, layer="tail"))


def test_a_padding_of_channels_becomes_part_of_the_convolution():
    built = padded()
    before = run(built, images()[0])[0]
    linear_spaces.widen(built)
    assert names(built) == ["CONV_2D", "CONV_2D", "ADD", "CONV_2D"]
    np.testing.assert_allclose(run(built, images()[0])[0], before, atol=2e-6)
    (space,) = linear_spaces.find(built)
    assert (space.channels, written(built, space)) == (8, ["block", "head"])


@pytest.mark.parametrize("case", [{"before": 1, "after": 0}, {"after": 2}, {"value": 1}, {"activation": "RELU"}])
def test_other_paddings_stay(case):
    """Channels in front, more than a kernel computes together, other values, an activation in between."""
    built = padded(**case)
    linear_spaces.widen(built)
    assert {"PAD", "PADV2"} & set(names(built))
