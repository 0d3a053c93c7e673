"""The built page of web_demo in a headless Chromium: the bytes of Python, the GPU, the slider, and sent results."""

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
        "send": {"do": "send"},
        "wide enough": {"do": "layout"},
        "broken": {"do": "choose", "input": "model-file", "files": [str(out / "broken.tflite")]},
        "error": {"do": "error"},
    }
    said, results = drive(out, steps)
    return said, out, results


def drive(out, steps, **environment):
    """Serve the page and take the steps, {name: step}: ({name: what the step returned}, the server's store)."""
    results = store.Store(out / "results")
    content = site.build(WEB / "dist", ["xlsr_x3:uint8", "xlsr_x3:float32"])
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
    shown = [(row["model"], row["effective_accelerator"], row["width"], row["height"]) for row in report["results"]]
    assert shown == [
        ("xlsr_x3:uint8", "cpu", 128, 128),
        ("xlsr_x3:float32", "gpu", 128, 128),
        ("xlsr_x3:uint8", "cpu", 266, 70),
        ("unknown.tflite", "cpu", 128, 70),
    ]
    page = results.page().decode()
    assert page.count(f"<td>browser, {report['environment']['device']}</td>") == 4
