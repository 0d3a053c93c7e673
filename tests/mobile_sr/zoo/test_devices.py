"""The figures of the packaged files on virtual devices: those stored, how they are measured, and the pages made of them."""

import copy
import json
import re

import numpy as np
import pytest

from mobile_sr import zoo
from mobile_sr.errors import UserError
from mobile_sr.files import read_json, sha256_file
from mobile_sr.imaging.images import write_image
from tests.conftest import ROOT
from tests.mobile_sr.devices import fake_device
from tools.zoo import cards, device_pages, devices, peer_pages, results

STORED = read_json(devices.FILE)["models"]
DENSE = "adaedsr_b8_x2:uint8@signature=dense"
FIGURES = {
    "virtual:arm64": ("instructions_per_lr_pixel",),
    "virtual:gpu": (),
    "virtual:ethos-u": ("cycles_per_lr_pixel",),
    "virtual:hexagon": ("psnr_y", "psnr_y_xnnpack"),
}


def test_the_figures_are_those_of_the_packaged_files():
    """If this fails: `python -m tools.zoo.devices docs/measurements/devices.json --data Set5`, then results and cards."""
    assert list(STORED) == sorted(model for name in zoo.names() for model in devices.forms(name))
    assert DENSE in STORED
    for model, entry in STORED.items():
        assert entry["sha256"] == sha256_file(zoo.resolve(model.partition("@")[0])), model
        assert list(entry["figures"]) == [setting.key for setting in devices.SETTINGS], model


def test_a_device_has_figures_or_a_reason():
    for model, entry in STORED.items():
        for setting in devices.SETTINGS:
            row = entry["figures"][setting.key]
            assert row["device"].startswith(f"{setting.device} ("), model
            assert not [key for key in row if key.endswith("_ms")]
            if "reason" in row:
                assert row["reason"]
                assert model == "adaedsr_b8_x2:uint8"
                assert set(row) == {"device", "litert", "date", "reason"}
                continue
            assert all(row[key] > 0 for key in FIGURES[setting.device]), (model, setting)
            residency = row["residency"]
            assert residency["nodes"] - residency["taken"] == sum(residency["refused"].values())


def test_what_the_files_are_known_to_do():
    """The counts of XLSR x3 by another script; the same bytes on Arm; all operators and the PSNR of the CPU on the NPU."""
    counts = [STORED["xlsr_x3:uint8"]["figures"][cpu]["instructions_per_lr_pixel"] for cpu in devices.ARM]
    assert counts == pytest.approx([4480, 9949, 4230], rel=0.01)
    for model, entry in STORED.items():
        assert all(entry["figures"][cpu]["against_host"]["differing_fraction"] == 0 for cpu in devices.ARM)
        npu = entry["figures"][devices.HEXAGON]
        if "reason" not in npu:
            assert npu["residency"]["taken"] == npu["residency"]["nodes"]
            assert abs(npu["psnr_y"] - npu["psnr_y_xnnpack"]) <= 0.15
            name, _, signature = model.partition("@signature=exit")
            card = zoo.card(name.partition(":")[0])
            scores = next(
                (each["scores"] for each in card.get("exits", ()) if str(each["layers"]) == signature), card["scores"]
            )
            assert npu["psnr_y_xnnpack"] == pytest.approx(scores["Set5"]["y"]["uint8"], abs=0.01)


def test_the_guide_says_what_was_measured():
    guide = (ROOT / "docs" / "guide" / "devices.md").read_text()
    measured = [entry["figures"] for entry in STORED.values() if "reason" not in entry["figures"][devices.HEXAGON]]
    losses = [abs(row[devices.HEXAGON]["psnr_y"] - row[devices.HEXAGON]["psnr_y_xnnpack"]) for row in measured]
    limit = float(re.search(r"PSNR on Set5 is within ([\d.]+) dB of XNNPACK's", guide)[1])
    assert limit / 2 < max(losses) <= limit
    levels = int(re.search(r"differs from XNNPACK's by at most (\d+) levels of 255", guide)[1])
    assert max(row[devices.GPU]["against_host"]["max_difference"] for row in measured) == levels
    assert "all operators of the packaged uint8 files but DEPTH_TO_SPACE" in guide
    for row in measured:
        assert row[devices.GPU]["residency"]["refused"] == row[devices.HEXAGON]["residency"]["refused"] == {}
        assert row[devices.ETHOS_U]["residency"]["refused"] == {"DEPTH_TO_SPACE: Unsupported opType": 1}


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """A copy of the figures that a test may change, and a function that writes it where the pages read it."""
    stored = copy.deepcopy(read_json(devices.FILE))
    monkeypatch.setattr(devices, "FILE", tmp_path / "devices.json")

    def write():
        devices.FILE.write_text(json.dumps(stored))

    write()
    return stored["models"], write


def cells(name):
    """The cells of a network in the table of results.md."""
    lines = device_pages.results_section(zoo.names()).splitlines()
    return [line.split(" | ")[1:] for line in lines if line.startswith(f"| {name} ")]


def test_figures_of_changed_files_are_left_out(figures):
    models, write = figures
    models["xlsr_x3:uint8"]["sha256"] = "0" * 64
    write()
    assert cells("xlsr_x3") == []
    assert "Not measured: xlsr_x3:uint8. The files changed" in device_pages.results_section(zoo.names())
    assert "Not measured: the files changed" in cards.card("xlsr_x3")
    (row,) = [line for line in results.table() if line.startswith("| xlsr_x3 ")]
    assert "| 2.21G |  | 33.41" in row
    charts = results.charts()
    assert ">xlsr_x3<" not in charts["results_instructions_x3.svg"]
    assert ">xlsr_x2<" in charts["results_instructions_x2.svg"]
    assert "Instructions on Arm were not counted for this file" in cards.card("xlsr_x3")
    assert "Not in the chart: xlsr_x3, because" in peer_pages.section(3)


def test_pages_without_any_figure(figures):
    models, write = figures
    models.clear()
    write()
    assert not [name for name in results.charts() if "instructions" in name]
    assert "results_instructions" not in results.page()


def test_a_reason_is_not_a_figure(figures):
    models, write = figures
    models["xlsr_x3:uint8"]["figures"][devices.HEXAGON] = {"device": "d", "date": "2026-01-01", "reason": "no such operator"}
    del models["xlsr_x3:uint8"]["figures"]["i8mm"]
    write()
    ((_, _, i8mm, _, operators, psnr, ethos),) = cells("xlsr_x3")
    assert (i8mm, psnr) == ("not measured", "")
    assert operators.startswith("not supported <sup>")
    assert ethos == "14 of 15, not DEPTH_TO_SPACE |"
    assert "xlsr_x3:uint8 on Hexagon v73: no such operator." in device_pages.results_section(zoo.names())
    assert "xlsr_x3:uint8 on Hexagon v73: no such operator." in cards.card("xlsr_x3")
    assert "in 2 of 2 runs" in cards.card("xlsr_x3")


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("/a b/x_uint8.tflite: operator 3 is unknown", "operator 3 is unknown"),
        ("virtual:gpu: /a/x.tflite with input shape (1, 8, 8, 3): ERROR: [./a/b.h:1] (No (1) way.)", "No (1) way."),
        ("virtual:gpu fails", "virtual:gpu fails"),
    ],
)
def test_reasons_have_no_paths(message, reason):
    assert devices._reason(message) == reason


class Refusing(fake_device.FakeDevice):
    def open(self, data, name, shape):
        raise UserError(f"{name}: operator 3 is unknown")


def test_what_is_missing_is_measured(tmp_path, monkeypatch):
    """On devices that need nothing: one that runs the file a level brighter, and one that refuses it."""
    fake_device.register(monkeypatch)
    monkeypatch.setattr(fake_device, "Compiler", Refusing)
    settings = (devices.Setting("a", "virtual:compiler", {}), devices.Setting(devices.HEXAGON, "virtual:fake", {"soc": "v73"}))
    monkeypatch.setattr(devices, "SETTINGS", settings)
    data, file = tmp_path / "images", tmp_path / "devices.json"
    data.mkdir()
    write_image(data / "one.png", np.arange(48 * 48 * 3, dtype=np.uint8).reshape(48, 48, 3))
    devices.measure(file, data, "espcn_x3:uint8")
    written = read_json(file)
    assert list(written["models"]) == ["espcn_x3:uint8"]
    found = written["models"]["espcn_x3:uint8"]["figures"]
    assert found["a"]["reason"] == "operator 3 is unknown"
    assert "residency" not in found["a"]
    assert found[devices.HEXAGON]["residency"]["refused"] == {"DEPTH_TO_SPACE: not in the list": 1}
    assert found[devices.HEXAGON]["against_host"]["max_difference"] == 1
    assert 0 < abs(found[devices.HEXAGON]["psnr_y"] - found[devices.HEXAGON]["psnr_y_xnnpack"]) < 1
    before = file.read_bytes()
    monkeypatch.setattr(devices.names, "find", lambda *_, **__: pytest.fail("nothing is missing"))
    devices.measure(file, data, "espcn_x3:uint8")
    assert file.read_bytes() == before
    with pytest.raises(UserError, match=r"--data .*Set14: the figures in .* are of images"):
        devices.measure(file, "Set14")


def test_unknown_models_are_refused(tmp_path):
    with pytest.raises(UserError, match="--model xlsr_x3: unknown; known: abpn_x3:uint8, .*signature=dense"):
        devices.measure(tmp_path / "devices.json", "Set5", "xlsr_x3")
