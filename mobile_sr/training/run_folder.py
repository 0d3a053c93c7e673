"""Run folders: what a training writes, and how it resumes from it.

A run folder contains config.json, history.csv, tensorboard/, checkpoint.npz, checkpoint.previous.npz, best.npz and last.npz.
"""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mobile_sr import extensions, models
from mobile_sr.converters.quiet import print_line
from mobile_sr.errors import UserError
from mobile_sr.files import write_text
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.metrics import psnr
from mobile_sr.inference import weights
from mobile_sr.training import distributed, hooks, run_folder_checks, selection, user_code
from mobile_sr.training.recipes import Recipe, triangular_rate

if TYPE_CHECKING:
    import keras

# Error on flat colours, in levels, up to which weights are compared by PSNR alone. Quantization may add one more level.
_FLAT_GOAL = flat_colours.LIMIT - 1
_SCORES = ("validation_psnr_rgb", "validation_psnr_y", "selection_score", "selected_by")
_COLUMNS = ("step", "seconds", "loss", "rate", *_SCORES, "steps_per_s", "input_share")


class BatchSource(Protocol):
    """The training batches of train_loop.py, as a run sees them."""

    seconds: float  # time spent on making batches
    epoch: int


class TrainingRun:
    """A running training: progress, history, checkpoints and the best weights.

    Attributes:
        out: the run folder.
        recipe: the training's recipe.
        model: the model in training.
        step: number of finished steps.
        best: selection score of the best weights, in dB unless the recipe has a metric of its own.
        best_excess: levels beyond the goal by which the best weights miss flat colours.
        flat_excess: the same for the weights scored last.
        history: rows of history.csv.
        seconds: training time, including earlier runs that this one resumes.
        selected_by: the selection score, see selection.criterion.
        extension: hooks of the recipe's network.
        columns: names of the history's columns.
        calibration: folder of the images that calibrate the uint8 files of select=uint8; None for export's default.
    """

    columns: tuple[str, ...] = _COLUMNS
    calibration: str | Path | None = None

    out: Path
    recipe: Recipe
    model: keras.Model
    step: int
    best: float
    best_excess: float
    flat_excess: float
    history: list[dict[str, Any]]
    seconds: float
    selected_by: str
    extension: extensions.Training

    def __init__(self, out: Path, recipe: Recipe, model: keras.Model, validation: tuple[np.ndarray, np.ndarray]) -> None:
        """Start a run at step 0.

        Args:
            out: the run folder.
            recipe: the training's recipe.
            model: the compiled model to train, with branches if the recipe has them.
            validation: ([V, H, W, 3] LR, [V, H * s, W * s, 3] HR) uint8 validation images.
        """
        self.out, self.recipe, self.model = out, recipe, model
        self.step, self.best, self.history, self.seconds = 0, float("-inf"), [], 0.0
        self.flat_excess, self.best_excess = 0, math.inf
        self._lr, self._hr = validation
        # The scored and saved weights have a float32 model of their own, so that scoring does not disturb the training.
        self._scored = models.build(recipe.network)
        self._branched: keras.Model | None = None  # the same with train-time branches, before they are collapsed
        if recipe.branches != "none":
            from mobile_sr.models.train_time import branches

            self._branched = branches.branched(self._scored, recipe.branches)
        if recipe.weight_bits:  # the variables stay those of the plain network
            from mobile_sr.models.train_time import rounded_weights

            self._scored = rounded_weights.with_rounded_weights(self._scored)
        self.selected_by = selection.criterion(recipe)
        self._flat_goal = flat_colours.LIMIT if self.selected_by == "uint8" else _FLAT_GOAL
        self.extension = extensions.training(recipe)
        self.columns = (*self.columns, *self.extension.columns)
        self._board: Any = None

    def start(self, batches: BatchSource) -> None:
        """Start the clock and the TensorBoard log, before the first step."""
        self._batches = batches
        self._began = self._mark = time.perf_counter()
        self._mark_step, self._mark_input = self.step, 0.0
        self._tty = sys.stderr.isatty()
        self._seconds_before = self.seconds
        try:
            from tensorboard.summary import Writer

            self._board = Writer(str(self.out / "tensorboard"))
        except ImportError:
            print("no TensorBoard log: the tensorboard package is not installed", file=sys.stderr)

    def close(self) -> None:
        """Close the TensorBoard log, after the last step."""
        if self._board:
            self._board.close()

    def callback(self) -> keras.callbacks.Callback:
        """Return the Keras callback that drives this object."""
        import keras

        run = self

        class Progress(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                run._batches.epoch = epoch

            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                run.finish_step(logs)

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                run.finish_epoch(distributed.mean(float(logs["loss"])))

        return Progress()

    def finish_step(self, logs: Mapping[str, Any]) -> None:
        """Count a step, stop the training after the last one, and show progress on a terminal.

        Args:
            logs: Keras logs with 'loss'.

        Raises:
            UserError: when the loss is not finite.
        """
        self.step += 1
        if self.step >= self.recipe.steps:
            self.model.stop_training = True
        if self._tty and self.step % 20 == 0:
            loss = float(logs["loss"])
            self._check_finite("loss", loss)
            self._print_progress(loss, end="\r")

    def _check_finite(self, what: str, *values: Any) -> None:
        """Raise UserError if `values`, the 'loss' or the 'weights', contain a number that is not finite."""
        if not all(np.isfinite(value).all() for value in values):
            verb = "is" if what == "loss" else "are"
            raise UserError(f"{self.out}: step {self.step}: the {what} {verb} no longer finite; {self._lower_rate()}")

    def _lower_rate(self) -> str:
        return f"restart with a lower learning rate, e.g. --set peak_learning_rate={self.recipe.peak_learning_rate / 2:g}"

    def keep_start(self, init: str | Path) -> None:
        """Score the initial weights and save them as the best so far. `init` says whose they are."""
        score = self._score()
        self._save_if_best(score)
        unit = selection.unit(self.selected_by)
        print_line(f"step 0  validation {score:.3f}{unit}, the weights of {init}", sys.stderr)

    def finish_epoch(self, loss: float) -> None:
        """Score the weights, save them if they are the best, extend the history and write a checkpoint.

        Args:
            loss: mean loss of the epoch.

        Raises:
            UserError: when the loss or the weights are not finite, or when the network has begun to output single colours. A
                clipped output has no gradient below 0 and above 1, so it cannot recover. The last checkpoint is kept.
        """
        self._check_finite("loss", loss)
        now = time.perf_counter()
        elapsed = max(now - self._mark, 1e-9)
        score = self._score()
        some = any(self._one_colour) and not all(self._one_colour)
        is_dead = some or (all(self._one_colour) and score < self.best)
        if is_dead and self.recipe.network.get("output_activation") != "linear":
            where = " at one of its exits or depths" if some else ""
            raise UserError(f"{self.out}: step {self.step}: every output image is a single colour{where}; {self._lower_rate()}")
        self.seconds = self._seconds_before + time.perf_counter() - self._began
        row: dict[str, Any] = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "loss": round(loss, 6),
            "rate": round(float(triangular_rate(self.step, self.recipe)), 8),
            **self._scores(score),
            "steps_per_s": round((self.step - self._mark_step) / elapsed, 2),
            "input_share": round((self._batches.seconds - self._mark_input) / elapsed, 4),
            **self._extra_columns(),
            **self.extension.figures(),
        }
        self.history.append(row)
        if self._board:
            for name in self.columns[2:]:
                if not isinstance(row[name], str):
                    self._board.add_scalar(name, row[name], self.step)
            self._board.flush()
        self._save_last(self._metadata(score))
        is_best = self._is_best(score)
        self._save_if_best(score)
        self.save()
        self._print_progress(loss, score=score, speed=row["steps_per_s"], share=row["input_share"])
        if self.recipe.hooks.callback:  # after everything is saved: an error in it costs no step
            user_code.call(self.recipe.hooks.callback, {**row, "best": self.best, "is_best": is_best, "folder": str(self.out)})
        self._mark, self._mark_step, self._mark_input = time.perf_counter(), self.step, self._batches.seconds

    def _extra_columns(self) -> dict[str, Any]:
        """Return {name: value} of the history's columns beyond _COLUMNS."""
        return {}

    def _is_best(self, score: float) -> bool:
        """Return whether the weights just scored are better than the best so far.

        With flat colours among the training patches, a smaller error on them beyond _flat_goal counts before the PSNR.
        """
        return (-self.flat_excess, score) > (-self.best_excess, self.best)

    def _save_if_best(self, score: float) -> None:
        """Write best.npz if the weights just scored are the best so far."""
        if self._is_best(score):
            self.best, self.best_excess = score, self.flat_excess
            self._save_best(self._metadata(score))

    def _metadata(self, score: float) -> dict[str, Any]:
        """Return the metadata that is saved with the weights just scored."""
        return {"step": self.step, **self._scores(score), "recipe": self.recipe.name}

    def _scores(self, score: float) -> dict[str, Any]:
        rgb, y = (round(float(value), 4) for value in self._psnr)
        return dict(zip(_SCORES, (rgb, y, round(score, 4), self.selected_by), strict=True))

    def _save_best(self, meta: dict[str, Any]) -> None:
        weights.save_model(self.out / "best.npz", self._scored, self.recipe.network, meta)
        self.extension.save_parts(self._scored, self.out, meta)

    def _save_last(self, meta: dict[str, Any]) -> None:
        weights.save_model(self.out / "last.npz", self._scored, self.recipe.network, meta)

    def _score(self) -> float:
        """Return the selection score on the validation images, over all values that the extension chooses.

        It is in dB unless the recipe has a metric of its own.
        """
        from keras import ops

        self._update_scored()
        network = self.recipe.network
        scores: list[list[float]] = []
        measured: list[float] = []  # by the recipe's own metric
        metric = self.recipe.hooks.metric
        self._one_colour: list[bool] = []  # for each value
        for value in self.extension.start_validation():
            single_colour = []
            for y, hr in zip(self.extension.all_sr(self._scored, self._lr, value), self._hr, strict=True):
                sr = np.floor(np.clip(ops.convert_to_numpy(y)[0], 0, 1) * 255 + 0.5).astype(np.uint8)
                scores.append([psnr(sr, hr, space, network["scale"]) for space in ("rgb", "y")])
                single_colour.append((sr == sr[0, 0]).all())
                if metric:
                    measured.append(hooks.measure(metric, sr, hr))
            self._one_colour.append(all(single_colour))
            self.extension.note_scores(value, *np.mean(scores[-len(self._hr) :], axis=0))
        self._psnr = np.mean(scores, axis=0)
        as_uint8 = self.selected_by == "uint8"
        run = self._uint8_runner() if as_uint8 else self._float_runner()
        if self.recipe.flat_share:
            error = flat_colours.measure(run, network["scale"])["flat"] if run else 255
            self.flat_excess = max(0, error - self._flat_goal)
        if metric:
            return float(np.mean(measured))
        if not as_uint8:
            return float(selection.score(self.selected_by, self.recipe, *self._psnr))
        if run is None:  # the file failed its audit
            return float("-inf")
        return float(np.mean([psnr(run(lr), hr, "rgb", network["scale"]) for lr, hr in zip(self._lr, self._hr, strict=True)]))

    def _uint8_runner(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """Return the uint8 file of the scored network as a function from LR to SR images, None if it fails its audit."""
        return selection.uint8_runner(self._scored, self.recipe.network, self.calibration)

    def _float_runner(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return the scored float network as a function from LR to SR images, uint8, at its maximum depth."""
        from mobile_sr.inference import upscaler

        model = upscaler.of_network(self.recipe.name, self._scored, self.recipe.network)
        return lambda image: upscaler.to_uint8(model.run_once(image))

    def _update_scored(self) -> None:
        """Copy the trained weights to the scored network: averaged if the recipe says so, with branches collapsed."""
        target = self._branched or self._scored
        if self.recipe.ema_decay and self.step:  # before the first step there is no average yet
            trained = {id(variable) for variable in self.model.trainable_variables}
            pairs = zip(self.model.variables, target.variables, strict=True)
            self.model.optimizer.finalize_variable_values([own for variable, own in pairs if id(variable) in trained])
        else:
            target.set_weights(self.model.get_weights())
        if self._branched:
            from mobile_sr.models.train_time import branches

            branches.collapse(self._branched, self._scored)
        self._check_finite("weights", *self._scored.get_weights())

    def _print_progress(
        self, loss: float, score: float | None = None, speed: float | None = None, share: float | None = None, end: str = "\n"
    ) -> None:
        if speed is None:
            speed = (self.step - self._mark_step) / max(time.perf_counter() - self._mark, 1e-9)
        left = (self.recipe.steps - self.step) / max(speed, 1e-9)
        text = f"step {self.step}/{self.recipe.steps}  loss {loss:.5f}  {speed:.1f} steps/s"
        text += f"  left {int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02}"
        if score is not None:
            text += self._status()
            text += f"  flat colours {self.flat_excess + self._flat_goal} levels" if self.flat_excess else ""
            text += (
                f"  input {share:.1%}  validation {score:.3f}{selection.unit(self.selected_by)}"
                f" {selection.describe(self.selected_by)} (best {self.best:.3f})"
            )
        print(text.ljust(100) if self._tty else text, end=end, file=sys.stderr, flush=True)

    def _status(self) -> str:
        """Return what the progress line of a validation shows in addition."""
        return self.extension.status()

    def save(self) -> None:
        """Write a checkpoint and the history. The previous checkpoint is kept."""
        from keras import ops

        kinds = {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        arrays = {f"{kind}/{i}": ops.convert_to_numpy(v) for kind, vs in kinds.items() for i, v in enumerate(vs)}
        meta: dict[str, Any] = {"step": self.step, "best": self.best, "seconds": self.seconds, "history": self.history}
        meta["best_excess"] = self.best_excess
        meta["selected_by"] = self.selected_by
        last, previous = self.out / "checkpoint.npz", self.out / "checkpoint.previous.npz"
        if last.exists():
            os.replace(last, previous)
        weights.write_arrays(last, arrays, meta)
        self._write_history()

    def _write_history(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.out / "history.csv", text.getvalue())

    def restore(self) -> None:
        """Load the last checkpoint, or the one before it if the last is damaged (reported on standard error).

        Raises:
            UserError: when neither can be read.
        """
        variables = {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        problems = []
        for name in ("checkpoint.npz", "checkpoint.previous.npz"):
            try:
                arrays, meta = run_folder_checks.read_checkpoint(self.out / name, self.recipe, variables, self.columns)
                break
            except UserError as error:
                problems.append(str(error))
        else:
            raise UserError(f"{self.out}: no usable checkpoint ({'; '.join(problems)})")
        if problems:
            print(f"fell back to {name}: {problems[0]}", file=sys.stderr)
        for kind, group in variables.items():
            for i, variable in enumerate(group):
                variable.assign(arrays[f"{kind}/{i}"])
        self.step, self.best, self.seconds = meta["step"], meta["best"], meta["seconds"]
        self.history, self.best_excess = meta["history"], meta.get("best_excess", 0)
        self.selected_by = meta.get("selected_by", "rgb")  # older versions selected by RGB alone


def read_history(file: str | Path) -> list[dict[str, str]]:
    """Return the rows of a run's history.csv as dicts of texts."""
    with open(file) as log:
        return list(csv.DictReader(log))


class Follower(TrainingRun):
    """The run of a rank other than 0: it counts steps and writes nothing."""

    def __init__(self, recipe: Recipe, model: keras.Model) -> None:
        self.recipe, self.model = recipe, model
        self.step, self.best, self._tty = 0, float("-inf"), False

    def start(self, batches: BatchSource) -> None:
        """Remember the batches."""
        self._batches = batches

    def finish_epoch(self, loss: float) -> None:
        """Do nothing. The next gradients wait until rank 0 has scored and written."""

    def close(self) -> None:
        """Do nothing."""
