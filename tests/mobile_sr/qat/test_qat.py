"""Quantization-aware training: descriptions of networks, the worker process, its result, and refused input."""

import csv
import itertools
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from mobile_sr import load, models
from mobile_sr.converters.tflite import audit, flatbuffer
from mobile_sr.errors import UserError
from mobile_sr.imaging.images import write_image
from mobile_sr.inference import weights
from mobile_sr.qat import description, trainer
from mobile_sr.qat.settings import Settings
from tests.conftest import ROOT, make_image

VARIANTS = list(itertools.product(("xlsr", "fsrcnn", "espcn"), (2, 3, 4), ("clipped_relu", "linear")))
FEW = VARIANTS[::5]  # every network, scale and output activation at least once


def run_in_worker(code, *args):
    """Run Python code in a process where tf.keras is tf_keras, as in the worker. Returns its output, parsed as JSON."""
    env = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def random_network(network, scale=3, output_activation="clipped_relu", seed=0, **arguments):
    """A network with random weights, biases and slopes, and an output that covers 0..1."""
    config = {"network": network, "scale": scale, "output_activation": output_activation, **arguments}
    model = models.build(config)
    rng = np.random.default_rng(seed)
    values = [rng.normal(0, (1.6 / np.prod(w.shape[:-1])) ** 0.5 if w.ndim == 4 else 0.1, w.shape) for w in model.get_weights()]
    model.set_weights(values)
    return model, config


COMPARE = """
import json, sys
import numpy as np
from mobile_sr.inference import weights
from mobile_sr.qat.net import Net
errors = []
for file in sys.argv[1:]:
    arrays, meta = weights.read_arrays(file)
    x, y = arrays.pop("x"), arrays.pop("y")
    forms = (True, False) if any(n.get("groups", 1) > 1 for n in meta["nodes"]) else (True,)
    nets = [Net(meta["nodes"], arrays, grouped=grouped) for grouped in forms]
    back = nets[-1].get()
    same = all(np.array_equal(arrays[name], back[name]) for name in back)
    errors.append([max(float(np.abs(net.model(x).numpy() - y).max()) for net in nets), len(nets), same])
print(json.dumps(errors))
"""


@pytest.mark.slow
@pytest.mark.parametrize("variants", [FEW, VARIANTS], ids=["few", "all"])
def test_tf_keras_network_equals_keras_3_network(tmp_path, variants):
    """Every network, scale and output activation, with grouped convolutions and with block-diagonal ones."""
    x = np.random.default_rng(1).random((1, 18, 13, 3)).astype(np.float32)
    files = []
    for network, scale, output in variants:
        model, _ = random_network(network, scale, output)
        nodes, arrays = description.describe(model)
        y = np.asarray(model(x))
        assert y.std() > 0.1, "a test on an output that is nearly constant"
        files.append(tmp_path / f"{network}_{scale}_{output}.npz")
        weights.write_arrays(files[-1], {**arrays, "x": x, "y": y}, {"nodes": nodes})
    for variant, (error, forms, same) in zip(variants, run_in_worker(COMPARE, *files), strict=True):
        assert error < 1e-5, variant
        assert forms == (2 if variant[0] == "xlsr" else 1)
        assert same, variant


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_description_round_trip(scale):
    for network in ("xlsr", "fsrcnn", "espcn"):
        model, config = random_network(network, scale)
        _, arrays = description.describe(model)
        other = models.build(config)
        description.assign(other, arrays)
        for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        if network == "fsrcnn":
            zeros = arrays["tail/mask"] == 0
            assert np.any(zeros) == (scale != 3)  # 3 divides 9
            damages = [{"tail/bias": arrays["tail/bias"] + np.arange(3 * scale**2)}]
            damages += [{"tail/kernel": arrays["tail/kernel"] + zeros}] if scale != 3 else []
            for damage in damages:
                with pytest.raises(ValueError, match="layer tail: its phases are not those of a transposed convolution"):
                    description.assign(other, {**arrays, **damage})


def test_unsupported_layer_is_refused():
    import keras

    lr = keras.Input((None, None, 3))
    with pytest.raises(UserError, match="layer middle: QAT does not support Dropout"):
        description.describe(keras.Model(lr, keras.layers.Dropout(0.1, name="middle")(lr)))
    strided = keras.Model(lr, keras.layers.Conv2D(3, 3, strides=2, padding="same", name="first")(lr))
    with pytest.raises(UserError, match="layer first: strides"):
        description.describe(strided)


@pytest.fixture(scope="module")
def tuned(model_file, image_folder, tmp_path_factory):
    """The output folder of trainer.train after 20 steps on synthetic images."""
    out = tmp_path_factory.mktemp("qat")
    settings = Settings(steps=20, batch=4, patch=16, distill=0.0)  # the random network is far from its optimum
    file, best = trainer.train(model_file, image_folder, out / "run", settings, cache=out / "cache", log=lambda line: None)
    assert "tensorflow_model_optimization" not in sys.modules
    assert "tf_keras" not in sys.modules
    return file, best


def test_twenty_steps_write_an_audited_file(tuned, model_file):
    file, best = tuned
    assert file.name == "tiny_uint8.tflite"
    graph = flatbuffer.load(file)
    assert audit.describe(graph, 0)["ops"] == {"CONCATENATION": 1, "CONV_2D": 11, "DEPTH_TO_SPACE": 1, "QUANTIZE": 2}
    assert all(c["passed"] for c in audit.check(graph, "uint8", clipped=True, convolutions=11))
    sidecar = json.loads(file.with_suffix(".json").read_text())
    assert sidecar["precision"] == "uint8"
    assert sidecar["agreement_with_fake_quantized"]["psnr_rgb"] > trainer.AGREEMENT_DB
    assert sidecar["qat"]["validation_psnr_rgb"] == best
    rows = list(csv.DictReader((file.parent / "history.csv").open()))
    assert [int(row["step"]) for row in rows] == [0, 20]
    assert max(float(row["validation_psnr_rgb"]) for row in rows) == pytest.approx(best, abs=1e-4)
    config = json.loads((file.parent / "config.json").read_text())
    assert config["qat"]["steps"] == 20
    assert config["init"]["file"] == str(model_file)


def test_tflite_equals_trained_network(tuned, model_file):
    """best.npz and the .tflite upscale alike, and differ from the network before the training."""
    file, _ = tuned
    image = make_image(40, 52, seed=9)
    quantized, floating, start = (load(m)(image).astype(float) for m in (file, file.parent, model_file))
    assert np.abs(quantized - floating).mean() < 3
    assert np.abs(floating - start).max() >= 1


@pytest.mark.slow
def test_transposed_convolution_and_slopes(tmp_path, image_folder):
    """The 9x9 transposed convolution of FSRCNN x2 has taps that are always zero. The training fails if they have changed.

    The target is the HR image, so the last step of a random network is the best one.
    """
    model, config = random_network("fsrcnn", 2, seed=5, d=8, s=4, m=1)
    weights.save_model(tmp_path / "start.npz", model, config)
    settings = Settings(steps=4, batch=4, patch=16, rate=1e-2, distill=0.0)
    file, _ = trainer.train(
        tmp_path / "start.npz", image_folder, tmp_path / "out", settings, cache=tmp_path / "cache", log=lambda line: None
    )
    ops = audit.describe(flatbuffer.load(file), 0)["ops"]
    assert ops == {"ADD": 4, "CONV_2D": 5, "DEPTH_TO_SPACE": 1, "MUL": 4, "QUANTIZE": 2}
    before, after = (weights.read_arrays(f)[0] for f in (tmp_path / "start.npz", tmp_path / "out" / "best.npz"))
    for name in ("tail/kernel", "tail/bias", "map1_prelu/alpha"):
        assert np.any(before[name] != after[name]), name


@pytest.mark.slow
def test_per_tensor_kernels_tanh_and_linear_output(tmp_path, image_folder):
    model, config = random_network("espcn", 2, "linear", seed=5)
    weights.save_model(tmp_path / "lin.npz", model, config)
    settings = Settings(steps=2, batch=2, patch=16, per_tensor=True)
    file, _ = trainer.train(
        tmp_path / "lin.npz", image_folder, tmp_path / "out", settings, cache=tmp_path / "cache", log=lambda line: None
    )
    graph = flatbuffer.load(file)
    kernels = [graph.tensors[op.inputs[1]] for op in graph.ops if op.name == "CONV_2D"]
    assert [len(kernel.scales) for kernel in kernels] == [1, 1, 1]
    failed = [c["check"] for c in audit.check(graph, "uint8", clipped=False, convolutions=3) if not c["passed"]]
    assert failed == ["one weight scale per output channel"]
    assert float(graph.tensors[graph.outputs[0]].scales[0]) > 1 / 255  # its range is wider than 0..1
    assert sum(op.name == "TANH" for op in graph.ops) == 2


def refused(run_here, *args):
    done = run_here("qat", *args)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


def test_refusals_are_one_line(run_here, model_file, image_folder, tmp_path):
    out = tmp_path / "out"
    assert "no images: give --data" in refused(run_here, "--model", model_file, "--out", out)
    given = ("--data", image_folder, "--out", out)
    assert "not a file or a zoo name" in refused(run_here, "--model", "nonsense", *given)
    assert "--steps 0" in refused(run_here, "--model", model_file, "--steps", "0", *given)
    bicubic = tmp_path / "srcnn.npz"
    config = {"network": "srcnn", "scale": 2, "channels": 4, "middle": 4}
    weights.save_model(bicubic, models.build(config), config)
    message = "layer bicubic: QAT does not support BicubicUpscale"
    assert message in refused(run_here, "--model", bicubic, "--engine", "tfmot", *given)
    out.mkdir()
    (out / "config.json").write_text("{}")
    assert "already contains a run" in refused(run_here, "--model", model_file, *given)


def test_missing_tfmot_says_what_to_install(monkeypatch, model_file, image_folder, tmp_path):
    found = trainer.find_spec
    monkeypatch.setattr(trainer, "find_spec", lambda name: None if name == "tensorflow_model_optimization" else found(name))
    with pytest.raises(UserError, match=r"pip install 'mobile-sr\[train\]'"):
        trainer.train(model_file, image_folder, tmp_path / "out", Settings())


def test_unusable_images_leave_no_files(model_file, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty"):
        trainer.train(model_file, tmp_path / "empty", tmp_path / "out", Settings(), cache=tmp_path / "cache")
    write_image(tmp_path / "data" / "only.png", make_image(150, 150))
    with pytest.raises(UserError, match="training images"):
        trainer.train(model_file, tmp_path / "data", tmp_path / "out", Settings(), cache=tmp_path / "cache")
    assert not (tmp_path / "out").exists()


def test_failing_worker_is_reported_in_one_line_and_leaves_no_files(tmp_path):
    weights.write_arrays(tmp_path / "job.npz", {}, {"settings": {"unknown": 1}})
    with pytest.raises(trainer.QatError, match=r"the training process failed: status 1 \| .*Error"):
        trainer._run_worker(tmp_path, lambda event: None)
    assert not (tmp_path / "result.npz").exists()


CHATTY = """
import json, os, time
print(json.dumps({"pid": os.getpid()}), flush=True)
time.sleep(60)
"""


def test_interrupt_stops_the_worker(monkeypatch, tmp_path):
    """A killed worker is reported in one line."""
    monkeypatch.setattr(trainer, "WORKER", (sys.executable, "-c", CHATTY))
    pids = []

    def interrupt(event):
        pids.append(event["pid"])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer._run_worker(tmp_path, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
    with pytest.raises(trainer.QatError, match="^the training process failed: killed by SIGKILL$"):
        trainer._run_worker(tmp_path, lambda event: os.kill(event["pid"], signal.SIGKILL))
