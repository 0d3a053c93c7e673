"""`mobile-sr upscale` of clips: frames in and out, video in and out, scores, and refused options."""

import json

import numpy as np
import pytest

from mobile_sr import load
from mobile_sr.imaging import metrics
from mobile_sr.imaging.images import read_image, write_image
from mobile_sr.imaging.resize import downscale
from mobile_sr.video import frames
from tests.conftest import make_image
from tests.mobile_sr.test_cli import one_line

MODEL = ("--model", "xlsr_x2:uint8")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder with hr/ and lr/, four frames x2 of a moving image."""
    folder, image = tmp_path_factory.mktemp("clip"), make_image(80, 90)
    for k in range(4):
        hr = image[2 * k : 2 * k + 64, 3 * k : 3 * k + 72]
        write_image(folder / "hr" / f"{k}.png", hr)
        write_image(folder / "lr" / f"{k}.png", downscale(hr, 2))
    return folder


def test_frames_with_a_reference(clip, run_here, tmp_path):
    done = run_here("upscale", clip / "lr", *MODEL, "--out", tmp_path / "sr", "--reference", clip / "hr")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "sr").iterdir()) == [*(f"{k}.png" for k in range(4)), "psnr.svg", "scores.json"]
    found, model = json.loads((tmp_path / "sr" / "scores.json").read_text()), load("xlsr_x2:uint8")
    for k, row in enumerate(found["scores"]["frames"]):
        sr = read_image(tmp_path / "sr" / f"{k}.png")
        np.testing.assert_array_equal(sr, model(read_image(clip / "lr" / f"{k}.png")))
        assert row["psnr"] == metrics.psnr(sr, read_image(clip / "hr" / f"{k}.png"), "y", 2)
    mean = found["scores"]["mean"]
    assert f"{mean['psnr'] - mean['bicubic_psnr']:+.2f} dB over bicubic" in done.stdout
    assert f"flicker {mean['flicker']:.2f} levels" in done.stdout
    assert "4 frames, " in done.stdout
    assert "fps" in done.stdout


def test_frames_to_video_to_frames(clip, run_here, tmp_path):
    pytest.importorskip("av")
    done = run_here("upscale", clip / "lr", *MODEL, "--out", tmp_path / "sr.mp4", "--fps", "10", "--reference", clip / "hr")
    assert done.returncode == 0, done.stderr
    video = frames.VideoFile(tmp_path / "sr.mp4")
    assert (video.count, video.rate) == (4, 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sr.mp4", "sr_psnr.svg", "sr_scores.json"]
    done = run_here("upscale", tmp_path / "sr.mp4", *MODEL, "--out", tmp_path / "big", "--format", "bmp")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "big").iterdir()) == [f"frame_00000{k}.bmp" for k in range(1, 5)]
    assert read_image(tmp_path / "big" / "frame_000001.bmp").shape == (128, 144, 3)


def test_refused_clips(clip, run_here, tmp_path):
    out = ("--out", tmp_path / "out")
    lr = clip / "lr"
    one_line(run_here("upscale", lr, *MODEL, *out, "--reference", clip / "hr", "--compare"), "--compare is for images")
    one_line(run_here("upscale", lr, *MODEL, *out, "--fps", "25"), "--fps is for a video made from a folder of frames")
    one_line(run_here("upscale", lr, clip / "hr", *MODEL, *out, "--reference", clip / "hr"), "give one at a time")
    one_line(run_here("upscale", lr, *MODEL, *out, "--reference", lr), "0 has 36x32, not 2 times the input's 36x32")
    one_line(run_here("upscale", lr, *MODEL, "--out", lr, "--reference", clip / "hr"), "overwrite the input")
    one_line(run_here("upscale", tmp_path / "no.mp4", *MODEL, *out), "no.mp4: no such file")
    write_image(tmp_path / "one" / "0.png", make_image(64, 72))
    one_line(run_here("upscale", lr, *MODEL, *out, "--reference", tmp_path / "one"), "has 1 frames", "has 4")
