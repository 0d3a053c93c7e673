"""The recipes of ChainSR: their settings, and both stages from images to a network for uint8."""

import json

import pytest

from mobile_sr.inference import weights
from mobile_sr.training import recipes
from mobile_sr.training.recipes import chainsr


@pytest.mark.parametrize("size", chainsr.SIZES)
def test_settings_of_the_stages(size):
    first, long, last = (recipes.load(f"chainsr_{size}{stage}_x2") for stage in ("", "_long", "_uint8"))
    arguments = {"network": "chainsr", "scale": 2, "output_activation": "clipped_relu", **chainsr.SIZES[size]}
    assert first.network == long.network == last.network == arguments
    assert (first.optimizer, first.branches, first.loss, first.luminance_weight) == ("soap", "ecb", "psnr", 1.0)
    assert (first.flat_share, first.downscale_factors, first.ema_decay) == (0.1, (0.8, 0.6), 0.999)
    assert (first.peak_learning_rate, first.end_learning_rate, first.steps) == (2.5e-3, 1e-5, 100_000)
    assert (long.optimizer, long.branches, long.loss, long.luminance_weight) == ("soap", "none", "psnr", 2.0)
    assert (long.peak_learning_rate, long.steps, long.activation_bits, long.select) == (2e-3, 100_000, 0, "")
    assert (last.activation_bits, last.select, last.branches, last.flat_share) == (8, "uint8", "none", 0.25)
    recipes.check(last, "last")


def test_large_sizes_start_from_sp():
    assert recipes.stages("chainsr_m_uint8_x2") == ["chainsr_sp_x2", "chainsr_m_long_x2", "chainsr_m_uint8_x2"]
    assert recipes.stages("chainsr_s_uint8_x3") == ["chainsr_s_x3", "chainsr_s_long_x3", "chainsr_s_uint8_x3"]
    assert recipes.stages("xlsr_x3") == ["xlsr_x3"]


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
def test_all_stages_from_images_to_uint8(image_folder, tmp_path, cache, run_here, select):
    fields = ("validate_every=2", "network.layers=1", "network.channels=4", "flat_share=0")  # small, to compile quickly
    fields += ("select=rgb",) if select == "rgb" else ()
    options = [word for field in fields for word in ("--set", field)]
    options += ["--smoke", "--steps", 2, "--data", image_folder, "--cache", cache, "--all-stages", "--out", tmp_path]
    done = run_here("train", "--recipe", "chainsr_s_uint8_x2", *options)
    assert done.returncode == 0, done.stderr
    assert "stage 3 of 3: chainsr_s_uint8_x2" in done.stderr
    assert "warning" not in done.stderr
    about = weights.read_arrays(tmp_path / "chainsr_s_uint8_x2" / "best.npz")[1]
    assert (about["selected_by"], about["config"]["network"], about["config"]["layers"]) == (select, "chainsr", 1)
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in recipes.stages("chainsr_s_uint8_x2")]
    assert {config["parameters"] for config in configs} == {112 + 148 + 444}
    assert [config["init"] for config in configs] == [None, str(tmp_path / "chainsr_s_x2"), str(tmp_path / "chainsr_s_long_x2")]
    before = (tmp_path / "chainsr_s_uint8_x2" / "best.npz").read_bytes()
    again = run_here("train", "--recipe", "chainsr_s_uint8_x2", *options)  # nothing is left to do
    assert again.returncode == 0
    best = [[line for line in run.stdout.splitlines() if line.startswith("best ")] for run in (done, again)]
    assert len(best[0]) == 3
    assert best[0] == best[1]
    assert (tmp_path / "chainsr_s_uint8_x2" / "best.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("recipe", "options", "message"),
    [
        ("chainsr_s_long_x2", ("--init", "xlsr_x2"), "--init is for a single stage; leave out --all-stages or --init"),
        ("chainsr_s_long_x2", ("--processes", "2"), "--all-stages trains in a single process"),
        ("fgnas_x2", (), "fgnas_x2 starts from a search (fgnas_mobile_x2): run mobile-sr search, then train --init"),
    ],
)
def test_what_cannot_be_combined_with_all_stages(run_here, tmp_path, recipe, options, message):
    done = run_here("train", "--recipe", recipe, "--all-stages", *options, "--data", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
