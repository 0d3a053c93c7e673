"""Writers of clips: a video file, or a folder of images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr.errors import UserError
from mobile_sr.files import atomic_path, make_folder
from mobile_sr.imaging.images import write_image
from mobile_sr.video.frames import Frame, FrameFolder, VideoFile, conversion, matrix_for, require_av

Write = Callable[[Frame, np.ndarray], None]  # called with an input frame and its SR output, [H, W, 3] uint8

_CRF = {"libx264": "16", "libvpx-vp9": "24"}  # constant quality, with hardly visible loss


@contextlib.contextmanager
def folder_writer(out: str | Path, suffix: str = ".png") -> Iterator[Write]:
    """Yields a function that writes each frame as an image file into a folder, under the name of the input frame.

    Raises: UserError when the folder or a file cannot be written.
    """
    folder = make_folder(out)
    yield lambda frame, pixels: write_image(folder / f"{frame.name}{suffix}", pixels)


@contextlib.contextmanager
def video_writer(path: str | Path, source: FrameFolder | VideoFile, notes: list[str]) -> Iterator[Write]:
    """Yields a function that adds a frame to a video file: H.264, or VP9 in .webm, 8 bits, 4:2:0.

    Frames keep their times, and the first audio stream of a source file is copied. The file appears when it is complete.

    Args:
        path: file to write; the suffix chooses the container.
        source: the input clip.
        notes: receives lines about what is not kept.
    Raises: UserError when PyAV is not installed or the file cannot be written.
    """
    av = require_av(path)
    if Path(path).suffix.lower() == ".avi":
        raise UserError(f"{path}: AVI cannot keep the times of H.264 frames; write an .mp4 or .mkv file")
    codec = "libvpx-vp9" if Path(path).suffix.lower() == ".webm" else "libx264"
    with atomic_path(path) as temporary, contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(av.open(str(temporary), "w"))
            stream = container.add_stream(codec, rate=source.rate or 25, options={"crf": _CRF[codec]})
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = stream.time_base = source.time_base
            audio = _Audio(container)
            if isinstance(source, VideoFile):
                audio.connect(av, stack, source, notes)

            def write(frame: Frame, pixels: np.ndarray) -> None:
                height, width = (side // 2 * 2 for side in pixels.shape[:2])
                if not audio.started:
                    if (height, width) != pixels.shape[:2]:
                        notes.append(
                            f"cut from {pixels.shape[1]}x{pixels.shape[0]} to {width}x{height}: sides of a video are even"
                        )
                    stream.width, stream.height = width, height
                    stream.codec_context.colorspace, stream.codec_context.color_range = matrix_for(height), 1
                    audio.start()
                converted = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels[:height, :width]), format="rgb24")
                converted = converted.reformat(format="yuv420p", dst_colorspace=matrix_for(height), interpolation=conversion())
                converted.pts, converted.time_base = frame.pts, source.time_base
                container.mux(stream.encode(converted))

            yield write
            container.mux(stream.encode())
            stack.close()
        except av.FFmpegError as error:
            raise UserError(f"{path}: cannot be written as a video ({error.strerror or error})") from None


class _Audio:
    """Copies the packets of a source's audio while its frames are read.

    The first packet that is written opens the encoder of the video, which then has to know its size. So packets wait until
    `start`.
    """

    def __init__(self, container: Any) -> None:
        self.container, self.stream, self.started = container, None, False
        self.waiting: list[Any] = []

    def connect(self, av: Any, stack: contextlib.ExitStack, source: VideoFile, notes: list[str]) -> None:
        """Asks the source for its packets; adds a note if the container does not support them."""
        template = stack.enter_context(source.audio())
        if template is None:
            return
        try:
            self.stream = self.container.add_stream_from_template(template)
        except (av.FFmpegError, ValueError):
            notes.append(f"not kept: audio ({template.codec_context.name} does not fit into this container)")
            return
        source.on_packet = self.copy

    def copy(self, packet: Any) -> None:
        packet.stream = self.stream
        if self.started:
            self.container.mux(packet)
        else:
            self.waiting.append(packet)

    def start(self) -> None:
        self.started = True
        self.container.mux(self.waiting)
        self.waiting = []


def rate_of(text: str) -> Fraction:
    """Returns the frames per second of a text such as '25', '29.97' or '30000/1001'.

    Raises: UserError when it is not a number above 0 and up to 1000.
    """
    with contextlib.suppress(ValueError, ZeroDivisionError):
        rate = Fraction(text).limit_denominator(1001)
        if 0 < rate <= 1000:
            return rate
    raise UserError(f"--fps {text}: must be a number above 0 and up to 1000, such as 25 or 30000/1001")
