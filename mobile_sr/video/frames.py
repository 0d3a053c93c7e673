"""Frames of a clip, read from a video file or from a folder of images."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.imaging.image_folder import list_images
from mobile_sr.imaging.images import read_image

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
HD_HEIGHT = 720  # from this height on, a file that names no matrix is read and written as BT.709, else as BT.601
_HDR = {16: "PQ", 18: "HLG"}  # transfer functions of ITU-T H.273


@dataclasses.dataclass
class Frame:
    """A frame of a clip.

    Attributes:
        pixels: [H, W, 3] uint8 sRGB.
        name: file name without suffix, or 'frame_000001' and so on.
        pts: presentation time in units of the clip's `time_base`.
    """

    pixels: np.ndarray
    name: str
    pts: int


def is_video(path: str | Path) -> bool:
    """Returns whether a path names a video file, by its suffix."""
    return Path(path).suffix.lower() in SUFFIXES and not os.path.isdir(path)


def require_av(path: str | Path) -> ModuleType:
    """Returns PyAV. Raises UserError if it is not installed."""
    try:
        import av
    except ImportError:
        raise UserError(f"{path}: video files need PyAV: pip install 'mobile-sr[video]', or give a folder of frames") from None
    return av


class FrameFolder:
    """A folder of images as a clip, in the order of the numbers in their names.

    Attributes:
        path: the folder.
        count: number of frames.
        rate: frames per second; None, because a folder has none.
        time_base: seconds per unit of `Frame.pts`, with one unit per frame.
        notes: what is lost on reading, as text.
    """

    def __init__(self, path: str | Path, rate: Fraction | None = None) -> None:
        """Lists the frames.

        Args:
            path: the folder.
            rate: frames per second, if they are known.
        Raises: UserError when there is no image.
        """
        self.path = Path(path)
        self._files = sorted(list_images(path), key=lambda file: _natural(file.relative_to(path).as_posix()))
        self.count: int | None = len(self._files)
        self.rate = rate
        self.time_base = Fraction(1, 1) if rate is None else 1 / rate
        self.notes: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames. Raises UserError when one cannot be read or has another size than the first."""
        first: np.ndarray | None = None
        for k, file in enumerate(self._files):
            pixels = read_image(file)
            first = pixels if first is None else first
            if pixels.shape != first.shape:
                sizes = f"{pixels.shape[1]}x{pixels.shape[0]}, the first frame {first.shape[1]}x{first.shape[0]}"
                raise UserError(f"{file}: has {sizes}; all frames of a clip need one size")
            yield Frame(pixels, file.stem, k)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts frame2 before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


class VideoFile:
    """The first video stream of a file as a clip.

    Attributes:
        path, count, rate, time_base, notes: see `FrameFolder`; `count` is None if the file does not say it.
        on_packet: called with the packets of the first audio stream, in the order of the file, while frames are read.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens the file. Raises UserError when it cannot be read, has no video stream, or PyAV is not installed."""
        self.path = Path(path)
        self.on_packet: Callable[[Any], None] | None = None
        if not self.path.exists():
            raise UserError(f"{path}: no such file")
        with self._opened() as container:
            stream = container.streams.video[0]
            self.count: int | None = stream.frames or None
            self.rate: Fraction | None = stream.average_rate or stream.guessed_rate
            self.time_base: Fraction = stream.time_base
            # AVI has a constant rate and stores no presentation times.
            self._counted = container.format.name == "avi" and self.rate is not None
            if self._counted and self.rate:
                self.count, self.time_base = None, 1 / self.rate
            hdr = _HDR.get(getattr(stream.codec_context, "color_trc", 0))
            self.notes = [f"HDR ({hdr}) is read as if it were SDR: colours change"] if hdr else []
            if container.streams.subtitles:
                self.notes.append("not kept: subtitles")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        av = require_av(self.path)
        try:
            with av.open(str(self.path), metadata_errors="replace") as container:
                if not container.streams.video:
                    raise UserError(f"{self.path}: has no video stream")
                yield container
        except (av.FFmpegError, OSError) as error:
            raise UserError(f"{self.path}: cannot be read as a video ({error.strerror or error})") from None

    @contextlib.contextmanager
    def audio(self) -> Iterator[Any]:
        """Opens the first audio stream, as a template for a copy; None without one."""
        with self._opened() as container:
            yield container.streams.audio[0] if container.streams.audio else None

    def __iter__(self) -> Iterator[Frame]:
        """Yields the frames, turned upright. Raises UserError when one cannot be decoded."""
        with self._opened() as container:
            video = container.streams.video[0]
            video.thread_type = "AUTO"
            streams = [video, *(container.streams.audio[:1] if self.on_packet else ())]
            number, size = 0, (0, 0)
            for packet in container.demux(streams):
                if packet.stream is not video:
                    if self.on_packet and packet.dts is not None:
                        self.on_packet(packet)
                    continue
                for frame in packet.decode():
                    number += 1
                    size = size if number > 1 else (frame.width, frame.height)
                    if (frame.width, frame.height) != size:
                        raise UserError(f"{self.path}: the size changes from {size} to {(frame.width, frame.height)} (W, H)")
                    pts = number - 1 if frame.pts is None or self._counted else frame.pts
                    yield Frame(_rgb(frame), f"frame_{number:06d}", pts)
            if not number:
                raise UserError(f"{self.path}: no frame could be decoded")


def _rgb(frame: Any) -> np.ndarray:
    """A decoded frame as [H, W, 3] uint8, by the matrix of the file, or the usual one for its height."""
    known = int(frame.colorspace) if int(frame.colorspace) in (1, 4, 5, 6, 7, 9) else None
    matrix = {6: 5}.get(known, known) if known else matrix_for(frame.height)  # 6 is the 525-line BT.601
    options = {"src_colorspace": matrix, "interpolation": conversion(), "src_color_range": int(frame.color_range)}
    pixels = frame.reformat(format="rgb24", **options).to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, getattr(frame, "rotation", 0) // 90))


def conversion() -> int:
    """Returns FFmpeg's flags for an exact conversion between YCbCr and RGB; the default loses a level in every frame."""
    from av.video.reformatter import Interpolation as Flag

    return Flag.BICUBIC | Flag.ACCURATE_RND | Flag.FULL_CHR_H_INT | Flag.FULL_CHR_H_INP


def matrix_for(height: int) -> int:
    """Returns the YCbCr matrix for a height, as FFmpeg's number: 1 for BT.709, 5 for BT.601."""
    return 1 if height >= HD_HEIGHT else 5


def open_clip(path: str | Path, rate: Fraction | None = None) -> FrameFolder | VideoFile:
    """Opens a video file or a folder of frames.

    Args:
        path: of the file or folder.
        rate: frames per second of a folder, if they are known.
    Raises: UserError as `FrameFolder` and `VideoFile`.
    """
    if os.path.isdir(path):
        return FrameFolder(path, rate)
    if is_video(path):
        return VideoFile(path)
    raise UserError(f"{path}: neither a folder of frames nor a video file ({', '.join(SUFFIXES)})")
