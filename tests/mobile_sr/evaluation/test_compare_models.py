"""Comparison of several models: figures, files of the report, the structure of its page, and refused input."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mobile_sr import load
from mobile_sr.errors import UserError
from mobile_sr.evaluation import compare_models, evaluate, models_report
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.images import read_image
from tests.mobile_sr.test_cli import one_line

_STRUCTURE = ("h1", "h2", "h3", "table", "thead", "tbody", "select", "input", "details", "svg", "ul", "script")


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """A folder with near.onnx and smooth.keras, nearest-neighbour and bilinear upscaling x3."""
    import keras

    folder = tmp_path_factory.mktemp("nets")
    kernel = np.repeat(np.eye(3, dtype=np.float32), 9, 0)[:, :, None, None]
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])
    sr = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3, "H", "W"])
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["y"]),
        helper.make_node("DepthToSpace", ["y"], ["z"], blocksize=3, mode="CRD"),
    ]
    graph = helper.make_graph(nodes, "near", [image], [sr], [numpy_helper.from_array(kernel, "k")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "near.onnx")
    x = keras.Input((None, None, 3))
    keras.Model(x, keras.layers.UpSampling2D(3, interpolation="bilinear")(x)).save(folder / "smooth.keras")
    return folder


@pytest.fixture(scope="module")
def written(nets, exported, few_images, run_here, tmp_path_factory):
    """(what the command printed, folder of the report) of five models of three formats."""
    out = tmp_path_factory.mktemp("models") / "report"
    files = [exported / f"tiny_{kind}.tflite" for kind in ("uint8", "int8")] + [nets / "near.onnx", nets / "smooth.keras"]
    models = [word for file in files for word in ("--model", file)]
    reference = ("--reference", exported / "tiny_float32.tflite")
    done = run_here("compare", *reference, *models, "--data", few_images, "--report", out, "--sort", "drop")
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def test_one_run_writes_all_files(written):
    printed, out = written
    plots = ["psnr_instructions.svg", "psnr_size.svg", "psnr_time.svg"]
    wanted = ["contact_sheet.png", "images.csv", "models.csv", *plots, "report.html", "report.json", "report.md"]
    assert sorted(path.name for path in out.iterdir()) == wanted
    record = json.loads((out / "report.json").read_text())
    assert f"report: {out / 'report.html'}" in printed
    for name, entry in zip(compare_models.short_names(record["models"]), record["models"], strict=True):
        for text in (printed, (out / "report.md").read_text(), (out / "report.html").read_text()):
            assert name in text
            assert f"{entry['psnr']:.3f}" in text
            assert f"{entry['gain_db']:+.3f}" in text
    assert read_image(out / "contact_sheet.png").shape == (10 + 2 * (2 * 96 + 36 + 10), 10 + 7 * (2 * 96 + 10), 3)


def test_the_figures_are_those_of_evaluate(written, exported, few_images):
    record = json.loads((written[1] / "report.json").read_text())
    wanted = evaluate.evaluate(load(exported / "tiny_uint8.tflite"), few_images)
    reference, entry = record["models"][:2]
    assert (entry["psnr"], entry["ssim"]) == (wanted["mean"]["psnr"], wanted["mean"]["ssim"])
    assert entry["gain_db"] == wanted["mean"]["psnr"] - wanted["bicubic"]["psnr"]
    assert entry["drop_db"] == reference["psnr"] - entry["psnr"]
    assert reference["drop_db"] == 0
    assert [row["models"][1]["psnr"] for row in record["images"]] == [row["psnr"] for row in wanted["images"]]
    assert [model["instructions_per_lr_pixel"] is None for model in record["models"]] == [True, False, False, True, True]
    assert all(model["time_ms"] > 0 for model in record["models"])
    near = record["models"][3]["colour_error"]
    assert near["flat"] == 0
    assert [entry["colour"] for entry in near["colours"]] == [list(colour) for colour in flat_colours.COLOURS]
    assert all(entry["becomes"] == entry["colour"] and entry["error"] == 0 for entry in near["colours"])


def test_the_printed_table_is_sorted(written):
    lines = written[0].splitlines()
    assert re.fullmatch(r"-\d\.\d\d dB over bicubic: smooth.keras", lines[0])  # the others have random weights
    names = [line.split("  ")[0] for line in lines[3:9]]
    assert "tiny_float32.tflite (reference)" in names
    assert names[-1] == "bicubic"
    drops = [float(re.split(r"  +", line)[3]) for line in lines[3:8]]
    assert drops == sorted(drops)


def test_csv_has_unrounded_figures(written):
    record = json.loads((written[1] / "report.json").read_text())
    with (written[1] / "models.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows][3:] == ["near.onnx", "smooth.keras", "bicubic"]
    assert [float(row["psnr"]) for row in rows[:5]] == [entry["psnr"] for entry in record["models"]]
    assert (rows[0]["instructions"], rows[5]["size"]) == ("", "")
    with (written[1] / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * len(record["images"])
    assert float(rows[1]["drop"]) == record["images"][0]["models"][1]["drop_db"]


class Outline(HTMLParser):
    """The headings, tables, controls and charts of a page, in their order, and the tags that are still open."""

    def __init__(self):
        super().__init__()
        self.outline, self.open_tags, self.images = [], [], 0

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in _STRUCTURE:
            label = attributes.get("id") or attributes.get("data-choose") or attributes.get("type") or attributes.get("class")
            self.outline.append(f"{tag}.{label}" if label else tag)
        self.images += tag == "img"
        if tag not in ("meta", "link", "img", "input"):
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open_tags.pop() == tag

    def handle_startendtag(self, tag, attributes):
        pass


def test_the_structure_of_the_page(written):
    page = (written[1] / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    found = Outline()
    found.feed(page)
    assert found.open_tags == []
    files = ["table.facts"] * 3  # the .tflite files
    assert found.outline == [
        *("h1", "h2", "table.models", "thead", "tbody", "ul.notes", *["svg"] * 4),  # two plots, for wide and for narrow screens
        *("h2", "select.view", "select.left", "select.right", "select.zoom", "input.range", "details"),
        *("h2", "h2", "h2", "input.search", "table.images", "thead", "tbody", "h2", *files, "script"),
    ]
    assert found.images == 2 + 2 * 7 + 2 * 7  # the slider's two; HR, bicubic and five models of both images; their crops
    assert page.count("linear-gradient(rgb(") == 5 * len(flat_colours.COLOURS)


def test_names_are_escaped(written):
    record = json.loads((written[1] / "report.json").read_text())
    evil = "<script>alert(1)</script>|`x`\n# heading\x1b[31m\udcff"
    record |= {"data": evil, "skipped": [evil], "images": [{**row, "name": evil} for row in record["images"]]}
    record["models"] = [{**entry, "name": evil + str(k)} for k, entry in enumerate(record["models"])]
    image = np.zeros((20, 20, 3), np.uint8)
    crop = {"row": record["images"][0], "hr": image, "bicubic": image, "outputs": [image] * 5, "window": [0, 0, 20, 20]}
    csv_text = models_report.csv_files(record)["images.csv"]
    for text in (models_report.page(record, [crop]), models_report.markdown(record), models_report.text(record), csv_text):
        assert "\x1b" not in text
        assert "\n# heading" not in text
        text.encode()
    assert "<script>alert" not in models_report.page(record, [crop])
    assert "<script>alert" not in models_report.markdown(record)


def test_a_single_model_without_reference(photo):
    record, crops = compare_models.compare_models([load("xlsr_x3:uint8")], None, [("photo", photo)])
    assert models_report.headline(record) == f"{record['models'][0]['gain_db']:+.2f} dB over bicubic: xlsr_x3:uint8"
    assert "drop" not in [column.key for column in models_report.columns(record)]
    assert models_report.plot_files(record) == {}
    assert len(crops[0]["outputs"]) == 1


def test_own_metrics(run_here, few_images, tmp_path):
    (tmp_path / "quality.py").write_text(
        "import numpy as np\n"
        "def error(sr, hr):\n    return np.abs(sr.astype(int) - hr).mean()\n"
        "def broken(sr, hr):\n    return sr.nothing\n"
    )
    options = ("--model", "xlsr_x3:uint8", "--data", few_images, "--json", tmp_path / "f.json")
    done = run_here("compare", *options, "--metric", f"{tmp_path}/quality.py:error")
    assert done.returncode == 0, done.stderr
    model, means = load("xlsr_x3:uint8"), []
    for _, hr, lr, _ in evaluate.each_pair(few_images, 3, []):
        means.append(np.abs(model(lr)[3:-3, 3:-3].astype(int) - hr[3:-3, 3:-3]).mean())
    found = json.loads((tmp_path / "f.json").read_text())["models"][0]["metrics"]
    assert found == {"error": pytest.approx(np.mean(means))}
    assert f"{np.mean(means):.4g}" in done.stdout
    one_line(
        run_here("compare", *options, "--metric", f"{tmp_path}/quality.py:broken"), "--metric broken: p0.png", "quality.py:5"
    )
    one_line(run_here("compare", *options, "--metric", f"{tmp_path}/quality.py:eror"), "did you mean error?")


def test_a_perceptual_metric_without_its_library(run_here, few_images):
    options = ("--model", "xlsr_x3:uint8", "--data", few_images, "--metric", "lpips")
    one_line(
        run_here("compare", *options), "--metric lpips: perceptual metrics need pyiqa; pip install 'mobile-sr[perceptual]'"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "xlsr_x3:uint8", "--max-drop", "1"), "--max-drop: the drop is counted from a reference"),
        (("--model", "xlsr_x3:uint8", "--sort", "drop"), "--sort drop: the drop is counted from a reference"),
        (("--model", "xlsr_x3:uint8", "--model", "abpn_x3:uint8", "--layers"), "--layers compares two files"),
        (("--model", "xlsr_x3:uint8", "--model", "xlsr_x2:uint8"), "its scale is 2, not 3"),
    ],
)
def test_refused_options(run_here, few_images, words, message):
    one_line(run_here("compare", *words, "--data", few_images), message)


def test_models_of_two_scales_are_refused(photo):
    with pytest.raises(UserError, match="xlsr_x2:uint8 has 2; compare models of one scale"):
        compare_models.compare_models([load("xlsr_x3:uint8"), load("xlsr_x2:uint8")], None, [("photo", photo)])


def test_max_drop_names_each_model(run_here, few_images):
    models = ("--reference", "bicubic", "--scale", "3", "--model", "xlsr_x3:uint8", "--model", "bicubic")
    done = run_here("compare", *models, "--data", few_images, "--max-drop", "-9")
    assert done.returncode == 1
    start, end = "mobile-sr compare: ", "dB exceeds --max-drop -9.0"
    assert [line.startswith(start) and line.endswith(end) for line in done.stderr.splitlines()] == [True, True]
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == ["xlsr_x3:uint8", "bicubic"]


def test_short_names_stay_distinct():
    entries = [{"name": "a/net.tflite"}, {"name": "b/net.tflite"}, {"name": "c/other.onnx", "device": "virtual:arm64"}]
    assert compare_models.short_names(entries) == ["a/net.tflite", "b/net.tflite", "other.onnx on virtual:arm64"]
