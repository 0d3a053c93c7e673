"""Import of published PyTorch checkpoints as model folders that every command accepts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import backend, models
from mobile_sr.converters.quiet import print_line, quiet
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.files import check_folder, sha256_file
from mobile_sr.importing import checkpoint as torch_checkpoint
from mobile_sr.inference import model_io, upscaler, weights

if TYPE_CHECKING:
    import keras

NOT_SET = ("scale", "output_activation")  # arguments of build() that --set does not change


def import_weights(
    net: str,
    checkpoint: str | Path,
    out: str | Path,
    scale: int = 4,
    value_range: int | None = None,
    sizes: Mapping[str, int] | None = None,
    log: Callable[[str], object] = print,
) -> Path:
    """Writes `out`/best.npz with the weights of a checkpoint. On an error nothing is written.

    Args:
        net: a network of converters.pytorch.key_maps.NAMES.
        checkpoint: .pth, .pt or .npz file.
        out: folder that does not contain a model yet.
        scale: scale factor of the checkpoint.
        value_range: 1 or 255, the range of the images on which the checkpoint was trained. None means the range of the
            published network.
        sizes: {argument of the network's build(): int} that differ from the published network.
        log: called with a line about the result.

    Returns:
        The path of the written file.

    Raises:
        UserError: the network has no map of names, the checkpoint is unusable or belongs to another network, `out` already
            contains a model, or the checkpoint works only in the other value range (`_check_range`).
    """
    from mobile_sr.converters.pytorch.key_maps import NAMES, RANGES

    if net not in NAMES:
        raise UserError(f"--net {net}: cannot be imported; supported: {', '.join(NAMES)}{did_you_mean(net, NAMES)}")
    target = Path(out) / "best.npz"
    if target.exists():
        raise UserError(f"{out}: already contains a model; use another --out")
    check_folder(out)
    if not 1 <= scale <= weights.MAX_SCALE:
        raise UserError(f"--scale {scale}: must be 1 to {weights.MAX_SCALE}")
    state = torch_checkpoint.read(checkpoint)
    backend.require_keras(net)
    from mobile_sr.converters.pytorch import keras_weights

    defaults = models.complete({"network": net})
    known = [name for name, value in defaults.items() if isinstance(value, int) and name not in NOT_SET]
    for name in sizes or {}:
        if name not in known:
            raise UserError(f"--set {name}: {net} has no such size; available: {', '.join(known)}{did_you_mean(name, known)}")
    config: dict[str, Any] = {"network": net, "scale": scale, "output_activation": "clipped_relu", **(sizes or {})}
    with quiet():
        try:
            model = models.build(config)
        except ValueError as error:
            raise UserError(f"{net}: cannot be built ({str(error).strip().splitlines()[0]})") from None
    try:
        keras_weights.convert(model, models.complete(config), state, value_range)
    except ValueError as error:
        raise UserError(f"{checkpoint}: not a checkpoint of {net} at x{scale}: {error}") from None
    value_range = value_range or RANGES[net]
    _check_range(model, config, state, value_range, checkpoint)
    origin = {"file": Path(checkpoint).name, "sha256": sha256_file(checkpoint), "value_range": value_range}
    weights.save_model(target, model, config, {"imported": origin})
    log(f"{target}: {net} x{scale}, {model.count_params():,} parameters from {len(state)} tensors of {checkpoint}")
    return target


def _check_range(
    model: keras.Model, config: dict[str, Any], state: Mapping[str, Any], value_range: int, checkpoint: str | Path
) -> None:
    """Runs an imported network on the sample image and, if its output is poor, also with the other value range.

    A warning is printed if the output is poor in both ranges: the sizes or the dilations (which a state dict does not record)
    differ, or the network is untrained.

    Raises:
        UserError: only the other range gives a good output, or the output is not finite.
    """
    from mobile_sr.converters.pytorch import keras_weights

    size, scale = model_io.sample_size(smallest=models.smallest_side(config)), config["scale"]
    figures = model_io.check(checkpoint, upscaler.keras_runner(model), scale, size)
    if not model_io.is_poor(figures):
        return
    other, weights_now = 256 - value_range, model.get_weights()
    keras_weights.convert(model, models.complete(config), state, other)
    other_figures = model_io.check(checkpoint, upscaler.keras_runner(model), scale, size)
    model.set_weights(weights_now)
    bicubic = f"bicubic {figures['bicubic_psnr']:.1f} dB"
    psnr, other_psnr = (f"{f['psnr']:.1f} dB" for f in (figures, other_figures))
    if not model_io.is_poor(other_figures):
        raise UserError(
            f"{checkpoint}: trained on images in 0..{other}, not 0..{value_range}: its PSNR is {other_psnr} on a sample "
            f"image in that range, else {psnr} ({bicubic}); give --range {other}"
        )
    print_line(
        f"warning: {checkpoint}: its PSNR is {psnr} on a sample image (with --range {other} {other_psnr}), {bicubic}: "
        "sizes or dilations other than the published network's, or untrained?",
        sys.stderr,
    )
