"""Search the channels and activations of every layer, or a plain chain of 3x3 convolutions, by gradient descent (FGNAS).
Interrupt it at any time and continue with --resume.

Example: mobile-sr search --recipe fgnas_mobile --budget 10G --data DIV2K_train_HR --out runs/search
Then: mobile-sr train --recipe fgnas_x2 --init runs/search --data DIV2K_train_HR --out runs/fgnas
Example: mobile-sr search --recipe fgnas_plain_x3 --budget 2180 --data DIV2K_train_HR --out runs/plain
Then: mobile-sr train --recipe chainsr_x3 --init runs/plain --data DIV2K_train_HR --out runs/chain
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mobile_sr.commands import common

if TYPE_CHECKING:
    from mobile_sr.benchmarking.adb import Adb
    from mobile_sr.training.recipes import Recipe

HELP = "search a network under a budget (FGNAS)"
SEARCHES = ("fgnas_plain", "fgnas_mobile", "fgnas_s", "fgnas_m", "fgnas_l")
ACTIVATIONS = ("relu", "prelu", "tanh")
COSTS = ("multiply_adds", "parameters", "activations", "latency", "arm64")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mobile-sr search`."""
    parser.add_argument(
        "--recipe",
        required=True,
        help=f"{', '.join(SEARCHES[:-1])} or {SEARCHES[-1]}; x2, or with a scale such as fgnas_plain_x3",
    )
    parser.add_argument(
        "--cost", choices=COSTS, help="quantity that the budget limits (default: multiply_adds, for fgnas_plain arm64)"
    )
    parser.add_argument(
        "--budget",
        metavar="B",
        help="such as 10G multiply-adds or activations for a 1280x720 output, 120K parameters, 8.5ms of operators at 320x180 "
        "in int8, 4480 instructions per LR pixel on a Cortex-A76 (arm64), or 30%% of the full supernet",
    )
    parser.add_argument(
        "--weight", type=float, metavar="L", help="lambda; with a budget, its initial value (default: the recipe's)"
    )
    parser.add_argument(
        "--activations", metavar="A,B", help="some of relu, prelu, tanh, as the target delegate permits (default: the recipe's)"
    )
    parser.add_argument("--search", choices=("both", "channels", "activations"), help="what to search (default both)")
    parser.add_argument(
        "--blocks", type=int, metavar="N", help="blocks of the supernet, layers of fgnas_plain's (default: the recipe's)"
    )
    parser.add_argument("--channels", type=int, metavar="N", help="channels of every layer (default: the recipe's)")
    parser.add_argument("--no-pointwise", action="store_true", help="leave out the 1x1 convolution of every block")
    parser.add_argument(
        "--table", metavar="FILE", help="latency_table.json of a run, for --cost latency (default: measure on this machine now)"
    )
    parser.add_argument(
        "--device",
        metavar="SERIAL",
        help="measure the latency table on an Android device, as `adb devices` lists it, or 'auto' for the only one connected",
    )
    common.add_training(parser)


def run(args: argparse.Namespace) -> int | None:
    """Run the search and print the best validation score and the files."""
    from pathlib import Path

    from mobile_sr import backend, models
    from mobile_sr.errors import UserError
    from mobile_sr.training import distributed, recipes

    name = args.recipe if recipes.has_scale(args.recipe) else f"{args.recipe}_x2"
    if recipes.needs_keras(name, None, args.set):  # a file may import it
        backend.choose_backend(common.backend_name(args))
    recipe = recipes.load(name, args.smoke, args.steps, args.seed)
    recipes.override(recipe, args.set)
    if recipe.network["network"] not in models.SUPERNETS:
        known = f"{', '.join(SEARCHES[:-1])} or {SEARCHES[-1]}"
        raise UserError(f"--recipe {args.recipe}: is not a search; use {known}, or `mobile-sr train`")
    is_plain = recipe.network["network"] == models.PLAIN_SUPERNET
    if is_plain:
        _check_plain(args)
    for key in ("activation_bits", "weight_bits"):
        if getattr(recipe, key):
            instead = "it rounds to network.activation_bits" if is_plain else "use it with `mobile-sr train` afterwards"
            raise UserError(f"--set {key}={getattr(recipe, key)}: not supported by a search; {instead}")
    if recipe.branches != "none":
        raise UserError(
            f"--set branches={recipe.branches}: not supported by a search; use it with `mobile-sr train` afterwards"
        )
    if args.weight is not None:
        if args.search == "activations":
            raise UserError("--weight: a search of activations only has no cost; leave it out")
        if not args.weight > 0:
            raise UserError(f"--weight {args.weight:g}: must be above 0")
        recipe.network["weight"] = args.weight
    if args.activations:
        recipe.network["activations"] = args.activations.split(",")
        if set(recipe.network["activations"]) - set(ACTIVATIONS):
            raise UserError(f"--activations {args.activations}: use some of {','.join(ACTIVATIONS)}")
    for key in ("blocks", "channels"):
        value = getattr(args, key)
        if value is not None:
            if value < 1:
                raise UserError(f"--{key} {value}: must be at least 1")
            recipe.network["layers" if is_plain and key == "blocks" else key] = value
    if args.search:
        recipe.network["search"] = args.search
    if args.no_pointwise:
        recipe.network["pointwise"] = False
    if args.budget and args.search == "activations":
        raise UserError("--budget: a search of activations only has no cost; leave it out")
    if args.device and (args.cost != "latency" or args.table):
        raise UserError(f"--device {args.device}: measures the table for --cost latency, without --table")
    folder = common.need_data(args)
    launched = common.launch(args, recipe)
    if launched is not None:
        return launched
    backend.choose_backend(args.backend)
    from mobile_sr.architecture_search import search
    from mobile_sr.training import train_loop

    with distributed.group():
        train_loop.check_run_folder(args.out, args.resume)
        cost = _cost(args, recipe) if distributed.rank() == 0 else ""
        search.set_cost(recipe, distributed.broadcast(cost), args.budget)
        best, result = search.search(recipe, folder, args.out, resume=args.resume, cache=args.cache, dtype=common.dtype(args))
    if result is None:  # on ranks other than 0
        return None
    print(f"validation PSNR {best:.3f} dB ({_selected(recipe)}), {_summary(result, recipe)}")
    print(f"architecture {search.SearchRun.file(args.out)}, network {Path(args.out) / 'best.npz'}")
    return None


def _check_plain(args: argparse.Namespace) -> None:
    """Refuse options that a search over plain chains does not have. Raises UserError."""
    from mobile_sr.errors import UserError
    from mobile_sr.training import distributed

    for option in ("activations", "search", "no_pointwise"):
        if getattr(args, option):
            flag = option.replace("_", "-")
            raise UserError(f"--{flag}: {args.recipe} searches layers and channels of plain chains with ReLU; leave it out")
    processes = max(args.processes, distributed.processes())
    if processes > 1:
        raise UserError(f"--processes {processes}: {args.recipe} runs in one process, which fixes the gates; leave it out")


def _selected(recipe: Recipe) -> str:
    """What the validation PSNR of the result measures."""
    from mobile_sr.training import selection

    return selection.describe(selection.criterion(recipe))


def _summary(architecture: dict[str, Any], recipe: Recipe) -> str:
    """The result in a few words, such as '5 of 8 blocks left'."""
    if "widths" in architecture:
        widths = "-".join(map(str, architecture["widths"])) or "none"
        layers = f"{architecture['layers']} of {recipe.network['layers']} layers left"
        return f"{layers}, channels {architecture['channels']} | {widths}"
    blocks = architecture["blocks"]
    return f"{sum(block is not None for block in blocks)} of {len(blocks)} blocks left"


def _cost(args: argparse.Namespace, recipe: Recipe) -> str | dict[str, Any]:
    """The cost of the recipe: its kind, or for latency the table from --table, from the run to resume, or measured now."""
    from pathlib import Path

    from mobile_sr.architecture_search import latency_table
    from mobile_sr.errors import UserError
    from mobile_sr.training import run_folder_checks

    if args.cost is None:
        return recipe.network.get("cost", "multiply_adds")
    if args.cost != "latency":
        return args.cost
    if args.table:
        return latency_table.read(args.table)
    out = Path(args.out)
    if args.resume and (out / "config.json").exists():
        cost = run_folder_checks.read_config(out / "config.json")["recipe"]["network"].get("cost")
        if not isinstance(cost, dict):
            raise UserError(f"{out}: the run is not a search by latency; give another --out, or leave --cost out")
        return cost
    return latency_table.measure(recipe.network["channels"], common.progress, device=_phone(args))


def _phone(args: argparse.Namespace) -> Adb | None:
    """The Android device of --device, with the benchmark app installed; None without the option."""
    from mobile_sr.benchmarking import adb, android

    if args.device is None:
        return None
    phone = adb.Adb(args.device)
    android.install(phone)
    return phone
