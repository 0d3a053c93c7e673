"""Spare channels: the least used ones of the long skip are cleared, and stay so during the training."""

import keras
import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.inference import weights
from mobile_sr.models.train_time import spare_channels
from mobile_sr.training import recipes, train_loop

CONFIG = {"network": "chainsr", "scale": 2, "output_activation": "clipped_relu", "channels": 6, "layers": 2}


def network():
    keras.utils.set_random_seed(3)
    return models.build(CONFIG)


def unused(arrays):
    """The channels that no layer writes or reads, among those of the skip."""
    writers = [arrays[f"{name}/{part}"] for name in ("head", "conv2") for part in ("kernel", "bias")]
    readers = [arrays[f"{name}/kernel"].swapaxes(2, 3) for name in ("conv1", "tail")]
    return [k for k in range(6) if not any(array[..., k].any() for array in (*writers, *readers))]


def arrays(model):
    return {variable.path: np.array(variable) for variable in model.variables}


def test_the_least_used_channels_are_cleared():
    model = network()
    for name in ("head", "conv2"):
        kernel, bias = model.get_layer(name).get_weights()
        kernel[..., [1, 4]] *= 1e-3
        model.get_layer(name).set_weights([kernel, bias])
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 3), np.uint8)
    lr = images.astype(np.float32) / 255
    before = model(lr)

    assert spare_channels.clear(model, CONFIG, 2, images) == [1, 4]

    assert unused(arrays(model)) == [1, 4]
    after = model(lr)
    np.testing.assert_allclose(after, before, atol=1e-2)
    assert np.abs(after - before).max() > 1e-5


@pytest.mark.parametrize(
    ("config", "count", "message"),
    [
        ({"network": "xlsr", "scale": 2}, 2, "only ChainSR without exits"),
        ({**CONFIG, "exits": [1]}, 2, "only ChainSR without exits"),
        (CONFIG, 6, "it has 6 channels, and one or more of them must be used"),
    ],
)
def test_other_networks_are_refused(config, count, message):
    with pytest.raises(ValueError, match=message):
        spare_channels.check(config, count)


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_training_leaves_them_unused(image_folder, tmp_path, cache, capsys, optimizer):
    weights.save_model(tmp_path / "start.npz", network(), CONFIG)
    recipe = recipes.load("chainsr_s_spare_x2", smoke=True, steps=12)  # SOAP rotates from step 10
    recipe.network |= {"channels": 6, "layers": 2}
    recipe.spare_channels, recipe.optimizer, recipe.validate_every = 2, optimizer, 6

    train_loop.train(recipe, image_folder, tmp_path / "run", init=tmp_path / "start.npz", cache=cache)

    said = capsys.readouterr().err
    before, after = (weights.read_arrays(tmp_path / name)[0] for name in ("start.npz", "run/last.npz"))
    cleared = unused(after)
    assert len(cleared) == 2
    assert f"spare channels: {cleared[0]}, {cleared[1]}\nstep 0  validation" in said
    assert "start.npz, without the spare channels" in said
    assert not np.array_equal(after["head/kernel"], before["head/kernel"] * (after["head/kernel"] != 0))
    assert unused(weights.read_arrays(tmp_path / "run" / "best.npz")[0]) == cleared


def test_branches_are_refused(image_folder, tmp_path, cache, run_here):
    options = ["--smoke", "--set", "branches=ecb", "--data", image_folder, "--cache", cache, "--out", tmp_path / "run"]
    done = run_here("train", "--recipe", "chainsr_s_spare_x2", *options)
    assert done.returncode == 2
    assert "spare_channels 5: branches would use the channels again; use --set branches=none" in done.stderr
    assert not (tmp_path / "run").exists()
