"""Opens .tflite files for a run on an Android device, with those that only a phone's NPU runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mobile_sr.benchmarking.benchmark import open_model
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.errors import UserError
from mobile_sr.inference.model_files import locate_tflite
from mobile_sr.inference.tensor_layout import TensorLayout

if TYPE_CHECKING:
    from mobile_sr.inference.litert import TFLiteModel

NPU = "npu"
COMPILED = "DISPATCH_OP"  # the custom operator of LiteRT's compiler


@dataclasses.dataclass(frozen=True)
class CompiledNetwork:
    """A .tflite that is compiled for the NPU of one chip, which this machine cannot run.

    Attributes:
        path: the file.
        name: its name in messages.
        fixed: its LR (H, W).
        layout: layout of its tensors.
        adjustable: None; the desired depth of such a file must be given.
    """

    path: Path
    name: str
    fixed: tuple[int, int]
    layout: TensorLayout = TensorLayout()
    adjustable: None = None


def open_file(model: str | Path, threads: int) -> TFLiteModel | CompiledNetwork:
    """Opens a file.

    Args:
        model: a .tflite file or a packaged one, with options after '@'.
        threads: CPU threads of files that this machine runs.

    Raises:
        UserError: it is not a network from one image, or its desired depth is missing.
    """
    path, options = locate_tflite(model)
    try:
        graph = flatbuffer.parse(path.read_bytes())
    except (OSError, flatbuffer.TFLiteFileError):
        return open_model(model, threads)  # which says what is wrong
    if not any(op.custom and op.name == COMPILED for op in graph.ops):
        return open_model(model, threads)
    images = graph.image_inputs()
    if len(images) != 1 or graph.tensors[images[0]].shape[-1] != 3:
        raise UserError(f"{path.name}: compiled for an NPU, but not a network from one RGB image [1, H, W, 3]")
    if len(graph.inputs) > 1 and "desired_depth" not in options:
        raise UserError(f"{path.name}: compiled for an NPU, with a desired depth; give it by --depth")
    _, height, width, _ = graph.tensors[images[0]].shape
    return CompiledNetwork(path, path.name, (int(height), int(width)))


def delegates_of(file: TFLiteModel | CompiledNetwork, delegates: Sequence[str]) -> list[str]:
    """Returns the delegates that can run a file: NPU for a compiled one, the others for ordinary ones.

    Raises:
        UserError: there is none.
    """
    compiled = isinstance(file, CompiledNetwork)
    chosen = [delegate for delegate in delegates if (delegate == NPU) == compiled]
    if not chosen and compiled:
        raise UserError(f"{file.name}: compiled for an NPU; use --delegates npu")
    if not chosen:
        raise UserError(f"{file.name}: --delegates npu runs files of `mobile-sr export --target snapdragon --soc CHIP`")
    return chosen
