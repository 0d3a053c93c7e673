"""Joint training of networks and their classifier: its losses, what is frozen, and the way to a routed model."""

import json
import re

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.routing import joint_training, route_training
from mobile_sr.training import hooks, recipes, train_loop
from tests.conftest import assert_same_arrays, smoke_recipe
from tests.mobile_sr.test_cli import one_line


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """EDSR x2 of 2 and 1 blocks with random weights, as .npz files."""
    folder, rng = tmp_path_factory.mktemp("nets"), np.random.default_rng(0)
    for blocks in (2, 1):
        config = {"network": "edsr", "scale": 2, "blocks": blocks, "channels": 4}
        model = models.build(config)
        model.set_weights([rng.normal(0, (0.8 / np.prod(w.shape[:-1])) ** 0.5, w.shape) for w in model.get_weights()])
        weights.save_model(folder / f"b{blocks}.npz", model, config)
    return [str(folder / f"b{blocks}.npz") for blocks in (2, 1)]


def joint(nets, steps, classifier_steps):
    """A tiny recipe; the networks are given the largest first."""
    recipe = smoke_recipe("classsr_x2", steps=steps, validate_every=2)
    recipe.network |= {"files": nets, "classifier_steps": classifier_steps}
    return recipe


@pytest.fixture(scope="module")
def run(nets, image_folder, cache, tmp_path_factory):
    """A run folder whose classifier alone was trained."""
    out = tmp_path_factory.mktemp("joint") / "run"
    train_loop.train(joint(nets, 2, 2), image_folder, out, cache=cache)
    return out


def arrays_of(path, start):
    return {name: value for name, value in weights.read_arrays(path)[0].items() if name.startswith(start)}


def test_the_losses_of_sure_and_balanced_decisions():
    unsure, sure = np.full((4, 3), 1 / 3, np.float32), np.eye(3, dtype=np.float32)
    one = np.tile(sure[:1], (5, 1))
    assert [float(joint_training.class_loss(x)) for x in (unsure, sure, one)] == pytest.approx([2, 0, 0], abs=1e-6)
    assert [float(joint_training.balance_loss(x)) for x in (unsure, sure, one)] == pytest.approx([0, 0, 1], abs=1e-6)
    both = joint_training.routing_loss(0.5, 3)(None, one.reshape(5, 1, 1, 3))
    assert float(both) == pytest.approx(3)


@pytest.mark.slow
def test_the_networks_stay_while_the_classifier_is_trained(run, nets):
    for index, file in enumerate(nets[::-1]):  # the cheapest first
        for name, value in arrays_of(file, "").items():
            if not name.startswith("__"):
                np.testing.assert_array_equal(weights.read_arrays(run / "last.npz")[0][f"net{index}/{name}"], value)
    before = models.build(joint_training.resolve(joint(nets, 2, 2).network)).get_layer("classifier").get_weights()[-2]
    assert (weights.read_arrays(run / "last.npz")[0]["classifier/logits/kernel"] != before).any()  # they start at 0


@pytest.mark.slow
def test_then_all_are_trained_and_a_resumed_run_is_the_same(nets, image_folder, cache, tmp_path, train_interrupted):
    train_loop.train(joint(nets, 4, 2), image_folder, tmp_path / "a", cache=cache)
    train_interrupted(joint(nets, 4, 2), tmp_path / "b", 3)
    for name in ("best.npz", "last.npz"):
        assert_same_arrays(tmp_path / "a" / name, tmp_path / "b" / name)
    start = weights.read_arrays(nets[0])[0]["head/kernel"]
    assert (weights.read_arrays(tmp_path / "a" / "last.npz")[0]["net1/head/kernel"] != start).any()


@pytest.mark.slow
def test_a_run_becomes_a_routed_model(run, image_folder, cache, tmp_path, run_here):
    options = {"patches": 40, "precisions": ["uint8"], "methods": (), "cache": cache, "log": lambda line: None}
    (file,) = route_training.train([str(run)], image_folder, tmp_path / "r", **options)
    sidecar = json.loads(file.read_text())
    assert sidecar["patch"] == 16
    assert [net["file"] for net in sidecar["nets"]] == ["b1_uint8.tflite", "b2_uint8.tflite"]
    assert 0 < sidecar["classifier"]["instructions"] < sidecar["nets"][0]["instructions"] < sidecar["nets"][1]["instructions"]
    held_out, costs = sidecar["training"]["held_out"], [net["multiply_adds"] for net in sidecar["nets"]]
    assert costs[0] <= held_out["multiply_adds"] <= np.mean(costs) * 1.05  # the default budget, and the classifier's rounding
    result = run_here("evaluate", "--model", file, "--data", image_folder, "--nets", "--json", tmp_path / "f.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "f.json").read_text())
    for net, entry in zip(found["nets"], sidecar["nets"], strict=True):  # small images run as a whole, without overlaps
        assert net["routing"]["instructions"]["done"] == pytest.approx(entry["instructions"])
    assert found["routing"]["instructions"]["done"] > found["routing"]["instructions"]["chosen"]
    assert [net["psnr"] for net in found["nets"]] == pytest.approx(
        [
            np.mean([row["psnr"] for row in json.loads(alone.stdout)["images"]])
            for alone in (
                run_here("evaluate", "--model", tmp_path / "r" / net["file"], "--data", image_folder, "--json", "-")
                for net in sidecar["nets"]
            )
        ]
    )
    lines = [f"{name}: [0-9.]+ dB, [0-9,]+ multiply-adds, [0-9,]+ Cortex.* per LR pixel" for name in ("b1_uint8", "b2_uint8")]
    assert re.search("\n".join(lines) + "$", result.stdout.strip())


@pytest.mark.slow
def test_weighted_errors_cost_more_than_the_error_of_the_sum(nets, image_folder, cache, tmp_path):
    losses = []
    for combine in ("sum", "errors"):
        recipe = joint(nets, 2, 2)
        recipe.network["combine"] = combine
        train_loop.train(recipe, image_folder, tmp_path / combine, cache=cache)
        losses.append(float((tmp_path / combine / "history.csv").read_text().splitlines()[-1].split(",")[2]))
    assert losses[1] > losses[0]  # |w e + v f| <= w |e| + v |f|
    split = joint_training.split(str(tmp_path / "errors"), tmp_path)
    assert [file.stem for file in split.files] == ["b1", "b2"]


def test_what_joint_training_refuses(nets, run_here, image_folder, tmp_path):
    run = tmp_path / "joint.npz"
    config = joint_training.resolve(joint(nets, 2, 2).network)
    weights.save_model(run, models.build(config), config)
    for changes, message in (
        ({"branches": "ecb"}, "branches=ecb: not supported"),
        ({"select": "uint8"}, "select=uint8: .* use rgb or y"),
        ({"loss": "psnr"}, "loss=psnr: .* proportional to the errors; use charbonnier"),
        ({"charbonnier_eps": 0.1}, "charbonnier_eps=0.1: .* use at most 0.001"),
        ({"hooks": hooks.Hooks(loss=lambda true, predicted: abs(true - predicted))}, "own loss: .* network.combine=sum"),
        ({"patch": 24}, "patch=24: must be a multiple of the routed patch, 16"),
    ):
        recipe = joint(nets, 2, 2)
        for key, value in changes.items():
            setattr(recipe, key, value)
        with pytest.raises(UserError, match=message):
            train_loop.train(recipe, image_folder, tmp_path / "out")
    train = ("train", "--recipe", "classsr_x2", "--smoke", "--data", image_folder, "--out", tmp_path / "out")
    one_line(run_here(*train), "--set network.files=runs/small,runs/middle,runs/large")
    one_line(run_here(*train, "--set", f"network.files={nets[0]},{nets[0]}"), "different file names")
    one_line(
        run_here("train", "--recipe", "classsr_x3", *train[3:], "--set", f"network.files={nets[0]},{nets[1]}"), "scale is 2"
    )
    assert not (tmp_path / "out").exists()
    for command in (("export", "--out", tmp_path / "e"), ("evaluate", "--data", image_folder)):
        one_line(run_here(command[0], "--model", run, *command[1:]), f"`mobile-sr route --model {run}`")
    route = ("route", "--model", run, "--data", image_folder, "--out", tmp_path / "r", "--patch", 32)
    one_line(run_here(*route), "was trained with patches of 16")
    assert "classsr" not in recipes.RECIPES  # which a sweep trains
