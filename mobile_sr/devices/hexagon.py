"""The virtual device virtual:hexagon: Qualcomm's simulator of the Snapdragon NPU (Hexagon Tensor Processor).

A uint8 or int8 .tflite becomes a QDQ ONNX file with the same integers. Qualcomm's libraries compile it as for a phone and
simulate the NPU on this machine, by ONNX Runtime with the QNN execution provider (the extra [snapdragon]). Fallback to the CPU
is disabled: either the NPU runs every operator, or none is run.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters import to_qdq_onnx
from mobile_sr.converters.qdq.static_graph import StaticGraph
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite.flatbuffer import TFLiteFileError
from mobile_sr.devices import snapdragon
from mobile_sr.devices.device import Residency
from mobile_sr.errors import UserError

ARCHITECTURES = tuple(sorted({chip.arch for chip in snapdragon.CHIPS.values()}))
DEFAULT = 73
_PROVIDER = "mobile-sr-qnn"
_VERBOSE, _ERROR = 0, 3  # severities of ONNX Runtime's log
_NOT_OPERATORS = ("QuantizeLinear", "DequantizeLinear")
# What the provider logs about nodes that it leaves: their names and a reason, and before that perhaps QNN's own error.
_FAILURE = re.compile(r"Validation FAILED .*\n((?:\s+Operator type: .*\n)+)\s+REASON : (.*)")
_QNN_ERROR = re.compile(r"backendValidateOpConfig\(\) failed for node `(\S+)` of type `\w+` with error code (\d+)")


class HexagonDevice:
    """A simulated Snapdragon NPU.

    Attributes:
        name: 'virtual:hexagon'.
        label: name with the architecture and the simulator's version.
        runs: True.
        arch: version of the Hexagon architecture, such as 73.
    """

    name = "virtual:hexagon"
    runs = True

    def __init__(self, soc: str | None = None) -> None:
        """Checks what the simulator needs.

        Args:
            soc: architecture such as 'v73' or chip such as 'SM8550'; None for v73.

        Raises:
            UserError: the extra is missing or unusable on this machine, or the architecture or chip is unknown.
        """
        self.arch, chip = _architecture(soc)
        self._backend = snapdragon.qualcomm_libraries()[0] / "libQnnHtp.so"
        self._provider = _qnn_devices()
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

    def onnx_session(self, model: bytes, fallback: bool = False, severity: int = _ERROR) -> Any:
        """Opens a QDQ ONNX file on the NPU.

        Args:
            model: bytes of the file.
            fallback: whether the CPU runs what the NPU refuses.
            severity: lowest severity that ONNX Runtime logs, 0 (everything) to 4.

        Returns:
            An onnxruntime.InferenceSession.

        Raises:
            RuntimeError: the NPU refuses a node and there is no fallback, or the compiler fails.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = severity
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "0" if fallback else "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        settings = {"backend_path": str(self._backend), "htp_arch": str(self.arch)}
        options.add_provider_for_devices(self._provider[:1], settings)
        return onnxruntime.InferenceSession(model, sess_options=options)


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
        self._inputs, self._outputs = to_qdq_onnx.end_names(static.graph)
        self._session: Any = None
        partitions = None
        with quiet():
            try:
                self._session = device.onnx_session(model)
                partitions = len(self._session.get_provider_graph_assignment_info())
            except Exception:  # ONNX Runtime raises types that are not public; what was refused is found below
                self._session = None
        nodes = len(static.ops)
        refused = {} if self._session else self._refused(model)
        left = sum(any(node == op.label or node.startswith(f"{op.label}_") for node in refused) for op in static.ops)
        self.residency = Residency(nodes, nodes - left, refused, partitions)

    def _refused(self, model: bytes) -> dict[str, str]:
        """Returns {node: reason} for the nodes that the NPU leaves to the CPU if it may."""
        with quiet() as printed:
            try:
                session = self._device.onnx_session(model, fallback=True, severity=_VERBOSE)
                subgraphs = session.get_provider_graph_assignment_info()
            except Exception as error:  # as above
                raise UserError(f"{self._name}: cannot be compiled for {self._device.name} ({_first_line(error)})") from None
            reasons = _reasons(printed())
        names = [
            node.name
            for subgraph in subgraphs
            if subgraph.ep_name == "CPUExecutionProvider"
            for node in subgraph.get_nodes()
            if node.op_type not in _NOT_OPERATORS
        ]
        if not names:
            raise UserError(f"{self._name}: {self._device.name} leaves quantization to the CPU; no operator is refused")
        return {name: reasons.get(name, "the compiler gives no reason") for name in names}

    def run(self, inputs: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """See `Session.run`. Raises UserError if the NPU refuses operators or the simulator fails."""
        if self._session is None:
            refused = "; ".join(f"{node} ({reason})" for node, reason in self.residency.refused.items())
            raise UserError(f"{self._name}: {self._device.label} does not run {refused or 'a closed session'}")
        feeds = {name: self._unsigned(tensor, inputs[tensor]) for tensor, name in self._inputs.items()}
        with quiet():
            try:
                results = self._session.run(list(self._outputs.values()), feeds)
            except Exception as error:  # as above
                raise UserError(f"{self._name}: {self._device.name} fails ({_first_line(error)})") from None
        return {tensor: self._signed(tensor, values) for tensor, values in zip(self._outputs, results, strict=True)}

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


@functools.cache
def _qnn_devices() -> tuple[Any, ...]:
    """Registers Qualcomm's execution provider, once per process, and returns its devices."""
    for module in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(module) is None:
            raise UserError(f"virtual:hexagon needs {module}; {snapdragon.EXTRA}")
    with quiet():
        try:
            import onnxruntime
            import onnxruntime_qnn

            onnxruntime.register_execution_provider_library(_PROVIDER, onnxruntime_qnn.get_library_path())
            devices = tuple(device for device in onnxruntime.get_ep_devices() if device.ep_name == _PROVIDER)
        except Exception as error:  # ONNX Runtime raises types that are not public
            raise UserError(f"virtual:hexagon: onnxruntime-qnn cannot be loaded ({_first_line(error)})") from None
    if not devices:
        raise UserError("virtual:hexagon: onnxruntime-qnn offers no device on this machine")
    return devices


def _reasons(log: str) -> dict[str, str]:
    """Returns {node: reason why the provider refuses it}."""
    reasons = {}
    for nodes, reason in _FAILURE.findall(log):
        reasons.update(dict.fromkeys(re.findall(r"Node name: (\S+)", nodes), reason.partition(".")[0].strip()))
    reasons.update({node: f"QNN's check fails with error {code}" for node, code in _QNN_ERROR.findall(log)})
    return reasons


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
