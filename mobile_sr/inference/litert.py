"""The one place that runs a .tflite file."""

import copy
import functools
import math
from pathlib import Path

import numpy as np

from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.errors import UserError
from mobile_sr.inference import graph_io, model_files, model_io, tensor_values, trial
from mobile_sr.inference import sidecar as sidecars


def read_file(path):
    """The bytes of a file. Raises: UserError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def parse_graph(data, name="model", signature=None):
    """The parsed graph of a .tflite file's bytes. Raises: UserError when they are damaged or the signature is not there."""
    try:
        return flatbuffer.parse(data, signature)
    except flatbuffer.TFLiteFileError as error:
        raise UserError(f"{name}: {error}") from None


def as_first_subgraph(data, graph, name="model"):
    """The file's bytes with `graph` as what runs (see tflite_file.primary). Raises: UserError when that cannot be."""
    try:
        return flatbuffer.as_first_subgraph(data, graph)
    except flatbuffer.TFLiteFileError as error:
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


def allocate(interpreter, name, shape=None, index=None):
    """Allocate tensors, for an input of `shape` if given: the first one or that of tensor `index`.

    Raises: UserError with the runtime's reason.
    """
    with quiet() as said:
        try:
            if shape is not None:
                index = interpreter.get_input_details()[0]["index"] if index is None else index
                interpreter.resize_tensor_input(index, shape, strict=False)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError, MemoryError) as error:
            raise UserError(f"{name}: cannot run with input {shape} ({_first_line(error, said())})") from None


def _first_line(error, printed):
    lines = [line.strip() for line in f"{error}\n{printed}".splitlines() if line.strip() and not line.startswith("INFO:")]
    return lines[0] if lines else type(error).__name__


def fixed_size(tensor):
    """(H, W) of an NHWC tensor, None when it is dynamic."""
    height, width = tensor.shape[1:3]
    return (height, width) if height > 0 and width > 0 else None


DESIRED_DEPTH = "desired_depth"


def check_depth(name, depth, limits):
    """Raises: UserError when a desired depth for the model `name` lies outside of its (least, largest), or is NaN."""
    if not limits[0] <= depth <= limits[1]:
        raise UserError(f"{name}: a desired depth of {depth:g}; it takes {limits[0]:g} to {limits[1]:g}")


class TFLiteModel:
    """A super-resolution .tflite: one image, and any scalars, to one picture. The runtime opens it when it is first needed.

    Attributes:
        path: the file, None for bytes. name: how messages call it.
        data: the bytes that run (see tflite_file.primary).
        image, picture: the tensors of the image [1, H, W, 3] and of the picture [1, H * s, W * s, 3].
        fixed: (H, W) when the input size is fixed, else None.
        max_depth: D, where the file takes a desired depth of 0..D; None when it takes none, or an option said it.
        depth: the desired depth that `set` gives; D unless assigned.
    """

    def __init__(self, model, threads=1, options=None):
        """Read and check a file.

        Args:
            model: path, or the bytes of a file that this project converted (their float values are in 0..1).
            options: {"range": "1", "order": "bgr", "signature": name, name of a scalar input: number}, see
                docs/reference/models.md.
        Raises: UserError when the file is unusable or no such network, or an option does not fit it.
        """
        self.path = None if isinstance(model, bytes) else Path(model)
        self.name, self.threads = str(self.path or "model"), threads
        data = model if self.path is None else read_file(self.path)
        options = dict(options or {})
        self.sidecar = sidecars.read(self.path, data) if self.path else sidecars.Sidecar()
        graph = parse_graph(data, self.name, options.pop("signature", model_files.own_signature(self.sidecar)))
        sidecars.check_graph(self.sidecar, graph, self.name)
        try:
            self._ends = graph_io.find(graph)
        except graph_io.EndsError as error:
            raise UserError(f"{self.name}: {error}") from None
        self.image, self.picture = graph.tensors[self._ends.image], graph.tensors[self._ends.picture]
        self.fixed = fixed_size(self.image)
        ranges = (tensor_values.value_ranges(tensor) for tensor in (self.image, self.picture))
        self._choices = model_io.possible(self.name, options, self.sidecar, *ranges) if self.path else ((1,), (1,), ("rgb",))
        self.max_depth, self._depth_input, self._depth_map = self._depths(graph, options)
        self.depth = self.max_depth
        self._scalars = self._scalar_values(graph, options)
        self.data = as_first_subgraph(data, graph, self.name)
        if self.path and not self.sidecar.sha256:
            trial.run(self.data, self.name, threads)
        self._interpreter = self._size = None

    def _depths(self, graph, options):
        """(D, desired depth's index and tensor, depth map's), when the sidecar tells D and no option gives a depth."""
        index, limits = self._ends.scalars.get(DESIRED_DEPTH), self._depth_limits()
        depth_map = next((i for i in graph.outputs if i != self._ends.picture), None)
        if None in (index, depth_map) or math.isinf(limits[1]) or set(options) & set(graph_io.scalar_names(graph, index)):
            return None, None, None
        return limits[1], (index, graph.tensors[index]), (depth_map, graph.tensors[depth_map])

    def _depth_limits(self):
        """The least and the largest desired depth, as a sidecar that belongs to the file says them."""
        return self.sidecar.desired_depth or (-math.inf, math.inf)

    def _scalar_values(self, graph, options):
        """[(tensor index, array)] of all scalar inputs."""
        values = []
        for name, index in self._ends.scalars.items():
            if self._depth_input and index == self._depth_input[0]:
                continue
            given = [key for key in graph_io.scalar_names(graph, index) if key in options]
            if not given:
                raise UserError(f"{self.name}: needs a number for its input '{name}'; add {name}=NUMBER behind '@'")
            text = options.pop(given[0])
            try:
                values.append((index, tensor_values.scalar(text, graph.tensors[index])))
            except ValueError as error:
                raise UserError(f"{self.name}: {name}: {error}") from None
            if name == DESIRED_DEPTH:
                check_depth(self.name, float(text), self._depth_limits())
        if options:
            known = ", ".join([*model_io.OPTIONS, "signature", *self._ends.scalars])
            raise UserError(f"{self.name}: unknown option '{next(iter(options))}'; it takes {known}")
        return values

    @functools.cached_property
    def scale(self):
        """Taken from the shapes. Raises: UserError when it is no whole number, or as `prepare`."""
        size = self._size or self.fixed or (16, 16)
        self.prepare(size)
        shape = self._picture_shape()
        if shape[1] < size[0]:  # the runtime learns some shapes only by running
            self._set(np.zeros((*size, 3), np.uint8), 1)
            self.invoke()
            shape = self._picture_shape()
        scale = shape[1] // size[0]
        if scale < 1 or shape != (1, size[0] * scale, size[1] * scale, 3):
            raise UserError(f"{self.name}: turns {size[1]}x{size[0]} into {shape}, which is no whole scale")
        return scale

    def _picture_shape(self):
        details = self._interpreter.get_output_details()
        return next(tuple(map(int, end["shape"])) for end in details if end["index"] == self._ends.picture)

    @functools.cached_property
    def io(self):
        """The model_io.ModelIO of the file: as its sidecar, tensors and options say, else measured on a sample image."""
        return model_io.measure(self._forward, self._decoded, self.sample_size, self.scale, self._choices)

    @property
    def sample_size(self):
        """LR (H, W) of the sample image that the file is measured with."""
        return model_io.sample_size(self.fixed, self.sidecar.smallest_side)

    def _forward(self, image, range_in):
        self._set(image, range_in)
        self.invoke()
        return self._interpreter.get_tensor(self._ends.picture)[0]

    def prepare(self, size):
        """Allocate for an image of (H, W). Raises: UserError when the runtime refuses the file or the size."""
        if self._interpreter is None:
            self._interpreter = open_interpreter(self.data, self.name, self.threads)
        if size != self._size:
            self._size = None
            allocate(self._interpreter, self.name, None if size == self.fixed else (1, *size, 3), self._ends.image)
            self._size = size

    def set(self, image):
        """Give the interpreter [H, W, 3] uint8 RGB, in the range and order that the file takes, and the scalars.

        Raises: UserError as `prepare`.
        """
        self._set(model_io.in_order(image, self.io.order), self.io.range_in)

    def _set(self, image, range_in):
        values = tensor_values.encode(image, self.image, range_in)
        self.prepare(image.shape[:2])
        self._interpreter.set_tensor(self._ends.image, values[None])
        for index, value in self._scalars:
            self._interpreter.set_tensor(index, value)
        if self._depth_input:
            index, tensor = self._depth_input
            self._interpreter.set_tensor(index, tensor_values.scalar(self.depth, tensor))

    def invoke(self):
        """Run what was set. Raises: UserError when the runtime fails."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            size = f"{self._size[1]}x{self._size[0]}"
            raise UserError(f"{self.name}: failed while running on {size} ({_first_line(error, '')})") from None

    def get(self):
        """The SR output, [H * s, W * s, 3] RGB: uint8 when the file's output is quantized, else float32 in 0..1."""
        values = self._interpreter.get_tensor(self._ends.picture)[0]
        return model_io.in_order(self._decoded(values, self.io.range_out), self.io.order)

    def _decoded(self, values, range_out):
        return tensor_values.decode(values, self.picture, range_out)

    def tensor(self, index):
        """The raw values of an input or output of the graph, by its tensor index, after `invoke`."""
        return self._interpreter.get_tensor(index)

    def run(self, image):
        """`set`, `invoke` and `get`. Raises: UserError as they do."""
        self.set(image)
        self.invoke()
        return self.get()

    def run_with_map(self, image, depth):
        """`run` at a desired depth of 0..D: (picture, depth map [H, W, M] float32 in blocks)."""
        self.depth = depth
        picture = self.run(image)
        index, tensor = self._depth_map
        return picture, tensor_values.real(self.tensor(index)[0], tensor)

    def with_graph(self, data, name):
        """A model with the same inputs that runs other bytes, such as the beginning of its graph: for `set` and `invoke`."""
        other = copy.copy(self)
        other.data, other.name, other.io = data, name, self.io
        other.close()
        return other

    def residency(self):
        """How much of the graph the delegate took (see the function `residency`), once it is prepared."""
        return residency(self._interpreter)

    def close(self):
        """Give the runtime's memory back; the next `prepare` opens it again."""
        self._interpreter = self._size = None


def delegate_partitions(data, name="model", size=(64, 64)):
    """Into how many parts XNNPACK takes the graph of a .tflite's bytes, run at an LR size of (H, W) when that is dynamic.

    1 means that everything between the ends runs in the delegate as one piece; 0 that nothing does.
    """
    graph = parse_graph(data, name)
    interpreter = open_interpreter(data, name)
    images = [i for i in graph.inputs if len(graph.tensors[i].shape) == 4 and min(graph.tensors[i].shape[1:3]) < 0]
    shape = (1, *size, graph.tensors[images[0]].shape[3]) if images else None
    allocate(interpreter, name, shape, images[0] if images else None)
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
