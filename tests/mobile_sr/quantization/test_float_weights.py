"""Weights of float files: trained, equalized or steered to the 8-bit file's integers, for other quantizers."""

import json

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.quantization import steering
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.quantization import source
from mobile_sr.quantization.export import METHODS, export
from tests import stored_weights


@pytest.fixture(scope="module")
def fsrcnn_file(tmp_path_factory):
    """An FSRCNN x2 with one layer in the middle and channels of different size."""
    config = {"network": "fsrcnn", "scale": 2, "d": 16, "s": 4, "m": 1}
    keras.utils.set_random_seed(1)
    model = models.build(config)
    rng = np.random.default_rng(1)
    model.set_weights([w * 10 ** rng.uniform(-0.5, 0.5, w.shape[-1]) for w in model.get_weights()])
    path = tmp_path_factory.mktemp("fsrcnn") / "small.npz"
    weights.save_model(path, model, config)
    return path


@pytest.fixture(scope="module")
def trained(fsrcnn_file):
    """The float .tflite of `fsrcnn_file` before any change of its weights."""
    return source.open_own(fsrcnn_file, None).data


def run(model, out, **arguments):
    """(bytes, sidecar) of the exported float32 file."""
    path, *_ = export(model, out, arguments.pop("precisions", ["float32"]), log=lambda line: None, **arguments)
    return path.read_bytes(), json.loads(path.with_suffix(".json").read_text())


def test_float_files_alone_have_the_trained_weights(fsrcnn_file, trained, tmp_path):
    data, sidecar = run(fsrcnn_file, tmp_path)
    assert data == trained
    assert (sidecar["equalization"], sidecar["rounding"], sidecar["calibration"]) == (None, "to nearest", None)


def test_equalized_weights_are_the_same_function(fsrcnn_file, trained, tmp_path):
    data, sidecar = run(fsrcnn_file, tmp_path, float_weights="equalized")
    assert data != trained
    assert sidecar["equalization"]["strength"] == 1.0
    assert sidecar["agreement_with_keras"]["largest_error"] <= 1e-5
    again, _ = run(fsrcnn_file, tmp_path / "again", float_weights="equalized")
    assert again == data


@pytest.mark.slow
def test_float_files_alone_keep_prelu(tmp_path):
    """An integer file has other operators in its place; its float counterpart then has them, too."""
    keras.utils.set_random_seed(2)
    lr = keras.Input((None, None, 3), name="lr")
    x = keras.layers.Conv2D(8, 3, padding="same")(lr)
    x = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer=keras.initializers.Constant(0.2))(x)
    x = keras.layers.Conv2DTranspose(3, 2, strides=2, kernel_initializer=keras.initializers.RandomNormal(0, 0.01))(x)
    model = keras.Model(lr, keras.layers.Add()([keras.layers.UpSampling2D(2)(lr), x]), name="net")
    counts = {}
    for precisions in (["float32"], ["float32", "uint8"]):
        data, _ = run(model, tmp_path, precisions=precisions, float_weights="equalized")
        graph = FloatGraph(data)
        counts[len(precisions)] = [graph.name(op) for op in graph.ops].count("PRELU")
    assert counts == {1: 1, 2: 0}


@pytest.mark.parametrize("per_tensor", [False, True])
def test_steered_weights_round_to_the_integers_of_the_8_bit_file(fsrcnn_file, tmp_path, per_tensor):
    arguments = {"float_weights": "steered", "per_tensor": per_tensor, "max_colour_error": 255}
    data, sidecar = run(fsrcnn_file, tmp_path, precisions=["float32", "uint8"], **arguments)
    uint8 = tmp_path / f"small_uint8{'_per_tensor' if per_tensor else ''}.tflite"
    assert stored_weights.differing(data, uint8.read_bytes(), per_tensor) == 0
    found = [stored_weights.nearest(kernel, per_tensor)[1].max() for kernel in stored_weights.kernels(data)]
    assert 0.4 < max(found) < 0.5 - steering.MARGIN / 2
    assert sidecar["rounding"] == "steered to the integers of 8 bits"
    assert sidecar["calibration"]["crops"] > 0
    assert "colour_error" in sidecar
    assert sidecar["agreement_with_keras"]["largest_error"] > 1e-5
    alone, _ = run(fsrcnn_file, tmp_path / "alone", **arguments)
    assert alone == data
    json_uint8 = json.loads(uint8.with_suffix(".json").read_text())
    assert sidecar["agreement_with_keras"]["psnr_rgb"] > json_uint8["agreement_with_keras"]["psnr_rgb"]


def test_steered_weights_in_float16_and_onnx(fsrcnn_file, tmp_path):
    """float16 moves the weights, so they keep a larger distance from the ends of their cells."""
    precisions = ["float32", "float16", "onnx", "uint8"]
    data, sidecar = run(fsrcnn_file, tmp_path, precisions=precisions, float_weights="steered", max_colour_error=255)
    uint8 = (tmp_path / "small_uint8.tflite").read_bytes()
    halves = [kernel.astype(np.float16).astype(np.float32) for kernel in stored_weights.kernels(data)]
    stored = {kernel.tobytes() for kernel in stored_weights.kernels(uint8)}
    assert {stored_weights.nearest(kernel)[0].tobytes() for kernel in halves} <= stored
    onnx = json.loads((tmp_path / "small.json").read_text())
    for key in ("colour_error", "agreement_with_keras", "rounding"):
        assert onnx[key] == sidecar[key]


def test_steered_weights_without_a_float_file_change_nothing(fsrcnn_file, tmp_path):
    lines: list[str] = []
    (path,) = export(fsrcnn_file, tmp_path, ["uint8"], float_weights="steered", max_colour_error=255, log=lines.append)
    (plain,) = export(fsrcnn_file, tmp_path / "plain", ["uint8"], max_colour_error=255, log=lines.append)
    assert path.read_bytes() == plain.read_bytes()
    assert not [line for line in lines if "steering" in line]


def test_steered_weights_of_a_network_with_depth_masks(tmp_path):
    """The sparse form is made from the Keras model, whose first layer of the adapter has no bias."""
    config = {"network": "edsr", "scale": 2, "blocks": 1, "channels": 8, "depth": "input", "adapter_channels": 4}
    keras.utils.set_random_seed(1)
    model = models.build(config)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0, 0.1, w.shape) for w in model.get_weights()])
    weights.save_model(tmp_path / "masked.npz", model, config)
    precisions = ["float32", "uint8"]
    data, _ = run(tmp_path / "masked.npz", tmp_path, precisions=precisions, float_weights="steered", max_colour_error=255)
    assert stored_weights.differing(data, (tmp_path / "masked_sparse_uint8.tflite").read_bytes()) == 0


def test_steered_weights_of_a_network_with_exits(tmp_path):
    config = {"network": "chainsr", "scale": 2, "channels": 8, "layers": 3, "exits": [2]}
    keras.utils.set_random_seed(1)
    model = models.build(config)
    weights.save_model(tmp_path / "two.npz", model, config)
    precisions = ["float32", "uint8"]
    data, _ = run(tmp_path / "two.npz", tmp_path, precisions=precisions, float_weights="steered", max_colour_error=255)
    assert stored_weights.differing(data, (tmp_path / "two_uint8.tflite").read_bytes()) == 0


def test_trained_weights_beside_an_integer_file(fsrcnn_file, trained, tmp_path):
    arguments = {"precisions": ["float32", "uint8"], "max_colour_error": 255}
    data, sidecar = run(fsrcnn_file, tmp_path, float_weights="trained", **arguments)
    assert data == trained
    assert sidecar["equalization"] is None
    assert "colour_error" not in sidecar
    uint8 = json.loads((tmp_path / "small_uint8.json").read_text())
    assert uint8["equalization"]["layers"]
    assert uint8["rounding"] == "second moments of the inputs"


def test_dynamic_has_the_weights_of_the_integer_files_beside_it(fsrcnn_file, tmp_path):
    """Rounding equalized weights to the nearest integer costs more than rounding the trained ones."""
    arguments = {"precisions": ["dynamic", "uint8"], "max_colour_error": 255, "methods": ["equalize", "round", "clip"]}
    _, sidecar = run(fsrcnn_file, tmp_path, **arguments)
    assert sidecar["rounding"] == "second moments of the inputs"
    files = (tmp_path / f"small_{precision}.tflite" for precision in ("dynamic", "uint8"))
    dynamic, uint8 = ({w.tobytes() for w in stored_weights.kernels(path.read_bytes()) if w.dtype == np.int8} for path in files)
    assert dynamic
    assert dynamic <= uint8


@pytest.mark.parametrize(("choice", "methods"), [("equalized", ["round"]), ("steered", ["equalize"]), ("steered", [])])
def test_weights_without_their_method_are_refused(fsrcnn_file, tmp_path, choice, methods):
    with pytest.raises(UserError, match=f"--float-weights {choice}: needs .* in --methods"):
        export(fsrcnn_file, tmp_path / "out", ["float32"], methods=methods, float_weights=choice)
    with pytest.raises(UserError, match="use trained, equalized, steered"):
        export(fsrcnn_file, tmp_path / "out", ["float32"], float_weights="best")
    assert not (tmp_path / "out").exists()


def test_learned_ranges(fsrcnn_file, tmp_path):
    """A network of `qat` keeps its ranges in 8-bit files, unless it is converted without methods."""
    model, config = weights.load_model(fsrcnn_file)
    graph = FloatGraph(source.open_own(fsrcnn_file, None).data)
    first = next(graph.tensor_name(op.outputs[0]) for op in graph.ops if graph.name(op) == "CONV_2D")
    file = tmp_path / "tuned.npz"
    weights.save_model(
        file,
        model,
        config,
        {"tensor_ranges": {first: [-1.25, 2.5], "of another target": [0.0, 1.0]}, "export_methods": ["round"]},
    )
    for methods, precisions, expected in (
        (METHODS, ["uint8"], ("learned", None)),
        (["equalize", "round"], ["uint8"], ("minimum and maximum", 1.0)),
        (METHODS, ["uint8", "float32"], ("least squared error", 1.0)),  # equalized float weights
    ):
        lines = []
        options = {"methods": methods, "float_weights": "equalized" if len(precisions) > 1 else None}
        path, *_ = export(file, tmp_path / expected[0], precisions, **options, max_colour_error=255, log=lines.append)
        sidecar = json.loads(path.with_suffix(".json").read_text())
        assert (sidecar["ranges"], (sidecar["equalization"] or {}).get("strength")) == expected
        stored = [each.quantization for each in FloatGraph(path.read_bytes()).graph.tensors]
        steps = [each.scale[0] for each in stored if each is not None and each.scale is not None]
        is_used = np.isclose(steps, 3.75 / 255, rtol=1e-6, atol=0).any()
        assert is_used == any("keeps the 1 activation ranges" in line for line in lines) == (expected[0] == "learned")
    lines = []
    export(file, tmp_path / "steered", ["float32"], float_weights="steered", max_colour_error=255, log=lines.append)
    assert any("keeps the 1 activation ranges" in line for line in lines)  # it follows the uint8 file


@pytest.mark.parametrize("damaged", [{"tensor_ranges": [1]}, {"tensor_ranges": {"a": 1}}, {"export_methods": 1}])
def test_damaged_learned_ranges_are_one_line(fsrcnn_file, tmp_path, damaged):
    model, config = weights.load_model(fsrcnn_file)
    weights.save_model(tmp_path / "tuned.npz", model, config, damaged)
    with pytest.raises(UserError, match="its activation ranges are damaged"):
        export(tmp_path / "tuned.npz", tmp_path / "out", ["uint8"])
    assert not (tmp_path / "out").exists()


def test_given_ranges(fsrcnn_file, tmp_path):
    """Equalization would scale them; an unknown name would be ignored. tests/mobile_sr/qat/test_keras_ranges.py uses some."""
    with pytest.raises(UserError, match="ranges: cannot be combined with the method equalize"):
        export(fsrcnn_file, tmp_path / "out", ["uint8"], ranges={})
    with pytest.raises(UserError, match="ranges: the network has no activation 'none'"):
        export(fsrcnn_file, tmp_path / "out", ["uint8"], methods=(), ranges={"none": (0.0, 1.0)})
    assert not list((tmp_path / "out").glob("*"))
    graph = FloatGraph(source.open_own(fsrcnn_file, None).data)
    name = graph.tensor_name(graph.graph.inputs[0])
    (path,) = export(
        fsrcnn_file,
        tmp_path / "out",
        ["uint8"],
        methods=(),
        ranges={name: (0.0, 1.0)},
        max_colour_error=255,
        log=lambda s: None,
    )
    assert json.loads(path.with_suffix(".json").read_text())["ranges"] == "given"
