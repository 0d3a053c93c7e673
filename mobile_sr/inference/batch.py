"""Upscaling of many image files with several worker threads."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr.errors import UserError
from mobile_sr.imaging import alpha as alphas
from mobile_sr.imaging import images, resize
from mobile_sr.imaging.image_folder import SUFFIXES, list_images

if TYPE_CHECKING:
    from mobile_sr.inference.upscaler import Upscaler


@dataclasses.dataclass
class Result:
    """The outcome for one file.

    Attributes:
        source: the input file.
        target: the output file.
        size_in: (width, height) of the input; None on failure.
        size_out: (width, height) of the output; None on failure.
        notes: properties of the source that the output does not keep, as text.
        figures: of `Upscaler.with_figures`.
        error: the reason for a failure; None on success.
    """

    source: Path
    target: Path
    size_in: tuple[int, int] | None = None
    size_out: tuple[int, int] | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = None


class _Stopped(Exception):
    """Raised in a worker when the run is interrupted while a file is being upscaled."""


def is_file_name(out: str | Path) -> bool:
    """Returns whether `out` names an output file rather than a folder."""
    return Path(out).suffix.lower() in SUFFIXES and not os.path.isdir(out)


def plan(
    names: Sequence[str | Path], out: str | Path, suffix: str | None = None, depth_map: bool = False
) -> list[tuple[Path, Path]]:
    """Pairs every input image with its output file. Sub-folders of an input folder are recreated in `out`.

    Outputs that would share a name get distinct ones: photo.png keeps its name, photo.jpg becomes photo_jpg.png.

    Args:
        names: image files and folders of images.
        out: the output folder. For a single image it can also be the name of the output file.
        suffix: suffix of the output files. None means the suffix of `out` if `out` names a file, else '.png'.
        depth_map: NAME_depth.png is also written beside every output; these names must not collide either.

    Returns:
        A list of (source, target).

    Raises:
        UserError: a folder has no images, a file is given twice, an output would overwrite an input, or `out` names a
            file although there are several inputs or another format is requested.
    """
    out = Path(out)
    jobs: list[tuple[Path, Path, str]] = []  # (source, target's folder, target's stem)
    for name in map(Path, names):
        files = [(p, p.relative_to(name)) for p in list_images(name)] if os.path.isdir(name) else [(name, Path(name.name))]
        jobs += [(source, out / relative.parent, relative.stem) for source, relative in files]
    _refuse_repeated(source for source, *_ in jobs)
    if is_file_name(out):
        if len(jobs) > 1 or os.path.isdir(names[0]):
            raise UserError(f"{out}: names a single output file; give a folder for several images")
        kind = images.file_format(out.suffix)
        if suffix and images.file_format(suffix) != kind:
            raise UserError(f"{out}: its suffix does not match the format {suffix[1:]}; give only one of them")
        planned = [(jobs[0][0], out)]
    else:
        planned = _distinct(jobs, suffix or ".png", depth_map)
    sources = {os.path.realpath(source): source for source, _ in planned}
    for _, target in planned:
        for written in _written(target, depth_map):
            if (replaced := sources.get(os.path.realpath(written))) is not None:
                raise UserError(f"{replaced}: the output would overwrite the input; choose another --out")
    return planned


def _refuse_repeated(sources: Iterable[Path]) -> None:
    seen = set()
    for source in sources:
        real = os.path.abspath(source)
        if real in seen:
            raise UserError(f"{source}: given twice; its second output would overwrite the first")
        seen.add(real)


def _written(target: Path, overlays: bool) -> list[Path]:
    """The files written for one target."""
    return [target, _overlay_target(target)] if overlays else [target]


def _distinct(jobs: list[tuple[Path, Path, str]], suffix: str, overlays: bool) -> list[tuple[Path, Path]]:
    """Returns [(source, target)] in the order of the jobs, with no file written twice."""
    used: set[Path] = set()
    targets: dict[Path, Path] = {}
    # Sources that already have the output suffix claim their names first.
    for source, folder, stem in sorted(jobs, key=lambda job: job[0].suffix.lower() != suffix):
        extension = source.suffix[1:].lower()
        stems = [stem, f"{stem}_{extension}", *(f"{stem}_{k}" for k in range(2, len(jobs) + 2))]
        for target in (folder / f"{s}{suffix}" for s in stems):
            written = _written(target, overlays)
            if used.isdisjoint(written):
                break
        used.update(written)
        targets[source] = target
    return [(source, targets[source]) for source, *_ in jobs]


def _overlay_target(target: Path) -> Path:
    """Returns the path of the overlay that belongs to an output file."""
    return target.with_name(f"{target.stem}_depth.png")


def upscale_files(
    jobs: Sequence[tuple[Path, Path]],
    load: Callable[[], Upscaler],
    workers: int = 1,
    tile: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    depth_map: bool = False,
) -> Iterator[Result]:
    """Upscales image files and yields one Result each, in order of completion.

    An interruption leaves no partial files: an output is renamed into place once it is complete.

    Args:
        jobs: (source, target) of every image, see `plan`.
        load: function without arguments that returns an Upscaler; each worker calls it once.
        workers: number of threads. Each holds one image and its output; the native code of .tflite files runs in parallel.
        tile: side of the tiles in LR pixels, see `Upscaler.__call__`.
        progress: called with (tiles done, total tiles) of a file; only used with one worker.
        depth_map: also write NAME_depth.png beside every output, see `Upscaler.with_overlay`.
    """
    if workers == 1:
        upscaler = load()
        for source, target in jobs:
            yield _upscale(upscaler, source, target, tile, progress, depth_map)
        return
    local, stop = threading.local(), threading.Event()

    def check(*_: int) -> None:
        if stop.is_set():
            raise _Stopped

    def work(job: tuple[Path, Path]) -> Result | None:
        try:
            check()
            if not hasattr(local, "upscaler"):
                local.upscaler = load()
            source, target = job
            return _upscale(local.upscaler, source, target, tile, check, depth_map)
        except _Stopped:
            return None

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for future in concurrent.futures.as_completed([pool.submit(work, job) for job in jobs]):
                if (result := future.result()) is not None:
                    yield result
        finally:
            stop.set()  # also on an interruption: each worker stops after its current tile
            pool.shutdown(wait=False, cancel_futures=True)


def _upscale(
    upscaler: Upscaler,
    source: Path,
    target: Path,
    tile: int | None,
    progress: Callable[[int, int], object] | None,
    with_overlay: bool,
) -> Result:
    try:
        file = images.read_file(source)
        image = file.pixels if file.alpha is None else alphas.fill_hidden(file.pixels, file.alpha)
        if with_overlay:
            result, figures, overlay = upscaler.with_overlay(image, tile, progress)
            images.write_image(_overlay_target(target), overlay)
        else:
            result, figures = upscaler.with_figures(image, tile, progress)
        alpha = None if file.alpha is None else resize.imresize(file.alpha, upscaler.scale)
        images.write_image(target, result, alpha, gray=file.gray, metadata=file.metadata)
    except UserError as error:
        return Result(source, target, error=str(error))
    except MemoryError:
        return Result(source, target, error=f"{source}: not enough memory for its output; use fewer --workers")
    return Result(source, target, image.shape[1::-1], result.shape[1::-1], images.lost_in(file, target.suffix), figures)
