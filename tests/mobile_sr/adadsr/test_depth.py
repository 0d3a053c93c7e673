"""A desired depth for networks with AdaDSR's adapter, from Python."""

import json

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.adadsr import depth_budget, depth_counts, depth_map, depth_usage
from mobile_sr.errors import UserError
from mobile_sr.imaging import images
from mobile_sr.inference import upscaler, weights
from mobile_sr.quantization import export
from tests import schema


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
    options = ("--depth", 1, "--depth-map", "--out", tmp_path / "o", "--json", tmp_path / "found.json")
    code, out, err = cli("upscale", tmp_path / "a.png", "--model", depth_file, *options)
    assert code == 0, err
    (row,) = json.loads((tmp_path / "found.json").read_text())["images"]
    assert row["depth"]["desired"] == 1
    assert f"a.png: {depth_usage.describe(row['depth'], 3)}" in out
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


def test_evaluate_and_compare_accept_a_depth(depth_file, few_images, tmp_path, cli):
    code, out, err = cli(
        "evaluate", "--model", depth_file, "--depth", 0.5, "--data", few_images, "--json", tmp_path / "found.json"
    )
    assert code == 0, err
    found = json.loads((tmp_path / "found.json").read_text())
    assert f"Depth of the model, means over the images: {depth_usage.describe(found['depth'], 3)}." in out
    rows = [row["depth"] for row in found["images"]]
    assert found["depth"]["desired"] == 0.5
    assert found["depth"]["multiply_adds"] == pytest.approx(np.mean([row["multiply_adds"] for row in rows]))
    assert [len(row["active"]) for row in rows] == [3] * len(rows)
    common = ("compare", "--reference", "bicubic", "--scale", 2, "--depth", 2, "--data", few_images)
    code, out, err = cli(*common, "--model", depth_file)
    assert code == 0, err
    assert "Depth of the model, means over the images: mean depth" in out
    code, out, err = cli(
        *common[:1], "--model", depth_file, *common[3:], "--model", "bicubic", "--json", tmp_path / "both.json"
    )
    assert code == 0, err
    (deep, plain) = json.loads((tmp_path / "both.json").read_text())["models"]
    assert deep["depth"]["desired"] == 2
    assert "depth" not in plain
    assert f"{depth_file}: Depth of the model" in out
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
    results = json.loads((tmp_path / "found.json").read_text())["results"]
    schema.check(json.loads((tmp_path / "found.json").read_text()))
    assert [row.get("depth", {}).get("desired") for row in results] == [1.5, 1.5, None]
    assert results[0]["depth"]["mean"] == pytest.approx(results[1]["depth"]["mean"], rel=1e-3)
    assert f"{results[0]['model']}: {depth_usage.describe(results[0]['depth'], 3)}" in out
    named = [row["model"] for row in results]
    assert named[0].endswith("float32.tflite@desired_depth=1.5")
    assert named[1].endswith("@signature=dense,desired_depth=1.5")
    assert named[2] == "xlsr_x2:uint8"
    for model, depth, said in (("xlsr_x2:uint8", 1, "none of the files"), (sparse_file, 9, "0 to 3")):
        code, out, err = cli("benchmark", "--model", model, "--depth", depth, *size)
        assert code == 2
        assert said in err


def test_benchmark_runs_an_image(sparse_file, image, cli, tmp_path):
    images.write_image(tmp_path / "a.png", image)
    common = ("benchmark", "--model", sparse_file, "--image", tmp_path / "a.png", "--runs", 1, "--warmup", 0)
    code, out, err = cli(*common, "--json", tmp_path / "found.json")
    assert code == 0, err
    found = json.loads((tmp_path / "found.json").read_text())
    schema.check(found)
    assert found["environment"]["image"] == "a.png"
    assert (found["environment"]["height"], found["environment"]["width"]) == image.shape[:2]
    _, figures = upscaler.load(sparse_file).with_figures(image)
    assert found["results"][0]["depth"] == {**figures["depth"], "deepest": 3}
    code, out, err = cli(*common, "--height", 9, "--width", 9)
    assert code == 2
    assert "--image has a size of its own" in err


def test_an_option_fixes_a_tflite_s_depth(sparse_file, image):
    fixed, free = (upscaler.load(f"{sparse_file}{options}") for options in ("@desired_depth=1", ""))
    np.testing.assert_array_equal(fixed(image), free(image, depth=1))
    assert fixed.max_depth is None
    free.depth = 1
    assert fixed.with_figures(image)[1] == free.with_figures(image)[1]


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
    """The times of a table, here proportional to the multiply-adds, are measured once and serve images of all sizes."""
    model, timed = upscaler.load(depth_file), []

    def gmacs(part, depth):
        return depth_counts.count(model.costs, model.depth_map(part, depth)) / 1e9

    def milliseconds(model, part, depth):
        timed.append(depth)
        return 1000 * gmacs(part, depth)

    monkeypatch.setattr(depth_budget, "_milliseconds", milliseconds)
    for part in (image, image[:20]):
        budget = gmacs(part, 1.5) * 1.0001
        assert depth_budget.choose(model, part, ms=1000 * budget) == depth_budget.choose(model, part, gmacs=budget)
    assert depth_budget.choose(model, image, ms=1e6) == 3
    with pytest.raises(UserError, match=r"costs .* ms at depth 0, more than the budget of 1e-06"):
        depth_budget.choose(model, image, ms=1e-6)
    assert timed == [0, 0, 0.75, 0.75, 1.5, 1.5, 3, 3]


@pytest.mark.parametrize("kind", ["keras", "tflite"])
def test_a_choice_runs_the_head_and_the_adapter_only(depth_file, sparse_file, image, kind, monkeypatch):
    model = upscaler.load(depth_file if kind == "keras" else sparse_file)
    wanted = [model.with_depth_map(image, depth=depth)[1] for depth in (0, 1.25, 3)]
    monkeypatch.setattr(model, "_run", None)
    for depth, expected in zip((0, 1.25, 3), wanted, strict=True):
        np.testing.assert_allclose(model.depth_map(image, depth), expected, atol=1e-5)
    assert 0 < depth_budget.choose(model, image, gmacs=depth_counts.count(model.costs, wanted[1]) / 1e9) < 3


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


def test_a_fixed_depth_has_a_depth_map(image, tmp_path):
    """FAdaEDSR: figures and map, but no depth to set."""
    config = {"network": "edsr", "scale": 2, "blocks": 2, "channels": 4, "depth": "fixed"}
    model = models.build(config)
    weights.save_model(tmp_path / "fada.npz", model, config)
    fixed = upscaler.load(tmp_path / "fada.npz", check=False)
    sr, figures = fixed.with_figures(image)
    wanted = model((image / 255)[None].astype(np.float32))[1]
    np.testing.assert_allclose(fixed.with_depth_map(image)[1], wanted[0], atol=1e-5)
    np.testing.assert_array_equal(sr, fixed(image))
    assert figures["depth"]["desired"] is None
    assert figures["depth"]["mean"] == pytest.approx(float(np.mean(wanted)), abs=1e-5)
    assert (fixed.max_depth, fixed.budget_units) == (None, ())
    with pytest.raises(UserError, match="does not support a desired depth"):
        fixed(image, depth=1)


@pytest.mark.slow
def test_a_fixed_depth_is_exported_with_its_sparse_path(image, tmp_path):
    config = {"network": "edsr", "scale": 2, "blocks": 2, "channels": 8, "depth": "fixed", "mean_shift": True}
    weights.save_model(tmp_path / "fada.npz", models.build(config), config)
    (file,) = export.export(tmp_path / "fada.npz", tmp_path, ["float32"], log=str)
    assert file.name == "fada_sparse_float32.tflite"
    outputs = [upscaler.load(name).with_depth_map(image) for name in (tmp_path / "fada.npz", file, f"{file}@signature=dense")]
    for other in outputs[1:]:
        assert np.abs(other[0].astype(int) - outputs[0][0]).max() <= 1
        np.testing.assert_allclose(other[1], outputs[0][1], atol=1e-4)


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


@pytest.mark.slow
def test_an_onnx_file_has_the_depth(depth_file, image, tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    (file,) = export.export(depth_file, tmp_path, ["onnx"], log=lambda line: None)
    keras_model, model = upscaler.load(depth_file), upscaler.load(file)
    assert (model.max_depth, model.costs) == (3, keras_model.costs)
    for depth in (1.25, None):
        expected, actual = (one.with_depth_map(image, depth=depth) for one in (keras_model, model))
        assert np.abs(expected[0].astype(int) - actual[0]).max() <= 1
        np.testing.assert_allclose(actual[1], expected[1], atol=1e-4)
    np.testing.assert_array_equal(model.depth_map(image, 1.25), model.with_depth_map(image, depth=1.25)[1])
    fixed = upscaler.load(f"{file}@desired_depth=1.25")
    assert fixed.max_depth is None
    np.testing.assert_array_equal(fixed(image), model(image, depth=1.25))
    with pytest.raises(UserError, match=r"desired_depth=4: expected a number from 0 to 3"):
        upscaler.load(f"{file}@desired_depth=4")


@pytest.mark.slow
def test_an_onnx_file_of_a_fixed_depth_has_a_map(image, tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    config = {"network": "edsr", "scale": 2, "blocks": 2, "channels": 8, "depth": "fixed"}
    weights.save_model(tmp_path / "fixed.npz", models.build(config), config)
    (file,) = export.export(tmp_path / "fixed.npz", tmp_path, ["onnx"], log=lambda line: None)
    expected, actual = (upscaler.load(one).with_depth_map(image) for one in (tmp_path / "fixed.npz", file))
    assert np.abs(expected[0].astype(int) - actual[0]).max() <= 1
    np.testing.assert_allclose(actual[1], expected[1], atol=1e-4)
    file.with_suffix(".json").unlink()
    alone = upscaler.load(file)
    np.testing.assert_array_equal(alone(image), actual[0])
    with pytest.raises(UserError, match="no depth map"):
        alone.with_depth_map(image)


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
        (("export", "--model", tmp_path / "narrow.npz", "--precision", "uint8", "--out", tmp_path / "o"), "4 channels"),
        (("qat", "--model", depth_file, "--data", few_images, "--out", tmp_path / "q"), "depth masks"),
    ):
        code, out, err = cli(*arguments)
        assert code == 2
        assert said in err
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "o").exists()
