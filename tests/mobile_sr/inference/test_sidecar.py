"""Sidecars: ours are checked field by field, foreign JSON is ignored with a note, and other bytes are refused."""

import json
import math
import shutil

import pytest

from mobile_sr import load, zoo
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare
from mobile_sr.files import sha256
from mobile_sr.inference import model_files, sidecar


@pytest.fixture
def file(tmp_path):
    """A packaged .tflite and its sidecar in a folder of their own."""
    for path in (model_files.locate("xlsr_x3:uint8")[0], model_files.locate("adaedsr_b8_x2:float32")[0]):
        shutil.copy(path, tmp_path)
        shutil.copy(path.with_suffix(".json"), tmp_path)
    return tmp_path / "xlsr_x3_uint8.tflite"


def change(file, **fields):
    path = file.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_all_packaged_sidecars_are_valid():
    for path in sorted(zoo.FOLDER.glob("*.tflite")):
        found = sidecar.read(path, path.read_bytes())
        assert found.receptive_field >= 4
        assert all(check["passed"] for check in found.checks)


def test_other_bytes_are_refused(file, monkeypatch):
    data = bytearray(file.read_bytes())
    for place in range(64):
        data[-1000 - place] ^= 255
    file.write_bytes(data)
    for use in (load, compare.inspect):
        with pytest.raises(UserError, match="SHA-256 differs"):
            use(str(file))
    monkeypatch.setattr(zoo, "FOLDER", file.parent)
    (file.parent / "xlsr_x3.npz").write_bytes(b"")
    with pytest.raises(UserError, match="SHA-256 differs"):
        load("xlsr_x3:uint8")


def test_replaced_packaged_weights_are_refused(file, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", file.parent)
    (file.parent / "xlsr_x3.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="xlsr_x3.npz: damaged or replaced"):
        load("xlsr_x3")


@pytest.mark.parametrize("text", ["[1]", "{", '{"hello": 1}', '{"config": {}, "network": 3}', "\xff", "[" * 100_000])
def test_foreign_json_is_ignored_with_a_note(file, capsys, text):
    file.with_suffix(".json").write_bytes(text.encode("latin-1"))
    for _ in range(2):
        assert load(str(file)).receptive_field is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert f"{file.with_suffix('.json')} is ignored" in lines[0]


def test_a_folder_and_a_huge_file_are_ignored(file, capsys, monkeypatch):
    monkeypatch.setattr(sidecar, "MAX_BYTES", 100)
    assert load(str(file)).scale == 3
    assert "more than 100 bytes" in capsys.readouterr().err
    monkeypatch.setattr(sidecar, "_noted", set())
    file.with_suffix(".json").unlink()
    file.with_suffix(".json").mkdir()
    assert load(str(file)).scale == 3
    assert "not a file" in capsys.readouterr().err


def test_a_file_with_more_than_half_of_the_8_field_names_is_a_sidecar():
    names = ("format", "network", "config", "scale", "precision", "receptive_field", "audit")
    assert sidecar.is_ours(dict.fromkeys(names[:5]), "0")
    assert not sidecar.is_ours(dict.fromkeys(names[:4]), "0")
    assert sidecar.is_ours({"sha256": "1", "format": 1}, "0")
    assert sidecar.is_ours({"sha256": "0"}, "0")
    assert not sidecar.is_ours({"sha256": "1", "scale": 2}, "0")


@pytest.mark.parametrize(("field", "largest"), [("scale", 16), ("receptive_field", 4096), ("smallest_side", 4096)])
def test_largest_values(field, largest):
    assert getattr(sidecar.from_json({field: largest}, "x.json"), field) == largest
    with pytest.raises(UserError, match=f"'{field}' is {largest + 1}; expected .*to {largest}"):
        sidecar.from_json({field: largest + 1}, "x.json")


@pytest.mark.parametrize("value", [0, True, -5, 1.5, "x", [1], {}, math.nan, math.inf, 4, 10**9])
def test_receptive_fields(file, value):
    change(file, receptive_field=value)
    with pytest.raises(UserError, match="damaged sidecar: 'receptive_field' is"):
        load(str(file))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("format", (2, "1", True, None)),
        ("sha256", (None, 5, "x", "A" * 64)),
        ("network", (None, 5, "unknown", [])),
        ("config", (None, {}, [], {"network": "edsr", "scale": 3}, {"network": "xlsr", "scale": 2})),
        ("scale", (0, True, 2, 3.0, "3", None, 17)),
        ("precision", (None, "float", 8)),
        ("smallest_side", (0, -1, True, 1.5, "x", math.nan, [1], None)),
        ("value_range", ([0, 2], [False, True], [0.0, 1.0], "01", {}, None, [0], 255)),
        ("signatures", ("sparse", [1], {}, ["a", "a"], None, True)),
        ("desired_depth", (8, [0], [0, 0], [0, -1], [0, math.nan], [0, "8"], [0, True], [1, 8], {}, "x")),
        ("multiply_adds", (5, {}, [], {"always": 1}, "x", True)),
        ("audit", ({}, None, [], {"checks": None}, {"checks": [{}]}, {"checks": [{"check": "a", "passed": 1}]}, True)),
    ],
)
def test_damaged_fields(file, field, values):
    for value in values:
        change(file, **{field: value})
        for use in (load, compare.inspect):
            with pytest.raises(UserError, match="damaged sidecar") as caught:
                use(str(file))
            assert "\n" not in str(caught.value)


def test_missing_fields(file):
    path = file.with_suffix(".json")
    whole = json.loads(path.read_text())
    for field in ("sha256", "network", "config", "scale", "precision", "receptive_field", "audit"):
        path.write_text(json.dumps({key: value for key, value in whole.items() if key != field}))
        with pytest.raises(UserError, match=f"'{field}' is 'missing'"):
            load(str(file))


def test_counts_of_networks_with_masks(file):
    file = file.with_name("adaedsr_b8_x2_sparse_float32.tflite")
    whole = json.loads(file.with_suffix(".json").read_text())["multiply_adds"]
    assert load(str(file)).costs == whole
    odd = {"blocks": [[1]], "always": -1, "once": "x", "span": 0, "dense_above": math.nan}
    for key, value in odd.items():
        change(file, multiply_adds={**whole, key: value})
        with pytest.raises(UserError, match="damaged sidecar: 'multiply_adds'"):
            load(str(file))


def test_a_handwritten_sidecar_may_have_few_fields(file):
    record = {"sha256": sha256(file.read_bytes()), "receptive_field": 7}
    file.with_suffix(".json").write_text(json.dumps(record))
    assert load(str(file)).receptive_field == 7


def test_layout_channels_and_order():
    """They are optional, and fit each other."""
    fields = {"layout": "nchw", "channels": 1, "order": "y_full"}
    found = sidecar.from_json({"sha256": "0" * 64, **fields}, "net.json")
    assert (found.layout, found.channels, found.order) == ("nchw", 1, "y_full")
    old = sidecar.from_json({"sha256": "0" * 64}, "net.json")
    assert (old.layout, old.channels, old.order) == (None, None, None)
    for name, value, said in (
        ("layout", "hwc", "'layout' is 'hwc'; expected nhwc or nchw"),
        ("layout", ["nchw"], "expected nhwc or nchw"),
        ("channels", 2, "'channels' is 2; expected 3 or 1"),
        ("channels", True, "'channels' is True; expected 3 or 1"),
        ("order", "gray", "expected rgb, bgr, y or y_full"),
        ("order", "bgr", r"'order' is 'bgr'; expected y or y_full for 1 channel"),
    ):
        with pytest.raises(UserError, match=said):
            sidecar.from_json({"sha256": "0" * 64, **fields, name: value}, "net.json")
