"""Bounds of the receptive field, compared with what a network really depends on."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from mobile_sr import zoo
from mobile_sr.converters.formats import to_float_tflite
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import flatbuffer, receptive_field, runtime
from tests.mobile_sr.quantization import foreign_nets

SIDE = 32


def measured(data):
    """LR pixels from a changed pixel to the farthest output pixel that changes, in rows and columns."""
    interpreter = runtime.create_interpreter(data)
    tensor = interpreter.get_input_details()[0]
    channels = tensor["shape"][3]
    interpreter.resize_tensor_input(tensor["index"], (1, SIDE, SIDE, channels))
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    image = rng.random((1, SIDE, SIDE, channels)).astype(np.float32)
    changed = image.copy()
    changed[0, SIDE // 2, SIDE // 2] += 0.5
    outputs = []
    for values in (image, changed):
        interpreter.set_tensor(tensor["index"], values)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    pixels = np.argwhere((outputs[0] != outputs[1]).any(-1)) // (len(outputs[0]) // SIDE)
    return int(np.abs(pixels - SIDE // 2).max())


def random_weights(model):
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(0.1, 0.3, weight.shape) for weight in model.get_weights()])
    return model


def of(body, size=None):
    image = keras.Input((None, None, 3))
    return to_float_tflite(random_weights(keras.Model(image, body(image))), size=size).data


def conv(*args, **kwargs):
    return layers.Conv2D(*args, **{"padding": "same", **kwargs})


NETWORKS = {
    "plain": lambda x: conv(3, 3)(conv(4, 5, activation="relu")(x)),
    "even kernels": lambda x: conv(3, 4)(conv(4, (1, 2))(x)),
    "dilated": lambda x: conv(3, 3, dilation_rate=3)(x),
    "residual": lambda x: conv(3, 1)(layers.concatenate([x, conv(3, 7)(conv(4, 3)(x))])),
    "padded": lambda x: conv(3, 3, padding="valid")(layers.ZeroPadding2D(1)(x)),
    "bilinear": lambda x: conv(3, 5)(layers.UpSampling2D(2, interpolation="bilinear")(conv(3, 3)(x))),
    "transposed": lambda x: layers.Conv2DTranspose(3, 9, strides=3, padding="same")(conv(4, 3)(x)),
    "attention of channels": lambda x: x * ops.sigmoid(ops.mean(conv(3, 3)(x), axis=3, keepdims=True)),
}


FIXED = ("dilated", "bilinear")  # with a dynamic size, Keras's layers become other operators or do not convert


@pytest.mark.parametrize("name", NETWORKS)
def test_the_bound_is_what_an_output_pixel_depends_on(name):
    data = of(NETWORKS[name], (SIDE, SIDE) if name in FIXED else None)
    assert receptive_field.upper_bound(FloatGraph(data)) == measured(data)
    assert receptive_field.lower_bound(flatbuffer.parse(data)) <= measured(data)


def test_the_bound_behind_two_enlargements():
    """The farthest dependencies of both do not meet in one pixel."""
    data = of(
        lambda x: layers.Conv2DTranspose(3, 4, strides=2, padding="same")(
            layers.Conv2DTranspose(3, 3, strides=2, padding="same")(x)
        )
    )
    assert (receptive_field.upper_bound(FloatGraph(data)), measured(data)) == (2, 1)


@pytest.mark.parametrize(("name", "field"), [("xlsr_x3", 5), ("fsrcnn_x3", 7), ("abpn_x3", 7), ("fgnas_x2", 19)])
def test_packaged_networks(name, field):
    graph = FloatGraph((zoo.FOLDER / f"{name}_float32.tflite").read_bytes())
    assert receptive_field.upper_bound(graph) == field


@pytest.mark.parametrize(
    "body",
    [
        lambda x: x * layers.GlobalAveragePooling2D(keepdims=True)(x),
        lambda x: layers.UpSampling2D(2)(conv(3, 3, strides=2)(x)),
        lambda x: layers.UpSampling2D(2)(layers.AveragePooling2D(2)(x)),
    ],
    ids=["global", "strided", "pooled"],
)
def test_networks_without_a_bound(body):
    assert receptive_field.upper_bound(FloatGraph(of(body, (32, 32)))) is None


def test_a_position_dependent_network():
    image = keras.Input((8, 8, 3))
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1)
    assert receptive_field.upper_bound(FloatGraph(to_float_tflite(keras.Model(image, image + ramp)).data)) is None


def test_a_foreign_network():
    assert receptive_field.upper_bound(FloatGraph(to_float_tflite(foreign_nets.functional()).data)) == 2
