"""Model files and checkpoints: .npz archives of plain arrays plus one JSON string; nothing in them is ever unpickled."""

import io
import json
import math
import zipfile
from pathlib import Path

import numpy as np

from mobile_sr import zoo
from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path
from mobile_sr.inference import limits

MAX_SCALE = 16  # the width of the last layer grows with its square
MAX_BYTES = 2 * 1024**3  # unpacked; far above any of these networks' checkpoints, far below a zip bomb
_META = "__json__"


def write_arrays(path, arrays, meta):
    """Write named arrays and a JSON-able dict as one .npz, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **{_META: np.array(json.dumps(meta))}, **arrays)


def read_arrays(path):
    """(arrays, meta) of a file made by `write_arrays`.

    Raises: UserError when it is missing, damaged (zip checksums are verified), too large or not such a file.
    """
    arrays = read_plain(path)
    if _META not in arrays:
        raise UserError(f"{path}: an .npz file, but not one that mobile-sr wrote (no configuration in it)")
    try:
        meta = json.loads(str(arrays.pop(_META)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged or not a model file ({error})") from None
    if not isinstance(meta, dict):
        raise UserError(f"{path}: damaged or not a model file (its configuration is a {type(meta).__name__})")
    return arrays, meta


def read_plain(path):
    """{name: array} of any .npz file of plain arrays. Raises: UserError as `read_arrays`."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > MAX_BYTES:
                raise UserError(f"{path}: would unpack to {unpacked:,} bytes; more than {MAX_BYTES:,} are refused")
            return {member.filename.removesuffix(".npy"): _array(archive.read(member)) for member in members}
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # zipfile, zlib and numpy raise many types on damaged data
        raise UserError(f"{path}: damaged or not a model file ({str(error) or type(error).__name__})") from None


def _array(data):
    """The array of an .npy file's bytes. Raises: ValueError, before memory is taken, when its size is not the header's."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read_header(file)
    if dtype.kind not in "biufU":
        raise ValueError(f"an array of {dtype}")
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"an array of shape {shape} in {len(data)} bytes")
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def save_model(path, model, config, meta=None, dtype="float32"):
    """Write a Keras model's weights, as `dtype`, with its configuration, so that the file alone rebuilds the network."""
    arrays = {v.path: np.asarray(value, dtype) for v, value in zip(model.variables, model.get_weights(), strict=True)}
    write_arrays(path, arrays, {"config": config, **(meta or {})})


def load_model(path, **overrides):
    """(Keras model, configuration) of a file made by `save_model`; overrides go to the network's build().

    Raises: UserError when the file is unusable or its arrays do not fit the network that it names.
    """
    from mobile_sr import models

    arrays, meta = read_arrays(path)
    try:
        scale = meta["config"]["scale"]
        if type(scale) is not int or not 1 <= scale <= MAX_SCALE:
            raise ValueError(f"scale {scale!r}")
        limits.check_config(meta["config"], models.defaults(meta["config"]))
        model = models.build(meta["config"], **overrides)
    except Exception as error:  # Keras and the networks' own arithmetic raise many types on odd values
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path}: its configuration cannot be built ({reason})") from None
    wanted = {v.path: tuple(v.shape) for v in model.variables}
    found = {name: array.shape for name, array in arrays.items() if array.dtype.kind == "f"}
    if wanted != found:
        odd = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(f"{path}: weights do not fit the network {meta['config'].get('network')} (first difference: {odd})")
    broken = next((name for name in wanted if not np.isfinite(arrays[name]).all()), None)
    if broken:
        raise UserError(
            f"{path}: its weights are not finite (NaN or infinity in {broken}); the training diverged or it is damaged"
        )
    model.set_weights([arrays[v.path].astype(np.float32) for v in model.variables])
    return model, meta["config"]


def model_file(path):
    """The model file that a path stands for: itself, or a run folder's best.npz. Raises UserError when missing."""
    path = Path(path)
    file = path / "best.npz" if path.is_dir() else path
    if not file.exists():
        raise UserError(f"{path}: no model there" + (" (best.npz is missing)" if path.is_dir() else ""))
    zoo.check_weights(file)
    return file
