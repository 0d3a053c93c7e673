"""The training loop: trains a recipe's network on a folder of images and writes a run folder (see run_folder.py)."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import __version__, extensions, models
from mobile_sr.errors import UserError
from mobile_sr.files import check_folder, sha256_file, sole_writer, write_json
from mobile_sr.inference import model_files, weights
from mobile_sr.training import (
    distributed,
    hooks,
    initial_weights,
    networks,
    recipes,
    run_folder_checks,
    selection,
    sources,
    user_code,
)
from mobile_sr.training.run_folder import Follower, TrainingRun

if TYPE_CHECKING:
    import keras


def train(
    recipe: recipes.Recipe,
    folder: str | Path | None,
    out: str | Path,
    *,
    init: str | Path | None = None,
    resume: bool = False,
    cache: str | Path | None = None,
    dtype: str = "float32",
    kind: type[TrainingRun] = TrainingRun,
) -> float:
    """Train a recipe on a folder of images and write a run folder. Also runs as one of several ranks (distributed.py).

    Args:
        recipe: the recipe. On resume it must equal the run's recipe.
        folder: folder of training images. It is not read, and may be None, if the recipe has a data function.
        out: the run folder.
        init: model file or run folder whose weights the run starts from; its scale may differ. If it provides all weights,
            they are scored and kept until better ones are found.
        resume: continue from the run's last checkpoint.
        cache: folder of decoded images, see dataset.TrainingImages.
        dtype: 'float32', or 'mixed_bfloat16': layers compute in bfloat16; weights, loss, averages and scores stay float32.
        kind: the subclass of TrainingRun, which decides what is scored and kept.

    Returns:
        The best validation score, as the recipe selects (selection.py), on held-out training images.

    Raises:
        UserError: when the run folder contains another run or another process trains in it, or when the data, the weights or
            the patch sizes are unusable.
    """
    check_run_folder(out, resume)
    with sole_writer(out) if distributed.rank() == 0 else contextlib.nullcontext():
        return _train(recipe, folder, Path(out), init, resume, cache, dtype, kind)


def _train(
    recipe: recipes.Recipe,
    folder: str | Path | None,
    out: Path,
    init: str | Path | None,
    resume: bool,
    cache: str | Path | None,
    dtype: str,
    kind: type[TrainingRun],
) -> float:
    """As `train`, in a run folder that no other process writes to."""
    import keras

    from mobile_sr.training import losses  # imports keras, which needs the backend to be chosen

    first = distributed.rank() == 0
    recipe.network = extensions.resolve(networks.resolve(recipe.network))
    extension = extensions.training(recipe)
    smallest = models.smallest_side(recipe.network)
    for key in ("patch", "validation_crop"):
        if getattr(recipe, key) < smallest:
            raise UserError(
                f"--set {key}={getattr(recipe, key)}: must be at least {smallest}, the minimum LR side of {recipe.name}"
            )
    selection.check(recipe, keras.backend.backend())
    config_file = check_run_folder(out, resume)
    previous = run_folder_checks.read_config(config_file) if first and resume else None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(recipe.seed)
    source = sources.open_on_all_ranks(recipe, folder, cache)
    try:
        keras.config.set_dtype_policy(dtype)
        model = networks.build(recipe.network, recipe.name)
    finally:
        keras.config.set_dtype_policy("float32")
    teacher_file = model_files.trained(recipe.teacher)[0] if recipe.teacher else None
    teacher = _teacher(recipe, teacher_file) if teacher_file else None
    config = {
        "format": run_folder_checks.FORMAT,
        "recipe": recipe.to_json(),
        "data": source.record,
        "parameters": model.count_params(),
        "teacher_sha256": sha256_file(teacher_file) if teacher_file else None,
        "init": str(init) if init else None,
        "dtype": dtype,
        "versions": {"mobile_sr": __version__, "keras": keras.__version__, "backend": keras.backend.backend()},
    }
    loaded: set[str] = set()  # paths of the arrays from --init
    if first and previous:
        _check_same_run(out, previous, config)
    elif first:
        if init:
            loaded = initial_weights.load(model, recipe.network, init, source)
        extension.initialize(model, loaded, lambda: source.validation()[0])
    score_start = len(loaded) == len(model.variables)
    if recipe.spare_channels:
        _clear_channels(model, recipe, source if first and not previous else None)
    if recipe.branches != "none":
        model = _branched(model, recipe)
    if recipe.weight_bits:
        model = _with_rounded_weights(model, recipe)
    if recipe.activation_bits:
        model = _rounded(model, recipe)
    if recipe.train_only:
        _freeze_others(model, recipe)

    model.compile(optimizer=_optimizer(recipe), **extension.losses(losses.make_loss(recipe)))
    model.optimizer.build(model.trainable_variables)
    run: TrainingRun
    if first:
        run = kind(out, recipe, model, source.validation())
        if find_spec("skimage") is None:  # whose images calibrate exports by default
            run.calibration = folder
    else:
        run = Follower(recipe, model)
    if resume and first:
        run.restore()
    elif first:
        if init and score_start:
            run.keep_start(f"{init}, without the spare channels" if recipe.spare_channels else init)
        run.save()  # a run killed before its first validation resumes from this checkpoint of step 0
        write_json(config_file, config)
    distributed.broadcast_variables([*model.variables, *model.optimizer.variables])
    run.step = distributed.broadcast(run.step)
    if run.step < recipe.steps:
        batches = _Batches(recipe, source, teacher, extension)
        run.start(batches)
        every = recipe.validate_every
        with user_code.failures_of_callbacks():
            model.fit(
                batches.keras_dataset(),
                epochs=-(-recipe.steps // every),
                initial_epoch=run.step // every,
                shuffle=False,
                verbose=0,
                callbacks=[run.callback()],
            )
        run.close()
    return distributed.broadcast(run.best)


def check_run_folder(out: str | Path, resume: bool) -> Path:
    """Check that a run can start or resume in `out`. Only rank 0 looks into the folder.

    Returns:
        The path of its config.json.

    Raises:
        UserError: when the folder contains a run that is not resumed, or no run to resume.
    """
    config_file = Path(out) / "config.json"
    if distributed.rank() > 0:
        return config_file
    if config_file.exists() and not resume:
        raise UserError(f"{out}: already contains a run; use --resume to continue it, or another --out")
    if resume and not config_file.exists():
        raise UserError(f"{out}: no run to resume (config.json is missing)")
    check_folder(out)
    return config_file


def _branched(model: keras.Model, recipe: recipes.Recipe) -> keras.Model:
    """Return `model` with the recipe's train-time branches."""
    from mobile_sr.models.train_time import branches

    try:
        return branches.branched(model, recipe.branches)
    except ValueError as error:
        raise UserError(f"branches {recipe.branches} for {recipe.network['network']}: {error}") from None


def _clear_channels(model: keras.Model, recipe: recipes.Recipe, source: sources.Source | None) -> None:
    """Clear the recipe's spare channels in `model`, or with None for `source` only check that it can have them."""
    from mobile_sr.models.train_time import spare_channels

    option = f"spare_channels {recipe.spare_channels}"
    if recipe.branches != "none":
        raise UserError(f"{option}: branches would use the channels again; use --set branches=none")
    try:
        spare_channels.check(recipe.network, recipe.spare_channels)
    except ValueError as error:
        raise UserError(f"{option} for {recipe.network['network']}: {error}") from None
    if source is not None:
        channels = spare_channels.clear(model, recipe.network, recipe.spare_channels, source.validation()[0])
        print(f"spare channels: {', '.join(map(str, channels))}", file=sys.stderr)


def _rounded(model: keras.Model, recipe: recipes.Recipe) -> keras.Model:
    """Return `model` with activations rounded to the recipe's number of bits."""
    from mobile_sr.models.train_time import fake_quantization

    try:
        return fake_quantization.quantized(model, recipe.activation_bits)
    except ValueError as error:
        raise UserError(f"activation_bits {recipe.activation_bits} for {recipe.network['network']}: {error}") from None


def _with_rounded_weights(model: keras.Model, recipe: recipes.Recipe) -> keras.Model:
    """Return `model` with kernels rounded to 8 bits."""
    from mobile_sr.models.train_time import rounded_weights

    if recipe.branches != "none":
        raise UserError(f"weight_bits {recipe.weight_bits}: the kernels of branches cannot be rounded; use --set branches=none")
    try:
        return rounded_weights.with_rounded_weights(model)
    except ValueError as error:
        raise UserError(f"weight_bits {recipe.weight_bits} for {recipe.network['network']}: {error}") from None


def _freeze_others(model: keras.Model, recipe: recipes.Recipe) -> None:
    """Exclude the layers from training whose names begin with none of the recipe's texts."""
    with_weights = [layer for layer in model.layers if layer.trainable_weights]
    starts = [start.strip() for start in recipe.train_only.split(",")]
    for start in starts:
        if not start or not any(layer.name.startswith(start) for layer in with_weights):
            names = ", ".join(layer.name for layer in with_weights)
            raise UserError(
                f"--set train_only={recipe.train_only}: no layer with weights has a name that begins with '{start}'; "
                f"there are: {names}"
            )
    for layer in with_weights:
        layer.trainable = layer.name.startswith(tuple(starts))


def _check_same_run(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise UserError if a run's config differs from that of the training to resume."""
    new = json.loads(json.dumps(new))  # as it was written: tuples are lists
    old = {**old, "recipe": recipes.with_defaults(old["recipe"])}
    old.setdefault("teacher_sha256", new["teacher_sha256"])  # older versions did not write it
    reason = hooks.changes(*(config["recipe"].get("hooks") or {} for config in (old, new)))
    reason = reason or networks.differences(old["recipe"]["network"], new["recipe"]["network"])
    if reason:
        raise UserError(f"{out}: cannot resume: {reason}; start a new run")
    for part in ("recipe", "data", "teacher_sha256"):
        changes = [
            f"{name} was {_shortened(before)} and is {_shortened(now)}"
            for name, before, now in _differences(old[part], new[part], part)
        ]
        if changes:
            more = f", and {len(changes) - 3} more" if len(changes) > 3 else ""
            raise UserError(f"{out}: cannot resume: {', '.join(changes[:3])}{more}; start a new run")


def _differences(old: Any, new: Any, name: str) -> list[tuple[str, Any, Any]]:
    """Return (name, old value, new value) of the innermost values in which two nested dicts differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [(name, old, new)]
    return [item for key in sorted({*old, *new}) for item in _differences(old.get(key), new.get(key), f"{name}.{key}")]


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _optimizer(recipe: recipes.Recipe) -> keras.optimizers.Optimizer:
    import keras
    from keras import ops

    class Triangular(keras.optimizers.schedules.LearningRateSchedule):
        """`recipes.triangular_rate` as a Keras schedule."""

        def __call__(self, step: Any) -> Any:
            return recipes.triangular_rate(ops.cast(step, "float32"), recipe, ops)

    average: dict[str, Any] = {"use_ema": True, "ema_momentum": recipe.ema_decay} if recipe.ema_decay else {}
    if recipe.optimizer == "soap":
        from mobile_sr.training.soap import Soap

        return distributed.averaging(Soap)(Triangular(), **average)
    adam = distributed.averaging(keras.optimizers.Adam)
    return adam(Triangular(), beta_1=0.9, beta_2=0.999, epsilon=1e-8, **average)


def _teacher(recipe: recipes.Recipe, file: str | Path) -> Callable[[np.ndarray], np.ndarray]:
    """Load the teacher, as `extensions.teacher`. Raises UserError if it does not match the recipe's network."""
    model, config = weights.load_model(file)
    if config["scale"] != recipe.network["scale"]:
        raise UserError(
            f"teacher {recipe.teacher}: its scale is {config['scale']}, but {recipe.name} has scale {recipe.network['scale']}"
        )
    for extension in (extensions.find(config), extensions.find(recipe.network)):
        if extension and not hasattr(extension, "teacher"):
            raise UserError(f"teacher {recipe.teacher}: distillation is not supported for {extension.NETWORKS}")
    return extensions.teacher(model, config)


class _Batches:
    """The training batches of this rank, and the time spent on making them."""

    def __init__(
        self,
        recipe: recipes.Recipe,
        source: sources.Source,
        teacher: Callable[[np.ndarray], np.ndarray] | None,
        extension: extensions.Training,
    ) -> None:
        self.recipe, self.source, self.extension = recipe, source, extension
        self.share = distributed.share(recipe.batch)
        self.teacher = teacher
        self.seconds = 0.0
        self.epoch = 0

    def __call__(self, index: int) -> tuple[Any, Any]:
        """Return (inputs, targets) of a step of the current epoch."""
        start = time.perf_counter()
        r = self.recipe
        step = self.epoch * r.validate_every + index
        lr, hr = self.source.batch(step, self.share)
        if self.teacher:
            seen = self.source.batch(step, self.share, clean=True)[0] if r.degrade else lr
            hr = np.concatenate([hr, self.teacher(seen)], axis=-1)
        batch = self.extension.batch(lr, hr, step, self.share)
        self.seconds += time.perf_counter() - start
        return batch

    def keras_dataset(self) -> Any:
        """Return one epoch (validate_every steps) as a data set that Keras reads."""
        import keras

        batches = self
        if keras.backend.backend() == "tensorflow":
            return self._tensorflow_dataset()

        class Patches(keras.utils.PyDataset):
            def __len__(self) -> int:
                return batches.recipe.validate_every

            def __getitem__(self, index: int) -> tuple[Any, Any]:
                return batches(index)

        return Patches()

    def _tensorflow_dataset(self) -> Any:
        """Return the same for TensorFlow, without tf.data's autotuning.

        On a busy machine, the autotuning thread can miss the end of an epoch, and the training then waits forever (TensorFlow
        2.21, observed twice in 100 epochs). For a PyDataset, Keras leaves autotuning on.
        """
        import tensorflow as tf

        r = self.recipe
        sides = ((r.patch, 3), (r.patch * r.network["scale"], 6 if self.teacher else 3))
        lr, hr = (tf.TensorSpec((r.batch, side, side, channels), tf.float32) for side, channels in sides)
        signature = self.extension.signature(lr, hr)
        epoch = tf.data.Dataset.from_generator(lambda: map(self, range(r.validate_every)), output_signature=signature)
        options = tf.data.Options()
        options.autotune.enabled = False
        return epoch.apply(tf.data.experimental.assert_cardinality(r.validate_every)).with_options(options)
