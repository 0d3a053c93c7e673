"""Video files: times, audio, even sides, and nothing half-written."""

from fractions import Fraction

import numpy as np
import pytest

from mobile_sr.errors import UserError
from mobile_sr.video import frames, writers

av = pytest.importorskip("av")
IMAGE = np.full((48, 64, 3), 90, np.uint8)
TIMES = [0, 40, 100, 110]  # ms: a variable rate


@pytest.fixture
def source(tmp_path):
    """A video file of four frames with a second of audio."""
    path = tmp_path / "source.mp4"
    with av.open(str(path), "w") as container:
        video, audio = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=8000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for k, pts in enumerate(TIMES):
            frame = av.VideoFrame.from_ndarray(IMAGE + np.uint8(10 * k), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 8000, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode())
    return frames.VideoFile(path)


def test_times_and_audio_are_kept(source, tmp_path):
    notes = []
    with writers.video_writer(tmp_path / "big.mp4", source, notes) as write:
        for frame in source:
            write(frame, frame.pixels.repeat(2, 0).repeat(2, 1))
    assert notes == []
    clip = frames.VideoFile(tmp_path / "big.mp4")
    assert [round(float(1000 * frame.pts * clip.time_base)) for frame in clip] == TIMES
    with av.open(str(tmp_path / "source.mp4")) as before, av.open(str(tmp_path / "big.mp4")) as after:
        packets = [[bytes(p) for p in container.demux(audio=0) if p.size] for container in (before, after)]
        assert packets[0] == packets[1] != []
        assert (after.streams.video[0].width, after.streams.video[0].height) == (128, 96)


def test_odd_sides_are_cut_and_named(source, tmp_path):
    notes = []
    with writers.video_writer(tmp_path / "odd.mkv", source, notes) as write:
        for frame in source:
            write(frame, np.zeros((33, 41, 3), np.uint8))
    assert notes == ["cut from 41x33 to 40x32: sides of a video are even"]


def test_avi_is_read_at_a_constant_rate_and_not_written(source, tmp_path):
    with av.open(str(tmp_path / "old.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"bf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(IMAGE + np.uint8(20 * k), format="rgb24")))
        container.mux(stream.encode())
    clip = frames.VideoFile(tmp_path / "old.avi")
    assert [(frame.pts * clip.time_base, round(frame.pixels.mean(), -1)) for frame in clip] == [
        (Fraction(k, 10), 90 + 20 * k) for k in range(5)
    ]
    with pytest.raises(UserError, match="write an .mp4 or .mkv file"), writers.video_writer(tmp_path / "o.avi", source, []):
        pass


def test_a_failure_leaves_no_file(source, tmp_path):
    def fail():
        with writers.video_writer(tmp_path / "out.mp4", source, []) as write:
            write(next(iter(source)), IMAGE)
            raise UserError("oops")

    with pytest.raises(UserError, match="oops"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


@pytest.mark.parametrize(("text", "rate"), [("25", 25), ("29.97", Fraction(2997, 100)), ("30000/1001", Fraction(30000, 1001))])
def test_rates(text, rate):
    assert writers.rate_of(text) == rate


@pytest.mark.parametrize("text", ["0", "-1", "x", "1/0", "nan", "1e9"])
def test_impossible_rates(text):
    with pytest.raises(UserError, match="--fps"):
        writers.rate_of(text)
