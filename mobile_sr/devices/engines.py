"""One interface to LiteRT's interpreter in this process and to the sessions of virtual devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import runtime
from mobile_sr.errors import UserError

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

    from mobile_sr.devices.device import Device, Residency, Session

SESSIONS = 4  # sizes that a device keeps open: images of a few sizes take turns, and compiling again is slow


def open_interpreter(data: bytes, name: str | Path = "model", threads: int = 1, delegate: bool = True) -> Interpreter:
    """Creates an ai_edge_litert Interpreter. Its tensors are not allocated yet.

    Parse the bytes with `parse_graph` first: it refuses damaged files before native code reads them.

    Args:
        data: the bytes of a .tflite file.
        name: name of the file in messages.
        threads: CPU threads.
        delegate: whether XNNPACK is used.

    Raises:
        UserError: the file uses operators that the runtime lacks.
    """
    with quiet() as printed:
        try:
            return runtime.create_interpreter(data, threads, delegate)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{name}: the runtime refuses it ({_first_line(error, printed())})") from None


def allocate(interpreter: Interpreter, name: str | Path, shape: Sequence[int] | None = None, index: int | None = None) -> None:
    """Allocates tensors and, if a shape is given, resizes an input first.

    Args:
        interpreter: the interpreter.
        name: name of the file in messages.
        shape: new shape of an input.
        index: tensor index of that input; None means the first input.

    Raises:
        UserError: allocation failed; the message has the runtime's reason.
    """
    with quiet() as printed:
        try:
            if shape is not None:
                index = interpreter.get_input_details()[0]["index"] if index is None else index
                interpreter.resize_tensor_input(index, shape, strict=False)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError, MemoryError) as error:
            at = "at its own input size" if shape is None else f"with input shape {tuple(shape)}"
            raise UserError(f"{name}: cannot run {at} ({_first_line(error, printed())})") from None


def _first_line(error: Exception, printed: str) -> str:
    lines = [line.strip() for line in f"{error}\n{printed}".splitlines() if line.strip() and not line.startswith("INFO:")]
    return lines[0] if lines else type(error).__name__


class Engine(Protocol):
    """Runs one graph. Values are raw, in the dtype of their tensors, and tensors are named by their index."""

    def resize(self, shape: tuple[int, ...] | None) -> None:
        """Prepares for a shape of the image input; None means the file's own. Raises UserError if it is refused."""
        ...

    def set(self, index: int, values: np.ndarray) -> None:
        """Sets an input."""
        ...

    def invoke(self) -> None:
        """Runs the graph. Raises UserError if it fails."""
        ...

    def get(self, index: int) -> np.ndarray:
        """Returns an output of the last run."""
        ...

    def shape(self, index: int) -> tuple[int, ...]:
        """Returns the shape of an output; before a run it may be unknown."""
        ...

    def residency(self) -> tuple[int, int, int]:
        """Returns (partitions, nodes that the delegate or device runs, all nodes)."""
        ...

    def close(self) -> None:
        """Frees memory and processes."""
        ...


class InterpreterEngine:
    """LiteRT's interpreter with XNNPACK, on this machine's CPU."""

    def __init__(self, data: bytes, name: str, threads: int, image: int) -> None:
        """Opens an interpreter.

        Args:
            data: the bytes of a .tflite file.
            name: name of the file in messages.
            threads: CPU threads.
            image: tensor index of the image input.

        Raises:
            UserError: see `open_interpreter`.
        """
        self.name, self._image = name, image
        self._interpreter: Any = open_interpreter(data, name, threads)

    def resize(self, shape: tuple[int, ...] | None) -> None:
        """See `Engine.resize`."""
        allocate(self._interpreter, self.name, shape, self._image)

    def set(self, index: int, values: np.ndarray) -> None:
        """See `Engine.set`."""
        self._interpreter.set_tensor(index, values)

    def invoke(self) -> None:
        """See `Engine.invoke`."""
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            shape = tuple(self._interpreter.get_tensor_details()[self._image]["shape"].tolist())
            raise UserError(f"{self.name}: failed while running on shape {shape} ({_first_line(error, '')})") from None

    def get(self, index: int) -> np.ndarray:
        """See `Engine.get`."""
        return self._interpreter.get_tensor(index)

    def shape(self, index: int) -> tuple[int, ...]:
        """See `Engine.shape`."""
        details = self._interpreter.get_output_details()
        return next(tuple(map(int, end["shape"])) for end in details if end["index"] == index)

    def residency(self) -> tuple[int, int, int]:
        """See `Engine.residency`."""
        partitions, delegated, nodes = runtime.delegated(self._interpreter._get_ops_details())
        return partitions, len(delegated), len(nodes)

    def close(self) -> None:
        """See `Engine.close`."""
        self._interpreter = None


class DeviceEngine:
    """Sessions of a virtual device, one for each shape of the image input; the last SESSIONS of them stay open."""

    def __init__(self, device: Device, data: bytes, name: str) -> None:
        """Stores the arguments; `resize` opens a session.

        Args:
            device: the device.
            data: the bytes of a .tflite file.
            name: name of the file in messages.
        """
        self.device, self.name = device, name
        self._data = data
        self._sessions: dict[tuple[int, ...], Session] = {}  # the current one is the last
        self._inputs: dict[int, np.ndarray] = {}
        self._outputs: dict[int, np.ndarray] = {}

    def resize(self, shape: tuple[int, ...] | None) -> None:
        """See `Engine.resize`; the shape must be given."""
        assert shape is not None
        session = self._sessions.pop(shape, None)
        while session is None and len(self._sessions) >= SESSIONS:
            self._sessions.pop(next(iter(self._sessions))).close()
        self._sessions[shape] = session or self.device.open(self._data, self.name, shape)
        self._inputs, self._outputs = {}, {}

    @property
    def session(self) -> Session:
        """The session of the current shape."""
        return next(reversed(self._sessions.values()))

    def set(self, index: int, values: np.ndarray) -> None:
        """See `Engine.set`."""
        self._inputs[index] = np.asarray(values)

    def invoke(self) -> None:
        """See `Engine.invoke`. A failure, or Ctrl-C, closes the sessions: the process that they share may have ended."""
        try:
            self._outputs = self.session.run(self._inputs)
        except BaseException:
            self.close()
            raise

    def get(self, index: int) -> np.ndarray:
        """See `Engine.get`."""
        return self._outputs[index]

    def shape(self, index: int) -> tuple[int, ...]:
        """See `Engine.shape`."""
        return self._outputs[index].shape if index in self._outputs else ()

    def facts(self) -> tuple[Residency, dict[str, Any]]:
        """Returns the residency and figures of the current session."""
        return self.session.residency, self.session.facts()

    def residency(self) -> tuple[int, int, int]:
        """See `Engine.residency`."""
        residency = self.session.residency
        return residency.partitions or 0, residency.taken, residency.nodes

    def close(self) -> None:
        """Closes the sessions."""
        while self._sessions:
            self._sessions.popitem()[1].close()
