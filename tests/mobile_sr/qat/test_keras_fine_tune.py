"""Fine-tuning in Keras 3: a network with every kind of layer, its export, its ranges and its checkpoints."""

import keras
import numpy as np
import pytest
from keras import layers

from mobile_sr.converters import to_tflite
from mobile_sr.errors import UserError
from mobile_sr.inference import litert
from mobile_sr.inference.model_io import ModelIO
from mobile_sr.models.layers import ClippedReLU, DepthToSpace
from mobile_sr.models.ntire2022.blocks import ResizeLike
from mobile_sr.qat.keras_fine_tune import FineTuning
from mobile_sr.qat.settings import Settings
from mobile_sr.training import dataset
from tests.conftest import make_image


def every_layer(clip=True):
    """A x2 network of every supported kind of layer, with random weights."""
    lr = keras.Input((None, None, 3), name="lr")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(lr)
    y = layers.LeakyReLU(0.1)(layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    z = layers.PReLU(shared_axes=[1, 2])(layers.Dense(8, name="dense")(y))
    low = layers.Conv2D(8, 3, padding="same", activation="silu", name="low")(layers.MaxPooling2D(2)(z))
    low = layers.ReLU()(
        layers.Conv2DTranspose(8, 4, strides=2, padding="same", name="transposed")(layers.AveragePooling2D(1)(low))
    )
    mask = layers.Activation("sigmoid")(layers.Conv2D(8, 1, name="mask")(ResizeLike()([low, z])))
    bent = layers.Conv2D(8, 1, activation="tanh", name="bent")(x)
    x = layers.Concatenate(name="parts")(
        [layers.Multiply(name="masked")([z, mask]), layers.Add(name="sum")([layers.Add(name="half")([x, y]), bent])]
    )
    x = layers.Conv2D(16, 3, padding="same", name="before")(x)
    x = DepthToSpace(2)(layers.Concatenate()([x, x]))
    x = layers.Conv2D(3, 3, padding="same", name="tail")(x)
    model = keras.Model(lr, ClippedReLU()(x) if clip else x)
    rng = np.random.default_rng(7)
    arrays = [rng.normal(0, (1.5 / max(1, np.prod(w.shape[:-1]))) ** 0.5, w.shape) for w in model.get_weights()]
    arrays[-1] = arrays[-1] * 0 + 0.4
    model.set_weights(arrays)
    return model


CALIBRATION = [make_image(32, 32, seed)[None] / np.float32(255) for seed in range(3)]
CALIBRATION += [np.full((1, 32, 32, 3), level, np.float32) for level in (0, 1)]


@pytest.fixture(scope="module")
def images(image_folder, cache):
    return dataset.TrainingImages(image_folder, 2, cache, smallest=16)


def settings(**changes):
    values = {
        "steps": 3,
        "batch": 2,
        "patch": 16,
        "validate_every": 2,
        "validation_images": 1,
        "validation_crop": 24,
        "rate": 1e-3,
        "ranges": "measured",  # as `convert` has them
    }
    return Settings(**{**values, **changes})


def tuning(images, model=None, save=None, **changes):
    model = model or every_layer()
    tuned = FineTuning(model, model.get_weights(), settings(**changes), CALIBRATION)
    history = []
    tuned.run(images, lambda *row: history.append(row), lambda: save and save(tuned))
    return tuned, history


def small():
    """A x2 network of two convolutions, with random weights."""
    lr = keras.Input((None, None, 3), name="lr")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(lr)
    model = keras.Model(lr, DepthToSpace(2, name="sr")(layers.Conv2D(12, 3, padding="same", name="tail")(x)))
    rng = np.random.default_rng(8)
    model.set_weights([rng.normal(0.1, 0.2, w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def tuned(images):
    """A tuning of `every_layer` after three steps, with its history."""
    return tuning(images)


def convert(model, **options):
    return to_tflite.convert(model, "uint8", calibration=CALIBRATION, **options)


def test_every_kind_of_layer_is_trained_and_exported(tuned):
    """After three steps, all weights have changed, and the uint8 file upscales as the fake-quantized network."""
    fine, history = tuned
    assert [row[0] for row in history if row[2] is not None] == [0, 2, 3]
    for before, after, v in zip(every_layer().get_weights(), fine.model.get_weights(), fine.model.variables, strict=True):
        assert np.any(before != after), v.path
    image = make_image(32, 32, 9)
    expected = fine.upscale(image).astype(int)
    actual = litert.TFLiteModel(convert(fine.model)).run(image).astype(int)
    assert expected.std() > 10
    assert np.abs(actual - expected).mean() < 0.6


def test_ranges_are_those_of_the_file(tuned):
    """Every range of the file is one of the fake-quantized network, within the effect of rounded weights."""
    fine, _ = tuned
    graph = litert.parse_graph(convert(fine.model))
    read = {int(index) for op in graph.ops for index in op.inputs}
    tensors = [graph.tensors[index] for index in read]
    images = [t for t in tensors if t.dtype == "int8" and tuple(t.shape)[1:3] == (-1, -1)]
    steps = {float(t.scales[0]) for t in images}
    ours = np.array([(high - low) / 255 for low, high in zip(fine.net.low.numpy(), fine.net.high.numpy(), strict=True)])
    far = [step for step in steps if np.abs(ours / step - 1).min() > 0.03]
    assert len(steps) == 17
    assert far == []


def test_learned_ranges_move_and_keep_their_limits(images):
    start = FineTuning(small(), small().get_weights(), settings(), CALIBRATION)
    fine, _ = tuning(images, small(), ranges="learned", range_rate=0.05)
    assert fine.net.names == ["lr", "first", "tail"]
    assert fine.ranges()["lr"] == fine.ranges()["tail"] == (0, 1)
    low, high = fine.ranges()["first"]
    assert low <= 0 < high != start.ranges()["first"][1]


def test_a_checkpoint_continues_exactly(images):
    saved = []
    whole, _ = tuning(images, small(), save=lambda fine: saved.append(fine.checkpoint()))
    arrays, meta = saved[1]
    assert meta["step"] == 2
    rest = FineTuning(small(), small().get_weights(), settings(), CALIBRATION)
    rest.restore(arrays, meta)
    rest.run(images, lambda *row: None, lambda: None)
    assert rest.best == whole.best
    for a, b in zip(whole.model.get_weights(), rest.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_state_is_used(images):
    """With a rate that spoils the network, the best state is the start."""
    fine, _ = tuning(images, small(), rate=0.5)
    assert fine.best[1] == 0
    fine.use_best()
    for a, b in zip(small().get_weights(), fine.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_network_for_bgr_in_0_to_255():
    """A network whose first and last weights are for another value range and channel order upscales alike."""
    model, other = small(), small()
    first, bias, tail, last = model.get_weights()
    turned = tail.reshape(*tail.shape[:3], 4, 3)[..., ::-1].reshape(tail.shape), last.reshape(4, 3)[:, ::-1].reshape(-1)
    other.set_weights([first[:, :, ::-1] / 255, bias, *(255 * w for w in turned)])
    fine = FineTuning(model, model.get_weights(), settings(), CALIBRATION)
    same = FineTuning(other, other.get_weights(), settings(), CALIBRATION, ModelIO(255, 255, "bgr"))
    image = make_image(20, 24, 3)
    assert np.abs(fine.upscale(image).astype(int) - same.upscale(image)).max() <= 1
    assert fine.upscale(image).std() > 10


def test_an_unsupported_layer_is_one_line():
    lr = keras.Input((None, None, 3))
    model = keras.Model(lr, layers.GaussianNoise(0.1, name="middle")(lr))
    with pytest.raises(UserError, match="^layer middle: QAT does not support GaussianNoise$"):
        FineTuning(model, [], settings(), CALIBRATION)


def test_a_diverging_training_is_one_line(images):
    with pytest.raises(UserError, match=r"no longer finite at step \d; use a lower --rate"):
        tuning(images, small(), rate=1e38, steps=4, validate_every=1)
