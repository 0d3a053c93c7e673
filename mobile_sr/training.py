"""The training loop: a recipe and a folder of images become a run folder.

A run folder holds config.json, history.csv, tensorboard/, checkpoint.npz (and the one before it) and best.npz.
"""

import csv
import io
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mobile_sr import __version__, data, models, weights
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import make_folder, read_json, write_json, write_text
from mobile_sr.metrics import psnr

RUN_FORMAT = 1
BACKENDS = ("tensorflow", "torch", "jax")
_COLUMNS = ("step", "seconds", "loss", "rate", "validation_psnr_rgb", "steps_per_s", "input_share")


def choose_backend(name=None):
    """Set KERAS_BACKEND before Keras is imported: `name`, else the environment's, else the first one installed.

    TensorFlow comes first: it converts, and measured on CPUs it trains these networks fastest (docs/training.md).
    Raises: UserError when the backend is unknown or not installed.
    """
    name = name or os.environ.get("KERAS_BACKEND") or next(filter(find_spec, BACKENDS), BACKENDS[0])
    if name not in BACKENDS:
        raise UserError(f"Keras backend {name}: unknown; use {', '.join(BACKENDS)}")
    if find_spec(name) is None or find_spec("keras") is None:
        extra = "train" if name == "tensorflow" else name
        raise UserError(f"Keras with the {name} backend is not installed; pip install 'mobile-sr[{extra}]'")
    os.environ["KERAS_BACKEND"] = name
    with quiet():
        import keras  # noqa: F401  its backend announces itself at length


def require_keras(what):
    """choose_backend for `what`, a model that only Keras can run. Raises: UserError when Keras is missing."""
    if find_spec("keras") is None:
        raise UserError(f"{what}: a Keras model needs Keras; pip install 'mobile-sr[train]', or use a .tflite")
    choose_backend()


def train(recipe, folder, out, *, init=None, resume=False, cache=None):
    """Train `recipe` on the images of `folder`, leaving a run folder at `out`.

    Args:
        recipe: recipes.Recipe; on resume it must equal the run's own.
        init: a model file or run folder whose weights the run starts from; the scale may differ.
        resume: continue from the run's last checkpoint.
    Returns: the best validation PSNR in dB (RGB, on held-out training images).
    Raises: UserError when the run folder holds another run, or the data or weights are unusable.
    """
    import keras

    out = Path(out)
    config_file = out / "config.json"
    if config_file.exists() and not resume:
        raise UserError(f"{out}: already holds a run; use --resume to continue it, or another --out")
    if resume and not config_file.exists():
        raise UserError(f"{out}: no run to resume (config.json is missing)")
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(recipe.seed)
    images = data.TrainingImages(folder, recipe.network["scale"], cache, smallest=recipe.patch)
    train_on, held_out = data.split_validation(images, recipe.validation_images, recipe.validation_crop)
    model = models.build(recipe.network)
    config = {
        "format": RUN_FORMAT,
        "recipe": recipe.to_json(),
        "data": {"sha256": images.sha256, "images": len(images), "held_out": [images.names[i] for i in held_out]},
        "parameters": model.count_params(),
        "init": str(init) if init else None,
        "versions": {"mobile_sr": __version__, "keras": keras.__version__, "backend": keras.backend.backend()},
    }
    if resume:
        _check_same_run(out, read_json(config_file), config)
    elif init:
        _start_from(model, recipe.network, init)

    model.compile(optimizer=_optimizer(recipe), loss=_charbonnier(recipe.charbonnier_eps))
    model.optimizer.build(model.trainable_variables)
    run = Run(out, recipe, model, data.center_crops(images, held_out, recipe.validation_crop))
    if resume:
        run.restore()
    else:
        make_folder(out)
        run.save()  # step 0, so that a run killed before its first validation resumes too
        write_json(config_file, config)
    if run.step < recipe.steps:
        batches = _Batches(recipe, images, train_on)
        run.start(batches)
        every = recipe.validate_every
        model.fit(
            batches.keras_dataset(),
            epochs=-(-recipe.steps // every),
            initial_epoch=run.step // every,
            shuffle=False,
            verbose=0,
            callbacks=[run.callback()],
        )
        run.close()
    return run.best


def _start_from(model, network, init):
    """Copy the weights of `init`; from another scale of the same network, all but the layers whose shape the scale sets."""
    start, config = weights.load_model(model_file(init))
    if {**config, "scale": None} != {**network, "scale": None}:
        raise UserError(f"{init}: is {config}, the recipe trains {network}")
    given = {v.path: v for v in start.variables}
    fitting = [v for v in model.variables if given[v.path].shape == v.shape]
    for variable in fitting:
        variable.assign(given[variable.path])
    if len(fitting) < len(model.variables):
        print(
            f"{init}: {len(fitting)} of {len(model.variables)} arrays fit x{network['scale']}; the rest starts anew",
            file=sys.stderr,
        )


def model_file(path):
    """The model file that a path stands for: itself, or a run folder's best.npz. Raises UserError when missing."""
    path = Path(path)
    file = path / "best.npz" if path.is_dir() else path
    if not file.exists():
        raise UserError(f"{path}: no model there" + (" (best.npz is missing)" if path.is_dir() else ""))
    return file


def _check_same_run(out, old, new):
    if old.get("format") != RUN_FORMAT:
        raise UserError(f"{out}: a run folder of format {old.get('format')}, this version reads {RUN_FORMAT}")
    for part in ("recipe", "data"):
        if old[part] != new[part]:
            odd = next(k for k in sorted({*old[part], *new[part]}) if old[part].get(k) != new[part].get(k))
            raise UserError(
                f"{out}: cannot resume, {part}.{odd} was {old[part].get(odd)} and is {new[part].get(odd)}; start a new run"
            )


def _charbonnier(eps):
    """sqrt(x^2 + eps^2) (Ayazoglu 2021, Eq. 3), averaged over everything; images in 0..1."""
    from keras import ops

    def charbonnier(y_true, y_pred):
        return ops.mean(ops.sqrt(ops.square(y_pred - y_true) + eps**2))

    return charbonnier


def triangular_rate(step, recipe):
    """The learning rate at a step: linear from start to peak, then linear down to end (one triangular cycle)."""
    rise = max(1.0, recipe.rise * recipe.steps)
    if step < rise:
        return recipe.rate_start + (recipe.rate_peak - recipe.rate_start) * step / rise
    fall = max(1.0, recipe.steps - rise)
    return recipe.rate_peak + (recipe.rate_end - recipe.rate_peak) * min(1.0, (step - rise) / fall)


def _optimizer(recipe):
    import keras
    from keras import ops

    rise = max(1.0, recipe.rise * recipe.steps)
    fall = max(1.0, recipe.steps - rise)

    class Triangular(keras.optimizers.schedules.LearningRateSchedule):
        """`triangular_rate` in keras.ops."""

        def __call__(self, step):
            step = ops.cast(step, "float32")
            up = recipe.rate_start + (recipe.rate_peak - recipe.rate_start) * step / rise
            down = recipe.rate_peak + (recipe.rate_end - recipe.rate_peak) * ops.minimum(1.0, (step - rise) / fall)
            return ops.where(step < rise, up, down)

    average = {"use_ema": True, "ema_momentum": recipe.weight_average} if recipe.weight_average else {}
    return keras.optimizers.Adam(Triangular(), beta_1=0.9, beta_2=0.999, epsilon=1e-8, **average)


class _Batches:
    """The training batches, and how long making them took."""

    def __init__(self, recipe, images, indices):
        self.recipe, self.images, self.indices = recipe, images, indices
        self.seconds = 0.0
        self.epoch = 0

    def __call__(self, index):
        start = time.perf_counter()
        r = self.recipe
        step = self.epoch * r.validate_every + index
        batch = data.patch_batch(
            self.images, self.indices, step, batch=r.batch, patch=r.patch, intensities=r.intensities, seed=r.seed
        )
        self.seconds += time.perf_counter() - start
        return batch

    def keras_dataset(self):
        """One epoch (validate_every steps) as Keras reads it."""
        import keras

        batches = self

        class Patches(keras.utils.PyDataset):
            def __len__(self):
                return batches.recipe.validate_every

            def __getitem__(self, index):
                return batches(index)

        return Patches()


class Run:
    """What a running training writes and remembers: progress, history, checkpoints and the best weights."""

    def __init__(self, out, recipe, model, validation):
        self.out, self.recipe, self.model = out, recipe, model
        self.step, self.best, self.history, self.seconds = 0, float("-inf"), [], 0.0
        self._lr, self._hr = validation
        # The averaged weights are scored and kept in a model of their own, so that training goes on undisturbed.
        self._scored = models.build(recipe.network) if recipe.weight_average else model
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
                run.finish_epoch(float(logs["loss"]))

        return Progress()

    def finish_step(self, logs):
        """Count the step, end the training after the last one, and show progress on a terminal."""
        self.step += 1
        if self.step >= self.recipe.steps:
            self.model.stop_training = True
        if self._tty and self.step % 20 == 0:
            self._print_progress(float(logs["loss"]), end="\r")

    def finish_epoch(self, loss):
        """Score the weights, keep them if they are the best, log, and write a checkpoint."""
        now = time.perf_counter()
        elapsed = max(now - self._mark, 1e-9)
        score = self._score()
        self.seconds = self._seconds_before + time.perf_counter() - self._began
        row = {
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "loss": round(loss, 6),
            "rate": round(triangular_rate(self.step, self.recipe), 8),
            "validation_psnr_rgb": round(score, 4),
            "steps_per_s": round((self.step - self._mark_step) / elapsed, 2),
            "input_share": round((self._batches.seconds - self._mark_input) / elapsed, 4),
        }
        self.history.append(row)
        if self._board:
            for name in _COLUMNS[2:]:
                self._board.add_scalar(name, row[name], self.step)
            self._board.flush()
        if score > self.best:
            self.best = score
            meta = {"step": self.step, "validation_psnr_rgb": round(score, 4), "recipe": self.recipe.name}
            weights.save_model(self.out / "best.npz", self._scored, self.recipe.network, meta)
        self.save()
        self._print_progress(loss, score=score, speed=row["steps_per_s"], share=row["input_share"])
        self._mark, self._mark_step, self._mark_input = time.perf_counter(), self.step, self._batches.seconds

    def _score(self):
        from keras import ops

        if self._scored is not self.model:
            self.model.optimizer.finalize_variable_values(self._scored.trainable_variables)
        scale, total = self.recipe.network["scale"], 0.0
        for lr, hr in zip(self._lr, self._hr, strict=True):
            sr = ops.convert_to_numpy(self._scored(lr[None].astype(np.float32) / 255, training=False))[0]
            sr = np.floor(np.clip(sr, 0, 1) * 255 + 0.5).astype(np.uint8)
            total += psnr(sr, hr, "rgb", scale)
        return total / len(self._lr)

    def _print_progress(self, loss, score=None, speed=None, share=None, end="\n"):
        if speed is None:
            speed = (self.step - self._mark_step) / max(time.perf_counter() - self._mark, 1e-9)
        left = (self.recipe.steps - self.step) / max(speed, 1e-9)
        text = f"step {self.step}/{self.recipe.steps}  loss {loss:.5f}  {speed:.1f} steps/s"
        text += f"  left {int(left) // 3600}:{int(left) // 60 % 60:02}:{int(left) % 60:02}"
        if score is not None:
            text += f"  input {share:.1%}  validation {score:.3f} dB (best {self.best:.3f})"
        print(text.ljust(100) if self._tty else text, end=end, file=sys.stderr, flush=True)

    def save(self):
        """Write a checkpoint, keeping the one before it, and the history."""
        from keras import ops

        kinds = {"model": self.model.variables, "optimizer": self.model.optimizer.variables}
        arrays = {f"{kind}/{i}": ops.convert_to_numpy(v) for kind, vs in kinds.items() for i, v in enumerate(vs)}
        meta = {"step": self.step, "best": self.best, "seconds": self.seconds, "history": self.history}
        last, previous = self.out / "checkpoint.npz", self.out / "checkpoint.previous.npz"
        if last.exists():
            os.replace(last, previous)
        weights.write_arrays(last, arrays, meta)
        self._write_history()

    def _write_history(self):
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        write_text(self.out / "history.csv", text.getvalue())

    def restore(self):
        """Take up the last checkpoint, or the one before it when the last is damaged (said on standard error).

        Raises: UserError when neither can be read.
        """
        problems = []
        for name in ("checkpoint.npz", "checkpoint.previous.npz"):
            try:
                arrays, meta = weights.read_arrays(self.out / name)
                break
            except UserError as error:
                problems.append(str(error))
        else:
            raise UserError(f"{self.out}: no usable checkpoint ({'; '.join(problems)})")
        if problems:
            print(f"fell back to {name}: {problems[0]}", file=sys.stderr)
        for kind, variables in (("model", self.model.variables), ("optimizer", self.model.optimizer.variables)):
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"{kind}/{i}"])
        self.step, self.best, self.seconds = meta["step"], meta["best"], meta["seconds"]
        self.history = meta["history"]
