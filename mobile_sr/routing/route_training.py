"""Training of a routed model's classifier and export of its deployment folder; route.py runs the result.

For given networks, the error of each of them on a patch is known. The classifier minimizes the expectation of this error plus a
price for multiply-adds. A joint model (joint_training.py) has a classifier, which is only shifted to the budget.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import backend
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.evaluation import instructions
from mobile_sr.files import check_folder, sha256_file, temporary_folder, write_bytes, write_json
from mobile_sr.inference import upscaler
from mobile_sr.quantization import export
from mobile_sr.routing import budget as budgets
from mobile_sr.routing import classifier as classifiers
from mobile_sr.routing import exits_training, joint_training, networks, route
from mobile_sr.training import dataset as data

if TYPE_CHECKING:
    import keras

PRECISIONS = ("float32", "uint8")
PATCH = 32  # LR pixels
HELD_OUT = 4  # every HELD_OUT-th image is held out from training and sets the threshold
BATCH, RATE, STEPS = 128, 3e-3, 1000
TEMPERATURE = 0.2  # for regrets whose maximum per patch is 1 on average
CALIBRATION = 64  # patches


def train(
    names: Sequence[str],
    folder: str | Path,
    out: str | Path,
    *,
    budget: str | None = None,
    patch: int | None = None,
    patches: int = 4000,
    overlap: int | None = None,
    precisions: Sequence[str] = PRECISIONS,
    steps: int = STEPS,
    seed: int = 0,
    cache: str | Path | None = None,
    calibration: Any = None,
    threads: int = 1,
    methods: Sequence[str] = export.METHODS,
    log: Callable[[str], object] = print,
) -> list[Path]:
    """Exports networks, trains a classifier that chooses among them, and writes NAME_PRECISION.route.json into `out`.

    Args:
        names: two or more trained Keras models of one scale, or one model: a joint one (joint_training.py), or one with exits
            (models/chainsr.py), which become the networks.
        folder: training images.
        out: deployment folder; NAME is its name.
        budget: see `budget.parse`.
        patch: side of a patch in LR pixels; None is PATCH, or that of the joint model.
        patches: number of patches, from whole images, on which the networks are measured.
        overlap: see route.RoutedUpscaler.
        precisions: precisions from PRECISIONS; the networks are measured in the first one.
        steps: training steps of the classifier.
        seed: seed of the classifier's weights and of the order of images and patches.
        cache: folder for decoded training images, see TrainingImages.
        calibration, methods: as for `export.export`, for the uint8 networks.
        threads: CPU threads.
        log: called with a line about the progress.

    Returns:
        The paths of the routing sidecars.

    Raises:
        UserError: an argument is invalid.
        export.AuditError: an exported file fails its audit.
    """
    backend.require_tensorflow("route")
    unknown = [p for p in precisions if p not in PRECISIONS]
    if unknown or not precisions:
        raise UserError(f"unknown precision '{', '.join(unknown)}'; routing supports {' and '.join(PRECISIONS)}")
    with quiet():  # TensorFlow prints a banner on import
        from mobile_sr.models import patch_classifier
    with temporary_folder("mobile_sr_route.") as work:
        exits = exits_training.split(names[0], work) if len(names) == 1 and exits_training.has_exits(names[0]) else []
        joint = joint_training.split(names[0], work) if len(names) == 1 and not exits else None
        if joint and patch not in (None, joint.patch):
            raise UserError(f"--patch {patch}: {names[0]} was trained with patches of {joint.patch}")
        patch = joint.patch if joint else PATCH if patch is None else patch
        if patch % patch_classifier.STRIDE or not patch_classifier.STRIDE <= patch <= route.MAX_PATCH:
            raise UserError(f"--patch {patch}: use a multiple of {patch_classifier.STRIDE} up to {route.MAX_PATCH}")
        nets = networks.find([str(file) for file in (joint.files if joint else exits)] or names)
        scale = nets[0].config["scale"]
        costs = np.array([net.multiply_adds for net in nets], float)
        limit = budgets.parse(budget, costs, scale)
        check_folder(out)
        images = data.TrainingImages(folder, scale, cache, smallest=patch)
        options: dict[str, Any] = {"calibration": calibration, "seed": seed, "methods": methods, "log": log}
        exported = [export.export(net.name, out, list(precisions), **options) for net in nets]
    measured = measure([files[0] for files in exported], images, patch, patches, seed, threads, log)
    if joint:
        model = joint.classifier
        meet_budget(model, measured, costs, limit)
    else:
        log(f"training the classifier on {np.count_nonzero(~measured.held_out)} patches ...")
        model = fit(measured, costs, limit, steps, seed)
    written, out = [], Path(out)
    for index, precision in enumerate(precisions):
        name = f"{out.resolve().name}_{precision}"
        classifier = _write_classifier(model, measured, precision, out / f"{out.resolve().name}_classifier_{precision}.tflite")
        sidecar: dict[str, Any] = {
            "format": route.FORMAT,
            "kind": route.KIND,
            "scale": scale,
            "patch": patch,
            "overlap": overlap,
            "precision": precision,
            "classifier": classifier,
            "nets": [
                _entry(files[index], net.multiply_adds, receptive_field=net.receptive_field)
                | ({"exit": net.config["layers"]} if exits else {})
                for net, files in zip(nets, exported, strict=True)
            ],
            "training": {
                "budget": limit / costs[-1],
                "held_out": _held_out(measured, costs, out / classifier["file"]),
                "data": {"sha256": images.sha256, "patches": len(measured.errors)},
                "seed": seed,
            },
            "versions": export.versions(),
        }
        write_json(out / f"{name}{route.SUFFIX}", sidecar)
        written.append(out / f"{name}{route.SUFFIX}")
        log(f"{written[-1]}: {_format_held_out(sidecar['training']['held_out'])}")
    return written


@dataclasses.dataclass
class Measured:
    """Patches of LR images with each network's error on them.

    Attributes:
        patches: [n, patch, patch, 3] uint8.
        errors: [n, networks], mean squared error in levels of 0..255 (RGB, rounded).
        held_out: [n] bool, whether a patch is held out from training. It is the same for all patches of one image.
    """

    patches: np.ndarray
    errors: np.ndarray
    held_out: np.ndarray

    @property
    def side(self) -> int:
        """Side of a patch in LR pixels."""
        return self.patches.shape[1]


def measure(
    files: Sequence[str | Path],
    images: data.TrainingImages,
    patch: int,
    count: int,
    seed: int = 0,
    threads: int = 1,
    log: Callable[[str], object] = print,
) -> Measured:
    """Measures the errors of .tflite files on patches of training images.

    All whole patches of an image are used. Images are taken in a seeded order until there are `count` patches. Each image is
    upscaled as a whole, so a patch's error is the one that routing will have.

    Args:
        files: .tflite files of the networks.
        images: the training images.
        patch: side of a patch in LR pixels.
        count: minimum number of patches.
        seed: seed of the order of the images.
        threads: CPU threads.
        log: called with a line about the progress.

    Raises:
        UserError: there are fewer than two images.
    """
    nets, s = [upscaler.load(file, threads=threads) for file in files], images.scale
    patches: list[np.ndarray] = []
    errors: list[np.ndarray] = []
    held_out: list[np.ndarray] = []
    total = 0
    for number, index in enumerate(np.random.default_rng(seed).permutation(len(images))):
        lr, hr = np.asarray(images.lr[index]), np.asarray(images.hr[index])
        rows, columns = (side // patch for side in lr.shape[:2])
        cut = (slice(rows * patch), slice(columns * patch))
        large = (slice(rows * patch * s), slice(columns * patch * s))
        squares = [np.square(net(lr)[large].astype(np.float32) - hr[large]) for net in nets]
        shape = (rows, patch * s, columns, patch * s * 3)
        errors.append(np.stack([square.reshape(shape).mean((1, 3)).ravel() for square in squares], axis=1))
        cells = lr[cut].reshape(rows, patch, columns, patch, 3).swapaxes(1, 2)
        patches.append(cells.reshape(-1, patch, patch, 3))
        held_out.append(np.full(rows * columns, number % HELD_OUT == 0))
        total += rows * columns
        if number % 20 == 19:
            log(f"measured {total} patches of {number + 1} images")
        if total >= count and number:
            break
    if len(patches) < 2:
        raise UserError("one training image is not enough: routing needs a second one to set its threshold")
    return Measured(*(np.concatenate(parts) for parts in (patches, errors, held_out)))


def fit(measured: Measured, costs: np.ndarray, limit: float, steps: int = STEPS, seed: int = 0) -> keras.Model:
    """Trains a Keras classifier whose choices on the held-out patches cost `limit` on average.

    It minimizes E[u] - TEMPERATURE * (entropy of its choice), where u is error + price * multiply-adds. At the optimum its
    logits are -E[u | patch] / TEMPERATURE plus a common term. Another price therefore only shifts them. Such a shift after
    training sets the budget.

    Args:
        measured: patches and errors.
        costs: multiply-adds per LR pixel of the networks, ascending.
        limit: budget, the mean multiply-adds per LR pixel.
        steps: training steps.
        seed: seed of the weights and batches.
    """
    import keras
    from keras import ops

    from mobile_sr.models import patch_classifier

    keras.utils.set_random_seed(seed)
    model = patch_classifier.build(len(costs), measured.side)
    patches, errors = measured.patches[~measured.held_out].astype(np.float32) / 255, measured.errors[~measured.held_out]
    regret = errors + budgets.price(-errors, costs, limit) * costs
    regret -= regret.min(axis=1, keepdims=True)
    regret /= max(regret.max(axis=1).mean(), 1e-12)

    def loss(regret: Any, logits: Any) -> Any:
        logs = ops.log_softmax(logits[:, 0, 0], axis=-1)
        return ops.mean(ops.sum(ops.exp(logs) * (regret + TEMPERATURE * logs), axis=-1))

    model.compile(optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps)), loss=loss)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        picks, turn = rng.integers(len(patches), size=BATCH), int(rng.integers(8))
        batch = np.rot90(patches[picks], turn % 4, (1, 2))
        model.train_on_batch(batch[:, :, ::-1] if turn >= 4 else batch, regret[picks])
    meet_budget(model, measured, costs, limit)
    return model


def meet_budget(model: keras.Model, measured: Measured, costs: np.ndarray, limit: float) -> None:
    """Shifts the logits of a classifier in place, by a price of the multiply-adds.

    Args:
        model: the classifier.
        measured: patches and errors.
        costs: multiply-adds per LR pixel of the networks, ascending.
        limit: budget on the held-out patches, the mean multiply-adds per LR pixel.
    """
    logits = model.predict_on_batch(measured.patches[measured.held_out].astype(np.float32) / 255)[:, 0, 0]
    last = model.get_layer("logits")
    last.bias.assign_sub((budgets.price(logits, costs, limit) * costs).astype(np.float32))


def _write_classifier(model: keras.Model, measured: Measured, precision: str, path: Path) -> dict[str, Any]:
    """Converts and writes the classifier. Returns its entry in the sidecar."""
    from mobile_sr.models import patch_classifier

    calibration = [part[None].astype(np.float32) / 255 for part in measured.patches[~measured.held_out][:CALIBRATION]]
    try:
        data = to_tflite.convert(model, precision, calibration=calibration)
    except to_tflite.ConversionError as error:
        raise export.AuditError(str(error)) from None
    write_bytes(path, data)
    return _entry(path, patch_classifier.multiply_adds(model), side=measured.side)


def _entry(path: Path, cost: float, **more: Any) -> dict[str, Any]:
    facts = {"file": path.name, "sha256": sha256_file(path), "multiply_adds": cost}
    return {**facts, "instructions": instructions.of_patch(path, more.pop("side", instructions.SIZE[0])), **more}


def _held_out(measured: Measured, costs: np.ndarray, classifier: str | Path) -> dict[str, Any]:
    """Runs the classifier's file on the held-out patches. Returns shares, multiply-adds per LR pixel and errors."""
    run = classifiers.Classifier(classifier, measured.side, len(costs), 0)
    patches, errors = measured.patches[measured.held_out], measured.errors[measured.held_out]
    chosen = np.array([run(part)[0, 0].argmax() for part in patches])
    return {
        "shares": (np.bincount(chosen, minlength=len(costs)) / len(chosen)).tolist(),
        "multiply_adds": float(costs[chosen].mean()),
        "mse": float(np.take_along_axis(errors, chosen[:, None], 1).mean()),
        "mse_of_each": errors.mean(axis=0).tolist(),
    }


def _format_held_out(figures: dict[str, Any]) -> str:
    shares = " ".join(f"{share:.0%}" for share in figures["shares"])
    each, cost = " ".join(f"{error:.2f}" for error in figures["mse_of_each"]), figures["multiply_adds"]
    return f"held-out patches {shares}, {cost:,.0f} multiply-adds per LR pixel, MSE {figures['mse']:.2f}; each alone {each}"
