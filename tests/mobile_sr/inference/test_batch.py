import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from mobile_sr import load, zoo
from mobile_sr.errors import UserError
from mobile_sr.imaging.images import read_image, write_image
from mobile_sr.inference import batch
from tests.conftest import make_image


def bicubic():
    return load("bicubic", 2)


@pytest.mark.slow
def test_a_thousand_files_by_several_workers(tmp_path):
    images = [make_image(10 + k, 14, seed=k) for k in range(8)]
    for k in range(1000):
        write_image(tmp_path / "in" / f"{k % 10}" / f"{k:04}.png", images[k % 8])
    jobs = batch.plan([tmp_path / "in"], tmp_path / "out", ".png")
    results = list(batch.upscale_files(jobs, bicubic, workers=3))
    assert len(results) == 1000
    assert not any(result.error for result in results)
    for k in (0, 501, 999):
        np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{k % 10}" / f"{k:04}.png"), bicubic()(images[k % 8]))


def test_each_worker_loads_once_and_equals_one_worker(exported, tmp_path):
    for k in range(6):
        write_image(tmp_path / "in" / f"{k}.png", make_image(20, 20 + k, seed=k))
    loads = []

    def tiny():
        loads.append(1)
        return load(exported / "tiny_uint8.tflite")

    for workers, out in ((1, "one"), (2, "two")):
        jobs = batch.plan([tmp_path / "in"], tmp_path / out, ".png")
        sizes = {r.source.name: (r.size_in, r.size_out) for r in batch.upscale_files(jobs, tiny, workers)}
        assert sizes["3.png"] == ((23, 20), (69, 60))
    assert len(loads) <= 3
    for k in range(6):
        assert (tmp_path / "one" / f"{k}.png").read_bytes() == (tmp_path / "two" / f"{k}.png").read_bytes()


def test_failures_are_reported_with_the_others_done(tmp_path):
    write_image(tmp_path / "in" / "a.png", make_image(9, 9))
    (tmp_path / "in" / "b.png").write_bytes(b"broken")
    results = batch.upscale_files(batch.plan([tmp_path / "in"], tmp_path / "out", ".png"), bicubic, workers=2)
    errors = {result.source.name: result.error for result in results}
    assert errors["a.png"] is None
    assert "b.png" in errors["b.png"]


def test_results_never_replace_sources_or_each_other(tmp_path):
    for name in ("a.png", "a.jpg", "sub/a.png", "a_jpg.bmp"):
        write_image(tmp_path / name, make_image(9, 9))
    out = tmp_path / "out"
    jobs = batch.plan([tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "sub" / "a.png", tmp_path / "a_jpg.bmp"], out)
    assert [target.name for _, target in jobs] == ["a_jpg.png", "a.png", "a_png.png", "a_jpg_bmp.png"]
    assert len({target for _, target in batch.plan([tmp_path], out)}) == 4
    with pytest.raises(UserError, match="overwrite the input"):
        batch.plan([tmp_path / "a.png"], tmp_path, ".png")
    with pytest.raises(UserError, match="overwrite the input"):
        batch.plan([tmp_path / "a.png"], tmp_path / "a.png")
    with pytest.raises(UserError, match="given twice"):
        batch.plan([tmp_path / "a.png", tmp_path / "a.png"], out)
    with pytest.raises(UserError, match="given twice"):
        batch.plan([tmp_path, tmp_path / "a.png"], out)


def test_a_result_never_replaces_a_depth_map(tmp_path):
    for name in ("a.png", "a_depth.png"):
        write_image(tmp_path / name, make_image(9, 9))
    jobs = batch.plan([tmp_path], tmp_path / "out", depth_map=True)
    assert [target.name for _, target in jobs] == ["a.png", "a_depth_png.png"]


def test_out_may_name_the_result_of_one_image(tmp_path):
    write_image(tmp_path / "a.png", make_image(9, 9))
    big = tmp_path / "o" / "big.jpg"
    assert batch.plan([tmp_path / "a.png"], big) == [(tmp_path / "a.png", big)]
    with pytest.raises(UserError, match="big.jpg: names a single output file"):
        batch.plan([tmp_path], big)
    with pytest.raises(UserError, match="big.jpg: its suffix does not match the format png"):
        batch.plan([tmp_path / "a.png"], big, ".png")
    with pytest.raises(UserError, match=r"\.tif.*unknown image format"):
        batch.plan([tmp_path / "a.png"], tmp_path / "big.tif")
    big.mkdir(parents=True)
    assert batch.plan([tmp_path / "a.png"], big) == [(tmp_path / "a.png", big / "a.png")]  # a folder may be called so


def test_names_that_are_too_long_are_reported_in_one_line(tmp_path):
    write_image(tmp_path / "a.png", make_image(9, 9))
    long = tmp_path / ("x" * 300) / "a.png"
    for names, out in (([long], tmp_path / "out"), ([tmp_path / "a.png"], long.parent), ([tmp_path / "a.png"], long)):
        (result,) = batch.upscale_files(batch.plan(names, out), bicubic)
        assert "x" * 300 in result.error


def test_gray_alpha_and_metadata_are_kept(tmp_path):
    gray = np.full((20, 24), 70, np.uint8)
    Image.fromarray(gray).save(tmp_path / "gray.png", dpi=(300, 300))
    y, x = np.mgrid[:20, :24]
    disc = np.zeros((20, 24, 4), np.uint8)
    disc[(x - 12) ** 2 + (y - 10) ** 2 < 50] = (255, 0, 0, 255)
    Image.fromarray(disc).save(tmp_path / "disc.png")
    results = list(batch.upscale_files(batch.plan([tmp_path], tmp_path / "out", ".png"), bicubic))
    assert [result.error or result.notes for result in results] == [[], []]
    found = Image.open(tmp_path / "out" / "gray.png")
    assert found.mode == "L"
    assert found.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    rgba = np.asarray(Image.open(tmp_path / "out" / "disc.png"))
    assert (rgba[rgba[..., 3] > 0][:, :3] == (255, 0, 0)).all()  # no dark rim
    (result,) = batch.upscale_files(batch.plan([tmp_path / "disc.png"], tmp_path / "o", ".jpg"), bicubic)
    assert result.notes == ["JPEG has no alpha: placed on a white background"]


def test_several_workers_stop_between_tiles(tmp_path):
    """The consumer ends while each worker is at the first of many tiles of its file."""
    for k in range(4):
        write_image(tmp_path / "in" / f"{k}.png", make_image(60, 60))
    write_image(tmp_path / "in" / "a.png", make_image(5, 5))
    tiles, busy = [], threading.Event()

    class Slow:
        scale, max_depth = 2, None

        def with_figures(self, image, tile, progress):
            if image.shape[0] == 5:
                busy.wait(10)
                return bicubic()(image), {}
            for k in range(1000):
                tiles.append(k)
                busy.set()
                time.sleep(0.01)
                progress(k + 1, 1000)
            return bicubic()(image), {}

    results = batch.upscale_files(batch.plan([tmp_path / "in"], tmp_path / "out"), Slow, workers=5)
    assert next(results).source.name == "a.png"
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 2
    assert 0 < len(tiles) < 1000
    assert os.listdir(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize("workers", ["1", "4"])
def test_an_interruption_leaves_whole_files_only(tmp_path, workers):
    write_image(tmp_path / "in" / "000.png", make_image(60, 60))
    for k in range(1, 1000):
        os.link(tmp_path / "in" / "000.png", tmp_path / "in" / f"{k:03}.png")
    command = [sys.executable, "-m", "mobile_sr", "upscale", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    command += ["--model", "xlsr_x3:uint8", "--workers", workers]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(5):
        assert process.stdout.readline(), process.communicate()[1]
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.strip() == "mobile-sr upscale: interrupted"
    made = os.listdir(tmp_path / "out")
    assert 5 <= len(made) < 1000
    for name in made:
        assert read_image(tmp_path / "out" / name).shape == (180, 180, 3)


@pytest.mark.parametrize(
    ("suffix", "model"),
    [pytest.param(*case, marks=pytest.mark.slow) for case in ((".jpg", "xlsr_x3:uint8"), (".png", "xlsr_x3:float32"))],
)
def test_an_8k_result_keeps_its_memory_bound(tmp_path, suffix, model):
    """7680x4320 from a 2560x1440 photograph, in a process of its own."""
    photo = np.kron(make_image(180, 320), np.ones((8, 8, 1), np.uint8))
    write_image(tmp_path / "photo.jpg", photo)
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == 'darwin' else 1024))"
    )
    command = [sys.executable, "-m", "mobile_sr", "upscale", "photo.jpg", "--model", model, "--out", "out"]
    command += ["--format", suffix[1:]]
    start = time.monotonic()
    found = subprocess.run([sys.executable, "-c", code, *command], cwd=tmp_path, check=True, capture_output=True, text=True)
    bound = 3 * 7680 * 4320 * 3 + 150e6
    assert 7680 * 4320 * 3 < int(found.stdout) <= bound, f"{int(found.stdout) / 1e6:.0f} MB, {time.monotonic() - start:.0f} s"
    from PIL import Image

    assert Image.open(tmp_path / "out" / f"photo{suffix}").size == (7680, 4320)


def test_tiles_of_a_large_image_equal_the_whole():
    image = make_image(530, 560)
    upscaler = load(f"{zoo.names()[0]}:uint8")
    seen = []
    tiled = upscaler(image, None, lambda *progress: seen.append(progress))
    assert len(seen) > 1  # cut without being asked
    np.testing.assert_array_equal(tiled, upscaler(image, tile=0))
