"""By which score `train` chooses the weights of best.npz: recipe.select, or what the loss counts."""

import tempfile
from pathlib import Path

from mobile_sr import models
from mobile_sr.errors import UserError
from mobile_sr.inference import weights


def criterion(recipe):
    """'rgb', 'y', 'uint8', or 'rgb+y': both weighted as in the loss, for a recipe with a luminance weight and no `select`."""
    return recipe.select or ("rgb+y" if recipe.luminance_weight else "rgb")


def describe(selected_by):
    """The criterion in words, for a line that says a score in dB."""
    return {"rgb": "RGB", "y": "Y", "rgb+y": "RGB and Y, weighted as in the loss", "uint8": "RGB, as uint8 .tflite"}[
        selected_by
    ]


def check(recipe, backend):
    """Raise UserError where the weights cannot be chosen by the uint8 file; `backend` is Keras' backend."""
    if criterion(recipe) != "uint8":
        return
    if backend != "tensorflow":
        raise UserError(f"--set select=uint8: needs --backend tensorflow, which converts; this is the {backend} backend")
    if models.has_depth(recipe.network) or recipe.network["network"] == "fgnas_supernet":
        raise UserError(f"--set select=uint8: {recipe.name} cannot be scored as a uint8 file while it trains; use rgb or y")


def score(selected_by, recipe, rgb, y):
    """The score in dB of the weights just validated, by another criterion than 'uint8'.

    Args: rgb, y: mean PSNR in dB of the float network.
    """
    if selected_by == "rgb+y":
        return (rgb + recipe.luminance_weight * y) / (1 + recipe.luminance_weight)
    return {"rgb": rgb, "y": y}[selected_by]


def uint8_runner(model, network, calibration):
    """A function from [H, W, 3] uint8 to [H * s, W * s, 3] uint8: the model's uint8 .tflite, as `mobile-sr export` makes it.

    Args: calibration: the folder of training images. None is returned where the file fails export's audit.
    """
    from mobile_sr.inference import upscaler
    from mobile_sr.quantization import export

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "validated.npz"
        weights.save_model(file, model, network)
        try:
            (tflite,) = export.export(file, folder, ["uint8"], calibration=calibration, log=lambda line: None)
        except export.AuditError:
            return None
        return upscaler.load(tflite)
