"""The one place that runs a .tflite file."""

from pathlib import Path

import numpy as np

from mobile_sr.converters import tflite_file
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError


def read_file(path):
    """The bytes of a file. Raises: UserError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def parse_graph(data, name="model"):
    """The parsed graph of a .tflite file's bytes. Raises: UserError when they are damaged."""
    try:
        return tflite_file.parse(data)
    except tflite_file.TFLiteFileError as error:
        raise UserError(f"{name}: {error}") from None


def open_interpreter(data, name="model", threads=1, delegate=True):
    """An ai_edge_litert Interpreter for a .tflite file's bytes, XNNPACK on or off; tensors are not allocated yet.

    Parse the bytes with `parse_graph` first: it refuses damaged files before native code sees them.
    Raises: UserError when the file uses operators that the runtime lacks.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with quiet() as said:
        try:
            return Interpreter(model_content=data, num_threads=threads, experimental_op_resolver_type=kind)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{name}: the runtime refuses it ({_first_line(error, said())})") from None


def allocate(interpreter, name, shape=None):
    """Allocate tensors, for an input of `shape` if given. Raises: UserError with the runtime's reason."""
    with quiet() as said:
        try:
            if shape is not None:
                interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], shape, strict=False)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError, MemoryError) as error:
            raise UserError(f"{name}: cannot run with input {shape} ({_first_line(error, said())})") from None


def _first_line(error, printed):
    lines = [line.strip() for line in f"{error}\n{printed}".splitlines() if line.strip() and not line.startswith("INFO:")]
    return lines[0] if lines else type(error).__name__


def image_ends(graph, name="model"):
    """The input and the output tensor of a single-image network. Raises: UserError when the graph is none."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        counts = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise UserError(f"{name}: {counts}; expected one image in and one out")
    ends = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    for tensor, what in zip(ends, ("input", "output"), strict=True):
        if len(tensor.shape) != 4 or tensor.shape[3] not in (3, -1) or tensor.dtype not in ("float32", "uint8", "int8"):
            raise UserError(f"{name}: {what} {tensor.name} is {tensor.dtype} {tensor.shape}; expected NHWC with 3 channels")
        if tensor.dtype != "float32" and len(tensor.scales) != 1:
            raise UserError(f"{name}: {what} {tensor.name} is {tensor.dtype} without a scale")
    return ends


def fixed_size(tensor):
    """(H, W) of an NHWC tensor, None when it is dynamic."""
    height, width = tensor.shape[1:3]
    return (height, width) if height > 0 and width > 0 else None


def encode(image, tensor):
    """[H, W, 3] uint8 as the values of the input `tensor`: 0..1 in float32, or quantized as the tensor asks."""
    if tensor.dtype == "float32":
        return image.astype(np.float32) / np.float32(255)
    scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
    if tensor.dtype == "uint8" and zero_point == 0 and abs(scale * 255 - 1) < 1e-5:
        return image
    low, high = (0, 255) if tensor.dtype == "uint8" else (-128, 127)
    table = np.clip(np.floor(np.arange(256) / 255 / scale + 0.5) + zero_point, low, high)
    return table.astype(tensor.dtype)[image]


class TFLiteModel:
    """A single-image super-resolution .tflite: one [1, H, W, 3] input, one [1, H * s, W * s, 3] output.

    Attributes:
        scale: taken from the shapes.
        fixed: (H, W) when the input size is fixed, else None.
    """

    def __init__(self, model, threads=1):
        """Open a path or a file's bytes. Raises: UserError when it is unusable or no such network."""
        data = model if isinstance(model, bytes) else read_file(model)
        self.path = path = "model" if data is model else model
        graph = parse_graph(data, path)
        self.input, self.output = image_ends(graph, path)
        self.fixed = fixed_size(self.input)
        self._interpreter = open_interpreter(data, path, threads)
        self._size = None
        self._prepare(self.fixed or (16, 16))
        out = self._interpreter.get_output_details()[0]["shape"]
        self.scale = int(out[1]) // self._size[0]
        if self.scale < 1 or tuple(out) != (1, self._size[0] * self.scale, self._size[1] * self.scale, 3):
            raise UserError(f"{path}: turns {self._size} into {tuple(out[1:3])}, which is no whole scale")

    def _prepare(self, size):
        if size == self._size:
            return
        allocate(self._interpreter, self.path, None if size == self.fixed else (1, *size, 3))
        self._size = size
        self._in = self._interpreter.get_input_details()[0]["index"]
        self._out = self._interpreter.get_output_details()[0]["index"]

    def run(self, image):
        """Upscale [H, W, 3] uint8 to [H * s, W * s, 3]: uint8 when the file's output is, else float32 in 0..1.

        Raises: UserError when the runtime cannot run this size.
        """
        self._prepare(image.shape[:2])
        self._interpreter.set_tensor(self._in, encode(image, self.input)[None])
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{self.path}: failed on {image.shape[1]}x{image.shape[0]} ({_first_line(error, '')})") from None
        return self._decode(self._interpreter.get_tensor(self._out)[0])

    def _decode(self, values):
        tensor = self.output
        if tensor.dtype == "float32":
            return values
        scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
        if tensor.dtype == "uint8" and zero_point == 0 and abs(scale * 255 - 1) < 1e-5:
            return values
        low = 0 if tensor.dtype == "uint8" else -128
        real = (np.arange(low, low + 256) - zero_point) * scale
        table = np.clip(np.floor(real * 255 + 0.5), 0, 255).astype(np.uint8)
        return table[values.astype(np.int16) - low]


def delegate_partitions(data, name="model", size=(64, 64)):
    """Into how many parts XNNPACK takes the graph of a .tflite's bytes, run at an LR size of (H, W) when that is dynamic.

    1 means that everything between the ends runs in the delegate as one piece; 0 that nothing does.
    """
    graph = parse_graph(data, name)
    interpreter = open_interpreter(data, name)
    shape = graph.tensors[graph.inputs[0]].shape
    dynamic = len(shape) == 4 and min(shape[1:3]) < 0
    allocate(interpreter, name, (1, *size, shape[3]) if dynamic else None)
    return residency(interpreter)[0]


def residency(interpreter):
    """How much of its graph the delegate took, of an allocated interpreter: (partitions, nodes delegated, nodes in all).

    The runtime keeps the replaced nodes in its list and adds one DELEGATE per partition, whose inputs and outputs bound
    it: the nodes that one meets from its outputs back to its inputs are those that it took.
    """
    ops = interpreter._get_ops_details()
    delegates = [op for op in ops if op["op_name"] == "DELEGATE"]
    nodes = {op["index"]: op for op in ops if op["op_name"] != "DELEGATE"}
    producer = {int(tensor): index for index, op in nodes.items() for tensor in op["outputs"]}
    taken = set()
    for delegate in delegates:
        bounds = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            index = producer.get(tensor)
            if tensor not in bounds and index is not None and index not in taken:
                taken.add(index)
                waiting += [int(tensor) for tensor in nodes[index]["inputs"]]
    return len(delegates), len(taken), len(nodes)
