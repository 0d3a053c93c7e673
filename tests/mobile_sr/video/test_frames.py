"""Clips: folders in the order of their numbers, video files with their colours, times and orientation."""

from fractions import Fraction

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.imaging.images import write_image
from mobile_sr.video import frames, writers

COLOURS = [(200, 100, 50), (20, 180, 90), (250, 10, 30)]


def flat(colour, height=48, width=64):
    return np.full((height, width, 3), colour, np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three flat frames with names whose alphabetical order is another."""
    for name, colour in zip(("f2", "f10", "f100"), COLOURS, strict=True):
        write_image(tmp_path / "frames" / f"{name}.png", flat(colour))
    return tmp_path / "frames"


def test_frames_are_in_the_order_of_their_numbers(folder):
    clip = frames.open_clip(folder, Fraction(25))
    assert [(frame.name, frame.pts, tuple(frame.pixels[0, 0])) for frame in clip] == [
        ("f2", 0, COLOURS[0]),
        ("f10", 1, COLOURS[1]),
        ("f100", 2, COLOURS[2]),
    ]
    assert (clip.count, clip.time_base) == (3, Fraction(1, 25))


def test_frames_of_two_sizes_are_refused(folder):
    write_image(folder / "f200.png", flat(COLOURS[0], 48, 66))
    with pytest.raises(UserError, match=r"f200.png: has 66x48, the first frame 64x48"):
        list(frames.FrameFolder(folder))


@pytest.mark.parametrize("name", ["clip.txt", "nothing"])
def test_what_is_no_clip_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="neither a folder of frames nor a video file"):
        frames.open_clip(tmp_path / name)


def test_without_pyav(monkeypatch, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(UserError, match=r"clip.mp4: video files need PyAV: pip install 'mobile-sr\[video\]'"):
        frames.VideoFile(tmp_path / "clip.mp4")


@pytest.mark.parametrize("height", [48, frames.HD_HEIGHT])
@pytest.mark.parametrize("tagged", [True, False])
def test_colours_survive_a_video_file(tmp_path, height, tagged, monkeypatch):
    """Of BT.601 and BT.709, named by the file or not. Half a level of rounding in YCbCr is up to two in RGB."""
    av = pytest.importorskip("av")
    source = frames.FrameFolder.__new__(frames.FrameFolder)
    source.rate, source.time_base = Fraction(25), Fraction(1, 25)
    with writers.video_writer(tmp_path / "c.mp4", source, []) as write:
        for k, colour in enumerate(COLOURS):
            write(frames.Frame(flat(colour), "", k), flat(colour, height))
    clip = frames.VideoFile(tmp_path / "c.mp4")
    with av.open(str(tmp_path / "c.mp4")) as container:
        assert next(container.decode(video=0)).colorspace == frames.matrix_for(height)
    if not tagged:
        original = frames._rgb
        monkeypatch.setattr(frames, "_rgb", lambda frame: original(Untagged(frame)))
    found = list(clip)
    assert [frame.name for frame in found] == ["frame_000001", "frame_000002", "frame_000003"]
    assert [frame.pts * clip.time_base for frame in found] == [Fraction(k, 25) for k in range(3)]
    for frame, colour in zip(found, COLOURS, strict=True):
        assert np.abs(frame.pixels[8:-8, 8:-8].astype(int) - colour).max() <= 3


class Untagged:
    """A decoded frame whose file does not name its matrix."""

    colorspace = 2

    def __init__(self, frame):
        self.height, self.color_range, self.reformat = frame.height, frame.color_range, frame.reformat


def test_turned_frames_are_read_upright(tmp_path):
    av = pytest.importorskip("av")
    image = flat((40, 40, 40))
    image[:24, :32] = 220  # the left upper quarter is white
    with av.open(str(tmp_path / "turned.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(90)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    (frame,) = frames.VideoFile(tmp_path / "turned.mp4")
    assert np.abs(frame.pixels.astype(int) - np.rot90(image)).mean() < 3  # counter-clockwise


@pytest.mark.parametrize("content", [b"", b"no video" * 100])
def test_damaged_files_are_refused(tmp_path, content):
    pytest.importorskip("av")
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(UserError, match="bad.mp4: cannot be read as a video"):
        frames.open_clip(tmp_path / "bad.mp4")
