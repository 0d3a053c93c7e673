"""Upscale images, of any size, tile by tile where they are large.

Example: mobile-sr upscale photo.jpg holiday/ --model xlsr_x3:uint8 --out big
"""

HELP = "upscale images"


def add_arguments(parser):
    """Arguments of `mobile-sr upscale`."""
    parser.add_argument("files", nargs="+", metavar="FILES", help="image files or folders")
    parser.add_argument("--model", required=True, help="zoo name, .tflite, model file, run folder, or bicubic")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results (NAME.png)")
    parser.add_argument("--scale", type=int, help="factor; needed for bicubic, otherwise checked")
    parser.add_argument("--format", choices=("png", "jpg", "webp", "bmp"), default="png", help="format (default png)")
    parser.add_argument(
        "--tile", type=int, metavar="N", help="tile side in LR pixels; 0 never cuts (default: large images only)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a .tflite (default 1)")


def run(args):
    """Upscale every file; status 2 when one of them could not be read or written."""
    import sys
    from pathlib import Path

    from mobile_sr import files, images, resize, upscaler
    from mobile_sr.errors import UserError

    if args.tile is not None and args.tile < 0:
        raise UserError(f"--tile {args.tile}: must not be negative")
    if args.threads < 1:
        raise UserError(f"--threads {args.threads}: must be at least 1")
    jobs, failed = [], 0
    for name in args.files:
        path = Path(name)
        if path.is_dir():
            found = images.list_images(path)
            jobs += [(file, file.relative_to(path).with_suffix(f".{args.format}")) for file in found]
        else:
            jobs.append((path, Path(path.stem + f".{args.format}")))
    targets = {}
    for file, target in jobs:
        if target in targets:
            raise UserError(f"{file}: would overwrite the result of {targets[target]} ({target}); rename one of them")
        targets[target] = file
    model = upscaler.load(args.model, args.scale, args.threads)
    out = files.make_folder(args.out)

    def progress(done, total):
        if sys.stderr.isatty():
            print(f"\r  tile {done}/{total} ", end="\n" if done == total else "", file=sys.stderr, flush=True)

    for count, (file, target) in enumerate(jobs, 1):
        try:
            if (out / target).exists() and (out / target).samefile(file):
                raise UserError(f"{file}: the result would overwrite the input; choose another --out")
            image = images.read_image(file)
            alpha = images.read_alpha(file)
            result = model(image, args.tile, progress)
            if alpha is not None:
                alpha = resize.imresize(alpha, model.scale)
            images.write_image(out / target, result, alpha)
        except UserError as error:
            failed += 1
            print(f"mobile-sr upscale: {error}", file=sys.stderr)
            continue
        height, width = result.shape[:2]
        print(f"[{count}/{len(jobs)}] {file} {image.shape[1]}x{image.shape[0]} -> {out / target} {width}x{height}")
    return 2 if failed else 0
