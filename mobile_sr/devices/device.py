"""The interface of all virtual devices.

A virtual device runs or compiles a .tflite on this machine with the kernels, the simulator or the compiler of another
device. Its output values and the operators that it supports are those of the device; its time is not, and is never reported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclasses.dataclass(frozen=True)
class Residency:
    """Which operators of a graph a device runs.

    Attributes:
        nodes: operators in the graph.
        taken: how many of them the device runs.
        refused: operators that it does not run, as {name of the operator or node: reason}.
        partitions: parts into which the operators that it runs are compiled; None if it is unknown.
    """

    nodes: int
    taken: int
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    partitions: int | None = None

    def facts(self) -> dict[str, Any]:
        """Returns a JSON-able dict of the attributes."""
        return {**dataclasses.asdict(self), "refused": dict(self.refused)}


def lr_pixels(shape: tuple[int, ...]) -> int:
    """Returns the LR pixels of an image input, [N, H, W, C], or [N, C, H, W] where the last side is not 1 or 3."""
    return math.prod(shape) // (shape[3] if shape[3] in (1, 3) else shape[1])


class Session(Protocol):
    """A .tflite opened on a device for one input size."""

    residency: Residency

    def run(self, inputs: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
        """Runs the graph once.

        Args:
            inputs: raw values of all inputs by tensor index, in the dtype and shape of the tensor.

        Returns:
            Raw values of all outputs by tensor index.

        Raises:
            UserError: the device fails, or only compiles.
        """
        ...

    def facts(self) -> dict[str, Any]:
        """Returns further JSON-able figures, such as {"instructions": int} or {"cycles": int}; never milliseconds."""
        ...

    def close(self) -> None:
        """Frees processes, memory and temporary files."""
        ...


class Device(Protocol):
    """A virtual device with its settings, whose requirements were checked when it was made.

    Attributes:
        name: as given to --device, such as 'virtual:arm64'.
        label: name with settings and the software used, such as 'virtual:arm64 (Cortex-A76, qemu-aarch64 7.2)'.
        runs: whether its sessions run; False if it only compiles.
    """

    name: str
    label: str
    runs: bool

    def open(self, data: bytes, name: str | Path, shape: tuple[int, ...]) -> Session:
        """Opens a .tflite.

        Args:
            data: its bytes; the first subgraph is used.
            name: name of the file in messages.
            shape: shape of the image input; other inputs are scalars.

        Raises:
            UserError: the device cannot run or compile the file; the message names the operator if there is one.
        """
        ...
