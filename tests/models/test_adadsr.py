"""EDSR and RCAN, and AdaDSR's adapter and masks on them."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.models import adadsr

EDSR = {"network": "edsr", "scale": 2, "blocks": 3, "channels": 8}
RCAN = {"network": "rcan", "scale": 2, "groups": 2, "blocks": 2, "channels": 8, "reduction": 4}


def randomized(config, seed=0, **overrides):
    """The network with random weights, depths included."""
    model = models.build(config, **overrides)
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(0, 0.3, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        ({"network": "edsr", "blocks": 16, "channels": 64}, 1_369_859),
        ({"network": "edsr", "depth": "input"}, 40_729_603 + 738_949),
        pytest.param({"network": "edsr"}, 40_729_603, marks=pytest.mark.slow),
        pytest.param({"network": "edsr", "depth": "fixed"}, 40_729_603 + 738_949, marks=pytest.mark.slow),
        pytest.param({"network": "rcan", "depth": "input"}, 15_444_643 + 153_486, marks=pytest.mark.slow),
    ],
)
def test_parameters_of_the_papers(config, parameters):
    assert models.build({"scale": 2, **config}).count_params() == parameters


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("config", [EDSR, RCAN])
@pytest.mark.parametrize("depth", ["none", "input", "fixed"])
def test_shapes(config, scale, depth):
    model = models.build({**config, "scale": scale, "depth": depth})
    x = np.zeros((2, 5, 7, 3), np.float32)
    result = model([x, np.full((2, 1), 1.5, np.float32)] if depth == "input" else x)
    if depth != "none":
        result, depth_map = result
        assert tuple(depth_map.shape) == (2, 5, 7, config.get("groups", 1))
    assert tuple(result.shape) == (2, 5 * scale, 7 * scale, 3)


def test_a_mask_is_the_depth_above_its_block_up_to_one():
    depth = np.array([0, 0.25, 1, 1.5, 2, 7], np.float32).reshape(1, 1, 6, 1)
    masks = [np.asarray(adadsr.DepthMask(block)(depth)).reshape(-1) for block in range(3)]
    np.testing.assert_allclose(masks, [[0, 0.25, 1, 1, 1, 1], [0, 0, 0, 0.5, 1, 1], [0, 0, 0, 0, 0, 1]])


@pytest.mark.parametrize("config", [EDSR, RCAN])
def test_masks_of_ones_leave_the_backbone_and_masks_of_zeros_its_skips(config):
    """With the adapter's last bias far above D the masks are 1, with it far below they are 0."""
    adapted, backbone = models.build({**config, "depth": "fixed"}), randomized(config)
    for layer in backbone.layers:
        adapted.get_layer(layer.name).set_weights(layer.get_weights())
    x = np.random.default_rng(1).random((1, 9, 7, 3)).astype(np.float32)
    last = adapted.get_layer("adapter5")
    kernel, bias = last.get_weights()
    last.set_weights([kernel * 0, bias * 0 + 100])
    np.testing.assert_allclose(adapted(x)[0], backbone(x), atol=1e-5)
    last.set_weights([kernel * 0, bias * 0 - 100])
    for layer in backbone.layers:
        if layer.name.endswith("_conv2"):
            layer.set_weights([w * 0 for w in layer.get_weights()])
    np.testing.assert_allclose(adapted(x)[0], backbone(x), atol=1e-5)


@pytest.mark.parametrize(("where", "expected"), [("first", lambda a, b: 2 * b - a), ("last", lambda a, b: 2 * b)])
def test_where_the_desired_depth_acts(where, expected):
    """On a linear adapter (slopes 1, depths above 0) the depth map is affine in d, or proportional to it."""
    model = randomized({**EDSR, "depth": "input", "depth_scales": where})
    for layer in model.layers:
        if "prelu" in layer.name:
            layer.set_weights([np.ones(1)])
    last = model.get_layer("adapter5")
    last.set_weights([last.get_weights()[0], np.array([500.0])])
    x = np.random.default_rng(2).random((1, 6, 6, 3)).astype(np.float32)
    at_0, at_1, at_2 = (np.asarray(model([x, np.full((1, 1), d, np.float32)])[1]) for d in (0, 1, 2))
    assert at_1.std() > 1e-3
    np.testing.assert_allclose(at_2, expected(at_0, at_1), rtol=1e-4)
    if where == "first":  # the bias is not scaled: the depth is positive at d = 0
        assert at_0.min() > 0


@pytest.mark.parametrize("where", ["first", "last"])
@pytest.mark.parametrize("config", [EDSR, RCAN])
def test_before_training_the_mean_depth_is_the_desired_one(config, where):
    model = models.build({**config, "depth": "input", "depth_scales": where})
    lr = np.random.default_rng(4).random((2, 12, 12, 3)).astype(np.float32)
    adadsr.start_at(model, lr, 1.5)
    for depth in (0.5, 1, 1.5):
        mean = float(keras.ops.mean(model([lr, np.full((2, 1), depth, np.float32)])[1]))
        assert mean == pytest.approx(depth, rel=1e-3)


def test_multiply_adds():
    """EDSR(16 x 64) x2: 1.37M weights at LR size, except for the last convolution, which runs at HR size."""
    model = models.build({"network": "edsr", "scale": 2, "blocks": 16, "channels": 64})
    kernels = 3 * 64 + 33 * 64 * 64 + 64 * 256 + 4 * 64 * 3
    assert models.multiply_adds(model, 100) == 100 * 9 * kernels
    rcan = models.build({**RCAN, "groups": 1, "blocks": 1})
    assert models.multiply_adds(rcan, 100) == 100 * 9 * (3 * 8 + 4 * 64 + 8 * 32 + 4 * 8 * 3) + 2 * 8 * 2


@pytest.mark.parametrize("wrong", [{"depth": "deep"}, {"depth_scales": "all"}, {"output_activation": "tanh"}])
@pytest.mark.parametrize("config", [EDSR, RCAN])
def test_wrong_arguments(config, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        models.build({**config, **wrong})


def test_a_configuration_is_completed_from_the_build_function():
    actual = models.complete({"network": "rcan", "scale": 3, "blocks": 7, "own": 1})
    assert (actual["scale"], actual["blocks"], actual["groups"], actual["reduction"], actual["own"]) == (3, 7, 10, 16, 1)
    assert models.receptive_field({"network": "edsr", "scale": 2}) == 1 + 2 * 32 + 1 + 2


def test_the_maximum_desired_depth():
    assert models.max_depth({**EDSR, "depth": "input"}) == 3
    assert models.max_depth({"network": "rcan", "scale": 2, "depth": "input"}) == 20
    assert models.max_depth({**EDSR, "depth": "fixed"}) is None
    assert models.max_depth({"network": "xlsr", "scale": 3}) is None


def test_half_precision_keeps_the_depth_map_whole():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = models.build({**EDSR, "depth": "fixed"})
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.outputs[1].dtype == "float32"
    assert model.get_layer("block1_mask").output.dtype == "float32"
    assert model.get_layer("block1_conv1").output.dtype == "bfloat16"
