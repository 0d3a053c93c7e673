"""The recipes for degraded images: their settings and where they start."""

import json

import pytest

from mobile_sr.inference import weights
from mobile_sr.training import recipes


def test_settings():
    for name, clean in (("xlsr_robust", "xlsr_zoo"), ("chainsr_s_robust", "chainsr_s_long")):
        robust, start = (recipes.load(f"{recipe}_x2") for recipe in (name, clean))
        assert robust.network == start.network
        assert (robust.degrade, robust.branches, robust.downscale_factors) == ("noise=0..4,jpeg=60..95", "none", ())
        assert (robust.optimizer, robust.loss, robust.luminance_weight, robust.steps) == ("soap", "psnr", 1.0, 60_000)
        assert (robust.flat_share, robust.peak_learning_rate) == (0.1, 1e-3)
        assert recipes.expected_init(f"{name}_x2") == f"{clean}_x2"
        recipes.check(robust, name)
        assert robust.degrade == "noise=0..4,jpeg=60..95"  # already in the form that is recorded


@pytest.mark.slow
def test_from_clean_weights_to_a_robust_network(image_folder, model_file, tmp_path, cache, run_here):
    words = ("--recipe", "xlsr_robust_x3", "--init", model_file, "--smoke", "--steps", 1, "--set", "validate_every=1")
    more = ("--degrade", "jpeg=80,noise=1", "--data", image_folder, "--cache", cache, "--out", tmp_path / "run")
    done = run_here("train", *words, *more)
    assert done.returncode == 0, done.stderr
    assert "expects --init" not in done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["degrade"] == "noise=1,jpeg=80"
    assert {tuple(amounts.values()) for amounts in config["data"]["held_out_degradation"]} == {(0.0, 1.0, 80)}
    assert weights.read_arrays(tmp_path / "run" / "last.npz")[1]["step"] == 1
