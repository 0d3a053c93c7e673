"""Checkpoints that PyTorch wrote (.pth, .pt: today's zip format and the legacy one) and .npz files, as NumPy arrays.

Needs no PyTorch and runs nothing of what a file holds: torch_pickle.py.
"""

import dataclasses
import io
import math
import zipfile

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.files import check_not_pointer
from mobile_sr.importing import pickle_reader
from mobile_sr.inference import weights

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "net", "model")  # the first that is there is taken
_WHOLE = "a whole network object, not its weights; load it in PyTorch and torch.save(network.state_dict(), 'state.pth')"
_DEEPEST = 4  # wrappers in wrappers
_TYPES = {  # PyTorch's storages and dtypes; bfloat16 is the upper half of a float32
    **{"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": "bfloat16"},
    **{"LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1"},
    **{"BoolStorage": "?", "UntypedStorage": "u1"},
}


@dataclasses.dataclass
class _Tensor:
    """A strided view of a storage, which is a key of the file."""

    storage: tuple  # (type of _TYPES, key, elements)
    offset: int
    shape: tuple
    strides: tuple


def read(path):
    """The state dict of a checkpoint: {key: array}; values that are no tensors are left as they are.

    The tensors may stand below one of _WRAPPERS, and all behind the prefix "module."; half and bfloat16 become float32.
    Raises: UserError when the file is missing, damaged, no checkpoint, or holds more than tensors and plain values.
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
        return _zip(path) if start.startswith(b"PK") else _legacy(path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # zipfile, pickletools and numpy raise many types on damaged data
        text = str(error).strip().splitlines()
        reason = text[0][:200] if text and isinstance(error, ValueError) else "damaged or cut short"
        raise UserError(f"{path}: not a usable PyTorch checkpoint ({reason})") from None


def _other_format(start):
    """What another kind of file is and what would work, by its first bytes; None for one that may be a checkpoint."""
    if start.startswith(b"\x89HDF\r\n"):
        return "an HDF5 file, as Keras writes, and no PyTorch checkpoint"
    if start[8:9] == b"{" and start[3:8] == bytes(5):  # the length of its header, 8 bytes, then JSON
        return "a safetensors file; save it with torch.save(safetensors.torch.load_file(FILE), 'state.pth')"
    if start[4:8] == b"TFL3":
        return "a .tflite file and no PyTorch checkpoint; every command takes it as --model"
    return None


def _state_dict(found):
    """The dictionary that holds tensors, without the prefix that all its keys may have. Raises: ValueError."""
    for _ in range(_DEEPEST):
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} and no dictionary of tensors; save the network's state_dict()")
        if any(isinstance(value, (_Tensor, np.ndarray)) for value in found.values()):
            prefix = "module."  # of torch.nn.DataParallel
            wrapped = all(str(key).startswith(prefix) for key in found)
            return {key.removeprefix(prefix): value for key, value in found.items()} if wrapped else found
        inside = [found[key] for key in _WRAPPERS if isinstance(found.get(key), dict)]
        if not inside:
            raise ValueError(f"no tensors in it; its keys are {', '.join(map(str, list(found)[:5])) or 'none'}")
        found = inside[0]
    raise ValueError("its tensors are wrapped too deep")


def _call(name, arguments):
    """What a pickle may call: the functions that PyTorch rebuilds tensors with, and OrderedDict."""
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
        raise ValueError(f"it refers to {name}, which is not run: {_WHOLE}")
    raise ValueError(f"it refers to {name}, which is not run; only tensors in plain containers are read")


def _storage(reference):
    """(type, key, elements) of what a pickle refers to outside of it."""
    if isinstance(reference, tuple) and reference[:1] == ("module",):  # how PyTorch before 1.6 saves a network's class
        raise ValueError(_WHOLE)
    if not isinstance(reference, tuple) or len(reference) < 5:
        raise ValueError("it refers to something other than a tensor's storage")
    kind, storage_type, key, _, elements, *more = reference
    type_name = str(storage_type).rpartition(".")[2]
    if kind != "storage" or not isinstance(storage_type, pickle_reader.Name) or type_name not in _TYPES or any(more):
        raise ValueError(f"it has a storage of an unknown kind ({type_name})")
    return type_name, str(key), elements


def _zip(path):
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > weights.MAX_BYTES:
            raise ValueError(f"it would unpack to {unpacked:,} bytes; more than {weights.MAX_BYTES:,} are refused")
        folder = next((name.removesuffix("data.pkl") for name in names if name.endswith("data.pkl")), None)
        if any(name.endswith("/constants.pkl") for name in names):
            raise ValueError("a TorchScript file; load it with torch.jit.load and torch.save its state_dict()")
        if any(name in ("metadata.json", "model.weights.h5") for name in names):
            raise ValueError("a Keras file and no PyTorch checkpoint; every command takes a .keras file as --model")
        if folder is None:
            raise ValueError("a zip file, but PyTorch's data.pkl is not in it")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        found = pickle_reader.read(io.BytesIO(archive.read(f"{folder}data.pkl")), _call, _storage)
        loaded = {}

        def data(storage):
            type_name, key, _ = storage
            if storage not in loaded:
                loaded[storage] = _array(archive.read(f"{folder}data/{key}"), type_name)
            return loaded[storage]

        return _arrays(found, data)


def _legacy(path):
    with open(path, "rb") as file:
        if pickle_reader.read(file, _call) != _LEGACY_MAGIC:
            raise ValueError("it is a pickle, but not of PyTorch")
        pickle_reader.read(file, _call)  # protocol version
        if pickle_reader.read(file, _call).get("little_endian") is not True:
            raise ValueError("its numbers are big-endian")
        storages = {}

        def storage(reference):
            found = _storage(reference)
            storages[found[1]] = found
            return found

        found = pickle_reader.read(file, _call, storage)
        loaded = {}
        for key in pickle_reader.read(file, _call):
            type_name, _, elements = storages[key]
            stored = int.from_bytes(file.read(8), "little")
            if stored != elements:
                raise ValueError(f"a storage of {stored} elements where {elements} are announced")
            loaded[key] = _array(file.read(elements * _size(type_name)), type_name)
        return _arrays(found, lambda storage: loaded[storage[1]])


def _size(type_name):
    return 2 if _TYPES[type_name] == "bfloat16" else np.dtype(_TYPES[type_name]).itemsize


def _array(data, type_name):
    if _TYPES[type_name] == "bfloat16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    array = np.frombuffer(data, _TYPES[type_name])
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _arrays(found, data):
    """The state dict with arrays for its tensors; `data` gives the elements of a storage."""
    state = _state_dict(found).items()
    return {key: _view(value, data(value.storage)) if isinstance(value, _Tensor) else value for key, value in state}


def _view(tensor, array):
    """Raises: ValueError for a view that reaches beyond its storage."""
    sizes = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or not all(isinstance(n, int) and n >= 0 for n in sizes):
        raise ValueError("a tensor of an impossible shape")
    end = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True)) + 1
    if array.size != tensor.storage[2]:
        raise ValueError(f"a storage of {array.size} elements where {tensor.storage[2]} are announced")
    if math.prod(tensor.shape) and (end > array.size or math.prod(tensor.shape) > array.size):
        raise ValueError(f"a tensor of shape {tensor.shape} in a storage of {array.size} elements")
    steps = [step * array.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(array[tensor.offset :], tensor.shape, steps, writeable=False)
