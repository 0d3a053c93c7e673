"""One report about a network: costs, receptive field, agreement with a reference, uint8 and the operators of each target."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobile_sr import backend, models, zoo
from mobile_sr.benchmarking import virtual
from mobile_sr.challenge import graph_counts, impulse, scoreboard
from mobile_sr.converters.quantization.float_graph import FloatGraph
from mobile_sr.converters.quiet import quiet
from mobile_sr.converters.tflite import receptive_field
from mobile_sr.devices import names
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.evaluation import compare, evaluate
from mobile_sr.files import read_json
from mobile_sr.imaging import sample_images
from mobile_sr.importing import adapters, import_weights, truth
from mobile_sr.inference import limits, model_files, model_io, upscaler, weights
from mobile_sr.models.ntire2022.teams import TEAMS
from mobile_sr.quantization import export
from mobile_sr.quantization import source as sources

FORMAT = "mobile-sr network check 1"
CHECKPOINTS = (".pth", ".pt", ".safetensors")
Log = Callable[[str], object]


@dataclasses.dataclass
class _Subject:
    """The network of a report.

    Attributes:
        model: what `export.export` accepts.
        config: configuration of a network of mobile_sr.models, None for one from elsewhere.
        trained: whether it has weights of its own, not random ones.
        imported: the record of `import_weights` in the model file.
    """

    model: str
    config: dict[str, Any] | None
    trained: bool
    imported: Mapping[str, Any]


def check(
    model: str | Path,
    *,
    scale: int | None = None,
    sizes: Mapping[str, int | str] | None = None,
    verify: Sequence[str | Path] = (),
    devices: Sequence[str] = tuple(names.DEVICES),
    log: Log = print,
) -> dict[str, Any]:
    """Checks a network.

    Args:
        model: name of a network of mobile_sr.models, which gets random weights; a zoo name, .npz model file or run folder; a
            PyTorch checkpoint that `import_weights` recognizes; or a network from elsewhere, as for `export.export`.
        scale: scale factor of a network given by name (x4 by default) or of a checkpoint.
        sizes: {argument of build(): value} of a network given by name or of a checkpoint.
        verify: .npz files with true inputs and outputs, see `importing.truth`.
        devices: virtual devices that compile the uint8 file; those that are not installed are left out and named.
        log: called with lines about the progress.

    Returns:
        JSON-able {"format", "model", "network": name or None, "scale", "config", "trained", "counts", "table": the row of the
        NTIRE 2022 report or None, "receptive_field": {"declared", "measured", "whole_image", "bound"}, "smallest_side":
        {"declared", "runs", "smaller_runs"}, "reference": {"max_error", "limit"} or None, "sample": `model_io.check` or None,
        "uint8", "targets", "notes": [line], "problems": [line]}. Without problems the list is empty.

    Raises:
        UserError: the network or an option is unusable.
    """
    unknown = [name for name in devices if name not in names.DEVICES]
    if unknown:
        raise UserError(f"--device {unknown[0]}: unknown virtual device; known: {', '.join(names.DEVICES)}")
    pairs = truth.read(verify) if verify else []
    backend.require_tensorflow("check-network")
    with tempfile.TemporaryDirectory(prefix="mobile_sr.") as folder:
        subject = _open(str(model), Path(folder), scale, dict(sizes or {}), verify, log)
        report: dict[str, Any] = {
            "format": FORMAT,
            "model": str(model),
            "network": None,
            "scale": None,
            "config": subject.config,
        }
        report |= {"trained": subject.trained, "notes": [], "problems": []}
        log("exporting to float32 and uint8 ...")
        files, failure = _export(subject, Path(folder) / "files")
        if "float32" not in files:
            report["problems"].append(f"export: {failure}")
        if subject.config is not None:
            _own(report, subject, pairs, log)
        elif "float32" in files:
            _foreign(report, files["float32"], pairs, log)
        _quantized(report, files, failure, log)
        report["targets"] = _targets(subject, files.get("uint8"), Path(folder) / "fixed", devices, log)
    return report


def _open(
    model: str, folder: Path, scale: int | None, sizes: dict[str, Any], verify: Sequence[str | Path], log: Log
) -> _Subject:
    if model in models.NETWORKS and not Path(model).exists():
        config = {"network": model, "scale": scale or models.defaults({"network": model})["scale"], **sizes}
        config["output_activation"] = "clipped_relu"
        try:
            limits.check_config(config, models.defaults(config))
            unknown = [name for name in sizes if name not in models.defaults(config)]
            if unknown:
                raise ValueError(f"it has no argument '{unknown[0]}'; available: {', '.join(models.defaults(config))}")
            return _Subject(scoreboard.untrained(scoreboard.Entrant(model, config), folder), config, False, {})
        except (ValueError, TypeError) as error:
            raise UserError(f"{model}: cannot be built: {str(error).strip().splitlines()[0]}") from None
    path = Path(model)
    if path.is_file() and (path.suffix.lower() in CHECKPOINTS or (path.suffix == ".npz" and not _is_model(path))):
        imported = import_weights.import_weights(
            path, folder / path.stem, scale=scale, sizes=sizes, verify=verify, log=lambda line: log(f"import: {line}")
        )
        return _own_subject(str(imported.parent))
    if scale is not None or sizes:
        option = "--scale" if scale is not None else "--set"
        raise UserError(f"{option}: for the name of a network or a checkpoint; {model} has a scale and sizes already")
    if sources.is_own(model):
        if not path.suffix and not path.exists() and model not in zoo.names():
            hint = did_you_mean(model, [*models.NETWORKS, *zoo.names()])
            raise UserError(f"{model}: neither a network nor a packaged one nor a file{hint}")
        return _own_subject(model)
    return _Subject(model, None, True, {})


def _is_model(path: Path) -> bool:
    try:
        return "config" in weights.read_arrays(path)[1]
    except UserError:
        return False


def _own_subject(model: str) -> _Subject:
    meta = weights.read_arrays(model_files.trained(model)[0])[1]
    if not isinstance(meta.get("config"), dict):
        raise UserError(f"{model}: contains no configuration of a network")
    return _Subject(model, meta["config"], True, meta.get("imported") or {})


def _export(
    subject: _Subject, folder: Path, size: tuple[int, int] | None = None, methods: Sequence[str] = export.METHODS
) -> tuple[dict[str, Path], Any]:
    """Returns the files that could be written, {precision: path}, and the error about the first that could not, or None."""
    settings: Any = {"size": size, "methods": methods, "max_colour_error": 255, "log": lambda line: None}
    failure: Exception | None = None
    # Warnings about poor outputs say nothing new here: random weights have them, and `check` lists them for others.
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            export.export(subject.model, folder, ["float32", "uint8"], **settings)
        except export.AuditError as error:
            failure = error
        except UserError as error:
            if subject.config is None:
                raise
            failure = error
            export.export(subject.model, folder, ["float32"], **settings)
    found = {read_json(path)["precision"]: path.with_suffix(".tflite") for path in folder.glob("*.json")}
    return found, failure


# Structure --------------------------------------------------------------------------------------------------------------------


def _own(report: dict[str, Any], subject: _Subject, pairs: Sequence[truth.Truth], log: Log) -> None:
    """Fills in the facts of a network of mobile_sr.models."""
    assert subject.config is not None
    config, problems = subject.config, report["problems"]
    report |= {"network": config["network"], "scale": config["scale"]}
    height, width = scoreboard.SIZE
    log("counting, and measuring the receptive field ...")
    with quiet():
        report["counts"] = models.challenge_counts(config, height, width) | {"height": height, "width": width}
    report["table"] = _table(config)
    declared, (measured, whole) = models.receptive_field(config), impulse.of_config(config)
    report["receptive_field"] = {"declared": declared, "measured": measured, "whole_image": whole, "bound": None}
    if declared is not None and measured > declared:
        problems.append(f"receptive field: {measured} LR pixels measured, {declared} declared: tiles would show seams")
    if declared is not None and measured < declared - 1:
        report["notes"].append(f"receptive field: {declared} LR pixels declared, {measured} measured: tiles overlap by more")
    if declared is None and not whole:
        report["notes"].append(f"receptive field: declared as the whole image, {measured} LR pixels measured")
    side = models.smallest_side(config)
    smaller = side > 1 and impulse.runs_at(config, side - 1)
    report["smallest_side"] = {"declared": side, "runs": impulse.runs_at(config, side), "smaller_runs": smaller}
    if not report["smallest_side"]["runs"]:
        problems.append(f"smallest side: the network does not run on {side}x{side} LR pixels, the declared minimum")
    if smaller:
        report["notes"].append(f"smallest side: {side} declared, but it runs on {side - 1}x{side - 1}, too")
    report["reference"] = report["sample"] = None
    if subject.trained:
        file, _ = model_files.trained(subject.model)
        with quiet():
            runner = adapters.Runner(*weights.load_model(file, output_activation="linear"))
        size = model_io.sample_size(smallest=side)
        _sample(report, model_io.check(report["model"], runner.image, config["scale"], size))
        error = truth.max_error(runner.batch, pairs) if pairs else subject.imported.get("max_error")
        _reference(report, error)
    elif pairs:
        raise UserError(f"--verify: {report['model']} is the name of a network, whose weights are random; give its weights")


def _foreign(report: dict[str, Any], file: Path, pairs: Sequence[truth.Truth], log: Log) -> None:
    """Fills in the facts of a network from elsewhere, from its float .tflite."""
    log("counting, and measuring the receptive field ...")
    data = file.read_bytes()
    with contextlib.redirect_stderr(io.StringIO()):  # a poor output is a problem in the report
        runner = upscaler.load(file)
    declared = runner.receptive_field
    report |= {"scale": runner.scale, "table": None, "reference": None}
    report["counts"] = graph_counts.counts(data, report["model"], scoreboard.SIZE)
    bound = receptive_field.upper_bound(FloatGraph(data))
    measured, whole = impulse.of_runner(lambda image: runner.real(image, tile=0), runner.scale, bound, runner.fixed)
    report["receptive_field"] = {"declared": declared, "measured": measured, "whole_image": whole, "bound": bound}
    if declared is not None and measured > declared:
        report["problems"].append(f"receptive field: {measured} LR pixels measured, {declared} by its operators")
    report["smallest_side"] = {"declared": runner.smallest, "runs": None, "smaller_runs": None}
    _sample(report, runner.figures)
    if pairs:
        levels = [np.round(pair.lr * 255) for pair in pairs]
        if any(np.abs(pair.lr * 255 - level).max() > 1e-3 for pair, level in zip(pairs, levels, strict=True)):
            raise UserError("--verify: for a network from elsewhere, the inputs must be images of 8 bits")
        clipped = [truth.Truth(pair.lr, np.clip(pair.sr, 0, 1)) for pair in pairs]

        def batch(lr: np.ndarray) -> np.ndarray:
            return np.stack([runner.real(np.round(image * 255).astype(np.uint8), tile=0) for image in lr])

        _reference(report, truth.max_error(lambda lr: np.clip(batch(lr), 0, 1), clipped))


def _table(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of the NTIRE 2022 report about a network, if it has the sizes of the submitted one."""
    own = {key: value for key, value in models.complete(config).items() if key != "output_activation"}
    for team in TEAMS:
        if team.network == config["network"]:
            published = models.complete({"network": team.network, "scale": 4, **team.options})
            if own == {key: value for key, value in published.items() if key != "output_activation"}:
                measures = ("parameters", "flops", "activations", "convolutions", "psnr")
                return {"team": team.name, **{name: getattr(team, name) for name in measures}}
    return None


def _sample(report: dict[str, Any], figures: Mapping[str, Any] | None) -> None:
    report["sample"] = dict(figures) if figures else None
    if figures and model_io.is_poor(figures):
        report["problems"].append(
            f"sample image: {figures['psnr']:.1f} dB, bicubic {figures['bicubic_psnr']:.1f} dB: "
            "wrong range or channels, or untrained?"
        )


def _reference(report: dict[str, Any], error: float | None) -> None:
    if error is None:
        return
    report["reference"] = {"max_error": error, "limit": truth.MAX_ERROR}
    if not error <= truth.MAX_ERROR:
        report["problems"].append(f"reference: the largest error is {error:.1e} of the data range, above {truth.MAX_ERROR:.0e}")


# uint8 and targets ------------------------------------------------------------------------------------------------------------


def _quantized(report: dict[str, Any], files: Mapping[str, Path], failure: Any, log: Log) -> None:
    """Fills in what uint8 costs."""
    result: dict[str, Any] = {"whole_integer": "uint8" in files, "failed_checks": [], "loss_db": None, "colour_error": None}
    report["uint8"] = result
    if "uint8" not in files:
        if "float32" in files:
            result["failed_checks"] = list(getattr(failure, "checks", ()))
            report["problems"].append(str(failure))
        return
    sidecar = read_json(files["uint8"].with_suffix(".json"))
    agreement = next(value for key, value in sidecar.items() if key.startswith("agreement_with_"))
    result |= {"psnr_of_float": agreement["psnr_rgb"], "colour_error": sidecar["colour_error"]}
    if not report["trained"]:
        return
    log("measuring the loss on the images of scikit-image ...")
    images = sample_images.images(sample_images.EVALUATION)
    loaded = {precision: upscaler.load(file, check=False) for precision, file in files.items()}
    psnr = {key: evaluate.evaluate(runner, images, "rgb", ssim=False)["mean"]["psnr"] for key, runner in loaded.items()}
    result |= {"psnr": psnr, "loss_db": compare.subtract(psnr["float32"], psnr["uint8"])}


def _targets(subject: _Subject, file: Path | None, folder: Path, devices: Sequence[str], log: Log) -> dict[str, Any] | None:
    """Returns what each target supports of the uint8 file, None without one. NPUs get one of fixed size."""
    if file is None:
        return None
    facts = compare.inspect(file)
    fixed = file
    if upscaler.load(file, check=False).fixed is None:
        fixed = _export(subject, folder, virtual.DEFAULT_SIZE, methods=())[0].get("uint8", file)
    result = {"arm64": facts["arm64"], "xnnpack_partitions": facts["partitions"]}
    result |= {"delegates": compare.inspect(fixed)["refused"], "devices": {}}
    for name in devices:
        log(f"compiling for {name} ...")
        try:
            result["devices"][name] = virtual.compile_for(fixed, names.find(name))
        except UserError as error:
            result["devices"][name] = {"error": str(error)}
    return result
