import json

import numpy as np
import pytest
from PIL import Image

import mobile_sr
from mobile_sr.devices import names
from mobile_sr.devices.device import Residency
from mobile_sr.errors import UserError
from mobile_sr.imaging.sample_images import generated
from mobile_sr.inference import litert, model_files
from tests import schema


class FakeSession:
    """Runs a file on this machine, one level brighter."""

    residency = Residency(3, 2, {"DEPTH_TO_SPACE 2": "not in the list"}, None)

    def __init__(self, device, data, shape):
        self.device, self.model, self.shape = device, litert.TFLiteModel(data), shape
        device.opened.append(shape)

    def run(self, inputs):
        (index, values) = next(iter(inputs.items()))
        assert (index, values.shape, values.dtype) == (self.model._graph_io.image, self.shape, np.uint8)
        self.model.prepare(values.shape[1:3])
        self.model._engine.set(index, values)
        self.model.invoke()
        sr = self.model._graph_io.sr
        return {sr: np.minimum(self.model.tensor(sr), 254) + np.uint8(1)}

    def facts(self):
        return {"cycles": 7}

    def close(self):
        self.device.closed.append(self.shape)


class FakeDevice:
    name, label, runs = "virtual:fake", "virtual:fake (a test)", True

    def __init__(self, soc=None):
        self.opened, self.closed = [], []

    def open(self, data, name, shape):
        return FakeSession(self, data, shape)


class Compiler(FakeDevice):
    runs = False


@pytest.fixture
def fake(monkeypatch):
    """The devices virtual:fake and virtual:compiler."""
    monkeypatch.setitem(names.DEVICES, "virtual:fake", (__name__, "FakeDevice", "soc"))
    monkeypatch.setitem(names.DEVICES, "virtual:compiler", (__name__, "Compiler", None))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("virtual:arm",), "unknown virtual device; known: virtual:arm64, .*; did you mean virtual:arm64"),
        (("emulator-5554",), "--device emulator-5554: unknown virtual device"),
        (("virtual:arm64", None, "v73"), "--soc v73: is for --device virtual:hexagon, not for virtual:arm64"),
        (("virtual:gpu", "cortex-a76"), "--cpu cortex-a76: is for --device virtual:arm64, not for virtual:gpu"),
    ],
)
def test_refused(monkeypatch, arguments, message):
    monkeypatch.setattr(UserError, "names_options", True)
    with pytest.raises(UserError, match=message):
        names.find(*arguments)


def test_a_model_runs_on_a_device(fake):
    upscaler = mobile_sr.load("espcn_x3:uint8", device="virtual:fake")
    image = generated(20, 24)
    here = mobile_sr.load("espcn_x3:uint8")(image)
    assert np.array_equal(upscaler(image), np.minimum(here, 254) + 1)
    assert (upscaler.device, upscaler.where()) == ("virtual:fake (a test)", {"device": "virtual:fake (a test)"})
    assert mobile_sr.load("espcn_x3:uint8").where() == {}


def test_sizes_take_turns_without_opening_again():
    device = FakeDevice()
    path, options = model_files.locate_tflite("espcn_x3:uint8")
    model = litert.TFLiteModel(path, 1, options, device)
    for side in (10, 12, 10, 14, 16, 18, 10, 12):
        model.run(generated(side, side))
    sides = [shape[1] for shape in device.opened]
    assert sides == [10, 12, 14, 16, 18, 12]  # 12 was the oldest of four when 18 came
    assert [shape[1] for shape in device.closed] == [12, 14]
    model.close()
    assert len(device.closed) == len(device.opened)


def test_large_images_are_cut_into_tiles_of_the_device(fake, monkeypatch):
    monkeypatch.setitem(names.TILES, "virtual:fake", 24)
    upscaler = mobile_sr.load("espcn_x3:uint8", device="virtual:fake")
    image = generated(60, 70)
    assert np.array_equal(upscaler(image), np.minimum(mobile_sr.load("espcn_x3:uint8")(image), 254) + 1)
    assert upscaler.default_tile == 24


def test_results_name_the_device(fake, run_here, tmp_path):
    for k in range(2):
        Image.fromarray(generated(48, 60)).save(tmp_path / f"{k}.png")
    options = ["--data", tmp_path, "--device", "virtual:fake", "--json", "-"]
    result = run_here("evaluate", "--model", "espcn_x3:uint8", *options)
    assert '"device": "virtual:fake (a test)"' in result.stdout
    assert "espcn_x3:uint8 on virtual:fake (a test): " in result.stderr
    compared = run_here("compare", "--reference", "espcn_x3:uint8", "--model", "espcn_x3:uint8", *options)
    assert compared.stdout.count('"device"') == 1
    assert "espcn_x3:uint8 on virtual:fake (a test)" in compared.stderr
    out = tmp_path / "out.png"
    upscaled = run_here("upscale", tmp_path / "0.png", "--model", "espcn_x3:uint8", "--out", out, *options[2:4])
    assert "on virtual:fake (a test)" in upscaled.stderr


@pytest.mark.parametrize(
    ("model", "device", "message"),
    [
        ("espcn_x3", "virtual:fake", "espcn_x3: not a .tflite file, the only kind that virtual:fake runs"),
        ("bicubic", "virtual:fake", "bicubic: not a .tflite file"),
        ("espcn_x3:uint8", "virtual:compiler", "--device virtual:fake: only compiles models"),
    ],
)
def test_refused_models(fake, run_here, tmp_path, model, device, message):
    result = run_here("evaluate", "--model", model, "--scale", 3, "--data", tmp_path, "--device", device)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


def test_objects_are_refused(fake):
    with pytest.raises(UserError, match=r"^device virtual:fake: runs .tflite files only"):
        mobile_sr.load(mobile_sr.load("espcn_x3:uint8"), device="virtual:fake")
    with pytest.raises(UserError, match="^cpu and soc require device$"):
        mobile_sr.load("espcn_x3:uint8", cpu="cortex-a76")


def test_benchmark(fake, run_here):
    both = ["--model", "espcn_x3:uint8", "--model", "xlsr_x3:uint8"]
    result = run_here("benchmark", *both, "--device", "virtual:fake", "--json", "-")
    assert result.returncode == 0, result.stderr
    assert "espcn_x3:uint8: not taken: DEPTH_TO_SPACE 2: not in the list" in result.stderr
    assert "espcn_x3:uint8: cycles 7" in result.stderr

    report = json.loads(result.stdout)
    schema.check(report)
    assert (report["where"], report["environment"]["height"]) == ("virtual", 64)
    row = report["results"][0]
    assert row["residency"] == {"nodes": 3, "taken": 2, "refused": FakeSession.residency.refused, "partitions": None}
    assert row["against_host"] == {"differing_fraction": pytest.approx(1, abs=0.01), "max_difference": 1}
    assert (row["instructions"], row["ratio_to_first"], row["figures"]) == (None, None, {"cycles": 7})


def test_benchmark_of_a_compiler(fake):
    result = mobile_sr.benchmark("espcn_x3:uint8", device="virtual:compiler", size=(16, 24))
    schema.check(result.to_dict())
    row = result.record["results"][0]
    assert (row["against_host"], row["figures"]) == (None, {"cycles": 7})
    assert result.rows()[1] == [["espcn_x3:uint8", "-", "2 of 3", "-"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "virtual:fake", "--runs", 5], "--runs does not apply to --device virtual:fake"),
        (["--device", "virtual:fake", "--threads", 2], "--threads does not apply"),
        (["--device", "virtual:fake", "--delegates", "gpu"], "--delegates does not apply"),
        (["--device", "virtual:fake", "--no-host"], "--no-host does not apply"),
        (["--device", "virtual:fake", "--layers"], "--layers: virtual:fake counts no instructions; virtual:arm64 does"),
        (["--device", "virtual:fake", "--height", 0, "--width", 4], "--height 0: must be at least 1"),
        (["--device", "R58M", "--cpu", "i8mm"], "--cpu and --soc are for virtual devices, not for --device R58M"),
        (["--soc", "v73"], "--soc requires --device"),
    ],
)
def test_benchmark_refuses(fake, run_here, options, message):
    result = run_here("benchmark", "--model", "espcn_x3:uint8", *options)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr
