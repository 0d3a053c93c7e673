"""A run folder: what a training writes and remembers.

config.json, history.csv, tensorboard/, checkpoint.npz (and the one before it), best.npz and last.npz.
"""

import csv
import io
import math
import os
import sys
import time

import numpy as np

from mobile_sr import models
from mobile_sr.converters.quiet import say
from mobile_sr.errors import UserError
from mobile_sr.files import write_text
from mobile_sr.imaging import flat_colours
from mobile_sr.imaging.metrics import psnr
from mobile_sr.inference import weights
from mobile_sr.training import distributed, run_folder_checks, selection
from mobile_sr.training.recipes import triangular_rate

# Levels of error on flat colours beyond which weights count as worse; quantization may add one more.
_FLAT_GOAL = flat_colours.LIMIT - 1
_SCORES = ("validation_psnr_rgb", "validation_psnr_y", "selection_score", "selected_by")
_COLUMNS = ("step", "seconds", "loss", "rate", *_SCORES, "steps_per_s", "input_share")


class TrainingRun:
    """What a running training writes and remembers: progress, history, checkpoints and the best weights."""

    columns = _COLUMNS
    calibration = None  # folder of the images that the uint8 files of select=uint8 are calibrated on

    def __init__(self, out, recipe, model, validation):
        self.out, self.recipe, self.model = out, recipe, model
        self.step, self.best, self.history, self.seconds = 0, float("-inf"), [], 0.0
        self.flat_excess, self.best_excess = (
            0,
            math.inf,
        )  # levels beyond _FLAT_GOAL on flat colours, now and of the best weights
        self._lr, self._hr = validation
        # What is scored and kept has a float32 model of its own, so that training goes on undisturbed.
        self._scored = models.build(recipe.network)
        self._branched = None  # its twin with the branches that the training has, before they are collapsed
        if recipe.branches != "none":
            from mobile_sr.models.train_time import branches

            self._branched = branches.branched(self._scored, recipe.branches)
        self.selected_by = selection.criterion(recipe)
        self._flat_goal = flat_colours.LIMIT if self.selected_by == "uint8" else _FLAT_GOAL
        self.depths = {}  # mean depth on the validation images for each desired depth
        self._board = None

    def start(self, batches):
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

    def close(self):
        if self._board:
            self._board.close()

    def callback(self):
        """The Keras callback that drives this object."""
        import keras

        run = self

        class Progress(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                run._batches.epoch = epoch

            def on_train_batch_end(self, batch, logs=None):
                run.finish_step(logs)

            def on_epoch_end(self, epoch, logs=None):
                run.finish_epoch(distributed.mean(float(logs["loss"])))

        return Progress()

    def finish_step(self, logs):
        """Count the step, end the training after the last one, and show progress on a terminal."""
        self.step += 1
        if self.step >= self.recipe.steps:
            self.model.stop_training = True
        if self._tty and self.step % 20 == 0:
            loss = float(logs["loss"])
            self._check_finite("loss", loss)
            self._print_progress(loss, end="\r")

    def _check_finite(self, what, *values):
        """Raise UserError when a number of `values`, which are the loss or the weights, is not finite."""
        if not all(np.isfinite(value).all() for value in values):
            verb = "is" if what == "loss" else "are"
            raise UserError(f"{self.out}: step {self.step}: the {what} {verb} no longer finite; {self._lower_rate()}")

    def _lower_rate(self):
        return f"start again with a lower rate, e.g. --set peak_learning_rate={self.recipe.peak_learning_rate / 2:g}"

    def keep_start(self, init):
        """Score the weights that `init` gave, and keep them until others are better."""
        score = self._score()
        self._keep(score)
        say(f"step 0  validation {score:.3f} dB, the weights of {init}", sys.stderr)

    def finish_epoch(self, loss):
        """Score the weights, keep them if they are the best, log, and write a checkpoint.

        Raises: UserError when the loss or the weights are not finite, or when a network that made pictures makes plain areas:
            below 0 and above 1 a clipped output has no slope, so that it stays there. The checkpoint before stays.
        """
        self._check_finite("loss", loss)
        now = time.perf_counter()
        elapsed = max(now - self._mark, 1e-9)
        score = self._score()
        if self._one_colour and score < self.best and self.recipe.network.get("output_activation") != "linear":
            raise UserError(f"{self.out}: step {self.step}: every picture now comes out in one colour; {self._lower_rate()}")
        self.seconds = self._seconds_before + time.perf_counter() - self._began
        row = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "loss": round(loss, 6),
            "rate": round(float(triangular_rate(self.step, self.recipe)), 8),
            **self._scores(score),
            "steps_per_s": round((self.step - self._mark_step) / elapsed, 2),
            "input_share": round((self._batches.seconds - self._mark_input) / elapsed, 4),
            **self._more_columns(),
        }
        self.history.append(row)
        if self._board:
            for name in self.columns[2:]:
                if not isinstance(row[name], str):
                    self._board.add_scalar(name, row[name], self.step)
            self._board.flush()
        self._save_last(self._about(score))
        self._keep(score)
        self.save()
        self._print_progress(loss, score=score, speed=row["steps_per_s"], share=row["input_share"])
        self._mark, self._mark_step, self._mark_input = time.perf_counter(), self.step, self._batches.seconds

    def _more_columns(self):
        """{name: value} of the history's columns beyond _COLUMNS."""
        return {}

    def _keeps(self, score):
        """Whether the weights just scored are the ones to keep.

        With flat colours among the training patches, fewer levels beyond _flat_goal on them come before the PSNR.
        """
        return (-self.flat_excess, score) > (-self.best_excess, self.best)

    def _keep(self, score):
        """Write best.npz where the weights just scored are the ones to keep."""
        if self._keeps(score):
            self.best, self.best_excess = score, self.flat_excess
            self._save_best(self._about(score))

    def _about(self, score):
        """What a file of the weights just scored says about them."""
        return {"step": self.step, **self._scores(score), "recipe": self.recipe.name}

    def _scores(self, score):
        rgb, y = (round(float(value), 4) for value in self._psnr)
        return dict(zip(_SCORES, (rgb, y, round(score, 4), self.selected_by), strict=True))

    def _save_best(self, meta):
        weights.save_model(self.out / "best.npz", self._scored, self.recipe.network, meta)

    def _save_last(self, meta):
        weights.save_model(self.out / "last.npz", self._scored, self.recipe.network, meta)

    def _score(self):
        """The selection's score in dB on the validation images; with a desired depth, over a quarter to all of the blocks."""
        from keras import ops

        self._take_weights()
        network, found, plain, depths = self.recipe.network, [], [], {}
        max_depth = models.max_depth(network)
        for desired in (None,) if max_depth is None else np.arange(1, 5) * max_depth / 4:
            for lr, hr in zip(self._lr, self._hr, strict=True):
                x = lr[None].astype(np.float32) / 255
                y = self._scored(x if desired is None else [x, np.full((1, 1), desired, np.float32)], training=False)
                if models.has_depth(network):
                    y, depth_map = y
                    depths.setdefault(desired, []).append(float(ops.mean(depth_map)))
                sr = np.floor(np.clip(ops.convert_to_numpy(y)[0], 0, 1) * 255 + 0.5).astype(np.uint8)
                found.append([psnr(sr, hr, space, network["scale"]) for space in ("rgb", "y")])
                plain.append((sr == sr[0, 0]).all())
        self.depths = {desired: np.mean(values) for desired, values in depths.items()}
        self._one_colour = all(plain)
        self._psnr = np.mean(found, axis=0)
        if self.selected_by == "uint8":
            return self._uint8_score()
        if self.recipe.flat_share:
            self.flat_excess = max(0, self._flat_error(max_depth) - self._flat_goal)
        return float(selection.score(self.selected_by, self.recipe, *self._psnr))

    def _uint8_score(self):
        """Mean PSNR in dB (RGB) of the uint8 file made of the weights that are scored; -inf where none can be made."""
        run, scale = selection.uint8_runner(self._scored, self.recipe.network, self.calibration), self.recipe.network["scale"]
        if self.recipe.flat_share:
            error = flat_colours.measure(run, scale)["flat"] if run else 255
            self.flat_excess = max(0, error - self._flat_goal)
        pairs = zip(self._lr, self._hr, strict=True)
        return float(np.mean([psnr(run(lr), hr, "rgb", scale) for lr, hr in pairs])) if run else float("-inf")

    def _flat_error(self, max_depth):
        """The largest error of the scored float network on 27 flat colours, in levels."""
        from mobile_sr.inference import upscaler

        run = upscaler.keras_runner(self._scored)

        def upscale(image):
            return upscaler.to_uint8(run(image) if max_depth is None else run(image, max_depth)[0])

        return flat_colours.measure(upscale, self.recipe.network["scale"])["flat"]

    def _take_weights(self):
        """Fill the network that is scored with the trained weights, averaged where the recipe says so, then collapsed."""
        taken = self._branched or self._scored
        if self.recipe.ema_decay and self.step:  # before the first step there is no average yet
            self.model.optimizer.finalize_variable_values(taken.trainable_variables)
        else:
            taken.set_weights(self.model.get_weights())
        if self._branched:
            from mobile_sr.models.train_time import branches

            branches.collapse(self._branched, self._scored)
        self._check_finite("weights", *self._scored.get_weights())

    def _print_progress(self, loss, score=None, speed=None, share=None, end="\n"):
        if speed is None:
            speed = (self.step - self._mark_step) / max(time.perf_counter() - self._mark, 1e-9)
        left = (self.recipe.steps - self.step) / max(speed, 1e-9)
        text = f"step {self.step}/{self.recipe.steps}  loss {loss:.5f}  {speed:.1f} steps/s"
        text += f"  left {int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02}"
        if score is not None:
            text += self._status()
            text += f"  flat colours {self.flat_excess + self._flat_goal} levels" if self.flat_excess else ""
            text += (
                f"  input {share:.1%}  validation {score:.3f} dB {selection.describe(self.selected_by)} (best {self.best:.3f})"
            )
        print(text.ljust(100) if self._tty else text, end=end, file=sys.stderr, flush=True)

    def _status(self):
        """What a progress line says besides."""
        depths = self.depths.items()
        return "".join(f"  depth {depth:.2f}" + ("" if desired is None else f" for {desired:g}") for desired, depth in depths)

    def save(self):
        """Write a checkpoint, keeping the one before it, and the history."""
        from keras import ops

        kinds = {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        arrays = {f"{kind}/{i}": ops.convert_to_numpy(v) for kind, vs in kinds.items() for i, v in enumerate(vs)}
        meta = {"step": self.step, "best": self.best, "seconds": self.seconds, "history": self.history}
        meta["best_excess"] = self.best_excess
        meta["selected_by"] = self.selected_by
        last, previous = self.out / "checkpoint.npz", self.out / "checkpoint.previous.npz"
        if last.exists():
            os.replace(last, previous)
        weights.write_arrays(last, arrays, meta)
        self._write_history()

    def _write_history(self):
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.out / "history.csv", text.getvalue())

    def restore(self):
        """Take up the last checkpoint, or the one before it when the last is damaged (said on standard error).

        Raises: UserError when neither can be read.
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
        for kind, own in variables.items():
            for i, variable in enumerate(own):
                variable.assign(arrays[f"{kind}/{i}"])
        self.step, self.best, self.seconds = meta["step"], meta["best"], meta["seconds"]
        self.history, self.best_excess = meta["history"], meta.get("best_excess", 0)
        self.selected_by = meta.get("selected_by", "rgb")  # older versions chose by RGB alone, and `best` is of that


def read_history(file):
    """The rows of a run's history.csv, dicts of texts."""
    with open(file) as log:
        return list(csv.DictReader(log))


class Follower(TrainingRun):
    """What a rank beside rank 0 does of that: it counts the steps."""

    def __init__(self, recipe, model):
        self.recipe, self.model = recipe, model
        self.step, self.best, self._tty = 0, float("-inf"), False

    def start(self, batches):
        self._batches = batches

    def finish_epoch(self, loss):
        """Nothing: the next gradients are waited for, until rank 0 has written what it must."""

    def close(self):
        """Nothing is open."""
