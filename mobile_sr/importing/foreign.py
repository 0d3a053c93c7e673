"""Opens networks from elsewhere: converted to a float .tflite (converters/formats), which runs as any other .tflite.

`export` opens every such network in this way. `mobile_sr.load` and the commands do so for those that nothing else runs: .h5,
.pt2, SavedModel folders and module.py:function.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mobile_sr.converters import user_code
from mobile_sr.converters.formats import float_model, to_float_tflite
from mobile_sr.converters.printable import printable
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.quiet import print_line
from mobile_sr.converters.tflite import receptive_field
from mobile_sr.errors import UserError
from mobile_sr.files import sha256, sha256_file
from mobile_sr.inference import litert, model_files
from mobile_sr.inference.upscaler import Upscaler

PATIENCE_S = 4.0
_lock = threading.Lock()  # the threads of `upscale --workers` open the same network
_last: dict[tuple[Any, ...], float_model.FloatModel] = {}  # the network that was converted last


def load(model: str, threads: int = 1) -> Upscaler:
    """Convert a network in memory and return an Upscaler for it.

    Args:
        model: path of a .h5 or .pt2 file or a SavedModel folder, or 'module.py:function'; with options after '@'.
        threads: CPU threads.

    Raises:
        UserError: the network is unusable or cannot be converted, or an option does not apply to it.
    """
    name, options = model_files.split(model)
    return _upscaler(model, _converted(name), options, threads)


def of_object(model: Any, name: str) -> Upscaler:
    """Convert a model object, such as a torch.nn.Module, and return an Upscaler for it. Raises UserError as `load`."""
    return _upscaler(name, convert(model), {}, 1)


def _upscaler(name: str, converted: float_model.FloatModel, options: Mapping[str, str], threads: int) -> Upscaler:
    opened = open_as_file(converted.data, converted.name, options, threads)
    opened.name = name
    notes: list[str] = []
    field = opened.io.reach(reach(converted, opened, notes))
    for note in notes:
        print_line(f"note: {name}: {note}", sys.stderr)
    result = Upscaler(name, opened.scale, opened.run, field, opened.fixed)
    result.io = opened.io
    return result


def facts(model: str) -> dict[str, Any]:
    """Return {"size_bytes", "sha256"} of a network's file, or of its float .tflite if it is not one file.

    Args:
        model: as for `load`.

    Raises:
        UserError: as `load`.
    """
    path = Path(model_files.split(model)[0])
    if path.is_file():
        return {"size_bytes": path.stat().st_size, "sha256": sha256_file(path)}
    data = _converted(str(path)).data
    return {"size_bytes": len(data), "sha256": sha256(data)}


def float_tflite(model: str) -> bytes:
    """Return the bytes of the float .tflite of a network. Args and Raises: as `load`."""
    return _converted(model_files.split(model)[0]).data


def convert(model: Any, size: tuple[int, int] | None = None) -> float_model.FloatModel:
    """Convert a network, see `to_float_tflite`. Raises UserError if it is unusable or cannot be converted."""
    try:
        return to_float_tflite(model, size=size)
    except float_model.FormatError as error:
        raise UserError(str(error)) from None


def _converted(name: str) -> float_model.FloatModel:
    """Convert a network, unless it was the last one and its files have not changed."""
    with _lock:
        key = name, *_state(name)
        if key not in _last:
            with _patience(f"note: {name}: is being converted to a float .tflite ..."):
                converted = convert(name)
            _last.clear()
            _last[key] = converted
        return _last[key]


@contextlib.contextmanager
def _patience(line: str) -> Iterator[None]:
    """Context manager: prints a line on standard error if the block takes more than PATIENCE_S seconds."""
    try:
        stderr = os.dup(2)  # not sys.stderr, which `quiet` captures during a conversion
    except OSError:  # closed
        yield
        return
    timer = threading.Timer(PATIENCE_S, lambda: os.write(stderr, f"{printable(line)}\n".encode()))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        os.close(stderr)


def _state(name: str) -> list[tuple[str, int, int]]:
    """Return names, sizes and modification times of the files of a network."""
    named = user_code.split(name)
    path = Path(name) if named is None or Path(name).exists() else named[0]
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def open_as_file(data: bytes, name: str, options: Mapping[str, str], threads: int = 1) -> litert.TFLiteModel:
    """Open the bytes of a .tflite like a file from elsewhere: value range and channel order are measured or from options."""
    with tempfile.TemporaryDirectory(prefix="mobile_sr.") as folder:
        path = Path(folder) / f"{name}.tflite"
        path.write_bytes(data)
        opened = litert.TFLiteModel(path, threads, options)
    opened.name = name
    return opened


def reach(converted: float_model.FloatModel, opened: litert.TFLiteModel, notes: list[str]) -> int | None:
    """Return the LR pixels to each side that an output pixel depends on; None if tiles cannot be exact.

    Args:
        converted: the network.
        opened: its float .tflite.
        notes: gets a line if tiles cannot be exact.
    """
    bound = receptive_field.upper_bound(FloatGraph(converted.data))
    if bound is not None:
        least = receptive_field.lower_bound(litert.parse_graph(converted.data, converted.name))
        field = max(1, bound, least)
        if converted.size is None or 2 * (opened.io.reach(field) or field) < min(converted.size):
            return field
    reason = (
        "its receptive field is not known" if bound is None else f"an output pixel depends on {bound} LR pixels to each side"
    )
    if converted.size is None:
        notes.append(f"{reason}: images are upscaled in one piece; `upscale --tile` saves memory, and tiles may be visible")
    else:
        notes.append(f"{reason}: in images larger than {converted.size[1]}x{converted.size[0]}, tiles may be visible")
    return None
