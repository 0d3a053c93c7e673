"""Networks that run only after their conversion: .h5, SavedModel folders and module.py:function, in every command."""

import contextlib
import io
import json
import re
import types

import numpy as np
import pytest

import mobile_sr
from mobile_sr.errors import UserError
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import read_image, write_image
from mobile_sr.importing import foreign
from mobile_sr.inference import model_files
from tests.converters.quantization.small_graphs import Builder
from tests.mobile_sr.quantization import foreign_nets

CODE = """
from tests.mobile_sr.quantization import foreign_nets

def net():
    return foreign_nets.functional(channels=1)

def broken():
    raise OSError("no weights")
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """{kind: model string} and a folder "photos" with one photograph."""
    folder = tmp_path_factory.mktemp("networks")
    with contextlib.redirect_stderr(io.StringIO()):
        foreign_nets.functional(white=255).save(folder / "wide.h5")
    foreign_nets.functional((24, 32)).export(folder / "saved", verbose=False)
    (folder / "code.py").write_text(CODE)
    (folder / "photos").mkdir()
    (_, hr), *_ = sample_images.images(["astronaut"])
    write_image(folder / "photos" / "astronaut.png", hr[60:160, 80:200])
    return {"h5": folder / "wide.h5", "saved_model": folder / "saved", "code": f"{folder / 'code.py'}:net", "folder": folder}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("h5", "  values  0..255 in, 0..255 out, RGB, NHWC, measured"),
        ("saved_model", "  values  0..1 in, 0..1 out, RGB, NHWC, measured"),
        ("code", "  values  0..1 in, 0..1 out, Y in 16..235, NHWC, measured"),
    ],
)
def test_every_command(networks, kind, values, run_here, tmp_path):
    """Each opens the network; inspect describes its float .tflite; upscale writes what the Keras model computes."""
    model, photos = networks[kind], networks["folder"] / "photos"
    done = run_here("inspect", "--model", model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"{model}: ")
    assert done.stdout.splitlines()[0].endswith(" parameters")
    assert "TRANSPOSE_CONV" in done.stdout
    assert done.stdout.splitlines()[-1] == values
    done = run_here("evaluate", "--model", model, "--data", photos, "--json", tmp_path / "evaluation.json")
    assert done.returncode == 0, done.stderr
    assert "better than bicubic" in done.stdout
    packaged = ("--reference", "xlsr_x2:float32", "--model", model, "--data", photos)
    done = run_here("compare", *packaged, "--report", tmp_path / "report", "--json", tmp_path / "drop.json")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "drop.json").read_text())["model"]
    assert (about["name"], len(about["sha256"])) == (str(model), 64)
    photo = photos / "astronaut.png"
    done = run_here("upscale", photo, "--model", model, "--out", tmp_path / "big")
    assert done.returncode == 0, done.stderr
    expected = mobile_sr.load(foreign_nets.functional(channels=1 if kind == "code" else 3))(read_image(photo))
    difference = np.abs(read_image(tmp_path / "big" / "astronaut.png").astype(int) - expected)
    assert difference.max() <= 1  # tiles of the fixed size are exact, too


def test_a_conversion_happens_once(networks, monkeypatch, capfd):
    """Until a file of the network changes; one that takes long says so."""
    monkeypatch.setattr(foreign, "_last", {})
    monkeypatch.setattr(foreign, "PATIENCE_S", 0.001)
    model = str(networks["saved_model"])
    first = foreign.float_tflite(model)
    assert capfd.readouterr().err == f"note: {model}: is being converted to a float .tflite ...\n"
    monkeypatch.setattr(foreign, "convert", None)
    assert foreign.float_tflite(model) is first
    state = foreign._state(model)
    (networks["saved_model"] / "assets" / "new").touch()
    assert foreign._state(model) != state


@pytest.mark.parametrize(("kernel", "expected"), [(5, 2), (7, None)])
def test_tiles_of_a_fixed_size_keep_a_part_without_overlap(kernel, expected):
    """6x8 LR pixels: with 3 to each side, no row of a tile is exact."""
    builder = Builder((1, 6, 8, 3))
    data = builder.finished(builder.conv(builder.inputs[0], 3, 3, kernel)).packed()
    converted = types.SimpleNamespace(data=data, name="net", size=(6, 8))
    opened = types.SimpleNamespace(io=types.SimpleNamespace(reach=lambda field: field))
    notes = []
    assert foreign.reach(converted, opened, notes) == expected
    wide = "an output pixel depends on 3 LR pixels to each side: in images larger than 8x6, tiles may be visible"
    assert notes == ([] if expected else [wide])


def test_options(networks):
    assert mobile_sr.load(f"{networks['saved_model']}@order=bgr").io.order == "bgr"
    assert mobile_sr.load(f"{networks['code']}@order=y_full").io.order == "y_full"
    with pytest.raises(UserError, match="range=7; use 1"):
        mobile_sr.load(f"{networks['saved_model']}@range=7")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.h5", b"\x89HDF\r\n\x1a\n damaged", "a.h5: not usable as a Keras model"),
        ("a.pt2", b"damaged", "a.pt2: (not usable as an exported program|a PyTorch network needs litert-torch)"),
        ("missing.h5", None, "missing.h5: no such file"),
        ("code.py:broken", CODE.encode(), r": code\.py:8: OSError: no weights"),
        ("code.py:nett", CODE.encode(), r"code\.py has no function nett; did you mean net\?"),
        ("missing.py:net", None, "missing.py: no such file"),
        ("saved/saved_model.pb", b"damaged", "saved: damaged saved_model.pb"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "inspect"])
def test_refusals(name, content, said, command, run_here, tmp_path):
    """One line, and exit status 2."""
    file = tmp_path / name.partition(":")[0]
    file.parent.mkdir(exist_ok=True)
    if content is not None:
        file.write_bytes(content)
    model = file.parent if file.name == "saved_model.pb" else tmp_path / name
    data = ("--data", tmp_path) if command == "evaluate" else ()
    done = run_here(command, "--model", model, *data)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mobile-sr {command}: ")
    assert re.search(said, line), line


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("net.h5", True),
        ("net.HDF5", True),
        ("net.pt2", True),
        ("net.py:build", True),
        ("net.py", False),
        ("net.keras", False),
        ("xlsr_x3:uint8", False),
        ("bicubic", False),
    ],
)
def test_what_needs_a_conversion(name, needed):
    assert model_files.needs_conversion(name) == needed
