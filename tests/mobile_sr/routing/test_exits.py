"""One exit for each image: choice by depth, by signature and by budget, its figures, and the line of the static networks."""

import json

import numpy as np
import pytest

from mobile_sr import load, zoo
from mobile_sr.benchmarking import benchmark
from mobile_sr.converters.tflite import merge
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare, instructions
from mobile_sr.files import sha256, write_json
from mobile_sr.routing.exits import ExitsUpscaler
from tests.conftest import make_image
from tests.mobile_sr.test_cli import modules_after, one_line

LAYERS = (5, 8, 12)
STATIC = [f"chainsr_{size}_x3:uint8" for size in ("s", "sp", "m")]  # as if they were the exits of one network
MULTIPLY_ADDS = (15_408, 22_320, 31_536)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file whose exits are three packaged networks of as many layers, and its sidecar."""
    parts = {f"exit{layers}": zoo.resolve(model).read_bytes() for layers, model in zip(LAYERS, STATIC, strict=True)}
    path = tmp_path_factory.mktemp("exits") / "e_uint8.tflite"
    path.write_bytes(merge.merge(dict(reversed(parts.items())), ["sr"], has_default=True))
    costs = [instructions.of_patch(zoo.resolve(model), 32) for model in STATIC]
    entries = [
        {"signature": name, "layers": layers, "receptive_field": layers + 2, "multiply_adds": count, "instructions": cost}
        for name, layers, count, cost in zip(parts, LAYERS, MULTIPLY_ADDS, costs, strict=True)
    ]
    about = {"scale": 3, "receptive_field": 14, "signatures": [merge.DEFAULT, *parts], "exits": entries}
    write_json(path.with_suffix(".json"), {"sha256": sha256(path.read_bytes()), **about})
    return path


def test_a_depth_or_a_signature_selects_an_exit(file):
    model, image = load(file), make_image(20, 26)
    assert isinstance(model, ExitsUpscaler)
    assert (model.max_depth, model.scale, model.receptive_field) == (12, 3, 14)
    np.testing.assert_array_equal(model(image), load(STATIC[2])(image))
    for layers, static in zip(LAYERS, STATIC, strict=True):
        wanted = load(static)(image)
        np.testing.assert_array_equal(model(image, depth=layers), wanted)
        one = load(f"{file}@signature=exit{layers}")
        assert (type(one).__name__, one.receptive_field) == ("Upscaler", layers + 2)
        np.testing.assert_array_equal(one(image), wanted)
    np.testing.assert_array_equal(model(image, tile=8, depth=5), load(STATIC[0])(image))
    np.testing.assert_array_equal(model.real(image, depth=5) * 255, model(image, depth=5))
    with pytest.raises(UserError, match="depth 6 is not one of its exits, 5, 8, 12"):
        model(image, depth=6)


def test_a_budget_chooses_from_the_table_alone(file):
    model, image = load(file), make_image(40, 30)
    for net in model.nets:
        net._run = lambda image: pytest.fail("a budget runs nothing")
    costs, pixels = model._instructions[1:], 40 * 30
    for index, layers in enumerate(LAYERS):
        for unit, budget in (("instructions", costs[index]), ("gmacs", MULTIPLY_ADDS[index] * pixels / 1e9)):
            model.budget = {unit: budget}
            assert model.depth_for(image) == layers
            model.budget = {unit: budget * 0.999}
            if index:
                assert model.depth_for(image) == LAYERS[index - 1]
            else:
                with pytest.raises(UserError, match="30x40 costs .* more than the budget"):
                    model.depth_for(image)
    model.budget = {"gmacs": 0.06}
    assert (model.depth_for(image), model.depth_for(image, tile=8)) == (12, 5)  # the overlaps of tiles cost more
    model._ms, model.budget = [0.0, 1e-3, 2e-3, 4e-3], {"ms": 2e-3 * pixels}
    assert model.depth_for(image) == 8


def test_what_was_chosen_is_told(file):
    model, (small, large) = load(file), (make_image(8, 8), make_image(10, 16))
    model.budget = {"gmacs": 3e-3}
    for image, layers, count in ((small, 12, MULTIPLY_ADDS[2]), (large, 5, MULTIPLY_ADDS[0])):
        sr, figures = model.with_figures(image)
        assert (sr.shape[0], figures["exit"]["layers"]) == (3 * image.shape[0], layers)
        assert figures["exit"]["multiply_adds"] == count * image.shape[0] * image.shape[1]
    assert model.describe_figures(figures).startswith("exit after 5 of 12 layers; 0.00247 G multiply-adds, 0.0003")
    routing = model.summary()["routing"]
    assert routing["images"] == {"exit5": 0.5, "exit8": 0, "exit12": 0.5}
    assert routing["multiply_adds"]["done"] == pytest.approx((64 * MULTIPLY_ADDS[2] + 160 * MULTIPLY_ADDS[0]) / 224)


def test_the_exits_beside_the_line_of_the_static_networks(file, run_here, few_images, tmp_path):
    out = tmp_path / "e.json"
    plain = [word for model in STATIC for word in ("--model", model)]
    command = ("evaluate", "--model", file, *plain, "--nets", "--data", few_images, "--json", out)
    result = run_here(*command)
    assert result.returncode == 0, result.stderr
    curve = {point["name"]: point for point in json.loads(out.read_text())["curve"]}
    assert list(curve) == [*(f"{file} exit{layers}" for layers in LAYERS), *STATIC]
    for layers, static in zip(LAYERS, STATIC, strict=True):
        own = curve[f"{file} exit{layers}"]
        assert (own["instructions"], own["psnr"]) == pytest.approx((curve[static]["instructions"], curve[static]["psnr"]))
        assert (own["is_line"], own["above_line_db"]) == (False, pytest.approx(0, abs=1e-9))
    lines = [line.split()[:2] for line in result.stdout.splitlines() if line.endswith("+0.000")]
    assert lines == [[str(file), f"exit{layers}"] for layers in LAYERS]  # by cost


def test_commands_choose_an_exit_and_say_so(file, run_here, few_images, tmp_path):
    out = tmp_path / "r.json"
    data = ("--data", few_images, "--json", out)
    result = run_here("evaluate", "--model", file, "--depth", 8, *data)
    assert "images: exit5 0.0%, exit8 100.0%, exit12 0.0%" in result.stdout
    assert [row["exit"]["layers"] for row in json.loads(out.read_text())["images"]] == [8, 8]
    result = run_here("compare", "--reference", STATIC[0], "--model", file, "--depth", 5, *data)
    assert (result.returncode, json.loads(out.read_text())["drop_db"]) == (0, 0)
    assert "images: exit5 100.0%" in result.stdout
    assert json.loads(out.read_text())["model"]["audit"]["signature"] == "exit5"
    result = run_here(
        "upscale", few_images / "p0.png", "--model", file, "--budget-gmacs", 0.45, "--out", tmp_path / "up", "--json", out
    )
    used = json.loads(out.read_text())["images"][0]["exit"]
    assert (used["layers"], f"p0.png: exit after {used['layers']} of 12 layers" in result.stdout) == (8, True)
    one_line(run_here("evaluate", "--model", file, "--depth", 3, *data), "depth 3 is not one of its exits, 5, 8, 12")
    assert benchmark.at_depth([str(file)], 8) == [f"{file}@signature=exit8"]
    with pytest.raises(UserError, match="depth 3 is not one of its exits, 5, 8, 12"):
        benchmark.at_depth([str(file)], 3)
    for options, layers in (("", 12), ("@signature=exit5", 5)):
        facts = compare.inspect(f"{file}{options}")
        assert (facts["ops"]["CONV_2D"], facts["partitions"]) == (layers + 2, 1)
        static = zoo.resolve(STATIC[LAYERS.index(layers)])
        assert facts["arm64"]["per_lr_pixel"] == pytest.approx(instructions.of_patch(static, 32))


@pytest.mark.slow
def test_running_needs_no_tensorflow(file):
    code = f"import mobile_sr, numpy; mobile_sr.load({str(file)!r})(numpy.zeros((8, 8, 3), numpy.uint8), depth=5)"
    assert not {"tensorflow", "keras"} & modules_after(code)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layers", 5),
        ("layers", 0),
        ("receptive_field", None),
        ("multiply_adds", "x"),
        ("instructions", -1),
        ("signature", "exit5"),
    ],
)
def test_damaged_exits_are_refused(file, tmp_path, field, value):
    sidecar = json.loads(file.with_suffix(".json").read_text())
    sidecar["exits"][1][field] = value
    copy = tmp_path / file.name
    copy.write_bytes(file.read_bytes())
    write_json(copy.with_suffix(".json"), sidecar)
    with pytest.raises(UserError, match="damaged sidecar: 'exits' is"):
        load(copy)
