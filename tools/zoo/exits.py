"""The exits of packaged networks (models/chainsr.py): their files, their figures in the cards, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile_sr import models, zoo
from mobile_sr.errors import UserError
from mobile_sr.evaluation import evaluate
from mobile_sr.imaging import flat_colours
from mobile_sr.inference import upscaler, weights
from mobile_sr.routing.exits import ExitsUpscaler
from tools.zoo import templates

if TYPE_CHECKING:
    import keras

HEADER = ("layers", "Mult-Adds, G", "A76 instructions")


def of(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the exits of an entry's card, the one with the fewest layers first; [] for a network without exits."""
    found: list[dict[str, Any]] = card.get("exits", [])
    return found


def alone(model: upscaler.Upscaler) -> list[upscaler.Upscaler]:
    """Returns a model for each exit of a loaded model; [the model] without exits."""
    if not isinstance(model, ExitsUpscaler):
        return [model]
    return [model.alone(index) for index in range(len(model.exits))]


def networks(model: keras.Model, config: Mapping[str, Any]) -> list[tuple[keras.Model, Mapping[str, Any]]]:
    """Returns the (model, configuration) of each exit of a network; [that of the network] without exits."""
    return [*models.split_exits(model, config)] if models.exits(config) else [(model, config)]


def join(names: Sequence[str]) -> tuple[keras.Model, dict[str, Any]]:
    """Returns a network, and its configuration, the exits of which are the networks of packaged entries, with all their layers.

    Args:
        names: of ChainSR entries of one scale and width, without exits, the one with the fewest layers first.

    Raises:
        UserError: the entries differ in more than their layers.
    """
    from mobile_sr.models import chainsr

    loaded = [weights.load_model(zoo.FOLDER / f"{name}.npz") for name in names]
    config = dict(loaded[-1][1])
    for name, (_, own) in zip(names, loaded, strict=True):
        if {**own, "layers": 0} != {**config, "layers": 0}:
            raise UserError(f"{name}: cannot be joined with {names[-1]}: {own} and {config} differ in more than their layers")
    config |= {"exits": [own["layers"] for _, own in loaded[:-1]], "shared_layers": False}
    model = models.build(config)
    for net, own in loaded:
        for whole, layer in chainsr.exit_layers(model, config, net, own["layers"]):
            whole.set_weights(layer.get_weights())
    return model, config


def colour_errors(name: str, files: Sequence[Path], limit: int) -> list[dict[str, dict[str, Any]]]:
    """Returns {variant: `flat_colours.measure`} of each exit of an entry, or of the only network.

    Args:
        name: of the entry, for messages.
        files: its .tflite files, in the order of `zoo.VARIANTS`.
        limit: largest error on flat colours, in levels of 255.

    Raises:
        UserError: an error is larger.
    """
    found: list[dict[str, dict[str, Any]]] = []
    for variant, file in zip(zoo.VARIANTS, files, strict=True):
        for index, model in enumerate(alone(upscaler.load(str(file)))):
            errors = flat_colours.measure(model, model.scale)
            if errors["flat"] > limit:
                where = f", exit after {model.depth:g} layers" if model.depth else ""
                raise UserError(f"{name}:{variant}{where}: {flat_colours.describe(errors)}; at most {limit} are packaged")
            found += [{}] if index == len(found) else []
            found[index][variant] = errors
    return found


def scores(name: str, folder: Path) -> list[dict[str, dict[str, float]]]:
    """Returns {"y": {variant: mean PSNR in dB}, "rgb": ..., "ssim_y": ...} on a set, of each exit or of the only network.

    Those of float32 are of the trained weights: the packaged float32 file has steered ones.
    """
    result: list[dict[str, dict[str, float]]] = []
    for variant in zoo.VARIANTS:
        for index, model in enumerate(alone(upscaler.load(name if variant == "float32" else f"{name}:{variant}"))):
            result += [{"y": {}, "rgb": {}, "ssim_y": {}}] if index == len(result) else []
            for space in ("y", "rgb"):
                mean = evaluate.evaluate(model, folder, space, ssim=space == "y")["mean"]
                result[index][space][variant] = round(mean["psnr"], 4)
                if space == "y":
                    result[index]["ssim_y"][variant] = round(mean["ssim"], 5)
    return result


def table(card: Mapping[str, Any], instructions: Sequence[float | None]) -> str:
    """Returns a Markdown table of an entry's exits: cost, PSNR on the sets of `zoo.SETS`, and largest colour error.

    Args:
        card: the entry's card, with exits.
        instructions: those of each exit per LR pixel, None where they were not counted.
    """
    rows = []
    for each, count in zip(of(card), instructions, strict=True):
        both = [each["scores"][name]["y"] for name in zoo.SETS]
        colours = " -> ".join(str(each["colour_error"][variant]["flat"]) for variant in zoo.VARIANTS)
        psnr = [f"{y['float32']:.2f} -> {y['uint8']:.2f} ({y['float32'] - y['uint8']:.3f})" for y in both]
        cost = f"{each['multiply_adds_720p'] / 1e9:.2f}"
        rows.append([str(each["layers"]), cost, "" if count is None else f"{count:,.0f}", *psnr, colours])
    return templates.table([*HEADER, *zoo.SETS, "colour error"], rows)
