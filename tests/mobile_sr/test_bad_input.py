"""Bad and odd input at the command line, beyond what test_cli.py covers: handled with a note, or refused in one line."""

import json
import resource
import struct
import subprocess
import sys
import zlib

import pytest

from mobile_sr.imaging.images import encode_image, write_image
from mobile_sr.imaging.resize import downscale
from tests.conftest import make_image
from tests.mobile_sr.test_cli import one_line

BICUBIC = ("--model", "bicubic", "--scale", "3")


def png_header(width, height):
    """A PNG whose header states a size, with almost no data."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


def test_odd_sizes_are_cut_or_padded(run_here, tmp_path):
    for k, size in enumerate([(50, 61), (17, 40), (9, 9), (4, 30)]):
        write_image(tmp_path / "in" / f"{k}.png", make_image(*size))
    result = run_here("evaluate", *BICUBIC, "--data", tmp_path / "in", "--json", tmp_path / "f.json")
    assert result.returncode == 2  # nothing is left of the last after the shave
    one_line_after_skip = f"skipped: {tmp_path}/in/3.png: 30x3 pixels (after modcrop) are too few to measure, 3 pixels are cut"
    assert one_line_after_skip in result.stderr
    rows = json.loads((tmp_path / "f.json").read_text())["images"]
    assert [row["psnr"] is None for row in rows] == [False, False, False]
    assert [row["ssim"] is None for row in rows] == [False, True, True]
    result = run_here("upscale", tmp_path / "in", "--model", "xlsr_x3:uint8", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "4x9" not in result.stdout
    assert "30x4 -> 90x12" in result.stdout


def test_training_images_smaller_than_a_patch(run_here, tmp_path, image_folder):
    import shutil

    shutil.copytree(image_folder, tmp_path / "in")
    write_image(tmp_path / "in" / "tiny.png", make_image(13, 200))
    options = ("--smoke", "--steps", "1", "--data", tmp_path / "in", "--out", tmp_path / "run", "--cache", tmp_path / "cache")
    result = run_here("train", "--recipe", "xlsr_x3", *options, "--backend", "tensorflow")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("width", "height"), [(0, 10), (10, 0), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_impossible_sizes(run_here, tmp_path, width, height):
    (tmp_path / "odd.png").write_bytes(png_header(width, height))
    one_line(run_here("upscale", tmp_path / "odd.png", *BICUBIC, "--out", tmp_path / "out"), "odd.png")
    assert list((tmp_path / "out").iterdir()) == []


def test_bad_files_of_a_folder_are_reported_and_good_ones_upscaled(run_here, tmp_path):
    write_image(tmp_path / "in" / "good.png", make_image(40, 40))
    (tmp_path / "in" / "notes.txt").write_text("not an image, and not called one")
    (tmp_path / "in" / "wrong.png").write_bytes(encode_image(make_image(40, 40), ".png")[:200])
    (tmp_path / "in" / "huge.png").write_bytes(png_header(50_000, 50_000))
    for command in (("evaluate", *BICUBIC), ("compare", "--reference", "bicubic", "--model", "bicubic", "--scale", "3")):
        result = run_here(*command, "--data", tmp_path / "in")
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 2
        assert "wrong.png" in result.stderr
        assert "huge.png" in result.stderr
        assert "Traceback" not in result.stderr


def test_lr_and_hr_that_do_not_match(run_here, tmp_path):
    hr = make_image(60, 60)
    write_image(tmp_path / "Set" / "HR" / "a.png", hr)
    write_image(tmp_path / "Set" / "LR" / "X3" / "a.png", downscale(hr, 3)[1:])
    one_line_after_skip = run_here("evaluate", *BICUBIC, "--data", tmp_path / "Set")
    assert one_line_after_skip.returncode == 2
    assert "20x19 is not 1/3" in one_line_after_skip.stderr
    write_image(tmp_path / "Set" / "LR" / "X3" / "b.png", hr)
    one_line(run_here("evaluate", *BICUBIC, "--data", tmp_path / "Set"), "2 LR images for 1 HR")


@pytest.mark.slow
def test_unwritable_results(run_here, tmp_path):
    write_image(tmp_path / "a.png", make_image(40, 40))
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        one_line(run_here("upscale", tmp_path / "a.png", *BICUBIC, "--out", out), "file")
        one_line(run_here("export", "--model", "xlsr_x3", "--precision", "float32", "--out", out), "file")
    one_line(run_here("train", "--recipe", "xlsr_x3", "--smoke", "--data", tmp_path, "--out", tmp_path / "file"), "file")
    one_line(run_here("inspect", "--model", "xlsr_x3:uint8", "--json", tmp_path / "file" / "f.json"), "f.json")


def test_a_full_disk_leaves_no_incomplete_file(tmp_path):
    """The operating system refuses the write half-way, as it does on a full disk."""
    write_image(tmp_path / "a.png", make_image(60, 60))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    command = [sys.executable, "-m", "mobile_sr", "upscale", tmp_path / "a.png", *BICUBIC, "--out", tmp_path / "out"]
    result = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)
    one_line(result, "a.png", "cannot be written")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_foreign_run_folders_and_json(run_here, tmp_path, image_folder):
    run = tmp_path / "run"
    run.mkdir()
    train = ("train", "--recipe", "xlsr_x2", "--smoke", "--data", image_folder, "--out", run, "--cache", tmp_path / "cache")
    for content, part in (('{"format": 99}', "format 99"), ("[1]", "config.json"), ("{", "config.json")):
        (run / "config.json").write_text(content)
        one_line(run_here(*train, "--resume"), part)
    one_line(run_here(*train), "already contains a run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "--recipe", "xlsr_x3"), "is not a search"),
        (("search", "--recipe", "fgnas_mobile", "--activations", "relu,gelu"), "use some of relu,prelu,tanh"),
        (("search", "--recipe", "fgnas_mobile", "--search", "activations", "--budget", "3G"), "has no cost; leave it out"),
        (("search", "--recipe", "fgnas_plain", "--activations", "relu"), "--activations: fgnas_plain searches layers and"),
        (("search", "--recipe", "fgnas_plain", "--set", "weight_bits=8"), "it rounds to network.activation_bits"),
        (("search", "--recipe", "fgnas_plain", "--processes", "2"), "--processes 2: fgnas_plain runs in one process"),
        (("train", "--recipe", "fgnas_x2"), "give the result of a search"),
        (("search", "--recipe", "fgnas_mobile", "--set", "branches=ecb"), "not supported by a search"),
        (("search", "--recipe", "fgnas_mobile", "--search", "activations", "--weight", "1"), "has no cost; leave it out"),
        (("search", "--recipe", "fgnas_mobile", "--channels", "0"), "--channels 0: must be at least 1"),
        (("train", "--recipe", "xlsr_x3", "--set", "patch=big"), "patch must be a whole number"),
        (("train", "--recipe", "xlsr_x3", "--set", "degrade=jpg=75"), "--degrade jpg=75: 'jpg' is unknown"),
        (("train", "--recipe", "xlsr_x3", "--degrade", "noise=5..1"), "--degrade noise=5..1: noise=5..1: expected a value"),
        (("train", "--recipe", "rlfn_x2", "--set", "patch=8"), "patch=8: must be at least 15, the minimum LR side of rlfn_x2"),
        (("train", "--recipe", "xlsr_x3", "--seed", "-1"), "--seed -1: must be from 0 to 4294967295"),
        (("train", "--recipe", "xlsr_x3", "--smoke", "--init", "bicubic"), "bicubic: has no file; use a zoo name"),
        (("train", "--recipe", "xlsr_x3", "--smoke", "--init", "xlsr_x3:uint8"), "not a trained Keras"),
        (("train", "--recipe", "fgnas_mobile_x2"), "use `mobile-sr search`"),
        (("train", "--recipe", "xlsr_x2", "--architecture", "README.md"), "is not an FGNAS recipe"),
    ],
)
def test_run_folders_of_the_wrong_kind(run_here, tmp_path, image_folder, arguments, message):
    one_line(run_here(*arguments, "--data", image_folder, "--out", tmp_path / "run"), message)
    assert not (tmp_path / "run").exists()
