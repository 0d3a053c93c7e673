"""Which channels may be scaled and shifted: one small graph for every operator, whose output equalization must not change.

In most graphs, the convolution 'first' is before the operator in question and 'last' behind it. The channels of 'first' have
different ranges, so that it is equalized exactly if the operator allows it.
"""

import numpy as np
import pytest

from mobile_sr.converters.quantization import quantizer
from mobile_sr.converters.quantization.channels import cross_layer_equalization
from mobile_sr.converters.quantization.channels.equalization_groups import SAME_SCALE, ChannelGroups
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.quantization import small_graphs
from tests.converters.quantization.small_graphs import Builder

COLUMN = np.array([0.7, -1.2, 0.4, 2.0], np.float32)  # one value for each channel
SPATIAL = np.random.default_rng(5).normal(size=(1, 6, 8, 4)).astype(np.float32)
ROWS = np.array([[0, 0], [1, 2], [0, 1], [0, 0]])
CHANNELS = np.array([[0, 0], [0, 0], [0, 0], [2, 1]])
SCALED, SHIFTED, KEPT = "scaled", "scaled and shifted", "kept"  # what equalization may do to the channels of 'first'

CASES = {}


def case(name, expected, channels=4, first=4):
    """Register a graph between 'first' and 'last': function(builder, output of 'first') -> tensor with `channels` channels."""

    def register(function):
        CASES[name] = (function, expected, channels, first)
        return function

    return register


def simple(name, expected, op, *operands, position=0, channels=4, label=None, **options):
    """Register a graph of one operator; `position` is that of the activation among its inputs."""

    def build(b, x):
        inputs = list(operands)
        inputs.insert(position, x)
        return b.op(op, inputs, **options)

    case(label or name, expected, channels)(build)


def second(b, channels=4, kernel=1):
    """Another convolution of the image."""
    return b.conv(b.inputs[0], 3, channels, kernel, layer="second")


case("nothing", SHIFTED)(lambda b, x: x)
case("convolution 3x3", SCALED)(lambda b, x: b.conv(x, 4, 4, 3, layer="middle"))
case("convolution 1x1", SHIFTED)(lambda b, x: b.conv(x, 4, 4, 1, layer="middle"))
case("convolution with stride", SCALED)(lambda b, x: b.conv(x, 4, 4, 3, stride=2))
case("convolution 1x1 with stride", SHIFTED)(lambda b, x: b.conv(x, 4, 4, 1, stride=2))
case("convolution with dilation", SCALED)(lambda b, x: b.conv(x, 4, 4, 3, dilation=2))
case("grouped convolution", SCALED)(lambda b, x: b.conv(x, 4, 4, 3, groups=2))
case("grouped convolution 1x1 to more channels", SCALED, 8)(lambda b, x: b.conv(x, 4, 8, 1, groups=2))
case("convolution with a fused RELU", SHIFTED)(lambda b, x: b.conv(x, 4, 4, activation="RELU"))
case("convolution with a fused RELU6", KEPT)(lambda b, x: b.conv(x, 4, 4, activation="RELU6"))
case("depthwise convolution", SCALED)(lambda b, x: b.depthwise(x, 4))
case("depthwise convolution 1x1", SCALED)(lambda b, x: b.depthwise(x, 4, kernel=1))
case("depthwise convolution with multiplier", SCALED, 8)(lambda b, x: b.depthwise(x, 4, 2))
case("transposed convolution", SCALED)(lambda b, x: b.transposed(x, 4, 4))
case("transposed convolution 1x1", SCALED)(lambda b, x: b.transposed(x, 4, 4, kernel=1))  # its bias fills the gaps
case("transposed convolution without bias", SCALED)(lambda b, x: b.transposed(x, 4, 4, bias=False))


@case("matrix product", SHIFTED)
def _matrix_product(b, x):
    return b.op("FULLY_CONNECTED", [x, b.weights((4, 4)), b.rng.normal(size=4)], keepNumDims=True)


@case("matrix product of all positions", KEPT, 4)
def _flattening(b, x):
    flat = b.op("FULLY_CONNECTED", [x, b.weights((4, 4 * 6 * 8)), b.rng.normal(size=4)])
    return b.op("RESHAPE", [flat, b.ints([1, 1, 1, 4])])


for _name in ("ADD", "SUB"):
    for _operand, _values, _expected in (
        ("a scalar", np.float32(0.6), SCALED),
        ("a scalar of rank 4", np.full((1, 1, 1, 1), 0.6), SCALED),
        ("a constant for each channel", COLUMN, SCALED),
        ("a constant for each position", SPATIAL, KEPT),
        ("a constant for each column", SPATIAL[:, :1, :, :1], KEPT),
    ):
        for _position, _side in ((0, "right"), (1, "left")):
            simple(f"{_name} with {_operand} on the {_side}", _expected, _name, _values, position=_position)
    simple(f"{_name} with a fused RELU", SCALED, _name, COLUMN, activation="RELU")
    simple(f"{_name} with a fused RELU6", KEPT, _name, COLUMN, activation="RELU6")

    @case(f"{_name} of tensors", SCALED)
    def _sum(b, x, name=_name):
        return b.op(name, [x, second(b)])

    @case(f"{_name} of a tensor and its part", SCALED)
    def _sum_of_parts(b, x, name=_name):
        part = b.op("MUL", [COLUMN, x], activation="RELU")
        return b.op(name, [part, x])

    @case(f"{_name} with the mean", SCALED)
    def _centred(b, x, name=_name):
        return b.op(name, [x, b.op("MEAN", [x, b.ints([1, 2])], keepDims=True)])

    @case(f"{_name} with one channel", KEPT)
    def _broadcast(b, x, name=_name):
        return b.op(name, [second(b, 1), x])

    @case(f"{_name} with the image", KEPT, 3, first=3)
    def _residual(b, x, name=_name):
        return b.op(name, [x, b.inputs[0]])


for _operand, _values, _expected in (
    ("a scalar", np.float32(0.6), SCALED),
    ("a negative scalar", np.full((1, 1, 1, 1), -0.6), SCALED),
    ("positive and negative constants", COLUMN, SCALED),
    ("a constant for each position", SPATIAL, KEPT),
):
    simple(f"MUL by {_operand}", _expected, "MUL", _values)
    simple(f"{_operand} times MUL", _expected, "MUL", _values, position=1)
    simple(f"DIV by {_operand}", _expected, "DIV", _values)
    simple(f"{_operand} through DIV", KEPT, "DIV", np.abs(_values) * 1e-3, position=1)
simple("MUL with a fused RELU", SCALED, "MUL", COLUMN, activation="RELU")
case("square", KEPT)(lambda b, x: b.op("MUL", [x, x]))
case("product with its RELU", KEPT)(lambda b, x: b.op("MUL", [x, b.op("RELU", [x])]))
case("DIV of tensors", KEPT)(lambda b, x: b.op("DIV", [x, b.op("EXP", [second(b)])]))


@case("product with a mask of one channel", SCALED)
def _mask(b, x):
    return b.op("MUL", [b.op("LOGISTIC", [second(b, 1)]), x])


@case("product of one channel with an attention", KEPT)
def _wide_attention(b, x):
    attention = b.op("LOGISTIC", [b.op("MEAN", [x, b.ints([1, 2])], keepDims=True)])
    return b.op("MUL", [second(b, 1), attention])


@case("product with an attention of other channels", SCALED)
def _attention(b, x):
    pooled = b.op("MEAN", [second(b), b.ints([1, 2])], keepDims=True)
    return b.op("MUL", [x, b.op("LOGISTIC", [pooled])])


@case("product with an attention of its own channels", KEPT)
def _own_attention(b, x):
    return b.op("MUL", [x, b.op("LOGISTIC", [x])])


@case("product with an attention of its convolved channels", SCALED)
def _convolved_attention(b, x):
    pooled = b.op("MEAN", [x, b.ints([1, 2])], keepDims=True)
    return b.op("MUL", [x, b.op("LOGISTIC", [b.conv(pooled, 4, 4, 1, layer="attention")])])


@case("concatenation of channels", SHIFTED, 8)
def _channels(b, x):
    return b.op("CONCATENATION", [x, second(b)], axis=3)


@case("concatenation of channels with the image", SHIFTED, 7)
def _with_image(b, x):
    return b.op("CONCATENATION", [b.inputs[0], x], axis=-1)


@case("concatenation of rows", SHIFTED)
def _rows(b, x):
    return b.op("CONCATENATION", [x, second(b)], axis=1)


@case("concatenation with a constant", KEPT, 8)
def _with_constant(b, x):
    return b.op("CONCATENATION", [x, SPATIAL], axis=3)


for _axis, _name, _channels_left in ((3, "channels", 2), (1, "rows", 4)):

    @case(f"SPLIT of {_name}", SHIFTED, _channels_left)
    def _split(b, x, axis=_axis):
        return b.op("SPLIT", [b.ints(axis), x], 2, numSplits=2)[0]

    @case(f"SPLIT_V of {_name}", SHIFTED, 3 if _axis == 3 else 4)
    def _split_v(b, x, axis=_axis):
        sizes = [1, 3] if axis == 3 else [2, 4]
        return b.op("SPLIT_V", [x, b.ints(sizes), b.ints(axis)], 2, numSplits=2)[1]

    @case(f"SLICE of {_name}", SHIFTED, 3 if _axis == 3 else 4)
    def _slice(b, x, axis=_axis):
        begin, size = ([0, 0, 0, 1], [1, 6, 8, 3]) if axis == 3 else ([0, 2, 0, 0], [1, 3, 8, 4])
        return b.op("SLICE", [x, b.ints(begin), b.ints(size)], shape=size)

    @case(f"STRIDED_SLICE of {_name}", SHIFTED, 2 if _axis == 3 else 4)
    def _strided(b, x, axis=_axis):
        begin, end, step = (
            ([0, 0, 0, 1], [0, 0, 0, 4], [1, 1, 1, 2]) if axis == 3 else ([0, 5, 0, 0], [0, 0, 0, 4], [1, -2, 1, 1])
        )
        masks = {"beginMask": 7, "endMask": 7} if axis == 3 else {"beginMask": 5, "endMask": 5}
        return b.op("STRIDED_SLICE", [x, b.ints(begin), b.ints(end), b.ints(step)], **masks)


@case("SPLIT of rows into different convolutions", SHIFTED)
def _split_rows(b, x):
    first, other = b.op("SPLIT", [b.ints(1), x], 2, numSplits=2)
    return b.op("ADD", [b.conv(first, 4, 4), b.conv(other, 4, 4)])


@case("SLICE up to the last channel", SHIFTED, 2)
def _slice_rest(b, x):
    return b.op("SLICE", [x, b.ints([0, 0, 0, 2]), b.ints([-1, -1, -1, -1])], shape=(1, 6, 8, 2))


@case("STRIDED_SLICE with lengths instead of ends", KEPT, 2)
def _slice_lengths(b, x):
    begin, size, step = b.ints([0, 0, 0, 2]), b.ints([1, 6, 8, 2]), b.ints([1, 1, 1, 1])
    return b.op("STRIDED_SLICE", [x, begin, size, step], version=8, offset=True)


@case("STRIDED_SLICE backwards over the channels", SHIFTED)
def _backwards(b, x):
    begin, end, step = b.ints([0, 0, 0, 0]), b.ints([0, 0, 0, 0]), b.ints([1, 1, 1, -1])
    return b.op("STRIDED_SLICE", [x, begin, end, step], beginMask=15, endMask=15)


@case("STRIDED_SLICE that removes an axis", KEPT)
def _shrink(b, x):
    begin, end, step = b.ints([0, 2, 0, 0]), b.ints([1, 3, 8, 4]), b.ints([1, 1, 1, 1])
    row = b.op("STRIDED_SLICE", [x, begin, end, step], shrinkAxisMask=2)
    return b.op("RESHAPE", [row, b.ints([1, 1, 8, 4])])


simple("PAD of rows", SCALED, "PAD", ROWS)
simple("PAD of channels", SCALED, "PAD", CHANNELS, channels=7)
simple("PADV2 with 0", SCALED, "PADV2", ROWS, np.float32(0))
simple("PADV2 with 1", KEPT, "PADV2", ROWS, np.float32(1))
simple("MIRROR_PAD of rows", SHIFTED, "MIRROR_PAD", ROWS)
simple("MIRROR_PAD of channels", KEPT, "MIRROR_PAD", CHANNELS, channels=7)
for _name, _expected in (("MEAN", SHIFTED), ("SUM", SCALED), ("REDUCE_MAX", SHIFTED), ("REDUCE_MIN", SHIFTED)):
    simple(f"{_name} over space", _expected, _name, np.array([1, 2]), keepDims=True)
    simple(f"{_name} over rows", _expected, _name, np.array([-3]), keepDims=True)
    simple(f"{_name} over channels", KEPT, _name, np.array([-1]), channels=1, keepDims=True)
for _name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
    for _padding in (0, 1):
        _label, _pool = f"{_name} with padding {_padding}", {"strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 3}
        simple(_label, SHIFTED, _name, padding=_padding, **_pool)
    simple(f"{_name} with a fused RELU", SCALED, _name, activation="RELU", **_pool)
for _name in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
    for _coordinates in ("halfPixelCenters", "alignCorners"):
        simple(f"{_name} {_coordinates}", SHIFTED, _name, np.array([9, 20]), version=3, **{_coordinates: True})
for _name in ("RELU", "ABS", "NEG"):
    simple(_name, SCALED, _name)
simple("LEAKY_RELU", SCALED, "LEAKY_RELU", alpha=0.2)
for _name in ("RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "HARD_SWISH", "GELU", "ELU", "EXP"):
    simple(_name, KEPT, _name)
simple("PRELU", SCALED, "PRELU", COLUMN.reshape(1, 1, 4))
simple("PRELU with one slope", SCALED, "PRELU", np.full((1, 1, 1), -0.3, np.float32))
simple("PRELU with a slope for each position", KEPT, "PRELU", SPATIAL[0])
for _name in ("MAXIMUM", "MINIMUM"):
    simple(f"{_name} with 0", SCALED, _name, np.zeros((), np.float32))
    simple(f"0 with {_name}", SCALED, _name, np.zeros((1, 1, 1, 4), np.float32), position=1)
    simple(f"{_name} with another constant", KEPT, _name, np.float32(0.1))

    @case(f"{_name} of tensors", SCALED)
    def _extreme(b, x, name=_name):
        return b.op(name, [second(b), x])

    @case(f"{_name} of one channel with zeros for several", SHIFTED)
    def _widened(b, x, name=_name):
        return b.op(name, [b.conv(x, 4, 1, layer="one"), np.zeros(4)])


@case("DEPTH_TO_SPACE", SHIFTED, 2, first=8)
def _depth_to_space(b, x):
    return b.op("DEPTH_TO_SPACE", [x], blockSize=2)


@case("DEPTH_TO_SPACE and back", SHIFTED, 8, first=8)
def _to_and_fro(b, x):
    return b.op("SPACE_TO_DEPTH", [b.op("DEPTH_TO_SPACE", [x], blockSize=2)], blockSize=2)


@case("DEPTH_TO_SPACE and RELU", SCALED, 4, first=16)
def _rectified_pixels(b, x):
    return b.op("RELU", [b.op("DEPTH_TO_SPACE", [x], blockSize=2)])


simple("SPACE_TO_DEPTH", SHIFTED, "SPACE_TO_DEPTH", channels=16, blockSize=2)
simple("RESHAPE of space", SHIFTED, "RESHAPE", np.array([1, 8, 6, 4]))
simple("RESHAPE of channels", KEPT, "RESHAPE", np.array([1, 6, 16, 2]), channels=2)
simple("TRANSPOSE of space", SHIFTED, "TRANSPOSE", np.array([0, 2, 1, 3]))
simple("TRANSPOSE of channels", KEPT, "TRANSPOSE", np.array([0, 1, 3, 2]), channels=8)
simple("GATHER", KEPT, "GATHER", np.array([2, 0, 1]), channels=3, axis=3)
simple("TILE", KEPT, "TILE", np.array([1, 1, 1, 2]), channels=8)


@case("two readers, one of them unknown", KEPT)
def _two_readers(b, x):
    return b.op("ADD", [b.conv(x, 4, 4), b.op("TANH", [x])])


@case("the shape of the tensor is read, too", SHIFTED)
def _shape(b, x):
    size = b.op("SHAPE", [x], outType=2)
    b.graph.graph.tensors[size].type = b.schema.TensorType.INT32
    return b.op("RESHAPE", [b.conv(x, 4, 4), size])


def build(name):
    """(graph of a case, the expected change of 'first')."""
    function, expected, channels, first = CASES[name]
    b = Builder(seed=len(name))
    x = b.conv(b.inputs[0], 3, first, 3, layer="first")
    last = b.conv(function(b, x), channels, 3, layer="last")
    return b.finished(last), expected


@pytest.mark.parametrize("name", CASES)
def test_the_output_stays(name):
    graph, expected = build(name)
    (image,) = small_graphs.images(1, seed=9)
    before = small_graphs.run(graph, image)[0]
    record = cross_layer_equalization.equalize(graph, small_graphs.images(), 1.0)
    after = small_graphs.run(graph, image)[0]
    assert np.abs(before).max() > 0.01
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-5 * np.abs(before).max())
    assert "last" not in record
    if expected == KEPT:
        assert "first" not in record
    else:
        assert record["first"]["largest_scale"] > 1.05
        assert (record["first"]["largest_shift"] > 0) == (expected == SHIFTED)


def test_a_scale_of_one_of_several_readers_reaches_all():
    """The groups of a tensor are those of its channels: CONCATENATION orders them, SLICE picks them."""
    b = Builder()
    first, other = (b.conv(b.inputs[0], 3, 2, layer=name) for name in ("first", "other"))
    both = b.op("CONCATENATION", [first, other], axis=3)
    part = b.op("SLICE", [both, b.ints([0, 0, 0, 1]), b.ints([1, 6, 8, 2])], shape=(1, 6, 8, 2))
    last = b.conv(part, 2, 3, layer="last")
    groups = ChannelGroups(b.finished(last))
    (_, of_first), (_, of_other), (read, _) = (groups.convolutions[tensor] for tensor in (first, other, last))
    assert read == [of_first[1], of_other[0]]
    lows, highs = groups.combine({tensor: (np.zeros(1), np.ones(1)) for tensor in groups.tensors})
    together = np.isfinite(lows[:, groups.roots(of_first + of_other)]).all(axis=1)
    assert together.sum() == 1  # one shared range of `both`, its parts and its slice
    assert np.isfinite(highs).sum(axis=1).tolist().count(1) == 2  # the input and the output are by themselves


@pytest.mark.parametrize("name", ["CONV_2D", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "FULLY_CONNECTED", "RELU"])
def test_the_number_of_channels_may_be_known_at_run_time_only(name):
    b = Builder((1, 6, 8, 4))
    x = b.op("NEG", [b.inputs[0]])
    y = {
        "CONV_2D": lambda: b.conv(x, 4, 4),
        "DEPTHWISE_CONV_2D": lambda: b.depthwise(x, 4),
        "DEPTH_TO_SPACE": lambda: b.op(name, [x], blockSize=2),
        "FULLY_CONNECTED": lambda: b.op(name, [x, b.weights((4, 4)), b.rng.normal(size=4)], keepNumDims=True),
        "RELU": lambda: b.op(name, [x]),
    }[name]()
    first = b.conv(y, 1 if name == "DEPTH_TO_SPACE" else 4, 4, layer="first")
    graph = b.finished(b.conv(first, 4, 3, layer="last"))
    for tensor in (b.inputs[0], x, y):
        graph.graph.tensors[tensor].shapeSignature = [1, -1, -1, -1]
    (image,) = small_graphs.images(1, (1, 6, 8, 4))
    before = small_graphs.run(graph, image)[0]
    record = cross_layer_equalization.equalize(graph, [image])
    assert ("first" in record) == (name in ("DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE"))  # of 4 channels, or of one
    np.testing.assert_allclose(small_graphs.run(graph, image)[0], before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        *("concatenation of rows", "PAD of rows", "PADV2 with 0", "MIRROR_PAD of rows", "SPLIT_V of rows", "SLICE of rows"),
        *("STRIDED_SLICE of rows", "GATHER", "TILE", "MAX_POOL_2D with padding 0", "AVERAGE_POOL_2D with padding 0"),
        *("RESIZE_BILINEAR alignCorners", "RESIZE_NEAREST_NEIGHBOR alignCorners", "MINIMUM of tensors", "MAXIMUM of tensors"),
        *("REDUCE_MAX over rows", "REDUCE_MIN over rows", "RESHAPE of space", "TRANSPOSE of space", "DEPTH_TO_SPACE"),
        *("SPACE_TO_DEPTH", "MEAN over rows", "SUM over rows", "LEAKY_RELU", "ABS", "ADD of tensors"),
    ],
)
def test_operators_that_keep_the_scale_in_8_bits(name):
    """Those of SAME_SCALE, and no others."""
    graph, _ = build(name)
    parsed = flatbuffer.parse(quantizer.convert(graph.packed(), "int8", small_graphs.images()))
    op = next(op for op in parsed.ops if not op.name.startswith("CONV_2D") and parsed.tensors[op.outputs[0]].dtype == "int8")
    source, result = (parsed.tensors[tensor] for tensor in (op.inputs[0], op.outputs[0]))
    same = source.scales.tolist() == result.scales.tolist() and source.zero_points.tolist() == result.zero_points.tolist()
    assert same == (op.name in SAME_SCALE)
