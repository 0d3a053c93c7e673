"""Model files and checkpoints: .npz archives of plain arrays and one JSON string. Nothing in them is unpickled."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import zoo
from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path
from mobile_sr.inference import limits

if TYPE_CHECKING:
    import keras

MAX_SCALE = 16  # the width of the last layer grows with its square
MAX_BYTES = 2 * 1024**3  # unpacked; far above the checkpoints of these networks, far below a zip bomb
_META = "__json__"


def write_arrays(path: str | Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Writes named arrays and a JSON-able dict as one .npz file, atomically."""
    with atomic_path(path) as temporary:
        members: dict[str, Any] = {_META: np.array(json.dumps(meta)), **arrays}
        np.savez_compressed(temporary, **members)


def read_arrays(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads a file written by `write_arrays`.

    Returns:
        (arrays, meta).

    Raises:
        UserError: the file is missing, damaged (zip checksums are verified), too large or not such a file.
    """
    arrays = read_plain(path)
    if _META not in arrays:
        raise UserError(f"{path}: an .npz file, but not written by mobile-sr (it has no configuration)")
    try:
        meta = json.loads(str(arrays.pop(_META)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged or not a model file ({error})") from None
    if not isinstance(meta, dict):
        raise UserError(f"{path}: damaged or not a model file (its configuration is a {type(meta).__name__})")
    return arrays, meta


def read_plain(path: str | Path) -> dict[str, np.ndarray]:
    """Returns {name: array} of any .npz file of plain arrays. Raises UserError as `read_arrays` does."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > MAX_BYTES:
                raise UserError(f"{path}: would unpack to {unpacked:,} bytes; the limit is {MAX_BYTES:,}")
            return {member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members}
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # zipfile, zlib and numpy raise many types on damaged data
        raise UserError(f"{path}: damaged or not a model file ({str(error) or type(error).__name__})") from None


def _array(data: bytes) -> np.ndarray:
    """Reads an .npy file's bytes. Raises ValueError, before memory is allocated, if their size contradicts the header."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read_header(file)
    if dtype.kind not in "biufU":
        raise ValueError(f"an array of {dtype}")
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"an array of shape {shape} in {len(data)} bytes")
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def save_model(
    path: str | Path,
    model: keras.Model,
    config: Mapping[str, Any],
    meta: Mapping[str, Any] | None = None,
    dtype: str = "float32",
) -> None:
    """Writes a Keras model's weights and configuration to one file from which the network can be rebuilt.

    Args:
        path: the .npz file.
        model: the model.
        config: the network's configuration, see `models.build`.
        meta: further JSON-able entries.
        dtype: dtype of the stored weights.
    """
    arrays = {v.path: np.asarray(value, dtype) for v, value in zip(model.variables, model.get_weights(), strict=True)}
    write_arrays(path, arrays, {"config": config, **(meta or {})})


def load_model(path: str | Path, **overrides: Any) -> tuple[keras.Model, dict[str, Any]]:
    """Loads a file written by `save_model`.

    Args:
        path: the .npz file.
        **overrides: arguments that replace those of the configuration in the network's build().

    Returns:
        (Keras model, configuration).

    Raises:
        UserError: the file is unusable, or its arrays do not fit the network.
    """
    from mobile_sr import models

    arrays, meta = read_arrays(path)
    try:
        scale = meta["config"]["scale"]
        if type(scale) is not int or not 1 <= scale <= MAX_SCALE:
            raise ValueError(f"scale {scale!r}")
        limits.check_config(meta["config"], models.defaults(meta["config"]))
        model = models.build(meta["config"], **overrides)
    except Exception as error:  # Keras and the networks raise many types on invalid values
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path}: its configuration cannot be built ({reason})") from None
    expected = {v.path: tuple(v.shape) for v in model.variables}
    actual = {name: array.shape for name, array in arrays.items() if array.dtype.kind == "f"}
    if expected != actual:
        mismatch = sorted(set(expected.items()) ^ set(actual.items()))[0][0]
        raise UserError(
            f"{path}: its weights do not fit the network {meta['config'].get('network')} (first difference: {mismatch})"
        )
    broken = next((name for name in expected if not np.isfinite(arrays[name]).all()), None)
    if broken:
        raise UserError(
            f"{path}: its weights are not finite (NaN or infinity in {broken}); the training diverged, or the file is damaged"
        )
    model.set_weights([arrays[v.path].astype(np.float32) for v in model.variables])
    return model, meta["config"]


def model_file(path: str | Path) -> Path:
    """Returns the model file of a path: the path itself, or best.npz in a run folder. Raises UserError if it is missing."""
    path = Path(path)
    file = path / "best.npz" if path.is_dir() else path
    if not file.exists():
        raise UserError(f"{path}: no model there" + (_missing(path) if path.is_dir() else ""))
    zoo.check_weights(file)
    return file


def _missing(folder: Path) -> str:
    """Returns what a folder lacks to be a run folder, and which of its files may have been meant."""
    files = sorted(folder.glob("*.route.json")) or sorted(folder.glob("*.tflite"))
    return " (best.npz is missing)" + (f"; for a deployment folder, give a file, such as {files[0]}" if files else "")
