"""The run of a search over plain chains: the gates are fixed before the end, then weights are selected by their uint8 file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import models
from mobile_sr.architecture_search import architecture_plot, compaction, plain_compaction
from mobile_sr.architecture_search.search_run import SearchRun
from mobile_sr.errors import UserError
from mobile_sr.models.nas import fgnas_costs
from mobile_sr.models.nas import fgnas_plain_supernet as plain
from mobile_sr.training import selection
from mobile_sr.training.run_folder import TrainingRun

if TYPE_CHECKING:
    import keras
    import numpy as np

    from mobile_sr.training.recipes import Recipe

HOLD = (
    0.6  # share of the steps after which the gates are fixed, as soon as the budget is met; the target has then arrived there
)


class PlainSearchRun(SearchRun):
    """A search over plain chains.

    A layer is several percent of the cost: gates would open and close around the budget until the end. From HOLD on, they are
    therefore fixed at the first validation that meets the budget. What still fits is reopened, and the remaining steps train
    the weights of this network. Only weights with fixed gates are saved.
    """

    def __init__(self, out: Path, recipe: Recipe, model: keras.Model, validation: tuple[np.ndarray, np.ndarray]) -> None:
        """Start a search at step 0; see TrainingRun."""
        super().__init__(out, recipe, model, validation)
        self._select_by = self.selected_by

    def _total(self, cost: fgnas_costs.Cost, full: bool = False) -> float:
        return float(plain.total(self._scored, cost, full))

    def _alive_now(self) -> str:
        return plain_compaction.alive(self._scored)

    def _score(self) -> float:
        if self.step >= HOLD * self.recipe.steps and not plain_compaction.is_held(self.model):
            self._hold()
        self._held = plain_compaction.is_held(self.model)
        self.selected_by = self._select_by if self._held else "rgb"
        return super()._score()

    def _hold(self) -> None:
        """Fix the gates of the model in training, if the budget is met."""
        budget = self.recipe.network.get("budget")
        full = plain.total(self.model, self._costs[1], full=True)

        def fits() -> bool:
            return budget is None or float(plain.total(self.model, self._costs[1])) <= budget * full

        if fits():
            if budget is not None:
                plain_compaction.reopen(self.model, fits)
            plain_compaction.hold(self.model)

    def _is_best(self, score: float) -> bool:
        return self._held and TrainingRun._is_best(self, score)

    def _uint8_runner(self) -> Callable[[np.ndarray], np.ndarray] | None:
        config, arrays = self._compact()
        model = models.build(config)
        compaction.set_weights(model, arrays)
        return selection.uint8_runner(model, config, self.calibration)

    def _compact(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        try:
            return plain_compaction.compact(self._scored, self.recipe.network)
        except compaction.Collapsed as error:
            raise UserError(f"{self.out}: the search has collapsed: {error}; lower --weight or raise --budget") from None

    def _about(self, model: keras.Model) -> dict[str, Any]:
        scale = self.recipe.network["scale"]
        return {
            "scale": scale,
            "multiply_adds_per_lr_pixel": models.multiply_adds(model, 1),
            "parameters": model.count_params(),
        }

    def _plot(self, parts: dict[str, Any], title: str) -> str:
        return architecture_plot.plot_chain(parts, self.recipe.network["channels"], title)
