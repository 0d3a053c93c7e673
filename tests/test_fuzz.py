"""Damaged images and model files: whatever the bytes are, the outcome is a result or a UserError.

Every mutation follows from its seed. They run in a child process with a limit on memory, and on time for each, so that a
crash of native code or a hang is told with its seed and the rest goes on.
"""

import contextlib
import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobile_sr import trial, zoo
from mobile_sr.converters import tflite_file
from tests.conftest import ROOT, picture

MEMORY_BYTES = 2 * 1024**3  # on top of what the child needs for undamaged files
INTEGERS = (0, 1, 2, 3, 5, 8, 17, 64, 127, 128, 255, 32767, 65536, 2**20, 2**24, 2**31 - 1, -1, -2, -128, -(2**31))
FLOATS = (0.0, 1.0, -1.0, 1e-38, 1e38, float("inf"), float("nan"))


# Mutations: bytes and a random.Random in, bytes out.


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
    """Damage one array of an .npz, its checksum being right again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    members[name] = damage_bytes(members[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def damage_values(data, rng):
    """Change the configuration or an array of a model file, which is then well formed."""
    from mobile_sr import weights

    path = Path("valid.npz")
    path.write_bytes(data)
    arrays, meta = weights.read_arrays(path)
    if rng.randrange(2):
        config = meta["config"]
        config[rng.choice([*config, "other"])] = rng.choice([None, [], {}, "x", "xlsr", 2.5, True, *INTEGERS])
    else:
        name = rng.choice(sorted(arrays))
        array = arrays[name]
        arrays[name] = rng.choice((array.astype(int), array.astype(str), array.ravel(), array[..., None], array * np.nan))
    weights.write_arrays(path, arrays, meta)
    return path.read_bytes()


def damage_fields(data, rng):
    """Change fields of a .tflite, which is then a well-formed flatbuffer."""
    from ai_edge_litert import schema_py_generated as schema

    while True:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
        for _ in range(rng.choice((1, 1, 2, 3))):
            holder, key = rng.choice(list(_places(vars(model))))
            holder[key] = _other_value(holder[key], rng)
        with contextlib.suppress(Exception):  # some values fit no field: try others
            return tflite_file.pack(model)


def _places(node):
    """Every (dict or list, key) below a node of the schema's object tree."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, list):
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
    """Another value in one field of a sidecar, or a field less."""
    record = json.loads(data)
    key = rng.choice(sorted(record))
    if rng.randrange(5) == 0:
        del record[key]
    else:
        record[key] = rng.choice([None, [], {}, "x", True, [1], {"checks": [{}]}, 1.5, float("nan"), [0, -1], *INTEGERS])
    return json.dumps(record).encode()


def damage_tensors(data, rng):
    """A table left out, another type, buffer, operator or options of a .tflite."""
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
            return tflite_file.pack(model)


# What is done with a damaged file.


def use_image(path):
    from mobile_sr.images import is_gray_file, read_file

    file = read_file(path)
    image, alpha = file.pixels, file.alpha
    assert image.dtype == np.uint8
    assert image.shape[2:] == (3,)
    assert alpha is None or alpha.shape == image.shape[:2]
    is_gray_file(path)


def use_arrays(path):
    from mobile_sr import weights

    arrays, meta = weights.read_arrays(path)
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert isinstance(meta, dict)


def use_weights(path):
    from mobile_sr import weights

    model, config = weights.load_model(path)
    assert model.count_params() > 10_000
    assert 1 <= config["scale"] <= weights.MAX_SCALE


def use_model(path):
    import mobile_sr

    upscaler = mobile_sr.load(path)
    sr = upscaler(picture(20, 30))
    assert sr.dtype == np.uint8
    assert sr.shape == (20 * upscaler.scale, 30 * upscaler.scale, 3)


def use_sidecar(path):
    import mobile_sr
    from mobile_sr import compare, zoo

    file = path.with_suffix(".tflite")
    if not file.exists():
        file.write_bytes(zoo.resolve("xlsr_x3:uint8").read_bytes())
    mobile_sr.load(file)
    compare.inspect(file)


def forked_attempt(data, threads=1):
    """`trial.attempt` by a fork: this process has no threads, and need not load the runtime again for every case."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            trial.invoke(data, threads)
        os._exit(0)
    return trial.explain(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def use_trap(path):
    """What the harness must notice."""
    what = path.read_bytes()
    if what == b"raise":
        raise KeyError("oops")
    if what == b"crash":
        signal.raise_signal(signal.SIGSEGV)
    if what == b"hang":
        signal.pause()
    if what == b"bomb":
        bytearray(2 * MEMORY_BYTES)


KINDS = {
    "images": (damage_bytes, use_image),
    "npz bytes": (damage_bytes, use_arrays),
    "npz members": (damage_member, use_arrays),
    "npz values": (damage_values, use_weights),
    "tflite bytes": (damage_bytes, use_model),
    "tflite fields": (damage_fields, use_model),
    "tflite tensors": (damage_tensors, use_model),
    "sidecars": (damage_sidecar, use_sidecar),
    "onnx bytes": (damage_bytes, use_model),
    "keras bytes": (damage_bytes, use_model),
    "keras members": (damage_member, use_model),
    "trap": (lambda data, rng: data, use_trap),
}


def child(kind, first, stop, limit_s, *files):
    """Work off the seeds: each is printed before its turn, and again with what went wrong, if something did."""
    from mobile_sr.errors import UserError

    mutate, use = KINDS[kind]
    trial.attempt = forked_attempt
    files = [Path(file) for file in files]
    use(files[0])
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)
    for seed in range(int(first), int(stop)):
        print(seed, flush=True)
        file = files[seed % len(files)]
        path = Path("damaged" + file.suffix)
        path.write_bytes(mutate(file.read_bytes(), random.Random(f"{kind} {seed}")))
        signal.alarm(int(limit_s))  # ends the process, also inside native code
        try:
            use(path)
        except UserError:
            pass
        except BaseException as error:
            print(seed, f"{file.name}: {error!r}", flush=True)
        signal.alarm(0)


def problems(kind, files, count, folder, limit_s=20):
    """Run `count` mutations; returns a line for each that ended in neither a result nor a UserError."""
    found, first = [], 0
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    while first < count and len(found) < 20:
        command = [sys.executable, "-m", "tests.test_fuzz", kind, str(first), str(count), str(limit_s), *map(str, files)]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=3600)
        lines = [line.split(maxsplit=1) for line in ended.stdout.splitlines()]
        assert lines, ended.stderr
        found += [f"{kind} seed {seed}: {rest[0]}" for seed, *rest in lines if rest]
        first = int(lines[-1][0]) + 1
        if ended.returncode:
            found.append(f"{kind} seed {first - 1}: ended with {ended.returncode} {ended.stderr[-500:]}")
    return found


@pytest.fixture(scope="module")
def image_files(tmp_path_factory):
    """One small file of every sort that the reader knows."""
    folder = tmp_path_factory.mktemp("sorts")
    photo = picture(24, 30)
    image, gray = Image.fromarray(photo), Image.fromarray(photo[:, :, 0])
    clear = image.copy()
    clear.putalpha(gray)
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [image.rotate(90)]}
    image.save(folder / "rgb.png")
    image.save(folder / "rgb.jpg")
    image.save(folder / "rgb.bmp")
    image.save(folder / "lossy.webp")
    image.save(folder / "lossless.webp", lossless=True)
    image.save(folder / "progressive.jpg", progressive=True)
    image.save(folder / "turned.jpg", exif=exif)
    image.save(folder / "turned.png", exif=exif)
    image.save(folder / "moving.png", **frames)
    image.save(folder / "moving.webp", **frames)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.quantize(16).save(folder / "palette.png")
    image.quantize(16).save(folder / "palette.bmp")
    image.convert("1").save(folder / "bits.bmp")
    gray.save(folder / "gray.png")
    gray.save(folder / "gray.jpg")
    clear.save(folder / "clear.png")
    clear.save(folder / "clear.webp")
    Image.fromarray(photo[:, :, 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    return sorted(folder.iterdir())


def counts(quick):
    """A quick number of mutations, and ten times as many where there is time."""
    return pytest.mark.parametrize("count", [quick, pytest.param(10 * quick, marks=pytest.mark.slow)])


def test_the_harness_notices(tmp_path):
    traps = ("fine", "raise", "crash", "hang", "bomb")
    for trap in traps:
        (tmp_path / trap).write_text(trap)
    found = problems("trap", [tmp_path / trap for trap in traps], 6, tmp_path, limit_s=1)
    assert [line.split(": ")[0] for line in found] == [f"trap seed {seed}" for seed in (1, 2, 3, 4)]
    for line, part in zip(found, ("KeyError('oops')", "ended with -11", "ended with -14", "MemoryError()"), strict=True):
        assert part in line


@counts(1000)
def test_images(image_files, tmp_path, count):
    assert problems("images", image_files, count, tmp_path) == []


@counts(150)
@pytest.mark.parametrize("kind", ["npz bytes", "npz members"])
def test_arrays(model_file, tmp_path, kind, count):
    assert problems(kind, [model_file], count, tmp_path) == []


@counts(30)
def test_weights(model_file, tmp_path, count):
    assert problems("npz values", [model_file], count, tmp_path) == []


@counts(350)
@pytest.mark.parametrize("kind", ["tflite bytes", "tflite fields", "tflite tensors"])
def test_tflite(exported, tmp_path, kind, count):
    assert problems(kind, sorted(exported.glob("*.tflite")), count, tmp_path) == []


@counts(100)
def test_sidecars(tmp_path, count):
    file = zoo.resolve("xlsr_x3:uint8").with_suffix(".json")
    assert problems("sidecars", [file], count, tmp_path) == []


@counts(50)
def test_onnx(model_file, tmp_path, count):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    from mobile_sr.export import export

    (file,) = export(model_file, tmp_path / "onnx", ["onnx"], log=lambda line: None)
    file.with_suffix(".json").unlink()
    assert problems("onnx bytes", [file], count, tmp_path) == []


@counts(20)
@pytest.mark.parametrize("kind", ["keras bytes", "keras members"])
def test_keras(model_file, tmp_path, kind, count):
    from mobile_sr import weights

    weights.load_model(model_file)[0].save(tmp_path / "valid.keras")
    assert problems(kind, [tmp_path / "valid.keras"], count, tmp_path) == []


if __name__ == "__main__":
    child(*sys.argv[1:])
