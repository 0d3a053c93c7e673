"""AdaDSR's sparse form: equality with the masked dense network in TensorFlow and .tflite, and refusals."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from mobile_sr import models, zoo
from mobile_sr.adadsr import depth_counts, depth_export, files, sparse_form
from mobile_sr.converters import to_tflite
from mobile_sr.converters.tflite import audit, flatbuffer, merge
from mobile_sr.devices import engines
from mobile_sr.errors import UserError
from mobile_sr.inference import graph_io, litert, tensor_values, upscaler, weights
from mobile_sr.models import adadsr
from mobile_sr.quantization import export

EDSR = {"network": "edsr", "scale": 2, "blocks": 3, "channels": 8, "depth": "input"}
RCAN = {"network": "rcan", "scale": 2, "groups": 2, "blocks": 2, "channels": 16, "reduction": 4, "depth": "input"}
SIZES = [(9, 13), (16, 11), (1, 5)]


def network_of(config):
    """A network with random weights."""
    model = models.build(config)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.7 * np.prod(w.shape[:-1]) ** -0.5, w.shape) for w in model.get_weights()])
    return model


@functools.cache
def network(name):
    """A network with random weights. For an image with constant green, its first depth map is the desired depth times green."""
    config = {"edsr": EDSR, "rcan": RCAN}[name]
    model = network_of(config)
    adadsr.follow_green(model)
    return model, config


def image(size, active):
    """[H, W, 3] uint8 image. Green, and with it the depth, is random where `active` [H, W] is true, and 0 elsewhere."""
    rng = np.random.default_rng(1)
    result = rng.integers(0, 256, (*size, 3), np.uint8)
    result[..., 1] = np.where(active, rng.integers(1, 256, size), 0)
    return result


def masks(size):
    """Activity maps: none, all, random, a blob with a hole, one corner."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    away = np.hypot(y - size[0] / 2, x - size[1] / 2)
    corner = (y == 0) & (x == size[1] - 1)
    return [y < 0, y >= 0, np.random.default_rng(2).random(size) < 0.3, (away < 5) & (away > 1.5), corner]


def tensors(rgb, depth):
    return rgb[None].astype(np.float32) / 255, np.full((1, 1), depth, np.float32)


@functools.cache
def file(name, precision, size):
    """Bytes of a file with the signatures dense and sparse."""
    model, config = network(name)
    calibration_images = [np.random.default_rng(k).random((1, 16, 16, 3)).astype(np.float32) for k in range(3)]
    calibration_images += [np.full((1, 16, 16, 3), level, np.float32) for level in (0, 1)]
    samples = depth_export.with_depths(calibration_images, models.max_depth(config))
    exported = models.build_for_export(config)
    exported.set_weights(model.get_weights())
    data = to_tflite.float_tflite(exported, size)
    return files.convert_both(exported, data, precision, to_tflite.at_size(samples, size), size=size)[0]


@functools.cache
def runners(name, precision, size=None):
    """{signature: function from (image, depth) to the outputs} of one open file."""
    from ai_edge_litert.interpreter import Interpreter

    data = file(name, precision, size)
    graph = flatbuffer.parse(data, "dense")
    scalar = next(graph.tensors[i] for i, end in graph.input_names.items() if end == "desired_depth")
    interpreter = Interpreter(model_content=data)

    def run(runner, rgb, depth):
        values = rgb[None] if precision == "uint8" else rgb[None].astype(np.float32) / 255
        return runner(lr=values, desired_depth=tensor_values.scalar(str(depth), scalar).reshape(1, 1))

    return {key: functools.partial(run, interpreter.get_signature_runner(key)) for key in ("dense", "sparse")}


def cases(config):
    """(image, depth) for all kinds of masks, sizes and depths."""
    for number, size in enumerate(SIZES):
        for kind, active in enumerate(masks(size)):
            for depth in range(config["blocks"] + 1) if number == 0 and kind > 1 else (0.5, config["blocks"]):
                yield image(size, active), depth


@pytest.mark.parametrize(
    ("name", "threshold", "span"), [("edsr", None, 2), ("edsr", 0.5, 1), ("edsr", 0, 2), ("edsr", 1, 2), ("rcan", None, 1)]
)
def test_the_tensorflow_graph_equals_the_keras_model(name, threshold, span):
    model, config = network(name)
    sparse = sparse_form.function(model, chunks=2, threshold=threshold, span=span)
    for rgb, depth in list(cases(config))[::4]:
        inputs = tensors(rgb, depth)
        expected, result = model(list(inputs)), sparse(*map(tf.constant, inputs))
        np.testing.assert_allclose(result["sr"], expected[0], atol=1e-5)
        np.testing.assert_allclose(result["depth_map"], expected[1], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size"),
    [("edsr", None), *(pytest.param(*case, marks=pytest.mark.slow) for case in (("edsr", SIZES[0]), ("rcan", None)))],
)
def test_the_float_file_equals_the_keras_model(name, size):
    model, config = network(name)
    for rgb, depth in list(cases(config))[:: 1 if size else 3]:
        if size in (None, rgb.shape[:2]):
            expected = model(list(tensors(rgb, depth)))
            for run in runners(name, "float32", size).values():
                result = run(rgb, depth)
                np.testing.assert_allclose(result["sr"], expected[0], atol=1e-5)
                np.testing.assert_allclose(result["depth_map"], expected[1], atol=1e-5)


@pytest.mark.parametrize("name", ["edsr", pytest.param("rcan", marks=pytest.mark.slow)])
def test_the_integer_file_gives_the_same_bytes_sparse_and_dense(name):
    data, (_, config) = file(name, "uint8", None), network(name)
    for rgb, depth in cases(config):
        dense, sparse = (run(rgb, depth)["sr"] for run in runners(name, "uint8").values())
        np.testing.assert_array_equal(sparse, dense)
    graph = flatbuffer.parse(data, "sparse")
    assert not [t for op in graph.ops for t in op.inputs if t >= 0 and graph.tensors[t].dtype.startswith("float")]
    depth = next(graph.tensors[i] for i, end in graph.input_names.items() if end == "desired_depth")
    assert (depth.dtype, depth.zero_points[0]) == ("uint8", 0)
    assert depth.scales[0] * 255 == pytest.approx(config["blocks"])


def test_masks_in_8_bits_saturate_at_exactly_0_and_1():
    graph = flatbuffer.parse(file("edsr", "uint8", None), "dense")
    subtractions = [graph.tensors[op.outputs[0]] for op in graph.ops if op.name == "SUB"]
    assert len(subtractions) == EDSR["blocks"]
    assert all(t.zero_points[0] == -128 and t.scales[0] * 255 == pytest.approx(1) for t in subtractions)


@pytest.mark.parametrize("precision", ["float32", "uint8"])
def test_both_signatures_read_the_same_weights(precision):
    model, _ = network("edsr")
    data = file("edsr", precision, None)
    expected = sum(w.size for w in model.get_weights()) * (4 if precision == "float32" else 1)
    assert merge.constant_bytes(data) < expected + 3000
    from ai_edge_litert.interpreter import Interpreter

    signatures = Interpreter(model_content=data).get_signature_list()
    assert list(signatures) == ["dense", "sparse"]
    for end in signatures.values():
        assert sorted(end["inputs"]) == ["desired_depth", "lr"]
        assert sorted(end["outputs"]) == ["depth_map", "sr"]


def test_a_depth_map_of_three_groups_is_not_the_output_image():
    graph = flatbuffer.parse(file("edsr", "float32", None), "sparse")
    tensor = next(graph.tensors[i] for i, end in graph.output_names.items() if end == "depth_map")
    tensor.shape = [1, -1, -1, 3]
    assert graph.output_names[graph_io.find(graph).sr] == "sr"


@pytest.mark.slow
def test_a_file_with_both_paths_is_hardly_larger_than_the_dense_one(tmp_path):
    config = {"network": "edsr", "scale": 2, "blocks": 1, "channels": 64, "depth": "input"}
    weights.save_model(tmp_path / "ada.npz", models.build(config), config)
    (path,) = export.export(tmp_path / "ada.npz", tmp_path, ["float32"], log=lambda line: None)
    assert path.name == "ada_sparse_float32.tflite"
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert path.stat().st_size < 1.2 * sidecar["size_bytes_dense_only"]
    assert (sidecar["signatures"], sidecar["desired_depth"]) == (["dense", "sparse"], [0, 1])
    for bad, message in {
        "@signature=sparse,desired_depth=1.5": "desired depth 1.5 is out of range; use 0 to 1",
        "@signature=sparse,desired_depth=-1": "desired depth -1 is out of range; use 0 to 1",
        "@signature=sprase,desired_depth=1": "no signature 'sprase'; it has dense, sparse",
    }.items():
        with pytest.raises(UserError, match=message):
            upscaler.load(f"{path}{bad}")
    with pytest.raises(UserError, match="no signature 'sparse'"):
        upscaler.load(f"{zoo.resolve('xlsr_x3:float32')}@signature=sparse")
    rgb = image((9, 13), masks((9, 13))[1])
    a, b = (upscaler.load(f"{path}@signature={name},desired_depth=0.5")(rgb) for name in ("sparse", "dense"))
    np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["sparse", "dense"])
def test_every_precision_passes_its_audit(tmp_path, path):
    config = {"network": "edsr", "scale": 2, "blocks": 2, "channels": 16, "depth": "input"}
    weights.save_model(tmp_path / "ada.npz", network_of(config), config)
    precisions = ["float16", "uint8", "int8"]
    paths = export.export(tmp_path / "ada.npz", tmp_path, precisions, path=path, log=lambda line: None)
    assert [file.stem for file in paths] == [f"ada_{'sparse_' if path == 'sparse' else ''}{p}" for p in precisions]
    if path == "dense":
        assert litert.delegate_partitions(paths[1].read_bytes()) == 1


def test_wrong_use_is_refused(model_file, tmp_path):
    model, _ = network("edsr")
    with pytest.raises(ValueError, match="one image at a time, got a batch of 2"):
        sparse_form.function(model)(tf.zeros((2, 8, 8, 3)), tf.zeros((2, 1)))
    with pytest.raises(ValueError, match="no depth masks"):
        sparse_form.function(models.build({**EDSR, "depth": "none"}))
    with pytest.raises(UserError, match="has no depth masks"):
        export.export(model_file, tmp_path, ["float32"], path="sparse", log=lambda line: None)
    weights.save_model(tmp_path / "ada.npz", model, EDSR)
    with pytest.raises(UserError, match="not supported for dynamic"):
        export.export(tmp_path / "ada.npz", tmp_path, ["dynamic"], path="sparse", log=lambda line: None)
    with pytest.raises(ValueError, match="'int8'\\), got 'dynamic'"):
        files.convert_both(model, b"", "dynamic")
    interpreter = engines.open_interpreter(
        flatbuffer.as_first_subgraph(data := file("edsr", "float32", None), flatbuffer.parse(data, "sparse"))
    )
    index = next(end["index"] for end in interpreter.get_input_details() if len(end["shape"]) == 4)
    engines.allocate(interpreter, "file", (2, 8, 8, 3), index)
    with pytest.raises(RuntimeError, match="num_input_elements != num_output_elements"):
        interpreter.invoke()


def test_the_audit_detects_weights_that_are_not_shared():
    graph = flatbuffer.parse(file("edsr", "float32", None), "sparse")
    assert all(check["passed"] for check in audit.check_sparse(graph, 100_000, 100_000, integer=False))
    failed = [check["check"] for check in audit.check_sparse(graph, 200_000, 100_000, integer=True) if not check["passed"]]
    assert failed == ["no float arithmetic (sparse)", "weights stored once"]


def test_calibration_sweeps_the_desired_depth():
    samples = depth_export.with_depths([np.zeros((1, 4, 4, 3))] * 9, 8)
    assert sorted(float(depth[0, 0]) for _, depth in samples) == list(range(9))
    assert depth_export.with_depths([1, 2], None) == [1, 2]


def test_counts_follow_the_masks():
    model, config = network("edsr")
    depth = np.zeros((10, 12, 1))
    fractions = depth_counts.active_fractions(depth + 3, 2)
    np.testing.assert_array_equal(fractions, 1)
    assert depth_counts.multiply_adds(model, depth + 3) == models.multiply_adds(model, 120)
    depth[4, 5] = 1.5
    np.testing.assert_allclose(depth_counts.active_fractions(depth, 3) * 120, [[1, 9], [1, 9], [0, 0]])
    kernels = 9 * config["channels"] ** 2
    saved = models.multiply_adds(model, 120) - depth_counts.multiply_adds(model, depth, fallback=False)
    assert saved == pytest.approx(kernels * (6 * 120 - 20))


def test_counts_of_the_paper():
    """Liu et al., Tables 1 and 2, on the image sizes of Set5: EDSR x2, RCAN, and FAdaEDSR(32) with the adapter."""
    sizes = [(512, 512), (288, 288), (256, 256), (280, 280), (228, 344)]

    def counted(network, scale=2, **sizes_):
        config = {"network": network, "scale": scale, **sizes_}
        return np.mean([depth_counts.paper_count(config, (h // scale, w // scale)) for h, w in sizes])

    counts = [counted("edsr", blocks=d) for d in (8, 16, 24, 32)]
    np.testing.assert_allclose(counts, [408.23, 718.41, 1028.58, 1338.76], atol=0.005)
    assert counted("edsr", depth="fixed") == pytest.approx(1358.30, abs=0.005)
    np.testing.assert_allclose([counted("rcan", scale) for scale in (2, 3, 4)], [577.9, 328.5, 270.1], atol=0.05)
    assert len(depth_counts.parts((1200, 1200))) == 16
    half = depth_counts.paper_count({"network": "edsr", "scale": 2}, (64, 64), [0.5] * 32)
    assert half < depth_counts.paper_count({"network": "edsr", "scale": 2}, (64, 64))
    with pytest.raises(ValueError, match="edsr and rcan only"):
        depth_counts.paper_count({"network": "xlsr"}, (64, 64))
    with pytest.raises(ValueError, match="31 active shares for 32"):
        depth_counts.paper_count({"network": "edsr", "scale": 2}, (64, 64), [1] * 31)
