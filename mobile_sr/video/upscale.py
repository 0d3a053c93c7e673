"""Upscaling of a clip frame by frame, with its speed and, given HR frames, its scores."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from mobile_sr.errors import UserError
from mobile_sr.imaging.resize import imresize
from mobile_sr.inference.upscaler import Upscaler
from mobile_sr.video.frames import Frame, FrameFolder, VideoFile
from mobile_sr.video.scores import ClipScores
from mobile_sr.video.writers import Write

Clip = FrameFolder | VideoFile


def upscale_clip(
    model: Upscaler,
    source: Clip,
    write: Write,
    reference: Clip | None = None,
    tile: int | None = None,
    progress: Callable[[int, float], object] | None = None,
) -> dict[str, Any]:
    """Upscale all frames of a clip.

    Args:
        model: the model. Each frame is upscaled on its own.
        source: LR frames.
        write: receives each frame and its output.
        reference: HR frames, one for each LR frame; None for none.
        tile: see `Upscaler.__call__`.
        progress: called with (frames done, frames per second so far).
    Returns: {"model", "frames", "size_in", "size_out": [W, H], "fps": frames per second with reading, writing and scores,
        "model_fps": of the model alone} and, with a reference, "scores": `ClipScores.summary`.
    Raises: UserError when a frame cannot be read or written, or the reference has another size or number of frames.
    """
    scores = None if reference is None else ClipScores(model.scale)
    references = None if reference is None else iter(reference)
    start, inside, count = time.perf_counter(), 0.0, 0
    for frame in source:
        before = time.perf_counter()
        sr = model(frame.pixels, tile)
        inside += time.perf_counter() - before
        write(frame, sr)
        count += 1
        if scores and reference and references:
            scores.add(frame.name, _hr(references, reference, frame, model.scale), sr, imresize(frame.pixels, model.scale))
        if progress:
            progress(count, count / (time.perf_counter() - start))
    if references and reference and next(references, None) is not None:
        raise UserError(f"--reference {reference.path}: has more than the {count} frames of {source.path}")
    result = {
        "model": model.name,
        **model.where(),
        "frames": count,
        "size_in": list(frame.pixels.shape[1::-1]),
        "size_out": list(sr.shape[1::-1]),
        "fps": count / (time.perf_counter() - start),
        "model_fps": count / inside,
    }
    return result if scores is None else {**result, "scores": scores.summary()}


def _hr(references: Iterator[Frame], reference: Clip, frame: Frame, scale: int) -> Any:
    """The next HR frame, cut to a multiple of the scale."""
    hr = next(references, None)
    if hr is None:
        raise UserError(f"--reference {reference.path}: ends before {frame.name} of the input")
    height, width = frame.pixels.shape[:2]
    if min(height, width) < 3:
        raise UserError(f"{frame.name}: {width}x{height} is too small for a score; give frames of at least 3x3")
    if (hr.pixels.shape[0] // scale, hr.pixels.shape[1] // scale) != (height, width):
        sizes = f"{hr.pixels.shape[1]}x{hr.pixels.shape[0]}, not {scale} times the input's {width}x{height}"
        raise UserError(f"--reference {reference.path}: {hr.name} has {sizes}")
    return hr.pixels[: height * scale, : width * scale]
