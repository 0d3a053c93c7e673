"""The built page of web_demo in a headless Chromium: the bytes of Python, the GPU, the slider, and sent results."""

import csv
import io
import json
import os
import shutil
import subprocess
import threading

import numpy as np
import pytest

from mobile_sr import load, zoo
from mobile_sr.imaging import metrics
from mobile_sr.imaging.images import read_image, write_image
from mobile_sr.imaging.resize import downscale, imresize
from mobile_sr.serving import server, site, store
from tests import schema
from tests.conftest import ROOT, make_image
from tests.mobile_sr.inference.test_third_party import ANY, channels_first, convert, images_up_to, network

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WEB = ROOT / "web_demo"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs chromium, chromium-browser or google-chrome on the PATH"),
    pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js"),
    pytest.mark.skipif(not (WEB / "dist" / "models.json").exists(), reason="needs the built page: make web"),
]


@pytest.fixture(scope="module")
def photo():
    """An image that is cut into three windows."""
    return make_image(70, 620, seed=5)


@pytest.fixture(scope="module")
def visit(photo, tmp_path_factory):
    """One visit of the page: (steps by name, folder with the canvases' bytes, the server's store)."""
    out = tmp_path_factory.mktemp("web")
    write_image(out / "wide.png", photo)
    shutil.copy(zoo.resolve("xlsr_x3:uint8"), out / "unknown.tflite")  # without its sidecar
    (out / "broken.tflite").write_bytes(b"\x00\x00\x00\x00TFL3" + b"\xff" * 40)
    steps = {
        "open": {"do": "open", "width": 400},
        "layout": {"do": "layout"},
        "uint8": {"do": "run", "name": "uint8", "model": "xlsr_x3:uint8"},
        "slide": {"do": "slide", "keys": ["ArrowRight"] * 10},
        "gpu": {"do": "run", "name": "gpu", "model": "xlsr_x3:float32", "accelerator": "gpu_fp32", "part": "128"},
        "file": {"do": "upload", "input": "image-file", "files": [str(out / "wide.png")]},
        "wide": {"do": "run", "name": "wide", "model": "xlsr_x3:uint8", "part": "0"},
        "model": {"do": "upload", "input": "model-file", "files": [str(out / "unknown.tflite")]},
        "unknown": {"do": "run", "name": "unknown", "part": "128"},
        "camera": {"do": "camera"},
        "photo": {"do": "run", "name": "photo", "model": "xlsr_x3:uint8", "part": "128", "runs": 3},
        "uncheck": {"do": "uncheck", "names": ["gpu"]},
        "matrix": {"do": "matrix"},
        "name": {"do": "name", "text": "Pixel 8"},
        "json": {"do": "download", "button": "json"},
        "csv": {"do": "download", "button": "csv"},
        "send": {"do": "send"},
        "wide enough": {"do": "layout"},
        "broken": {"do": "choose", "input": "model-file", "files": [str(out / "broken.tflite")]},
        "error": {"do": "error"},
    }
    said, results = drive(out, steps)
    return said, out, results


@pytest.fixture(scope="module")
def foreign(photo, tmp_path_factory):
    """Files of unknown origin, opened on the page without a record: (steps by name, folder, names)."""
    import tensorflow as tf

    out = tmp_path_factory.mktemp("foreign")
    write_image(out / "part.png", photo[:60, :100])

    def add(name, shape, function=network, *whites, **options):
        scale = 3 if "x3" in name else 2
        spec = tf.TensorSpec(shape, tf.float32, "image")
        data = convert(lambda x: function(tf, x, scale, *whites) if whites else function(tf, x), spec, **options)
        (out / f"{name}.tflite").write_bytes(data)

    integer = {"ends": (tf.uint8, tf.uint8)}
    add("float_255", ANY, network, 255, 255)
    add("float_255_in", ANY, network, 255, 1)
    add("uint8_255_x3", ANY, network, 255, 255, **integer, data=images_up_to(300))
    add("nchw", (1, 3, None, None), channels_first)
    add("nchw_uint8", (1, 3, 12, 16), channels_first, **integer, data=images_up_to(1, shape=(1, 3, 12, 16)))
    add("fixed", (1, 24, 24, 3))
    add("luma_255", (1, None, None, 1), network, 255, 255)
    steps = {"open": {"do": "open"}, "image": {"do": "upload", "input": "image-file", "files": [str(out / "part.png")]}}
    names = sorted(path.stem for path in out.glob("*.tflite"))
    for name in names:
        steps[f"model {name}"] = {"do": "upload", "input": "model-file", "files": [str(out / f"{name}.tflite")]}
        steps[name] = {"do": "run", "name": name, "part": "0", "runs": 1}
    add("int8", (1, 12, 16, 3), ends=(tf.int8, tf.int8), data=images_up_to(1, shape=(1, 12, 16, 3)))
    steps["model int8"] = {"do": "upload", "input": "model-file", "files": [str(out / "int8.tflite")]}
    steps["int8"] = {"do": "fail"}
    steps["swapped"] = {"do": "run", "name": "swapped", "model": "xlsr_x3_uint8.tflite", "part": "0", "runs": 1}
    resized = lambda x: tf.image.resize(x, 2 * tf.shape(x)[1:3], "nearest")  # noqa: E731
    (out / "resize.tflite").write_bytes(convert(resized, tf.TensorSpec(ANY, tf.float32, "image")))
    steps["model resize"] = {"do": "upload", "input": "model-file", "files": [str(out / "resize.tflite")]}
    steps["resize"] = {"do": "fail"}
    bgr = f"{shutil.copy(zoo.resolve('xlsr_x3:uint8'), out)}@order=bgr"
    return drive(out, steps, [bgr])[0], out, names


def drive(out, steps, models=("xlsr_x3:uint8", "xlsr_x3:float32"), **environment):
    """Serve the page and take the steps, {name: step}: ({name: what the step returned}, the server's store)."""
    results = store.Store(out / "results")
    content = site.build(WEB / "dist", models)
    with server.PageServer(("127.0.0.1", 0), "token", content, results) as page:
        thread = threading.Thread(target=page.serve_forever)
        thread.start()
        try:
            command = ["node", "test/browser.mjs", BROWSER, f"http://localhost:{page.port}/token/", out]
            command.append(json.dumps(list(steps.values())))
            env = {**os.environ, **environment}
            done = subprocess.run(command, cwd=WEB, env=env, capture_output=True, text=True, timeout=240)
        finally:
            page.shutdown()
            thread.join()
    assert done.stdout, done.stderr
    said = json.loads(done.stdout)
    assert "failed" not in said, said
    assert said["problems"] == []
    return dict(zip(steps, said["results"], strict=True)), results


@pytest.fixture(scope="module")
def sample():
    """(HR, LR) of the page's first sample: 128x128 input pixels from its middle."""
    image = read_image(WEB / "dist" / "samples" / "astronaut.png")
    top, left = ((side - 384) // 2 for side in image.shape[:2])
    hr = image[top : top + 384, left : left + 384]
    return hr, downscale(hr, 3)


def pixels(visit, name, shape, side="sr"):
    return np.fromfile(visit[1] / f"{name}_{side}.bin", np.uint8).reshape(shape)


def test_uint8_on_the_cpu_has_the_bytes_of_python(visit, sample):
    hr, lr = sample
    sr, bicubic = load("xlsr_x3:uint8")(lr), imresize(lr, 3)
    assert visit[0]["uint8"]["right"] == list(sr.shape)
    np.testing.assert_array_equal(pixels(visit, "uint8", sr.shape), sr)
    np.testing.assert_array_equal(pixels(visit, "uint8", sr.shape, "left"), bicubic)
    row = visit[0]["uint8"]["row"]
    assert [*row[:4], row[8]] == ["xlsr_x3:uint8", "CPU", "CPU", "128x128", f"{metrics.psnr(sr, hr, 'y', 3):.2f}"]


def test_float32_on_the_gpu_is_within_one_level(visit, sample):
    sr = load("xlsr_x3:float32")(sample[1])
    row = visit[0]["gpu"]["row"]
    assert row[1:3] == ["GPU (32-bit floats)", "GPU"]
    difference = np.abs(pixels(visit, "gpu", sr.shape).astype(int) - sr)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < 0.001
    assert int(row[10]) <= 1


def test_a_large_image_is_cut_into_the_same_windows(visit, photo):
    sr = load("xlsr_x3:uint8")(photo)
    np.testing.assert_array_equal(pixels(visit, "wide", sr.shape), sr)


def test_a_file_without_a_record_is_measured(visit, photo):
    """Its scale and ranges are found; the part is taken from the middle."""
    part = photo[:, (620 - 128) // 2 :][:, :128]
    sr = load("xlsr_x3:uint8")(part)
    assert visit[0]["unknown"]["row"][0] == "unknown.tflite"
    np.testing.assert_array_equal(pixels(visit, "unknown", sr.shape), sr)


def test_without_a_gpu_the_cpu_runs_the_file_and_the_reason_is_told(tmp_path):
    run = {"do": "run", "name": "none", "model": "xlsr_x3:uint8", "accelerator": "gpu"}
    said, results = drive(tmp_path, {"open": {"do": "open"}, "run": run, "send": {"do": "send"}}, WITHOUT_GPU="1")
    assert said["run"]["row"][1:3] == ["GPU (16-bit floats)", "CPU"]
    [row] = results.reports[0]["results"]
    assert (row["requested_accelerator"], row["effective_accelerator"]) == ("gpu", "cpu")
    [note] = row["notes"]
    assert note.startswith("GPU: ")
    assert note.endswith("; ran on the CPU instead")


def test_ranges_layouts_and_sizes_of_unknown_files_are_those_of_python(foreign, photo):
    said, out, names = foreign
    assert len(names) == 7
    part = photo[:60, :100]
    for name in names:
        sr = load(out / f"{name}.tflite")(part)
        assert said[name]["right"] == list(sr.shape), name
        found = np.fromfile(out / f"{name}_sr.bin", np.uint8).reshape(sr.shape).astype(int)
        np.testing.assert_allclose(found, sr, atol=1 if "luma" in name else 0, err_msg=name)


def test_a_given_channel_order(foreign, photo):
    sr = load("xlsr_x3:uint8")(photo[:60, :100, ::-1])[..., ::-1]
    np.testing.assert_array_equal(np.fromfile(foreign[1] / "swapped_sr.bin", np.uint8).reshape(sr.shape), sr)


def test_an_integer_type_that_the_runtime_lacks_is_refused(foreign):
    assert "is int8; LiteRT.js supports float32 and uint8" in foreign[0]["int8"]


def test_a_file_whose_scale_is_unknown_is_refused(foreign):
    assert foreign[0]["resize"].startswith(
        "resize.tflite: its operators do not tell its scale; open it together with its .json"
    )


def test_the_divider_moves_by_the_keyboard(visit):
    before, after, text = visit[0]["slide"]
    assert before != after
    assert text.startswith("60 % bicubic")


def test_a_narrow_screen_fits_and_every_control_has_a_name(visit):
    for step in ("layout", "wide enough"):
        assert visit[0][step] == {"wide": False, "unlabelled": [], "threads": True, "secure": True}


def test_a_damaged_file_is_refused_in_one_line(visit):
    assert visit[0]["error"] == "broken.tflite: a damaged .tflite file"


def test_the_results_are_in_the_report(visit):
    said, _, results = visit
    assert said["send"] == "Sent. Open the report"
    [report] = results.reports
    schema.check(report)
    assert report["results"] == json.loads(said["json"])["results"]
    assert report["environment"]["device"] == "Pixel 8"
    shown = [(row["model"], row["effective_accelerator"], row["width"], row["height"]) for row in report["results"]]
    assert shown == [
        ("xlsr_x3:uint8", "cpu", 128, 128),
        ("xlsr_x3:float32", "gpu", 128, 128),
        ("xlsr_x3:uint8", "cpu", 266, 70),
        ("unknown.tflite", "cpu", 128, 70),
        ("xlsr_x3:uint8", "cpu", 128, 128),
        ("xlsr_x3:uint8", "cpu", 128, 128),
        ("xlsr_x3:float32", "cpu", 128, 128),
    ]
    assert said["matrix"] == len(shown)  # bars of the chart
    assert results.page().decode().count("<td>browser, Pixel 8</td>") == len(shown)


def test_the_csv_has_the_same_figures(visit):
    rows = list(csv.DictReader(io.StringIO(visit[0]["csv"])))
    results = json.loads(visit[0]["json"])["results"]
    assert [row["device"] for row in rows] == ["Pixel 8"] * len(results)
    for row, result in zip(rows, results, strict=True):
        assert (row["model"], row["ran_on"]) == (result["model"], result["effective_accelerator"])
        assert float(row["p50_ms"]) == pytest.approx(np.percentile(result["samples_ms"], 50))
        assert float(row["p90_ms"]) == pytest.approx(np.percentile(result["samples_ms"], 90))
        assert result["latency_ms"]["std"] == pytest.approx(np.std(result["samples_ms"]))


def test_a_camera_image_is_upscaled(visit):
    assert visit[0]["camera"].startswith("camera: ")
    assert visit[0]["photo"]["row"][2:4] == ["CPU", "128x128"]
