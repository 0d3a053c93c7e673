"""Upscaling many files with several workers."""

import concurrent.futures
import dataclasses
import threading
from pathlib import Path

from mobile_sr import depth_map as depth_maps
from mobile_sr import images, resize
from mobile_sr.errors import UserError


@dataclasses.dataclass
class Result:
    """What became of one file: sizes are (width, height); `error` is the reason when it failed."""

    source: Path
    target: Path
    size_in: tuple = None
    size_out: tuple = None
    error: str = None


def plan(names, out, suffix):
    """[(source, target)] for files and folders; a folder keeps its sub-folders below `out`.

    Raises: UserError when a folder has no image, when two results would have one name, or one would replace its source.
    """
    jobs, taken = [], {}
    for name in map(Path, names):
        found = [(p, p.relative_to(name)) for p in images.list_images(name)] if name.is_dir() else [(name, Path(name.name))]
        jobs += [(source, Path(out) / relative.with_suffix(suffix)) for source, relative in found]
    for source, target in jobs:
        if target in taken:
            raise UserError(f"{source}: would overwrite the result of {taken[target]} ({target}); rename one of them")
        if target.exists() and source.exists() and target.samefile(source):
            raise UserError(f"{source}: the result would overwrite the input; choose another --out")
        taken[target] = source
    return jobs


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

    def work(job):
        if stop.is_set():
            return None
        if not hasattr(local, "upscaler"):
            local.upscaler = load()
        return _upscale(local.upscaler, *job, tile, None, depth_map)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            for future in concurrent.futures.as_completed([pool.submit(work, job) for job in jobs]):
                yield future.result()
        finally:
            stop.set()  # reached by an interruption too: files that have not begun are left alone


def _upscale(upscaler, source, target, tile, progress, depth_map):
    try:
        image, alpha = images.read_with_alpha(source)
        if depth_map:
            result, depths = upscaler.with_depth_map(image, tile, progress)
            shown = depth_maps.overlay(result, depths, upscaler.deepest)
            images.write_image(target.with_name(f"{target.stem}_depth.png"), shown)
        else:
            result = upscaler(image, tile, progress)
        if alpha is not None:
            alpha = resize.imresize(alpha, upscaler.scale)
        images.write_image(target, result, alpha)
    except UserError as error:
        return Result(source, target, error=str(error))
    except MemoryError:
        return Result(source, target, error=f"{source}: not enough memory for its result; use fewer --workers")
    return Result(source, target, image.shape[1::-1], result.shape[1::-1])
