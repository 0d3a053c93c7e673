"""Export of a network with exits (models/chainsr.py): one .tflite with a signature for each of them.

The network is equalized, rounded, given activation ranges and fitted as a whole and then cut at its exits. The layers that they
share therefore become the same bytes, which the file stores once. An exit is audited and compared with its network like any
file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mobile_sr import extensions, models
from mobile_sr.converters.tflite import flatbuffer, merge, truncation
from mobile_sr.errors import UserError
from mobile_sr.evaluation import instructions
from mobile_sr.files import sha256
from mobile_sr.inference import upscaler
from mobile_sr.quantization.source import Source

OUTPUTS = ("sr",)
Converted = tuple[bytes, dict[str, Any]]  # the bytes of a file, and its sidecar


@dataclasses.dataclass
class Exit:
    """An exit of a network.

    Attributes:
        signature: name of its signature.
        source: the exit as a network of its own.
        facts: its entry in the sidecar's `exits`, without instructions.
    """

    signature: str
    source: Source
    facts: dict[str, Any]


def find(source: Source) -> list[Exit]:
    """Returns the exits of a network, the one with the fewest layers first; [] for a network without exits."""
    networks = source.extension.exits(source.model)
    images = cut(source.data, len(networks)) if networks else []
    return [_exit(source, data, model, config) for data, (model, config) in zip(images, networks, strict=True)]


def _exit(source: Source, data: bytes, model: Any, config: dict[str, Any]) -> Exit:
    run, field = upscaler.keras_runner(model), models.receptive_field(config)
    signature = f"exit{config['layers']}"
    own = dataclasses.replace(
        source,
        data=data,
        runner=lambda value: run,
        extension=extensions.export(config),
        config=config,
        model=model,
        facts={**source.facts, "config": config, "receptive_field": field},
    )
    facts = {"signature": signature, "layers": config["layers"], "receptive_field": field}
    return Exit(signature, own, {**facts, "multiply_adds": models.multiply_adds(model, 1)})


def check(model: Any, precisions: Sequence[str], chips: Sequence[str]) -> None:
    """Raises UserError for files of a network with exits, opened as `model`, that have one output only."""
    for option, given in (("--precision onnx", "onnx" in precisions), ("--soc", chips)):
        if given:
            raise UserError(
                f"{option}: {model} has exits, and such a file has one output; give a file NAME_exitK.npz of its run folder"
            )


def cut(data: bytes, count: int) -> list[bytes]:
    """Returns the float .tflite of each exit from that of the whole network, whose last output contains all of their images.

    Args:
        data: bytes of the whole network's float .tflite.
        count: number of exits.
    """
    graph = flatbuffer.parse(data)
    (joined,) = (op for op in graph.ops if op.name == "CONCATENATION" and set(op.outputs) & set(graph.outputs))
    assert len(joined.inputs) == count
    return [truncation.ending_at(data, tensor) for tensor in joined.inputs]


def convert(
    exits: Sequence[Exit], source: Source, weights: bytes, convert_one: Callable[[Source, bytes], Converted]
) -> Converted:
    """Returns the file with a signature for each exit, and its sidecar.

    Args:
        exits: the exits.
        source: the whole network, with the upsampler of the target.
        weights: its float .tflite for this precision.
        convert_one: converts the float .tflite of an exit, given as its own network, and audits the result.
    """
    parts: dict[str, Converted] = {}
    originals = cut(source.data, len(exits))
    for each, original, data in zip(exits, originals, cut(weights, len(exits)), strict=True):
        parts[each.signature] = convert_one(dataclasses.replace(each.source, data=original), data)
    data = merge.merge({name: parts[name][0] for name in reversed(parts)}, OUTPUTS, has_default=True)
    entries = [{**each.facts, "instructions": _instructions(parts[each.signature][0])} for each in exits]
    return data, _sidecar(source, data, {name: sidecar for name, (_, sidecar) in parts.items()}, entries)


def _instructions(data: bytes) -> float | None:
    estimate = instructions.estimate(data, flatbuffer.parse(data))
    return None if estimate is None else float(estimate["per_lr_pixel"])


def _sidecar(
    source: Source, data: bytes, parts: Mapping[str, dict[str, Any]], entries: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The sidecar of the merged file: that of the last exit, with the checks and the worst figures of all exits."""
    *_, last = parts.values()
    stored, expected = merge.kernels(data), sum(op.name == "CONV_2D" for op in flatbuffer.parse(source.data).ops)
    checks = [{"check": "weights stored once", "passed": stored <= expected, "found": f"{stored} kernels of {expected}"}]
    for name, part in parts.items():
        checks += [{**check, "check": f"{check['check']} ({name})"} for check in part["audit"]["checks"]]
    agreement = f"agreement_with_{source.reference_key}"
    agreements = [part[agreement] for part in parts.values()]
    worst: dict[str, Any] = {agreement: max(agreements, key=lambda one: one["largest_error"])}
    if "colour_error" in last:
        errors = [part["colour_error"] for part in parts.values()]
        flat, ramps = (max(errors, key=lambda error: error[key]) for key in ("flat", "ramps"))
        worst["colour_error"] = {**flat, **{key: ramps[key] for key in ("ramps", "ramp")}}
    if "xnnpack" in last:
        worst["xnnpack"] = max((part["xnnpack"] for part in parts.values()), key=lambda split: split["partitions"])
    return {
        **last,
        **source.facts,
        **worst,
        "size_bytes": len(data),
        "sha256": sha256(data),
        "signatures": [merge.DEFAULT, *reversed(list(parts))],
        "exits": list(entries),
        "audit": {"checks": checks},
    }
