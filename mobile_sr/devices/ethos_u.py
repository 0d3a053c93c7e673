"""virtual:ethos-u: Arm's compiler vela for Ethos-U NPUs. It reports which operators the NPU would run; nothing is run.

The cycles are vela's estimate for its description of a system, at the clock and memory speeds of that description. They
compare two files, or two forms of a file; they are not the time on a board. Operators left on the CPU are not part of them.
"""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.tflite import fixed_shape, flatbuffer
from mobile_sr.converters.tflite.passes import simplify
from mobile_sr.devices.device import Residency, lr_pixels
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.files import temporary_folder

EXTRA = "pip install 'mobile-sr[ethos]'"
ACCELERATORS = (
    *("ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512"),
    *("ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048"),
)
DEFAULT_ACCELERATOR = "ethos-u65-256"  # that of NXP's i.MX 93, which runs Linux
LIMIT_S = 600
_PACKAGE = "ethos-u-vela"
_LEFT = re.compile(r"^ *CPU: \w+ = (.*) \(outputs .*\)$", re.MULTILINE)
_REASON = re.compile(r"operator: \w+, ofm: '(.*)'\nReason: (.*)")
_FIGURES = {  # key -> column of vela's summary
    "cycles": "cycles_total",
    "cycles_npu": "cycles_npu",
    "macs": "nn_macs",
    "sram_kib": "sram_memory_used",
    "dram_kib": "dram_memory_used",
    "flash_kib": "off_chip_flash_memory_used",
}


class EthosUDevice:
    """Arm's compiler for an Ethos-U NPU.

    Attributes:
        name, label, runs: as of `Device`.
        accelerator: member of ACCELERATORS.
    """

    name = "virtual:ethos-u"
    runs = False

    def __init__(self, soc: str | None = None) -> None:
        """Checks the requirements.

        Args:
            soc: NPU and multiply-adds per cycle, such as 'ethos-u85-256'; None is DEFAULT_ACCELERATOR.

        Raises:
            UserError: an unknown accelerator, or vela is not installed.
        """
        self.accelerator = DEFAULT_ACCELERATOR if soc is None else soc
        if self.accelerator not in ACCELERATORS:
            hint = did_you_mean(self.accelerator, ACCELERATORS)
            raise UserError(f"--soc {soc}: unknown; {self.name} has {', '.join(ACCELERATORS)}{hint}")
        if importlib.util.find_spec("ethosu") is None:
            raise UserError(f"{self.name} needs Arm's compiler vela: {EXTRA}")
        self.version = importlib.metadata.version(_PACKAGE)
        self.label = f"{self.name} ({self.accelerator}; vela {self.version}, compiles only)"

    def open(self, data: bytes, name: str | Path, shape: tuple[int, ...]) -> EthosUSession:
        """See `Device.open`. A file of dynamic size is compiled at the size of `shape`."""
        return EthosUSession(self, data, name, shape)


class EthosUSession:
    """A .tflite compiled by vela.

    Attributes:
        residency: operators that the NPU runs, of those in the file.
    """

    def __init__(self, device: EthosUDevice, data: bytes, name: str | Path, shape: tuple[int, ...]) -> None:
        """See `Device.open`."""
        self._name, self._shape, self._device = name, shape, device
        data = fixed_shape.first_subgraph_only(data)
        graph = flatbuffer.parse(data)
        if flatbuffer.calls_subgraphs(graph):
            raise UserError(f"{name}: {device.name} compiles no control flow; a network with depth needs its dense form")
        if any(-1 in graph.tensors[index].shape for index in graph.inputs):
            try:
                data = simplify.fix_size(data, shape)
            except ValueError as error:
                raise UserError(f"{name}: {error}; export it with --height and --width") from None
        data = _with_names(data)
        graph = flatbuffer.parse(data)
        printed, self._figures = _compile(data, name, device.accelerator)
        self.residency = residency(graph, printed)

    def run(self, inputs: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Raises UserError: vela only compiles."""
        raise UserError(f"{self._name}: {self._device.name} only compiles; it cannot run a file")

    def facts(self) -> dict[str, Any]:
        """Returns {"vela", "accelerator", "system", "memory": text, "cycles", "cycles_npu", "macs", "..._kib": numbers}.

        "cycles_per_lr_pixel" is computed from them.
        """
        figures = self._figures
        result: dict[str, Any] = {
            "vela": self._device.version,
            "accelerator": self._device.accelerator,
            "system": figures["system_config"],
            "memory": figures["memory_mode"],
        }
        result |= {key: round(float(figures[column]), 3) for key, column in _FIGURES.items()}
        result |= {key: int(result[key]) for key in ("cycles", "cycles_npu", "macs")}
        result["cycles_per_lr_pixel"] = round(result["cycles"] / lr_pixels(self._shape), 2)
        return result

    def close(self) -> None:
        """See `Session.close`; there is nothing to free."""


def _with_names(data: bytes) -> bytes:
    """Returns a .tflite whose tensors have different names: vela reports operators by the names of their outputs."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for index, tensor in enumerate(model.subgraphs[0].tensors):
        tensor.name = f"tensor{index}"
    return flatbuffer.pack(model)


def _compile(data: bytes, name: str | Path, accelerator: str) -> tuple[str, dict[str, str]]:
    """Compile a file. Returns (what vela printed, {column: value} of its summary)."""
    with temporary_folder("mobile-sr-vela-") as folder:
        file = folder / "model.tflite"
        file.write_bytes(data)
        command = [sys.executable, "-m", "ethosu.vela", str(file), "--accelerator-config", accelerator]
        command += ["--output-dir", str(folder), "--show-cpu-operations"]
        try:
            done = subprocess.run(command, capture_output=True, cwd=folder, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            raise UserError(f"{name}: vela took more than {LIMIT_S} s for {accelerator}; use a smaller size") from None
        summaries = list(folder.glob("*_summary_*.csv"))
        rows = list(csv.DictReader(summaries[0].read_text().splitlines())) if summaries else []
    printed = (done.stdout + b"\n" + done.stderr).decode(errors="replace")
    if done.returncode or not rows:
        lines = [line.strip() for line in printed.splitlines() if line.strip() and not line.startswith("Warning: No ")]
        raise UserError(f"{name}: vela cannot compile it for {accelerator} ({lines[-1] if lines else done.returncode})")
    return printed, rows[0]


def residency(graph: flatbuffer.Graph, printed: str) -> Residency:
    """Read vela's report.

    Args:
        graph: the file that was compiled.
        printed: output of vela with --show-cpu-operations.

    Returns:
        Operators of the file that the NPU runs. vela names the others by the tensor that they write.
    """
    reasons = dict(_REASON.findall(printed))
    left = set(_LEFT.findall(printed))
    refused = {}
    for index, op in enumerate(graph.ops):
        written = [graph.tensors[tensor].name for tensor in op.outputs]
        if left.intersection(written):
            reason = next((reasons[tensor] for tensor in written if tensor in reasons), "left on the CPU by vela")
            refused[f"{op.name} {index}"] = re.sub(r" \(.*\)$", "", reason)  # without names of tensors
    return Residency(len(graph.ops), len(graph.ops) - len(refused), refused)
