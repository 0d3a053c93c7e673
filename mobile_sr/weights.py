"""Model files and checkpoints: .npz archives of plain arrays plus one JSON string; nothing in them is ever unpickled."""

import json
import zipfile
import zlib

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path

_META = "__json__"


def write_arrays(path, arrays, meta):
    """Write named arrays and a JSON-able dict as one .npz, atomically."""
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **{_META: np.array(json.dumps(meta))}, **arrays)


def read_arrays(path):
    """(arrays, meta) of a file made by `write_arrays`.

    Raises: UserError when it is missing, damaged (zip checksums are verified) or not such a file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return arrays, json.loads(str(arrays.pop(_META)))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except KeyError:
        raise UserError(f"{path}: an .npz file, but not one that mobile-sr wrote (no configuration in it)") from None
    except (
        OSError,
        ValueError,
        EOFError,
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        TypeError,
        AttributeError,
        zlib.error,
    ) as error:
        raise UserError(f"{path}: damaged or not a model file ({error})") from None


def save_model(path, model, config, meta=None):
    """Write a Keras model's weights with its configuration, so that the file alone rebuilds the network."""
    arrays = {v.path: np.asarray(value) for v, value in zip(model.variables, model.get_weights(), strict=True)}
    write_arrays(path, arrays, {"config": config, **(meta or {})})


def load_model(path, **overrides):
    """(Keras model, configuration) of a file made by `save_model`; overrides go to the network's build().

    Raises: UserError when the file is unusable or its arrays do not fit the network that it names.
    """
    from mobile_sr import models

    arrays, meta = read_arrays(path)
    try:
        model = models.build(meta["config"], **overrides)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: its configuration cannot be built ({error})") from None
    wanted = {v.path: tuple(v.shape) for v in model.variables}
    found = {name: array.shape for name, array in arrays.items()}
    if wanted != found:
        odd = sorted(set(wanted.items()) ^ set(found.items()))[0][0]
        raise UserError(f"{path}: weights do not fit the network {meta['config'].get('network')} (first difference: {odd})")
    model.set_weights([arrays[v.path].astype(np.float32) for v in model.variables])
    return model, meta["config"]
