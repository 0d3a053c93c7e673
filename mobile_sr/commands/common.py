"""Arguments, model loading and progress output shared by several commands."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from mobile_sr.converters.printable import printable

if TYPE_CHECKING:
    from mobile_sr.devices.device import Device
    from mobile_sr.imaging.degradation import SeededDegradation
    from mobile_sr.inference.upscaler import Upscaler
    from mobile_sr.training.recipes import Recipe


def add_data(
    parser: argparse.ArgumentParser,
    what: str = "folder of images (a known layout or any folder: docs/reference/protocol.md), or one image",
) -> None:
    """Add --data, with MOBILE_SR_DATA as its default.

    Args:
        parser: parser of the command.
        what: help text.
    """
    parser.add_argument("--data", default=os.environ.get("MOBILE_SR_DATA"), help=f"{what}; default $MOBILE_SR_DATA")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `train` and `search` share."""
    add_data(parser, "folder of HR images, with LR images beside them in the DIV2K layout or made by bicubic")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder")
    parser.add_argument("--steps", type=int, help="number of steps (default: the recipe's)")
    parser.add_argument("--seed", type=int, help="seed (default: the recipe's)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a field of the recipe, or with network.KEY=VALUE an argument of its network; lists are separated by "
        "commas; repeatable",
    )
    parser.add_argument("--smoke", action="store_true", help="shrink the recipe to a few seconds, to try the pipeline")
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="compute layers in bfloat16 (twice as fast on a CPU with AMX); weights, loss and scores stay float32",
    )
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint of the run folder")
    parser.add_argument(
        "--backend", choices=("tensorflow", "torch", "jax"), help="Keras backend (default: the first of these installed)"
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes on this machine that share every batch, on PyTorch (several machines: docs/guide/distributed.md)",
    )
    add_cache(parser)


def add_cache(parser: argparse.ArgumentParser) -> None:
    """Add --cache DIR."""
    parser.add_argument(
        "--cache", metavar="DIR", help="folder for decoded images (default $MOBILE_SR_CACHE, ~/.cache/mobile-sr)"
    )


def launch(args: argparse.Namespace, recipe: Recipe) -> int | None:
    """Run the command in --processes processes, unless this process is already one of several.

    Returns:
        The exit status of the processes; None if this process has to do the work.

    Raises:
        UserError: the batch cannot be shared by this many processes, or the backend is not torch.
    """
    from pathlib import Path

    from mobile_sr import backend
    from mobile_sr.converters.quiet import print_line
    from mobile_sr.errors import UserError
    from mobile_sr.training import distributed

    count = distributed.processes() if distributed.processes() > 1 else args.processes
    distributed.check_batch(recipe.batch, count)
    if count == 1:
        return None
    args.backend = backend_name(args)
    if args.backend != "torch":
        raise UserError(f"{count} processes need the torch backend, not {args.backend}; give --backend torch")
    backend.check_installed(args.backend)
    if distributed.processes() > 1:
        return None

    def report_failure(line: str) -> None:
        started = (Path(args.out) / "config.json").exists()
        hint = "--resume continues from the last checkpoint" if started else "training had not started"
        print_line(f"mobile-sr {args.command}: {line}; {hint}", sys.stderr)

    return distributed.launch(count, report_failure)


def backend_name(args: argparse.Namespace) -> str | None:
    """The Keras backend of a training: that of --backend, else PyTorch for several processes, else None for the default."""
    from mobile_sr.training import distributed

    several = max(args.processes, distributed.processes()) > 1
    return args.backend or ((os.environ.get("KERAS_BACKEND") or "torch") if several else None)


def dtype(args: argparse.Namespace) -> str:
    """The Keras dtype policy for --bfloat16. Warns on a CPU that computes bfloat16 more slowly than float32."""
    from mobile_sr import backend
    from mobile_sr.training import distributed

    if args.bfloat16 and not backend.is_bfloat16_fast() and distributed.rank() == 0:
        print("warning: --bfloat16: this CPU has no AMX, and training is probably faster without the option", file=sys.stderr)
    return "mixed_bfloat16" if args.bfloat16 else "float32"


def need_data(args: argparse.Namespace) -> str:
    """Return the --data folder. Raises UserError if neither the option nor MOBILE_SR_DATA is set."""
    from mobile_sr.errors import UserError

    if not args.data:
        raise UserError("no images: give --data DIR or set MOBILE_SR_DATA")
    return args.data


def add_depth(parser: argparse.ArgumentParser) -> None:
    """Add --depth, --budget-ms, --budget-gmacs and --budget-instructions, which exclude each other."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--depth",
        type=float,
        metavar="D",
        help="desired depth in blocks of an AdaDSR network (default: all), or layers of an exit (default: the last one)",
    )
    group.add_argument(
        "--budget-ms",
        type=float,
        metavar="T",
        help="choose the depth or exit of each image, or the networks of a routed model, for T ms on this machine",
    )
    group.add_argument("--budget-gmacs", type=float, metavar="G", help="likewise for G * 10^9 multiply-adds")
    group.add_argument(
        "--budget-instructions",
        type=float,
        metavar="N",
        help="choose the exit, or the networks of a routed model, for N estimated Cortex-A76 instructions per LR pixel of the "
        "image; uint8 files",
    )


def add_device(
    parser: argparse.ArgumentParser,
    what: str = "run the model, a .tflite, on a virtual device",
    names: str = "virtual:arm64, virtual:hexagon or virtual:gpu",
) -> None:
    """Add --device, --cpu and --soc.

    Args:
        parser: parser of the command.
        what: help text of --device.
        names: the devices that the command accepts.
    """
    parser.add_argument("--device", metavar="NAME", help=f"{what}: {names} (docs/guide/devices.md)")
    add_chip(parser)


def add_chip(parser: argparse._ActionsContainer) -> None:
    """Add --cpu and --soc, which choose the chip of a virtual device."""
    parser.add_argument("--cpu", metavar="NAME", help="of virtual:arm64: cortex-a76 (default), cortex-a72 or i8mm")
    parser.add_argument("--soc", metavar="NAME", help="of virtual:hexagon: its chip; of virtual:ethos-u: its NPU")


def device(args: argparse.Namespace) -> Device | None:
    """Return the virtual device of --device; None without the option.

    Raises:
        UserError: as `devices.names.find`, or --cpu or --soc is given without --device.
    """
    from mobile_sr.devices import names
    from mobile_sr.errors import UserError

    if args.device is not None:
        return names.find(args.device, args.cpu, args.soc)
    for option in ("cpu", "soc"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option} requires --device")
    return None


def set_depth(args: argparse.Namespace, *models: Upscaler) -> None:
    """Apply the options of `add_depth` to the models that support a desired depth.

    Raises:
        UserError: no model supports a desired depth, or the value is not valid.
    """
    from mobile_sr.errors import UserError

    budgets = {"ms": args.budget_ms, "gmacs": args.budget_gmacs, "instructions": args.budget_instructions}
    given = {unit: budget for unit, budget in budgets.items() if budget is not None}
    if "ms" in given and any(model.device for model in models):
        raise UserError("--budget-ms: a virtual device reports no times; use --budget-gmacs or --depth")
    adjustable = [
        model for model in models if (given.keys() <= {*model.budget_units} if given else model.max_depth is not None)
    ]
    for unit, budget in given.items():
        if not adjustable:
            others = "a desired depth; budgets are for AdaDSR, routed models and exits"
            what = "this budget" if models[-1].budget_units else others
            raise UserError(f"--budget-{unit}: {models[-1].name} does not support {what}")
        if not budget > 0:
            raise UserError(f"--budget-{unit} {budget:g}: must be above 0")
    for model in adjustable or models[-1:]:
        model.depth, model.budget = model.check_depth(args.depth), given


def load_model(args: argparse.Namespace, name: str, check: bool = True) -> Upscaler:
    """Load a model with --scale, --threads and the options of `add_depth` and `add_device`.

    Args:
        args: the parsed arguments.
        name: of the model, as on the command line.
        check: whether to run the model on a sample image, see `upscaler.load`.

    Raises:
        UserError: the model cannot be loaded, or an option does not fit it.
    """
    from mobile_sr.inference import upscaler

    model = upscaler.load(name, args.scale, args.threads, check=False, device=device(args))
    set_depth(args, model)
    if check:  # last, because errors in the options are cheaper to find
        upscaler.check_output(model)
    return model


def add_space(parser: argparse.ArgumentParser) -> None:
    """Add --space y|rgb."""
    parser.add_argument("--space", choices=("y", "rgb"), default="y", help="colour space of the metric (default y)")


def add_degrade(parser: argparse.ArgumentParser, what: str, default: str | None = None) -> None:
    """Add --degrade.

    Args:
        parser: parser of the command.
        what: help text.
        default: value without the option.
    """
    parser.add_argument(
        "--degrade",
        metavar="KEY=VALUE,...",
        default=default,
        help=f"{what} with blur (sigma in LR pixels), noise (sigma in levels of 0..255) and jpeg (quality), each a value or a "
        "range, as in jpeg=60..95,noise=0..5,blur=0..0.8",
    )


def add_degraded_evaluation(parser: argparse.ArgumentParser) -> None:
    """Add --degrade and --seed to a command that measures PSNR."""
    add_degrade(parser, "degrade the LR images", "")
    parser.add_argument("--seed", type=int, help="seed of --degrade (default 0)")


def degradation(args: argparse.Namespace) -> SeededDegradation | None:
    """Return the degradation of `add_degraded_evaluation`; None without --degrade.

    Raises:
        UserError: as `degradation.seeded`, or --seed is given without --degrade.
    """
    from mobile_sr.errors import UserError
    from mobile_sr.imaging import degradation

    if args.seed is not None and not args.degrade:
        raise UserError("--seed requires --degrade")
    return degradation.seeded(args.degrade, args.seed or 0)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json FILE."""
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON ('-' for standard output)")


def write_json_result(args: argparse.Namespace, value: Any) -> None:
    """Write a result to the file of --json, if it was given."""
    from mobile_sr.files import json_text, write_json

    if args.json == "-":
        sys.stdout.write(json_text(value))
    elif args.json:
        write_json(args.json, value)


_INTERVAL_S = 5.0  # between the lines of `progress` where standard error is a file or a pipe
_last: list[float] = [sys.maxsize, 0.0]  # number of the last item of `progress`; time of the last line


def progress(done: int, name: str) -> None:
    """Show a counter on standard error: on a terminal for every item, in a file or a pipe as a line every five seconds.

    Args:
        done: number of items done. A number that is not larger than the last one starts another count.
        name: of the current item.
    """
    import time

    if sys.stderr.isatty():
        print(f"\r{done:5d}  {printable(name):<50.50}", end="", file=sys.stderr, flush=True)
        return
    now = time.monotonic()
    if done <= _last[0]:
        _last[:] = done, now
    _last[0] = done
    if now - _last[1] >= _INTERVAL_S:
        _last[1] = now
        print(f"{done} done: {printable(name)}", file=sys.stderr, flush=True)


def clear_progress() -> None:
    """Clear the line of `progress` on a terminal; the next call of it starts another count."""
    _last[0] = sys.maxsize
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
