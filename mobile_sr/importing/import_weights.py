"""From a published PyTorch checkpoint to a folder that every command takes as a model."""

import sys
from pathlib import Path

from mobile_sr import backend, models
from mobile_sr.converters.quiet import quiet, say
from mobile_sr.errors import UserError, did_you_mean
from mobile_sr.files import check_folder, sha256_file
from mobile_sr.importing import checkpoint as torch_checkpoint
from mobile_sr.inference import model_io, upscaler, weights

NOT_SET = ("scale", "output_activation")  # arguments of build() that have an option of their own or none


def import_weights(net, checkpoint, out, scale=4, value_range=None, sizes=None, log=print):
    """Write `out`/best.npz with the weights of a checkpoint; nothing when anything is wrong.

    Args:
        net: of converters.torch_names.NAMES.
        checkpoint: .pth, .pt or .npz file.
        out: folder, which must not hold a model yet.
        value_range: 1 or 255, the pictures that the checkpoint was trained on; None is what the network was published for.
        sizes: {argument of the network's build(): int} where it is not the published network.
    Returns: the path of the file.
    Raises: UserError when the network has no map of names, the checkpoint is unusable or another network's, `out` is taken,
        or the checkpoint works in the other value range only (`_check_range`).
    """
    from mobile_sr.converters.pytorch.key_maps import NAMES, RANGES

    if net not in NAMES:
        raise UserError(f"--net {net}: no map of PyTorch names for it; known: {', '.join(NAMES)}{did_you_mean(net, NAMES)}")
    target = Path(out) / "best.npz"
    if target.exists():
        raise UserError(f"{out}: already holds a model; use another --out")
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
            raise UserError(f"--set {name}: {net} has no such size; it has {', '.join(known)}{did_you_mean(name, known)}")
    config = {"network": net, "scale": scale, "output_activation": "clipped_relu", **(sizes or {})}
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


def _check_range(model, config, state, value_range, checkpoint):
    """Run an imported network on the sample image, and where its output is poor also as a network for the other range.

    A poor output that no range explains is a warning: other sizes, dilations that a state dict does not hold, or a network
    that is not trained. Raises: UserError when only the other range gives a good output, or the output is not finite.
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
    given, found = (f"{f['psnr']:.1f} dB" for f in (figures, other_figures))
    if not model_io.is_poor(other_figures):
        raise UserError(
            f"{checkpoint}: trained on images of 0..{other}, not 0..{value_range}: as such its output is {found} on a sample "
            f"image, else {given} ({bicubic}); give --range {other}"
        )
    say(
        f"warning: {checkpoint}: its output is {given} on a sample image (with --range {other} {found}), {bicubic}: "
        "other sizes or dilations than the published network's, or not trained?",
        sys.stderr,
    )
