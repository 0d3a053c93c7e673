"""Import of published PyTorch checkpoints as model folders that every command accepts."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import backend, models
from mobile_sr.converters.quiet import print_line, quiet
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.files import check_folder, sha256_file
from mobile_sr.importing import adapters, map_file, truth
from mobile_sr.importing import checkpoint as torch_checkpoint
from mobile_sr.inference import limits, model_io, weights

if TYPE_CHECKING:
    import keras

    from mobile_sr.converters.pytorch.recognition import Candidate

NOT_SET = ("scale", "output_activation")  # arguments of build() that --set does not change
SURE = 1.0  # dB on the sample image by which the best reading of a checkpoint must exceed the others
_RANGES = (1, 255)
_LISTED = 8  # unused keys that are named


@dataclasses.dataclass
class _Reading:
    """One way to read a checkpoint: a network, its sizes and the range of its images, and how well the result works.

    Attributes:
        config: the network's configuration.
        value_range: 1 or 255.
        figures: of `model_io.check` on the sample image.
        error: largest difference from the true output, None without --verify.
        model: the network.
        values: its weights for this range.
        unused: keys of the checkpoint that the network does not use.
        is_published: whether the network's sizes are those of the published checkpoint.
        is_plausible: as `adapters.is_plausible`.
    """

    config: dict[str, Any]
    value_range: int
    figures: Mapping[str, Any]
    error: float | None
    model: keras.Model
    values: list[np.ndarray]
    unused: list[str]
    is_published: bool
    is_plausible: bool

    @property
    def rank(self) -> tuple[float, float]:
        """Sorts readings, best first."""
        return (self.error if self.error is not None else 0.0, -self.figures["psnr"])

    def __str__(self) -> str:
        """Such as 'rfdn x4 with channels 40, distilled 20, images in 0..1'."""
        defaults = models.defaults({"network": self.config["network"]})
        sizes = [
            f"{name} {value}"
            for name, value in self.config.items()
            if name in defaults and name not in NOT_SET and value != defaults[name]
        ]
        what = f" with {', '.join(sizes)}" if sizes else ""
        return f"{self.config['network']} x{self.config['scale']}{what}, images in 0..{self.value_range}"

    def result(self) -> str:
        """The figures, such as '34.1 dB'."""
        if self.error is not None:
            return f"largest error {self.error:.1e}"
        return f"{self.figures['psnr']:.1f} dB"


def import_weights(
    checkpoint: str | Path,
    out: str | Path | None = None,
    net: str | None = None,
    scale: int | None = None,
    value_range: int | None = None,
    sizes: Mapping[str, int | str] | None = None,
    verify: Sequence[str | Path] = (),
    key_map: str | Path | None = None,
    log: Callable[[str], object] = print,
) -> Path:
    """Writes `out`/best.npz with the weights of a checkpoint. On an error nothing is written.

    The network and its sizes are recognized by the names and shapes in the checkpoint. What these do not tell, such as the
    dilation, some skips and the range of the training images, is found by running each possible network on a sample image, or
    by comparison with true outputs.

    Args:
        checkpoint: .pth, .pt, .safetensors or .npz file.
        out: folder that does not contain a model yet; by default imported/ and the name of the file.
        net: a network of converters.pytorch.key_maps.ARCHITECTURES; None to recognize it.
        scale: scale factor of the checkpoint; None to recognize it.
        value_range: 1 or 255, the range of the images on which the checkpoint was trained; None to find it.
        sizes: {argument of the network's build(): int or str} that replace recognized ones.
        verify: .npz files with true inputs and outputs, see `truth.read`.
        key_map: JSON file with the names in the checkpoint, see `map_file.read`.
        log: called with a line about the result.

    Returns:
        The path of the written file.

    Raises:
        UserError: the network has no map of names, the checkpoint is unusable or belongs to another network, `out` already
            contains a model, the checkpoint works only in the other value range, or the output is not the true one.
    """
    out = Path("imported", Path(checkpoint).stem) if out is None else Path(out)
    target = out / "best.npz"
    if target.exists():
        raise UserError(f"{out}: already contains a model; use another --out")
    check_folder(out)
    if scale is not None and not 1 <= scale <= weights.MAX_SCALE:
        raise UserError(f"--scale {scale}: must be 1 to {weights.MAX_SCALE}")
    names = map_file.read(key_map) if key_map is not None else None
    pairs = truth.read(verify) if verify else []
    if names is not None:
        net, scale, value_range = net or names.network, scale or names.scale, value_range or names.range
        sizes = {**names.options, **(sizes or {})}
    from mobile_sr.converters.pytorch.key_maps import ARCHITECTURES

    if net is not None and net not in ARCHITECTURES and (names is None or net not in models.NETWORKS):
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"--net {net}: cannot be imported; supported: {known}{did_you_mean(net, ARCHITECTURES)}")
    if names is not None and net is None:
        raise UserError(f'--map {key_map}: has no "network"; give --net')
    state = torch_checkpoint.read(checkpoint)
    backend.require_keras(net or checkpoint)
    readings, dropped = _readings(checkpoint, state, net, scale, sizes or {}, names, pairs)
    if value_range is not None and not pairs:
        readings = _with_range(checkpoint, readings, value_range)
    best = _best(checkpoint, readings, bool(pairs))
    unused = [*dropped, *best.unused]
    if unused:
        more = f" and {len(unused) - _LISTED} more" if len(unused) > _LISTED else ""
        print_line(f"note: {checkpoint}: unused keys: {', '.join(unused[:_LISTED])}{more}", sys.stderr)
    if not best.is_published and best.config["network"] in ARCHITECTURES:
        missing = ARCHITECTURES[best.config["network"]].not_stored
        if missing:
            print_line(f"note: {checkpoint}: a checkpoint does not tell {missing}; those of the published network", sys.stderr)
    best.model.set_weights(best.values)
    origin = {"file": Path(checkpoint).name, "sha256": sha256_file(checkpoint), "value_range": best.value_range}
    if best.error is not None:
        origin["max_error"] = best.error
    config = {**best.config, "output_activation": "clipped_relu"}
    weights.save_model(target, best.model, config, {"imported": origin})
    log(f"{checkpoint}: {best}")
    figures = f"PSNR {best.figures['psnr']:.1f} dB on the sample image, bicubic {best.figures['bicubic_psnr']:.1f} dB"
    verified = f"; largest error {best.error:.1e} of the data range" if best.error is not None else ""
    log(f"{target}: {best.model.count_params():,} parameters from {len(state)} arrays; {figures}{verified}")
    return target


# Reading ----------------------------------------------------------------------------------------------------------------------


def _readings(
    checkpoint: str | Path,
    state: Mapping[str, Any],
    net: str | None,
    scale: int | None,
    sizes: Mapping[str, Any],
    names: map_file.KeyMap | None,
    pairs: Sequence[truth.Truth],
) -> tuple[list[_Reading], list[str]]:
    """Returns all readings of a checkpoint, the published range first, and the keys that were left out.

    Raises:
        UserError: there is none.
    """
    from mobile_sr.converters.pytorch import keras_weights, recognition
    from mobile_sr.converters.pytorch.key_maps import ARCHITECTURES

    dropped: list[str] = []
    if names is not None:
        assert net is not None
        dropped = [key for key in state if any(re.fullmatch(pattern, str(key)) for pattern in names.unused)]
        state = {key: value for key, value in state.items() if key not in dropped}
        possible = [recognition.Candidate({"network": net, **({"scale": scale} if scale else {})}, True)]
    else:
        try:
            state, dropped = recognition.cleaned(state)
        except ValueError as error:
            raise UserError(f"{checkpoint}: {error}") from None
        possible = recognition.candidates(state, [net] if net else [])
    if not possible and net is None:
        raise UserError(f"{checkpoint}: {_unknown(recognition.nearest(state))}")
    # A checkpoint that does not match a given network is converted, too: the error tells the difference.
    possible = possible or [recognition.Candidate({"network": net}, True)]
    readings: list[_Reading] = []
    errors: list[str] = []
    for candidate in possible:
        config = _config(candidate, scale, sizes)
        if any(reading.config == config for reading in readings):  # candidates that differ only in what the user has given
            continue
        published = ARCHITECTURES[candidate.network].data_range if candidate.network in ARCHITECTURES else 1
        try:
            model = _build(config)
        except UserError as error:
            errors.append(str(error))
            continue
        told = ARCHITECTURES[candidate.network].told_range(state) if candidate.network in ARCHITECTURES else None
        for range_now in sorted(_RANGES, key=lambda r: r != published) if told is None else (told,):
            try:
                unused = keras_weights.convert(
                    model, models.complete(config), state, range_now, names.layers if names is not None else None
                )
            except ValueError as error:
                errors.append(f"not a checkpoint of {candidate.network} at x{config.get('scale', 4)}: {error}")
                break
            max_error, figures, plausible = _run(checkpoint, config, model, pairs)
            known = candidate.is_published, plausible
            readings.append(_Reading(config, range_now, figures, max_error, model, model.get_weights(), unused, *known))
    if not readings:
        raise UserError(f"{checkpoint}: {errors[0]}")
    return (readings if pairs else _plausible(checkpoint, readings)), dropped


def _plausible(checkpoint: str | Path, readings: list[_Reading]) -> list[_Reading]:
    """Returns the plausible readings, or all if none is, and says on standard error if an adapter's output decided."""
    chosen = [reading for reading in readings if reading.is_plausible] or readings
    if len(chosen) < len(readings):
        is_fixed = chosen[0].config["depth"] == "fixed"
        known = "blocks: read as FAdaEDSR, with depth=fixed" if is_fixed else "shares: read as AdaEDSR, with depth=input"
        other = "input" if is_fixed else "fixed"
        print_line(f"note: {checkpoint}: its adapter computes {known} (else --set depth={other})", sys.stderr)
    return chosen


def _unknown(nearest: str) -> str:
    hint = "give --net and, for other names, --map; docs/reference/networks.md lists the networks"
    return f"its keys are those of no known network ({nearest}); {hint}" if nearest else f"no known network; {hint}"


def _config(candidate: Candidate, scale: int | None, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the configuration with an unclipped output. Raises UserError for a size that the network does not have."""
    net = candidate.network
    defaults = models.complete({"network": net})
    known = [name for name, value in defaults.items() if isinstance(value, (int, str)) and name not in ("network", *NOT_SET)]
    for name, value in sizes.items():
        if name in known and isinstance(value, str) != isinstance(defaults[name], str):
            raise UserError(f"--set {name}={value}: must be a {'word' if isinstance(defaults[name], str) else 'whole number'}")
        if name not in known:
            raise UserError(f"--set {name}: {net} has no such size; available: {', '.join(known)}{did_you_mean(name, known)}")
    config = {"scale": 4, **candidate.config, **sizes, "output_activation": "linear"}
    return config if scale is None else {**config, "scale": scale}


def _build(config: Mapping[str, Any]) -> keras.Model:
    if config["scale"] > weights.MAX_SCALE:
        raise UserError(f"x{config['scale']}: at most x{weights.MAX_SCALE} is supported")
    with quiet():
        try:
            limits.check_config(config, models.defaults(config))
            return models.build(config)
        except (ValueError, TypeError) as error:
            raise UserError(f"{config['network']}: cannot be built ({str(error).strip().splitlines()[0]})") from None


def _run(
    checkpoint: str | Path, config: Mapping[str, Any], model: keras.Model, pairs: Sequence[truth.Truth]
) -> tuple[float | None, dict[str, Any], bool]:
    """Returns the largest error on true outputs, None without them, the figures on the sample image, and `is_plausible`."""
    runner = adapters.Runner(model, config)
    size = model_io.sample_size(smallest=models.smallest_side(config))
    figures = model_io.check(checkpoint, runner.image, config["scale"], size)
    plausible = adapters.is_plausible(config, runner.depth_mean)
    return truth.max_error(runner.batch, pairs) if pairs else None, figures, plausible


# Choice -----------------------------------------------------------------------------------------------------------------------


def _with_range(checkpoint: str | Path, readings: Sequence[_Reading], value_range: int) -> list[_Reading]:
    """Returns the readings in a given range. Raises UserError if only the other range gives a good output."""
    chosen = [reading for reading in readings if reading.value_range == value_range]
    best, other = (min(several, key=lambda reading: reading.rank) for several in (chosen, readings))
    if model_io.is_poor(best.figures) and not model_io.is_poor(other.figures):
        raise UserError(
            f"{checkpoint}: trained on images in 0..{other.value_range}, not 0..{value_range}: its PSNR is {other.result()} on "
            f"a sample image in that range, else {best.result()} (bicubic {best.figures['bicubic_psnr']:.1f} dB); "
            f"give --range {other.value_range}"
        )
    return chosen


def _best(checkpoint: str | Path, readings: Sequence[_Reading], verified: bool) -> _Reading:
    """Returns the reading to use, and says on standard error what the names and shapes left open.

    Of several networks, the sizes of the published one count, too. If all outputs are poor, the published network in its
    published range is used, with a warning: the checkpoint may be untrained.

    Raises:
        UserError: no reading gives the true output.
    """

    def say(line: str) -> None:
        print_line(line, sys.stderr)

    ranked = sorted(readings, key=lambda reading: reading.rank)
    best = ranked[0]
    poor, certain = model_io.is_poor(best.figures), True
    if verified:
        assert best.error is not None
        if best.error > truth.MAX_ERROR:
            raise UserError(
                f"{checkpoint}: its output is not the true one: the largest error is {best.error:.1e} of the data range, "
                f"{truth.MAX_ERROR:.0e} at most is expected; read as {best}"
            )
    elif poor:
        best = readings[0]
    else:  # of those that are about as good, the one whose sizes were published
        close = [reading for reading in ranked if best.figures["psnr"] - reading.figures["psnr"] < SURE]
        best = next((reading for reading in close if reading.is_published), best)
        certain = best.is_published and sum(reading.is_published for reading in close) == 1 or len(close) == 1
    if len(readings) > 1:
        others = "; ".join(f"{_difference(best, other)}: {other.result()}" for other in ranked if other is not best)
        how = "true outputs" if verified else "a sample image"
        what = (
            "several networks have these names and shapes"
            if len({str(r.config) for r in readings}) > 1
            else "a checkpoint has no range"
        )
        say(f"note: {checkpoint}: {what}; chosen by {how}: {best}: {best.result()} ({others})")
        if not certain:
            say(f"warning: {checkpoint}: the choice is not certain; give --range, --net or --verify to be sure")
    if poor and not verified:
        say(
            f"warning: {checkpoint}: its PSNR is {best.result()} on a sample image, bicubic "
            f"{best.figures['bicubic_psnr']:.1f} dB: sizes or dilations other than the published network's, or untrained?"
        )
    return best


def _difference(best: _Reading, other: _Reading) -> str:
    """Names what distinguishes another reading from the best one."""
    if other.config == best.config:
        return f"in 0..{other.value_range}"
    names = [name for name, value in other.config.items() if best.config.get(name) != value]
    what = ", ".join(str(other.config[name]) if name == "network" else f"{name} {other.config[name]}" for name in names)
    return f"{what or other.config['network']} in 0..{other.value_range}"
