"""`mobile-sr route`: a classifier chooses a network for every patch; its result is loaded and used like any model."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mobile_sr import load, models
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare, evaluate
from mobile_sr.inference import weights
from mobile_sr.routing import budget, classifier, route, route_training, tally
from tests.conftest import make_image
from tests.mobile_sr.test_cli import modules_after, one_line

PATCH = 16


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """EDSR x2 of 1, 2 and 3 blocks with random weights, as .npz files."""
    folder, rng = tmp_path_factory.mktemp("nets"), np.random.default_rng(0)
    for blocks in (1, 2, 3):
        config = {"network": "edsr", "scale": 2, "blocks": blocks, "channels": 4}
        model = models.build(config)
        model.set_weights([rng.normal(0, (0.8 / np.prod(w.shape[:-1])) ** 0.5, w.shape) for w in model.get_weights()])
        weights.save_model(folder / f"b{blocks}.npz", model, config)
    return [folder / f"b{blocks}.npz" for blocks in (1, 2, 3)]


@pytest.fixture(scope="module")
def routed(nets, image_folder, tmp_path_factory):
    """The deployment folder of a routed model, r_uint8.route.json."""
    return deploy(nets, image_folder, tmp_path_factory.mktemp("routed") / "r", ["uint8"])


def deploy(nets, folder, out, precisions):
    """A briefly trained routed model; the networks are given the largest first."""
    options = {"patch": PATCH, "patches": 40, "steps": 40, "methods": (), "cache": out.parent / "cache"}
    found = route_training.train(nets[::-1], folder, out, precisions=precisions, log=lambda line: None, **options)
    assert found == [out / f"r_{precision}.route.json" for precision in precisions]
    return out


def choosing(upscaler, chosen):
    """The upscaler with what its classifier chooses replaced."""
    upscaler.choose = lambda image: np.broadcast_to(chosen, [-(-side // PATCH) for side in image.shape[:2]])
    return upscaler


def test_all_patches_to_one_network_gives_its_bytes(routed):
    check_bytes(routed, "uint8")


def check_bytes(routed, precision):
    image = make_image(45, 61, seed=4)
    for index, blocks in enumerate((1, 2, 3)):
        upscaler = choosing(load(routed / f"r_{precision}.route.json"), index)
        alone = load(routed / f"b{blocks}_{precision}.tflite")
        np.testing.assert_array_equal(upscaler(image), alone(image))
        np.testing.assert_array_equal(upscaler(image, 24), alone(image, 24))
        np.testing.assert_array_equal(upscaler.real(image), alone.real(image))


def test_a_patch_is_what_its_network_gives_on_the_whole_image(routed):
    image = make_image(53, 75, seed=6)
    upscaler = load(routed / "r_uint8.route.json")
    whole = [net(image) for net in upscaler.nets]
    upscaler.net_costs = [1, 100, 1000]  # so dear that the parts stay apart
    chosen = np.array([[0, 2, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 0, 0, 2, 0]])
    overlaps = [net.receptive_field for net in upscaler.nets]
    parts = route.plan(chosen, image.shape[:2], PATCH, upscaler.net_costs, overlaps)
    assert {index for index, _ in parts} == {0, 1, 2}
    result = choosing(upscaler, chosen)(image)
    assert result.shape == (106, 150, 3)
    for index, inner in parts:
        place = tuple(slice(2 * i.start, 2 * i.stop) for i in inner)
        np.testing.assert_array_equal(result[place], whole[index][place])
    upscaler.overlap = 2
    assert (upscaler(image) != result).any()  # the test can fail: less than the receptive field is seen


@pytest.mark.parametrize("seed", range(6))
def test_a_plan_covers_the_image_and_never_costs_more_than_the_largest_network(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 200, 2))
    chosen = rng.choice(3, [-(-side // PATCH) for side in size], p=[0.8, 0.1, 0.1])
    costs, overlaps = [1.0, 3.0, 9.0], [2, 5, 9]
    parts, covered, cost = route.plan(chosen, size, PATCH, costs, overlaps), np.zeros(size, int), 0
    for index, inner in parts:
        covered[inner] += 1
        assert index >= chosen[inner[0].start // PATCH : -(-inner[0].stop // PATCH), inner[1].start // PATCH][0]
        cost += costs[index] * math.prod(w.stop - w.start for w in route.around(inner, size, overlaps[index]))
    assert (covered == 1).all()
    assert cost <= costs[chosen.max()] * math.prod(size)
    assert len(route.plan(np.ones_like(chosen), size, PATCH, costs, overlaps)) == 1


def test_one_run_is_the_whole_routed_output(routed):
    model = load(routed / "r_uint8.route.json")
    image = make_image(40, 50)
    np.testing.assert_array_equal(model.run_once(image), model(image))


def test_the_tally_counts_choices_and_executed_networks(routed):
    upscaler = choosing(load(routed / "r_uint8.route.json"), np.array([[0, 0], [0, 2]]))
    assert upscaler.tally.summary() is None
    upscaler.net_costs[:] = [1, 10, 100]
    upscaler.tally, upscaler.overlap = upscaler.new_tally(), 0
    upscaler(make_image(32, 24))
    found = upscaler.tally.summary()
    assert found["patches"] == {"b1_uint8": 0.75, "b2_uint8": 0, "b3_uint8": 0.25}
    counts, small = found["multiply_adds"], 16 * 8
    assert counts["chosen"] == pytest.approx((32 * 24 - small + 100 * small) / (32 * 24))
    assert counts["largest"] == 100
    run = 1 * (32 * 24 - small) + 100 * small
    classifier = json.loads((routed / "r_uint8.route.json").read_text())["classifier"]["multiply_adds"]
    assert counts["done"] == pytest.approx((run + classifier * 32 * 32) / (32 * 24))
    assert "b1_uint8 75.0%" in tally.describe(found)


@pytest.mark.parametrize("unit", ["gmacs", "instructions"])
def test_a_budget_of_the_image_is_met(routed, unit):
    upscaler, image = load(routed / "r_uint8.route.json"), make_image(96, 120, seed=2)
    pixels, seen = 96 * 120, set()
    costs, _ = upscaler._costs_in(unit)
    counted = {"gmacs": "multiply_adds", "instructions": "instructions"}[unit]
    for share in (1, 1.3, 1.6, 2, 3):
        limit = costs[0] * share
        upscaler.tally = upscaler.new_tally()
        upscaler.budget = {unit: limit if unit == "instructions" else limit * pixels / 1e9}
        upscaler(image)
        done = upscaler.tally.summary()[counted]["done"]
        assert done <= limit * (1 + 1e-12)
        seen.add(done)
    assert len(seen) >= 3  # also budgets between the networks
    upscaler.budget = {unit: 1e-9}
    with pytest.raises(UserError, match="120x96 costs .* more than the budget of 1e-09"):
        upscaler(image)
    upscaler.budget = {unit: 1e9}
    np.testing.assert_array_equal(upscaler(image), upscaler.nets[2](image))
    upscaler._instructions, upscaler.budget = None, {"instructions": 1e9}
    with pytest.raises(UserError, match="its instructions are unknown"):
        upscaler(image)


def test_a_depth_runs_one_exit(routed):
    plain, image = load(routed / "r_uint8.route.json"), make_image(40, 50)
    with pytest.raises(UserError, match="does not support a desired depth"):
        plain(image, depth=1)
    upscaler = route.RoutedUpscaler("r", plain.nets, plain.net_costs, plain._classifier, PATCH, None, None, (1, 2, 4))
    assert upscaler.max_depth == 4
    for depth, net in zip((1, 2, 4), plain.nets, strict=True):
        np.testing.assert_array_equal(upscaler(image, depth=depth), net(image))
    counts = upscaler.tally.summary()["multiply_adds"]
    assert counts["done"] == counts["chosen"]  # without the classifier
    np.testing.assert_array_equal(upscaler(image), plain(image))
    with pytest.raises(UserError, match="r: depth 3 is not one of its exits, 1, 2, 4"):
        upscaler(image, depth=3)


def test_a_patch_is_classified_as_if_it_were_alone(routed):
    upscaler, image = load(routed / "r_uint8.route.json"), make_image(64, 48, seed=1)
    chosen = upscaler.choose(image)
    assert chosen.shape == (4, 3)
    for row, column in np.ndindex(chosen.shape):
        place = np.s_[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
        assert upscaler.choose(image[place]) == chosen[row, column]
    assert upscaler.choose(image[:1, :17]).shape == (1, 2)


def test_the_classifier_learns_where_a_network_fails():
    """Smooth patches, which both networks do equally well, and textured ones, where the small one is worse."""
    rng = np.random.default_rng(0)
    hard = np.arange(200) % 4 == 0
    noise = rng.normal(0, 1, (200, PATCH, PATCH, 3)) * np.where(hard, 40, 2)[:, None, None, None]
    patches = np.clip(rng.uniform(110, 140, (200, 1, 1, 3)) + noise, 0, 255).astype(np.uint8)
    errors = np.stack([np.where(hard, 90.0, 10.0), np.full(200, 9.0)], axis=1)
    found, costs = route_training.Measured(patches, errors, np.arange(200) >= 120), np.array([1.0, 2.0])
    model = route_training.fit(found, costs, 1.3, steps=120)
    chosen = np.asarray(model(patches[120:].astype(np.float32) / 255))[:, 0, 0].argmax(1)
    assert costs[chosen].mean() <= 1.3 + 1 / 80  # the threshold, in float32, may fall on a patch
    assert (chosen[hard[120:]] == 1).all()


@pytest.mark.slow
def test_a_seed_gives_one_classifier():
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (60, PATCH, PATCH, 3), np.uint8)
    found = route_training.Measured(patches, rng.random((60, 2)), np.arange(60) >= 40)
    first, second = (route_training.fit(found, np.array([1.0, 2.0]), 1.3, steps=5) for _ in range(2))
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_price_meets_the_budget():
    values, costs = -np.random.default_rng(0).exponential(size=(500, 3)), np.array([1.0, 2.0, 4.0])
    for limit in (1.1, 2.0, 3.5):
        chosen = (values - budget.price(values, costs, limit) * costs).argmax(1)
        assert limit - 0.02 < costs[chosen].mean() <= limit
    assert budget.parse("50%", costs, 2) == 2
    assert budget.parse("0.0006912G", costs, 2) == pytest.approx(3)
    for bad in ("much", "5", "10%", "100%", "1G", "-5%"):
        with pytest.raises(UserError, match="--budget"):
            budget.parse(bad, costs, 2)


def test_evaluate_and_compare_report_the_routing(routed, image_folder):
    upscaler = load(routed / "r_uint8.route.json")
    result = evaluate.evaluate(upscaler, image_folder)
    assert sum(result["routing"]["patches"].values()) == pytest.approx(1)
    report, _ = compare.compare(load(routed / "b3_uint8.tflite"), upscaler, image_folder)
    assert (
        report["routing"]["multiply_adds"]["largest"]
        == json.loads((routed / "r_uint8.route.json").read_text())["nets"][-1]["multiply_adds"]
    )
    assert report["model"]["size_bytes"] == sum(
        (routed / f"{n}_uint8.tflite").stat().st_size for n in ("r_classifier", "b1", "b2", "b3")
    )


def test_the_sidecar_records_the_measurements(routed):
    found = json.loads((routed / "r_uint8.route.json").read_text())
    assert [net["receptive_field"] for net in found["nets"]] == [6, 8, 10]
    held_out = found["training"]["held_out"]
    assert held_out["multiply_adds"] == pytest.approx(
        sum(share * net["multiply_adds"] for share, net in zip(held_out["shares"], found["nets"], strict=True))
    )
    assert len(held_out["mse_of_each"]) == 3


@pytest.mark.slow
def test_float_files_too(nets, image_folder, tmp_path):
    folder = deploy(nets, image_folder, tmp_path / "r", ["float32", "uint8"])
    check_bytes(folder, "float32")
    image = make_image(53, 75, seed=6)
    upscaler = load(folder / "r_float32.route.json")
    found, alone = choosing(upscaler, np.eye(4, 5, dtype=int) * 2).real(image), [net.real(image) for net in upscaler.nets]
    error = np.min([np.abs(found - image) for image in alone], axis=0)
    assert error.max() < 1e-5


def test_unusable_sidecars_are_refused(routed, tmp_path):
    good, path = json.loads((routed / "r_uint8.route.json").read_text()), tmp_path / "x.route.json"

    def refused(pattern, text=None, **changes):
        path.write_text(json.dumps({**good, **changes}) if text is None else text)
        with pytest.raises(UserError, match=pattern) as error:
            load(path)
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)

    shutil.copytree(routed, tmp_path, dirs_exist_ok=True)
    for text in ("[1", "[]", "", "[" * 100_000):
        refused("not a JSON object", text)
    refused("kind", "{}")
    refused("kind", (routed / "b1_uint8.json").read_text())
    refused("format 2", format=2)
    for key, value in (("scale", 0), ("scale", True), ("patch", "16"), ("overlap", -1), ("classifier", None), ("nets", [])):
        refused(f"damaged: '{key}'", **{key: value})
    first, *rest = good["nets"]
    outside = tmp_path.parent / "outside.tflite"
    shutil.copy(routed / first["file"], outside)
    for name in (f"../{outside.name}", str(outside), f"./{first['file']}", "..", "", "a\0.tflite", "..\\x.tflite", 3):
        refused("damaged: 'nets'", nets=[{**first, "file": name}, *rest])
    for key, value in (("multiply_adds", 10**400), ("multiply_adds", 0), ("sha256", None)):
        refused("damaged: 'nets'", nets=[{**first, key: value}, *rest])
    refused("damaged: 'receptive_field'", nets=[{**first, "receptive_field": None}, *rest])
    refused("damaged: 'multiply_adds'", nets=[rest[0], first, rest[1]])
    refused("nosuch.tflite is missing", nets=[{**first, "file": "nosuch.tflite"}, *rest])
    refused("SHA-256", nets=[{**first, "sha256": rest[0]["sha256"]}, *rest])
    refused("is unusable", scale=3)
    refused("is missing", classifier={**good["classifier"], "file": "b9.tflite"})
    with pytest.raises(UserError, match="not a patch classifier"):
        classifier.Classifier(routed / "b1_uint8.tflite", PATCH, 2, 1)
    path.write_text(json.dumps({**good, "classifier": {**first}}))
    with pytest.raises(UserError, match=r"returns .* expected"):
        load(path)(make_image(20, 20))
    with pytest.raises(UserError, match="does not support a desired depth"):
        load(routed / "r_uint8.route.json")(make_image(20, 20), depth=1)


def test_networks_that_do_not_match_are_refused(nets, model_file, image_folder, tmp_path, depth_file):
    for given, pattern in (
        (nets[:1], "two or more networks"),
        ([nets[0], model_file], "one scale"),
        ([nets[0], nets[0]], "different file names"),
        ([nets[0], depth_file], "adapter"),
    ):
        with pytest.raises(UserError, match=pattern):
            route_training.train(given, image_folder, tmp_path / "out")
    with pytest.raises(UserError, match="multiple of 4"):
        route_training.train(nets, image_folder, tmp_path / "out", patch=18)
    assert not (tmp_path / "out").exists()


def test_at_the_command_line(routed, run_here, image_folder, tmp_path):
    model = routed / "r_uint8.route.json"
    result = run_here("evaluate", "--model", model, "--data", image_folder, "--json", tmp_path / "f.json")
    assert result.returncode == 0, result.stderr
    assert "patches: b1_uint8" in result.stdout
    assert "routing" in json.loads((tmp_path / "f.json").read_text())
    hint = f"give one of its networks, the .tflite files in {routed}"
    one_line(run_here("inspect", "--model", model, "--device", "virtual:gpu"), hint)
    one_line(run_here("export", "--model", model, "--out", tmp_path / "out", "--target", "nnapi"), "exported already", hint)
    one_line(run_here("evaluate", "--model", routed, "--data", image_folder), f"give a file, such as {model}")
    one_line(run_here("route", "--model", "x", "--data", image_folder, "--out", tmp_path, "--patch", "0"), "--patch 0")
    code = f"from mobile_sr import load\nimport numpy as np\nload({str(model)!r})(np.zeros((40, 40, 3), np.uint8))"
    assert not {"keras", "tensorflow"} & modules_after(code)
    assert Path(model).exists()
