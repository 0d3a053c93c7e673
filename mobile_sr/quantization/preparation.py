"""The weights and operators of a network before its conversion: equalized, rounded, with the upsampler of its target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mobile_sr.converters import to_tflite
from mobile_sr.converters.quantization import activation_ranges, gptq, layer_fit, prelu, range_clipping
from mobile_sr.converters.quantization.channels import channel_mixing, cross_layer_equalization, mask_scaling, spare_channels
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.errors import UserError
from mobile_sr.quantization import calibration, targets
from mobile_sr.quantization.source import Source

FLOAT_WEIGHTS = ("trained", "equalized", "rounded")
_NEEDED = {"equalized": "equalize", "rounded": "round"}  # method that each needs


@dataclasses.dataclass
class Prepared:
    """What is converted.

    Attributes:
        source: the network, with the upsampler of the target.
        plain: the float .tflite of float files.
        rounded: the float .tflite of integer files.
        unrounded: the same with weights that are not rounded.
        is_rounded: whether the weights of the latter are rounded.
        equalization: the record of equalization.
        mixing: the record of `channel_mixing.mix`.
        masks: the record of `mask_scaling.scale_masks`, for `rounded` only.
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
    integers: bool,
    float_weights: str | None,
    target: targets.Target | None,
    ranges: Mapping[str, tuple[float, float]] | None,
    eight_bits: bool = False,
) -> Prepared:
    """Equalize the weights, give the network the upsampler of the target, round. PReLU is rewritten for integer files only.

    With the rounding, the masks of attentions are scaled for 8-bit files (mask_scaling.py). This changes the function slightly,
    as the rounding does, so float files do not have it.

    Equalization sees the ordinary network: it would scale the constant channel of a transposed convolution.

    Args:
        source: the network.
        samples: its calibration samples.
        methods, per_tensor, float_weights, ranges: as for `export.export`.
        integers: whether one of the files has integer activations.
        eight_bits: whether one of them has 8-bit activations.
        target: the target of the files, None without one.

    Raises:
        UserError: `ranges` are not those of the network's activations.
    """
    upsampler = "depth_to_space" if target is None else target.upsampler
    data = targets.with_upsampler(source.data, upsampler)
    result = Prepared(dataclasses.replace(source, data=data), data, data, data)
    if not integers and float_weights not in ("equalized", "rounded"):
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
    if float_weights == "rounded":
        result.plain = result.rounded
    elif float_weights == "trained":
        result.plain = data
    return result


def fit(
    weights: bytes,
    unrounded: bytes | None,
    samples: Sequence[Any],
    photographs: int = 0,
    per_tensor: bool = False,
    spare: bool = False,
) -> tuple[bytes, dict[str, spare_channels.Record]]:
    """Choose activation ranges for 8 bits, use spare channels (channels/spare_channels.py) and fit the weights (layer_fit.py).

    Args:
        weights: the float .tflite of `prepare`.
        unrounded: the one to fit the convolutions to; None does not fit them.
        samples: calibration samples.
        photographs: how many of the samples may be clipped; 0 stores no ranges (range_clipping.py).
        per_tensor: whether the file has one scale for each kernel.
        spare: whether to use spare channels. This needs ranges, and that all convolutions are fitted.

    Returns:
        The float .tflite to convert, and fields of the sidecar: the record of the spare channels, if there are any.
    """
    if photographs:
        weights = range_clipping.store(weights, samples[:photographs], samples[photographs:])
    if not unrounded:
        return weights, {}
    fields: dict[str, spare_channels.Record] = {}
    can_copy = spare and layer_fit.fits_all(graph := FloatGraph(weights))
    if can_copy and (record := spare_channels.choose(graph, samples, calibration.PHOTOGRAPHS)):
        fields["spare_channels"] = record
        weights, unrounded = (spare_channels.applied(data, record) for data in (weights, unrounded))
    return layer_fit.fit(weights, unrounded, samples, per_tensor, calibration.PHOTOGRAPHS), fields


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
    if not source.learned_ranges or "clip" not in methods or not calibrated or not calibrated <= {"uint8", "int8"}:
        return {}
    if float_weights in _NEEDED and _NEEDED[float_weights] not in source.learned_methods:
        return {}
    graph = FloatGraph(targets.with_upsampler(source.data, "depth_to_space" if target is None else target.upsampler))
    names = {graph.tensor_name(tensor) for tensor in activation_ranges.activations(graph)}
    return {name: limits for name, limits in source.learned_ranges.items() if name in names}


def check_float_weights(float_weights: str | None, methods: Sequence[str]) -> None:
    """Raise UserError for a choice of `float_weights` that the methods do not produce."""
    if float_weights not in (None, *FLOAT_WEIGHTS):
        raise UserError(f"--float-weights {float_weights}: use {', '.join(FLOAT_WEIGHTS)}")
    needed = _NEEDED.get(float_weights or "")
    if needed and needed not in methods:
        raise UserError(f"--float-weights {float_weights}: needs {needed} in --methods")
