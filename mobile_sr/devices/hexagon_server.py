"""A process that runs QDQ ONNX files on Qualcomm's simulator for its parent: `python -m mobile_sr.devices.hexagon_server 73`.

The argument is the version of the Hexagon architecture. The simulator has a process of its own because TensorFlow crashes in
a process that has loaded it. Requests and replies are those of `server`; tensors are named by their position in the file.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.quiet import quiet
from mobile_sr.devices import server

_PROVIDER = "mobile-sr-qnn"
_VERBOSE, _ERROR = 0, 3  # severities of ONNX Runtime's log
_NOT_OPERATORS = ("QuantizeLinear", "DequantizeLinear")
# What the provider logs about nodes that it leaves: their names and a reason, and before that perhaps QNN's own error.
_FAILURE = re.compile(r"Validation FAILED .*\n((?:\s+Operator type: .*\n)+)\s+REASON : (.*)")
_QNN_ERROR = re.compile(r"backendValidateOpConfig\(\) failed for node `(\S+)` of type `\w+` with error code (\d+)")


class NpuModel:
    """A QDQ ONNX file on the simulated NPU.

    Attributes:
        about: {"partitions": parts into which it was compiled, "refused": {node: reason}}. With refused nodes it does not run.
    """

    def __init__(
        self, open_onnx: Callable[[bytes, bool, int], Any], data: bytes, shape: Sequence[int] = (), image: int = 0
    ) -> None:
        """Compiles.

        Args:
            open_onnx: opens a file, as `Simulator.open_onnx`.
            data: the file's bytes.
            shape, image: not used; the file has fixed sizes.

        Raises:
            RuntimeError: the compiler fails.
        """
        self.about: dict[str, Any] = {"partitions": None, "refused": {}}
        self._session: Any = None
        try:
            session = open_onnx(data, False, _ERROR)
            self.about["partitions"] = len(session.get_provider_graph_assignment_info())
            self._session = session
        except Exception:  # ONNX Runtime raises types that are not public; what was refused is found below
            self.about["refused"] = _refused(open_onnx, data)

    def run(self, inputs: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Returns the outputs by position. Raises RuntimeError if the simulator fails."""
        names = [value.name for value in self._session.get_inputs()]
        try:
            results = self._session.run(None, {names[position]: values for position, values in inputs.items()})
        except Exception as error:  # as above
            raise RuntimeError(f"the simulator fails ({_first_line(error)})") from None
        return dict(enumerate(results))


class Simulator:
    """Qualcomm's execution provider, registered in this process."""

    def __init__(self, arch: int) -> None:
        """Registers it.

        Args:
            arch: version of the Hexagon architecture, such as 73.

        Raises:
            RuntimeError: it cannot be loaded or offers no device.
        """
        import onnxruntime
        import onnxruntime_qnn

        library = onnxruntime_qnn.get_library_path()
        onnxruntime.register_execution_provider_library(_PROVIDER, library)
        self._devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == _PROVIDER]
        if not self._devices:
            raise RuntimeError("onnxruntime-qnn offers no device on this machine")
        self._settings = {"backend_path": str(Path(onnxruntime_qnn.__file__).with_name("libQnnHtp.so")), "htp_arch": str(arch)}

    def open_onnx(self, data: bytes, fallback: bool, severity: int) -> Any:
        """Opens a QDQ ONNX file on the NPU.

        Args:
            data: bytes of the file.
            fallback: whether the CPU runs what the NPU refuses.
            severity: lowest severity that ONNX Runtime logs, 0 (everything) to 4.

        Returns:
            An onnxruntime.InferenceSession.

        Raises:
            Exception: the NPU refuses a node and there is no fallback, or the compiler fails.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = severity
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "0" if fallback else "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.add_provider_for_devices(self._devices[:1], self._settings)
        return onnxruntime.InferenceSession(data, sess_options=options)


def _refused(open_onnx: Callable[[bytes, bool, int], Any], data: bytes) -> dict[str, str]:
    """Returns {node: reason} for the nodes that the NPU leaves to the CPU if it may."""
    with quiet() as printed:
        try:
            subgraphs = open_onnx(data, True, _VERBOSE).get_provider_graph_assignment_info()
        except Exception as error:  # as above
            raise RuntimeError(f"cannot be compiled ({_first_line(error)})") from None
        reasons = _reasons(printed())
    names = [
        node.name
        for subgraph in subgraphs
        if subgraph.ep_name == "CPUExecutionProvider"
        for node in subgraph.get_nodes()
        if node.op_type not in _NOT_OPERATORS
    ]
    if not names:
        raise RuntimeError("the NPU leaves quantization to the CPU; no operator is refused")
    return {name: reasons.get(name, "the compiler gives no reason") for name in names}


def _reasons(log: str) -> dict[str, str]:
    """Returns {node: reason why the provider refuses it}."""
    reasons = {}
    for nodes, reason in _FAILURE.findall(log):
        reasons.update(dict.fromkeys(re.findall(r"Node name: (\S+)", nodes), reason.partition(".")[0].strip()))
    reasons.update({node: f"QNN's check fails with error {code}" for node, code in _QNN_ERROR.findall(log)})
    return reasons


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def main() -> None:
    """Answers until standard input ends."""
    server.serve(lambda: functools.partial(NpuModel, Simulator(int(sys.argv[1])).open_onnx))


if __name__ == "__main__":
    main()
