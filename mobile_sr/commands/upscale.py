"""Upscale images of any size, or a video. Large images are upscaled tile by tile.

Example: mobile-sr upscale photo.jpg holiday/ --model xlsr_x3:uint8 --out big
         mobile-sr upscale photo.jpg --out big --compare
         mobile-sr upscale clip.mp4 --out big.mp4 --reference clip_hr.mp4
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mobile_sr.commands import common

if TYPE_CHECKING:
    from mobile_sr.inference.upscaler import Upscaler

HELP = "upscale images or a video"
_DEFAULTS = {scale: f"chainsr_m_x{scale}:uint8" for scale in (2, 3, 4)}  # weights for any use


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr upscale`."""
    parser.add_argument("files", nargs="+", metavar="FILES", help="image files or folders, or one video file")
    parser.add_argument(
        "--model",
        help="zoo name, .tflite[@KEY=VALUE,...], .onnx, model file, run folder, bicubic (default chainsr_m_x3:uint8; with "
        "--scale 2 or 4 chainsr_m_x2:uint8 or chainsr_m_x4:uint8)",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder for the results (NAME.png), or a file name for one image or video"
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
    parser.add_argument(
        "--reference",
        metavar="HR",
        help="HR video or folder of frames for one LR video or folder: writes the PSNR over time and the flicker",
    )
    parser.add_argument("--fps", metavar="RATE", help="frames per second of a video made from a folder of frames (default 25)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a .tflite or .onnx (default 1)")
    common.add_json(parser)
    parser.add_argument("--workers", type=int, default=1, help="number of files to process in parallel (default 1)")


def run(args: argparse.Namespace) -> int:
    """Upscale every file. Returns 2 if one of them could not be read or written."""
    import sys
    import time

    from mobile_sr import files
    from mobile_sr.converters.quiet import print_line
    from mobile_sr.errors import UserError
    from mobile_sr.inference import batch
    from mobile_sr.video import frames

    for name, minimum in (("tile", 0), ("threads", 1), ("workers", 1)):
        value = getattr(args, name)
        if value is not None and value < minimum:
            raise UserError(f"--{name} {value}: must be at least {minimum}")
    if args.model is None:
        args.model = _default_model(args.scale)
        print_line(f"mobile-sr upscale: with {args.model}, the default; --model chooses another", sys.stderr)
    if args.reference or args.fps or any(map(frames.is_video, [*args.files, args.out])):
        return _upscale_clip(args)
    jobs = batch.plan(args.files, args.out, args.format and f".{args.format}", args.depth_map)
    first = common.load_model(args, args.model)  # reports an invalid model before any file is processed
    if args.depth_map and not first.has_details:
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
    failed, start, upscaled, rows = 0, time.monotonic(), [], []
    out = sys.stderr if args.json == "-" else sys.stdout
    for count, result in enumerate(batch.upscale_files(jobs, load, args.workers, args.tile, progress, args.depth_map), 1):
        if result.error:
            failed += 1
            print_line(f"mobile-sr upscale: {result.error}", sys.stderr)
            continue
        if result.notes:
            print_line(f"mobile-sr upscale: {result.source}: {'; '.join(result.notes)}", sys.stderr)
        left = (time.monotonic() - start) / count * (len(jobs) - count)
        sizes = "{}x{} -> {}x{}".format(*(result.size_in or (0, 0)), *(result.size_out or (0, 0)))
        print_line(f"[{count}/{len(jobs)}, {left:.0f} s left] {result.source} {sizes} {result.target}", file=out)
        if result.figures:
            print_line(f"{result.source}: {first.describe_figures(result.figures)}", file=out)
        rows.append({"source": str(result.source), "target": str(result.target), "size_in": result.size_in, **result.figures})
        upscaled.append((result.source, result.target))
    if args.compare and upscaled:
        from mobile_sr.evaluation import side_by_side

        page = _page_path(args.out)
        side_by_side.write(page, upscaled, args.model, first.scale)
        print_line(f"compare: {page}", file=out)
    common.write_json_result(args, {"model": args.model, "images": rows})
    return 2 if failed else 0


def _upscale_clip(args: argparse.Namespace) -> int:
    """Upscale a video file or a folder of frames."""
    import os
    import sys

    from mobile_sr.converters.quiet import print_line
    from mobile_sr.errors import UserError
    from mobile_sr.files import write_json, write_text
    from mobile_sr.video import frames, scores, upscale, writers

    for option, given in (
        ("depth-map", args.depth_map),
        ("compare", args.compare),
        ("json", args.json),
        ("workers", args.workers != 1),
    ):
        if given:
            raise UserError(f"--{option} is for images, not for a video or frames with --reference or --fps; leave it out")
    if len(args.files) > 1:
        raise UserError(f"{args.files[0]}: a video or a folder of its frames is upscaled alone; give one at a time")
    path, to_video = args.files[0], frames.is_video(args.out)
    if args.fps and (not os.path.isdir(path) or not to_video):
        raise UserError("--fps is for a video made from a folder of frames; a video file keeps its times")
    if to_video and args.format:
        raise UserError(f"{args.out}: a video; --format is for images")
    if os.path.exists(args.out) and any(
        os.path.samefile(args.out, x) for x in (path, args.reference) if x and os.path.exists(x)
    ):
        raise UserError(f"{args.out}: the output would overwrite the input; choose another --out")
    source = frames.open_clip(path, writers.rate_of(args.fps or "25") if to_video else None)
    reference = frames.open_clip(args.reference) if args.reference else None
    if reference and None not in (source.count, reference.count) and source.count != reference.count:
        raise UserError(f"--reference {args.reference}: has {reference.count} frames, {path} has {source.count}")
    model = common.load_model(args, args.model)
    notes = list(source.notes)
    suffix = f".{args.format or 'png'}"
    total = f"of {source.count} frames" if source.count else "frames"
    out = Path(args.out)
    with writers.video_writer(out, source, notes) if to_video else writers.folder_writer(out, suffix) as write:
        result = upscale.upscale_clip(
            model, source, write, reference, args.tile, lambda done, rate: common.progress(done, f"{total}, {rate:.1f} fps")
        )
    common.clear_progress()
    if source.count not in (None, result["frames"]):
        notes.append(f"{result['frames']} frames could be decoded, the file says {source.count}")
    if notes:
        print_line(f"mobile-sr upscale: {path}: {'; '.join(notes)}", sys.stderr)
    sizes = "{}x{} -> {}x{}".format(*result["size_in"], *result["size_out"])
    speed = f"{result['frames']} frames, {result['fps']:.1f} fps (the model alone {result['model_fps']:.1f})"
    print_line(f"{path} {sizes} {out}: {speed}")
    if "scores" in result:
        names = [out.with_name(f"{out.stem}_{end}") if to_video else out / end for end in ("scores.json", "psnr.svg")]
        write_json(names[0], result)
        if chart := scores.plot(result["scores"]["frames"], Path(args.model).name):
            write_text(names[1], chart)
        print_line(f"{scores.describe(result['scores'])}; {names[0]}")
    return 0


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
