"""A process that runs .tflite files for its parent: `python -m mobile_sr.devices.server`, also under QEMU with Arm's Python.

With the argument `gpu`, LiteRT's CompiledModel runs them on its GPU accelerator, else its Interpreter on the CPU.

It needs LiteRT and NumPy only. Requests and replies are `message`s on standard input and output. Requests:

- {"open": shape, "image": tensor index} with the file's bytes: allocates; replies {"session": id, "nodes": [...]}, or, on a
  GPU, for a file of this fixed shape, {"session": id, "accelerated": whether the GPU runs all of it}.
- {"run": id, "inputs": [tensor indices]} with their values: replies {"outputs": [tensor indices]} with their values.
- {"close": id}: replies {}.

A failure is the reply {"error": one line}. The process ends with its standard input.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import IO, Any

import numpy as np

from mobile_sr.converters.tflite import runtime

Message = tuple[dict[str, Any], list[np.ndarray]]


def write_message(stream: IO[bytes], head: dict[str, Any], arrays: Sequence[np.ndarray] = ()) -> None:
    """Writes a JSON object and arrays: the length of the JSON (4 bytes, little-endian), the JSON, and the arrays' values."""
    about = [[array.dtype.str, array.shape] for array in arrays]
    text = json.dumps({**head, "arrays": about}).encode()
    stream.write(len(text).to_bytes(4, "little") + text)
    for array in arrays:
        stream.write(np.ascontiguousarray(array).tobytes())
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """Reads what `write_message` wrote. Returns None at the end of the stream, also in the middle of a message."""
    start = stream.read(4)
    text = stream.read(int.from_bytes(start, "little")) if len(start) == 4 else b""
    try:
        head = json.loads(text)
    except ValueError:
        return None
    arrays = []
    for dtype, shape in head.pop("arrays"):
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        values = stream.read(size)
        if len(values) < size:
            return None
        arrays.append(np.frombuffer(values, dtype).reshape(shape))
    return head, arrays


class Interpreter:
    """A file on the CPU."""

    def __init__(self, data: bytes, shape: Sequence[int], image: int) -> None:
        """Allocates for a shape of the image input, the tensor with the index `image`."""
        self._interpreter = runtime.create_interpreter(data)
        self._interpreter.resize_tensor_input(image, shape, strict=False)
        self._interpreter.allocate_tensors()
        self.about = {"nodes": _nodes(self._interpreter)}

    def run(self, inputs: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Returns the outputs by tensor index."""
        for index, values in inputs.items():
            self._interpreter.set_tensor(index, values)
        os.getppid()  # the counter of instructions reports at this system call
        self._interpreter.invoke()
        os.getppid()
        outputs = [int(detail["index"]) for detail in self._interpreter.get_output_details()]
        return {index: self._interpreter.get_tensor(index) for index in outputs}


class CompiledModel:
    """A file of one fixed shape on the GPU."""

    def __init__(self, data: bytes, shape: Sequence[int], image: int) -> None:
        """Compiles the file."""
        from ai_edge_litert import compiled_model

        accelerator = compiled_model.HardwareAccelerator.GPU
        self._model = compiled_model.CompiledModel.from_buffer(data, hardware_accel=accelerator)
        ((key, names),) = self._model.get_signature_list().items()  # LiteRT names the missing signature
        inputs, outputs = self._model.get_input_tensor_details(key), self._model.get_output_tensor_details(key)
        self._inputs = [inputs[name] for name in names["inputs"]]
        self._outputs = [outputs[name] for name in names["outputs"]]
        self._buffers = self._model.create_input_buffers(0), self._model.create_output_buffers(0)
        self.about = {"accelerated": self._model.is_fully_accelerated()}

    def run(self, inputs: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Returns the outputs by tensor index."""
        for detail, buffer in zip(self._inputs, self._buffers[0], strict=True):
            buffer.write(np.ascontiguousarray(inputs[detail["index"]]))
        self._model.run_by_index(0, *self._buffers)
        outputs = {}
        for detail, buffer in zip(self._outputs, self._buffers[1], strict=True):
            values = buffer.read(int(np.prod(detail["shape"])), np.dtype(detail["dtype"]).type)
            outputs[int(detail["index"])] = np.asarray(values).reshape(detail["shape"])
        return outputs


class Sessions:
    """Opened files, by id."""

    def __init__(self, kind: Callable[[bytes, Sequence[int], int], Any]) -> None:
        """Starts without files.

        Args:
            kind: the class of its sessions.
        """
        self._kind, self._next = kind, 0
        self._sessions: dict[int, Any] = {}

    def answer(self, head: dict[str, Any], arrays: Sequence[np.ndarray]) -> Message:
        """Returns the reply to a request."""
        if "open" in head:
            session = self._kind(arrays[0].tobytes(), head["open"], head["image"])
            self._next += 1
            self._sessions[self._next] = session
            return {"session": self._next, **session.about}, []
        if "close" in head:
            self._sessions.pop(head["close"], None)
            return {}, []
        outputs = self._sessions[head["run"]].run(dict(zip(head["inputs"], arrays, strict=True)))
        return {"outputs": list(outputs)}, list(outputs.values())


def _nodes(interpreter: Any) -> list[dict[str, Any]]:
    return [
        {
            "index": int(node["index"]),
            "op_name": node["op_name"],
            "inputs": [int(i) for i in node["inputs"]],
            "outputs": [int(i) for i in node["outputs"]],
        }
        for node in interpreter._get_ops_details()
    ]


def serve(load: Callable[[], Callable[[bytes, Sequence[int], int], Any]]) -> None:
    """Answers requests until standard input ends.

    Args:
        load: loads what runs files, and returns the class of its sessions: they have what `Interpreter` has. A damaged
            installation fails here, before the process says that it is ready.
    """
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # LiteRT prints, too
    sessions = Sessions(load())
    write_message(replies, {"ready": True})
    while request := read_message(requests):
        try:
            head, arrays = sessions.answer(*request)
        except (ValueError, RuntimeError, MemoryError, KeyError, TypeError) as error:
            text = re.sub(r"^ERROR: \[[^\]]*\] *", "", str(error))  # without a place in LiteRT's source
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            head, arrays = {"error": lines[0] if lines else type(error).__name__}, []
        write_message(replies, head, arrays)


def _load() -> type[Interpreter] | type[CompiledModel]:
    import ai_edge_litert.interpreter  # noqa: F401

    return CompiledModel if sys.argv[1:] == ["gpu"] else Interpreter


if __name__ == "__main__":
    serve(_load)
