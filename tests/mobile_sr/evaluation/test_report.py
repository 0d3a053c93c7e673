import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mobile_sr import load
from mobile_sr.adadsr import depth_budget, depth_map, depth_usage
from mobile_sr.evaluation import compare, evaluate, report


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
        sources, open_tags = [], []

        def handle_starttag(self, tag, attributes):
            if tag == "img":
                self.sources += [value for name, value in attributes if name == "src"]  # the slider's have none yet
            elif tag not in ("meta", "link", "img", "input"):
                self.open_tags.append(tag)

        def handle_endtag(self, tag):
            assert self.open_tags.pop() == tag

    reader = Reader()
    reader.feed(page)
    assert reader.open_tags == []
    shown = min(compare.WORST, len(found["images"]))
    assert len(reader.sources) == (4 + 5) * shown  # whole images, then crops
    for k, images in ((0, crops[0]["whole"]), (4 * shown, crops[0]["images"])):
        np.testing.assert_array_equal(decoded(reader.sources[k]), images["hr"])


def decoded(url):
    """The image of a data URL, [H, W, 3] uint8."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_the_worst_images_come_first_and_crops_show_the_difference(written):
    found, crops, _ = written
    drops = [crop["row"]["drop_db"] for crop in crops]
    assert drops == sorted(drops, reverse=True)
    assert drops[0] == max(row["drop_db"] for row in found["images"])
    images = crops[0]["images"]
    difference = np.abs(images["reference"].astype(int) - images["model"]) * crops[0]["amplified"]
    np.testing.assert_array_equal(images["difference"], np.clip(difference, 0, 255))
    assert difference.max() > 0


def test_a_crop_is_where_the_models_differ_most():
    images = {key: np.zeros((300, 400, 3), np.uint8) for key in ("hr", "bicubic", "reference", "model")}
    images["model"][250, 310] = 90
    left, top, width, height = compare._crop(images)["window"]
    assert left <= 310 < left + width
    assert top <= 250 < top + height


def test_names_are_escaped(written):
    """Of images, models, folders and skipped files: nothing that a page would execute or that would break a line."""
    found, crops, _ = written
    evil = "<script>alert(1)</script>|`x`\n# heading\x1b[31m\udcff"
    changed = {**found, "data": evil, "skipped": [evil], "images": [{**found["images"][0], "name": evil}]}
    changed |= {side: {**found[side], "name": evil} for side in ("reference", "model")}
    crops = [{**crop, "row": {**crop["row"], "name": evil}} for crop in crops]
    page, text = report.page(changed, crops), report.markdown(changed)
    for written_text in (page, text):
        assert "<script>alert" not in written_text
        assert "\x1b" not in written_text
        assert "\n# heading" not in written_text
        written_text.encode()  # no byte that is not UTF-8
        assert "&lt;script&gt;" in written_text
    assert r"\|\`x\`\\n# heading\\x1b\[31m\\xff" in text


@pytest.fixture
def images(photo):
    """Two small images, (name, image), to compare on."""
    return [("left", photo[:48, :60]), ("right", photo[40:, 70:])]


@pytest.mark.parametrize("of", ["model", "reference"])
def test_the_report_shows_the_depths(depth_file, images, tmp_path, of):
    deep, plain = load(depth_file), load("bicubic", 2)
    deep.depth = 1
    found, crops = compare.compare(*((plain, deep) if of == "model" else (deep, plain)), images)
    assert (found["depth"]["of"], found["depth"]["desired"], found["depth"]["deepest"]) == (of, 1, 3)
    assert found["depth"]["mean"] == pytest.approx(np.mean([row["depth"]["mean"] for row in found["images"]]))
    lr = next(lr for name, _, lr, _ in evaluate.each_pair(images, 2, []) if name == crops[0]["row"]["name"])
    depths = deep.with_depth_map(lr)[1]
    assert crops[0]["row"]["depth"] == depth_usage.usage(deep.costs, depths, 1)
    np.testing.assert_array_equal(crops[0]["heat_map"], depth_map.heat_map(lr, depths, 3, opacity=0.8))
    page = report.write(tmp_path, found, crops).read_text()
    assert page.count('class="heat"') == len(crops)
    assert f"depth: mean {depths.mean():.2f}, desired 1.00" in page
    assert "of 3 blocks, desired 1.00" in (tmp_path / "report.md").read_text()


def test_a_report_without_depths_has_no_heat_map(images, tmp_path):
    bicubic = load("bicubic", 2)
    found, crops = compare.compare(bicubic, bicubic, images)
    page = report.write(tmp_path, found, crops).read_text()
    assert 'class="heat"' not in page
    assert "blocks" not in page
    assert "depth" not in found


def test_the_report_says_the_depths_that_a_budget_chose(depth_file, images, monkeypatch):
    model = load(depth_file)
    model.budget = {"ms": 10}
    monkeypatch.setattr(depth_budget, "choose", lambda model, image, ms: image.shape[1] / 100)
    found, _ = compare.compare(load("bicubic", 2), model, images)
    widths = {name: lr.shape[1] for name, _, lr, _ in evaluate.each_pair(images, 2, [])}
    assert {row["name"]: row["depth"]["desired"] for row in found["images"]} == {n: w / 100 for n, w in widths.items()}
