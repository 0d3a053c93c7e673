"""The run of a search: scores the supernet and saves the compact network of its open gates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras import ops

from mobile_sr import files, models
from mobile_sr.architecture_search import architecture, architecture_plot, budgets, compaction, reopening
from mobile_sr.errors import UserError
from mobile_sr.inference import weights
from mobile_sr.models.nas import fgnas, fgnas_costs, fgnas_supernet
from mobile_sr.training.run_folder import TrainingRun

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mobile_sr.training.recipes import Recipe
    from mobile_sr.training.run_folder import BatchSource


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
        self._alive = self._alive_now()  # before _save_best reopens channels
        return score

    def _totals(self, full: bool = False) -> list[float]:
        return [self._total(cost, full) for cost in self._costs]

    def _total(self, cost: fgnas_costs.Cost, full: bool = False) -> float:
        """Cost of the scored supernet's open gates, or of all."""
        return float(cost.total(fgnas_supernet.operators(self._scored, full, cost.executed)))

    def _alive_now(self) -> str:
        return alive(self._scored)

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
        config, arrays = self._compact()
        model = models.build(config)
        compaction.set_weights(model, arrays)
        weights.save_model(self.out / "best.npz", model, config, meta)
        about = self._about(model)
        if self._costs[1].kind == "arm64":
            about["arm64_instructions_per_lr_pixel"] = round(self._totals()[1])
        parts = architecture.parts(config)
        architecture.write(self.file(self.out), parts, {**about, **meta})
        title = f"{meta['recipe']}, step {meta['step']}: {about['multiply_adds_per_lr_pixel']:,} multiply-adds per LR pixel"
        files.write_text(self.out / "architecture.svg", self._plot(parts, title))

    def _compact(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return configuration and arrays of the compact network, after reopening channels that cost nothing."""
        budget = self.recipe.network.get("budget")
        if self._costs[1].executed and budget is not None:
            reopening.reopen(self._scored, lambda: self._totals()[1] <= budget * self._full[1])
        try:
            return compaction.compact(self._scored, self.recipe.network)
        except compaction.Collapsed as error:
            raise UserError(f"{self.out}: the search has collapsed: {error}; lower --weight or raise --budget") from None

    def _about(self, model: keras.Model) -> dict[str, Any]:
        """Return further fields of the architecture file."""
        network = self.recipe.network
        about: dict[str, Any] = {key: network[key] for key in ("scale", "channels") if key in network}
        about |= {"multiply_adds_per_lr_pixel": models.multiply_adds(model, 1), "parameters": model.count_params()}
        about["carried_out_per_lr_pixel"] = fgnas.executed_multiply_adds(model, 1)
        return about

    def _plot(self, parts: dict[str, Any], title: str) -> str:
        return architecture_plot.plot(parts, self.recipe.network["channels"], title)

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
