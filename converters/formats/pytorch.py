"""Converts PyTorch modules and exported programs (.pt2) with litert-torch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.converters.formats import verification
from mobile_sr.converters.formats.float_model import FloatModel, FormatError, first_line
from mobile_sr.converters.quiet import quiet

SAMPLE = (48, 64)  # (H, W) without a size: litert-torch converts one size
_EXTRA = "a PyTorch network needs litert-torch: pip install 'mobile-sr[litert-torch]', or export it to .onnx"


def is_module(source: object) -> bool:
    """Whether an object is a torch.nn.Module; does not import PyTorch."""
    return any(kind.__name__ == "Module" and kind.__module__.startswith("torch.nn") for kind in type(source).__mro__)


def load_program(path: Path) -> tuple[Any, tuple[int, int] | None]:
    """Load a .pt2 file, an exported program of torch.export.

    Returns:
        Its module, and the (H, W) of the image with which it was exported.

    Raises:
        FormatError: PyTorch is missing or cannot load the file.
    """
    _require(str(path))
    import torch

    try:
        program = torch.export.load(str(path))
        shapes = [tuple(value.shape) for value in (program.example_inputs or ((),))[0]]
        return program.module(), shapes[0][2:] if len(shapes) == 1 and len(shapes[0]) == 4 else None
    except Exception as error:  # PyTorch raises many types
        raise FormatError(f"{path}: not usable as an exported program of PyTorch ({first_line(error)})") from None


def convert(module: Any, name: str, size: tuple[int, int] | None) -> FloatModel:
    """Convert a PyTorch network of [1, C, H, W] images.

    The number of channels is found by running the network on an image of 3 channels, then of 1.

    Args:
        module: a torch.nn.Module.
        name: its name.
        size: (H, W) of the fixed input; None uses SAMPLE.

    Raises:
        FormatError: litert-torch is missing, the network fails on an image, or an operator is not supported.
    """
    _require(name)
    notes = ["channels first: the .tflite is channels last (NHWC)"]
    if size is None:
        size = SAMPLE
        notes.append(f"PyTorch networks have a fixed size; without --height and --width it is {size[1]}x{size[0]}")
    with quiet():
        import litert_torch
        import torch

        if hasattr(module, "eval") and "GraphModule" not in type(module).__name__:  # exported programs refuse eval()
            module = module.eval()
        channels = _channels(torch, module, name, size)
        channels_last = litert_torch.to_channel_last_io(module, args=[0], outputs=[0])
        try:
            image = torch.zeros(1, *size, channels)
            converted = litert_torch.convert(channels_last, (image,))
            data = _bytes(converted)
        except Exception as error:  # litert-torch raises many types
            reason = first_line(error).partition(": error: ")[2] or first_line(error)
            raise FormatError(
                f"{name}: litert-torch cannot convert it ({reason[:100]}); export the network to .onnx and convert that"
            ) from None
    return FloatModel(data, name, "pytorch", _reference(torch, module), size, channels, notes=notes)


def _bytes(converted: Any) -> bytes:
    """The bytes of litert-torch's model, whose only documented way out is a file."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        converted.export(str(path))
        return path.read_bytes()


def _require(name: str) -> None:
    if "tensorflow" in sys.modules:
        # Triton's native library ends the process if TensorFlow's is loaded (triton 3, TensorFlow 2.21). PyTorch works
        # without it and looks for it when litert_torch is imported.
        sys.modules.setdefault("triton", None)  # type: ignore[arg-type]  # None makes the import fail
    with quiet():
        try:
            import litert_torch  # noqa: F401
            import torch  # noqa: F401
        except ImportError:
            raise FormatError(f"{name}: {_EXTRA}") from None


def _channels(torch: Any, module: Any, name: str, size: tuple[int, int]) -> int:
    errors = []
    for channels in (3, 1):
        try:
            with torch.no_grad():
                module(torch.from_numpy(verification.sample(*size, channels).transpose(0, 3, 1, 2).copy()))
            return channels
        except Exception as error:  # user code raises many types
            errors.append(first_line(error))
    raise FormatError(f"{name}: fails on {size[1]}x{size[0]} images of 3 and of 1 channels ({errors[0]})")


def _reference(torch: Any, module: Any) -> Callable[[np.ndarray], np.ndarray]:
    def run(lr: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            output = module(torch.from_numpy(lr.transpose(0, 3, 1, 2).copy()))
        output = output[0] if isinstance(output, (list, tuple)) else output
        return output.numpy().transpose(0, 2, 3, 1)

    return run
