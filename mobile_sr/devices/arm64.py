"""virtual:arm64: LiteRT's Arm kernels under qemu-user, with exact counts of instructions.

The output bytes are those of the kernels that an Arm CPU of this kind runs. Instructions are counted by a QEMU plugin. How
long they take on a chip depends on its caches, clock and memory, so no time is reported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from mobile_sr.converters.tflite import flatbuffer, runtime
from mobile_sr.devices import arm64_root, server_process
from mobile_sr.devices.device import Residency, lr_pixels
from mobile_sr.errors import UserError, did_you_mean

DEFAULT_CPU = "cortex-a76"
OPEN_LIMIT_S = 300
RUN_LIMIT_S = 300  # and RUN_LIMIT_S_PER_PIXEL for each LR pixel
RUN_LIMIT_S_PER_PIXEL = 0.02  # EDSR of 32 channels, 40,000 instructions per pixel, takes a hundredth of it
_REFUSED = "XNNPACK leaves it to the interpreter's own kernels"


class Arm64Device:
    """LiteRT on an emulated Arm CPU. One QEMU process serves all its sessions; a crash ends it, and the next one starts it.

    Attributes:
        name, label, runs: as of `Device`.
        cpu: key of `arm64_root.CPUS`.
    """

    name = "virtual:arm64"
    runs = True

    def __init__(self, cpu: str | None = None) -> None:
        """Checks the requirements; the process starts with the first session.

        Args:
            cpu: 'cortex-a76' (default), 'cortex-a72' or 'i8mm'.

        Raises:
            UserError: an unknown CPU, or QEMU or the root is missing.
        """
        self.cpu = DEFAULT_CPU if cpu is None else cpu
        if self.cpu not in arm64_root.CPUS:
            known = ", ".join(arm64_root.CPUS)
            raise UserError(f"--cpu {cpu}: unknown CPU; {self.name} has {known}{did_you_mean(self.cpu, arm64_root.CPUS)}")
        self._root = arm64_root.find()
        title = arm64_root.CPUS[self.cpu].title
        self.label = f"{self.name} ({title}; {arm64_root.QEMU} {arm64_root.qemu_version()}, LiteRT {self._root.litert})"
        self._server: server_process.ServerProcess | None = None
        self._counts: IO[bytes] | None = None  # where the plugin of that process reports

    def open(self, data: bytes, name: str | Path, shape: tuple[int, ...]) -> Arm64Session:
        """See `Device.open`."""
        return Arm64Session(self, data, name, shape)

    def server(self) -> server_process.ServerProcess:
        """Returns the running QEMU process, started if there is none. Raises UserError if it does not start."""
        if self._server is None or not self._server.close.alive:
            root = self._root
            counts, plugin_end = os.pipe()
            plugin = str(root.counter).replace(",", ",,")  # QEMU separates options by commas
            command = [*root.command(self.cpu), "-plugin", f"file={plugin},fd={plugin_end}"]
            command += [str(root.python), "-S", "-m", server_process.MODULE]
            ours = str(Path(__file__).parents[2])  # after LiteRT's folder: in an installed copy it has this machine's
            environment = server_process.python_environment([str(root.packages), ours])
            self._counts = os.fdopen(counts, "rb")
            try:
                self._server = server_process.ServerProcess(self.name, command, environment, [plugin_end])
            except UserError as error:
                raise UserError(
                    f"{error}; if the Arm system is damaged, remove {root.folder} and run {arm64_root.COMMAND}"
                ) from None
            finally:
                os.close(plugin_end)
        return self._server

    def read_count(self) -> int:
        """Returns the instructions between two reports of the counter. Raises UserError if it did not report."""
        assert self._counts is not None
        values = np.frombuffer(self._counts.read(16), np.uint64)
        if len(values) < 2:  # QEMU has ended
            raise UserError(f"{self.name}: QEMU did not report its count of instructions")
        return int(values[1] - values[0])


class Arm64Session:
    """A .tflite opened on an Arm64Device.

    Attributes:
        residency: operators that XNNPACK runs; the others run on the interpreter's kernels, on the CPU as well.
    """

    def __init__(self, device: Arm64Device, data: bytes, name: str | Path, shape: tuple[int, ...]) -> None:
        """See `Device.open`."""
        graph = flatbuffer.parse(data)
        image = graph.image_inputs()[0]
        self._device, self._shape = device, shape
        self._instructions: int | None = None
        what = f"{name} with input shape {shape}"
        self._session = server_process.ServerSession(device.server(), what, OPEN_LIMIT_S, shape, image, data)
        self.residency = _residency(self._session.opened["nodes"])

    def run(self, inputs: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """See `Session.run`."""
        limit = RUN_LIMIT_S + RUN_LIMIT_S_PER_PIXEL * float(np.prod(self._shape))
        outputs = self._session.run(inputs, limit)
        self._instructions = self._device.read_count()
        return outputs

    def facts(self) -> dict[str, Any]:
        """Returns {"cpu", "instructions", "instructions_per_lr_pixel"}: instructions of the last run, None before it."""
        count = self._instructions
        return {
            "cpu": self._device.cpu,
            "instructions": count,
            "instructions_per_lr_pixel": None if count is None else count / lr_pixels(self._shape),
        }

    def close(self) -> None:
        """See `Session.close`."""
        self._session.close()


def _residency(nodes: list[dict[str, Any]]) -> Residency:
    partitions, delegated, every = runtime.delegated(nodes)
    refused = {f"{op['op_name']} {index}": _REFUSED for index, op in sorted(every.items()) if index not in delegated}
    return Residency(len(every), len(delegated), refused, partitions)
