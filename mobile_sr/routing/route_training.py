"""Training of a routed model's classifier and export of its deployment folder; route.py runs the result.

ClassSR trains its classifier and its networks jointly, with losses that favour decisive and balanced choices. Here the
networks are given, so the error of each of them on a patch is known. The classifier minimizes the expectation of this error
plus a price for multiply-adds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import backend, models
from mobile_sr.architecture_search import budgets
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import check_folder, sha256_file, write_bytes, write_json
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.quantization import export
from mobile_sr.routing import route
from mobile_sr.training import dataset as data

if TYPE_CHECKING:
    import keras

PRECISIONS = ("float32", "uint8")
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
    patch: int = 32,
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
        names: two or more trained Keras models of one scale.
        folder: training images.
        out: deployment folder; NAME is its name.
        budget: see `parse_budget`.
        patch: side of a patch in LR pixels.
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
    if patch % patch_classifier.STRIDE or not patch_classifier.STRIDE <= patch <= route.MAX_PATCH:
        raise UserError(f"--patch {patch}: use a multiple of {patch_classifier.STRIDE} up to {route.MAX_PATCH}")
    nets, scale = _networks(names)
    costs = np.array([net["multiply_adds"] for net in nets], float)
    limit = parse_budget(budget, costs, scale)
    check_folder(out)
    images = data.TrainingImages(folder, scale, cache, smallest=patch)
    for net in nets:
        net["files"] = export.export(
            net["model"], out, list(precisions), calibration=calibration, seed=seed, methods=methods, log=log
        )
    measured = measure([net["files"][0] for net in nets], images, patch, patches, seed, threads, log)
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
            "nets": [_entry(net["files"][index], net["multiply_adds"], receptive_field=net["receptive_field"]) for net in nets],
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


def _networks(names: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Returns (dicts with model, multiply_adds and receptive_field, the cheapest first; their scale). Raises UserError."""
    if len(names) < 2:
        raise UserError("routing needs two or more networks; repeat --model")
    nets = []
    for name in names:
        file, stem = model_files.trained(name)
        with quiet():
            model, config = weights.load_model(file)
        field = models.receptive_field(config)
        if field is None or models.has_depth(config):
            what = "has AdaDSR's adapter" if models.has_depth(config) else "depends on the whole image"
            raise UserError(f"{name}: {what}; routing needs networks with a limited receptive field")
        cost = models.multiply_adds(model, 1)
        nets.append({"model": name, "stem": stem, "scale": config["scale"], "multiply_adds": cost, "receptive_field": field})
    for key in ("scale", "stem", "multiply_adds"):
        values = [net[key] for net in nets]
        if len(set(values)) != (1 if key == "scale" else len(nets)):
            values_text = ", ".join(f"{net['model']}: {net[key]}" for net in nets)
            raise UserError(
                f"the networks must have {'one' if key == 'scale' else 'different'} "
                f"{ {'stem': 'file names', 'multiply_adds': 'multiply-adds'}.get(key, key) } ({values_text})"
            )
    return sorted(nets, key=lambda net: net["multiply_adds"]), nets[0]["scale"]


def parse_budget(text: str | None, costs: np.ndarray, scale: int) -> float:
    """Converts a budget to multiply-adds per LR pixel.

    Args:
        text: '65%' of the largest network, '60G' multiply-adds of a 1280x720 output, or None for halfway between the
            cheapest and the largest network.
        costs: multiply-adds per LR pixel of the networks, ascending.
        scale: scale factor of the networks.

    Raises:
        UserError: the text is neither, or not between the cheapest and the largest network.
    """
    if text is None:
        return float(costs[0] + costs[-1]) / 2
    value, is_share = budgets.parse(text, ("G", "%"), "a share or multiply-adds for a 1280x720 output, e.g. 65% or 60G")
    per_image = budgets.HD / scale**2 / 1e9
    limit = value * costs[-1] if is_share else value / 1e9 / per_image
    if not costs[0] < limit < costs[-1]:
        minimum = f"{costs[0] * per_image:.4g}G ({costs[0] / costs[-1]:.1%})"
        raise UserError(f"--budget {text}: must be between {minimum}, the cheapest network, and {costs[-1] * per_image:.4g}G")
    return limit


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


def price(values: np.ndarray, costs: np.ndarray, limit: float) -> float:
    """Returns the minimum price of a multiply-add at which the choices meet a budget.

    Each row of `values` - price * `costs` chooses the network with the maximum. The price can be negative, so that the budget
    is used up. It is determined by bisection to 2**-60 of its range.

    Args:
        values: [n, networks], the value of each network on each patch.
        costs: multiply-adds per LR pixel of the networks, ascending.
        limit: budget, the mean multiply-adds per LR pixel.
    """
    spread = (
        float(np.abs(values - values[:, -1:]).max()) / np.diff(costs).min() + 1e-12
    )  # beyond it one network wins everywhere
    low, high = -spread, spread
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if costs[(values - middle * costs).argmax(1)].mean() > limit else (low, middle)
    return high


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
    regret = errors + price(-errors, costs, limit) * costs
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
    logits = model.predict_on_batch(measured.patches[measured.held_out].astype(np.float32) / 255)[:, 0, 0]
    last = model.get_layer("logits")
    last.bias.assign_sub((price(logits, costs, limit) * costs).astype(np.float32))
    return model


def _write_classifier(model: keras.Model, measured: Measured, precision: str, path: Path) -> dict[str, Any]:
    """Converts and writes the classifier. Returns its entry in the sidecar."""
    from mobile_sr.models import patch_classifier

    calibration = [part[None].astype(np.float32) / 255 for part in measured.patches[~measured.held_out][:CALIBRATION]]
    try:
        data = to_tflite.convert(model, precision, calibration=calibration)
    except to_tflite.ConversionError as error:
        raise export.AuditError(str(error)) from None
    write_bytes(path, data)
    return _entry(path, patch_classifier.multiply_adds(model))


def _entry(path: Path, cost: float, **more: Any) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_file(path), "multiply_adds": cost, **more}


def _held_out(measured: Measured, costs: np.ndarray, classifier: str | Path) -> dict[str, Any]:
    """Runs the classifier's file on the held-out patches. Returns shares, multiply-adds per LR pixel and errors."""
    run = route.Classifier(classifier, measured.side, len(costs), 0)
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
