"""Trains the classifier of a routed model and writes its deployment folder; route.py has what runs it.

ClassSR trains its classifier and its networks jointly, with losses that push for decided and balanced choices. Here the
networks are given, so that the error of each of them on a patch is known: the classifier minimises what is expected of that
error plus a price for multiply-adds.
"""

import dataclasses
from pathlib import Path

import numpy as np

from mobile_sr import models
from mobile_sr.converters import to_tflite
from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError
from mobile_sr.files import check_folder, sha256_file, write_bytes, write_json
from mobile_sr.inference import model_files, upscaler, weights
from mobile_sr.quantization import export
from mobile_sr.routing import route
from mobile_sr.search import budgets
from mobile_sr.training import dataset as data

PRECISIONS = ("float32", "uint8")
HELD_OUT = 4  # every so manieth image is not trained on: it sets the threshold
BATCH, RATE, STEPS = 128, 3e-3, 1000
TEMPERATURE = 0.2  # of regrets whose largest is 1 in the mean
CALIBRATION = 64  # patches


def train(
    names,
    folder,
    out,
    *,
    budget=None,
    patch=32,
    patches=4000,
    overlap=None,
    precisions=PRECISIONS,
    steps=STEPS,
    seed=0,
    cache=None,
    calibration=None,
    threads=1,
    methods=export.METHODS,
    log=print,
):
    """Export networks, train a classifier that chooses among them, and write NAME_PRECISION.route.json into `out`.

    Args:
        names: trained Keras models of one scale, two or more. folder: training images.
        out: deployment folder; NAME is its name.
        budget: see `parse_budget`.
        patch: side of a patch in LR pixels. patches: on how many, of whole images, the networks are measured.
        overlap: see route.RoutedUpscaler.
        precisions: of PRECISIONS; the networks are measured in the first.
        calibration, methods: for the uint8 networks, as for export.
    Returns: the paths of the routing sidecars.
    Raises: UserError for what does not fit, export.AuditError.
    """
    export.require_tensorflow("route")
    unknown = [p for p in precisions if p not in PRECISIONS]
    if unknown or not precisions:
        raise UserError(f"unknown precision '{', '.join(unknown)}'; routing has {' and '.join(PRECISIONS)}")
    with quiet():  # TensorFlow announces itself at length
        from mobile_sr.models import patch_classifier
    if patch % patch_classifier.STRIDE or not patch_classifier.STRIDE <= patch <= route.MAX_PATCH:
        raise UserError(f"--patch {patch}: a multiple of {patch_classifier.STRIDE} up to {route.MAX_PATCH} is needed")
    nets, scale = _networks(names)
    costs = np.array([net["multiply_adds"] for net in nets], float)
    limit = parse_budget(budget, costs, scale)
    check_folder(out)
    images = data.TrainingImages(folder, scale, cache, smallest=patch)
    for net in nets:
        net["files"] = export.export(
            net["model"], out, list(precisions), calibration=calibration, seed=seed, methods=methods, log=log
        )
    found = measure([net["files"][0] for net in nets], images, patch, patches, seed, threads, log)
    log(f"training the classifier on {np.count_nonzero(~found.held_out)} patches ...")
    model = fit(found, costs, limit, steps, seed)
    written, out = [], Path(out)
    for index, precision in enumerate(precisions):
        name = f"{out.resolve().name}_{precision}"
        classifier = _write_classifier(model, found, precision, out / f"{out.resolve().name}_classifier_{precision}.tflite")
        sidecar = {
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
                "held_out": _held_out(found, costs, out / classifier["file"]),
                "data": {"sha256": images.sha256, "patches": len(found.errors)},
                "seed": seed,
            },
            "versions": export.versions(),
        }
        write_json(out / f"{name}{route.SUFFIX}", sidecar)
        written.append(out / f"{name}{route.SUFFIX}")
        log(f"{written[-1]}: {_told(sidecar['training']['held_out'])}")
    return written


def _networks(names):
    """(dicts with model, multiply_adds and receptive_field, the cheapest network first; their scale). Raises: UserError."""
    if len(names) < 2:
        raise UserError("routing needs two networks or more; repeat --model")
    nets = []
    for name in names:
        file, stem = model_files.trained(name)
        with quiet():
            model, config = weights.load_model(file)
        field = models.receptive_field(config)
        if field is None or models.has_depth(config):
            what = "has AdaDSR's adapter" if models.has_depth(config) else "looks at the whole image"
            raise UserError(f"{name}: {what}; routing takes plain networks with a receptive field")
        cost = models.multiply_adds(model, 1)
        nets.append({"model": name, "stem": stem, "scale": config["scale"], "multiply_adds": cost, "receptive_field": field})
    for key in ("scale", "stem", "multiply_adds"):
        values = [net[key] for net in nets]
        if len(set(values)) != (1 if key == "scale" else len(nets)):
            told = ", ".join(f"{net['model']}: {net[key]}" for net in nets)
            raise UserError(
                f"the networks must have {'one' if key == 'scale' else 'different'} "
                f"{ {'stem': 'file names', 'multiply_adds': 'multiply-adds'}.get(key, key) } ({told})"
            )
    return sorted(nets, key=lambda net: net["multiply_adds"]), nets[0]["scale"]


def parse_budget(text, costs, scale):
    """A budget's multiply-adds per LR pixel.

    Args:
        text: '65%' of the largest network, '60G' multiply-adds of a 1280x720 output, or None: halfway between the cheapest
            and the largest.
        costs: of the networks per LR pixel, ascending.
    Raises: UserError when it is neither, or not between the cheapest and the largest.
    """
    if text is None:
        return float(costs[0] + costs[-1]) / 2
    value, is_share = budgets.parse(text, ("G", "%"), "a share or multiply-adds for a 1280x720 output, e.g. 65% or 60G")
    per_image = budgets.HD / scale**2 / 1e9
    limit = value * costs[-1] if is_share else value / 1e9 / per_image
    if not costs[0] < limit < costs[-1]:
        least = f"{costs[0] * per_image:.4g}G ({costs[0] / costs[-1]:.1%})"
        raise UserError(f"--budget {text}: must lie between {least}, the cheapest network, and {costs[-1] * per_image:.4g}G")
    return limit


@dataclasses.dataclass
class Measured:
    """Patches of LR images, [n, patch, patch, 3] uint8, with each network's mean squared error on them, [n, networks] in
    levels of 0..255 (RGB, rounded), and whether they are held out, [n] bool; all patches of one image are or none is."""

    patches: np.ndarray
    errors: np.ndarray
    held_out: np.ndarray

    @property
    def side(self):
        return self.patches.shape[1]


def measure(files, images, patch, count, seed=0, threads=1, log=print):
    """The errors of .tflite files on the whole patches of training images, taken in a seeded order until there are `count`.

    Every image is upscaled as a whole, so that a patch's error is what routing will give.
    Raises: UserError when there are fewer than two images.
    """
    nets, s = [upscaler.load(file, threads=threads) for file in files], images.scale
    patches, errors, held_out, total = [], [], [], 0
    for number, index in enumerate(np.random.default_rng(seed).permutation(len(images))):
        lr, hr = np.asarray(images.lr[index]), np.asarray(images.hr[index])
        rows, columns = (side // patch for side in lr.shape[:2])
        cut = (slice(rows * patch), slice(columns * patch))
        large = (slice(rows * patch * s), slice(columns * patch * s))
        found = [np.square(net(lr)[large].astype(np.float32) - hr[large]) for net in nets]
        shape = (rows, patch * s, columns, patch * s * 3)
        errors.append(np.stack([square.reshape(shape).mean((1, 3)).ravel() for square in found], axis=1))
        cells = lr[cut].reshape(rows, patch, columns, patch, 3).swapaxes(1, 2)
        patches.append(cells.reshape(-1, patch, patch, 3))
        held_out.append(np.full(rows * columns, number % HELD_OUT == 0))
        total += rows * columns
        if number % 20 == 19:
            log(f"measured {total} patches of {number + 1} images")
        if total >= count and number:
            break
    if len(patches) < 2:
        raise UserError("one training image is not enough: routing needs another one to set its threshold")
    return Measured(*(np.concatenate(parts) for parts in (patches, errors, held_out)))


def price(values, costs, limit):
    """The least price of a multiply-add at which `values` - price * costs, [n, networks], choose networks within a budget.

    It may be below zero, so that the budget is used. Found by bisection to 2**-60 of its range.
    """
    spread = float(np.abs(values - values[:, -1:]).max()) / np.diff(costs).min() + 1e-12  # beyond it one network takes all
    low, high = -spread, spread
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if costs[(values - middle * costs).argmax(1)].mean() > limit else (low, middle)
    return high


def fit(found, costs, limit, steps=STEPS, seed=0):
    """A trained Keras classifier, whose choices on the held-out patches cost `limit` on average.

    It minimises E[u] - TEMPERATURE * (entropy of its choice), u being error + price * multiply-adds: at the optimum its logits
    are -E[u | patch] / TEMPERATURE plus what all share. So another price only shifts them, which sets the budget at the end.
    """
    import keras
    from keras import ops

    from mobile_sr.models import patch_classifier

    keras.utils.set_random_seed(seed)
    model = patch_classifier.build(len(costs), found.side)
    patches, errors = found.patches[~found.held_out].astype(np.float32) / 255, found.errors[~found.held_out]
    regret = errors + price(-errors, costs, limit) * costs
    regret -= regret.min(axis=1, keepdims=True)
    regret /= max(regret.max(axis=1).mean(), 1e-12)

    def loss(regret, logits):
        logs = ops.log_softmax(logits[:, 0, 0], axis=-1)
        return ops.mean(ops.sum(ops.exp(logs) * (regret + TEMPERATURE * logs), axis=-1))

    model.compile(optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps)), loss=loss)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        picks, turn = rng.integers(len(patches), size=BATCH), rng.integers(8)
        batch = np.rot90(patches[picks], turn % 4, (1, 2))
        model.train_on_batch(batch[:, :, ::-1] if turn >= 4 else batch, regret[picks])
    logits = model.predict_on_batch(found.patches[found.held_out].astype(np.float32) / 255)[:, 0, 0]
    last = model.get_layer("logits")
    last.bias.assign_sub((price(logits, costs, limit) * costs).astype(np.float32))
    return model


def _write_classifier(model, found, precision, path):
    """Convert and write the classifier; returns its entry in the sidecar."""
    from mobile_sr.models import patch_classifier

    def build():
        return patch_classifier.build(model.output.shape[-1], found.side)

    calibration = [part[None].astype(np.float32) / 255 for part in found.patches[~found.held_out][:CALIBRATION]]
    try:
        data = to_tflite.convert(build, model.get_weights(), precision, clipped=False, calibration=calibration)
    except to_tflite.ConversionError as error:
        raise export.AuditError(str(error)) from None
    write_bytes(path, data)
    return _entry(path, patch_classifier.multiply_adds(model))


def _entry(path, cost, **more):
    return {"file": path.name, "sha256": sha256_file(path), "multiply_adds": cost, **more}


def _held_out(found, costs, classifier):
    """What the classifier's file does on the held-out patches: shares, multiply-adds per LR pixel, errors."""
    run = route.Classifier(classifier, found.side, len(costs), 0)
    patches, errors = found.patches[found.held_out], found.errors[found.held_out]
    chosen = np.array([run(part)[0, 0].argmax() for part in patches])
    return {
        "shares": (np.bincount(chosen, minlength=len(costs)) / len(chosen)).tolist(),
        "multiply_adds": float(costs[chosen].mean()),
        "mse": float(np.take_along_axis(errors, chosen[:, None], 1).mean()),
        "mse_of_each": errors.mean(axis=0).tolist(),
    }


def _told(found):
    shares = " ".join(f"{share:.0%}" for share in found["shares"])
    each, cost = " ".join(f"{error:.2f}" for error in found["mse_of_each"]), found["multiply_adds"]
    return f"held-out patches {shares}, {cost:,.0f} multiply-adds per LR pixel, MSE {found['mse']:.2f}; each alone {each}"
