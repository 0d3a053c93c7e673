"""Export of a network: audited .tflite and ONNX files, each with a sidecar."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobile_sr import __version__, backend, extensions
from mobile_sr.converters import to_onnx, to_tflite
from mobile_sr.converters.quantization import image_ends
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.tflite import audit, grouped_conv
from mobile_sr.errors import UserError
from mobile_sr.files import make_folder, sha256, write_bytes
from mobile_sr.imaging import flat_colours
from mobile_sr.inference import litert, tensor_values
from mobile_sr.inference import sidecar as sidecars
from mobile_sr.quantization import calibration as calibrations
from mobile_sr.quantization import exits_export, preparation, snapdragon_files, targets, verification
from mobile_sr.quantization import source as sources
from mobile_sr.quantization.source import Source

PRECISIONS = (*to_tflite.PRECISIONS, "onnx")
METHODS = ("mix", "equalize", "round", "clip", "spare", "fit")
INTEGER_WEIGHTS = (*to_tflite.CALIBRATED, "dynamic")
PATHS = ("sparse", "dense")


class AuditError(Exception):
    """A converted file failed its audit; it was not written.

    Attributes:
        checks: the checks that failed, [{"check", "passed", "found"}]; () if the conversion itself failed.
    """

    def __init__(self, message: str, checks: Sequence[Mapping[str, Any]] = ()) -> None:
        """Keeps the message and the checks."""
        super().__init__(message)
        self.checks = tuple(checks)

    def __str__(self) -> str:
        return str(UserError(super().__str__()))  # with the names of arguments or of options


def export(
    model: Any,
    out: str | Path,
    precisions: Sequence[str] | None,
    *,
    target: str | None = None,
    soc: Sequence[str] = (),
    size: tuple[int, int] | None = None,
    calibration: str | Path | None = None,
    seed: int = 0,
    per_tensor: bool = False,
    methods: Sequence[str] = METHODS,
    float_weights: str | None = None,
    path: str | None = None,
    dense_groups: bool = False,
    max_colour_error: int = flat_colours.QUANTIZATION_LIMIT,
    options: Mapping[str, Any] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    log: Callable[[str], Any] = print,
) -> list[Path]:
    """Convert a trained network and write NAME_PRECISION.tflite (or NAME.onnx) with a sidecar JSON for each precision.

    If `methods` contains 'equalize' and one of the precisions is an integer one, all files are made from the equalized
    network: the same function with other weights. An integer file and its float counterpart can then be compared layer by
    layer. Float files alone have the trained weights. `float_weights` chooses otherwise.

    Args:
        model: zoo name, .npz model file or run folder; or a network from elsewhere: path of a .keras, .h5, .onnx, .pt2 or
            float .tflite file or a SavedModel folder, 'module.py:function', a Keras model or a torch.nn.Module.
        out: folder to write to; it is created.
        precisions: members of PRECISIONS; None for that of the target.
        target: device that the files are for (targets.py). It chooses what is not given: precision, groups, the form of the
            upsampler and, where it needs one, a fixed size. The files are NAME_TARGET_PRECISION.tflite.
        soc: Snapdragon chips, such as ['SM8650'], for which LiteRT's compiler also compiles the 8-bit files of the target
            'snapdragon' (devices/snapdragon.py), as NAME_snapdragon_PRECISION_CHIP.tflite.
        size: (height, width) of a fixed LR input, None for a dynamic size.
        calibration: folder of calibration images for integer files, and for equalized and steered weights; None for sample
            images of scikit-image.
        seed: of the calibration crops.
        per_tensor: use one scale per kernel instead of one per output channel (files NAME_PRECISION_per_tensor.tflite).
        methods: members of METHODS, which reduce the loss of integer files: 'mix'
            (converters/quantization/channels/channel_mixing.py; not with `per_tensor`), 'equalize' (cross_layer_equalization.py
            beside it), 'round' (gptq.py), 'clip' (range_clipping.py), 'spare' (channels/spare_channels.py; needs 'clip' and
            'fit') and 'fit' (layer_fit.py). The last three are for 8-bit files and steered weights.
        float_weights: weights of the files other than integer ones. 'trained'; 'equalized'; or 'steered', with which another
            quantizer finds the integers of the 8-bit file by rounding to nearest (converters/quantization/steering.py); these
            files differ slightly from the network. None selects 'equalized' beside an integer file if `methods` contains
            'equalize', else 'trained'.
        path: for networks with depth masks. 'sparse' writes NAME_sparse_PRECISION.tflite with the signatures `sparse`
            (adadsr/sparse_form.py) and `dense`, which share their weights. 'dense' is for delegates without GATHER. None
            selects 'sparse' if the network has depth masks and the precision supports it, else 'dense'.
        dense_groups: write grouped convolutions as ordinary ones with zeros between the groups, for delegates that do not
            support groups.
        max_colour_error: maximum difference of a file with integer or steered weights from the Keras model on flat colours
            (flat_colours.py), in levels of 0..255.
        options: value range, channel order and layout of a network from elsewhere, as in {"range": 255, "order": "bgr"}; a
            model string can have them behind '@' instead. Without them they are measured.
        ranges: {name of an activation in the float32 .tflite: (minimum, maximum)}, for integer files, in place of the ranges
            measured on the calibration images. Not with 'equalize', which scales them. A network of `qat` has its own for
            8-bit files: 'clip' then selects these, with those of `methods` that are best for the trained network.
        log: called with lines about the progress.
    Returns: the paths of the files. That of a network with exits (models/chainsr.py) has a signature for each of them.
    Raises: UserError for unusable arguments, AuditError when a file fails its audit.
    """
    chosen = None if target is None else targets.find(target)
    precisions = chosen.precisions[:1] if chosen and precisions is None else precisions or ()
    unknown = [p for p in precisions if p not in PRECISIONS]
    if unknown or not precisions:
        raise UserError(f"unknown precision '{', '.join(unknown)}'; use {', '.join(PRECISIONS)}")
    if size is not None and min(size) < 1:
        raise UserError(f"--height {size[0]} --width {size[1]}: both must be at least 1")
    if path not in (None, *PATHS):
        raise UserError(f"--path {path}: use {' or '.join(PATHS)}")
    preparation.check_float_weights(float_weights, methods)
    if chosen:
        targets.check(chosen, precisions, per_tensor, dense_groups)
        path = targets.network_path(chosen, path)
        targets.check_size(chosen, size)
        per_tensor = not chosen.per_channel
    chips = snapdragon_files.check(soc, target)
    if ranges is not None and "equalize" in methods:
        raise UserError("ranges: cannot be combined with the method equalize, which changes them")
    backend.require_tensorflow("export")
    calibrated = preparation.is_calibrated(float_weights) or any(p in to_tflite.CALIBRATED for p in precisions)
    is_steered = float_weights == "steered" and any(p not in INTEGER_WEIGHTS for p in precisions)
    source = _open(model, size, precisions, dense_groups, options, chosen)
    if chosen and chosen.fixed_size and size is None and source.size is not None:
        height, width = source.size
        log(f"{source.name}: {target} needs a fixed size, here {width}x{height} LR pixels; larger images run in tiles")
    exits = exits_export.find(source)
    if exits:
        exits_export.check(model, precisions, chips)
    learned = {} if ranges is not None else preparation.learned_ranges(source, precisions, methods, float_weights, chosen)
    if learned:
        ranges, methods = learned, [method for method in methods if method in source.learned_methods]
        log(f"{source.name}: keeps the {len(learned)} activation ranges of its quantization-aware training")
    dense_groups = dense_groups or (chosen is not None and not chosen.groups and grouped_conv.has_groups(source.data))
    for note in source.notes:
        log(f"{source.name}: {note}")
    paths = {precision: source.extension.path(path, precision, model) for precision in precisions}
    name = model if isinstance(model, (str, Path)) else source.name
    is_poor = verification.warn_if_poor(name, source.run, source, source.io)
    folder = make_folder(out)
    crops, record = calibrations.calibration_set(calibration, source.scale, seed) if calibrated else ([], None)
    samples = source.samples(crops)
    if calibrated and "equalize" in methods:
        log(f"equalizing on {len(samples)} images ...")
    prepared = preparation.prepare(source, samples, methods, per_tensor, precisions, float_weights, chosen, ranges)
    source = prepared.source
    fitted = prepared.rounded
    fields: dict[str, Any] = {}
    if is_steered or any(p in preparation.EIGHT_BITS for p in precisions):
        limits = None if exits else tensor_values.RANGES[source.io.range_out]
        fitted, fields = preparation.fit(prepared, samples, methods, per_tensor, limits)
    if is_steered:
        log(f"{source.name}: steering the weights of float files ...")
        adds_biases = "sparse" not in paths.values()
        prepared.plain = preparation.steer(prepared, fitted, fields, samples, per_tensor, precisions, adds_biases)
    written: list[Path] = []
    for precision in precisions:
        integer, one_scale = precision in to_tflite.CALIBRATED, per_tensor and precision in INTEGER_WEIGHTS
        is_float, is_eight_bits = precision not in INTEGER_WEIGHTS, precision in preparation.EIGHT_BITS
        weights = prepared.plain if is_float else fitted if is_eight_bits else prepared.rounded
        rounded = prepared.is_rounded and not is_float
        takes_steered = is_steered and is_float
        log(f"{source.name}: converting to {precision} ...")
        if precision == "onnx":
            file = folder / f"{source.name}.onnx"
            data, sidecar = _convert_onnx(source, weights, samples, dense_groups, max_colour_error, takes_steered)
        else:
            kind = f"{'sparse_' if paths[precision] == 'sparse' else ''}{precision}{'_per_tensor' if one_scale else ''}"
            file = folder / f"{source.name}_{f'{target}_' if target else ''}{kind}.tflite"
            convert = functools.partial(
                _convert,
                precision=precision,
                samples=samples,
                per_tensor=one_scale,
                path=paths[precision],
                dense_groups=dense_groups,
                max_colour_error=max_colour_error,
                differs=rounded or takes_steered,
            )
            if exits:
                data, sidecar = exits_export.convert(exits, source, weights, convert)
            else:
                data, sidecar = convert(source, weights)
        sidecar["calibration"] = record if integer or rounded or takes_steered else None
        sidecar["equalization"] = None if weights is source.data else prepared.equalization
        if weights is not source.data and prepared.mixing:
            sidecar["mixing"] = prepared.mixing
        if (takes_steered or not is_float) and prepared.masks:
            sidecar["masks"] = prepared.masks
        sidecar["rounding"] = "second moments of the inputs" if rounded else "to nearest"
        if takes_steered:
            sidecar["rounding"] = "steered to the integers of 8 bits"
        if takes_steered or is_eight_bits:
            sidecar |= fields
        if is_eight_bits:
            measured = "least squared error" if "clip" in methods else "minimum and maximum"
            sidecar["ranges"] = "learned" if learned else "given" if ranges else measured
        if not is_poor and precision != "onnx":
            selected = source.extension.options(source.extension.max_value) | (
                {"signature": paths[precision]} if paths[precision] == "sparse" else {}
            )
            verification.warn_if_poor(file, verification.open_bytes(data, source, selected).run, source)
        if chosen:
            sidecar["target"] = chosen.name
        further, entries = snapdragon_files.make(data, file, chips) if chips else ({}, {})
        sidecar |= entries
        for other, content in further.items():
            write_bytes(other, content)
        write_bytes(file, data)
        sidecars.write(file, sidecar)
        colours = f"; {flat_colours.describe(sidecar['colour_error'])}" if "colour_error" in sidecar else ""
        log(f"{file}: {len(data):,} bytes, audit passed ({len(sidecar['audit']['checks'])} checks){colours}")
        if line := verification.describe_split(sidecar["xnnpack"], source.size is None) if "xnnpack" in sidecar else None:
            log(f"{file}: {line}")
        for chip, entry in sidecar.get("compiled", {}).items():
            log(f"{folder / entry['file']}: compiled for {chip}, {entry['taken']} of {entry['nodes']} operators on the NPU")
        written.append(file)
    return written


def _open(
    model: Any,
    size: tuple[int, int] | None,
    precisions: Sequence[str],
    dense_groups: bool,
    options: Mapping[str, Any] | None,
    target: targets.Target | None = None,
) -> Source:
    """Open the network, at a fixed size if the target needs one, and check it against the precisions and options."""
    is_own = sources.is_own(model)
    if is_own and options:
        raise UserError(f"{model}: options are for networks from elsewhere")
    default = targets.DEFAULT_SIZE if target is not None and target.fixed_size and size is None else None
    try:
        source = sources.open_own(model, size or default) if is_own else sources.open_foreign(model, size, options)
        if source.size is None and default is not None:  # one from elsewhere may have a size of its own
            source = sources.open_foreign(model, default, options)
    except to_tflite.ConversionError as error:
        raise AuditError(str(error)) from None
    if target is not None:
        targets.check_size(target, source.size)
    if dense_groups and not grouped_conv.has_groups(source.data):
        raise UserError(f"--dense-groups: {model} has no grouped convolutions")
    if any(p in to_tflite.CALIBRATED for p in precisions) and _narrow_attention(source.data):
        # XNNPACK (LiteRT 2.3) ends the process with "double free" on an 8-bit attention of 2 channels; with 4 it runs.
        raise UserError(
            f"{model}: its attention has fewer than 4 channels, which crashes the runtime in 8 bits; use a float precision"
        )
    return source


def _convert(
    source: Source,
    prepared: bytes,
    precision: str,
    samples: Sequence[Any] = (),
    per_tensor: bool = False,
    path: str = "dense",
    dense_groups: bool = False,
    max_colour_error: int = 0,
    differs: bool = False,
) -> tuple[bytes, dict[str, Any]]:
    """(bytes, sidecar) of one precision of the float .tflite `prepared`, audited and compared with the original.

    A float file may differ from the original by more than float rounding only if its weights are rounded or steered: `differs`.
    """
    if precision in preparation.EIGHT_BITS:  # those of an exit; others are limited already
        prepared = image_ends.limit(prepared, tensor_values.RANGES[source.io.range_out])
    try:
        data, dense = source.extension.convert(source.model, prepared, precision, samples, per_tensor, source.size, path)
    except (to_tflite.ConversionError, extensions.ConversionFailed) as error:
        raise AuditError(str(error)) from None
    if dense_groups:
        data = dense = grouped_conv.make_dense(data)
    facts, checks = verification.audit_file(dense, source, precision, per_tensor, prepared)
    signatures: list[str | None] = ["dense", "sparse"] if path == "sparse" else [None]
    integer = precision in to_tflite.CALIBRATED
    if path == "sparse":
        graph = litert.parse_graph(data, signature="sparse")
        facts = {**audit.describe(graph, len(data)), "signatures": signatures, "size_bytes_dense_only": len(dense)}
        checks += source.extension.checks(data, dense, graph, integer)
    if integer or differs:
        facts["colour_error"], check = verification.colour_check(source, dense, max_colour_error)
        checks.append(check)
        if not check["passed"]:
            check["help"] = f"--max-colour-error {check['found']} accepts it"
    if precision in preparation.EIGHT_BITS and path == "dense":
        facts["xnnpack"] = verification.delegate_split(data, source)
    facts |= source.extension.facts(source.model, precision)
    agreement = None
    for signature in signatures:
        agreement = verification.signature_agreement(source, data, signature)
        if precision.startswith("float"):
            limit = 2 / 255 if precision == "float16" else 1e-5  # float16 has 11 significant bits
            limit = max_colour_error / 255 if differs else limit
            name = source.reference + (f" ({signature})" if signature else "")
            checks.append(verification.error_check(name, agreement, limit))
    if path == "sparse" and integer:
        between = verification.signature_agreement(source, data, "sparse", truth="dense")
        checks.append(verification.error_check("the dense signature (sparse)", between, 1.01 / 255))
    return data, make_sidecar(source, precision, facts, data, checks, {f"agreement_with_{source.reference_key}": agreement})


def _narrow_attention(data: bytes) -> bool:
    """Whether a pooled vector of fewer than 4 channels is computed by a convolution or matrix product."""
    graph = FloatGraph(data)
    pooled: set[int] = set()
    for op in graph.ops:
        name = graph.name(op)
        if name == "MEAN" or (name in ("RESHAPE", "RELU", "LOGISTIC") and op.inputs[0] in pooled):
            pooled.update(op.outputs)
        elif name in ("CONV_2D", "FULLY_CONNECTED") and op.inputs[0] in pooled:
            pooled.update(op.outputs)
            if graph.shape(op.outputs[0])[-1] < 4:
                return True
    return False


def _convert_onnx(
    source: Source,
    prepared: bytes,
    samples: Sequence[Any],
    dense_groups: bool,
    max_colour_error: int,
    steered: bool,
) -> tuple[bytes, dict[str, Any]]:
    """(bytes, sidecar) of an ONNX file, converted from the float32 .tflite and compared with it in ONNX Runtime."""
    tflite, made = _convert(source, prepared, "float32", samples, False, "dense", dense_groups, max_colour_error, steered)
    try:
        data = to_onnx.convert(tflite)
    except ImportError as error:
        raise UserError(f"--precision onnx needs onnx and tf2onnx: pip install 'mobile-sr[onnx]' ({error})") from None
    except RuntimeError as error:
        raise AuditError(str(error)) from None
    agreement = verification.onnx_agreement(source, tflite, data)
    checks = [verification.error_check("the float32 .tflite", agreement, 1e-5)]
    facts = to_onnx.describe(data) | source.extension.facts(source.model, "onnx")
    key = f"agreement_with_{source.reference_key}"
    if steered:  # the .tflite differs from the network
        facts |= {name: made[name] for name in ("colour_error", key)}
    return data, make_sidecar(source, "onnx", facts, data, checks, {"agreement_with_tflite": agreement})


def make_sidecar(
    source: Source,
    precision: str,
    facts: Mapping[str, Any],
    data: bytes,
    checks: Sequence[Mapping[str, Any]],
    agreement: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the content of a sidecar (docs/reference/sidecar.md).

    Args:
        source: the network.
        precision: precision of the file.
        facts: further entries, such as `audit.describe`.
        data: bytes of the file.
        checks: [{"check", "passed", "found"}] of the audit.
        agreement: further entries from `measure_agreement`.
    Raises: AuditError when a check failed.
    """
    failed = [c for c in checks if not c["passed"]]
    if failed:
        reasons = "; ".join(f"{c['check']} (found {c['found']}{'; ' + c['help'] if 'help' in c else ''})" for c in failed)
        raise AuditError(f"{precision}: the converted file failed its audit: {reasons}", failed)
    return {
        "format": sidecars.FORMAT,
        "scale": source.scale,
        "precision": precision,
        **source.facts,
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
