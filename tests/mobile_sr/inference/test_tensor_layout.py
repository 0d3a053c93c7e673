"""NCHW and one-channel networks: what their shapes say, and that they give the images of their NHWC and RGB copies."""

import json

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.files import sha256_file
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference import tensor_layout
from mobile_sr.inference.sidecar import Sidecar
from mobile_sr.inference.tensor_layout import TensorLayout
from mobile_sr.inference.upscaler import load, of_keras_model
from tests.conftest import make_image

ANY = {"nhwc": {c: (1, "h", "w", c) for c in (1, 3)}, "nchw": {c: (1, c, "h", "w") for c in (1, 3)}}


@pytest.mark.parametrize(
    ("input_shape", "output_shape", "layouts"),
    [
        ([1, -1, -1, 3], [1, -1, -1, 3], ["3 nhwc"]),
        ([1, 3, -1, -1], [1, 3, -1, -1], ["3 nchw"]),
        (["n", 1, "h", "w"], [None] * 4, ["1 nchw", "1 nchw in, nhwc out"]),
        ([1, 3, 8, 8], [1, 16, 16, 3], ["3 nchw in, nhwc out"]),
        ([1, 8, 8, 1], [1, 16, 16, 1], ["1 nhwc"]),
        ([1, 3, 8, 3], [1, 6, 16, 3], ["3 nhwc"]),  # the output decides
        ([1, 3, 8, 3], [1, 3, 16, 6], ["3 nchw"]),
        ([1, 1, 4, 3], [1, 2, 8, 3], ["3 nhwc"]),
        ([1, 1, 4, 3], [1, 1, 8, 6], ["1 nchw"]),
        ([1, 3, 3, 3], [1, 3, 3, 3], ["3 nhwc", "3 nchw", "3 nhwc in, nchw out", "3 nchw in, nhwc out"]),
    ],
)
def test_shapes(input_shape, output_shape, layouts):
    assert [f"{x.channels} {x}" for x in tensor_layout.find(input_shape, output_shape)] == layouts


def test_unknown_shapes_leave_everything_to_a_run():
    assert [f"{x.channels} {x}" for x in tensor_layout.find(None, None) if x.input == x.output] == [
        "3 nhwc",
        "3 nchw",
        "1 nhwc",
        "1 nchw",
    ]


def test_given_values_decide_and_contradictions_are_named():
    cube = [1, 3, 3, 3]
    assert str(tensor_layout.find(cube, cube, "nchw")[0]) == "nchw"
    assert tensor_layout.find([1, 1, 3, 3], [1, 1, 3, 3], None, 1)[0] == TensorLayout(1, "nchw", "nchw")
    for shapes, asked, said in (
        (([1, 8, 8, 3], [1, 8, 8, 3]), ("nchw", None), r"its input \[1, 8, 8, 3\] does not have layout nchw"),
        (([1, 8, 8, 3], [1, 8, 8, 3]), (None, 1), "does not have 1 channel"),
        (([1, 8, 8, 3], [1, 8, 8, 1]), (None, None), r"maps 3 channels to 1"),
        (([1, 8, 8, 16], [1, 8, 8, 3]), (None, None), "16 channels; expected"),
        (([8, 8, 3], [1, 8, 8, 3]), (None, None), "not an image"),
    ):
        with pytest.raises(tensor_layout.LayoutError, match=said):
            tensor_layout.find(*shapes, *asked)


def test_the_option_and_the_sidecar():
    options = {"layout": "nchw", "range": "1"}
    assert tensor_layout.given("net", options, Sidecar(channels=1)) == ("nchw", 1)
    assert options == {"range": "1"}
    assert tensor_layout.given("net", {}, Sidecar(layout="nhwc")) == ("nhwc", None)
    for layout, said in (("hwc", "layout=hwc; use nhwc or nchw"), ("nchw", "layout=nchw, but its sidecar says nhwc")):
        with pytest.raises(UserError, match=said):
            tensor_layout.given("net", {"layout": layout}, Sidecar(layout="nhwc"))


def test_tensors_and_images_of_each_layout():
    image = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    for layout, shape in ((TensorLayout(), (1, 2, 5, 3)), (TensorLayout(3, "nchw", "nchw"), (1, 3, 2, 5))):
        tensor = layout.to_input(image)
        assert tensor.shape == layout.input_shape((2, 5)) == shape
        assert layout.input_size(shape) == (2, 5)
        np.testing.assert_array_equal(layout.from_output(tensor), image)
        assert layout.scale((1, 2), shape) == 0  # 5 is not 2 times a whole number
        assert layout.scale((2, 5), shape) == 1
    assert TensorLayout().scale((2, 2), (1, 6, 6, 3)) == 3
    assert TensorLayout().scale((2, 2), (1, 6, 4, 3)) == 0
    assert TensorLayout().scale((2, 2), (1, 6, 6, 1)) == 0
    assert TensorLayout().input_size((1, 0, 8, 3)) is None


def test_dynamic_sides_are_filled_in():
    assert tensor_layout.with_sides([1, -1, -1, 3], (4, 5)) == [1, 4, 5, 3]
    assert tensor_layout.with_sides([1, 3, -1, -1], (4, 5)) == [1, 3, 4, 5]
    assert tensor_layout.with_sides([-1, 1, -1, 7], (4, 5)) == [1, 1, 4, 7]
    assert tensor_layout.with_sides([-1, -1, -1, -1], (4, 5)) == [1, 4, 5, 3]
    assert tensor_layout.with_sides([1, -1, -1, 16], (4, 5)) == [1, 4, 5, 16]


def bicubic_onnx(path, shape, scale=2, first=True, filters=None):
    """An ONNX file that upscales by MATLAB's bicubic, without rounding, behind a 1x1 convolution where there are `filters`.

    With `first` its tensors have channels first.
    """
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    node, names = helper.make_node, iter("abcd")
    arrays = [numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "s")]
    nodes, last = [], "x"
    if not first:  # ONNX Runtime's cubic interpolation needs channels first
        nodes.append(node("Transpose", [last], [last := next(names)], perm=[0, 3, 1, 2]))
    if filters is not None:
        arrays.append(numpy_helper.from_array(filters, "k"))
        nodes.append(node("Conv", [last, "k"], [last := next(names)]))
    cubic = {"mode": "cubic", "cubic_coeff_a": -0.5, "coordinate_transformation_mode": "half_pixel"}
    nodes.append(node("Resize", [last, "", "s"], [last := next(names)], **cubic))
    nodes.append(node("Identity", [last], ["y"]) if first else node("Transpose", [last], ["y"], perm=[0, 2, 3, 1]))
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sides) for name, sides in (("x", shape), ("y", [None] * 4))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], arrays)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)
    return path


@pytest.mark.parametrize("order", ["y", "y_full"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_bicubic_y_network_gives_the_bicubic_image(tmp_path, capsys, photo, order, layout, scale):
    path = bicubic_onnx(tmp_path / "net.onnx", ANY[layout][1], scale, layout == "nchw")
    model = load(f"{path}@order={order}")
    assert (model.scale, model.io.order, str(model.io.layout)) == (scale, order, layout)
    assert capsys.readouterr().err == ""
    np.testing.assert_allclose(model(photo).astype(int), imresize(photo, scale), atol=1)
    gray = np.repeat(photo[..., :1], 3, axis=2)
    np.testing.assert_allclose(model(gray).astype(int), imresize(gray, scale), atol=1)
    assert (np.ptp(model(gray), axis=2) == 0).all()


def test_y_in_16_to_235_is_assumed_and_said(tmp_path, capsys, photo):
    path = bicubic_onnx(tmp_path / "net.onnx", ANY["nchw"][1])
    model = load(path)
    said = capsys.readouterr().err
    assert said.startswith(f"note: {path}: 0..1 in, 0..1 out, Y in 16..235: assumed")
    assert "@order=y|y_full" in said
    assert said.count("\n") == 1
    assert model.io.facts() == {
        "range_in": [0, 1],
        "range_out": [0, 1],
        "order": "y",
        "layout": "nchw",
        "channels": 1,
        "measured": True,
    }
    np.testing.assert_array_equal(model(photo), load(f"{path}@order=y")(photo))


@pytest.mark.parametrize("channels", [1, 3])
def test_both_layouts_give_the_same_bytes(tmp_path, photo, channels):
    first, last = (bicubic_onnx(tmp_path / f"{x}.onnx", ANY[x][channels], 2, x == "nchw") for x in ("nchw", "nhwc"))
    np.testing.assert_array_equal(load(first, check=False)(photo), load(last, check=False)(photo))
    assert load(first, check=False).io.layout.channels == channels


@pytest.mark.parametrize("channels", [1, 3])
def test_dynamic_channels_are_found_by_running(tmp_path, photo, channels):
    """PyTorch's exporter can name all four axes."""
    filters = np.eye(channels, dtype=np.float32)[:, :, None, None]
    found = load(bicubic_onnx(tmp_path / "net.onnx", ("n", "c", "h", "w"), filters=filters), check=False)
    assert (found.io.layout, found.scale) == (TensorLayout(channels, "nchw", "nchw"), 2)
    np.testing.assert_allclose(found(photo).astype(int), imresize(photo, 2), atol=1)


def test_an_ambiguous_cube_follows_the_option(tmp_path):
    """[1, 3, 3, 3] at scale 1: only the option can tell rows from channels."""
    path = bicubic_onnx(tmp_path / "net.onnx", (1, 3, 3, 3), 1)
    assert str(load(path, check=False).io.layout) == "nhwc"
    assert str(load(f"{path}@layout=nchw", check=False).io.layout) == "nchw"
    with pytest.raises(UserError, match="layout=chw; use nhwc or nchw"):
        load(f"{path}@layout=chw")


def test_tiles_of_a_y_network_have_no_seams(tmp_path):
    """Cb and Cr reach 2 pixels, also where the sidecar records less for the network."""
    image = make_image(60, 75)
    path = bicubic_onnx(tmp_path / "net.onnx", ANY["nchw"][1])
    (tmp_path / "net.json").write_text(json.dumps({"sha256": sha256_file(path), "receptive_field": 1, "order": "y"}))
    model = load(path)
    assert model.receptive_field == 2
    np.testing.assert_array_equal(model(image, tile=16), model(image, tile=0))


def test_fixed_sizes_of_a_y_network(tmp_path):
    """A small image is padded, a large one is cut into tiles."""
    path = bicubic_onnx(tmp_path / "net.onnx", (1, 1, 24, 32))
    model = load(path, check=False)
    assert model.fixed == (24, 32)
    for size in ((10, 12), (24, 32), (61, 70)):
        image = make_image(*size)
        np.testing.assert_allclose(model(image).astype(int), imresize(image, 2), atol=1)


def test_the_sidecar_decides(tmp_path, capsys):
    path = bicubic_onnx(tmp_path / "net.onnx", (1, 3, 3, 3), 1)
    record = {"sha256": sha256_file(path), "layout": "nchw", "channels": 3, "value_range": [0, 255], "order": "bgr"}
    (tmp_path / "net.json").write_text(json.dumps(record))
    model = load(path, check=False)
    assert (str(model.io.layout), model.io.range_in, model.io.order, model.io.measured) == ("nchw", 255, "bgr", False)
    for option, said in (("order=rgb", "its sidecar says bgr"), ("layout=nhwc", "its sidecar says nchw")):
        with pytest.raises(UserError, match=said):
            load(f"{path}@{option}")
    (tmp_path / "net.json").write_text(json.dumps({**record, "channels": 1, "order": "y"}))
    with pytest.raises(UserError, match="does not have layout nchw and 1 channel"):
        load(path)


def test_orders_fit_the_channels(tmp_path):
    for channels, order, said in ((1, "bgr", "order=bgr; with one channel use y"), (3, "y", "order=y; use rgb or bgr")):
        path = bicubic_onnx(tmp_path / f"{channels}.onnx", ANY["nchw"][channels])
        with pytest.raises(UserError, match=said):
            load(f"{path}@order={order}")


def test_a_flat_y_is_told(tmp_path, capsys):
    """Its Cb and Cr are not flat, but the network is useless all the same."""
    load(bicubic_onnx(tmp_path / "net.onnx", ANY["nchw"][1], filters=np.zeros((1, 1, 1, 1), np.float32)))
    assert "its output is one flat colour" in capsys.readouterr().err


def test_keras_y_networks(tmp_path, photo):
    import keras

    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.UpSampling2D(2)])
    model.save(tmp_path / "net.keras")
    results = [load(f"{tmp_path / 'net.keras'}@order=y", check=False), of_keras_model(model, 2)]
    for result in results:
        assert (result.io.order, result.io.layout.channels) == ("y", 1)
    np.testing.assert_array_equal(results[0](photo), results[1](photo))
    with pytest.raises(UserError, match="unknown option 'depth'"):
        load(f"{tmp_path / 'net.keras'}@depth=1")
