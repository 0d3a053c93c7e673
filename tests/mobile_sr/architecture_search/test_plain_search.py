"""`mobile-sr search --recipe fgnas_plain_x3`: from a folder of images to a plain chain within a budget, and its training."""

import json

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.architecture_search import architecture, search
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.models.nas import fgnas_costs
from mobile_sr.models.nas import fgnas_plain_supernet as plain
from mobile_sr.training import recipes, train_loop
from mobile_sr.training.run_folder import read_history
from tests.conftest import assert_same_arrays

FOUND = {"channels": 8, "layers": 2, "widths": [4, 8]}


def recipe(budget="550", **arguments):
    """The smoke recipe with one layer, which compiles fast, and 20 steps, validated every 4: fixed from step 12 on."""
    made = recipes.load("fgnas_plain_x2", smoke=True, steps=20)
    made.validate_every, made.select = 4, "rgb"
    made.network |= {"gate_rate": 200.0, "layers": 1, **arguments}
    search.set_cost(made, "arm64", budget)
    return made


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory, cache):
    """The run folder of a finished search, with its result."""
    out = tmp_path_factory.mktemp("plain") / "run"
    return out, search.search(recipe(), image_folder, out, cache=cache)


def test_the_result_is_a_plain_network_within_the_budget(finished):
    out, (best, result) = finished
    model, config = weights.load_model(out / "best.npz")
    assert config["network"] == "chainsr"
    assert result == architecture.parts(config) == architecture.of_model(out, "chainsr")
    about = json.loads((out / "architecture.json").read_text())
    instructions = plain.of_widths([result["channels"], *result["widths"]], 12, fgnas_costs.Cost("arm64"))
    assert about["arm64_instructions_per_lr_pixel"] == round(instructions) <= 550
    assert about["multiply_adds_per_lr_pixel"] == models.multiply_adds(model, 1)
    history = read_history(out / "history.csv")
    fixed = [row for row in history if int(row["step"]) >= about["step"]]
    assert {row["alive"] for row in fixed} == {history[-1]["alive"]}  # the gates of the saved network stay
    assert round(best, 4) == max(float(row["validation_psnr_rgb"]) for row in history if int(row["step"]) >= 12)
    assert (out / "architecture.svg").read_text().count("<rect") == 1 + 1 + result["layers"]


@pytest.mark.slow
def test_an_interrupted_search_resumes_to_the_same_result(finished, image_folder, tmp_path, cache):
    class Stop(search.PlainSearchRun):
        def save(self):
            super().save()
            if self.step == 16:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_loop.train(recipe(), image_folder, tmp_path, cache=cache, kind=Stop)
    search.search(recipe(), image_folder, tmp_path, cache=cache, resume=True)
    assert_same_arrays(tmp_path / "best.npz", finished[0] / "best.npz")


def test_a_budget_between_the_limits():
    """One group of 4 channels of the head, and 2 layers of 8."""
    made = recipe(None, layers=2)
    assert [round(search.cost_of(made, which)) for which in ("minimum", "full")] == [387, 799]
    for budget in ("380", "1000"):
        with pytest.raises(UserError, match="networks of this supernet cost between 387 instructions and 799 instr"):
            recipe(budget, layers=2)


def test_architecture_files_of_plain_networks(tmp_path):
    file = tmp_path / "found.json"
    architecture.write(file, FOUND, {"scale": 2, "parameters": 7})
    assert architecture.read(file) == FOUND
    assert json.loads(file.read_text())["parameters"] == 7
    text = file.read_text()
    for broken, message in (
        (text.replace("[4, 8]", "[5, 8]"), "does not match its sha256"),
        (text.replace("[4, 8]", "[4, 9]"), "invalid architecture .widths must have 2 numbers .layers., the last of them 8"),
        (text.replace("[4, 8]", '["4", 8]'), "invalid architecture .widths must be whole numbers"),
        (text.replace('"widths"', '"heights"'), "invalid architecture"),
    ):
        file.write_text(broken)
        with pytest.raises(UserError, match=message):
            architecture.read(file)


def test_a_recipe_gets_the_layers_that_were_found(finished, tmp_path):
    out, (_, result) = finished
    made = recipes.load("chainsr_x2", smoke=True)
    assert architecture.for_recipe(made, tmp_path, file=out / "architecture.json") == result
    assert architecture.for_recipe(made, tmp_path, init=out) == result
    uniform = {"channels": 16, "layers": 5, "widths": []}
    path = tmp_path / "s.npz"
    config = {"network": "chainsr", "scale": 2, "channels": 16, "layers": 5}
    weights.save_model(path, models.build(config), config)
    assert architecture.for_recipe(made, tmp_path, init=path) == uniform
    assert architecture.for_recipe(recipes.load("chainsr_s_x2"), tmp_path) == {}
    blocks = {"head": 4, "blocks": [], "tail": []}
    architecture.write(tmp_path / "blocks.json", blocks, {})
    for name, arguments, message in (
        ("chainsr_x2", {}, "--recipe chainsr_x2: give the result of a search"),
        ("chainsr_x2", {"init": "xlsr_x3"}, "xlsr_x3: does not contain a ChainSR"),
        ("chainsr_x2", {"file": tmp_path / "blocks.json"}, "architecture of an FGNAS network; use --recipe fgnas_x2"),
        ("fgnas_x2", {"file": out / "architecture.json"}, "architecture of a ChainSR; use --recipe chainsr_x2"),
        ("chainsr_s_x2", {"file": out / "architecture.json"}, "chainsr_s_x2 has layers of its own; use --recipe chainsr_x2"),
        ("fgnas_plain_x2", {}, "use `mobile-sr search`"),
    ):
        with pytest.raises(UserError, match=message):
            architecture.for_recipe(recipes.load(name), tmp_path, **arguments)


@pytest.mark.slow
def test_search_by_uint8_and_training_from_random_weights(run_here, image_folder, tmp_path, cache):
    common = ["--smoke", "--data", image_folder, "--cache", cache]
    size = ["--blocks", 1, "--set", "network.gate_rate=100"]
    done = run_here("search", "--recipe", "fgnas_plain_x2", "--budget", "600", *size, *common, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "(RGB, as uint8 .tflite), " in done.stdout
    assert " of 1 layers left, channels " in done.stdout
    assert [row["selected_by"] for row in read_history(tmp_path / "run" / "history.csv")] == ["rgb", "uint8"]
    file = tmp_path / "run" / "architecture.json"
    train = ["train", "--recipe", "chainsr_x2", "--steps", 2, "--set", "validate_every=2", *common]
    done = run_here(*train, "--architecture", file, "--out", tmp_path / "scratch")
    assert done.returncode == 0, done.stderr
    config = weights.load_model(tmp_path / "scratch" / "best.npz")[1]
    assert architecture.parts(config) == architecture.read(file)
    assert architecture.of_run(tmp_path / "scratch", "chainsr") == architecture.read(file)
    done = run_here(*train, "--init", tmp_path / "run", "--out", tmp_path / "further")
    assert done.returncode == 0, done.stderr
    assert "step 0  validation" in done.stderr  # all weights were loaded
    assert np.isfinite(weights.load_model(tmp_path / "further" / "best.npz")[0].get_weights()[0]).all()
