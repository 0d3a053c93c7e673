import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mobile_sr import compare, load, report


@pytest.fixture(scope="module")
def written(exported, image_folder, tmp_path_factory):
    """(report, folder) of the tiny net's float against its uint8 file."""
    found, crops = compare.compare(load(exported / "tiny_float32.tflite"), load(exported / "tiny_uint8.tflite"), image_folder)
    out = tmp_path_factory.mktemp("report")
    report.write(out, found, crops)
    return found, crops, out


def test_the_three_files_agree(written):
    found, _, out = written
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(found))
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    for row in found["images"]:
        for document in (page, text):
            assert row["name"] in document
            assert report.number(row["drop_db"], 3) in document
            assert f"{row['model_psnr']:.2f}" in document
    for document in (page, text):
        assert report.number(found["drop_db"], 3) in document
        assert "shave 3" in document
        assert "no clip op" in document
        assert f"{found['model']['size_bytes']:,} bytes" in document


def test_the_page_is_whole_and_needs_nothing_else(written):
    found, crops, out = written
    page = (out / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)

    class Reader(HTMLParser):
        pictures, open_tags = [], []

        def handle_starttag(self, tag, attributes):
            if tag == "img":
                self.pictures.append(dict(attributes)["src"])
            elif tag not in ("meta", "link"):
                self.open_tags.append(tag)

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    reader = Reader()
    reader.feed(page)
    assert reader.open_tags == []
    assert len(reader.pictures) == 5 * min(compare.WORST, len(found["images"]))
    first = np.asarray(Image.open(io.BytesIO(base64.b64decode(reader.pictures[0].partition(",")[2]))))
    np.testing.assert_array_equal(first, crops[0]["pictures"]["hr"])


def test_the_worst_images_come_first_and_crops_show_the_difference(written):
    found, crops, _ = written
    drops = [crop["row"]["drop_db"] for crop in crops]
    assert drops == sorted(drops, reverse=True)
    assert drops[0] == max(row["drop_db"] for row in found["images"])
    pictures = crops[0]["pictures"]
    difference = np.abs(pictures["reference"].astype(int) - pictures["model"]) * crops[0]["amplified"]
    np.testing.assert_array_equal(pictures["difference"], np.clip(difference, 0, 255))
    assert difference.max() > 0


def test_a_crop_is_where_the_models_differ_most():
    pictures = {key: np.zeros((300, 400, 3), np.uint8) for key in ("hr", "bicubic", "reference", "model")}
    pictures["model"][250, 310] = 90
    left, top, width, height = compare._crop(pictures)["place"]
    assert left <= 310 < left + width
    assert top <= 250 < top + height


def test_names_are_escaped(written):
    found, crops, _ = written
    changed = {**found, "images": [{**found["images"][0], "name": "<b>|evil.png"}]}
    assert "<b>|evil" not in report.page(changed, [])
    assert "<b>\\|evil.png" in report.markdown(changed)
