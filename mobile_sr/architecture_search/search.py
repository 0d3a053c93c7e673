"""FGNAS architecture search: trains a supernet's weights and gates, and saves the compact network of its open gates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import models
from mobile_sr.architecture_search import architecture, budgets
from mobile_sr.architecture_search.plain_run import PlainSearchRun
from mobile_sr.architecture_search.search_run import SearchRun
from mobile_sr.errors import UserError
from mobile_sr.models.nas import fgnas_costs, fgnas_plain_supernet, fgnas_supernet
from mobile_sr.training import distributed, train_loop
from mobile_sr.training.run_folder import read_history

if TYPE_CHECKING:
    from mobile_sr.training.recipes import Recipe


def search(recipe: Recipe, folder: str | Path, out: str | Path, **options: Any) -> tuple[float, dict[str, Any] | None]:
    """Search an architecture on a folder of images.

    Args:
        recipe: a recipe whose network is a supernet.
        folder: folder of training images.
        out: the run folder. It gets best.npz (the compact network) and the architecture as .json and .svg.
        **options: as for train_loop.train.

    Returns:
        (validation PSNR in dB of the compact network, its architecture); the architecture is None on ranks other than 0.

    Raises:
        UserError: as train_loop.train, or when the budget was not met.
    """
    kind = PlainSearchRun if recipe.network["network"] == models.PLAIN_SUPERNET else SearchRun
    best = train_loop.train(recipe, folder, out, kind=kind, **options)
    if distributed.rank() > 0:
        return best, None
    file = SearchRun.file(out)
    if not file.exists():
        share, budget = float(read_history(Path(out) / "history.csv")[-1]["cost_share"]), recipe.network["budget"]
        raise UserError(
            f"{out}: the budget is not met after {recipe.steps} steps: {share:.1%} of the full cost remains, the budget is "
            f"{budget:.1%}; search again with more --steps or a larger --budget"
        )
    return best, architecture.read(file)


def set_cost(recipe: Recipe, cost: str | dict[str, Any], budget: str | None = None) -> None:
    """Set the cost that a search recipe minimizes, and its budget.

    Args:
        recipe: the search recipe to change.
        cost: one of fgnas_costs.KINDS or a latency table.
        budget: '10G' (multiply-adds or activations of a 1280x720 output), '120K' (parameters), '4480' (instructions per LR
            pixel, for the cost 'arm64'), '8.5ms' (for the image size of a latency table) or '30%' (of the full supernet's
            cost). None keeps the recipe's fixed lambda.

    Raises:
        UserError: for a budget of another form, one that no network or every network of the supernet meets, or activations
            whose cost is unknown.
    """
    network = recipe.network
    plain = network["network"] == models.PLAIN_SUPERNET  # which has ReLU alone
    unknown = [] if plain else sorted({*network.get("activations", fgnas_supernet.ACTIVATIONS)} & {"prelu", "tanh"})
    if cost == "arm64" and unknown:
        raise UserError(f"--cost arm64: has no figures for {' and '.join(unknown)}; give --activations relu")
    network["cost"], network["steps"] = cost, recipe.steps
    if budget is None:
        return
    units: tuple[str, ...] = ("", "K", "M", "G", "%")
    example = "a number with K, M, G or %, e.g. 10G or 30%"
    if isinstance(cost, dict):
        units, example = ("", "ms", "%"), "milliseconds or %, e.g. 48ms or 30%"
    elif cost == "arm64":
        units, example = ("", "K", "%"), "instructions per LR pixel or %, e.g. 4480 or 30%"
    value, is_share = budgets.parse(budget, units, example)
    full, minimum = (cost_of(recipe, kind) for kind in ("full", "minimum"))
    per_pixel = budgets.HD / network["scale"] ** 2 if cost in ("multiply_adds", "activations") else 1
    share = value if is_share else value / (full * per_pixel)
    if not minimum / full < share < 1:
        unit, name = {"parameters": (1e3, "K"), "arm64": (1, " instructions")}.get(str(cost), (1e9, "G"))
        if isinstance(cost, dict):
            unit, name = 1, " ms"
        digits = ",.0f" if cost == "arm64" else ".4g"
        limits = " and ".join(f"{c * per_pixel / unit:{digits}}{name}" for c in (minimum, full))
        raise UserError(f"--budget {budget}: networks of this supernet cost between {limits}")
    network["budget"] = share


def cost_of(recipe: Recipe, which: str) -> float:
    """Return a cost of a search recipe's supernet, in the recipe's kind of cost.

    Args:
        recipe: the search recipe.
        which: 'full' for the whole supernet, 'minimum' for what remains when one gate of the head's channels is left.
    """
    cost, scale = fgnas_costs.Cost(recipe.network.get("cost", "multiply_adds")), recipe.network["scale"]
    if recipe.network["network"] == models.PLAIN_SUPERNET:
        network = models.complete(recipe.network)
        widths = [network["step"]] if which == "minimum" else [network["channels"]] * (network["layers"] + 1)
        return fgnas_plain_supernet.of_widths(widths, 3 * scale**2, cost)
    if which == "minimum":
        outputs = 3.0 * scale**2
        operators = [("conv3x3", 3.0, 1.0), ("conv3x3", 1.0, outputs), ("depth_to_space", outputs, outputs)]
        return float(cost.total(operators))
    return float(cost.total(fgnas_supernet.operators(models.build(recipe.network), True, cost.executed)))
