"""Verification of a converted file: audit, colour errors and agreement with the Keras model."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import extensions, models
from mobile_sr.converters.tflite import audit
from mobile_sr.imaging import flat_colours, metrics
from mobile_sr.inference import litert, model_io, upscaler

if TYPE_CHECKING:
    import keras


def audit_file(
    data: bytes, keras_model: keras.Model, config: Mapping[str, Any], precision: str, per_tensor: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Audit a converted .tflite.

    Args:
        data: bytes of the file.
        keras_model: the network before conversion.
        config: configuration of the network.
        precision: precision of the file.
        per_tensor: whether its kernels have one scale each.
    Returns: (facts as `audit.describe`, checks as `audit.check`).
    """
    graph = litert.parse_graph(data)
    convolutions = sum(getattr(layer, "CONVOLUTIONS", int(hasattr(layer, "kernel"))) for layer in keras_model.layers)
    checks = audit.check(graph, precision, clipped=has_clipped_output(config), convolutions=convolutions, per_tensor=per_tensor)
    return audit.describe(graph, len(data)), checks


def colour_check(
    keras_model: keras.Model,
    data: bytes,
    config: Mapping[str, Any],
    size: tuple[int, int] | None = None,
    limit: int = flat_colours.QUANTIZATION_LIMIT,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure the error of a .tflite on flat colours and check it against the Keras model.

    Args:
        keras_model: the network before conversion.
        data: bytes of the .tflite.
        config: configuration of the network.
        size: (H, W) of a fixed LR input.
        limit: maximum change of a flat colour by quantization, in levels of 0..255. If the error of the Keras model itself is
            larger than `limit`, that error is the limit.
    Returns: (`flat_colours.measure` of the file, {"check", "passed", "found"} for the audit).
    """
    extension = extensions.export(config)
    run = litert.TFLiteModel(data, options=extension.options(extension.max_value)).run
    keras_run = extension.at(upscaler.keras_runner(keras_model), extension.max_value)
    cached = functools.cache(lambda raw, shape: upscaler.to_uint8(run(np.frombuffer(raw, np.uint8).reshape(shape))))

    def upscale(image: np.ndarray) -> np.ndarray:
        return cached(image.tobytes(), image.shape)

    def keras_upscale(image: np.ndarray) -> np.ndarray:
        return upscaler.to_uint8(keras_run(image))

    scale = config["scale"]
    error = flat_colours.measure(upscale, scale, size)
    added = flat_colours.measure(upscale, scale, size, keras_upscale)["flat"]
    own = flat_colours.measure(keras_upscale, scale, size)["flat"] if added > limit else 0
    limit = max(limit, own)  # an untrained network does not reproduce colours anyway
    check = {"check": f"flat colours within {limit} levels of Keras", "passed": added <= limit, "found": added}
    return error, check


def signature_agreement(
    keras_model: keras.Model | None,
    data: bytes,
    config: Mapping[str, Any],
    size: tuple[int, int] | None,
    signature: str | None = None,
) -> dict[str, Any]:
    """`measure_agreement` of a signature of a .tflite, the worst over the values of its second input.

    The signature is compared with the Keras model, or with the signature `dense` if `keras_model` is None.
    """
    extension = extensions.export(config)

    def runner(name: str | None, value: float | None) -> Callable[..., Any]:
        options = {} if name is None else {"signature": name}
        return litert.TFLiteModel(data, options=options | extension.options(value)).run

    results = []
    for value in extension.values():
        keras_run = keras_model and extension.at(upscaler.keras_runner(keras_model), value)
        truth = keras_run or runner("dense", value)
        results.append(measure_agreement(truth, runner(signature, value), config, size))
    return max(results, key=lambda agreement: agreement["largest_error"])


def measure_agreement(
    truth: Callable[[np.ndarray], np.ndarray],
    runner: Callable[[np.ndarray], np.ndarray],
    config: Mapping[str, Any],
    size: tuple[int, int] | None,
) -> dict[str, Any]:
    """Compare the outputs of two runners on a generated image.

    Args:
        truth, runner: functions from [H, W, 3] uint8 to [H * s, W * s, 3], uint8 or float32 in 0..1.
        config: configuration of the network.
        size: (H, W) of a fixed LR input, None for any.
    Returns: {"image", "largest_error": 1.0 is the difference of black and white, "psnr_rgb": in dB}.
    """
    image = test_card(*(size or (48, 64)))
    expected, actual = (model_io.check_finite("conversion", run(image)) for run in (truth, runner))
    wanted, real = (sr.astype(np.float32) / 255 if sr.dtype == np.uint8 else sr for sr in (expected, actual))
    return {
        "image": "generated test card",
        "largest_error": float(np.abs(np.clip(wanted, 0, 1) - np.clip(real, 0, 1)).max()),
        "psnr_rgb": metrics.psnr(upscaler.to_uint8(actual), upscaler.to_uint8(wanted), "rgb", config["scale"]),
    }


def error_check(other: str, agreement: Mapping[str, Any], limit: float) -> dict[str, Any]:
    """Returns the check {"check", "passed", "found"} that a largest error is at most `limit`, in the range 0..1."""
    error = agreement["largest_error"]
    return {"check": f"output within {limit:.0e} of {other}", "passed": error <= limit, "found": error}


def warn_if_poor(name: str | Path, run: Callable[..., Any], config: Mapping[str, Any], size: tuple[int, int] | None) -> bool:
    """Whether a network's output on a sample image is poor; prints a warning on standard error if so (`model_io.check`)."""
    about = (name, model_io.ModelIO(), run, config["scale"])
    figures = model_io.check_and_warn(*about, model_io.sample_size(size, models.smallest_side(config)), options=False)
    return model_io.is_poor(figures)


def test_card(height: int, width: int) -> np.ndarray:
    """Returns a generated [H, W, 3] uint8 image of smooth waves with noise."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = [np.sin(x / (2 + c) + y / 7) * np.cos(y / (3 + c)) for c in range(3)]
    noise = np.random.default_rng(0).normal(0, 0.1, (height, width, 3))
    return np.clip((np.stack(waves, -1) * 0.4 + 0.5 + noise) * 255, 0, 255).astype(np.uint8)


def has_clipped_output(config: Mapping[str, Any]) -> bool:
    """Returns whether the network ends in a clipped ReLU."""
    return models.complete(config)["output_activation"] == "clipped_relu"
