"""Int8 .tflite files of one operator with random weights, for counting what it costs."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from mobile_sr.converters.tflite import flatbuffer

SIDE = 64  # of the input, in pixels
_SAME, _STRIDE_1 = schema.Padding.SAME, {"strideW": 1, "strideH": 1}


class _File:
    def __init__(self, name, options=None, version=1, **values):
        self.random = np.random.default_rng(0)
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.inputs, self.graph.outputs = [], [], []
        self.buffers = [schema.BufferT()]
        self.code = schema.OperatorCodeT()
        self.code.builtinCode = getattr(schema.BuiltinOperator, name)
        self.code.deprecatedBuiltinCode = min(self.code.builtinCode, 127)
        self.code.version = version
        self.op = schema.OperatorT()
        self.op.inputs = []
        if options:
            self.op.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            self.op.builtinOptions = getattr(schema, f"{options}T")()
            for key, value in values.items():
                assert hasattr(self.op.builtinOptions, key), key
                setattr(self.op.builtinOptions, key, value)

    def tensor(self, shape, dtype="INT8", scale=None, zero=0, values=None, axis=0):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = f"t{len(self.graph.tensors)}", list(shape), getattr(schema.TensorType, dtype)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.full(len(scales), zero, np.int64)
            tensor.quantization.quantizedDimension = axis
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def image(self, channels, scale=0.02, side=SIDE, zero=-3, dtype="INT8"):
        index = self.tensor((1, side, side, channels), dtype, scale, zero)
        self.graph.inputs.append(index)
        self.op.inputs.append(index)

    def weights(self, shape, axis=0):
        scale = self.random.uniform(0.001, 0.002, shape[axis])
        values = self.random.integers(-127, 128, shape).astype(np.int8)
        self.op.inputs.append(self.tensor(shape, "INT8", scale, 0, values, axis))
        return scale

    def bias(self, scales):
        values = self.random.integers(-1000, 1000, len(scales)).astype(np.int32)
        self.op.inputs.append(self.tensor((len(scales),), "INT32", 0.02 * scales, 0, values))

    def constant(self, values, **quantization):
        values = np.asarray(values)
        dtype = "INT32" if values.dtype == np.int32 else "INT8"
        self.op.inputs.append(self.tensor(values.shape, dtype, values=values, **quantization))

    def output(self, channels, scale=0.05, side=SIDE, zero=5, dtype="INT8", shape=None):
        index = self.tensor(shape or (1, side, side, channels), dtype, scale, zero)
        self.graph.outputs.append(index)

    def packed(self):
        self.op.outputs, self.op.opcodeIndex = self.graph.outputs, 0
        self.graph.operators = [self.op]
        model = schema.ModelT()
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [self.code], [self.graph], self.buffers
        return flatbuffer.pack(model)


def convolution(kernel, inputs, outputs, groups=1, stride=1):
    """Returns a file with a CONV_2D with bias and SAME padding, int8 -> int8."""
    file = _File("CONV_2D", "Conv2DOptions", 3, padding=_SAME, strideW=stride, strideH=stride)
    file.image(inputs)
    file.bias(file.weights((outputs, kernel, kernel, inputs // groups)))
    file.output(outputs, side=SIDE // stride)
    return file.packed()


def depthwise(kernel, channels):
    """Returns a file with a DEPTHWISE_CONV_2D."""
    file = _File("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", 3, padding=_SAME, depthMultiplier=1, **_STRIDE_1)
    file.image(channels)
    file.bias(file.weights((1, kernel, kernel, channels), 3))
    file.output(channels)
    return file.packed()


def transposed(kernel, inputs, outputs, stride):
    """Returns a file with a TRANSPOSE_CONV with bias; its count is for each input pixel."""
    file = _File("TRANSPOSE_CONV", "TransposeConvOptions", 3, padding=_SAME, strideW=stride, strideH=stride)
    file.constant(np.int32([1, SIDE * stride, SIDE * stride, outputs]))
    scales = file.weights((outputs, kernel, kernel, inputs))
    file.image(inputs)
    file.bias(scales)
    file.output(outputs, side=SIDE * stride)
    return file.packed()


def fully_connected(inputs, outputs):
    """Returns a file with a FULLY_CONNECTED on every pixel."""
    file = _File("FULLY_CONNECTED", "FullyConnectedOptions", 5, keepNumDims=True)
    file.image(inputs)
    file.bias(file.weights((outputs, inputs)))
    file.output(outputs)
    return file.packed()


def binary(name, channels):
    """Returns a file with ADD, SUB, MUL, MAXIMUM or MINIMUM of two images."""
    options = {"MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions"}
    file = _File(name, options.get(name, f"{name.capitalize()}Options"), 2)
    same = options.get(name) is not None  # these two compare raw values
    file.image(channels)
    file.image(channels, *((0.02,) if same else (0.03,)))
    file.output(channels, *((0.02, SIDE, -3) if same else ()))
    return file.packed()


def by_constant(name, channels):
    """Returns a file with ADD, SUB or MUL of an image and one constant for each channel."""
    file = _File(name, f"{name.capitalize()}Options", 2)
    file.image(channels)
    file.constant(file.random.integers(-100, 100, channels).astype(np.int8), scale=0.004, zero=0)
    file.output(channels)
    return file.packed()


def unary(name, channels, options=None, version=2, scale=0.05, zero=5, **values):
    """Returns a file with an operator on one image that keeps its shape."""
    file = _File(name, options, version, **values)
    file.image(channels)
    if name == "PRELU":
        file.constant(file.random.integers(-100, 100, (1, 1, channels)).astype(np.int8), scale=0.004, zero=0)
    file.output(channels, scale, zero=zero)
    return file.packed()


def concatenation(first, second):
    """Returns a file with a CONCATENATION of channels."""
    file = _File("CONCATENATION", "ConcatenationOptions", 2, axis=3)
    file.image(first)
    file.image(second)
    file.output(first + second, 0.02, zero=-3)
    return file.packed()


def split(parts, channels):
    """Returns a file with a SPLIT into parts of `channels` each."""
    file = _File("SPLIT", "SplitOptions", 2, numSplits=parts)
    file.constant(np.int32(3))
    file.image(parts * channels)
    for _ in range(parts):
        file.output(channels, 0.02, zero=-3)
    return file.packed()


def slice_channels(channels, kept):
    """Returns a file with a SLICE of the first channels."""
    file = _File("SLICE", "SliceOptions", 2)
    file.image(channels)
    file.constant(np.int32([0, 0, 0, 0]))
    file.constant(np.int32([1, SIDE, SIDE, kept]))
    file.output(kept, 0.02, zero=-3)
    return file.packed()


def depth_to_space(block, channels=3):
    """Returns a file with a DEPTH_TO_SPACE."""
    file = _File("DEPTH_TO_SPACE", "DepthToSpaceOptions", 2, blockSize=block)
    file.image(channels * block * block)
    file.output(channels, 0.02, SIDE * block, -3)
    return file.packed()


def space_to_depth(block, channels=3):
    """Returns a file with a SPACE_TO_DEPTH; its count is for each input pixel."""
    file = _File("SPACE_TO_DEPTH", "SpaceToDepthOptions", 2, blockSize=block)
    file.image(channels)
    file.output(channels * block * block, 0.02, SIDE // block, -3)
    return file.packed()


def quantize(source, target, channels=3):
    """Returns a file with a QUANTIZE between two types; a change from int8 to int8 changes scale and zero point."""
    same_grid = source != target
    file = _File("QUANTIZE", "QuantizeOptions", 2)
    file.image(channels, 0.02, SIDE, 0 if source == "UINT8" else -3, source)
    zero = (-128 if target == "INT8" else 125) if same_grid else 7
    file.output(channels, 0.02 if same_grid else 0.05, SIDE, zero, target)
    return file.packed()


def resize(name, factor, channels):
    """Returns a file with RESIZE_BILINEAR or RESIZE_NEAREST_NEIGHBOR; the count is for each input pixel."""
    options = {"RESIZE_BILINEAR": "ResizeBilinearOptions", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions"}
    file = _File(name, options[name], 3, halfPixelCenters=True)
    file.image(channels)
    file.constant(np.int32([SIDE * factor, SIDE * factor]))
    file.output(channels, 0.02, SIDE * factor, -3)
    return file.packed()


def pad(channels, border=1):
    """Returns a file with a PAD by zeros."""
    file = _File("PAD", "PadOptions", 2)
    file.image(channels)
    file.constant(np.int32([[0, 0], [border, border], [border, border], [0, 0]]))
    file.output(channels, 0.02, SIDE + 2 * border, -3)
    return file.packed()


def pool(name, size, stride, channels):
    """Returns a file with MAX_POOL_2D or AVERAGE_POOL_2D; the count is for each input pixel."""
    file = _File(name, "Pool2DOptions", 2, padding=_SAME, strideW=stride, strideH=stride, filterWidth=size, filterHeight=size)
    file.image(channels)
    file.output(channels, 0.02, -(-SIDE // stride), -3)
    return file.packed()


def mean(channels):
    """Returns a file with a MEAN over height and width."""
    file = _File("MEAN", "ReducerOptions", 2, keepDims=True)
    file.image(channels)
    file.constant(np.int32([1, 2]))
    file.output(channels, shape=(1, 1, 1, channels))
    return file.packed()
