"""A desired depth for networks with AdaDSR's adapter, from Python."""

import json

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.adadsr import depth_budget, depth_counts, depth_map
from mobile_sr.errors import UserError
from mobile_sr.imaging import images
from mobile_sr.inference import upscaler, weights
from mobile_sr.quantization import export


@pytest.fixture
def cli(run_here):
    """Run a command in this process; returns (status, standard output, standard error)."""

    def run(*arguments):
        done = run_here(*arguments)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 256, (45, 38, 3)).astype(np.uint8)


def test_the_depth_changes_the_output_and_the_map(depth_file, image):
    model = upscaler.load(depth_file)
    assert model.max_depth == model.depth == 3
    outputs = [model(image, depth=d) for d in (0, 1.5, 3)]
    assert outputs[0].shape == (90, 76, 3)
    assert not np.array_equal(outputs[0], outputs[2])
    np.testing.assert_array_equal(model(image), outputs[2])
    maps = [model.with_depth_map(image, depth=d)[1] for d in (0, 3)]
    assert maps[0].shape == (45, 38, 1)
    assert maps[0].dtype == np.float32
    assert maps[0].min() >= 0
    assert not np.array_equal(*maps)


def test_calls_without_a_depth_use_the_models_own_depth(depth_file, image):
    model = upscaler.load(depth_file)
    wanted = model(image, depth=1)
    model.depth = 1
    np.testing.assert_array_equal(model(image), wanted)


def test_tiles_give_the_whole_output_and_map(depth_file, image):
    model = upscaler.load(depth_file)
    whole, tiled = (model.with_depth_map(image, tile=tile, depth=2) for tile in (0, 8))
    assert np.abs(whole[0].astype(int) - tiled[0]).max() <= 1  # sums in another order
    np.testing.assert_allclose(whole[1], tiled[1], atol=1e-4)


@pytest.mark.parametrize("depth", [-0.1, 3.1, float("nan")])
def test_a_depth_outside_is_refused(depth_file, image, depth):
    with pytest.raises(UserError, match="0 to 3"):
        upscaler.load(depth_file)(image, depth=depth)


def test_other_models_refuse_a_depth(image):
    model = upscaler.load("xlsr_x2:uint8")
    assert model.max_depth is None
    with pytest.raises(UserError, match="does not support a desired depth"):
        model(image, depth=1)
    with pytest.raises(UserError, match="no depth map"):
        model.with_depth_map(image)


def test_commands_accept_a_depth(depth_file, image, tmp_path, cli):
    images.write_image(tmp_path / "a.png", image)
    options = ("--depth", 1, "--depth-map", "--out", tmp_path / "o")
    code, out, err = cli("upscale", tmp_path / "a.png", "--model", depth_file, *options)
    assert code == 0, err
    np.testing.assert_array_equal(images.read_image(tmp_path / "o" / "a.png"), upscaler.load(depth_file)(image, depth=1))
    shown = images.read_image(tmp_path / "o" / "a_depth.png")
    assert shown.shape[1] == 76
    assert shown.shape[0] > 90
    for arguments, said in (
        (["--model", depth_file, "--depth", 9], "0 to 3"),
        (["--model", "xlsr_x2:uint8", "--depth", 1], "does not support a desired depth"),
        (["--model", "xlsr_x2:uint8", "--depth-map"], "has no depth map"),
    ):
        code, out, err = cli("upscale", tmp_path / "a.png", *arguments, "--out", tmp_path / "no")
        assert code == 2
        assert said in err
        # The untrained fixture is also far below bicubic, which is a warning of its own.
        assert len([line for line in err.strip().splitlines() if "warning: " not in line]) == 1
        assert not (tmp_path / "no").exists()


def test_evaluate_and_compare_accept_a_depth(depth_file, few_images, cli):
    code, out, err = cli("evaluate", "--model", depth_file, "--depth", 0.5, "--data", few_images)
    assert code == 0, err
    common = ("compare", "--reference", "bicubic", "--scale", 2, "--depth", 2, "--data", few_images)
    code, out, err = cli(*common, "--model", depth_file)
    assert code == 0, err
    code, out, err = cli(*common, "--model", "xlsr_x2")
    assert code == 2
    assert "does not support a desired depth" in err


def test_the_heat_map_shows_depth_as_lightness():
    image = np.full((40, 80, 3), 128, np.uint8)
    depth = np.zeros((20, 40, 2), np.float32)
    depth[:, 20:] = 4
    shown = depth_map.overlay(image, depth, 4).astype(int)
    assert shown[:40, 40:].mean() > shown[:40, :40].mean() + 80
    lightness = depth_map.colours(np.linspace(0, 1, 50)) @ np.array([0.299, 0.587, 0.114])
    assert np.all(np.diff(lightness) > 0)


@pytest.fixture(scope="module")
def sparse_file(depth_file, tmp_path_factory):
    return export.export(depth_file, tmp_path_factory.mktemp("tflite"), ["float32"], log=lambda line: None)[0]


@pytest.mark.parametrize("signature", ["sparse", "dense"])
def test_a_tflite_accepts_a_depth_as_the_keras_model_does(depth_file, sparse_file, image, signature):
    keras_model, file = upscaler.load(depth_file), upscaler.load(f"{sparse_file}@signature={signature}")
    assert file.max_depth == 3
    for depth in (None, 0, 1.25, 3):
        wanted, found = (model.with_depth_map(image, depth=depth) for model in (keras_model, file))
        assert np.abs(wanted[0].astype(int) - found[0]).max() <= 1  # a value near a half
        np.testing.assert_allclose(found[1], wanted[1], atol=1e-4)
    with pytest.raises(UserError, match="0 to 3"):
        file(image, depth=3.5)


def test_benchmark_accepts_a_depth(sparse_file, cli, tmp_path):
    size = ("--height", 24, "--width", 24, "--runs", 2, "--warmup", 0)
    names = ("--model", sparse_file, "--model", f"{sparse_file}@signature=dense", "--model", "xlsr_x2:uint8")
    code, out, err = cli("benchmark", *names, "--depth", 1.5, *size, "--json", tmp_path / "found.json")
    assert code == 0, err
    named = [row["model"] for row in json.loads((tmp_path / "found.json").read_text())["results"]]
    assert named[0].endswith("float32.tflite@desired_depth=1.5")
    assert named[1].endswith("@signature=dense,desired_depth=1.5")
    assert named[2] == "xlsr_x2:uint8"
    for model, depth, said in (("xlsr_x2:uint8", 1, "none of the files"), (sparse_file, 9, "0 to 3")):
        code, out, err = cli("benchmark", "--model", model, "--depth", depth, *size)
        assert code == 2
        assert said in err


def test_an_option_fixes_a_tflite_s_depth(sparse_file, image):
    fixed, free = (upscaler.load(f"{sparse_file}{options}") for options in ("@desired_depth=1", ""))
    np.testing.assert_array_equal(fixed(image), free(image, depth=1))
    assert fixed.max_depth is None


def test_wrong_use_of_a_tflite(depth_file, sparse_file, tmp_path):
    dense = export.export(depth_file, tmp_path, ["float32"], path="dense", log=lambda line: None)[0]
    for name, said in (
        (f"{sparse_file}@desired_depth=4", "desired depth 4 is out of range; use 0 to 3"),
        (f"{sparse_file}@signature=third", "third"),
        (f"{dense}@signature=sparse", "sparse"),
    ):
        with pytest.raises(UserError, match=said):
            upscaler.load(name)


def test_a_budget_needs_a_desired_depth(image):
    model = upscaler.load("xlsr_x2:uint8")
    model.budget = {"ms": 10}
    with pytest.raises(UserError, match="does not support a desired depth, so a budget cannot be met"):
        model(image)


@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_a_budget_of_multiply_adds_chooses_the_largest_depth_within_it(depth_file, sparse_file, image, kind):
    model = upscaler.load(depth_file if kind == "keras" else sparse_file)

    def cost(depth):
        return depth_counts.count(model.costs, model.with_depth_map(image, depth=depth)[1]) / 1e9

    budget = cost(1.5) * 1.0001
    chosen = depth_budget.choose(model, image, gmacs=budget)
    assert 1.5 <= chosen < 3
    assert cost(chosen) <= budget < cost(chosen + 3 / 64)
    assert depth_budget.choose(model, image, gmacs=1e3) == 3
    with pytest.raises(UserError, match="more than the budget of 1e-09"):
        depth_budget.choose(model, image, gmacs=1e-9)
    model.budget = {"gmacs": budget}
    np.testing.assert_array_equal(model(image), model(image, depth=chosen))


def test_a_budget_of_time(depth_file, image, monkeypatch):
    model = upscaler.load(depth_file)
    monkeypatch.setattr(depth_budget, "_milliseconds", lambda model, image, depth: 10 + 5 * depth)
    assert depth_budget.choose(model, image, ms=17.6) == pytest.approx(1.5, abs=3 / 64)
    assert depth_budget.choose(model, image, ms=25) == 3
    with pytest.raises(UserError, match="costs 10 ms at depth 0"):
        depth_budget.choose(model, image, ms=9)


def test_budgets_at_the_command_line(depth_file, image, tmp_path, cli):
    images.write_image(tmp_path / "a.png", image)
    common = ("upscale", tmp_path / "a.png", "--out", tmp_path / "o")
    code, out, err = cli(*common, "--model", depth_file, "--budget-gmacs", 100)
    assert code == 0, err
    np.testing.assert_array_equal(images.read_image(tmp_path / "o" / "a.png"), upscaler.load(depth_file)(image))
    code, out, err = cli(*common, "--model", depth_file, "--budget-ms", 1e5)
    assert code == 0, err
    for arguments, said in (
        (("--model", depth_file, "--budget-gmacs", 1e-9), "more than the budget"),
        (("--model", depth_file, "--budget-gmacs", -1), "must be above 0"),
        (("--model", "xlsr_x2:uint8", "--budget-ms", 10), "does not support a desired depth"),
    ):
        code, out, err = cli(*common, *arguments)
        assert code == 2
        assert said in err
        # The network is not trained, and a budget is measured on each image: the warning comes first.
        assert len([line for line in err.splitlines() if not line.startswith("warning: ")]) == 1


def test_counts():
    """Two blocks of which the first works on one pixel of 25, nine around it for conv1, and the second nowhere."""
    costs = {"always": 1000, "once": 7, "blocks": [[10, 20], [10, 20]], "dense_above": 0.5, "span": 1}
    depth = np.zeros((5, 5, 1), np.float32)
    depth[2, 2] = 0.5
    assert depth_counts.count(costs, depth) == pytest.approx(25 * 1000 + 9 * 10 + 20 + 7)
    depth[:] = 1
    assert depth_counts.count(costs, depth) == pytest.approx(25 * 1030 + 7)
    depth[:, 0] = 0  # of the sampled pixels conv1 works on all, conv2 on half: 0.75 of both
    assert depth_counts.count(costs, depth) == pytest.approx(25 * 1030 + 7)
    assert depth_counts.count({**costs, "dense_above": 0.8}, depth) == pytest.approx(25 * 1010 + 20 * 20 + 7)
    assert depth_counts.count(costs, depth, fallback=False) == pytest.approx(25 * 1010 + 20 * 20 + 7)
    assert depth_counts.count({**costs, "span": 2}, depth) == pytest.approx(25 * 1010 + 20 * 20 + 7)  # 0.375 of both


@pytest.mark.slow  # test_evaluate_and_compare_accept_a_depth uses a file with one
def test_the_other_commands_support_files_with_two_paths(depth_file, sparse_file, few_images, tmp_path, cli):
    code, out, err = cli("inspect", "--model", sparse_file)
    assert code == 0, err
    assert "signature sparse of dense, sparse" in out
    common = ("--model", sparse_file, "--data", few_images)
    code, out, err = cli("compare", "--reference", f"{sparse_file}@signature=dense", *common, "--report", tmp_path / "report")
    assert code == 0, err
    narrow = {"network": "rcan", "scale": 2, "groups": 1, "blocks": 1, "channels": 8, "reduction": 4, "depth": "input"}
    weights.save_model(tmp_path / "narrow.npz", models.build(narrow), narrow)
    for arguments, said in (
        (("inspect", "--reference", sparse_file, *common), "control flow"),
        (("export", "--model", depth_file, "--precision", "onnx", "--out", tmp_path / "o"), "to .tflite only"),
        (("export", "--model", tmp_path / "narrow.npz", "--precision", "uint8", "--out", tmp_path / "o"), "4 channels"),
        (("qat", "--model", depth_file, "--data", few_images, "--out", tmp_path / "q"), "depth masks"),
    ):
        code, out, err = cli(*arguments)
        assert code == 2
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "o").exists()
