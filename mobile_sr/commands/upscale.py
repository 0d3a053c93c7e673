"""Upscale images of any size. Large images are upscaled tile by tile.

Example: mobile-sr upscale photo.jpg holiday/ --model xlsr_x3:uint8 --out big
         mobile-sr upscale photo.jpg --out big --compare
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mobile_sr.commands import common

if TYPE_CHECKING:
    from mobile_sr.inference.upscaler import Upscaler

HELP = "upscale images"
_DEFAULTS = {scale: f"xlsr_x{scale}:uint8" for scale in (2, 3, 4)}  # highest PSNR of the packaged uint8 files at each scale


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr upscale`."""
    parser.add_argument("files", nargs="+", metavar="FILES", help="image files or folders")
    parser.add_argument(
        "--model",
        help="zoo name, .tflite[@KEY=VALUE,...], .onnx, model file, run folder, bicubic (default xlsr_x3:uint8; with --scale 2 "
        "or 4 xlsr_x2:uint8 or xlsr_x4:uint8)",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the results (NAME.png), or a file name for one image"
    )
    parser.add_argument("--scale", type=int, help="scale factor; required for bicubic, otherwise checked")
    parser.add_argument(
        "--format", choices=("png", "jpg", "webp", "bmp"), help="output format (default png, or the suffix of --out FILE)"
    )
    parser.add_argument(
        "--tile", type=int, metavar="N", help="tile side in LR pixels; 0: no tiles (default: tiles for large images only)"
    )
    parser.add_argument(
        "--compare", action="store_true", help="also write compare.html: the results beside bicubic, with a slider between them"
    )
    common.add_depth(parser)
    common.add_device(parser)
    parser.add_argument("--depth-map", action="store_true", help="also write NAME_depth.png, the depth as colours")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a .tflite or .onnx (default 1)")
    parser.add_argument("--workers", type=int, default=1, help="number of files to process in parallel (default 1)")


def run(args: argparse.Namespace) -> int:
    """Upscale every file. Returns 2 if one of them could not be read or written."""
    import sys
    import time

    from mobile_sr import files
    from mobile_sr.converters.quiet import print_line
    from mobile_sr.errors import UserError
    from mobile_sr.inference import batch

    for name, minimum in (("tile", 0), ("threads", 1), ("workers", 1)):
        value = getattr(args, name)
        if value is not None and value < minimum:
            raise UserError(f"--{name} {value}: must be at least {minimum}")
    if args.model is None:
        args.model = _default_model(args.scale)
        print_line(f"mobile-sr upscale: with {args.model}, the default; --model chooses another", sys.stderr)
    jobs = batch.plan(args.files, args.out, args.format and f".{args.format}", args.depth_map)
    first = common.load_model(args, args.model)  # reports an invalid model before any file is processed
    if args.depth_map and first.max_depth is None:
        raise UserError(f"{args.model}: has no depth map; --depth-map requires a network with AdaDSR's adapter")
    files.make_folder(jobs[0][1].parent if batch.is_file_name(args.out) else args.out)
    if first.device:
        print_line(f"mobile-sr upscale: on {first.device}", sys.stderr)
    models = [first]

    def load() -> Upscaler:
        return models.pop() if models else common.load_model(args, args.model, check=False)

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r  tile {done}/{total} ", end="\n" if done == total else "", file=sys.stderr, flush=True)
        else:
            common.progress(done, f"of {total} tiles")

    for source, target in jobs:
        if target.stem != source.stem and not batch.is_file_name(args.out):
            print_line(
                f"mobile-sr upscale: {source}: written as {target.name}, because another image has the same name", sys.stderr
            )
    failed, start, upscaled = 0, time.monotonic(), []
    for count, result in enumerate(batch.upscale_files(jobs, load, args.workers, args.tile, progress, args.depth_map), 1):
        if result.error:
            failed += 1
            print_line(f"mobile-sr upscale: {result.error}", sys.stderr)
            continue
        if result.notes:
            print_line(f"mobile-sr upscale: {result.source}: {'; '.join(result.notes)}", sys.stderr)
        left = (time.monotonic() - start) / count * (len(jobs) - count)
        sizes = "{}x{} -> {}x{}".format(*(result.size_in or (0, 0)), *(result.size_out or (0, 0)))
        print_line(f"[{count}/{len(jobs)}, {left:.0f} s left] {result.source} {sizes} {result.target}")
        upscaled.append((result.source, result.target))
    if args.compare and upscaled:
        from mobile_sr.evaluation import side_by_side

        page = _page_path(args.out)
        side_by_side.write(page, upscaled, args.model, first.scale)
        print_line(f"compare: {page}")
    return 2 if failed else 0


def _default_model(scale: int | None) -> str:
    """The model without --model. Raises UserError for a scale without one."""
    from mobile_sr.errors import UserError

    name = _DEFAULTS.get(scale or 3)
    if name is None:
        raise UserError(f"--scale {scale}: the default models have scales 2, 3 and 4; give --model")
    return name


def _page_path(out: str) -> Path:
    """The page of --compare: compare.html in the output folder, or NAME_compare.html beside the output file NAME.png."""
    from mobile_sr.inference import batch

    path = Path(out)
    return path.with_name(f"{path.stem}_compare.html") if batch.is_file_name(out) else path / "compare.html"
