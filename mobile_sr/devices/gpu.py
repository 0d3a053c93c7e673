"""virtual:gpu: LiteRT's GPU accelerator (ML Drift on WebGPU) on this machine's GPU, or on a software Vulkan driver.

It is the accelerator that LiteRT's CompiledModel uses: operators and arithmetic are those of its kernels. Drivers of phones
round, and fail, in their own ways. A model that the GPU does not run as a whole is refused; it never runs on the CPU instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr import zoo
from mobile_sr.converters.tflite import fixed_shape, flatbuffer
from mobile_sr.devices.device import Residency
from mobile_sr.devices.server_process import MODULE, ServerProcess, ServerSession, own_command, own_environment
from mobile_sr.errors import UserError

# Folders in which Vulkan drivers are registered, and the files of SwiftShader, Chromium's driver that computes on the CPU.
DRIVERS = ("/etc/vulkan/icd.d", "/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d")
_BROWSERS = ("/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome")
SWIFTSHADER = tuple(Path(folder, "vk_swiftshader_icd.json") for folder in _BROWSERS)
CHOSEN = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")  # environment variables by which a user chooses a driver
LIMIT_S = 300
_PROBE = zoo.FOLDER / "espcn_x3_uint8.tflite"


class GpuDevice:
    """LiteRT's GPU accelerator. One process serves all sessions; a crash of a driver ends it, and the next one starts it.

    Attributes:
        name, label, runs: as of `Device`.
    """

    name = "virtual:gpu"
    runs = True

    def __init__(self) -> None:
        """Finds a Vulkan driver and compiles a small model with it.

        Raises:
            UserError: there is no driver, or LiteRT accepts none of them.
        """
        self._server: ServerProcess | None = None
        failure = ""
        for environment in _environments():
            self._environment = environment
            try:
                session = self.open(_PROBE.read_bytes(), _PROBE.name, (1, 8, 8, 3))
            except UserError as error:
                failure, self._server = f" ({error})", None
                continue
            self.label = f"{self.name} ({_adapter(session.printed)}; LiteRT {version('ai-edge-litert')})"
            session.close()
            return
        raise UserError(
            f"{self.name}: no Vulkan driver that LiteRT accepts{failure}; without a GPU, install Chromium's software driver: "
            "apt-get install chromium libvulkan1"
        )

    def open(self, data: bytes, name: str | Path, shape: tuple[int, ...]) -> GpuSession:
        """See `Device.open`."""
        return GpuSession(self.server(), data, name, shape)

    def server(self) -> ServerProcess:
        """Returns the running process, started if there is none. Raises UserError if it does not start."""
        if self._server is None or not self._server.close.alive:
            self._server = ServerProcess(self.name, own_command(MODULE, "gpu"), self._environment)
        return self._server


class GpuSession:
    """A .tflite compiled by a GpuDevice.

    Attributes:
        residency: all operators of the graph.
        printed: what LiteRT printed while it compiled.
    """

    def __init__(self, server: ServerProcess, data: bytes, name: str | Path, shape: tuple[int, ...]) -> None:
        """See `Device.open`."""
        data = fixed_shape.first_subgraph_only(data)  # the accelerator refuses a file for any of its subgraphs
        graph = flatbuffer.parse(data)
        image = graph.image_inputs()[0]
        what, fixed = f"{name} with input shape {shape}", fixed_shape.with_input_shape(data, image, shape)
        try:
            self._session = ServerSession(server, what, LIMIT_S, shape, image, fixed)
        except UserError as error:
            raise UserError(f"{error}{_reason(server.printed())}") from None
        self.printed = server.printed()
        if not self._session.opened["accelerated"]:
            self.close()
            raise UserError(f"virtual:gpu: {what}: the GPU does not run all of its operators{_reason(self.printed)}")
        self.residency = Residency(len(graph.ops), len(graph.ops), {}, 1)

    def run(self, inputs: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """See `Session.run`."""
        return self._session.run(inputs, LIMIT_S)

    def facts(self) -> dict[str, Any]:
        """Returns {}."""
        return {}

    def close(self) -> None:
        """See `Session.close`."""
        self._session.close()


def _environments() -> Iterator[dict[str, str]]:
    """Yields the environments to try: the user's choice alone, or this machine's drivers, then SwiftShader."""
    base = own_environment()
    if any(os.environ.get(key) for key in CHOSEN):
        yield base
        return
    if any(True for folder in DRIVERS for _ in Path(folder).glob("*.json")):
        yield base
    for file in SWIFTSHADER:
        if file.exists():
            yield {**base, **dict.fromkeys(CHOSEN, str(file))}


def _adapter(printed: list[str]) -> str:
    """Returns the name of the Vulkan adapter, from what LiteRT printed."""
    for line in printed:
        if match := re.search(r"Selected adapter: ([^,]*),.*adapterType=(.*)", line):
            name, kind = match[1].strip(), match[2].strip()
            return f"{name}, software on this machine's CPU" if kind.startswith("CPU") else f"this machine's GPU: {name}"
    return "an unnamed Vulkan adapter"


def _reason(printed: list[str]) -> str:
    """Returns the first line that LiteRT printed as an error or warning, in parentheses; '' if there is none."""
    for line, after in zip(printed, [*printed[1:], ""], strict=True):
        if match := re.match(r"(?:E\d{4} \S+ +\d+ \S+\] |ERROR: |WARNING: )(?!\[|Logging before)(.*)", line):
            return f" ({match[1]} {after})" if match[1].endswith(":") else f" ({match[1]})"
    return ""
