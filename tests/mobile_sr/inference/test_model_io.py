"""Value ranges of networks and checks of their output: synthetic networks in NumPy and ONNX, and the messages."""

import json

import numpy as np
import pytest

from mobile_sr import cli, load, zoo
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.files import sha256_file
from mobile_sr.imaging import sample_images
from mobile_sr.imaging.images import write_image
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import litert, model_io, tensor_values, upscaler, weights
from mobile_sr.inference.onnx_model import OnnxModel
from mobile_sr.inference.sidecar import Sidecar
from tests.conftest import make_image

RANGES = tensor_values.FLOAT_RANGES
ANY = (1, "h", "w", 3)


def bicubic(values):
    """A network on values in 0..1. It clips other values, which reveals a wrong range."""
    return imresize((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8), 2).astype(np.float32) / 255


def measured(network, range_in=1, range_out=1, options=None, channels=3):
    """The ModelIO of a network on values in 0..1 that is wrapped to have other ranges."""

    def forward(image, asked):
        (low, high), (low_out, high_out) = tensor_values.RANGES[range_in], tensor_values.RANGES[range_out]
        values = (tensor_values.to_float(image, asked) - low) / (high - low)
        return network(values) * (high_out - low_out) + low_out

    choices = model_io.possible("net", options or {}, Sidecar(), channels=channels)
    return model_io.measure(forward, tensor_values.from_float, (24, 24), 2, choices)


@pytest.mark.parametrize("range_in", RANGES)
@pytest.mark.parametrize("range_out", RANGES)
def test_every_combination_of_ranges_is_found_for_y(range_in, range_out):
    """Black is 16/255 here, and an input in the middle of a range fits -1..1, too."""
    io = measured(bicubic, range_in, range_out, channels=1)
    if range_in == range_out == -1:
        range_in = range_out = 1
    assert (io.range_in, io.range_out, io.order, io.is_luma) == (range_in, range_out, "y", True)
    assert "Y in 16..235" in io.remark


def test_the_definition_of_y_is_measured():
    """A network that mixes 15 % of near white into Y, which lightens more in 16..235."""
    assert measured(lambda values: 0.85 * imresize_float(values) + np.float32(0.15 * 240 / 255), channels=1).order == "y_full"
    assert measured(imresize_float, channels=1).order == "y"
    assert measured(imresize_float, channels=1, options={"order": "y_full"}).order == "y_full"


@pytest.mark.parametrize("range_in", RANGES)
@pytest.mark.parametrize("range_out", RANGES)
def test_every_combination_of_ranges_is_found(range_in, range_out):
    io = measured(bicubic, range_in, range_out)
    if range_in == range_out == -1:  # the upper half of -1..1 is as good: nothing to tell
        range_in = range_out = 1
    assert (io.range_in, io.range_out, io.order) == (range_in, range_out, "rgb")
    assert (io.remark is None) == (range_in == range_out == 1)
    assert io.facts()["range_out"] == list(tensor_values.RANGES[range_out])


@pytest.mark.parametrize("ranges", [(1, 1), (255, 255), (1, -1)])
@pytest.mark.parametrize("channel", [0, 2])
def test_bgr_is_found(ranges, channel):
    """A network that cannot show dark values of the channel that is red in photographs, where red is seldom dark."""

    def network(values):
        result = bicubic(values)
        result[..., channel] = np.maximum(result[..., channel], 0.2)
        return result

    io = measured(network, *ranges)
    assert (io.range_in, io.range_out, io.order) == (*ranges, "rgb" if channel == 0 else "bgr")
    assert "BGR" in (io.remark or "") or channel == 0


def test_a_gain_error_alone_does_not_mean_minus_1_to_1():
    """The error is smaller around gray than above black, for every range of the network."""
    assert measured(lambda values: imresize_float(values) * 0.8).range_in == 1


def imresize_float(values):
    return values.repeat(2, 0).repeat(2, 1)


def test_thresholds():
    """(squared errors in the default, in another range, as BGR) -> what is chosen."""
    near = 60.0
    for default, other, key, bgr, chosen in (
        (50, 26, (255, 255), 50, "default"),
        (50, 24, (255, 255), 50, "other"),
        (50, 12, (-1, -1), 50, "default"),
        (50, 9, (-1, -1), 50, "other"),
        (130, 59, (-1, -1), 130, "other"),
        (500, 70, (255, 255), 500, "default"),
        (600, 70, (255, 255), 600, "other"),
        (50, 60, (255, 255), 45, "default"),
        (50, 60, (255, 255), 44, "bgr"),
        (500, 220, (-1, -1), 420, "bgr"),
        (9000, 2100, (255, 255), 9000, "default"),
        (np.inf, 20, (255, 255), np.inf, "other"),
    ):
        keys = {"default": (1, 1, "rgb"), "other": (*key, "rgb"), "bgr": (1, 1, "bgr")}
        errors = {keys["default"]: default, keys["other"]: other, keys["bgr"]: bgr}
        assert model_io.closest(errors, near) == keys[chosen], errors


def test_below_15_db_nothing_is_chosen():
    """15 dB are a squared error of 2,056.2."""
    for error, chosen in ((2056, (255, 255, "rgb")), (2057, (1, 1, "rgb"))):
        assert model_io.closest({(1, 1, "rgb"): np.inf, (255, 255, "rgb"): error}, 60.0) == chosen


@pytest.mark.parametrize(("better", "said"), [(1.26, True), (1.24, False)])
def test_another_range_is_named_where_it_is_1_db_better(better, said):
    """The squared errors are 16 and 16 times `better`: too close for another choice."""
    hr = sample_images.pair(12, 12, 2)[0].astype(np.float32)

    def decode(raw, range_out):
        error = 4 * (1 if range_out == 255 else better**0.5)
        return (hr + np.where(hr < 128, error, -error)).astype(np.float32) / 255

    io = model_io.measure(lambda image, range_in: None, decode, (12, 12), 2, ((1,), (1, 255), ("rgb",)))
    assert (io.range_out, bool(io.remark)) == (1, said)


def test_3_db_below_bicubic_is_poor():
    figures = {"psnr": 24.06, "bicubic_psnr": 27.06, "constant": False}
    assert not model_io.is_poor({**figures, "psnr": 24.07})
    assert model_io.is_poor({**figures, "psnr": 24.05})


@pytest.mark.parametrize("name", ["xlsr_x3", "fsrcnn_x3", "espcn_x3", "abpn_x3", "fgnas_x2", "xlsr_x4"])
@pytest.mark.parametrize("variant", ["float32", "uint8"])
def test_packaged_networks_are_rgb_and_better_than_bicubic(name, variant, tmp_path):
    """Without the sidecar that says so."""
    path = tmp_path / "net.tflite"
    path.write_bytes(zoo.resolve(f"{name}:{variant}").read_bytes())
    model = litert.TFLiteModel(path)
    assert (model.io.range_in, model.io.range_out, model.io.order, model.io.remark) == (1, 1, "rgb", None)
    figures = model_io.check(name, model.run, model.scale)
    assert figures["psnr"] > figures["bicubic_psnr"] + 0.5


@pytest.mark.parametrize(
    ("dtype", "low", "high", "ranges"),
    [
        ("uint8", 0, 1, (1,)),
        ("int8", -0.1, 1.2, (1,)),
        ("uint8", 0, 255, (255,)),
        ("int8", -20, 290, (255,)),
        ("int8", -128, 127, (-128,)),
        ("int8", -1, 1, (-1, 1)),
        ("uint8", -1, 1, (-1, 1)),
        ("int16", -1, 1, (1, -1)),
        ("int8", -1.7, 3, (1, -1)),
        ("int16", -32768, 32767, (255,)),
    ],
)
def test_a_quantized_tensor_has_its_range_from_both_ends(dtype, low, high, ranges):
    limits = np.iinfo(dtype)
    scale = (high - low) / (limits.max - limits.min)
    zero_point = round(limits.min - low / scale)
    tensor = flatbuffer.Tensor("x", dtype, [1, -1, -1, 3], np.array([scale]), np.array([zero_point]), False)
    assert tensor_values.value_ranges(tensor) == ranges
    image, value_range = make_image(9, 9), ranges[0]
    values = tensor_values.encode(image, tensor, value_range)
    if dtype != "int16" and (low, high) in ((0, 1), (0, 255), (-128, 127), (-1, 1)):
        np.testing.assert_allclose(tensor_values.decode(values, tensor, value_range), image, atol=1)


def test_options():
    def possible(sidecar=None, inputs=RANGES, outputs=RANGES, channels=3, **options):
        return model_io.possible("net", options, Sidecar(**(sidecar or {})), inputs, outputs, channels)

    assert possible() == (RANGES, RANGES, ("rgb", "bgr"))
    assert possible(range="-1", order="bgr") == ((-1,), (-1,), ("bgr",))
    assert possible(range_in="255") == ((255,), RANGES, ("rgb", "bgr"))
    assert possible({"value_range": [0, 1]}, range="1", order="rgb") == ((1,), (1,), ("rgb",))
    assert possible({"value_range": [0, 1]}, channels=1) == ((1,), (1,), ("y", "y_full"))
    assert possible({"order": "y_full"}, channels=1) == (RANGES, RANGES, ("y_full",))
    for options, said in (
        ({"range": "2"}, "range=2; use 1"),
        ({"order": "gbr"}, "order=gbr; use rgb or bgr"),
        ({"range": "1", "range_in": "1"}, "not both"),
        ({"sidecar": {"value_range": [0, 1]}, "range": "-1"}, "range=-1, but its sidecar says 1"),
        ({"sidecar": {"value_range": [0, 1]}, "order": "bgr"}, "order=bgr, but its sidecar says rgb"),
        ({"sidecar": {"order": "y"}}, "its sidecar says order y, but it has 3 channel"),
        ({"inputs": (1,), "outputs": (1,), "range": "255"}, "follows from its quantization"),
        ({"inputs": (1,), "range_in": "-1"}, "follows from its quantization"),
    ):
        with pytest.raises(UserError, match=said):
            possible(**options)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_the_sample_has_one_size_and_bicubic_is_good_on_it(scale):
    hr, lr = sample_images.pair(24, 30, scale)
    assert hr.shape == (24 * scale, 30 * scale, 3)
    assert lr.shape == (24, 30, 3)
    figures = model_io.check("bicubic", lambda image: imresize(image, scale), scale, (24, 30))
    assert figures["psnr"] == figures["bicubic_psnr"] > 25
    assert not model_io.is_poor(figures)


def test_the_message_has_both_figures():
    figures = {"psnr": 12.34, "bicubic_psnr": 27.06, "constant": False}
    assert "net: its PSNR is 12.3 dB on a sample image, bicubic 27.1 dB: wrong range" in model_io.message(
        "net", model_io.ModelIO(), figures
    )
    assert "one flat colour" in model_io.message("net", model_io.ModelIO(), {**figures, "constant": True}, options=False)
    assert model_io.message("net", model_io.ModelIO(), {**figures, "psnr": 24.07}) is None


def test_real_runs_refuse_what_is_not_finite(photo):
    """Also where the sample image was fine."""
    for value in (np.nan, np.inf, -np.inf):
        model = upscaler.Upscaler("net", 1, lambda image, v=value: np.where(image > 250, v, 0.5).astype(np.float32), 2)
        model(np.minimum(photo, 250))
        for run in (model, model.real):
            with pytest.raises(UserError, match="net: its output is not finite"):
                run(np.maximum(photo, 251))


def onnx_file(path, clip=(0.0, 1.0), factor=1.0, offset=0.0, shape=ANY):
    """An ONNX file that enlarges twice, clips, and then multiplies and adds."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    constants = {"s": [1, 2, 2, 1], "low": clip[0], "high": clip[1], "a": factor, "b": offset}
    nodes = [
        helper.make_node("Resize", ["x", "", "s"], ["u"], mode="linear"),
        helper.make_node("Clip", ["u", "low", "high"], ["c"]),
        helper.make_node("Mul", ["c", "a"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "y")]
    ends[1] = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None] * 4)
    arrays = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], arrays)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)
    return path


@pytest.mark.parametrize(
    ("made", "ranges"),
    [
        ({}, (1, 1)),
        ({"clip": (8.0, 255.0)}, (255, 255)),
        ({"factor": 2.0, "offset": -1.0}, (1, -1)),
        ({"clip": (-1.0, 1.0), "factor": 0.5, "offset": 0.5}, (-1, 1)),
        ({"clip": (8.0, 255.0), "factor": 1 / 127.5, "offset": -1.0, "shape": (1, 20, 28, 3)}, (255, -1)),
    ],
)
def test_onnx_files_are_measured(tmp_path, capsys, photo, made, ranges):
    path = onnx_file(tmp_path / "net.onnx", **made)
    model = load(path)
    assert (model.io.range_in, model.io.range_out, model.io.order) == (*ranges, "rgb")
    assert ("note: " in capsys.readouterr().err) == (ranges != (1, 1))
    given = f"{path}@range_in={ranges[0]},range_out={ranges[1]},order=rgb"
    np.testing.assert_array_equal(load(given)(photo), model(photo))
    assert capsys.readouterr().err == ""
    assert np.abs(model(photo).astype(int) - imresize(photo, 2)).mean() < 5


def test_onnx_options_and_refusals(tmp_path):
    path = onnx_file(tmp_path / "net.onnx")
    np.testing.assert_array_equal(OnnxModel(path, options={"order": "bgr"}).io.order, "bgr")
    (tmp_path / "net.json").write_text(json.dumps({"sha256": sha256_file(path), "value_range": [0, 1]}))
    for model, said in (
        (f"{path}@range=255", "its sidecar says 1"),
        (f"{path}@depth=1", "unknown option 'depth'"),
        (onnx_file(tmp_path / "nan.onnx", factor=np.nan), "not finite"),
        (onnx_file(tmp_path / "inf.onnx", offset=np.inf), "not finite"),
        (onnx_file(tmp_path / "empty.onnx", shape=(1, 0, 0, 3)), "sides must be 1 or more"),
        (onnx_file(tmp_path / "huge.onnx", shape=(1, 60000, 60000, 3)), "sides must be 1 or more, the total at most"),
        (onnx_file(tmp_path / "wide.onnx", shape=(1, "h", "w", 16)), "16 channels; expected"),
        (f"{path}@order=y", "order=y; use rgb or bgr"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            load(model)
        assert str(caught.value).count("\n") == 0


def run(*args):
    """The exit status of a command in this process."""
    return cli.main(cli._parse(["mobile-sr", *map(str, args)]))


def test_a_poor_network_is_reported_once_with_both_figures(tmp_path, capsys, image_folder):
    path = onnx_file(tmp_path / "zero.onnx", factor=0.0)
    write_image(tmp_path / "in" / "a.png", make_image(12, 14))
    write_image(tmp_path / "in" / "b.png", make_image(12, 14))
    assert run("upscale", tmp_path / "in", "--model", path, "--out", tmp_path / "o", "--workers", 2) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert f"warning: {path}: its output is one flat colour" in said[0]
    assert run("evaluate", "--model", path, "--data", image_folder, "--json", tmp_path / "f.json") == 0
    out, err = capsys.readouterr()
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["sample"]["constant"] is True
    values = {"range_in": [0, 1], "range_out": [0, 1], "order": "rgb", "layout": "nhwc", "channels": 3, "measured": True}
    assert found["values"] == values
    assert found["bicubic"]["psnr"] > found["mean"]["psnr"] + 5
    assert "WORSE than bicubic" in out
    assert len(err.splitlines()) == 1


def test_evaluate_gives_bicubic_beside_the_model(image_folder):
    found = evaluate.evaluate(load("bicubic", 2), image_folder, ssim=False)
    assert [row["bicubic_psnr"] for row in found["images"]] == [row["psnr"] for row in found["images"]]
    assert found["bicubic"]["psnr"] == found["mean"]["psnr"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, model_file, value):
    arrays, meta = weights.read_arrays(model_file)
    name = next(key for key in arrays if "kernel" in key)
    arrays[name].flat[3] = value
    weights.write_arrays(tmp_path / "broken.npz", arrays, meta)
    with pytest.raises(UserError, match=f"broken.npz: its weights are not finite .*{name}"):
        load(tmp_path / "broken.npz")


def test_the_export_of_zero_weights_warns(tmp_path, model_file, capsys):
    from mobile_sr.quantization.export import export

    arrays, meta = weights.read_arrays(model_file)
    weights.write_arrays(tmp_path / "zero.npz", {key: value * 0 for key, value in arrays.items()}, meta)
    export(tmp_path / "zero.npz", tmp_path / "out", ["float32"], log=lambda line: None)
    said = capsys.readouterr().err
    assert "zero.npz: its output is one flat colour" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("psnr", "bicubic", "poor"), [(28.9, 32, True), (29.1, 32, False), (44.5, 48.1, False), (39, 48.1, True)]
)
def test_what_is_poor(psnr, bicubic, poor):
    assert model_io.is_poor({"constant": False, "psnr": psnr, "bicubic_psnr": bicubic}) == poor
