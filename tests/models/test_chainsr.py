"""ChainSR: shape, parameters, the long skip, one delegate partition in uint8, and the costs in its docstring."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.tflite import delegates, flatbuffer
from mobile_sr.inference import litert, weights
from mobile_sr.models import chainsr
from mobile_sr.models.nas import fgnas_costs
from mobile_sr.quantization.export import export
from mobile_sr.training.recipes.chainsr import SIZES

SMALL = {"network": "chainsr", "scale": 2, "channels": 4, "layers": 2}


def instructions(channels, layers, scale):
    """Instructions per LR pixel of the uint8 file, by the counts of single operators."""
    outputs = 3.0 * scale**2
    chain = [("conv3x3", float(channels), float(channels))] * layers
    ends = [("conv3x3", 3.0, float(channels)), ("conv3x3", float(channels), outputs)]
    others = [("add", float(channels), float(channels)), ("depth_to_space", outputs, outputs)]
    return float(fgnas_costs.Cost("arm64").total([*ends, *chain, *others]))


@pytest.mark.parametrize(("scale", "parameters"), [(2, 30_028), (3, 32_203), (4, 35_248)])
def test_parameters_and_shapes(scale, parameters):
    model = models.build({"network": "chainsr", "scale": scale})
    assert model.count_params() == parameters
    assert tuple(model(np.zeros((2, 5, 7, 3), np.float32)).shape) == (2, 5 * scale, 7 * scale, 3)
    assert models.receptive_field({"network": "chainsr", "scale": scale}) == 14


def test_the_long_skip_adds_the_first_features():
    model = models.build(SMALL)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    conv2 = model.get_layer("conv2")
    x = rng.random((1, 6, 7, 3)).astype(np.float32)
    names = ("head", "conv2", "skip")
    head, body, total = (keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer(n).output)(x)) for n in names)
    np.testing.assert_array_equal(total, head + body)
    assert np.abs(body).max() > 0.01
    conv2.set_weights([np.zeros(w.shape) for w in conv2.get_weights()])
    np.testing.assert_array_equal(keras.Model(model.input, model.get_layer("skip").output)(x), head)


@pytest.mark.parametrize("shared", [True, False], ids=["shared layers", "layers of their own"])
def test_an_exit_is_a_network_of_fewer_layers(shared):
    config = {**SMALL, "layers": 4, "exits": [1, 3], "shared_layers": shared}
    model = models.build(config)
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    assert models.exits(config) == (1, 3, 4)
    assert (models.exits(SMALL), models.receptive_field(config)) == ((), 6)
    x = rng.random((1, 6, 7, 3)).astype(np.float32)
    sr, images = (keras.ops.convert_to_numpy(y) for y in model(x))
    np.testing.assert_array_equal(images[..., 6:], sr)
    parts = models.split_exits(model, config)
    for index, (layers, (net, own)) in enumerate(zip((1, 3, 4), parts, strict=True)):
        assert own == {**SMALL, "output_activation": "clipped_relu", "layers": layers}
        assert net.count_params() == models.build({**SMALL, "layers": layers}).count_params()
        np.testing.assert_array_equal(net(x), images[..., 3 * index : 3 * index + 3])
    assert shared or model.count_params() == sum(net.count_params() for net, _ in parts)
    for exits in ([3, 1], [4], [0], [2, 2]):
        with pytest.raises(ValueError, match=r"exits must be ascending numbers from 1 to 3, got \["):
            models.build({**config, "exits": exits})


def test_exits_of_layers_with_different_widths():
    channels = models.complete(SMALL)["channels"]
    config = {**SMALL, "layers": 3, "widths": [5, channels, channels], "exits": [2]}
    parts = models.split_exits(models.build(config), config)
    assert [own["widths"] for _, own in parts] == [[5, channels], [5, channels, channels]]
    with pytest.raises(ValueError, match=f"exits must follow layers of {channels} channels, got exits .1. and widths .5,"):
        models.build({**config, "exits": [1]})


def test_output_activation():
    clipped, linear = (models.build({**SMALL, "output_activation": end}) for end in ("clipped_relu", "linear"))
    linear.set_weights([w * 4 for w in clipped.get_weights()])
    clipped.set_weights(linear.get_weights())
    x = np.random.default_rng(0).random((1, 8, 8, 3)).astype(np.float32)
    expected = keras.ops.convert_to_numpy(linear(x))
    assert expected.max() > 1
    np.testing.assert_allclose(clipped(x), np.clip(expected, 0, 1), atol=1e-6)
    with pytest.raises(ValueError, match="output_activation"):
        models.build({**SMALL, "output_activation": "tanh"})


def test_the_uint8_file_is_one_partition_for_gpu_nnapi_and_qualcomm(tmp_path):
    keras.utils.set_random_seed(0)
    config = {**SMALL, "output_activation": "clipped_relu"}
    weights.save_model(tmp_path / "net.npz", models.build(config), config)
    (file,) = export(tmp_path / "net.npz", tmp_path, ["uint8"], size=(16, 24), methods=(), log=lambda line: None)
    assert litert.delegate_partitions(file.read_bytes(), file) == 1
    refused = delegates.refused(flatbuffer.load(file))
    assert {row["op"] for rows in refused.values() for row in rows} == {"DEPTH_TO_SPACE"}
    assert {name for name, rows in refused.items() if not rows} >= {"gpu", "nnapi", "qualcomm"}


def test_the_docstring_gives_the_instructions_of_every_size():
    """Rounded to tens. 2,191, 2,987 and 4,050 are counts of whole x3 files."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in chainsr.__doc__.splitlines() if line.startswith("|")]
    table = {name: [int(cell.replace(",", "")) for cell in cells] for name, *cells in rows[2:]}
    assert table.keys() == SIZES.keys()
    for name, (channels, layers, *costs) in table.items():
        assert SIZES[name] == {"channels": channels, "layers": layers}
        assert costs == [round(instructions(channels, layers, scale), -1) for scale in (2, 3, 4)]
    for name, counted, budget in (("s", 2191, 2200), ("sp", 2987, 3150), ("m", 4050, 4480)):
        assert instructions(**SIZES[name], scale=3) == pytest.approx(counted, rel=0.005)
        assert counted < budget
    assert table["l"][3] < 9000
    assert instructions(16, 12, 2) < 3985 < instructions(16, 13, 2)  # XLSR x2
    for channels, layers, cost in ((16, 13, 4300), (16, 30, 8810), (24, 10, 8330), (28, 9, 8730), (48, 3, 7410)):
        assert f"{cost:,}" in chainsr.__doc__
        assert round(instructions(channels, layers, 3), -1) == cost


def test_layers_of_different_widths():
    """The kernels of a network with 6 channels around the chain, and 3 and 6 inside."""
    model = models.build({**SMALL, "channels": 6, "widths": [3, 6]})
    kernels = {v.path: tuple(v.shape) for v in model.variables if v.path.endswith("kernel")}
    assert kernels == {
        "head/kernel": (3, 3, 3, 6),
        "conv1/kernel": (3, 3, 6, 3),
        "conv2/kernel": (3, 3, 3, 6),
        "tail/kernel": (3, 3, 6, 12),
    }
    for widths, message in (([3, 5], "the last of them 6"), ([6], "must have 2 numbers"), ([0, 6], "at least 1")):
        with pytest.raises(ValueError, match=message):
            models.build({**SMALL, "channels": 6, "widths": widths})
