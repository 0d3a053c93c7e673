"""Networks from elsewhere, the whole way: exported, audited, compared, debugged, inspected, benchmarked, upscaled."""

import contextlib
import io
import json

import keras
import numpy as np
import pytest
from keras import layers

import mobile_sr
from mobile_sr import zoo
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.errors import UserError
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import read_image, write_image
from mobile_sr.quantization import export as exporter
from tests.mobile_sr.quantization import foreign_nets


@pytest.fixture(scope="module")
def photos():
    """Parts of two photographs, [(name, HR image)]."""
    return [(name, image[60:220, 80:280]) for name, image in sample_images.images(["astronaut", "coffee"])]


@pytest.fixture(scope="module")
def photo_folder(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, image in photos:
        write_image(folder / f"{name}.png", image)
    return folder


def keras_file(folder):
    foreign_nets.functional().save(folder / "own.keras")
    return folder / "own.keras"


def h5(folder):
    with contextlib.redirect_stderr(io.StringIO()):
        foreign_nets.with_pixel_shuffle().save(folder / "shuffle.h5")
    return folder / "shuffle.h5"


def saved_model(folder):
    foreign_nets.functional().export(folder / "saved", verbose=False)
    return folder / "saved"


def luma(folder):
    foreign_nets.functional(channels=1).save(folder / "luma.keras")
    return folder / "luma.keras"


def onnx(folder):
    return foreign_nets.onnx(folder / "net.onnx")


def wide(folder):
    """A float .tflite of values in 0..255."""
    import tensorflow as tf

    with contextlib.redirect_stdout(io.StringIO()):
        data = tf.lite.TFLiteConverter.from_keras_model(foreign_nets.functional(white=255)).convert()
    (folder / "wide.tflite").write_bytes(data)
    return folder / "wide.tflite"


def subclassed(folder):
    return foreign_nets.Subclassed()


ENLARGE = {"TRANSPOSE_CONV": 1}  # XNNPACK does not run it at a dynamic size
# source: (function that makes it, name of its files, entries of the sidecars, operators outside of XNNPACK)
RGB = {"network": None, "config": None, "value_range": [0, 1], "channels": 3, "order": "rgb", "receptive_field": 2}
SOURCES = {
    "keras": (keras_file, "own", RGB, ENLARGE),
    "h5": (h5, "shuffle", RGB, {}),
    "saved_model": (saved_model, "saved", RGB, ENLARGE),
    "luma": (luma, "luma", RGB | {"channels": 1, "order": "y"}, {}),
    "onnx": (onnx, "net", RGB, {}),
    "wide": (wide, "wide", RGB | {"value_range": [0, 255]}, ENLARGE),
    "subclassed": (subclassed, "subclassed", RGB, {}),
}


@pytest.fixture(scope="module")
def deploy(tmp_path_factory):
    """Function from a key of SOURCES to (source, {precision: file}, lines of the log); each is exported once."""
    done = {}

    def export(key):
        if key not in done:
            folder = tmp_path_factory.mktemp(key)
            lines, source = [], SOURCES[key][0](folder)
            size = (80, 100) if key == "luma" else None  # of the photos
            result = mobile_sr.export(source, folder / "deploy", size=size, log=lines.append)
            done[key] = source, {file.precision: file.path for file in result.files}, lines
        return done[key]

    return export


@pytest.mark.parametrize(  # converters/formats/test_source.py opens the others
    "key", [pytest.param(key, marks=pytest.mark.slow if key in ("h5", "saved_model") else ()) for key in SOURCES]
)
def test_files(deploy, key, photos):
    _, files, lines = deploy(key)
    _, name, expected, left = SOURCES[key]
    assert [path.name for path in files.values()] == [f"{name}_float32.tflite", f"{name}_uint8.tflite"]
    for path in files.values():
        sidecar = json.loads(path.with_suffix(".json").read_text())
        assert {field: sidecar[field] for field in expected} == expected
        assert all(check["passed"] for check in sidecar["audit"]["checks"])
    assert sidecar["xnnpack"] == {"partitions": 1, "left": left}
    said = [line for line in lines if "XNNPACK runs it in 1 partition, without 1 TRANSPOSE_CONV" in line]
    assert bool(said) == bool(left)
    graph = flatbuffer.load(files["uint8"])
    ends = [graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]]
    white = expected["value_range"][1]
    assert [tensor.dtype for tensor in ends] == ["uint8", "uint8"]
    assert [round(float(tensor.scales[0]) * 255 / white, 6) for tensor in ends] == [1, 1]
    drop = mobile_sr.compare(files["float32"], files["uint8"], photos).drop_db
    assert -0.02 < drop < 0.10


@pytest.mark.parametrize("key", ["keras", "onnx", "luma"])
def test_the_original_as_the_reference(deploy, key, photo_folder, run_here):
    source, files, _ = deploy(key)
    done = run_here("compare", "--reference", source, "--model", files["uint8"], "--data", photo_folder, "--max-drop", 0.1)
    assert done.returncode == 0, done.stderr
    assert "drop" in done.stdout


def test_reports_and_layers(deploy, photo_folder, run_here, tmp_path):
    _, files, _ = deploy("wide")
    report = tmp_path / "report"
    models = ("--reference", files["float32"], "--model", files["uint8"], "--data", photo_folder)
    done = run_here("compare", *models, "--layers", "--report", report, "--json", tmp_path / "drop.json")
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in report.iterdir()} == {".html", ".md", ".json"}
    result = json.loads((tmp_path / "drop.json").read_text())
    split = {part["part"]: part["drop_db"] for part in result["location"]["split"]["parts"]}
    assert split["model"] == pytest.approx(split["simulated"], abs=0.01)
    assert split["model"] == pytest.approx(result["drop_db"], abs=0.001)
    assert result["location"]["worst"]
    assert result["model"]["values"]["range_in"] == [0, 255]


@pytest.mark.parametrize("key", ["luma", "subclassed"])
def test_the_debugger(deploy, key, photos):
    _, files, _ = deploy(key)
    found = mobile_sr.inspect(files["uint8"], files["float32"], photos).layers
    split = {part["part"]: part["drop_db"] for part in found["split"]["parts"]}
    assert split["model"] == pytest.approx(split["simulated"], abs=0.01)
    assert sum(row["share"] or 0 for row in found["layers"]) == pytest.approx(1)
    assert all(row["suggestion"] for row in found["layers"] if row["rank"])


def test_tiles_are_exact(deploy, photos):
    _, files, _ = deploy("keras")
    upscaler = mobile_sr.load(files["uint8"])
    image = photos[0][1]
    np.testing.assert_array_equal(upscaler(image, tile=40), upscaler(image, tile=0))


def test_other_commands(deploy, photo_folder, run_here, tmp_path):
    source, files, _ = deploy("luma")
    for model in (source, *files.values()):
        done = run_here("evaluate", "--model", model, "--scale", 2, "--data", photo_folder)
        assert done.returncode == 0, done.stderr
    done = run_here("benchmark", "--model", files["uint8"], "--runs", 2)
    assert done.returncode == 0, done.stderr
    photo = photo_folder / "coffee.png"
    done = run_here("upscale", photo, "--model", files["uint8"], "--out", tmp_path / "big")
    assert done.returncode == 0, done.stderr
    big = read_image(next((tmp_path / "big").iterdir()))
    assert big.shape == (2 * 160, 2 * 200, 3)


@pytest.mark.parametrize(
    "precisions",
    [
        pytest.param(["int16", "onnx"], id="short"),
        pytest.param(["float16", "int8", "int16", "dynamic", "onnx"], marks=pytest.mark.slow, id="all"),
    ],
)
def test_every_precision(deploy, tmp_path, photos, precisions):
    source, _, _ = deploy("onnx")
    files = mobile_sr.export(source, tmp_path, precisions, size=(40, 50)).files
    assert [file.path.name for file in files] == [
        *(f"net_{precision}.tflite" for precision in precisions[:-1]),
        "net.onnx",
    ]
    for file in files:
        assert mobile_sr.compare(source, file.path, photos[:1]).drop_db < 0.1, file.precision


def test_inspection_of_onnx_and_keras(deploy, run_here):
    done = run_here("inspect", "--model", deploy("onnx")[0])
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    parameters = 9 * 3 * 16 + 16 + 16 + 9 * 16 * 12 + 12
    assert f"{parameters + 2:,} parameters" in lines[0]  # with both limits of the Clip
    assert lines[1:6] == [
        "     1  Clip",
        "     2  Conv",
        "     1  DepthToSpace",
        "     1  PRelu",
        "  input   x  float32 [-1, 3, -1, -1]",
    ]
    assert lines[-1] == "  values  0..1 in, 0..1 out, RGB, NCHW, measured"
    result = mobile_sr.inspect(deploy("keras")[0])
    assert result.ops == {"Conv2D": 1, "Conv2DTranspose": 1, "PReLU": 1, "ReLU": 1}
    assert (result.partitions, result.to_dict()["parameters"]) == (None, 9 * 3 * 16 + 16 + 16 + 36 * 3 * 16 + 3)


def test_a_file_of_several_partitions(tmp_path):
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = keras.ops.abs(x)  # not in XNNPACK in 8 bits
    net = keras.Model(image, layers.Conv2D(3, 3, padding="same")(x), name="odd")
    lines = []
    files = mobile_sr.export(net, tmp_path, ["uint8"], max_colour_error=255, log=lines.append).files
    split = files[0].sidecar["xnnpack"]
    assert split == {"partitions": 2, "left": {"ABS": 1}}
    assert "XNNPACK runs it in 2 partitions, without 1 ABS, which costs time" in lines[-1]


def test_an_operator_without_a_form_for_8_bits(tmp_path):
    image = keras.Input((16, 16, 3))
    net = keras.Model(image, same(same(image, activation="elu")), name="odd")
    with pytest.raises(exporter.AuditError, match="no float tensor .found ELU without a form for 8 bits."):
        mobile_sr.export(net, tmp_path, ["uint8"], max_colour_error=255)


def test_options(tmp_path, capsys):
    """BGR is measured; options are given for an object, and refused where they are unknown or given twice."""
    image = keras.Input((None, None, 3))
    bgr = keras.Model(image, foreign_nets.functional()(image[..., ::-1])[..., ::-1], name="bgr")
    files = mobile_sr.export(bgr, tmp_path, ["float32"], options={"order": "bgr", "range": 255}).files
    assert (files[0].sidecar["order"], files[0].sidecar["value_range"]) == ("bgr", [0, 255])
    assert "override with options={'range': 1, 255 or -1, 'order': 'rgb' or 'bgr'}" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown option 'gamma'"):
        mobile_sr.export(bgr, tmp_path, options={"gamma": 2})
    bgr.save(tmp_path / "bgr.keras")
    files = mobile_sr.export(f"{tmp_path / 'bgr.keras'}@order=bgr,range=1", tmp_path, ["float32"]).files
    assert (files[0].path.name, files[0].sidecar["order"]) == ("bgr_float32.tflite", "bgr")
    with pytest.raises(UserError, match="the option 'range' is given twice"):
        mobile_sr.export(f"{tmp_path / 'bgr.keras'}@range=1", tmp_path, options={"range": 1})
    with pytest.raises(UserError, match="options are for networks from elsewhere"):
        mobile_sr.export("xlsr_x3", tmp_path, options={"range": 1})


def same(image, filters=3, **kwargs):
    return layers.Conv2D(filters, 3, padding="same", **kwargs)(image)


def test_refusals(tmp_path, run_here):
    """One line, exit status 2, nothing written."""
    import tensorflow as tf

    def network(name, outputs, shape=(8, 8, 3), batch=None):
        image = keras.Input(shape, batch_size=batch)
        keras.Model(image, outputs(image)).save(tmp_path / name)
        return tmp_path / name

    module = tf.Module()
    spec = tf.TensorSpec((1, 8, 8, 3))
    module.run = tf.function(lambda a, b: a + b, [spec, spec])
    tf.saved_model.save(module, str(tmp_path / "two"), signatures=module.run)
    (tmp_path / "code.py").write_text("def broken():\n    raise RuntimeError('no weights')\n")
    cases = [
        (zoo.FOLDER / "xlsr_x3_uint8.tflite", "already quantized"),
        (tmp_path / "two", "has 2 inputs (a, b); expected one image"),
        (f"{tmp_path / 'code.py'}:net", "code.py has no function net; it has broken"),
        (f"{tmp_path / 'code.py'}:broken", "code.py:2: RuntimeError: no weights"),
        (network("five.keras", same, (8, 8, 5)), "[-1, 8, 8, 5] is not one image"),
        (network("four.keras", lambda x: same(x, 4)), "expected one image"),
        (network("gray.keras", lambda x: same(x, 1)), "3 channel"),
        (network("batch.keras", same, batch=4), "[4, 8, 8, 3] is not one image"),
        (network("half.keras", lambda x: same(x, strides=2)), "expected one image, larger by an integer factor"),
        (network("odd.keras", lambda x: layers.Resizing(12, 12)(x)), "expected one image, larger by an integer factor"),
        (tmp_path / "missing.onnx", "no such file"),
    ]
    for model, reason in cases:  # in one process: each needs a fraction of a second
        done = run_here("export", "--model", model, "--out", tmp_path / "out", "--precision", "uint8")
        assert (done.returncode, done.stdout) == (2, ""), model
        assert done.stderr.count("\n") == 1, done.stderr
        assert reason in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_network_that_loses_colours(tmp_path, run_here, monkeypatch):
    foreign_nets.functional().save(tmp_path / "own.keras")
    monkeypatch.setattr(exporter.verification.flat_colours, "measure", lambda *args: {"flat": 40 if len(args) > 3 else 3})
    done = run_here("export", "--model", tmp_path / "own.keras", "--out", tmp_path / "out", "--precision", "uint8")
    assert done.returncode == 1
    assert "flat colours within 16 levels of the original (found 40; --max-colour-error 40 accepts it)" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_user_code_prints_only_its_own_lines(tmp_path, run_cli):
    (tmp_path / "mine.py").write_text(
        "import keras\nprint('loading my weights')\n\ndef net():\n"
        "    image = keras.Input((8, 8, 3))\n"
        "    return keras.Model(image, keras.layers.UpSampling2D(2)(image))\n"
    )
    done = run_cli("export", "--model", f"{tmp_path / 'mine.py'}:net", "--out", tmp_path / "out", "--precision", "float32")
    assert done.returncode == 0, done.stderr
    assert "loading my weights" in done.stdout
    assert done.stderr == ""
