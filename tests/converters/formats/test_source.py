"""Networks of every format become float .tflite files; what cannot is refused in one line."""

import collections

import keras
import numpy as np
import pytest
from keras import layers

from mobile_sr import zoo
from mobile_sr.converters.formats import FormatError, to_float_tflite, verification
from mobile_sr.converters.tflite import flatbuffer
from tests.converters.formats.onnx_nets import floats, ints, node, save, two_convolutions


def ops(model):
    """{operator: count} of a FloatModel, and the shapes of its ends."""
    graph = flatbuffer.parse(model.data)
    ends = [graph.tensors[graph.inputs[0]].shape, graph.tensors[graph.outputs[0]].shape]
    return dict(collections.Counter(op.name for op in graph.ops)), *ends


def functional(size=(None, None)):
    """Input and 12 channels of conv-PReLU-conv with random slopes."""
    image = keras.Input((*size, 3))
    slopes = keras.initializers.RandomUniform(0.1, 0.4, seed=1)
    x = layers.PReLU(slopes, shared_axes=[1, 2])(layers.Conv2D(8, 3, padding="same")(image))
    return image, layers.Conv2D(12, 3, padding="same", bias_initializer=slopes)(x)


@pytest.fixture(scope="module")
def shuffled():
    """A network of fixed size whose pixel shuffle is a Reshape, a Permute and a Reshape of rank 6."""
    image, x = functional((20, 24))
    x = layers.Permute((1, 4, 2, 5, 3))(layers.Reshape((20, 24, 3, 2, 2))(x))
    return keras.Model(image, layers.Reshape((40, 48, 3))(x), name="shuffled")


class Subclassed(keras.Model):
    """Has no inputs before its first call."""

    def __init__(self):
        super().__init__()
        self.first = layers.Conv2D(8, 3, padding="same", activation="relu")
        self.last = layers.Conv2D(12, 3, padding="same")

    def call(self, x):
        x = self.last(self.first(x))
        rows = keras.ops.concatenate([x[..., :6], x[..., 6:]], axis=2)  # any code
        return keras.ops.repeat(rows[..., :3], 2, axis=1)


class Code(keras.Model):
    """A subclassed network with TensorFlow's own operator."""

    def __init__(self):
        super().__init__()
        self.body = layers.Conv2D(12, 3, padding="same")

    def call(self, x):
        import tensorflow as tf

        return tf.nn.depth_to_space(self.body(x), 2)


SHUFFLED = {"CONV_2D": 2, "PRELU": 1, "DEPTH_TO_SPACE": 1}


def test_keras_with_a_pixel_shuffle_of_its_own(shuffled):
    model = to_float_tflite(shuffled)
    assert ops(model) == (SHUFFLED, [1, 20, 24, 3], [1, 40, 48, 3])
    assert (model.name, model.origin, model.size, model.channels, model.scale) == ("shuffled", "keras", (20, 24), 3, 2)
    assert model.notes == [
        "fixed input size 24x20",
        "1 chain of RESHAPE and TRANSPOSE replaced by pixel shuffles",
        "1 reordering of channels folded into convolutions",
    ]


def test_keras_files(shuffled, tmp_path):
    for suffix in ("keras", "h5"):
        shuffled.save(tmp_path / f"net.{suffix}")
        model = to_float_tflite(tmp_path / f"net.{suffix}")
        assert (ops(model)[0], model.name) == (SHUFFLED, "net")
    with pytest.raises(FormatError, match="has the fixed input size 24x20; --height 30 --width 30 does not fit"):
        to_float_tflite(tmp_path / "net.h5", size=(30, 30))


def test_subclassed_networks():
    model = to_float_tflite(Code())
    assert ops(model) == ({"CONV_2D": 1, "DEPTH_TO_SPACE": 1}, [1, -1, -1, 3], [1, -1, -1, 3])
    assert model.notes == ["input of 3 channels, found by calling the model on [1, 48, 64, 3]"]
    assert to_float_tflite(Subclassed(), size=(16, 20)).scale == 2


def test_a_subclassed_network_of_one_channel():
    net = Code()
    net.body = layers.Conv2D(4, 3, padding="same")
    net(np.zeros((1, 8, 8, 1)))
    assert ops(to_float_tflite(net, size=(8, 12)))[1:] == ([1, 8, 12, 1], [1, 16, 24, 1])


def test_saved_models(tmp_path):
    image, x = functional()
    keras.Model(image, layers.Conv2DTranspose(3, 4, strides=2, padding="same")(x)).export(tmp_path / "saved", verbose=False)
    model = to_float_tflite(tmp_path / "saved")
    assert ops(model)[0]["TRANSPOSE_CONV"] == 1
    assert (model.origin, model.scale, model.size) == ("saved_model", 2, None)
    assert ops(to_float_tflite(tmp_path / "saved", size=(20, 24)))[1] == [1, 20, 24, 3]


def test_a_saved_model_that_reads_files(tmp_path):
    import tensorflow as tf

    module = tf.Module()
    secret = tmp_path / "secret"
    secret.write_text("0")

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3))])
    def run(x):
        return x + tf.strings.to_number(tf.io.read_file(str(secret)))

    module.run = run
    tf.saved_model.save(module, str(tmp_path / "net"), signatures=run)
    with pytest.raises(FormatError, match="its operator ReadFile reaches outside of the network; refused"):
        to_float_tflite(tmp_path / "net")


def test_fsrcnn_of_one_channel(tmp_path):
    image = keras.Input((None, None, 1))
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(6, 5, padding="same")(image))
    model = to_float_tflite(keras.Model(image, layers.Conv2DTranspose(1, 9, strides=3, padding="same")(x)))
    assert (model.channels, model.scale) == (1, 3)
    file = tmp_path / "fsrcnn.tflite"
    file.write_bytes(model.data)
    fixed = to_float_tflite(file, size=(20, 24))  # the shape arithmetic is gone
    assert ops(fixed) == ({"CONV_2D": 1, "PRELU": 1, "TRANSPOSE_CONV": 1}, [1, 20, 24, 1], [1, 60, 72, 1])


def test_tflite_files_pass_unchanged():
    source = zoo.FOLDER / "xlsr_x3_float32.tflite"
    model = to_float_tflite(source)
    assert model.data == source.read_bytes()
    assert (model.name, model.origin, model.scale, model.notes) == ("xlsr_x3_float32", "tflite", 3, [])


def test_channels_first_ends_of_a_tflite(tmp_path):
    """[1, 3, H, W] at both ends becomes NHWC; the global skip in NCHW moves with it."""
    import tensorflow as tf

    image = keras.Input((3, 20, 24), batch_size=1)
    x = layers.Permute((2, 3, 1))(image)
    x = layers.Conv2D(3, 3, padding="same", bias_initializer="ones")(x)
    net = keras.Model(image, layers.Permute((3, 1, 2))(x) * keras.ops.reshape([1.0, 2.0, 3.0], (3, 1, 1)) + image)
    data = tf.lite.TFLiteConverter.from_keras_model(net).convert()
    assert [op.name for op in flatbuffer.parse(data).ops].count("TRANSPOSE") == 2
    (tmp_path / "first.tflite").write_bytes(data)
    found, image_shape, sr_shape = ops(to_float_tflite(tmp_path / "first.tflite"))
    assert (image_shape, sr_shape) == ([1, 20, 24, 3], [1, 20, 24, 3])
    assert "TRANSPOSE" not in found


def test_onnx_with_depth_to_space_crd(tmp_path):
    nodes, weights = two_convolutions(node("DepthToSpace", ["c"], ["y"], blocksize=2, mode="CRD"))
    file = save(tmp_path / "net.onnx", nodes, weights, ["n", 3, "h", "w"])
    model = to_float_tflite(file)
    assert ops(model) == ({"CONV_2D": 2, "DEPTH_TO_SPACE": 1}, [1, -1, -1, 3], [1, -1, -1, 3])
    assert model.notes == [
        "channels first: the .tflite is channels last (NHWC)",
        "1 reordering of channels folded into convolutions",
    ]
    assert ops(to_float_tflite(file, size=(20, 24)))[1] == [1, 20, 24, 3]


def test_onnx_with_a_reshape_pixel_shuffle_and_repeated_channels(tmp_path):
    """PyTorch's ABPN: an anchor of repeated channels, and PixelShuffle as Reshape, Transpose, Reshape."""
    nodes, weights = two_convolutions(
        node("Unsqueeze", ["x", "two"], ["u"]),
        node("Expand", ["u", "five"], ["e"]),
        node("Reshape", ["e", "twelve"], ["anchor"]),
        node("Add", ["c", "anchor"], ["sum"]),
        node("Reshape", ["sum", "six"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 1, 4, 2, 5, 3]),
        node("Reshape", ["b", "sr"], ["d"]),
        node("Clip", ["d", "zero", "one"], ["y"]),
    )
    weights |= {"two": ints(2), "five": ints(1, 3, 4, 20, 24), "twelve": ints(1, 12, 20, 24), "six": ints(1, 3, 2, 2, 20, 24)}
    weights |= {"sr": ints(1, 3, 40, 48), "zero": np.float32(0), "one": np.float32(1)}
    found, image_shape, sr_shape = ops(to_float_tflite(save(tmp_path / "net.onnx", nodes, weights, [1, 3, 20, 24])))
    assert (image_shape, sr_shape) == ([1, 20, 24, 3], [1, 40, 48, 3])
    assert not {"TRANSPOSE", "RESHAPE", "GATHER"} & found.keys()
    assert found["DEPTH_TO_SPACE"] == found["CONCATENATION"] == 1


def test_onnx_channels_last(tmp_path):
    """A file of tf2onnx, NHWC at its ends, keeps no transposition."""
    nodes = [
        node("Transpose", ["x"], ["a"], perm=[0, 3, 1, 2]),
        node("Conv", ["a", "w"], ["b"], pads=[1, 1, 1, 1]),
        node("Transpose", ["b"], ["y"], perm=[0, 2, 3, 1]),
    ]
    model = to_float_tflite(save(tmp_path / "net.onnx", nodes, {"w": floats(3, 3, 3, 3)}, [1, None, None, 3]))
    assert ops(model)[0] == {"CONV_2D": 1}


def test_user_code(tmp_path):
    file = tmp_path / "my_net.py"
    file.write_text(
        "import keras\n"
        "def net():\n"
        "    image = keras.Input((None, None, 3))\n"
        "    return keras.Model(image, keras.layers.Conv2D(3, 3, padding='same')(image))\n"
        "def broken():\n    raise RuntimeError('no weights\\nhere')\n"
        "def number():\n    return 3\n"
        "value = 5\n"
    )
    assert to_float_tflite(f"{file}:net").name == "my_net_net"
    for function, reason in {
        "broken": r"^my_net.py:6: RuntimeError: no weights here$",
        "number": "my_net_number: is a int; expected a Keras model, a torch.nn.Module or a path",
        "value": "my_net.py has no function value; it has net, broken, number",
        "numbr": r"my_net.py has no function numbr; did you mean number\?",
    }.items():
        with pytest.raises(FormatError, match=reason):
            to_float_tflite(f"{file}:{function}")
    with pytest.raises(FormatError, match="name the function that returns the network"):
        to_float_tflite(file)


def test_user_code_runs_only_when_it_is_named(tmp_path):
    (tmp_path / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(FormatError, match="unknown format '.py'"):
        to_float_tflite(tmp_path / "evil.py")
    with pytest.raises(FormatError, match="^evil.py:1: SystemExit: ran$"):
        to_float_tflite(f"{tmp_path / 'evil.py'}:net")


def test_lambda_layers_do_not_run(tmp_path):
    net = keras.Sequential([keras.Input((8, 8, 3)), layers.Lambda(lambda x: x)])
    for suffix in ("keras", "h5"):
        net.save(tmp_path / f"net.{suffix}")
        with pytest.raises(FormatError, match=r"not usable as a Keras model \(.*(Lambda|lambda)"):
            to_float_tflite(tmp_path / f"net.{suffix}")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.keras", b"PK\3\4 damaged", "not usable as a Keras model"),
        ("a.h5", b"\x89HDF\r\n\x1a\n damaged", "not usable as a Keras model"),
        ("a.onnx", b"\x08\x01 damaged", "damaged ONNX file"),
        ("a.tflite", b"\x20\0\0\0TFL3 damaged", "damaged .tflite file"),
        ("a.pth", b"", "PyTorch weights have no network: give a module.py:function that loads them"),
        ("a.zip", b"", "unknown format '.zip'; accepted are .keras, .h5"),
    ],
)
def test_unusable_files(name, content, reason, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=reason) as caught:
        to_float_tflite(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_other_refusals(tmp_path):
    with pytest.raises(FormatError, match="xlsr_x3_uint8.tflite: already quantized .tensor .* is uint8.; start from the float"):
        to_float_tflite(zoo.FOLDER / "xlsr_x3_uint8.tflite")
    with pytest.raises(FormatError, match="missing.onnx: no such file"):
        to_float_tflite("missing.onnx")
    with pytest.raises(FormatError, match="not a SavedModel folder"):
        to_float_tflite(tmp_path)
    with pytest.raises(FormatError, match="--height 0 --width 8: both must be at least 1"):
        to_float_tflite("missing.onnx", size=(0, 8))
    nodes, weights = two_convolutions(
        node("ThresholdedRelu", ["c"], ["t"], name="odd"), node("DepthToSpace", ["t"], ["y"], blocksize=2)
    )
    with pytest.raises(FormatError, match="operator ThresholdedRelu .node odd. is not supported"):
        to_float_tflite(save(tmp_path / "net.onnx", nodes, weights, [1, 3, 8, 8]))


def test_a_conversion_that_differs_is_refused(monkeypatch):
    run = verification.run
    monkeypatch.setattr(verification, "run", lambda data, lr, name: run(data, lr, name) * 1.001)
    with pytest.raises(FormatError, match="differs from the original by 0.001 of the output's range .* limit is 0.0001"):
        to_float_tflite(Code(), size=(8, 8))
