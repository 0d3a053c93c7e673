"""Upscaling many files with several workers."""

import concurrent.futures
import dataclasses
import os
import threading
from pathlib import Path

from mobile_sr.adadsr import depth_map as depth_maps
from mobile_sr.errors import UserError
from mobile_sr.imaging import alpha as alphas
from mobile_sr.imaging import images, resize
from mobile_sr.imaging.image_folder import SUFFIXES, list_images


@dataclasses.dataclass
class Result:
    """What became of one file.

    Attributes:
        size_in, size_out: (width, height). notes: what the result does not keep of its source, in words.
        error: the reason when it failed.
    """

    source: Path
    target: Path
    size_in: tuple = None
    size_out: tuple = None
    notes: list = dataclasses.field(default_factory=list)
    error: str = None


class _Stopped(Exception):
    """The run was interrupted while a file was being upscaled."""


def is_file_name(out):
    """Whether `out` names a result file rather than a folder."""
    return Path(out).suffix.lower() in SUFFIXES and not os.path.isdir(out)


def plan(names, out, suffix=None, depth_map=False):
    """[(source, target)] for files and folders; a folder keeps its sub-folders below `out`.

    Results that would have one name get distinct ones: photo.png stays, photo.jpg becomes photo_jpg.png.

    Args:
        out: a folder; for a single image also the name of its result.
        suffix: of the results; None is the suffix of `out` where that names a file, else '.png'.
        depth_map: NAME_depth.png is written beside every result, and must not meet another one.
    Raises: UserError when a folder has no image, when a file is given twice, when a result would replace a source, or
        when `out` names a file and there are several sources, or another format.
    """
    out = Path(out)
    jobs = []  # (source, target's folder, target's stem)
    for name in map(Path, names):
        found = [(p, p.relative_to(name)) for p in list_images(name)] if os.path.isdir(name) else [(name, Path(name.name))]
        jobs += [(source, out / relative.parent, relative.stem) for source, relative in found]
    _refuse_repeated(source for source, *_ in jobs)
    if is_file_name(out):
        if len(jobs) > 1 or os.path.isdir(names[0]):
            raise UserError(f"{out}: names one result, for several images give a folder")
        kind = images.file_format(out.suffix)
        if suffix and images.file_format(suffix) != kind:
            raise UserError(f"{out}: its suffix is not the format {suffix[1:]}; leave one of them out")
        planned = [(jobs[0][0], out)]
    else:
        planned = _distinct(jobs, suffix or ".png", depth_map)
    sources = {os.path.realpath(source): source for source, _ in planned}
    for _, target in planned:
        for written in _written(target, depth_map):
            if (replaced := sources.get(os.path.realpath(written))) is not None:
                raise UserError(f"{replaced}: the result would overwrite the input; choose another --out")
    return planned


def _refuse_repeated(sources):
    seen = set()
    for source in sources:
        real = os.path.abspath(source)
        if real in seen:
            raise UserError(f"{source}: given twice; its second result would overwrite the first")
        seen.add(real)


def _written(target, depth_map):
    return [target, depth_target(target)] if depth_map else [target]


def _distinct(jobs, suffix, depth_map):
    """[(source, target)] in the order of the jobs, no file written twice."""
    taken, targets = set(), {}
    # A source with the results' suffix keeps its name before others do.
    for source, folder, stem in sorted(jobs, key=lambda job: job[0].suffix.lower() != suffix):
        extension = source.suffix[1:].lower()
        stems = [stem, f"{stem}_{extension}", *(f"{stem}_{k}" for k in range(2, len(jobs) + 2))]
        for target in (folder / f"{s}{suffix}" for s in stems):
            written = _written(target, depth_map)
            if taken.isdisjoint(written):
                break
        taken.update(written)
        targets[source] = target
    return [(source, targets[source]) for source, *_ in jobs]


def depth_target(target):
    """The depth map's file beside a result."""
    return target.with_name(f"{target.stem}_depth.png")


def upscale_files(jobs, load, workers=1, tile=None, progress=None, depth_map=False):
    """Upscale every (source, target); yields a Result each, in the order in which they end.

    Args:
        load: function without arguments that returns an Upscaler; called once by each worker.
        workers: threads; each holds one image and its result, and the native code of .tflite runs in parallel.
        progress: called with (tiles done, tiles in all) of a file, only with one worker.
        depth_map: write NAME_depth.png beside every result (see depth_map.overlay).
    An interruption finishes no file by half: results are renamed into place when they are whole.
    """
    if workers == 1:
        upscaler = load()
        for source, target in jobs:
            yield _upscale(upscaler, source, target, tile, progress, depth_map)
        return
    local, stop = threading.local(), threading.Event()

    def check(*_):
        if stop.is_set():
            raise _Stopped

    def work(job):
        try:
            check()
            if not hasattr(local, "upscaler"):
                local.upscaler = load()
            return _upscale(local.upscaler, *job, tile, check, depth_map)
        except _Stopped:
            return None

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for future in concurrent.futures.as_completed([pool.submit(work, job) for job in jobs]):
                yield future.result()
        finally:
            stop.set()  # reached by an interruption too: each worker ends after its tile
            pool.shutdown(wait=False, cancel_futures=True)


def _upscale(upscaler, source, target, tile, progress, depth_map):
    try:
        file = images.read_file(source)
        image = file.pixels if file.alpha is None else alphas.fill_hidden(file.pixels, file.alpha)
        if depth_map:
            result, depths = upscaler.with_depth_map(image, tile, progress)
            images.write_image(depth_target(target), depth_maps.overlay(result, depths, upscaler.max_depth))
        else:
            result = upscaler(image, tile, progress)
        alpha = None if file.alpha is None else resize.imresize(file.alpha, upscaler.scale)
        images.write_image(target, result, alpha, gray=file.gray, metadata=file.metadata)
    except UserError as error:
        return Result(source, target, error=str(error))
    except MemoryError:
        return Result(source, target, error=f"{source}: not enough memory for its result; use fewer --workers")
    return Result(source, target, image.shape[1::-1], result.shape[1::-1], images.lost_in(file, target.suffix))
