"""QuickSRNet and SESR: parameters as published, and how they start."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.models.mobile import quicksrnet, sesr

# Small networks, also for the tests of the import and the export.
SMALL = {"quicksrnet": {"channels": 8, "blocks": 1}, "sesr": {"channels": 8, "blocks": 1}}


def rows(module):
    """(options, numbers of parameters) of the table in a module's docstring."""
    for line in module.__doc__.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "=" in line and len(cells) > 4:
            options = dict(option.split("=") for option in cells[1].split(", "))
            yield (
                {name: value == "True" or int(value) for name, value in options.items()},
                [int(cell.replace(",", "")) for cell in cells[2:]],
            )


@pytest.mark.parametrize("module", [quicksrnet, sesr], ids=lambda module: module.__name__.rpartition(".")[2])
def test_the_table_of_parameters(module):
    """The kernels of SESR at x2 for one channel at both ends are those of Bhardwaj et al., Table 1 (8.91K to 105.37K)."""
    for options, (first, *counts) in rows(module):
        model = models.build({"network": module.__name__.rpartition(".")[2], "scale": 2, **options})
        assert model.count_params() == first
        kernels = {layer.name: int(np.prod(layer.kernel.shape)) for layer in model.layers if hasattr(layer, "kernel")}
        taps = kernels["tail"] // 12 + 1 + (3 if options.get("anchor") else 0)  # parameters of a channel of the last layers
        taps += 1 if options.get("anchor") else 0
        assert counts[:2] == [first + 3 * (scale**2 - 4) * taps for scale in (3, 4)]
        if module is sesr:
            assert counts[2] == sum(n // 3 if name in ("head", "tail") else n for name, n in kernels.items())


@pytest.mark.parametrize("anchor", [False, True])
def test_quicksrnet_starts_near_the_nearest_neighbour(anchor):
    """The random weights are set to zero; what remains is the identity."""
    keras.utils.set_random_seed(0)
    model = models.build({"network": "quicksrnet", "scale": 3, "channels": 8, "blocks": 2, "anchor": anchor})
    x = np.random.default_rng(0).random((1, 4, 5, 3)).astype(np.float32)
    model.set_weights([np.round(w * 0.7) for w in model.get_weights()])  # random weights are below 1 / 2
    if anchor:
        tail = model.get_layer("tail")
        tail.set_weights([np.zeros(w.shape) for w in tail.get_weights()])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), x.repeat(3, axis=1).repeat(3, axis=2))


@pytest.mark.parametrize("activation", ["relu", "prelu"])
def test_sesr(activation):
    """With zeros for weights, the nearest neighbour; the receptive field is the declared one."""
    config = {"network": "sesr", "scale": 2, **SMALL["sesr"], "activation": activation}
    model = models.build(config)
    assert models.receptive_field(models.complete(config)) == 5
    assert ("conv1_prelu" in {layer.name for layer in model.layers}) == (activation == "prelu")
    model.set_weights([np.zeros(w.shape) for w in model.get_weights()])
    x = np.random.default_rng(0).random((1, 4, 5, 3)).astype(np.float32)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), x.repeat(2, axis=1).repeat(2, axis=2))
    with pytest.raises(ValueError, match="activation"):
        models.build({"network": "sesr", "activation": "tanh"})
