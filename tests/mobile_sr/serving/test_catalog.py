"""models.json."""

import pytest

from mobile_sr import zoo
from mobile_sr.errors import UserError
from mobile_sr.serving import catalog


def test_the_facts_of_packaged_and_other_files(tmp_path):
    file = tmp_path / "xlsr_x3_uint8.tflite"  # the same bytes without a sidecar
    file.write_bytes(zoo.resolve("xlsr_x3:uint8").read_bytes())
    content, files = catalog.catalog(["xlsr_x3:uint8", file, f"{file}@order=bgr"], served=True)
    packaged, other, swapped = content["models"]
    assert packaged == {
        "name": "xlsr_x3:uint8",
        "sha256": packaged["sha256"],
        "size_bytes": file.stat().st_size,
        "scale": 3,
        "receptive_field": 5,
        "smallest_side": 1,
        "values": {"range_in": "1", "range_out": "1", "order": "rgb"},
        "layout": "nhwc",
        "file": "models/0.tflite",
    }
    assert other == {**packaged, "name": file.name, "receptive_field": None, "file": "models/1.tflite"}
    assert swapped["name"] == f"{file.name} (3)"
    assert swapped["values"]["order"] == "bgr"
    assert files == {"models/0.tflite": zoo.resolve("xlsr_x3:uint8"), "models/1.tflite": file, "models/2.tflite": file}
    assert content["served"] is True


def test_files_that_the_page_cannot_run(monkeypatch):
    with pytest.raises(UserError, match=r"adaedsr_b8_x2:uint8: .* one input and one output"):
        catalog.facts("adaedsr_b8_x2:uint8")
    monkeypatch.setattr(catalog, "DTYPES", ("float32",))
    with pytest.raises(UserError, match=r"xlsr_x3:uint8: its images are uint8; LiteRT\.js supports"):
        catalog.facts("xlsr_x3:uint8")


def test_the_packaged_files_are_those_with_one_input():
    names = catalog.packaged()
    assert names[:2] == ["xlsr_x3:uint8", "xlsr_x3:float32"]
    several = {name for name in zoo.names() if {"depth", "exits"} & zoo.card(name)["config"].keys()}
    assert "adaedsr_b8_x2" in several
    assert {name.partition(":")[0] for name in names} == set(zoo.names()) - several
