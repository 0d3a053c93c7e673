"""The training loop: a recipe and a folder of images become a run folder (see run.py)."""

import json
import sys
import textwrap
import time
from pathlib import Path

import numpy as np

from mobile_sr import __version__, models
from mobile_sr.errors import UserError
from mobile_sr.files import check_folder, make_folder, sha256_file, write_json
from mobile_sr.inference import model_files, weights
from mobile_sr.training import dataset, distributed, recipes, run_folder_checks, selection
from mobile_sr.training.run_folder import Follower, TrainingRun

_ADDED = ("depth", "adapter_channels", "depth_scales")  # what a network with an adapter may differ in from its backbone


def train(recipe, folder, out, *, init=None, resume=False, cache=None, dtype="float32", kind=TrainingRun):
    """Train `recipe` on the images of `folder`, leaving a run folder at `out`; as one of several ranks, too (distributed.py).

    Args:
        recipe: recipes.Recipe; on resume it must equal the run's own.
        init: a model file or run folder whose weights the run starts from; the scale may differ. Where it gives all of them,
            they are scored, too, and kept until others are better.
        resume: continue from the run's last checkpoint.
        dtype: 'float32', or 'mixed_bfloat16': layers calculate in bfloat16, weights, loss, averages and scores stay float32.
        kind: the Run class, which decides what is scored and kept.
    Returns: the best validation score in dB, by the recipe's selection (selection.py), on held-out training images.
    Raises: UserError when the run folder holds another run, or the data, the weights or the patches are unusable.
    """
    import keras

    from mobile_sr.training import losses  # imports keras, too, for which the backend must have been chosen

    out = Path(out)
    first = distributed.rank() == 0
    smallest = models.smallest_side(recipe.network)
    for key in ("patch", "validation_crop"):
        if getattr(recipe, key) < smallest:
            raise UserError(
                f"--set {key}={getattr(recipe, key)}: {recipe.name} takes images of {smallest} LR pixels a side or more"
            )
    selection.check(recipe, keras.backend.backend())
    config_file = check_run_folder(out, resume)
    before = run_folder_checks.read_config(config_file) if first and resume else None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(recipe.seed)
    which = {"smallest": recipe.patch, "downscale_factors": recipe.downscale_factors}
    images = distributed.one_first(lambda: dataset.TrainingImages(folder, recipe.network["scale"], cache, **which))
    if images.sha256 != distributed.from_first(images.sha256):
        raise UserError(f"{folder}: rank {distributed.rank()} finds other images in it than rank 0")
    train_on, held_out = dataset.split_validation(images, recipe.validation_images, recipe.validation_crop)
    try:
        keras.config.set_dtype_policy(dtype)
        model = models.build(recipe.network)
    finally:
        keras.config.set_dtype_policy("float32")
    teacher_file = model_files.trained(recipe.teacher)[0] if recipe.teacher else None
    teacher = _teacher(recipe, teacher_file) if teacher_file else None
    config = {
        "format": run_folder_checks.FORMAT,
        "recipe": recipe.to_json(),
        "data": {
            "sha256": images.sha256,
            "images": len(set(images.originals)),
            "held_out": [images.names[i] for i in held_out],
        },
        "parameters": model.count_params(),
        "teacher_sha256": sha256_file(teacher_file) if teacher_file else None,
        "init": str(init) if init else None,
        "dtype": dtype,
        "versions": {"mobile_sr": __version__, "keras": keras.__version__, "backend": keras.backend.backend()},
    }
    taken = set()  # by --init
    if resume and first:
        _check_same_run(out, before, config)
    elif first:
        if init:
            taken = _start_from(model, recipe.network, init)
        if models.has_depth(recipe.network) and "adapter5/kernel" not in taken:
            from mobile_sr.models import adadsr

            crops = dataset.center_crops(images, held_out, recipe.validation_crop)[0].astype(np.float32) / 255
            adadsr.start_at(model, crops, recipe.fixed_depth or models.max_depth(recipe.network) / 2)
    score_start = len(taken) == len(model.variables)
    if recipe.branches != "none":
        model = _branched(model, recipe)
    if recipe.activation_bits:
        model = _rounded(model, recipe)

    loss, loss_weights = losses.of(recipe), None
    if models.has_depth(recipe.network):
        loss, loss_weights = [loss, depth_hinge], [1.0, recipe.depth_weight]
    model.compile(optimizer=_optimizer(recipe), loss=loss, loss_weights=loss_weights)
    model.optimizer.build(model.trainable_variables)
    if first:
        run = kind(out, recipe, model, dataset.center_crops(images, held_out, recipe.validation_crop))
        run.calibration = folder
    else:
        run = Follower(recipe, model)
    if resume and first:
        run.restore()
    elif first:
        make_folder(out)
        if score_start:
            run.keep_start(init)
        run.save()  # step 0, so that a run killed before its first validation resumes too
        write_json(config_file, config)
    distributed.copy_first([*model.variables, *model.optimizer.variables])
    run.step = distributed.from_first(run.step)
    if run.step < recipe.steps:
        batches = _Batches(recipe, images, train_on, teacher)
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
    return distributed.from_first(run.best)


def check_run_folder(out, resume):
    """The file config.json of a run folder, which rank 0 alone looks into.

    Raises: UserError when it has one and none is resumed, or the reverse.
    """
    config_file = Path(out) / "config.json"
    if distributed.rank() > 0:
        return config_file
    if config_file.exists() and not resume:
        raise UserError(f"{out}: already holds a run; use --resume to continue it, or another --out")
    if resume and not config_file.exists():
        raise UserError(f"{out}: no run to resume (config.json is missing)")
    check_folder(out)
    return config_file


def _start_from(model, network, init):
    """Copy the weights of `init`: all arrays whose shape the scale does not change, from another scale of the same network,
    and all but the adapter's, from the backbone of a network with one.

    Returns: the paths of the copied arrays.
    """
    start, config = weights.load_model(model_files.trained(init)[0])
    for key in sorted({*network, *config} - {*_ADDED, "scale"}):
        if network.get(key) != config.get(key):
            have, want = (textwrap.shorten(str(value.get(key)), 60) for value in (config, network))
            raise UserError(f"{init}: its {key} is {have}, the recipe trains one of {want}")
    given = {v.path: v for v in start.variables}
    fitting = [v for v in model.variables if v.path in given and given[v.path].shape == v.shape]
    for variable in fitting:
        variable.assign(given[variable.path])
    if len(fitting) < len(model.variables):
        print(f"{init}: {len(fitting)} of {len(model.variables)} arrays fit; the rest starts anew", file=sys.stderr)
    return {v.path for v in fitting}


def _branched(model, recipe):
    from mobile_sr.models.train_time import branches

    try:
        return branches.branched(model, recipe.branches)
    except ValueError as error:
        raise UserError(f"branches {recipe.branches} for {recipe.network['network']}: {error}") from None


def _rounded(model, recipe):
    from mobile_sr.models.train_time import fake_quantization

    try:
        return fake_quantization.quantized(model, recipe.activation_bits)
    except ValueError as error:
        raise UserError(f"activation_bits {recipe.activation_bits} for {recipe.network['network']}: {error}") from None


def _check_same_run(out, old, new):
    new = json.loads(json.dumps(new))  # as it was written: tuples are lists
    old = {**old, "recipe": recipes.with_defaults(old["recipe"])}
    old.setdefault("teacher_sha256", new["teacher_sha256"])  # of a version that did not write it
    for part in ("recipe", "data", "teacher_sha256"):
        odd = [
            f"{name} was {_shortened(before)} and is {_shortened(now)}"
            for name, before, now in _differences(old[part], new[part], part)
        ]
        if odd:
            more = f", and {len(odd) - 3} more" if len(odd) > 3 else ""
            raise UserError(f"{out}: cannot resume, {', '.join(odd[:3])}{more}; start a new run")


def _differences(old, new, name):
    """The (name, old value, new value) of the innermost values in which two nested dicts differ."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [(name, old, new)]
    return [found for key in sorted({*old, *new}) for found in _differences(old.get(key), new.get(key), f"{name}.{key}")]


def _shortened(value):
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def depth_hinge(desired, depth_map):
    """max(0, mean depth - desired depth), averaged over images and depth maps (Liu et al. 2020, Sec. 3.4).

    [N, 1] and [N, H, W, M], both in blocks.
    """
    from keras import ops

    mean = ops.mean(ops.cast(depth_map, "float32"), axis=(1, 2))
    return ops.mean(ops.relu(mean - ops.cast(desired, "float32")))


def _optimizer(recipe):
    import keras
    from keras import ops

    class Triangular(keras.optimizers.schedules.LearningRateSchedule):
        """`recipes.triangular_rate`."""

        def __call__(self, step):
            return recipes.triangular_rate(ops.cast(step, "float32"), recipe, ops)

    average = {"use_ema": True, "ema_momentum": recipe.ema_decay} if recipe.ema_decay else {}
    if recipe.optimizer == "soap":
        from mobile_sr.training.soap import Soap

        return distributed.averaging(Soap)(Triangular(), **average)
    adam = distributed.averaging(keras.optimizers.Adam)
    return adam(Triangular(), beta_1=0.9, beta_2=0.999, epsilon=1e-8, **average)


def desired_depths(recipe, max_depth, step):
    """The desired depth of each image of a step, [batch, 1] float32.

    Uniform in 0..max_depth (Liu et al. 2020, Sec. 3.4), the recipe's fixed depth where the network takes none.
    """
    if max_depth is None:
        return np.full((recipe.batch, 1), recipe.fixed_depth, np.float32)
    return np.random.default_rng([recipe.seed, step, 1]).uniform(0, max_depth, (recipe.batch, 1)).astype(np.float32)


def _teacher(recipe, file):
    """The Keras model whose pictures the loss counts. Raises: UserError where it cannot teach this network."""
    model, config = weights.load_model(file)
    if config["scale"] != recipe.network["scale"]:
        raise UserError(
            f"teacher {recipe.teacher}: it is x{config['scale']}, and recipe {recipe.name} x{recipe.network['scale']}"
        )
    if models.has_depth(config) or models.has_depth(recipe.network):
        raise UserError(f"teacher {recipe.teacher}: networks with depth maps neither teach nor learn")
    return model


class _Batches:
    """The training batches, of which each rank makes its share, and how long that took."""

    def __init__(self, recipe, images, indices, teacher):
        self.recipe, self.images, self.indices = recipe, images, indices
        self.has_depth, self.max_depth = models.has_depth(recipe.network), models.max_depth(recipe.network)
        self.share = distributed.share(recipe.batch)
        self.teacher = teacher
        self.seconds = 0.0
        self.epoch = 0

    def __call__(self, index):
        start = time.perf_counter()
        r = self.recipe
        step = self.epoch * r.validate_every + index
        how = {"batch": r.batch, "patch": r.patch, "brightness_factors": r.brightness_factors, "seed": r.seed}
        how |= {"share": self.share, "flat_share": r.flat_share}
        lr, hr = batch = dataset.patch_batch(self.images, self.indices, step, mixing=r.mixing, **how)
        if self.teacher:
            batch = lr, np.concatenate([hr, self.teacher.predict_on_batch(lr)], axis=-1)
        if self.has_depth:
            batch = self._with_depth(*batch, desired_depths(r, self.max_depth, step)[self.share])
        self.seconds += time.perf_counter() - start
        return batch

    def _with_depth(self, lr, hr, depth):
        """(inputs, targets) of a network with a depth map."""
        return lr if self.max_depth is None else (lr, depth), (hr, depth)

    def keras_dataset(self):
        """One epoch (validate_every steps) as Keras reads it."""
        import keras

        batches = self
        if keras.backend.backend() == "tensorflow":
            return self._tensorflow_dataset()

        class Patches(keras.utils.PyDataset):
            def __len__(self):
                return batches.recipe.validate_every

            def __getitem__(self, index):
                return batches(index)

        return Patches()

    def _tensorflow_dataset(self):
        """The same for TensorFlow, without tf.data's autotuning.

        Its thread now and then misses the end of an epoch on a busy machine, and the training then waits for it for ever
        (TensorFlow 2.21, seen twice in 100 epochs); Keras leaves it on for a PyDataset.
        """
        import tensorflow as tf

        r = self.recipe
        sides = ((r.patch, 3), (r.patch * r.network["scale"], 6 if self.teacher else 3))
        signature = tuple(tf.TensorSpec((r.batch, side, side, channels), tf.float32) for side, channels in sides)
        if self.has_depth:
            signature = self._with_depth(*signature, tf.TensorSpec((r.batch, 1), tf.float32))
        epoch = tf.data.Dataset.from_generator(lambda: map(self, range(r.validate_every)), output_signature=signature)
        options = tf.data.Options()
        options.autotune.enabled = False
        return epoch.apply(tf.data.experimental.assert_cardinality(r.validate_every)).with_options(options)
