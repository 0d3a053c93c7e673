"""A process that runs .tflite files for its parent: `python -m mobile_sr.devices.server`, also under QEMU with Arm's Python.

It needs LiteRT and NumPy only. Requests and replies are `message`s on standard input and output. Requests:

- {"open": shape, "image": tensor index} with the file's bytes: allocates; replies {"session": id, "nodes": [...]}.
- {"run": id, "inputs": [tensor indices]} with their values: replies {"outputs": [tensor indices]} with their values.
- {"close": id}: replies {}.

A failure is the reply {"error": one line}. The process ends with its standard input.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
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


class Interpreters:
    """Opened files, by id."""

    def __init__(self) -> None:
        """Opens nothing yet."""
        self._sessions: dict[int, Any] = {}
        self._next = 0

    def answer(self, head: dict[str, Any], arrays: Sequence[np.ndarray]) -> Message:
        """Returns the reply to a request."""
        if "open" in head:
            interpreter = runtime.create_interpreter(arrays[0].tobytes())
            interpreter.resize_tensor_input(head["image"], head["open"], strict=False)
            interpreter.allocate_tensors()
            self._next += 1
            self._sessions[self._next] = interpreter
            return {"session": self._next, "nodes": _nodes(interpreter)}, []
        if "close" in head:
            self._sessions.pop(head["close"], None)
            return {}, []
        interpreter = self._sessions[head["run"]]
        for index, values in zip(head["inputs"], arrays, strict=True):
            interpreter.set_tensor(index, values)
        os.getppid()  # the counter of instructions reports at this system call
        interpreter.invoke()
        os.getppid()
        outputs = [int(detail["index"]) for detail in interpreter.get_output_details()]
        return {"outputs": outputs}, [interpreter.get_tensor(index) for index in outputs]


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


def main() -> None:
    """Answers until standard input ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # LiteRT prints, too
    sessions = Interpreters()
    write_message(replies, {"ready": True})
    while request := read_message(requests):
        try:
            head, arrays = sessions.answer(*request)
        except (ValueError, RuntimeError, MemoryError, KeyError, TypeError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            head, arrays = {"error": lines[0] if lines else type(error).__name__}, []
        write_message(replies, head, arrays)


if __name__ == "__main__":
    main()
