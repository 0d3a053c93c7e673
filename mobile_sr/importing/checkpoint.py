"""Reader for PyTorch checkpoints as NumPy arrays: .pth and .pt (zip and legacy format), .safetensors and .npz.

It does not need PyTorch and runs no code from a file, see pickle_reader.py.
"""

import dataclasses
import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.files import check_not_pointer
from mobile_sr.importing import pickle_reader, safetensors_reader
from mobile_sr.inference import weights

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# The first match is used.
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "net", "model", "netG", "generator")
_WHOLE = "a whole network object, not its weights; load it in PyTorch and torch.save(network.state_dict(), 'state.pth')"
_MAX_DEPTH = 4  # nested wrappers
_TYPES = {  # PyTorch's storages and dtypes; bfloat16 is the upper half of a float32
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1"},
    **{"BoolStorage": "?", "UntypedStorage": "u1"},
}

_Storage = tuple[str, str, int]  # (type of _TYPES, key, elements)


@dataclasses.dataclass
class _Tensor:
    """A strided view of a storage of the file."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str | Path) -> dict[str, Any]:
    """Reads the state dict of a checkpoint. Values that are not tensors are kept unchanged.

    The tensors can be inside one of _WRAPPERS, and all names can have the prefix "module.". float16 and bfloat16 become
    float32.

    Args:
        path: a .pth, .pt, .safetensors or .npz file.

    Returns:
        {name: array}.

    Raises:
        UserError: the file is missing, damaged, not a checkpoint, or contains more than tensors and plain values.
    """
    try:
        check_not_pointer(path)
        with open(path, "rb") as file:
            start = file.read(16)
        other = _other_format(start)
        if other:
            raise ValueError(other)
        if str(path).lower().endswith(".npz"):
            return _state_dict(weights.read_plain(path))
        if safetensors_reader.is_safetensors(start):
            return _state_dict(safetensors_reader.read(path))
        return _zip(path) if start.startswith(b"PK") else _legacy(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # zipfile, pickletools and numpy raise many types on damaged data
        text = str(error).strip().splitlines()
        reason = text[0][:200] if text and isinstance(error, ValueError) else "damaged or cut short"
        raise UserError(f"{path}: not a usable PyTorch checkpoint ({reason})") from None


def _other_format(start: bytes) -> str | None:
    """Identifies another file format by its first bytes and returns a suggestion; None for a possible checkpoint."""
    if start.startswith(b"\x89HDF\r\n"):
        return "an HDF5 file (Keras), not a PyTorch checkpoint"
    if start[4:8] == b"TFL3":
        return "a .tflite file, not a PyTorch checkpoint; every command accepts it as --model"
    return None


def _state_dict(value: Any) -> dict[str, Any]:
    """Returns the dictionary of tensors, without a prefix shared by all its keys. Raises ValueError if there is none."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__}, not a dictionary of tensors; save the network's state_dict()")
        if any(isinstance(item, (_Tensor, np.ndarray)) for item in value.values()):
            prefix = "module."  # of torch.nn.DataParallel
            wrapped = all(str(key).startswith(prefix) for key in value)
            return {key.removeprefix(prefix): item for key, item in value.items()} if wrapped else value
        inside = [value[key] for key in _WRAPPERS if isinstance(value.get(key), dict)]
        if not inside:
            raise ValueError(f"no tensors in it; its keys are {', '.join(map(str, list(value)[:5])) or 'none'}")
        value = inside[0]
    raise ValueError("its tensors are nested too deeply")


def _call(name: str, arguments: tuple[Any, ...]) -> Any:
    """Evaluates an allowed call: PyTorch's functions that rebuild tensors, and OrderedDict. Raises ValueError for others."""
    if name == "collections.OrderedDict":
        return dict(*arguments)
    if name == "torch.Size":
        return tuple(*arguments)
    if name == "torch._utils._rebuild_tensor_v2":
        storage, offset, shape, strides = arguments[:4]
        return _Tensor(storage, offset, tuple(shape), tuple(strides))
    if name == "torch._utils._rebuild_parameter":
        return arguments[0]
    if name.startswith(("copyreg.", "torch.nn.", "__torch__", "torch.jit")) or name.rpartition(".")[2][:1].isupper():
        raise ValueError(f"it refers to {name}, which is not executed: {_WHOLE}")
    raise ValueError(f"it refers to {name}, which is not executed; only tensors in plain containers are supported")


def _storage(reference: Any) -> _Storage:
    """Converts a pickle's external reference to a storage. Raises ValueError for other references."""
    if isinstance(reference, tuple) and reference[:1] == ("module",):  # a network's class, as saved before PyTorch 1.6
        raise ValueError(_WHOLE)
    if not isinstance(reference, tuple) or len(reference) < 5:
        raise ValueError("it refers to something other than a tensor's storage")
    kind, storage_type, key, _, elements, *more = reference
    type_name = str(storage_type).rpartition(".")[2]
    if kind != "storage" or not isinstance(storage_type, pickle_reader.Name) or type_name not in _TYPES or any(more):
        raise ValueError(f"it has a storage of an unknown kind ({type_name})")
    return type_name, str(key), elements


def _zip(path: str | Path) -> dict[str, Any]:
    """Reads the zip format, PyTorch 1.6 and newer."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > weights.MAX_BYTES:
            raise ValueError(f"it would unpack to {unpacked:,} bytes; the limit is {weights.MAX_BYTES:,}")
        folder = next((name.removesuffix("data.pkl") for name in names if name.endswith("data.pkl")), None)
        if any(name.endswith("/constants.pkl") for name in names):
            raise ValueError("a TorchScript file; load it with torch.jit.load and torch.save its state_dict()")
        if any(name in ("metadata.json", "model.weights.h5") for name in names):
            raise ValueError("a Keras file, not a PyTorch checkpoint; every command accepts a .keras file as --model")
        if folder is None:
            raise ValueError("a zip file without PyTorch's data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        value = pickle_reader.read(io.BytesIO(archive.read(f"{folder}data.pkl")), _call, _storage)
        loaded: dict[_Storage, np.ndarray] = {}

        def data(storage: _Storage) -> np.ndarray:
            type_name, key, _ = storage
            if storage not in loaded:
                loaded[storage] = _array(archive.read(f"{folder}data/{key}"), type_name)
            return loaded[storage]

        return _arrays(value, data)


def _legacy(path: str | Path) -> dict[str, Any]:
    """Reads the format of PyTorch before 1.6: several pickles, then the storages."""
    with open(path, "rb") as file:
        if pickle_reader.read(file, _call) != _LEGACY_MAGIC:
            raise ValueError("a pickle, but not of PyTorch")
        pickle_reader.read(file, _call)  # protocol version
        if pickle_reader.read(file, _call).get("little_endian") is not True:
            raise ValueError("its numbers are big-endian")
        storages: dict[str, _Storage] = {}

        def register(reference: Any) -> _Storage:
            storage = _storage(reference)
            storages[storage[1]] = storage
            return storage

        value = pickle_reader.read(file, _call, register)
        loaded: dict[str, np.ndarray] = {}
        for key in pickle_reader.read(file, _call):
            type_name, _, elements = storages[key]
            stored = int.from_bytes(file.read(8), "little")
            if stored != elements:
                raise ValueError(f"a storage has {stored} elements instead of {elements}")
            loaded[key] = _array(file.read(elements * _size(type_name)), type_name)
        return _arrays(value, lambda storage: loaded[storage[1]])


def _size(type_name: str) -> int:
    """Bytes of one element."""
    return 2 if _TYPES[type_name] == "bfloat16" else np.dtype(_TYPES[type_name]).itemsize


def _array(data: bytes, type_name: str) -> np.ndarray:
    if _TYPES[type_name] == "bfloat16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    array = np.frombuffer(data, _TYPES[type_name])
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _arrays(value: Any, data: Callable[[_Storage], np.ndarray]) -> dict[str, Any]:
    """Returns the state dict with arrays instead of tensors; `data` returns the elements of a storage."""
    state = _state_dict(value).items()
    return {key: _view(item, data(item.storage)) if isinstance(item, _Tensor) else item for key, item in state}


def _view(tensor: _Tensor, array: np.ndarray) -> np.ndarray:
    """Returns the view of a storage's array. Raises ValueError if it reaches beyond the storage."""
    sizes = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise ValueError("a tensor of invalid shape")
    end = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True)) + 1
    if array.size != tensor.storage[2]:
        raise ValueError(f"a storage has {array.size} elements instead of {tensor.storage[2]}")
    if math.prod(tensor.shape) and (end > array.size or math.prod(tensor.shape) > array.size):
        raise ValueError(f"a tensor of shape {tensor.shape} in a storage of {array.size} elements")
    steps = [step * array.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(array[tensor.offset :], tensor.shape, steps, writeable=False)
