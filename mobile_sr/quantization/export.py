"""From a trained Keras model to a deployment folder: .tflite and ONNX files that passed their audit, each with a sidecar."""

import functools
import importlib.metadata
import os

import numpy as np

from mobile_sr import __version__, models
from mobile_sr.adadsr import depth_counts
from mobile_sr.converters import adadsr_sparse_integer, cross_layer_equalization, gptq, to_onnx, to_tflite
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import audit, grouped_conv, merge
from mobile_sr.errors import UserError
from mobile_sr.files import make_folder, sha256, sha256_file, write_bytes
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.inference import litert, model_files, model_io, upscaler, weights
from mobile_sr.inference import sidecar as sidecars
from mobile_sr.inference.onnx_model import OnnxModel
from mobile_sr.quantization.calibration import calibration_set

PRECISIONS = (*to_tflite.PRECISIONS, "onnx")
METHODS = ("equalize", "round")
INTEGER_WEIGHTS = (*to_tflite.CALIBRATED, "dynamic")
PATHS = ("sparse", "dense")


class AuditError(Exception):
    """A converted file does not hold what its precision promises; nothing was written."""


def export(
    model,
    out,
    precisions,
    *,
    size=None,
    calibration=None,
    seed=0,
    per_tensor=False,
    methods=METHODS,
    path=None,
    dense_groups=False,
    max_colour_error=flat_colours.QUANTIZATION_LIMIT,
    log=print,
):
    """Convert a trained network and write NAME_PRECISION.tflite (or NAME.onnx) and its .json into `out`.

    With 'equalize' among the methods and an integer file among the precisions, all files come from the equalized network
    (same output, other weights), so that an integer file and its float one can be compared layer by layer.

    Args:
        model: zoo name, .npz model file or run folder.
        precisions: of PRECISIONS.
        size: (height, width) of a fixed LR input, None for dynamic.
        calibration: folder of images for the integer files, None for scikit-image's pictures.
        per_tensor: integer kernels with one scale each (files NAME_PRECISION_per_tensor.tflite).
        methods: of METHODS, what lowers the loss of integer files: 'equalize' (converters/cross_layer_equalization.py), 'round'
            (converters/gptq.py).
        path: for networks with depth masks: 'sparse', files NAME_sparse_PRECISION.tflite with the signatures `sparse`
            (converters/adadsr_sparse.py) and `dense`, which share their weights; 'dense', for delegates without GATHER. None is
            'sparse' where the network takes a desired depth and the precision has that path, 'dense' elsewhere.
        max_colour_error: levels of 0..255 that an integer file may be off the Keras model on flat colours (flat_colours.py).
        dense_groups: grouped convolutions as ordinary ones with zeros between the groups, for delegates that refuse them.
    Returns: list of the paths.
    Raises: UserError for unusable arguments, AuditError when a file is not what it should be.
    """
    unknown = [p for p in precisions if p not in PRECISIONS]
    if unknown or not precisions:
        raise UserError(f"unknown precision '{', '.join(unknown)}'; use {', '.join(PRECISIONS)}")
    if size is not None and min(size) < 1:
        raise UserError(f"--height {size[0]} --width {size[1]}: both must be at least 1")
    require_tensorflow("export")
    file, name = model_files.trained(model)
    with quiet():
        keras_model, config = weights.load_model(file)
    if dense_groups and not models.has_groups(config):
        raise UserError(f"--dense-groups: {model} has no grouped convolutions")
    if models.has_depth(config) and "onnx" in precisions:
        raise UserError(f"{model}: has a depth map; such networks are exported to .tflite only")
    if _narrow_attention(models.complete(config)) and any(p in to_tflite.CALIBRATED for p in precisions):
        # XNNPACK (LiteRT 2.3) ends the process with "double free" on an 8-bit attention of 2 channels; with 4 it runs.
        raise UserError(
            f"{model}: its attention has fewer than 4 channels, on which the runtime fails in 8 bits; use a float file"
        )
    paths = {precision: _path(path, precision, config, model) for precision in precisions}
    keras_poor = _check(model, _at_depth(upscaler.keras_runner(keras_model), models.max_depth(config)), config, size)
    out = make_folder(out)
    calibrated = any(p in to_tflite.CALIBRATED for p in precisions)
    images, record = calibration_set(calibration, config["scale"], seed) if calibrated else ([], None)
    images = with_depths(images, models.max_depth(config))
    equalized = None
    if calibrated and "equalize" in methods:
        log(f"equalizing on {len(images)} images ...")
        strength = (
            0.0 if per_tensor else cross_layer_equalization.STRENGTH
        )  # scaling makes output channels unlike (docs/measurements/quantization.md)
        arrays, layers = cross_layer_equalization.equalize(keras_model, images, strength)
        keras_model.set_weights(arrays)
        equalized = {"strength": strength, "layers": layers}
    plain = keras_model.get_weights()
    rounded = gptq.round_weights(keras_model, images, per_tensor) if calibrated and "round" in methods else plain
    written = []
    for precision in precisions:
        integer, one_scale = precision in to_tflite.CALIBRATED, per_tensor and precision in INTEGER_WEIGHTS
        log(f"{name}: converting to {precision} ...")
        if precision == "onnx":
            target = out / f"{name}.onnx"
            data, sidecar = _convert_onnx(keras_model, config, size, dense_groups)
        else:
            kind = f"{'sparse_' if paths[precision] == 'sparse' else ''}{precision}{'_per_tensor' if one_scale else ''}"
            target = out / f"{name}_{kind}.tflite"
            arrays = rounded if integer else plain
            options = (one_scale, paths[precision], dense_groups, max_colour_error)
            data, sidecar = _convert(keras_model, config, precision, arrays, size, images, *options)
        sidecar["calibration"] = record if integer else None
        sidecar["equalization"] = equalized
        sidecar["rounding"] = "second moments of the inputs" if integer and "round" in methods else "to nearest"
        sidecar["weights"] = {"file": file.name, "sha256": sha256_file(file)}
        if not keras_poor and precision != "onnx":
            options = _full_depth(config) | ({"signature": paths[precision]} if paths[precision] == "sparse" else {})
            _check(target, litert.TFLiteModel(data, options=options).run, config, size)
        write_bytes(target, data)
        sidecars.write(target, sidecar)
        colours = f"; {flat_colours.describe(sidecar['colour_error'])}" if "colour_error" in sidecar else ""
        log(f"{target}: {len(data):,} bytes, audit passed ({len(sidecar['audit']['checks'])} checks){colours}")
        written.append(target)
    return written


def with_depths(images, max_depth):
    """The calibration images; for a network with a desired depth of 0..`max_depth`, each with one, evenly spread."""
    if max_depth is None:
        return images
    steps = np.arange(len(images)) * 0.618 % 1  # neighbours, which look alike, get unlike depths
    depths = np.argsort(np.argsort(steps)) / max(1, len(images) - 1) * max_depth
    return [(image, np.full((1, 1), depth, np.float32)) for image, depth in zip(images, depths, strict=True)]


def require_tensorflow(what):
    """Choose Keras' TensorFlow backend. Raises: UserError when `what`, the command, cannot have it."""
    from importlib.util import find_spec

    if find_spec("tensorflow") is None or find_spec("keras") is None:
        raise UserError(f"{what} needs TensorFlow and Keras: pip install 'mobile-sr[train]'")
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise UserError(f"{what} needs the TensorFlow backend; KERAS_BACKEND is {os.environ['KERAS_BACKEND']}")


def _path(path, precision, config, model):
    """The path of one precision's file. Raises: UserError when the network or the precision has no such path."""
    if path not in (None, *PATHS):
        raise UserError(f"--path {path}: use {' or '.join(PATHS)}")
    able = precision in to_tflite.SPARSE
    if path is None:
        return "sparse" if able and models.max_depth(config) is not None else "dense"
    if path == "sparse" and not models.has_depth(config):
        raise UserError(f"--path sparse: {model} has no depth masks; only AdaEDSR and AdaRCAN have a sparse path")
    if path == "sparse" and not able:
        raise UserError(f"--path sparse: not in {precision}; use {', '.join(to_tflite.SPARSE)}, or --path dense")
    return path


def _convert(
    keras_model,
    config,
    precision,
    arrays,
    size,
    calibration=(),
    per_tensor=False,
    path="dense",
    dense_groups=False,
    max_colour_error=0,
):
    """(bytes, sidecar) of one precision with the weights `arrays`, audited and run against the Keras model."""
    build = functools.partial(models.build_for_export, config)
    options = {"clipped": _clips(config), "size": size, "calibration": calibration, "per_tensor": per_tensor}
    try:
        if path == "sparse":
            data, dense = to_tflite.convert_both(build, keras_model, arrays, precision, **options)
        else:
            data = to_tflite.convert(build, arrays, precision, **options)
            data = dense = grouped_conv.make_dense(data) if dense_groups else data
    except (to_tflite.ConversionError, adadsr_sparse_integer.NoSparseForm) as error:
        raise AuditError(str(error)) from None
    facts, checks = audit_file(dense, keras_model, config, precision, per_tensor)
    signatures = ["dense", "sparse"] if path == "sparse" else [None]
    if path == "sparse":
        graph = litert.parse_graph(data, signature="sparse")
        facts = {**audit.describe(graph, len(data)), "signatures": signatures, "size_bytes_dense_only": len(dense)}
        constants = [merge.constant_bytes(d) for d in (data, dense)]
        checks += audit.check_sparse(graph, *constants, precision in to_tflite.CALIBRATED)
    if precision in to_tflite.CALIBRATED:
        facts["colour_error"], check = colour_check(keras_model, dense, config, size, max_colour_error)
        checks.append(check)
    if models.has_depth(config):
        facts["multiply_adds"] = depth_counts.costs(keras_model, precision in ("uint8", "int8"))
    facts["desired_depth"] = None if models.max_depth(config) is None else [0, models.max_depth(config)]
    agreement = None
    for signature in signatures:
        agreement = _agreement(keras_model, data, config, size, signature)
        if precision.startswith("float"):
            limit = 2 / 255 if precision == "float16" else 1e-5  # halves carry 11 bits of every weight
            checks.append(_error_check("Keras" + (f" ({signature})" if signature else ""), agreement, limit))
    if path == "sparse" and precision in to_tflite.CALIBRATED:
        checks.append(_error_check("the dense signature (sparse)", _agreement(None, data, config, size, "sparse"), 1.01 / 255))
    return data, make_sidecar(config, precision, facts, data, checks, {"agreement_with_keras": agreement})


def _agreement(keras_model, data, config, size, signature=None):
    """`measure_agreement` of a .tflite's signature with the Keras model, or its dense one if None; the worst over depths."""
    max_depth = models.max_depth(config)

    def runner(name, depth):
        options = {} if name is None else {"signature": name}
        return litert.TFLiteModel(data, options=options | ({} if depth is None else {"desired_depth": str(depth)})).run

    found = []
    for depth in (None,) if max_depth is None else (0, max_depth / 2, max_depth):
        keras = keras_model and _at_depth(upscaler.keras_runner(keras_model), depth)
        truth = keras or runner("dense", depth)
        found.append(measure_agreement(truth, runner(signature, depth), config, size))
    return max(found, key=lambda agreement: agreement["largest_error"])


def colour_check(keras_model, data, config, size=None, limit=flat_colours.QUANTIZATION_LIMIT):
    """(flat_colours.measure of a .tflite's bytes, the audit's check that quantization moves no flat colour beyond `limit`).

    A network that is itself farther off than `limit` levels may lose as much again.
    """
    depth = models.max_depth(config)
    run = litert.TFLiteModel(data, options=_full_depth(config)).run
    keras_run = _at_depth(upscaler.keras_runner(keras_model), depth)
    seen = functools.cache(lambda raw, shape: upscaler.to_uint8(run(np.frombuffer(raw, np.uint8).reshape(shape))))

    def upscale(image):
        return seen(image.tobytes(), image.shape)

    def keras(image):
        return upscaler.to_uint8(keras_run(image))

    scale = config["scale"]
    found = flat_colours.measure(upscale, scale, size)
    added = flat_colours.measure(upscale, scale, size, keras)["flat"]
    own = flat_colours.measure(keras, scale, size)["flat"] if added > limit else 0
    limit = max(limit, own)  # an untrained network has no colours to keep
    check = {"check": f"flat colours within {limit} levels of Keras", "passed": added <= limit, "found": added}
    return found, check


def _check(name, run, config, size):
    """Whether a network's output on a sample image is poor; then a line on standard error says so (model_io.check)."""
    about = (name, model_io.ModelIO(), run, config["scale"])
    figures = model_io.check_and_warn(*about, model_io.sample_size(size, models.smallest_side(config)), options=False)
    return model_io.is_poor(figures)


def _full_depth(config):
    max_depth = models.max_depth(config)
    return {} if max_depth is None else {"desired_depth": str(max_depth)}


def _at_depth(run, depth):
    """The picture alone, of a runner that may take a desired depth."""
    return run if depth is None else lambda image: run(image, depth)[0]


def _clips(config):
    return models.complete(config)["output_activation"] == "clipped_relu"


def _narrow_attention(config):
    return config["network"] == "rcan" and config["channels"] // config["reduction"] < 4


def audit_file(data, keras_model, config, precision, per_tensor=False):
    """(audit.describe's facts, audit.check's checks) of the .tflite that a Keras model became."""
    graph = litert.parse_graph(data)
    convolutions = sum(getattr(layer, "CONVOLUTIONS", int(hasattr(layer, "kernel"))) for layer in keras_model.layers)
    checks = audit.check(graph, precision, clipped=_clips(config), convolutions=convolutions, per_tensor=per_tensor)
    return audit.describe(graph, len(data)), checks


def _convert_onnx(keras_model, config, size, dense_groups):
    """(bytes, sidecar) of an ONNX file, made from the float32 .tflite and run once against it in ONNX Runtime."""
    tflite, _ = _convert(keras_model, config, "float32", keras_model.get_weights(), size, dense_groups=dense_groups)
    try:
        data = to_onnx.convert(tflite)
    except ImportError as error:
        raise UserError(f"--precision onnx needs onnx and tf2onnx: pip install 'mobile-sr[onnx]' ({error})") from None
    except RuntimeError as error:
        raise AuditError(str(error)) from None
    agreement = measure_agreement(litert.TFLiteModel(tflite).run, OnnxModel(data).run, config, size)
    checks = [_error_check("the float32 .tflite", agreement, 1e-5)]
    return data, make_sidecar(config, "onnx", to_onnx.describe(data), data, checks, {"agreement_with_tflite": agreement})


def _error_check(other, agreement, limit):
    error = agreement["largest_error"]
    return {"check": f"output within {limit:.0e} of {other}", "passed": error <= limit, "found": error}


def make_sidecar(config, precision, facts, data, checks, agreement):
    """What stands beside a file. Raises: AuditError when a check failed."""
    failed = [c for c in checks if not c["passed"]]
    if failed:
        reasons = "; ".join(f"{c['check']} (found {c['found']})" for c in failed)
        raise AuditError(f"{precision}: the converted file failed its audit: {reasons}")
    return {
        "format": sidecars.FORMAT,
        "network": config["network"],
        "config": config,
        "scale": config["scale"],
        "precision": precision,
        "receptive_field": models.receptive_field(config),
        "smallest_side": models.smallest_side(config),
        "value_range": [0, 1],
        **facts,
        "sha256": sha256(data),
        "audit": {"checks": checks},
        **agreement,
        "versions": versions(),
    }


def measure_agreement(truth, runner, config, size):
    """How far one runner's output is from another's on one made image: largest error (1.0 is white) and PSNR."""
    image = test_card(*(size or (48, 64)))
    wanted, found = (model_io.check_finite("conversion", run(image)) for run in (truth, runner))
    wanted, real = (image.astype(np.float32) / 255 if image.dtype == np.uint8 else image for image in (wanted, found))
    return {
        "image": "generated test card",
        "largest_error": float(np.abs(np.clip(wanted, 0, 1) - np.clip(real, 0, 1)).max()),
        "psnr_rgb": metrics.psnr(upscaler.to_uint8(found), upscaler.to_uint8(wanted), "rgb", config["scale"]),
    }


def test_card(height, width):
    """A smooth and noisy [H, W, 3] uint8 image that needs no file."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / (2 + c) + y / 7) * np.cos(y / (3 + c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 0.1, (height, width, 3))
    return np.clip((np.stack(waves, -1) * 0.4 + 0.5 + noise) * 255, 0, 255).astype(np.uint8)


def versions():
    """{package: version} of what made a file."""
    found = {"mobile_sr": __version__}
    for package in ("tensorflow", "keras", "ai-edge-litert", "numpy"):
        found[package] = importlib.metadata.version(package)
    return found
