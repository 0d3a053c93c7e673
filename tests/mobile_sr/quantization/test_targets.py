"""Files for a target: its options, its form of the upsampler, and the same function."""

import importlib.util
import json
import re

import numpy as np
import pytest

from mobile_sr import models
from mobile_sr.converters.tflite import flatbuffer, grouped_conv
from mobile_sr.errors import UserError
from mobile_sr.imaging import metrics
from mobile_sr.inference import litert, upscaler, weights
from mobile_sr.quantization import snapdragon_files, targets
from mobile_sr.quantization.export import export
from tests.conftest import make_image
from tests.converters.quantization.small_graphs import Builder
from tests.converters.quantization.small_graphs import run as run_graph


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A float .tflite, x3 and of dynamic size, with a grouped convolution and last biases that differ."""
    builder = Builder((1, -1, -1, 3))
    head = builder.conv(builder.inputs[0], 3, 8, 3, activation="RELU")
    body = builder.conv(head, 8, 8, 3, groups=2, activation="RELU")
    mixed = builder.conv(body, 8, 8, activation="RELU")
    kernel, bias = builder.rng.normal(0, 0.02, (27, 3, 3, 8)), builder.rng.uniform(0.28, 0.32, 27)
    tail = builder.op("CONV_2D", [mixed, kernel, bias], strideH=1, strideW=1)
    path = tmp_path_factory.mktemp("net") / "small.tflite"
    path.write_bytes(builder.finished(builder.op("DEPTH_TO_SPACE", [tail], blockSize=3)).packed())
    return path


def run(model, out, target, **arguments):
    """The exported file of one precision and its sidecar."""
    arguments = {"size": (24, 20), "max_colour_error": 1000, "options": {"range": 1}, **arguments}
    path, *_ = export(model, out, arguments.pop("precisions", None), target=target, log=lambda line: None, **arguments)
    return path, json.loads(path.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def ordinary(model, tmp_path_factory):
    return run(model, tmp_path_factory.mktemp("ordinary"), None, precisions=["uint8"])[0]


def upscaled(path):
    return upscaler.to_uint8(litert.TFLiteModel(path).run(make_image(24, 20)))


@pytest.mark.parametrize("target", ["ethos-u", "mediatek", "snapdragon", "nnapi"])
def test_files(target, model, ordinary, tmp_path):
    path, sidecar = run(model, tmp_path, target)
    assert path.name == f"small_{target}_uint8.tflite"
    assert sidecar["target"] == target
    row, ops = targets.find(target), sidecar["ops"]
    assert ("DEPTH_TO_SPACE" in ops) == (row.upsampler == "depth_to_space")
    assert ("TRANSPOSE_CONV" in ops) == (row.upsampler == "transpose_conv")
    assert grouped_conv.has_groups(path.read_bytes()) == row.groups
    if row.upsampler == "transpose_conv":  # one scale for all phases of a channel, and the biases as weights
        assert metrics.psnr(upscaled(path), upscaled(ordinary), "rgb", 3) > 45
    else:
        np.testing.assert_array_equal(upscaled(path), upscaled(ordinary))


def test_the_cpu_gets_the_ordinary_file(model, ordinary, tmp_path):
    path, _ = run(model, tmp_path, "cpu")
    assert path.read_bytes() == ordinary.read_bytes()


def test_gpu_gets_float16_of_a_fixed_size(model, tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "DEFAULT_SIZE", (16, 20))
    path, sidecar = run(model, tmp_path, "gpu", size=None)
    assert sidecar["precision"] == "float16"
    assert sidecar["inputs"][0]["shape"] == [1, *targets.DEFAULT_SIZE, 3]


def test_adadsr_gets_its_dense_path(tmp_path):
    """The sparse one has operators such as GATHER, which only CPUs support."""
    config = {"network": "edsr", "scale": 2, "blocks": 1, "channels": 4, "depth": "input"}
    weights.save_model(tmp_path / "net.npz", models.build(config), config)
    path, _ = run(tmp_path / "net.npz", tmp_path / "out", "gpu", options=None)
    assert "sparse" not in path.name
    assert "GATHER" not in {op.name for op in flatbuffer.load(path).ops}


def test_a_network_from_elsewhere_keeps_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(targets, "DEFAULT_SIZE", (16, 20))
    for shape, expected in (((1, 10, 12, 3), [1, 10, 12, 3]), ((1, -1, -1, 3), [1, *targets.DEFAULT_SIZE, 3])):
        builder = Builder(shape)
        tail = builder.conv(builder.inputs[0], 3, 12, 3)
        file = tmp_path / f"net{shape[1]}.tflite"
        file.write_bytes(builder.finished(builder.op("DEPTH_TO_SPACE", [tail], blockSize=2)).packed())
        path, sidecar = run(file, tmp_path / "out", "ethos-u", size=None)
        assert sidecar["inputs"][0]["shape"] == expected
        assert "DEPTH_TO_SPACE" not in {op.name for op in flatbuffer.load(path).ops}


@pytest.mark.parametrize("form", ["transpose_conv", "interleave"])
def test_a_sum_of_two_networks_is_still_exact(form):
    """One upsampler behind a convolution, another behind a sigmoid of the image, which has no transposed form."""
    builder = Builder()
    first = builder.op("DEPTH_TO_SPACE", [builder.conv(builder.inputs[0], 3, 12, 3)], blockSize=2)
    other = builder.op("CONCATENATION", [builder.inputs[0], *[builder.op("LOGISTIC", builder.inputs)] * 3], axis=3)
    second = builder.op("DEPTH_TO_SPACE", [other], blockSize=2)
    data = builder.finished(builder.op("ADD", [first, second])).packed()
    result = targets.with_upsampler(data, form)
    assert "DEPTH_TO_SPACE" not in {op.name for op in flatbuffer.parse(result).ops}
    image = np.random.default_rng(0).random((1, 6, 8, 3), np.float32)
    np.testing.assert_allclose(run_graph(result, image), run_graph(data, image), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "mediatec"], "--target mediatec: unknown; use cpu, gpu, .*; did you mean mediatek"),
        (["--target", "mediatek", "--precision", "int16"], "--precision int16: --target mediatek supports uint8, int8"),
        (["--target", "samsung", "--per-tensor"], "--per-tensor: --target samsung supports one scale per channel"),
        (["--target", "ethos-u", "--dense-groups"], "--dense-groups: --target ethos-u supports grouped convolutions"),
        (["--target", "gpu", "--path", "sparse"], "--path sparse: --target gpu supports the dense path only"),
        (["--target", "ethos-u", "--height", "300", "--width", "300"], "supports at most 65,536 LR pixels"),
        (["--soc", "SM8650"], "--soc SM8650: requires --target snapdragon"),
        (["--target", "snapdragon", "--soc", ", "], "--soc: names no chip"),
        (["--target", "snapdragon", "--soc", "SM8560"], "--soc SM8560: unknown chip"),
    ],
)
def test_contradictions(arguments, message, run_here, model, tmp_path):
    done = run_here("export", "--model", model, "--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_soc_without_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'mobile-sr\[snapdragon\]'"):
        snapdragon_files.check(["SM8650"], "snapdragon")


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime_qnn") is None, reason="needs pip install 'mobile-sr[snapdragon]'")
def test_compiled_for_chips(model, tmp_path):
    path, sidecar = run(model, tmp_path, "snapdragon", soc=["sm8650", "SM8650"])
    entry = sidecar["compiled"]["SM8650"]
    assert list(sidecar["compiled"]) == ["SM8650"]
    assert entry["taken"] == entry["nodes"] == len(flatbuffer.load(path).ops)
    assert entry["partitions"] == 1
    for facts in (entry, sidecar["qdq_onnx"]):
        assert (tmp_path / facts["file"]).stat().st_size == facts["size_bytes"]
