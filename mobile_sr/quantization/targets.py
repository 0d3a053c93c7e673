"""Export targets: the form of a file for a CPU, a GPU or an NPU.

targets.json is the table; docs/guide/targets.md has the reasons and the sources.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources

from mobile_sr.converters.tflite.passes import interleave, transpose_conv
from mobile_sr.converters.tflite.passes.editor import Editor
from mobile_sr.errors import UserError, did_you_mean

# LR (height, width) for a target that needs a fixed one where none is given. Larger images run in tiles.
DEFAULT_SIZE = (128, 128)


@dataclasses.dataclass(frozen=True)
class Target:
    """The properties of files for a device.

    Attributes:
        name: its name, such as 'mediatek'.
        title: the device and the software that runs or compiles the file.
        precisions: precisions that it runs well; the first is the default.
        per_channel: whether kernels of integer files have one scale per output channel, or a single one.
        groups: whether it runs grouped convolutions; where not, they are written as ordinary ones with zeros.
        fixed_size: whether it needs a fixed input size.
        upsampler: 'depth_to_space'; 'transpose_conv' (converters/tflite/passes/transpose_conv.py), or 'interleave' where that
            is impossible; or 'interleave' (interleave.py beside it).
        max_pixels: maximum number of pixels of the LR input, None for any.
    """

    name: str
    title: str
    precisions: Sequence[str]
    per_channel: bool
    groups: bool
    fixed_size: bool
    upsampler: str
    max_pixels: int | None = None


@functools.cache
def table() -> Mapping[str, Target]:
    """Returns all targets by name."""
    text = (resources.files("mobile_sr.quantization") / "targets.json").read_text()
    return {name: Target(name=name, **row) for name, row in json.loads(text).items()}


def find(name: str) -> Target:
    """Returns a target. Raises UserError for an unknown name."""
    if name not in table():
        raise UserError(f"--target {name}: unknown; use {', '.join(table())}{did_you_mean(name, table())}")
    return table()[name]


def check(
    target: Target,
    precisions: Sequence[str],
    per_tensor: bool,
    dense_groups: bool,
) -> None:
    """Raises UserError if an option that was given contradicts a target."""
    why = f"--target {target.name}"
    wrong = [p for p in precisions if p not in target.precisions]
    if wrong:
        raise UserError(f"--precision {','.join(wrong)}: {why} supports {', '.join(target.precisions)}; leave one of them out")
    if per_tensor and target.per_channel:
        raise UserError(f"--per-tensor: {why} supports one scale per channel, which loses less; leave one of them out")
    if dense_groups and target.groups:
        raise UserError(f"--dense-groups: {why} supports grouped convolutions; leave one of them out")


def network_path(target: Target, requested: str | None) -> str | None:
    """Returns the path of an AdaDSR network for `Export.path`: the sparse one has operators that only CPUs support.

    Raises:
        UserError: the sparse path is requested for another target.
    """
    if target.name == "cpu":
        return requested
    if requested == "sparse":
        raise UserError(f"--path sparse: --target {target.name} supports the dense path only; leave one of them out")
    return "dense"


def check_size(target: Target, size: tuple[int, int] | None) -> None:
    """Raises UserError if a fixed LR (height, width) is too large for a target."""
    if size is not None and target.max_pixels and size[0] * size[1] > target.max_pixels:
        raise UserError(
            f"--height {size[0]} --width {size[1]}: --target {target.name} supports at most {target.max_pixels:,} LR pixels; "
            "larger images run in tiles"
        )


def with_upsampler(data: bytes, form: str) -> bytes:
    """Write the DEPTH_TO_SPACE operators of a float .tflite in another form of the same function.

    Args:
        data: bytes of the file, of fixed size if the form is not 'depth_to_space'.
        form: see `Target.upsampler`.

    Returns:
        The bytes of the file.
    """
    if form == "depth_to_space":
        return data
    editor = Editor(data)
    if form == "transpose_conv":
        transpose_conv.replace_depth_to_space(editor)
    interleave.replace_depth_to_space(editor)
    return editor.pack()
