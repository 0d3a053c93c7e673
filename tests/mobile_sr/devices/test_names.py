from unittest import mock

import numpy as np
import pytest
from PIL import Image

import mobile_sr
from mobile_sr.devices import names
from mobile_sr.errors import UserError
from mobile_sr.evaluation import report
from mobile_sr.imaging.sample_images import generated
from tests.mobile_sr.devices import fake_device


@pytest.fixture
def fake(monkeypatch):
    """The devices virtual:fake and virtual:compiler."""
    fake_device.register(monkeypatch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("virtual:arm",), "unknown virtual device; known: virtual:arm64, .*; did you mean virtual:arm64"),
        (("emulator-5554",), "--device emulator-5554: unknown virtual device"),
        (
            ("virtual:arm64", None, "v73"),
            "--soc v73: requires --device virtual:hexagon or virtual:ethos-u, not virtual:arm64",
        ),
        (("virtual:gpu", "cortex-a76"), "--cpu cortex-a76: requires --device virtual:arm64, not virtual:gpu"),
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


def test_a_model_runs_again_after_a_failure(fake, monkeypatch):
    upscaler, image = mobile_sr.load("espcn_x3:uint8", device="virtual:fake"), generated(20, 24)
    expected = upscaler(image)
    with monkeypatch.context() as crash:
        crash.setattr(fake_device.FakeSession, "run", mock.Mock(side_effect=UserError("the process ended")))
        with pytest.raises(UserError, match="the process ended"):
            upscaler(image)
    with mock.patch.object(fake_device.FakeDevice, "open", autospec=True, side_effect=fake_device.FakeDevice.open) as opens:
        again = upscaler(image)
    assert opens.call_count == 1  # the old session may belong to a process that has ended
    assert np.array_equal(again, expected)


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


def test_no_budget_of_time(fake, run_here, tmp_path):
    options = ["--data", tmp_path, "--device", "virtual:fake", "--budget-ms", 5]
    result = run_here("evaluate", "--model", "adaedsr_b8_x2:uint8@signature=dense", *options)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "--budget-ms: a virtual device reports no times" in result.stderr


def test_typed_results_name_the_device(fake):
    images = [("one", generated(48, 60))]
    result = mobile_sr.evaluate("espcn_x3:uint8", images, device="virtual:fake")
    assert result.device == "virtual:fake (a test)"
    assert mobile_sr.evaluate("espcn_x3:uint8", images).device is None
    compared = mobile_sr.compare("espcn_x3:uint8", "espcn_x3:uint8", images, device="virtual:fake")
    assert compared.device == "virtual:fake (a test)"
    assert "on virtual:fake (a test)" in report.title(compared.record["model"])


def test_objects_are_refused(fake):
    with pytest.raises(UserError, match=r"^device virtual:fake: runs .tflite files only"):
        mobile_sr.load(mobile_sr.load("espcn_x3:uint8"), device="virtual:fake")
    with pytest.raises(UserError, match="^cpu and soc require device$"):
        mobile_sr.load("espcn_x3:uint8", cpu="cortex-a76")
