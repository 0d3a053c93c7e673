"""The recipes of ChainSR: their settings, and both stages from images to a network for uint8."""

import json

import pytest

from mobile_sr.inference import weights
from mobile_sr.training import recipes
from mobile_sr.training.recipes import chainsr


@pytest.mark.parametrize("size", chainsr.SIZES)
def test_settings_of_both_stages(size):
    first, second = (recipes.load(f"chainsr_{size}{stage}_x2") for stage in ("", "_uint8"))
    arguments = {"network": "chainsr", "scale": 2, "output_activation": "clipped_relu", **chainsr.SIZES[size]}
    assert first.network == second.network == arguments
    assert (first.optimizer, first.branches, first.loss, first.luminance_weight) == ("soap", "ecb", "psnr", 1.0)
    assert (first.flat_share, first.downscale_factors, first.ema_decay) == (0.1, (0.8, 0.6), 0.999)
    assert (first.peak_learning_rate, first.end_learning_rate, first.steps) == (2.5e-3, 1e-5, 200_000)
    assert (first.activation_bits, first.select) == (0, "")
    assert (second.activation_bits, second.select, second.branches, second.flat_share) == (8, "uint8", "none", 0.25)
    assert recipes.expected_init(f"chainsr_{size}_uint8_x2") == f"chainsr_{size}_x2"
    assert recipes.expected_init(f"chainsr_{size}_x2") is None
    recipes.check(second, "second")


@pytest.mark.parametrize("size", chainsr.EXITS)
def test_settings_with_exits(size):
    plain, found = recipes.load(f"chainsr_{size}_x2"), recipes.load(f"chainsr_{size}_exits_x2")
    assert found.network == {**plain.network, "exits": chainsr.EXITS[size]}
    assert (found.teacher_weight, found.exit_weight) == (0.5, 1.0)
    assert {**found.to_json(), "teacher_weight": 1.0, "network": None, "name": ""} == {
        **plain.to_json(),
        "network": None,
        "name": "",
    }


@pytest.mark.slow
@pytest.mark.parametrize("select", ["rgb", "uint8"])
def test_two_stages_from_images_to_uint8(image_folder, tmp_path, cache, run_here, select):
    fields = ("validate_every=2", "network.layers=1", "network.channels=4", "flat_share=0")  # small, to compile quickly
    common = [word for field in fields for word in ("--set", field)]
    common += ["--smoke", "--steps", 2, "--data", image_folder, "--cache", cache]
    first = run_here("train", "--recipe", "chainsr_s_x2", *common, "--out", tmp_path / "a")
    assert first.returncode == 0, first.stderr
    last = ["--recipe", "chainsr_s_uint8_x2", "--init", tmp_path / "a"] + (["--set", "select=rgb"] if select == "rgb" else [])
    second = run_here("train", *last, *common, "--out", tmp_path / "b")
    assert second.returncode == 0, second.stderr
    assert "warning: chainsr_s_uint8_x2 expects --init" not in second.stderr
    about = weights.read_arrays(tmp_path / "b" / "best.npz")[1]
    assert (about["selected_by"], about["config"]["network"], about["config"]["layers"]) == (select, "chainsr", 1)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert (config["parameters"], config["init"]) == (112 + 148 + 444, str(tmp_path / "a"))
