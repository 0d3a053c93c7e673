"""Files that somebody else converted: other value ranges, quantizations, sizes, signatures and inputs."""

import json
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image

from mobile_sr import load
from mobile_sr.benchmarking import benchmark
from mobile_sr.converters.tflite import flatbuffer
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare, network_facts
from mobile_sr.files import sha256_file
from mobile_sr.imaging import metrics
from mobile_sr.imaging.images import read_image, write_image
from mobile_sr.inference import litert, model_files, tensor_values
from tests.conftest import make_image
from tests.mobile_sr.test_cli import one_line

DARKEST = 8  # the synthetic networks clip to 8..255, which reveals a wrong range
ANY = (1, None, None, 3)


def network(tf, x, scale=2, white_in=1, white_out=1):
    """Nearest-neighbour upscaling of [N, H, W, C], as a convolution and depth_to_space."""
    x = tf.clip_by_value(x, DARKEST / 255 * white_in, white_in) * (white_out / white_in)
    kernel = np.tile(np.eye(x.shape[3], dtype=np.float32), scale**2)[None, None]
    return tf.nn.depth_to_space(tf.nn.conv2d(x, kernel, 1, "SAME"), scale)


def expected(image, scale=2):
    """The output of `network` for an [H, W, 3] uint8 image, as int."""
    return np.maximum(image, DARKEST).repeat(scale, 0).repeat(scale, 1).astype(int)


def convert(function, *specs, ends=None, data=None):
    """The bytes of a .tflite; full integer with the (input, output) types `ends` when `data` yields calibration inputs."""
    import tensorflow as tf

    from mobile_sr.converters.quiet import quiet

    concrete = tf.function(function).get_concrete_function(*specs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    if ends:
        converter.optimizations, converter.representative_dataset = [tf.lite.Optimize.DEFAULT], data
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type, converter.inference_output_type = ends
    with quiet(), warnings.catch_warnings(action="ignore"):  # it misses statistics, which the calibration gives
        return converter.convert()


def channels_first(tf, x):
    """`network` of [N, C, H, W]."""
    return tf.transpose(network(tf, tf.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2))


def images_up_to(largest, *others, shape=(1, 16, 16, 3)):
    """Calibration inputs in 0..largest, with `others` (arrays) behind each."""

    def data():
        for seed in range(4):
            yield [np.random.default_rng(seed).random(shape, np.float32) * np.float32(largest), *others]

    return data


@pytest.fixture(scope="session")
def third_party(tmp_path_factory):
    """A folder of synthetic files."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("third_party")
    image, number = tf.TensorSpec(ANY, tf.float32, "image"), tf.TensorSpec((), tf.float32, "depth")

    def add(name, function, *specs, **options):
        (folder / f"{name}.tflite").write_bytes(convert(function, *specs, **options))

    for white_in in (1, 255):
        for white_out in (1, 255):
            add(f"float_{white_in}_{white_out}", lambda x, a=white_in, b=white_out: network(tf, x, 2, a, b), image)
    for name, ends, largest in (
        ("uint8_1", (tf.uint8, tf.uint8), 1.3),
        ("uint8_255", (tf.uint8, tf.uint8), 300),
        ("int8_1", (tf.int8, tf.int8), 1.3),
        ("int8_255", (tf.int8, tf.int8), 300),
        ("float32_uint8", (tf.float32, tf.uint8), 255),
        ("int8_float32", (tf.int8, tf.float32), 1),
    ):
        white = 1 if largest < 2 else 255
        add(name, lambda x, w=white: network(tf, x, 3, w, w), image, ends=ends, data=images_up_to(largest))
    for side in (8, 64):
        add(f"fixed_{side}", lambda x: network(tf, x), tf.TensorSpec((1, side, side, 3), tf.float32, "image"))
    add("scalar", lambda x, d: network(tf, x) * d, image, number)
    add("wrong_size", lambda x: network(tf, x)[:, 1:], tf.TensorSpec((1, 8, 8, 3), tf.float32))
    quantized = {"ends": (tf.uint8, tf.uint8), "data": images_up_to(1, np.float32(4))}
    add("scalar_uint8", lambda x, d: network(tf, x) * d * 0.25, image, number, **quantized)
    add("two_images", lambda x, y: network(tf, x + y), image, image)
    add("two_outputs", lambda x: (network(tf, x), network(tf, x, 4)), image)
    add("state", lambda x, y: network(tf, x) + y[0, 0, 0, 0], image, tf.TensorSpec((1, 8, 8, 16), tf.float32))
    for name, shape in (("nchw", (1, 3, None, None)), ("nchw_fixed", (1, 3, 9, 9)), ("luma_nchw", (1, 1, 9, 11))):
        add(name, lambda x: channels_first(tf, x), tf.TensorSpec(shape))
    add("nhwc", lambda x: network(tf, x), image)
    add("luma", lambda x: network(tf, x), tf.TensorSpec((1, None, None, 1)))
    add("luma_255", lambda x: network(tf, x, 2, 255, 255), tf.TensorSpec((1, None, None, 1)))
    for name, ends, shape, net in (
        ("nhwc_uint8", (tf.uint8, tf.uint8), (1, 12, 16, 3), network),
        ("nchw_uint8", (tf.uint8, tf.uint8), (1, 3, 12, 16), channels_first),
        ("luma_uint8", (tf.uint8, tf.uint8), (1, 12, 16, 1), network),
        ("luma_nchw_int8", (tf.int8, tf.int8), (1, 1, 12, 16), channels_first),
    ):
        add(name, lambda x, net=net: net(tf, x), tf.TensorSpec(shape), ends=ends, data=images_up_to(1, shape=shape))
    add("luma_out", lambda x: network(tf, x)[..., :1], image)
    add("batch", lambda x: network(tf, x), tf.TensorSpec((4, 9, 9, 3)))
    add("classifier", lambda x: tf.reduce_mean(x, (1, 2)), tf.TensorSpec((1, 9, 9, 3)))
    add("no_range", lambda x: network(tf, x) * 0 + 3, image)
    add_signatures(tf, folder / "signatures.tflite", ("dense", "sparse"))
    add_signatures(tf, folder / "served.tflite", ("dense", "serving_default"))
    return folder


def add_signatures(tf, path, names):
    """A file with two signatures: an x3, and an x2 that gathers and scatters its pixels and takes a depth."""

    class Networks(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec(ANY, tf.float32, "image")])
        def dense(self, image):
            return {"sr": network(tf, image, 3)}

        @tf.function(input_signature=[tf.TensorSpec(ANY, tf.float32, "image"), tf.TensorSpec((), tf.float32, "desired_depth")])
        def sparse(self, image, desired_depth):
            places = tf.where(image[..., 0] >= 0)
            pixels = tf.scatter_nd(places, tf.gather_nd(image, places), tf.shape(image, out_type=tf.int64))
            return {"sr": network(tf, tf.ensure_shape(pixels, ANY)) * desired_depth}

    from mobile_sr.converters.quiet import quiet

    networks = Networks()
    with quiet():
        functions = dict(zip(names, (networks.dense, networks.sparse), strict=True))
        tf.saved_model.save(networks, str(path.with_suffix("")), signatures=functions)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(path.with_suffix("")), signature_keys=list(names))
        path.write_bytes(converter.convert())


def ranges(model, **options):
    """The ranges in and out of a path or a file's bytes; its order is RGB."""
    io = litert.TFLiteModel(model, options=options).io
    assert io.order == "rgb"
    return io.range_in, io.range_out


@pytest.mark.parametrize("white_in", [1, 255])
@pytest.mark.parametrize("white_out", [1, 255])
def test_the_range_of_float_files_is_found(third_party, photo, white_in, white_out):
    path = third_party / f"float_{white_in}_{white_out}.tflite"
    assert ranges(path) == (white_in, white_out)
    upscaler = load(path)
    np.testing.assert_allclose(upscaler(photo), expected(photo), atol=1)
    assert upscaler.real(photo).max() <= 1.01


def test_the_range_can_be_given(third_party, photo, tmp_path):
    path = third_party / "float_255_255.tflite"
    np.testing.assert_array_equal(load(f"{path}@range=255")(photo), load(path)(photo))
    assert ranges(path, range="1") == (1, 1)
    assert ranges(path, range_in="255", range_out="1") == (255, 1)
    assert ranges(third_party / "float32_uint8.tflite", range="1") == (1, 255)
    data = path.read_bytes()
    (tmp_path / "net.tflite").write_bytes(data)
    (tmp_path / "net.json").write_text(json.dumps({"sha256": sha256_file(path), "value_range": [0, 1]}))
    assert ranges(tmp_path / "net.tflite") == (1, 1)
    with pytest.raises(UserError, match="range=255, but its sidecar says 1"):
        load(f"{tmp_path / 'net.tflite'}@range=255")
    assert ranges(data) == (1, 1)


def test_the_range_of_a_trained_network_is_found(tmp_path, photo):
    """Its file without the sidecar that says so."""
    file = shutil.copy(model_files.locate("xlsr_x3:float32")[0], tmp_path)
    assert ranges(file) == (1, 1)
    np.testing.assert_array_equal(load(file)(photo), load("xlsr_x3:float32")(photo))


def test_an_implausible_output_in_every_range_means_0_to_1(third_party):
    assert ranges(third_party / "no_range.tflite") == (1, 1)


@pytest.mark.parametrize(
    ("name", "whites"),
    [
        ("uint8_1", (1, 1)),
        ("uint8_255", (255, 255)),
        ("int8_1", (1, 1)),
        ("int8_255", (255, 255)),
        ("float32_uint8", (255, 255)),
        ("int8_float32", (1, 1)),
    ],
)
def test_quantized_files(third_party, photo, name, whites):
    model = litert.TFLiteModel(third_party / f"{name}.tflite")
    assert (model.io.range_in, model.io.range_out, model.io.order) == (*whites, "rgb")
    assert model.scale == 3
    dtypes = [part for part in name.split("_") if not part.isdigit()]
    assert [model.image.dtype, model.sr.dtype] == [dtypes[0], dtypes[-1]]
    np.testing.assert_allclose(load(third_party / f"{name}.tflite")(photo), expected(photo, 3), atol=3)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16"])
@pytest.mark.parametrize("white", [1, 255])
def test_encoding_and_decoding_are_inverse(photo, dtype, white):
    limits = np.iinfo(dtype)
    scale = white * 1.3 / 2.0 ** min(limits.bits, 12)
    tensor = flatbuffer.Tensor("x", dtype, [1, -1, -1, 3], np.array([scale]), np.array([limits.min // 2 + 20]), False)
    values = tensor_values.encode(photo, tensor, white)
    assert values.dtype == dtype
    clipped = np.clip(photo / 255 * white, *((limit - tensor.zero_points[0]) * scale for limit in (limits.min, limits.max)))
    np.testing.assert_allclose(tensor_values.decode(values, tensor, white), clipped * 255 / white, atol=1.2)


def test_whole_bytes_without_a_scale_are_levels(photo):
    tensor = flatbuffer.Tensor("x", "uint8", [1, -1, -1, 3], np.empty(0), np.empty(0), False)
    assert tensor_values.value_ranges(tensor) == (255,)
    assert tensor_values.encode(photo, tensor, 255) is photo
    assert tensor_values.decode(photo, tensor, 255) is photo


@pytest.mark.parametrize("side", [8, 64])
def test_fixed_sizes_smaller_and_larger_than_the_image(third_party, side):
    image = make_image(33, 50)
    upscaler = load(third_party / f"fixed_{side}.tflite")
    assert upscaler.fixed == (side, side)
    np.testing.assert_allclose(upscaler(image), expected(image), atol=1)


def test_scalars(third_party, photo):
    path = third_party / "scalar.tflite"
    full = flatbuffer.load(path)
    name = next(tensor.name for tensor in (full.tensors[i] for i in full.inputs) if not tensor.shape)
    for given in dict.fromkeys(("depth", name)):
        np.testing.assert_allclose(load(f"{path}@range=1,{given}=0.5")(photo), expected(photo) / 2, atol=1)
    quantized = third_party / "scalar_uint8.tflite"
    np.testing.assert_allclose(load(f"{quantized}@depth=4")(photo), expected(photo), atol=3)
    np.testing.assert_allclose(load(f"{quantized}@depth=2")(photo), expected(photo) / 2, atol=3)


@pytest.mark.parametrize(
    ("dtype", "scale", "text", "value"),
    [("float32", None, "0.3", np.float32(0.3)), ("int32", None, "7", 7), ("bool", None, "1", True), ("int8", 0.5, "-3.2", -6)],
)
def test_scalar_values(dtype, scale, text, value):
    scales, zero_points = (np.empty(0), np.empty(0)) if scale is None else (np.array([scale]), np.zeros(1, int))
    found = tensor_values.scalar(text, flatbuffer.Tensor("d", dtype, [1, 1], scales, zero_points, False))
    assert found.shape == (1, 1)
    assert found.dtype == dtype
    assert found.item() == value


def test_signatures(third_party, photo):
    path = third_party / "signatures.tflite"
    np.testing.assert_allclose(load(f"{path}@signature=dense")(photo), expected(photo, 3), atol=1)
    np.testing.assert_allclose(load(f"{path}@signature=sparse,desired_depth=1")(photo), expected(photo), atol=1)
    np.testing.assert_allclose(load(f"{path}@signature=sparse,desired_depth=0.5,range=1")(photo), expected(photo) / 2, atol=1)
    served = third_party / "served.tflite"
    np.testing.assert_allclose(load(f"{served}@desired_depth=1")(photo), expected(photo), atol=1)
    np.testing.assert_allclose(load(f"{served}@signature=dense")(photo), expected(photo, 3), atol=1)


def test_a_chosen_signature_is_inspected(third_party):
    path = third_party / "signatures.tflite"
    dense, sparse = (compare.inspect(f"{path}@signature={name}") for name in ("dense", "sparse"))
    assert dense["signatures"] == sparse["signatures"] == ["dense", "sparse"]
    assert (dense["signature"], sparse["signature"]) == ("dense", "sparse")
    assert "SCATTER_ND" in sparse["ops"]
    assert "SCATTER_ND" not in dense["ops"]
    assert dense["partitions"] == 1
    assert (len(dense["inputs"]), len(sparse["inputs"])) == (1, 2)
    assert "signatures" not in compare.inspect(third_party / "scalar.tflite")


def test_subgraphs_that_are_called_are_not_moved(third_party, monkeypatch):
    data = (third_party / "signatures.tflite").read_bytes()
    graph = flatbuffer.parse(data, "sparse")
    assert graph.subgraph == 1
    monkeypatch.setattr(flatbuffer, "_called", lambda schema, model: [0])
    with pytest.raises(flatbuffer.TFLiteFileError, match="not supported"):
        flatbuffer.as_first_subgraph(data, graph)


def test_benchmark_takes_signatures_and_scalars(third_party):
    path = third_party / "signatures.tflite"
    models = [f"{path}@signature=sparse,desired_depth=1", f"{path}@signature=dense", third_party / "scalar_uint8.tflite"]
    models[2] = f"{models[2]}@depth=4"
    results = benchmark.benchmark(models, (20, 24), runs=2, warmup=0, layers=True)["results"]
    assert [row["model"] for row in results] == models
    assert results[0]["sha256"] == results[1]["sha256"] == sha256_file(path)
    assert results[0]["size_bytes"] == path.stat().st_size
    assert "SCATTER_ND" in [layer["op"] for layer in results[0]["layers"]]
    assert results[1]["partitions"] == 1


def test_model_strings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a@b=c.tflite").write_bytes(b"")
    assert model_files.split("a@b=c.tflite") == ("a@b=c.tflite", {})
    assert model_files.split("a@b=c.tflite@range=1") == ("a@b=c.tflite", {"range": "1"})
    assert model_files.split("x:uint8@k=v,l=-1e3") == ("x:uint8", {"k": "v", "l": "-1e3"})
    assert model_files.split("bicubic") == ("bicubic", {})
    for bad in ("x@", "x@range", "x@range=", "x@=1", "x@a=1,,b=2", "@range=1"):
        with pytest.raises(UserError, match="KEY=VALUE"):
            model_files.split(bad)
    with pytest.raises(UserError, match="'a' is given twice"):
        model_files.split("x@a=1,a=2")
    with pytest.raises(UserError, match="nosuch: not a file or a zoo name"):
        load("nosuch@range=1")
    for model in ("bicubic@range=1", "xlsr_x3@range=1"):
        with pytest.raises(UserError, match=f"{model}: options after '@' are supported for .tflite, .onnx and .keras files"):
            load(model, 3)
    with pytest.raises(UserError, match="its sidecar says 1"):
        load("xlsr_x3:float32@range=255")


@pytest.mark.parametrize("kind", ["", "_uint8"])
def test_channels_first_gives_the_same_bytes(third_party, photo, kind):
    last, first = (load(third_party / f"{layout}{kind}.tflite") for layout in ("nhwc", "nchw"))
    assert [str(model.io.layout) for model in (last, first)] == ["nhwc", "nchw"]
    assert [model.io.layout.channels for model in (last, first)] == [3, 3]
    np.testing.assert_array_equal(first(photo), last(photo))
    np.testing.assert_allclose(first(photo), expected(photo), atol=1)


@pytest.mark.parametrize(
    ("name", "layout", "range_in", "tolerance"),
    [
        ("luma", "nhwc", 1, 0),
        ("luma_255", "nhwc", 255, 0),
        ("luma_nchw", "nchw", 1, 0),
        ("luma_uint8", "nhwc", 1, 2),
        ("luma_nchw_int8", "nchw", 1, 2),
    ],
)
def test_luma_networks(third_party, photo, capsys, name, layout, range_in, tolerance):
    """The luma is that of the network, nearest-neighbour; in 16..235 a quantized level is 1.16 gray levels."""
    model = load(third_party / f"{name}.tflite")
    assert (str(model.io.layout), model.io.range_in, model.io.order) == (layout, range_in, "y")
    assert capsys.readouterr().err.count("\n") == 1
    gray = np.repeat(photo[..., 1:2], 3, axis=2)
    np.testing.assert_allclose(model(gray), gray.repeat(2, 0).repeat(2, 1).astype(int), atol=tolerance)
    calm = photo // 2 + 64  # nothing clips
    luma = metrics.rgb_to_y(model(calm))
    np.testing.assert_allclose(luma, metrics.rgb_to_y(calm).repeat(2, 0).repeat(2, 1), atol=0.5 + tolerance)


def test_luma_in_both_definitions(third_party, photo):
    """A linear network gives the same image in both."""
    path = third_party / "luma.tflite"
    studio, full = (load(f"{path}@order={order}")(photo).astype(int) for order in ("y", "y_full"))
    np.testing.assert_allclose(studio, full, atol=1 + DARKEST)  # black below DARKEST clips in 0..255 only
    assert studio.min() < full.min() + DARKEST


REFUSED = {
    "two_images": "2 image inputs",
    "two_outputs": "2 image outputs",
    "state": r"input .*: 16 channels; expected \[1, H, W, C\]",
    "nchw@layout=nhwc": r"its input \[1, 3, -1, -1\] does not have layout nhwc",
    "luma@order=rgb": "order=rgb; with one channel use y",
    "luma_out": r"maps 3 channels to 1",
    "batch": "batch of 4",
    "classifier": r"output .* float32 \[1, 3\]: not an image",
    "wrong_size": r"maps 8x8 to \(1, 15, 16, 3\), which is not an integer scale",
    "scalar": "its input 'depth' needs a value; add depth=NUMBER after '@'",
    "scalar@depth=x": "depth: 'x' is not a number",
    "scalar@depth=inf": "depth: 'inf' is not finite",
    "scalar@deep=1,depth=1": "unknown option 'deep'; supported: range, range_in, range_out, order, layout, signature, depth",
    "scalar_uint8@depth=4.1": r"depth: 4.1 is outside 0..4, the range of its uint8",
    "uint8_1@range=255": "the range of this file follows from its quantization",
    "float_1_1@range=2": "range=2; use 1 .* 255 .* or -1",
    "float_1_1@signature=x": "no signature 'x'; it has ",
    "signatures": "choose one of its signatures with @signature=NAME: dense, sparse",
    "signatures@signature=y": "no signature 'y'; it has dense, sparse",
    "signatures@signature=sparse": "its input 'desired_depth' needs a value",
}


@pytest.mark.parametrize("model", REFUSED)
def test_refusals(third_party, model):
    name, at, options = model.partition("@")
    with pytest.raises(UserError, match=REFUSED[model]) as caught:
        load(f"{third_party / name}.tflite{at}{options}")
    assert str(caught.value).startswith(f"{third_party / name}.tflite: ")
    assert "\n" not in str(caught.value)


def test_command_line(run_here, third_party, tmp_path):
    write_image(tmp_path / "in" / "a.png", make_image(40, 44))
    write_image(tmp_path / "a.png", make_image(10, 12))
    sparse = f"{third_party / 'signatures.tflite'}@signature=sparse,desired_depth=1"
    whole, data = f"{third_party / 'float_255_255.tflite'}@range=255", ("--data", tmp_path / "in", "--json", "-")

    def result(*args):
        done = run_here(*args)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert result("evaluate", "--model", sparse, *data)["mean"]["psnr"] > 20
    found = result("compare", "--reference", sparse, "--model", whole, *data)
    assert found["drop_db"] == pytest.approx(0, abs=0.02)
    assert found["reference"]["audit"]["signature"] == "sparse"
    assert result("inspect", "--model", sparse, "--json", "-")["signatures"] == ["dense", "sparse"]
    found = result("benchmark", "--model", sparse, "--height", 9, "--width", 9, "--runs", 1, "--warmup", 0, "--json", "-")
    assert found["results"][0]["model"] == sparse
    done = run_here("upscale", tmp_path / "a.png", "--model", whole, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(read_image(tmp_path / "out" / "a.png"), expected(make_image(10, 12)), atol=1)
    done = run_here("inspect", "--model", sparse)
    assert "  signature sparse of dense, sparse\n" in done.stdout


def test_commands_run_luma_and_channels_first_networks(run_here, third_party, tmp_path):
    """upscale with gray and alpha, evaluate, compare, inspect and benchmark."""
    luma, first, last = (third_party / f"{name}.tflite" for name in ("luma", "nchw", "nhwc"))
    rgba = np.dstack([make_image(40, 44), make_image(40, 44, seed=1)[..., 0]])
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    Image.fromarray(rgba[..., 0]).save(tmp_path / "gray.png")
    for model in (luma, first):
        out = tmp_path / model.stem
        assert run_here("upscale", tmp_path / "rgba.png", tmp_path / "gray.png", "--model", model, "--out", out).returncode == 0
        with Image.open(out / "rgba.png") as large, Image.open(out / "gray.png") as gray:
            assert (large.mode, large.size, gray.mode) == ("RGBA", (88, 80), "L")
            np.testing.assert_array_equal(
                np.asarray(gray), np.maximum(rgba[..., 0], DARKEST * (model == first)).repeat(2, 0).repeat(2, 1)
            )
    write_image(tmp_path / "in" / "a.png", make_image(40, 44))
    data = ("--data", tmp_path / "in", "--json", "-")
    scores = [json.loads(run_here("evaluate", "--model", model, *data).stdout) for model in (luma, first, last)]
    assert scores[0]["mean"]["psnr"] == pytest.approx(scores[1]["mean"]["psnr"], abs=0.1)
    assert scores[1]["mean"] == scores[2]["mean"]
    assert scores[0]["values"]["channels"] == 1
    assert json.loads(run_here("compare", "--reference", last, "--model", first, *data).stdout)["drop_db"] == 0
    for model, said in ((luma, "0..1 in, 0..1 out, Y in 16..235, NHWC, measured"), (first, "RGB, NCHW, measured")):
        assert said in run_here("inspect", "--model", model).stdout
    estimates = [network_facts.inspect(third_party / f"{name}_uint8.tflite")["arm64"] for name in ("nhwc", "nchw")]
    assert len({record["by_operator"]["CONV_2D"] for record in estimates}) == 1
    size = ("--height", 9, "--width", 10, "--runs", 1, "--warmup", 0, "--json", "-")
    rows = json.loads(run_here("benchmark", "--model", luma, "--model", first, *size).stdout)["results"]
    assert [(row["values"]["order"], row["values"]["layout"]) for row in rows] == [("y", "nhwc"), ("rgb", "nchw")]
    assert all(row["latency_ms"]["p50"] > 0 for row in rows)


def test_command_line_refusals(run_here, third_party, tmp_path):
    write_image(tmp_path / "in" / "a.png", make_image(40, 44))
    luma, scalar = third_party / "luma_out.tflite", third_party / "scalar.tflite"
    one_line(run_here("evaluate", "--model", luma, "--data", tmp_path / "in"), luma, "maps 3 channels to 1")
    one_line(run_here("compare", "--reference", scalar, "--model", luma, "--data", tmp_path / "in"), scalar, "depth=NUMBER")
    one_line(run_here("benchmark", "--model", f"{scalar}@deep=2,depth=1"), scalar, "unknown option 'deep'")
    one_line(run_here("inspect", "--model", f"{scalar}@deep=2,depth=1"), scalar, "unknown option 'deep'")
    one_line(run_here("inspect", "--model", "xlsr_x3@range=1"), "xlsr_x3")
