"""FGNAS architecture search: trains a supernet's weights and gates, and saves the compact network of its open gates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras import ops

from mobile_sr import files, models
from mobile_sr.architecture_search import architecture, architecture_plot, budgets, compaction, reopening
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.models.nas import fgnas, fgnas_costs, fgnas_supernet
from mobile_sr.training import distributed, train_loop
from mobile_sr.training.run_folder import TrainingRun, read_history

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mobile_sr.training.recipes import Recipe
    from mobile_sr.training.run_folder import BatchSource


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
    best = train_loop.train(recipe, folder, out, kind=SearchRun, **options)
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
    unknown = sorted({*network.get("activations", fgnas_supernet.ACTIVATIONS)} & {"prelu", "tanh"})
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
        limits = " and ".join(f"{c * per_pixel / unit:.4g}{name}" for c in (minimum, full))
        raise UserError(f"--budget {budget}: networks of this supernet cost between {limits}")
    network["budget"] = share


def cost_of(recipe: Recipe, which: str) -> float:
    """Return a cost of a search recipe's supernet, in the recipe's kind of cost.

    Args:
        recipe: the search recipe.
        which: 'full' for the whole supernet, 'minimum' for what remains when one channel of the head is left.
    """
    cost, scale = fgnas_costs.Cost(recipe.network.get("cost", "multiply_adds")), recipe.network["scale"]
    if which == "minimum":
        outputs = 3.0 * scale**2
        operators = [("conv3x3", 3.0, 1.0), ("conv3x3", 1.0, outputs), ("depth_to_space", outputs, outputs)]
        return float(cost.total(operators))
    return float(cost.total(fgnas_supernet.operators(models.build(recipe.network), True, cost.executed)))


class SearchRun(TrainingRun):
    """A search: saves the best weights that meet the budget as a compact network; without a budget, the last weights."""

    columns = (*TrainingRun.columns, "cost_share", "multiply_adds_share", "lambda", "alive")

    def __init__(self, out: Path, recipe: Recipe, model: keras.Model, validation: tuple[np.ndarray, np.ndarray]) -> None:
        """Start a search at step 0; see TrainingRun."""
        super().__init__(out, recipe, model, validation)
        kinds = ("multiply_adds", recipe.network.get("cost", "multiply_adds"))
        self._costs = [fgnas_costs.Cost(kind) for kind in kinds]
        self._full = self._totals(full=True)

    @staticmethod
    def file(out: str | Path) -> Path:
        """Return the architecture file of a run folder."""
        return Path(out) / "architecture.json"

    def start(self, batches: BatchSource) -> None:
        """Start the clock and the logs, and write the latency table of the search."""
        super().start(batches)
        cost = self.recipe.network.get("cost")
        if isinstance(cost, dict):
            files.write_json(self.out / "latency_table.json", cost)  # for --table

    def _score(self) -> float:
        score = super()._score()
        # (multiply-adds, cost) of the weights just scored, as shares of the full supernet
        self._shares = [now / full for now, full in zip(self._totals(), self._full, strict=True)]
        self._alive = alive(self._scored)  # before _save_best reopens channels
        return score

    def _totals(self, full: bool = False) -> list[float]:
        return [float(c.total(fgnas_supernet.operators(self._scored, full, c.executed))) for c in self._costs]

    def _extra_columns(self) -> dict[str, Any]:
        multiply_adds, share = self._shares
        resources = [layer for layer in self.model.layers if layer.name == "resources"]
        weight = float(ops.convert_to_numpy(resources[0].weight)) if resources else 0.0
        row = {"cost_share": round(share, 5), "multiply_adds_share": round(multiply_adds, 5)}
        return row | {"lambda": float(f"{weight:.4g}"), "alive": self._alive}

    def _is_best(self, score: float) -> bool:
        budget = self.recipe.network.get("budget")
        return True if budget is None else self._shares[1] <= budget and score > self.best

    def _save_best(self, meta: dict[str, Any]) -> None:
        budget = self.recipe.network.get("budget")
        if self._costs[1].executed and budget is not None:
            reopening.reopen(self._scored, lambda: self._totals()[1] <= budget * self._full[1])
        try:
            config, arrays = compaction.compact(self._scored, self.recipe.network)
        except compaction.Collapsed as error:
            raise UserError(f"{self.out}: the search has collapsed: {error}; lower --weight or raise --budget") from None
        model = models.build(config)
        compaction.set_weights(model, arrays)
        weights.save_model(self.out / "best.npz", model, config, meta)
        network = self.recipe.network
        about: dict[str, Any] = {key: network[key] for key in ("scale", "channels") if key in network}
        about |= {"multiply_adds_per_lr_pixel": models.multiply_adds(model, 1), "parameters": model.count_params()}
        about["carried_out_per_lr_pixel"] = fgnas.executed_multiply_adds(model, 1)
        if self._costs[1].kind == "arm64":
            about["arm64_instructions_per_lr_pixel"] = round(self._totals()[1])
        parts = architecture.parts(config)
        architecture.write(self.file(self.out), parts, {**about, **meta})
        title = f"{meta['recipe']}, step {meta['step']}: {about['multiply_adds_per_lr_pixel']:,} multiply-adds per LR pixel"
        files.write_text(self.out / "architecture.svg", architecture_plot.plot(parts, about["channels"], title))

    def _save_last(self, meta: dict[str, Any]) -> None:
        """Do nothing: the checkpoint has the supernet's weights, and best.npz is the compact network."""

    def _status(self) -> str:
        multiply_adds, share = self._shares
        total = multiply_adds * self._full[0] * budgets.HD / self.recipe.network["scale"] ** 2 / 1e9
        cost = "" if self._costs[1].kind == "multiply_adds" else f"  cost {share:.1%}"
        return f"  Mult-Adds {multiply_adds:.1%} ({total:.2f} G){cost}  alive {self._alive}"


def alive(model: keras.Model) -> str:
    """Return the open channels of every layer in one line: 'head | pointwise-mixed-residual of each block | tail'."""

    def count(gate: Any) -> str:
        return str(int(ops.convert_to_numpy(fgnas_supernet.alive(gate.open())).sum()))

    blocks = ["-".join(map(count, block.gates().values())) for block in fgnas_supernet.searchable_blocks(model)]
    return " ".join((count(model.get_layer("head").gate), "|", *blocks, "|", count(model.get_layer("tail").gate)))
