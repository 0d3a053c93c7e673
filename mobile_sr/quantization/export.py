"""Export of a trained Keras model: audited .tflite and ONNX files, each with a sidecar."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import __version__, backend, extensions, models
from mobile_sr.converters import adadsr_sparse_integer, cross_layer_equalization, gptq, to_onnx, to_tflite
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import audit, grouped_conv, merge
from mobile_sr.errors import UserError
from mobile_sr.files import make_folder, sha256, sha256_file, write_bytes
from mobile_sr.imaging import flat_colours
from mobile_sr.inference import litert, model_files, upscaler, weights
from mobile_sr.inference import sidecar as sidecars
from mobile_sr.inference.onnx_model import OnnxModel
from mobile_sr.quantization import calibration as calibrations
from mobile_sr.quantization import verification

if TYPE_CHECKING:
    import keras

PRECISIONS = (*to_tflite.PRECISIONS, "onnx")
METHODS = ("equalize", "round")
INTEGER_WEIGHTS = (*to_tflite.CALIBRATED, "dynamic")
PATHS = ("sparse", "dense")


class AuditError(Exception):
    """A converted file failed its audit; it was not written."""


def export(
    model: str | Path,
    out: str | Path,
    precisions: Sequence[str],
    *,
    size: tuple[int, int] | None = None,
    calibration: str | Path | None = None,
    seed: int = 0,
    per_tensor: bool = False,
    methods: Sequence[str] = METHODS,
    path: str | None = None,
    dense_groups: bool = False,
    max_colour_error: int = flat_colours.QUANTIZATION_LIMIT,
    log: Callable[[str], Any] = print,
) -> list[Path]:
    """Convert a trained network and write NAME_PRECISION.tflite (or NAME.onnx) with a sidecar JSON for each precision.

    If `methods` contains 'equalize' and one of the precisions is an integer one, all files are made from the equalized
    network: the same function with other weights. An integer file and its float counterpart can then be compared layer by
    layer.

    Args:
        model: zoo name, .npz model file or run folder.
        out: folder to write to; it is created.
        precisions: members of PRECISIONS.
        size: (height, width) of a fixed LR input, None for a dynamic size.
        calibration: folder of calibration images for the integer files, None for sample images of scikit-image.
        seed: of the calibration crops.
        per_tensor: use one scale per kernel instead of one per output channel (files NAME_PRECISION_per_tensor.tflite).
        methods: members of METHODS, which reduce the loss of integer files: 'equalize'
            (converters/cross_layer_equalization.py) and 'round' (converters/gptq.py).
        path: for networks with depth masks. 'sparse' writes NAME_sparse_PRECISION.tflite with the signatures `sparse`
            (converters/adadsr_sparse.py) and `dense`, which share their weights. 'dense' is for delegates without GATHER. None
            selects 'sparse' if the network has a desired depth and the precision supports it, else 'dense'.
        dense_groups: write grouped convolutions as ordinary ones with zeros between the groups, for delegates that do not
            support groups.
        max_colour_error: maximum difference of an integer file from the Keras model on flat colours (flat_colours.py), in
            levels of 0..255.
        log: called with lines about the progress.
    Returns: the paths of the files.
    Raises: UserError for unusable arguments, AuditError when a file fails its audit.
    """
    unknown = [p for p in precisions if p not in PRECISIONS]
    if unknown or not precisions:
        raise UserError(f"unknown precision '{', '.join(unknown)}'; use {', '.join(PRECISIONS)}")
    if size is not None and min(size) < 1:
        raise UserError(f"--height {size[0]} --width {size[1]}: both must be at least 1")
    backend.require_tensorflow("export")
    file, name = model_files.trained(model)
    with quiet():
        keras_model, config = weights.load_model(file)
    if dense_groups and not models.has_groups(config):
        raise UserError(f"--dense-groups: {model} has no grouped convolutions")
    extension = extensions.export(config)
    extension.check_precisions(model, precisions)
    if _narrow_attention(models.complete(config)) and any(p in to_tflite.CALIBRATED for p in precisions):
        # XNNPACK (LiteRT 2.3) ends the process with "double free" on an 8-bit attention of 2 channels; with 4 it runs.
        raise UserError(
            f"{model}: its attention has fewer than 4 channels, which crashes the runtime in 8 bits; use a float precision"
        )
    if path not in (None, *PATHS):
        raise UserError(f"--path {path}: use {' or '.join(PATHS)}")
    paths = {precision: extension.path(path, precision, model) for precision in precisions}
    keras_is_poor = verification.warn_if_poor(
        model, extension.at(upscaler.keras_runner(keras_model), extension.max_value), config, size
    )
    folder = make_folder(out)
    calibrated = any(p in to_tflite.CALIBRATED for p in precisions)
    crops, record = calibrations.calibration_set(calibration, config["scale"], seed) if calibrated else ([], None)
    images = extension.samples(crops)
    equalized = None
    if calibrated and "equalize" in methods:
        log(f"equalizing on {len(images)} images ...")
        # Scaling makes the output channels differ in size, and one scale per kernel suits only equal ones
        # (docs/measurements/quantization.md).
        strength = 0.0 if per_tensor else cross_layer_equalization.STRENGTH
        arrays, layers = cross_layer_equalization.equalize(keras_model, images, strength)
        keras_model.set_weights(arrays)
        equalized = {"strength": strength, "layers": layers}
    plain = keras_model.get_weights()
    rounded = gptq.round_weights(keras_model, images, per_tensor) if calibrated and "round" in methods else plain
    written: list[Path] = []
    for precision in precisions:
        integer, one_scale = precision in to_tflite.CALIBRATED, per_tensor and precision in INTEGER_WEIGHTS
        log(f"{name}: converting to {precision} ...")
        if precision == "onnx":
            target = folder / f"{name}.onnx"
            data, sidecar = _convert_onnx(keras_model, config, size, dense_groups)
        else:
            kind = f"{'sparse_' if paths[precision] == 'sparse' else ''}{precision}{'_per_tensor' if one_scale else ''}"
            target = folder / f"{name}_{kind}.tflite"
            arrays = rounded if integer else plain
            data, sidecar = _convert(
                keras_model,
                config,
                precision,
                arrays,
                size,
                images,
                one_scale,
                paths[precision],
                dense_groups,
                max_colour_error,
            )
        sidecar["calibration"] = record if integer else None
        sidecar["equalization"] = equalized
        sidecar["rounding"] = "second moments of the inputs" if integer and "round" in methods else "to nearest"
        sidecar["weights"] = {"file": file.name, "sha256": sha256_file(file)}
        if not keras_is_poor and precision != "onnx":
            options = extension.options(extension.max_value) | (
                {"signature": paths[precision]} if paths[precision] == "sparse" else {}
            )
            verification.warn_if_poor(target, litert.TFLiteModel(data, options=options).run, config, size)
        write_bytes(target, data)
        sidecars.write(target, sidecar)
        colours = f"; {flat_colours.describe(sidecar['colour_error'])}" if "colour_error" in sidecar else ""
        log(f"{target}: {len(data):,} bytes, audit passed ({len(sidecar['audit']['checks'])} checks){colours}")
        written.append(target)
    return written


def _convert(
    keras_model: keras.Model,
    config: dict[str, Any],
    precision: str,
    arrays: Sequence[np.ndarray],
    size: tuple[int, int] | None,
    calibration: Sequence[calibrations.Sample] = (),
    per_tensor: bool = False,
    path: str = "dense",
    dense_groups: bool = False,
    max_colour_error: int = 0,
) -> tuple[bytes, dict[str, Any]]:
    """(bytes, sidecar) of one precision with the weights `arrays`, audited and compared with the Keras model."""
    build = functools.partial(models.build_for_export, config)
    options: dict[str, Any] = {
        "clipped": verification.has_clipped_output(config),
        "size": size,
        "calibration": calibration,
        "per_tensor": per_tensor,
    }
    try:
        if path == "sparse":
            data, dense = to_tflite.convert_both(build, keras_model, arrays, precision, **options)
        else:
            data = to_tflite.convert(build, arrays, precision, **options)
            data = dense = grouped_conv.make_dense(data) if dense_groups else data
    except (to_tflite.ConversionError, adadsr_sparse_integer.NoSparseForm) as error:
        raise AuditError(str(error)) from None
    facts, checks = verification.audit_file(dense, keras_model, config, precision, per_tensor)
    signatures: list[str | None] = ["dense", "sparse"] if path == "sparse" else [None]
    if path == "sparse":
        graph = litert.parse_graph(data, signature="sparse")
        facts = {**audit.describe(graph, len(data)), "signatures": signatures, "size_bytes_dense_only": len(dense)}
        total, dense_only = (merge.constant_bytes(d) for d in (data, dense))
        checks += audit.check_sparse(graph, total, dense_only, precision in to_tflite.CALIBRATED)
    if precision in to_tflite.CALIBRATED:
        facts["colour_error"], check = verification.colour_check(keras_model, dense, config, size, max_colour_error)
        checks.append(check)
    facts |= extensions.export(config).facts(keras_model, precision)
    agreement = None
    for signature in signatures:
        agreement = verification.signature_agreement(keras_model, data, config, size, signature)
        if precision.startswith("float"):
            limit = 2 / 255 if precision == "float16" else 1e-5  # float16 has 11 significant bits
            checks.append(verification.error_check("Keras" + (f" ({signature})" if signature else ""), agreement, limit))
    if path == "sparse" and precision in to_tflite.CALIBRATED:
        checks.append(
            verification.error_check(
                "the dense signature (sparse)", verification.signature_agreement(None, data, config, size, "sparse"), 1.01 / 255
            )
        )
    return data, make_sidecar(config, precision, facts, data, checks, {"agreement_with_keras": agreement})


def _narrow_attention(config: Mapping[str, Any]) -> bool:
    return config["network"] == "rcan" and config["channels"] // config["reduction"] < 4


def _convert_onnx(
    keras_model: keras.Model, config: dict[str, Any], size: tuple[int, int] | None, dense_groups: bool
) -> tuple[bytes, dict[str, Any]]:
    """(bytes, sidecar) of an ONNX file, converted from the float32 .tflite and compared with it in ONNX Runtime."""
    tflite, _ = _convert(keras_model, config, "float32", keras_model.get_weights(), size, dense_groups=dense_groups)
    try:
        data = to_onnx.convert(tflite)
    except ImportError as error:
        raise UserError(f"--precision onnx needs onnx and tf2onnx: pip install 'mobile-sr[onnx]' ({error})") from None
    except RuntimeError as error:
        raise AuditError(str(error)) from None
    agreement = verification.measure_agreement(litert.TFLiteModel(tflite).run, OnnxModel(data).run, config, size)
    checks = [verification.error_check("the float32 .tflite", agreement, 1e-5)]
    return data, make_sidecar(config, "onnx", to_onnx.describe(data), data, checks, {"agreement_with_tflite": agreement})


def make_sidecar(
    config: dict[str, Any],
    precision: str,
    facts: Mapping[str, Any],
    data: bytes,
    checks: Sequence[Mapping[str, Any]],
    agreement: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the content of a sidecar (docs/reference/sidecar.md).

    Args:
        config: configuration of the network.
        precision: precision of the file.
        facts: further entries, such as `audit.describe`.
        data: bytes of the file.
        checks: [{"check", "passed", "found"}] of the audit.
        agreement: further entries from `measure_agreement`.
    Raises: AuditError when a check failed.
    """
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
        "layout": "nhwc",
        "channels": 3,
        "order": "rgb",
        **facts,
        "sha256": sha256(data),
        "audit": {"checks": checks},
        **agreement,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Returns {package: version} of the packages that take part in an export."""
    result = {"mobile_sr": __version__}
    for package in ("tensorflow", "keras", "ai-edge-litert", "numpy"):
        result[package] = importlib.metadata.version(package)
    return result
