"""The weights and operators of a network before its conversion: equalized, rounded, with the upsampler of its target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import (
    activation_ranges,
    gptq,
    image_ends,
    layer_fit,
    prelu,
    range_clipping,
    steering,
)
from mobile_sr.converters.quantization.channels import channel_mixing, cross_layer_equalization, mask_scaling, spare_channels
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.errors import UserError
from mobile_sr.quantization import calibration, targets
from mobile_sr.quantization.source import Source

FLOAT_WEIGHTS = ("trained", "equalized", "steered")
_NEEDED = {"equalized": "equalize", "steered": "round"}  # method that each needs; both need calibration samples
EIGHT_BITS = ("uint8", "int8")
_FLOAT16_MARGIN = 0.1  # float16 moves a weight by up to 0.06 of a step


@dataclasses.dataclass
class Prepared:
    """What is converted.

    Attributes:
        source: the network, with the upsampler of the target.
        plain: the float .tflite of float files.
        rounded: the float .tflite of integer files.
        unrounded: the same with weights that are not rounded.
        is_rounded: whether the weights of `rounded` are rounded.
        equalization: the record of equalization.
        mixing: the record of `channel_mixing.mix`.
        masks: the record of `mask_scaling.scale_masks`, for `rounded` and `unrounded`.
    """

    source: Source
    plain: bytes
    rounded: bytes
    unrounded: bytes
    is_rounded: bool = False
    equalization: dict[str, Any] | None = None
    mixing: dict[str, float] = dataclasses.field(default_factory=dict)
    masks: dict[str, float] = dataclasses.field(default_factory=dict)


def prepare(
    source: Source,
    samples: Sequence[Any],
    methods: Sequence[str],
    per_tensor: bool,
    precisions: Sequence[str],
    float_weights: str | None,
    target: targets.Target | None,
    ranges: Mapping[str, tuple[float, float]] | None,
) -> Prepared:
    """Equalize the weights, give the network the upsampler of the target, round.

    PReLU is rewritten for integer files and steered weights only. For 8-bit files and steered weights, the masks of attentions
    are scaled with the rounding (mask_scaling.py). This changes the function slightly, as the rounding does, so other float
    files do not have it.

    Equalization sees the ordinary network: it would scale the constant channel of a transposed convolution.

    Args:
        source: the network.
        samples: its calibration samples.
        methods, per_tensor, precisions, float_weights, ranges: as for `export.export`.
        target: the target of the files, None without one.

    Raises:
        UserError: `ranges` are not those of the network's activations.
    """
    is_steered = float_weights == "steered"
    integers = is_steered or any(p in to_tflite.CALIBRATED for p in precisions)
    eight_bits = is_steered or any(p in EIGHT_BITS for p in precisions)
    upsampler = "depth_to_space" if target is None else target.upsampler
    data = targets.with_upsampler(source.data, upsampler)
    result = Prepared(dataclasses.replace(source, data=data), data, data, data)
    if not integers and not is_calibrated(float_weights):
        return result
    graph = FloatGraph(source.data)
    if integers and prelu.rewrite(graph):
        result.plain = result.rounded = targets.with_upsampler(graph.packed(), upsampler)
    if "mix" in methods and not per_tensor and (mixed := channel_mixing.mix(graph, samples)):
        result.plain = result.rounded = targets.with_upsampler(graph.packed(), upsampler)
        result.mixing = mixed
    if "equalize" in methods:
        # Scaling makes the output channels differ in size, and one scale per kernel suits only equal ones
        # (docs/measurements/quantization.md).
        strength = 0.0 if per_tensor else cross_layer_equalization.STRENGTH
        layers = cross_layer_equalization.equalize(graph, samples, strength)
        result.equalization = {"strength": strength, "layers": layers}
        result.plain = result.rounded = targets.with_upsampler(graph.packed(), upsampler)
        if eight_bits and "round" in methods and (masks := mask_scaling.scale_masks(graph, samples)):
            cross_layer_equalization.equalize(graph, samples, strength)
            result.rounded = targets.with_upsampler(graph.packed(), upsampler)
            result.masks = masks
    result.unrounded = result.rounded
    if "round" in methods:
        graph = FloatGraph(result.rounded)
        gptq.round_weights(graph, samples, per_tensor)
        result.rounded, result.is_rounded = graph.packed(), True
    graph = FloatGraph(result.rounded)
    if integers and (ranges or activation_ranges.stored(graph)):  # those of a foreign file are of other weights
        try:
            activation_ranges.store(graph, ranges or {})
        except ValueError as error:
            raise UserError(f"ranges: {error}") from None
        result.rounded = graph.packed()
    if float_weights == "trained":
        result.plain = data
    return result


def fit(
    prepared: Prepared,
    samples: Sequence[Any],
    methods: Sequence[str],
    per_tensor: bool,
    value_range: tuple[int, int] | None,
) -> tuple[bytes, dict[str, Any]]:
    """Choose activation ranges for 8 bits, use spare channels (channels/spare_channels.py) and fit the weights (layer_fit.py).

    Each is a method of its own: clip, spare and fit. Spare channels need ranges, and that all convolutions are fitted.

    Args:
        prepared: the network, prepared for 8 bits.
        samples: calibration samples.
        methods, per_tensor: as for `export.export`.
        value_range: real values of black and white in the output; None for a network with exits, which have an output each.

    Returns:
        The float .tflite that 8-bit files are converted from, and fields of their sidecars: the record of the spare channels,
        if there are any.
    """
    weights = prepared.rounded if value_range is None else image_ends.limit(prepared.rounded, value_range)
    if "clip" in methods:  # only photographs may be clipped
        weights = range_clipping.store(weights, samples[: calibration.PHOTOGRAPHS], samples[calibration.PHOTOGRAPHS :])
    fields: dict[str, Any] = {}
    if "fit" not in methods:
        return weights, fields
    unrounded = prepared.unrounded
    can_copy = "spare" in methods and layer_fit.fits_all(graph := FloatGraph(weights))
    if can_copy and (record := spare_channels.choose(graph, samples, calibration.PHOTOGRAPHS)):
        fields["spare_channels"] = record
        weights, unrounded = (spare_channels.applied(data, record) for data in (weights, unrounded))
    return layer_fit.fit(weights, unrounded, samples, per_tensor, calibration.PHOTOGRAPHS), fields


def steer(
    prepared: Prepared,
    goal: bytes,
    fields: Mapping[str, Any],
    samples: Sequence[Any],
    per_tensor: bool,
    precisions: Sequence[str],
    adds_biases: bool,
) -> bytes:
    """Move the weights of float files so that another tool rounds them to the integers of the 8-bit file (steering.py).

    Args:
        prepared: the network, prepared for 8 bits, with rounded weights.
        goal, fields: result of `fit`.
        samples: calibration samples.
        per_tensor, precisions: as for `export.export`.
        adds_biases: whether layers without a bias may get one, which the Keras model of the network could not have.

    Returns:
        The float .tflite of float files.
    """
    record = fields.get("spare_channels")
    graph = FloatGraph(spare_channels.applied(prepared.unrounded, record) if record else prepared.unrounded)
    margin = _FLOAT16_MARGIN if "float16" in precisions else steering.MARGIN
    steering.steer(graph, FloatGraph(goal), samples, per_tensor, adds_biases, margin)
    return graph.packed()


def learned_ranges(
    source: Source,
    precisions: Sequence[str],
    methods: Sequence[str],
    float_weights: str | None,
    target: targets.Target | None,
) -> dict[str, tuple[float, float]]:
    """Return the activation ranges that `qat` learned for a network, those of tensors that its form for a target has.

    Returns:
        {name of an activation: (minimum, maximum)}; {} where they are not used: they are for 8 bits and replace those of the
        method clip, which must be among the methods. Float files beside must not need a method that the ranges rule out.
    """
    calibrated = {each for each in precisions if each in to_tflite.CALIBRATED}
    if float_weights == "steered":
        calibrated.add("uint8")  # the file that these weights follow
    if not source.learned_ranges or "clip" not in methods or not calibrated or not calibrated <= set(EIGHT_BITS):
        return {}
    if float_weights in _NEEDED and _NEEDED[float_weights] not in source.learned_methods:
        return {}
    graph = FloatGraph(targets.with_upsampler(source.data, "depth_to_space" if target is None else target.upsampler))
    names = {graph.tensor_name(tensor) for tensor in activation_ranges.activations(graph)}
    return {name: limits for name, limits in source.learned_ranges.items() if name in names}


def is_calibrated(float_weights: str | None) -> bool:
    """Whether float files with these weights need calibration samples."""
    return float_weights in _NEEDED


def check_float_weights(float_weights: str | None, methods: Sequence[str]) -> None:
    """Raise UserError for a choice of `float_weights` that the methods do not produce."""
    if float_weights not in (None, *FLOAT_WEIGHTS):
        raise UserError(f"--float-weights {float_weights}: use {', '.join(FLOAT_WEIGHTS)}")
    needed = _NEEDED.get(float_weights or "")
    if needed and needed not in methods:
        raise UserError(f"--float-weights {float_weights}: needs {needed} in --methods")
