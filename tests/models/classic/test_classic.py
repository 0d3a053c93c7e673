"""The networks of models/classic: costs as printed, receptive fields, starts."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.models.classic import san, smsr
from tests.models.test_receptive_field import reach

# Small networks, also for the tests of the import and the export.
SMALL = {
    "carn": {"channels": 8, "cascades": 1},
    "wdsr": {"channels": 8, "expanded": 12, "blocks": 1},
    "rdn": {"channels": 8, "growth": 8, "blocks": 2, "layers": 2},
    "srresnet": {"channels": 8, "blocks": 1},
    "msrresnet": {"channels": 8, "blocks": 1},
    "smsr": {"channels": 8, "dense": (3, 0, 8, 5), "reduction": 2},
    "san": {"channels": 8, "groups": 1, "blocks": 1, "reduction": 2},
}
FORMS = [
    *({"network": net, **sizes} for net, sizes in SMALL.items()),
    {"network": "carn", "channels": 8, "cascades": 1, "groups": 4},
    {"network": "wdsr", "channels": 8, "expanded": 12, "low_rank": 6, "blocks": 2},
    {"network": "vdsr", "channels": 8, "blocks": 3, "luma": True},
]


def giga(model, scale, pixels=None):
    """Multiply-adds for an output of 1280x720 pixels, in thousands of millions."""
    return models.multiply_adds(model, pixels or 1280 * 720 / scale**2) / 1e9


@pytest.mark.slow
@pytest.mark.parametrize(("groups", "printed"), [(1, (222.8, 118.8, 90.9)), (4, (91.2, 46.1, 32.5))])
def test_costs_of_carn(groups, printed):
    """Ahn et al., Tables 1 and 2. The parameters are those of one network with the upsamplers of x2, x3 and x4.

    412K is without biases and with the shared blocks once; 1,592K is with biases.
    """
    built = [models.build({"network": "carn", "scale": scale, "groups": groups}) for scale in (2, 3, 4)]
    assert tuple(round(giga(model, scale), 1) for scale, model in zip((2, 3, 4), built, strict=True)) == printed
    total = 0
    for model in built:
        for layer in model.layers:
            is_counted = layer.name.startswith("up") or model is built[0]
            is_copy = groups > 1 and layer.name.partition("_")[2].startswith(("block2", "block3"))
            if hasattr(layer, "kernel") and is_counted and not is_copy:
                total += int(np.prod(layer.kernel.shape)) + (layer.bias.shape[0] if groups == 1 else 0)
    assert round(total / 1000) == (1592 if groups == 1 else 412)


@pytest.mark.parametrize(("scale", "printed"), [(2, 1_190_100), pytest.param(3, 1_195_605, marks=pytest.mark.slow)])
def test_parameters_of_wdsr(scale, printed):
    """The first figure is from the README of the authors' code, with weight normalization; 1,196K at x3 in FGNAS, Table 2."""
    model = models.build({"network": "wdsr", "scale": scale})
    assert model.count_params() - 3 + sum(layer.bias.shape[0] for layer in model.layers if hasattr(layer, "kernel")) == printed


def test_costs_of_msrresnet():
    """Ahn et al. (1,518K, 146.1G) and Kong et al. (5.2G FLOPs, two per multiply-add, for 32x32) list them for SRResNet."""
    model = models.build({"network": "msrresnet", "scale": 4})
    assert model.count_params() == 1_517_571
    assert round(giga(model, 4), 1) == 146.1
    assert round(2 * giga(model, 4, 32 * 32), 1) == 5.2


def test_costs_of_srresnet():
    """Of Fig. 4 of Ledig et al.: 1,547,350 parameters with batch normalization, which has 64 more for each of 33 layers."""
    model = models.build({"network": "srresnet", "scale": 4})
    assert model.count_params() + 33 * 64 == 1_547_350
    per_pixel = 81 * 3 * 64 + 33 * 9 * 64**2 + (1 + 4) * 9 * 64 * 256 + 16 * 81 * 64 * 3
    assert models.multiply_adds(model, 1) == per_pixel


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "thousands", "printed"), [(2, 22_123, 5096.2), (3, 22_308, 2281.2), (4, 22_271, 1309.2)])
def test_costs_of_rdn(scale, thousands, printed):
    """As other papers list them. The images of x3 have 426x240 LR pixels."""
    model = models.build({"network": "rdn", "scale": scale})
    assert model.count_params() // 1000 == thousands
    assert round(giga(model, scale, (1280 // scale) * (720 // scale)), 1) == printed


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "thousands"), [(2, 985), (3, 993), (4, 1006)])
def test_parameters_of_smsr(scale, thousands):
    """Wang et al., Table 1, with a second output of the last convolution of a mask, and without the masks of channels."""
    model = models.build({"network": "smsr", "scale": scale})
    assert round((model.count_params() - 3 + 5 * (16 * 9 + 1)) / 1000) == thousands


@pytest.mark.slow
def test_parameters_of_san():
    """Dai et al., Table 4: 15.7M."""
    assert models.build({"network": "san"}).count_params() == 15_676_871


def test_the_root_of_the_covariance():
    """Squared, it is the covariance, up to what the few iterations leave."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 7, 3)).astype(np.float32)
    means = keras.ops.convert_to_numpy(san.CovarianceRoot()(x))
    for image, mean in zip(x, means, strict=True):
        values, vectors = np.linalg.eigh(np.cov(image.reshape(-1, 3).T, bias=True))
        np.testing.assert_allclose(mean.ravel(), (vectors * values**0.5 @ vectors.T).mean(axis=0), atol=2e-3)


def test_the_mask_of_smsr():
    """0 or 1 at the size of the features; a gradient in training."""
    layer = smsr.SparseMask()
    x = np.array([[-1.0, 0.0, 1e-5, 3.0]] * 2, np.float32).reshape(1, 2, 4, 1)
    like = np.zeros((1, 1, 3, 5), np.float32)
    for training in (False, True):
        actual = keras.ops.convert_to_numpy(layer([x, like], training=training))
        np.testing.assert_allclose(actual, [[[[0], [0], [1]]]], atol=1e-6)


def test_weights_of_vdsr_on_luma():
    """Kim et al.: 665K, without biases."""
    model = models.build({"network": "vdsr", "luma": True})
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel") and layer.trainable]
    assert round(sum(np.prod(kernel.shape) for kernel in kernels) / 1000) == 665


def test_luma_is_corrected_alone():
    """A correction of Y by d changes every channel by 255 / 219 * d; Cb and Cr stay."""
    model = models.build({"network": "vdsr", "luma": True, "channels": 4, "blocks": 1, "output_activation": "linear"})
    x = np.random.default_rng(0).random((1, 5, 6, 3)).astype(np.float32)
    model.get_layer("tail").set_weights([np.zeros((3, 3, 4, 1)), np.array([0.1])])
    change = keras.ops.convert_to_numpy(model(x) - model.get_layer("bicubic")(x))
    np.testing.assert_allclose(change, 0.1 * 255 / 219, atol=1e-6)
    gray = keras.ops.convert_to_numpy(model.get_layer("luma")(np.ones((1, 1, 1, 3), np.float32)))
    np.testing.assert_allclose(gray, 235 / 255, atol=1e-6)


@pytest.mark.parametrize("config", FORMS, ids=lambda config: "_".join(map(str, config.values())))
def test_receptive_field_and_configuration(config):
    """Not larger than declared, and at most one LR pixel smaller; the configuration rebuilds the network."""
    linear = models.build({**config, "scale": 2, "output_activation": "linear"})
    field = models.receptive_field(models.complete({**config, "scale": 2}))
    assert field is None or field - 1 <= reach(linear, 2) <= field
    rebuilt = keras.Model.from_config(linear.get_config())
    assert [w.shape for w in rebuilt.weights] == [w.shape for w in linear.weights]
    model = models.build({**config, "scale": 4})
    assert model.compute_output_shape((2, 5, 7, 3)) == (2, 20, 28, 3)
    with pytest.raises(ValueError, match="output_activation"):
        models.build({**config, "output_activation": "tanh"})


def test_the_last_biases_start_at_the_mean():
    for net in ("carn", "wdsr"):
        model = models.build({"network": net, **SMALL[net], "scale": 2})
        model.set_weights([np.zeros(w.shape) if len(w.shape) > 1 else w for w in model.get_weights()])
        sr = keras.ops.convert_to_numpy(model(np.ones((1, 4, 4, 3), np.float32)))
        np.testing.assert_allclose(sr, np.broadcast_to(models.DIV2K_MEAN, sr.shape), atol=1e-6)
