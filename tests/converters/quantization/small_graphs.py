"""Builds small float graphs operator by operator, without TensorFlow, and runs them."""

import numpy as np

from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer, runtime

IMAGE = (1, 6, 8, 3)
_OPTIONS = {  # operators whose options are not named after them
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "MAX_POOL_2D": "Pool2D",
    "AVERAGE_POOL_2D": "Pool2D",
    "MAXIMUM": "MaximumMinimum",
    "MINIMUM": "MaximumMinimum",
    "PADV2": "PadV2",
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), "Reducer"),
}


def _stored_type(values):
    """int32 for integers, else float32."""
    return np.int32 if np.issubdtype(np.asarray(values).dtype, np.integer) else np.float32


class Builder:
    """A graph in the making; tensors are ints. Weights come from one random generator."""

    def __init__(self, *shapes, seed=0):
        from ai_edge_litert import schema_py_generated as schema

        self.schema, self.rng = schema, np.random.default_rng(seed)
        model, graph, empty = schema.ModelT(), schema.SubGraphT(), schema.BufferT()
        model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [empty], [], [graph]
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.graph = FloatGraph(flatbuffer.pack(model))
        self.graph.graph.tensors, self.graph.graph.operators = [], []
        self.graph.model.operatorCodes = []
        self.inputs = [self._activation(f"input{k}", shape) for k, shape in enumerate(shapes or (IMAGE,))]
        self.graph.graph.inputs = list(self.inputs)

    def _activation(self, name, shape):
        tensor = self.graph._add_tensor(name, [max(1, side) for side in shape], self.schema.TensorType.FLOAT32, 0)
        self.graph.graph.tensors[tensor].shapeSignature = list(shape) if min(shape, default=1) < 0 else None
        return tensor

    def constant(self, values, dtype=np.float32):
        """Add a constant."""
        return self.graph.add_constant(f"constant{len(self.graph.graph.tensors)}", np.asarray(values, dtype))

    def ints(self, values):
        """Add an int32 constant, such as axes."""
        return self.constant(values, np.int32)

    def op(self, name, inputs, outputs=1, layer=None, version=1, activation=None, shape=(1, 1, 1, 1), **options):
        """Append an operator; arrays among the inputs become constants. Returns its output, or a list of several.

        The runtime replaces `shape`, except for SLICE.
        """
        inputs = [value if isinstance(value, int) else self.constant(value, _stored_type(value)) for value in inputs]
        kind = _OPTIONS.get(name) or "".join(part.capitalize() for part in name.split("_"))
        kind = getattr(self.schema, f"{kind}OptionsT", None)
        entry = kind() if kind else None
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            entry.dilationHFactor = entry.dilationWFactor = 1
        for field, value in options.items():
            assert hasattr(entry, field), field
            setattr(entry, field, value)
        layer = layer or f"{name.lower()}{len(self.graph.ops)}"
        results = [self._activation(f"net/{layer}/{k}", shape) for k in range(outputs)]
        op = self.graph.add_op(len(self.graph.ops), name, inputs, results, entry, version)
        if activation:
            self.graph.set_activation(op, activation)
        return results if outputs > 1 else results[0]

    def weights(self, shape, axis=0):
        """Random weights whose output channels differ by a factor of up to 30; int8 represents them exactly."""
        sides = [1] * len(shape)
        sides[axis] = shape[axis]
        values = self.rng.normal(0, 0.5, shape) * 30 ** -self.rng.random(sides)
        steps = np.abs(values).max(axis=tuple(k for k in range(len(shape)) if k != axis), keepdims=True) / 127
        return (np.round(values / steps) * steps).astype(np.float32)

    def conv(self, x, inputs, outputs, kernel=1, layer=None, groups=1, bias=True, stride=1, dilation=1, **options):
        """Append a CONV_2D with random weights and SAME padding."""
        values = self.rng.normal(0.2, 0.3, outputs) if bias else None
        sources = [x, self.weights((outputs, kernel, kernel, inputs // groups))] + ([values] if bias else [])
        fields = {"strideH": stride, "strideW": stride, "dilationHFactor": dilation, "dilationWFactor": dilation}
        return self.op("CONV_2D", sources, layer=layer, **fields, **options)

    def depthwise(self, x, inputs, multiplier=1, kernel=3, layer=None, **options):
        """Append a DEPTHWISE_CONV_2D with random weights and SAME padding."""
        outputs = inputs * multiplier
        sources = [x, self.weights((1, kernel, kernel, outputs), 3), self.rng.normal(0.2, 0.3, outputs)]
        fields = {"strideH": 1, "strideW": 1, "depthMultiplier": multiplier}
        return self.op("DEPTHWISE_CONV_2D", sources, layer=layer, **fields, **options)

    def transposed(self, x, inputs, outputs, kernel=3, stride=2, layer=None, bias=True, size=IMAGE[1:3]):
        """Append a TRANSPOSE_CONV with random weights and SAME padding; `size` is that of its input."""
        shape = self.ints([1, size[0] * stride, size[1] * stride, outputs])
        sources = [shape, self.weights((outputs, kernel, kernel, inputs)), x]
        sources += [self.rng.normal(0.2, 0.3, outputs)] if bias else []
        return self.op("TRANSPOSE_CONV", sources, layer=layer, version=3 if bias else 1, strideH=stride, strideW=stride)

    def finished(self, *outputs):
        """The FloatGraph with these outputs. Shapes come from the runtime; sides that follow a dynamic one are dynamic."""
        self.graph.graph.outputs = list(outputs)
        small, large = self._shapes(1), self._shapes(5)
        for tensor in (tensor for op in self.graph.ops for tensor in op.outputs):
            entry = self.graph.graph.tensors[tensor]
            entry.shape = small[tensor]
            signature = [side if side == other else -1 for side, other in zip(small[tensor], large[tensor], strict=True)]
            entry.shapeSignature = signature if -1 in signature else None
        return self.graph

    def _shapes(self, dynamic):
        """{tensor: shape} for a value of the dynamic sides."""
        interpreter = runtime.create_interpreter(flatbuffer.pack(self.graph.model), delegate=False)
        for tensor in self.inputs:
            sides = [side if side > 0 else dynamic for side in self.graph.shape(tensor)]
            interpreter.resize_tensor_input(tensor, sides)
        interpreter.allocate_tensors()
        return {detail["index"]: [int(side) for side in detail["shape"]] for detail in interpreter.get_tensor_details()}


def images(count=3, shape=IMAGE, seed=1):
    """Random inputs in 0..1."""
    rng = np.random.default_rng(seed)
    return [rng.random(shape, np.float32) for _ in range(count)]


def run(graph, *inputs, delegate=False):
    """The outputs of a FloatGraph or of the bytes of a file, for inputs in their order."""
    data = graph if isinstance(graph, bytes) else flatbuffer.pack(graph.model)
    interpreter = runtime.create_interpreter(data, delegate=delegate)
    details = interpreter.get_input_details()
    for detail, values in zip(details, inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], values.shape)
    interpreter.allocate_tensors()
    for detail, values in zip(details, inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def names(graph):
    """The operators of a FloatGraph or of the bytes of a file."""
    if isinstance(graph, bytes):
        return [op.name for op in flatbuffer.parse(graph).ops]
    return [graph.name(op) for op in graph.ops]
