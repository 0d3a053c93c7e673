"""check-network: its facts, its problems and its refusals."""

import json

import pytest

from mobile_sr import models
from mobile_sr.challenge import graph_counts, network_check, network_check_text
from mobile_sr.quantization import source as sources
from mobile_sr.quantization.export import AuditError
from tests.conftest import ROOT
from tests.mobile_sr.importing.test_import_weights import true_output

ETDS = {"network": "etds", "scale": 2, "channels": 8, "blocks": 1}
SMALL = ("--set", "channels=8", "--set", "blocks=1")
DATA = ROOT / "tests" / "data"


@pytest.fixture
def no_files(monkeypatch):
    """An export that fails its audit in uint8, without the time that it takes."""
    failed = [{"check": "no float tensor", "passed": False, "found": "SOFTMAX without a form for 8 bits"}]
    error = AuditError("uint8: the converted file failed its audit: no float tensor", failed)
    monkeypatch.setattr(network_check, "_export", lambda *args, **settings: ({"float32": None}, error))


def test_a_network_by_name(run_here, tmp_path):
    file = tmp_path / "report.json"
    done = run_here("check-network", "etds", "--scale", 2, *SMALL, "--device", "none", "--json", file)
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert (report["network"], report["scale"]) == ("etds", 2)
    assert report["counts"]["parameters"] == models.challenge_counts(ETDS)["parameters"]
    assert report["receptive_field"] == {"declared": 3, "measured": 3, "whole_image": False, "bound": None}
    assert report["smallest_side"]["runs"]
    assert report["uint8"]["whole_integer"]
    assert report["uint8"]["psnr_of_float"] > 30
    assert report["targets"]["arm64"]["per_lr_pixel"] > 100
    assert report["targets"]["delegates"]["gpu"] == []
    assert (report["trained"], report["reference"], report["problems"]) == (False, None, [])
    assert "3 LR pixels declared, 3 measured" in done.stdout
    assert done.stdout.endswith("no problems\n")


def test_problems_are_listed(run_here, no_files, monkeypatch):
    """A field that is declared too small, a minimum side that is too small, and a file that is not whole-integer."""
    monkeypatch.setattr(models, "receptive_field", lambda config: 2)
    monkeypatch.setattr(network_check.impulse, "runs_at", lambda config, side: False)
    done = run_here("check-network", "etds", *SMALL, "--device", "none")
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM")]
    assert [line.split(": ")[1] for line in lines] == ["receptive field", "smallest side", "uint8"]
    assert "3 LR pixels measured, 2 declared" in lines[0]
    assert "no float tensor: SOFTMAX without a form for 8 bits" in done.stdout
    assert done.stdout.endswith("3 problems\n")


def test_the_row_of_the_report():
    """Only of the submitted sizes."""
    assert network_check._table({"network": "rlfn", "scale": 4})["team"] == "ByteESR"
    assert network_check._table({"network": "rfdn", "scale": 4, "channels": 40, "distilled": 20, "attention": 10}) == {
        "team": "Bilibili AI",
        "parameters": 0.283,
        "flops": 17.61,
        "activations": 90.50,
        "convolutions": 64,
        "psnr": 29.00,
    }
    assert network_check._table({"network": "rlfn", "scale": 2}) is None
    assert network_check._table({"network": "xlsr", "scale": 3}) is None


def test_counts_of_a_graph():
    """Those of the Keras network: convolutions, a depthwise one, ReLU in and behind convolutions."""
    config = {"network": "efdn", "scale": 2, "channels": 8, "distilled": 4, "attention": 2, "blocks": 1}
    model = models.build(config)
    found = graph_counts.counts(sources.from_keras(model, config).data, "efdn", (64, 48))
    wanted = models.challenge_counts(config, 64, 48)
    for key in ("multiply_adds", "flops", "activations", "convolutions"):
        assert found[key] == wanted[key], key
    assert wanted["parameters"] <= found["parameters"] <= wanted["parameters"] + 8  # slopes of LeakyReLU, the limit of the clip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rlfm"], "rlfm: neither a network nor a packaged one nor a file; did you mean rlfn?"),
        (["etds", "--set", "width=3"], "etds: cannot be built: it has no argument 'width'"),
        (["etds", "--set", "blocks=1.5"], "--set blocks=1.5: expected NAME=N"),
        (["etds", "--scale", "0"], "--scale 0: must be 1 to"),
        (["etds", "--device", "virtual:hexagn"], "--device virtual:hexagn: unknown virtual device"),
        (["xlsr_x3", "--set", "blocks=3"], "--set: for the name of a network or a checkpoint; xlsr_x3 has a scale"),
        (["etds", "--verify", "nowhere.npz"], "nowhere.npz"),
        (["nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_refusals(run_here, arguments, said):
    done = run_here("check-network", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]


def test_random_weights_have_no_reference(run_here, no_files):
    done = run_here("check-network", "etds", "--set", "channels=8", "--verify", DATA / "rlfn_truth.npz")
    assert done.returncode == 2
    assert "--verify: etds is the name of a network, whose weights are random" in done.stderr


@pytest.mark.slow
def test_a_checkpoint_with_true_outputs(tmp_path):
    verify = [true_output(tmp_path / "truth.npz")]
    report = network_check.check(DATA / "rlfn_zip.pth", verify=verify, devices=[], log=lambda line: None)
    assert report["network"] == "rlfn"
    assert report["reference"]["max_error"] <= report["reference"]["limit"] == 1e-4
    assert "largest error" in network_check_text.text(report)


@pytest.mark.slow
def test_a_network_from_elsewhere(tmp_path):
    """A .tflite of ours under another name: its counts, and its field by its operators."""
    from mobile_sr import zoo

    file = tmp_path / "net.tflite"
    file.write_bytes((zoo.FOLDER / "xlsr_x3_float32.tflite").read_bytes())
    report = network_check.check(f"{file}@range=1", devices=["virtual:ethos-u"], log=lambda line: None)
    assert report["receptive_field"] == {"declared": 5, "measured": 5, "whole_image": False, "bound": 5}
    assert report["counts"]["convolutions"] == 11
    assert abs(report["uint8"]["loss_db"]) < 0.2
    assert report["problems"] == []
    assert "virtual:ethos-u" in network_check_text.text(report)
