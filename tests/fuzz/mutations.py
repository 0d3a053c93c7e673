"""Mutations of files: bytes and a random.Random in, bytes out. Each is determined by its seed."""

import contextlib
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np

from mobile_sr.converters.tflite import flatbuffer

INTEGERS = (0, 1, 2, 3, 5, 8, 17, 64, 127, 128, 255, 32767, 65536, 2**20, 2**24, 2**31 - 1, -1, -2, -128, -(2**31))
FLOATS = (0.0, 1.0, -1.0, 1e-38, 1e38, float("inf"), float("nan"))
JSON_VALUES = (None, [], {}, "x", True, [1], {"checks": [{}]}, 1.5, float("nan"), [0, -1], *INTEGERS)


def damage_bytes(data, rng):
    """Cut, flip, overwrite, copy, blank, insert or remove, one to four times."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if len(data) < 16:
            break
        place, other, kind = rng.randrange(len(data)), rng.randrange(len(data)), rng.randrange(8)
        word = struct.pack(rng.choice("<>") + "i", rng.choice(INTEGERS))
        if kind == 0:
            del data[place:]
        elif kind == 1:
            for _ in range(rng.randint(1, 16)):
                data[rng.randrange(len(data))] ^= rng.randint(1, 255)
        elif kind in (2, 3):  # a number of the header, or anywhere
            place = min(place % 512 if kind == 2 else place, len(data) - 4) & ~3
            data[place : place + 4] = word
        elif kind == 4:
            length = rng.randint(1, 64)
            data[place : place + length] = data[other : other + length]
        elif kind == 5:
            length = min(rng.randint(1, 256), len(data) - place)
            data[place : place + length] = bytes(length)
        elif kind == 6:
            data[place:place] = rng.randbytes(rng.randint(1, 32))
        else:
            del data[place : place + rng.randint(1, 32)]
    return bytes(data)


def damage_member(data, rng):
    """Damage one array of an .npz and correct its checksum."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    members[name] = damage_bytes(members[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def damage_bytes_or_member(data, rng):
    """Damage the archive itself or, as often, one array in it."""
    return rng.choice((damage_bytes, damage_member))(data, rng)


def damage_values(data, rng):
    """Change the configuration or an array of a model file that stays well formed."""
    from mobile_sr.inference import weights

    path = Path("valid.npz")
    path.write_bytes(data)
    arrays, meta = weights.read_arrays(path)
    if rng.randrange(2):
        config = meta["config"]
        config[rng.choice([*config, "other"])] = rng.choice([None, [], {}, "x", "xlsr", 2.5, True, *INTEGERS])
    else:
        _damage_array(arrays, rng)
    weights.write_arrays(path, arrays, meta)
    return path.read_bytes()


def _damage_array(arrays, rng):
    """Change the type, shape or content of one array."""
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    arrays[name] = rng.choice((array.astype(int), array.astype(str), array.ravel(), array[..., None], array * np.nan))


def damage_network(data, rng):
    """Damage a .keras archive or the values of an .npz."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        is_npz = all(name.endswith(".npy") for name in archive.namelist())
    return damage_values(data, rng) if is_npz else damage_bytes_or_member(data, rng)


def damage_fields(data, rng):
    """Change fields of a .tflite that stays a well-formed flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    while True:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        for _ in range(rng.choice((1, 1, 2, 3))):
            holder, key = rng.choice(list(_places(vars(model))))
            holder[key] = _other_value(holder[key], rng)
        with contextlib.suppress(Exception):  # some values fit no field: try others
            return flatbuffer.pack(model)


def _places(node):
    """Every (dict or list, key) below a node of the schema's object tree or of JSON."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, (dict, list)):
            yield from _places(value)
        elif hasattr(value, "__dict__"):
            yield from _places(vars(value))


def _other_value(value, rng):
    if isinstance(value, (bool, np.bool_)):
        return not value
    if isinstance(value, (int, np.integer)):
        return rng.choice([*INTEGERS, int(value) + 1, int(value) - 1])
    if isinstance(value, (float, np.floating)):
        return rng.choice(FLOATS)
    if isinstance(value, np.ndarray) and value.size:
        kind, value = rng.randrange(4), value.copy()
        if kind < 2:
            return value[: rng.randrange(len(value))] if kind == 0 else np.concatenate([value, value])
        item = np.array(rng.choice(FLOATS if value.dtype.kind == "f" else INTEGERS))
        value[rng.randrange(len(value))] = item.astype(value.dtype)
        return value
    if isinstance(value, list) and value:
        return rng.choice((value[: rng.randrange(len(value))], value + value[:1], rng.sample(value, len(value))))
    return None


def damage_sidecar(data, rng):
    """Change or remove one field of a sidecar."""
    record = json.loads(data)
    key = rng.choice(sorted(record))
    if rng.randrange(5) == 0:
        del record[key]
    else:
        record[key] = rng.choice(JSON_VALUES)
    return json.dumps(record).encode()


def damage_tensors(data, rng):
    """Remove a table of a .tflite, or change a type, buffer, operator or option."""
    from ai_edge_litert import schema_py_generated as schema

    while True:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        graph = model.subgraphs[0]
        tensor, op, other = rng.choice(graph.tensors), *rng.choices(graph.operators, k=2)
        kind = rng.randrange(7)
        if kind == 0:
            tensor.quantization = None
        elif kind == 1 and tensor.quantization:
            setattr(tensor.quantization, rng.choice(("scale", "zeroPoint")), None)
        elif kind == 2:
            tensor.type = rng.randrange(18)
        elif kind == 3:
            tensor.buffer = rng.randrange(len(model.buffers))
        elif kind == 4:
            op.opcodeIndex = rng.randrange(len(model.operatorCodes))
        elif kind == 5:
            op.builtinOptions, op.builtinOptionsType = other.builtinOptions, other.builtinOptionsType
        else:
            code = rng.choice(model.operatorCodes)
            code.builtinCode = rng.randrange(210)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        with contextlib.suppress(Exception):  # some values fit no field: try others
            return flatbuffer.pack(model)


def damage_run(data, rng):
    """Change or remove a field of a run's config.json or of its checkpoint's JSON, or change an array of the checkpoint."""
    if data[:1] == b"{":
        config = json.loads(data)
        _damage_json(config, rng)
        return json.dumps(config).encode()
    from mobile_sr.inference import weights

    path = Path("valid.npz")
    path.write_bytes(data)
    arrays, meta = weights.read_arrays(path)
    if rng.randrange(3):
        _damage_json(meta, rng)
    else:
        _damage_array(arrays, rng)
    weights.write_arrays(path, arrays, meta)
    return path.read_bytes()


def _damage_json(value, rng):
    holder, key = rng.choice(list(_places(value)))
    if rng.randrange(5) == 0:
        del holder[key]
    else:
        holder[key] = rng.choice(JSON_VALUES)
