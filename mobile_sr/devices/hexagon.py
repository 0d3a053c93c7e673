"""The virtual device virtual:hexagon: Qualcomm's simulator of the Snapdragon NPU (Hexagon Tensor Processor).

A uint8 or int8 .tflite becomes a QDQ ONNX file with the same integers. Qualcomm's libraries compile it as for a phone and
simulate the NPU on this machine, by ONNX Runtime with the QNN execution provider (the extra [snapdragon]), in a process of
their own. Fallback to the CPU is disabled: either the NPU runs every operator, or none is run.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters import to_qdq_onnx
from mobile_sr.converters.qdq.static_graph import StaticGraph
from mobile_sr.converters.tflite.flatbuffer import TFLiteFileError
from mobile_sr.devices import hexagon_server, snapdragon
from mobile_sr.devices.device import Residency
from mobile_sr.devices.server_process import ServerProcess, ServerSession, own_command, own_environment
from mobile_sr.errors import UserError

ARCHITECTURES = tuple(sorted({chip.arch for chip in snapdragon.CHIPS.values()}))
DEFAULT = 73
LIMIT_S = 1800  # 96x96 LR pixels of a network with 8 blocks take 7 s


class HexagonDevice:
    """A simulated Snapdragon NPU. One process serves all sessions; a crash ends it, and the next session starts it again.

    Attributes:
        name: 'virtual:hexagon'.
        label: name with the architecture and the simulator's version.
        runs: True.
        arch: version of the Hexagon architecture, such as 73.
    """

    name = "virtual:hexagon"
    runs = True

    def __init__(self, soc: str | None = None) -> None:
        """Checks the requirements; the process starts with the first session.

        Args:
            soc: architecture such as 'v73' or chip such as 'SM8550'; None for v73.

        Raises:
            UserError: the extra is missing, this machine cannot use it, or the architecture or chip is unknown.
        """
        self.arch, chip = _architecture(soc)
        snapdragon.qualcomm_libraries()
        for module in ("onnx", "onnxruntime"):
            if importlib.util.find_spec(module) is None:
                raise UserError(f"{self.name} needs {module}; {snapdragon.EXTRA}")
        self._server: ServerProcess | None = None
        version = importlib.metadata.version("onnxruntime-qnn")
        self.label = (
            f"{self.name} (Hexagon v{self.arch}{f' of {chip}' if chip else ''}, simulator of onnxruntime-qnn {version})"
        )

    def open(self, data: bytes, name: str | Path, shape: tuple[int, ...]) -> HexagonSession:
        """Compiles a .tflite for the NPU.

        Where the NPU refuses operators, the session's residency names them, and its `run` raises a UserError.

        Args:
            data: bytes of a uint8 or int8 .tflite; the first subgraph is used.
            name: name of the file in messages.
            shape: shape of the image input.

        Raises:
            UserError: the file is damaged, has float values or operators that cannot be written as QDQ ONNX, or Qualcomm's
                compiler fails.
        """
        try:
            static = StaticGraph(data, shape)
            model = to_qdq_onnx.convert_static(static)
        except TFLiteFileError as error:
            raise UserError(f"{name}: {error}") from None
        except ValueError as error:
            raise UserError(f"{name}: cannot be compiled for {self.name} ({error})") from None
        if not any(static.is_integer(tensor) for op in static.ops for tensor in op.outputs):
            raise UserError(f"{name}: {self.name} runs uint8 and int8 files; this one has float values")
        return HexagonSession(self, static, model, str(name))

    def open_onnx(self, model: bytes, what: str) -> ServerSession:
        """Compiles a QDQ ONNX file of fixed sizes; its inputs and outputs are named by their position.

        Args:
            model: bytes of the file.
            what: its name in messages.

        Returns:
            A session that was `opened` with {"partitions", "refused"}, see `hexagon_server.NpuModel`.

        Raises:
            UserError: the compiler fails, or the simulator's process does not start.
        """
        return ServerSession(self._running(), what, LIMIT_S, (), 0, model)

    def _running(self) -> ServerProcess:
        """Returns the simulator's process, started if there is none."""
        if self._server is None or not self._server.close.alive:
            self._server = ServerProcess(self.name, own_command(hexagon_server.__name__, str(self.arch)), own_environment())
        return self._server


class HexagonSession:
    """A .tflite compiled for the simulated NPU at one input size.

    Attributes:
        residency: operators of the .tflite that the NPU runs; those that only compute shapes do not count.
    """

    def __init__(self, device: HexagonDevice, static: StaticGraph, model: bytes, name: str) -> None:
        """Compiles.

        Args:
            device: the device.
            static: the .tflite at its size.
            model: the same as a QDQ ONNX file.
            name: name of the file in messages.

        Raises:
            UserError: the compiler fails.
        """
        self._device, self._static, self._name = device, static, name
        self._inputs, self._outputs = (list(names) for names in to_qdq_onnx.end_names(static.graph))
        self._session: ServerSession | None = device.open_onnx(model, name)
        refused, nodes = self._session.opened["refused"], len(static.ops)
        left = sum(any(node == op.label or node.startswith(f"{op.label}_") for node in refused) for op in static.ops)
        self.residency = Residency(nodes, nodes - left, refused, self._session.opened["partitions"])

    def run(self, inputs: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """See `Session.run`. Raises UserError if the NPU refuses operators or the simulator fails."""
        if self._session is None or self.residency.refused:
            refused = "; ".join(f"{node} ({reason})" for node, reason in self.residency.refused.items())
            raise UserError(f"{self._name}: {self._device.label} does not run {refused or 'a closed session'}")
        values = {position: self._unsigned(tensor, inputs[tensor]) for position, tensor in enumerate(self._inputs)}
        results = self._session.run(values, LIMIT_S)
        return {tensor: self._signed(tensor, results[position]) for position, tensor in enumerate(self._outputs)}

    def _unsigned(self, tensor: int, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values).reshape(self._static.shapes[tensor])
        return (values.astype(np.int16) + 128).astype(np.uint8) if values.dtype == np.int8 else values

    def _signed(self, tensor: int, values: np.ndarray) -> np.ndarray:
        is_signed = self._static.graph.tensors[tensor].dtype == "int8"
        return (values.astype(np.int16) - 128).astype(np.int8) if is_signed else values

    def facts(self) -> dict[str, Any]:
        """Returns the architecture: {"arch": "v73"}. The simulator's cycles are not those of a phone and are not reported."""
        return {"arch": f"v{self._device.arch}"}

    def close(self) -> None:
        """Frees the compiled graph."""
        if self._session is not None:
            self._session.close()
        self._session = None


def _architecture(soc: str | None) -> tuple[int, str]:
    """Returns (version of the architecture, chip with its marketing name or '')."""
    if soc is None:
        return DEFAULT, ""
    known = ", ".join(f"v{arch}" for arch in ARCHITECTURES)
    match = re.fullmatch(r"v?(\d+)", soc.strip().lower())
    if match:
        if int(match[1]) not in ARCHITECTURES:
            raise UserError(f"--soc {soc}: unknown Hexagon version; use {known} or a chip such as SM8550")
        return int(match[1]), ""
    number = snapdragon.check_chip(soc)
    return snapdragon.CHIPS[number].arch, f"{number}, {snapdragon.CHIPS[number].name}"
