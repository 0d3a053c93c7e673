"""Training with exits: the loss, the start, what a validation records, an exact resume, and the exported file."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mobile_sr import extensions, load, models
from mobile_sr.converters.tflite import merge
from mobile_sr.errors import UserError
from mobile_sr.evaluation import instructions
from mobile_sr.inference import weights
from mobile_sr.quantization.export import export
from mobile_sr.routing import exits_training, networks, route_training
from mobile_sr.training import train_loop
from tests.conftest import assert_same_arrays, make_image, smoke_recipe
from tests.mobile_sr.test_cli import one_line

NETWORK = {"network": "chainsr", "scale": 2, "channels": 4, "layers": 3, "exits": [1, 2], "output_activation": "clipped_relu"}


def tiny(steps, **changes):
    recipe = smoke_recipe("chainsr_m_exits_x2", steps=steps, validate_every=2, patch=8, flat_share=0.0, branches="none")
    recipe.optimizer = "adam"  # compiles faster
    recipe.network |= NETWORK
    for key, value in changes.items():
        setattr(recipe, key, value)
    return recipe


def save(path, **changes):
    """Writes a network with random weights and returns its path."""
    config = {**NETWORK, **changes}
    model, rng = models.build(config), np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.2, w.shape) for w in model.get_weights()])
    weights.save_model(path, model, config)
    return path


def test_the_last_exit_teaches_the_others_and_learns_nothing_from_them():
    import tensorflow as tf

    def squared(a, b):
        return tf.reduce_mean(tf.square(a - b))

    hr = tf.zeros((1, 1, 1, 3))
    images = tf.Variable(np.repeat([1.0, 2.0, 4.0], 3).reshape(1, 1, 1, 9).astype(np.float32))
    with tf.GradientTape() as tape:
        value = exits_training.exits_loss(squared, 0.5, 3.0)(hr, images)
    target = 3.0  # (0 + 3 * 4) / 4
    assert float(value) == 0.5 * ((1 - target) ** 2 + (2 - target) ** 2)
    gradient = tape.gradient(value, images).numpy().ravel()
    np.testing.assert_allclose(gradient, np.repeat([0.5 * 2 * (1 - target) / 3, 0.5 * 2 * (2 - target) / 3, 0], 3), rtol=1e-6)


def test_a_network_without_exits_starts_all_of_them(tmp_path, image_folder, cache, capsys):
    start = save(tmp_path / "plain.npz", exits=[])
    recipe = tiny(1)
    recipe.start_learning_rate = recipe.peak_learning_rate = recipe.end_learning_rate = 0.0
    train_loop.train(recipe, image_folder, tmp_path / "run", init=start, cache=cache)
    assert "loaded 10 of 14 arrays; fitted 4 to training images\nstep 0  validation" in capsys.readouterr().err
    given, taken = weights.read_arrays(start)[0], weights.read_arrays(tmp_path / "run" / "best.npz")[0]
    assert all(np.array_equal(taken[name], value) for name, value in given.items())


def test_a_validation_scores_every_exit(tmp_path):
    model, _ = weights.load_model(save(tmp_path / "n.npz"))
    hooks, x = extensions.training(tiny(2)), np.random.default_rng(0).random((1, 5, 6, 3)).astype(np.float32)
    assert hooks.start_validation() == (1, 2, 3)
    for layers, (net, _) in zip((1, 2, 3), models.split_exits(model, NETWORK), strict=True):
        np.testing.assert_array_equal(hooks.sr(model, x, layers), net(x))
        hooks.note_scores(layers, 30 + layers, 31.23456 + layers)
    assert (
        list(hooks.figures()) == list(hooks.columns) == [f"exit{k}_psnr_{space}" for k in (1, 2, 3) for space in ("rgb", "y")]
    )
    assert list(hooks.figures().values()) == [31, 32.2346, 32, 33.2346, 33, 34.2346]
    assert hooks.status() == "  exits 1: 31.000 2: 32.000 3: 33.000"


@pytest.mark.slow
def test_a_resumed_run_is_the_same_and_logs_every_exit(image_folder, cache, tmp_path, train_interrupted):
    train_loop.train(tiny(4), image_folder, tmp_path / "a", cache=cache)
    train_interrupted(tiny(4), tmp_path / "b", 3)
    for name in ("best.npz", "last.npz"):
        assert_same_arrays(tmp_path / "a" / name, tmp_path / "b" / name)
    best, _ = weights.load_model(tmp_path / "a" / "best.npz")
    for layers, (net, _) in zip((1, 2, 3), models.split_exits(best, NETWORK), strict=True):
        found, config = weights.load_model(tmp_path / "a" / f"a_exit{layers}.npz")
        assert config["layers"] == layers
        for value, wanted in zip(found.get_weights(), net.get_weights(), strict=True):
            np.testing.assert_array_equal(value, wanted)
    rows = list(csv.DictReader((tmp_path / "a" / "history.csv").open()))
    assert [row["step"] for row in rows] == ["2", "4"]
    for row in rows:
        of_exits = [float(row[f"exit{layers}_psnr_rgb"]) for layers in (1, 2, 3)]
        assert len(set(of_exits)) == 3
        assert float(row["validation_psnr_rgb"]) == pytest.approx(np.mean(of_exits), abs=1e-3)


@pytest.mark.slow
def test_an_exit_that_died_ends_the_training(image_folder, cache, tmp_path, monkeypatch):
    initialize = exits_training.ExitsTraining.initialize

    def dead(hooks, model, *others):
        initialize(hooks, model, *others)
        model.get_layer("tail_2").bias.assign([-100.0] * 12)  # black, and without a gradient

    monkeypatch.setattr(exits_training.ExitsTraining, "initialize", dead)
    with pytest.raises(UserError, match="step 2: every output image is a single colour at one of its exits"):
        train_loop.train(tiny(4), image_folder, tmp_path / "run", cache=cache)


@pytest.mark.slow
def test_branches_and_rounded_activations_train_exits_too(image_folder, cache, tmp_path):
    recipe = tiny(2, branches="ecb", activation_bits=8, flat_share=0.5)
    train_loop.train(recipe, image_folder, tmp_path / "run", cache=cache)
    assert weights.read_arrays(tmp_path / "run" / "last.npz")[1]["config"]["exits"] == [1, 2]


def test_what_is_refused(run_here, image_folder, tmp_path):
    path = save(tmp_path / "n.npz")
    qat = ("qat", "--model", path, "--data", image_folder, "--out", tmp_path / "out")
    one_line(run_here(*qat), f"{path}: has exits; qat trains one at a time: give one of the files NAME_exitK.npz")
    with pytest.raises(UserError, match=f"{path}: has exits, which are routed alone"):
        networks.find([path, "chainsr_s_x3"])
    train = ("train", "--recipe", "chainsr_m_exits_x2", "--smoke", "--data", image_folder, "--out", tmp_path / "out")
    result = run_here(*train, "--set", "network.layers=8")
    assert (result.returncode, "exits must be ascending numbers from 1 to 7, got [2, 4, 8]" in result.stderr) == (2, True)
    one_line(run_here(*train, "--set", "select=uint8"), "use rgb or y")


@pytest.fixture(scope="module")
def deployed(tmp_path_factory):
    """A network with exits, n.npz, and its float32 and uint8 file."""
    folder = tmp_path_factory.mktemp("deploy")
    model = save(folder / "n.npz")
    return model, *export(model, folder / "deploy", ["float32", "uint8"], log=lambda line: None)


@pytest.mark.slow
def test_one_file_has_the_exits_and_each_costs_what_a_plain_network_costs(deployed, tmp_path):
    _, float32, uint8 = deployed
    assert (float32.name, uint8.name) == ("n_float32.tflite", "n_uint8.tflite")
    sidecar = json.loads(uint8.with_suffix(".json").read_text())
    assert sidecar["signatures"] == ["serving_default", "exit3", "exit2", "exit1"]
    assert (sidecar["config"]["exits"], sidecar["receptive_field"]) == ([1, 2], 5)
    assert sidecar["audit"]["checks"][0] == {"check": "weights stored once", "passed": True, "found": "7 kernels of 7"}
    for file in (float32, uint8):
        assert merge.kernels(file.read_bytes()) == 7  # the first, three layers, and the last one of each exit
    for layers, entry in zip((1, 2, 3), sidecar["exits"], strict=True):
        static = save(tmp_path / f"s{layers}.npz", layers=layers, exits=[])
        (other,) = export(static, tmp_path / "static", ["uint8"], methods=(), log=lambda line: None)
        assert entry["instructions"] == instructions.of_patch(other, 32) > 0
        assert (entry["signature"], entry["layers"], entry["receptive_field"]) == (f"exit{layers}", layers, layers + 2)
        assert entry["multiply_adds"] == models.multiply_adds(weights.load_model(static)[0], 1)
        assert sum(f"(exit{layers})" in check["check"] for check in sidecar["audit"]["checks"]) == 11


@pytest.mark.slow
def test_the_exits_of_all_forms_agree(deployed):
    model, float32, uint8 = (load(path) for path in deployed)
    image = make_image(20, 26)
    for layers in (1, 2, 3):
        keras = model(image, depth=layers).astype(int)
        assert np.abs(keras - float32(image, depth=layers)).max() <= 1
        alone = load(f"{deployed[2]}@signature=exit{layers}")(image)
        np.testing.assert_array_equal(uint8(image, depth=layers), alone)
    assert model.summary()["routing"]["images"] == {"exit1": 1 / 3, "exit2": 1 / 3, "exit3": 1 / 3}
    assert "instructions" not in float32.summary()["routing"]


@pytest.mark.slow
def test_files_of_one_output_are_refused(deployed, run_here, tmp_path):
    result = run_here("export", "--model", deployed[0], "--out", tmp_path / "out", "--precision", "onnx")
    one_line(result, f"--precision onnx: {deployed[0]} has exits, and such a file has one output")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_network_with_exits_becomes_a_routed_model(image_folder, cache, tmp_path, run_here):
    options = {"patch": 16, "patches": 40, "steps": 20, "precisions": ["uint8"], "methods": (), "cache": cache}
    (file,) = route_training.train([save(tmp_path / "n.npz")], image_folder, tmp_path / "r", log=lambda line: None, **options)
    sidecar = json.loads(file.read_text())
    assert [(net["file"], net["exit"]) for net in sidecar["nets"]] == [(f"n_exit{k}_uint8.tflite", k) for k in (1, 2, 3)]
    evaluate = ("evaluate", "--model", file, "--data", image_folder, "--json", tmp_path / "f.json")
    done = []
    for option in (["--depth", 2], ["--budget-instructions", sidecar["nets"][1]["instructions"] * 1.2], ["--budget-ms", 1e5]):
        result = run_here(*evaluate, *option)
        assert result.returncode == 0, result.stderr
        done.append(json.loads((tmp_path / "f.json").read_text())["routing"]["instructions"]["done"])
    costs = [net["instructions"] for net in sidecar["nets"]]
    assert done[0] == pytest.approx(costs[1])
    assert costs[1] <= done[1] <= 1.2 * costs[1]
    assert done[2] == pytest.approx(costs[2])
    plain = [word for net in sidecar["nets"] for word in ("--model", file.with_name(net["file"]))]
    result = run_here(*evaluate, "--nets", *plain)
    assert result.returncode == 0, result.stderr
    curve = {point["name"]: point for point in json.loads((tmp_path / "f.json").read_text())["curve"]}
    assert len(curve) == 7
    for net in sidecar["nets"]:
        alone, static = curve[Path(net["file"]).stem], curve[str(file.with_name(net["file"]))]
        assert alone["instructions"] == pytest.approx(static["instructions"])
        assert alone["above_line_db"] == pytest.approx(0, abs=1e-6)
        assert (alone["is_line"], static["is_line"], static["above_line_db"]) == (False, True, None)
    assert "PSNR against Cortex-A76 instructions" in result.stdout
    one_line(run_here("evaluate", "--nets", *plain, "--data", image_folder), "is not a routed model")
    for option, message in ((["--depth", 2.5], "not one of its exits, 1, 2, 3"), (["--budget-gmacs", 1e-9], "budget of 1e-09")):
        result = run_here(*evaluate, *option)
        assert (result.returncode, result.stderr.strip().endswith(message)) == (2, True)
