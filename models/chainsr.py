"""ChainSR, this project's own network: a plain chain of 3x3 convolutions with one long skip.

It has no paper. A 3x3 convolution with 16 channels is the cheapest layer in int8 on a Cortex-A76 for what it adds to the
network's depth: 265 instructions per LR pixel, where a grouped 3x3 convolution with 32 channels in 4 groups costs 726
(models/nas/arm64.py). ReLU is fused into the convolutions and costs nothing, and all operators are supported by the common
delegates. After 6,000 steps with 8 layers, a network without the skip was 1.0 dB worse, and one with a skip around every
two layers 0.07 dB worse (docs/measurements/training.md).

Instructions per LR pixel of a uint8 file in the sizes of the recipes, estimated from the operators' counts:

| size | channels | layers | x2 | x3 | x4 |
|---|---|---|---|---|---|
| s | 16 | 5 | 1,870 | 2,180 | 2,510 |
| sp | 16 | 8 | 2,660 | 2,980 | 3,310 |
| m | 16 | 12 | 3,720 | 4,040 | 4,370 |
| l | 32 | 8 | 7,870 | 8,370 | 8,870 |

The packaged files, counted as a whole, need at most 0.5 % more (docs/measurements/results.md). A size has the same layers at
every scale, so that `--init` can start from another scale. With 13 layers, m would need 4,300 at x3, but at x2 more than
XLSR's 3,985. Other networks within the budget of l at x3 (9,000), not trained: 16 channels and 30 layers (8,810), 24 and 10
(8,330), 28 and 9 (8,730), 48 and 3 (7,410).

The layers can also have different numbers of channels (`widths`), as a search finds them (nas/fgnas_plain_supernet.py).
With `exits`, the network also has outputs after fewer of its layers. Such an exit adds the skip and a last convolution of its
own. It computes what a ChainSR of that many layers computes: its file has the same operators and costs the same instructions.
Only one last convolution runs, so one for each exit costs nothing but its 27 * channels * scale**2 weights, 4 KB in a uint8
file of 16 channels at x3. A shared one would have to suit the features of every depth. The exits share all other layers, or
have layers of their own (`shared_layers`), which makes them independent networks in one model. As only one exit runs, sharing
saves memory, 2.3 KB for each layer of 16 channels, but no time.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from mobile_sr.models.layers import GRAY, ClippedReLU, DepthToSpace, check_output_activation
from mobile_sr.models.ntire2022.blocks import conv


def build(
    scale: int = 3,
    output_activation: str = "clipped_relu",
    channels: int = 16,
    layers: int = 12,
    widths: Sequence[int] = (),
    exits: Sequence[int] = (),
    shared_layers: bool = True,
) -> keras.Model:
    """ChainSR as a functional Keras model.

    Args:
        scale: 2, 3 or 4 (any positive int works): 30,028 / 32,203 / 35,248 parameters with 12 layers of 16 channels.
        output_activation: 'clipped_relu' or 'linear'.
        channels: channels of the first convolution and of the hidden layers.
        layers: number of 3x3 convolutions between the first and the last one, inside of the skip.
        widths: channels of each of the `layers`, the last of which has `channels`; empty for `channels` everywhere.
        exits: ascending numbers of layers, from 1 to below `layers`, after which there is a further exit; these layers have
            `channels`, too.
        shared_layers: whether the exits share the layers before them. False gives each exit a chain of its own.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3]. With exits, it has a second output
        [N, H * scale, W * scale, 3 * E]: the images of all exits in ascending order, the last of which equals the first output.
    Raises: ValueError for an unknown output activation, invalid widths or other exits.
    """
    check_output_activation(output_activation)
    check_widths(channels, layers, widths)
    if any(a >= b for a, b in zip((0, *exits), (*exits, layers), strict=True)) and exits:
        raise ValueError(f"exits must be ascending numbers from 1 to {layers - 1}, got {list(exits)}")
    if widths and any(widths[k - 1] != channels for k in exits):
        raise ValueError(f"exits must follow layers of {channels} channels, got exits {list(exits)} and widths {list(widths)}")
    lr = keras.Input((None, None, 3), name="lr")

    widths = widths or [channels] * layers

    def end(x: keras.KerasTensor, head: keras.KerasTensor, suffix: str) -> keras.KerasTensor:
        x = keras.layers.Add(name=f"skip{suffix}")([x, head])
        x = conv(x, 3 * scale * scale, f"tail{suffix}", bias_initializer=GRAY)
        if output_activation == "clipped_relu":
            x = ClippedReLU(name=f"clip{suffix}")(x)
        return DepthToSpace(scale, name=f"sr{suffix}")(x)

    def chain(last: int, own: str) -> Iterator[keras.KerasTensor]:
        """The images of a chain of `last` layers, the names of which end with `own`: at its end and at the exits in it."""
        x = head = conv(lr, channels, f"head{own}", activation="relu")
        for index, width in enumerate(widths[:last], 1):
            x = conv(x, width, f"conv{index}{own}", activation="relu")
            if index in exits and shared_layers:
                yield end(x, head, f"_{index}")
        yield end(x, head, own)

    ends = [layers] if shared_layers else [*exits, layers]
    images = [image for last in ends for image in chain(last, "" if last == layers else f"_{last}")]
    outputs = [images[-1], keras.layers.Concatenate(name="exits")(images)] if exits else images[-1]
    return keras.Model(lr, outputs, name=f"chainsr_x{scale}")


def check_widths(channels: int, layers: int, widths: Sequence[int]) -> None:
    """Checks the arguments of `build` that give the layout. Raises: ValueError if they do not fit together."""
    if not widths:
        return
    if not all(type(width) is int and width >= 1 for width in widths):
        raise ValueError(f"widths must be whole numbers of at least 1, got {widths}")
    if len(widths) != layers or widths[-1] != channels:
        raise ValueError(
            f"widths must have {layers} numbers (layers), the last of them {channels} (channels, for the skip), got {widths}"
        )


def receptive_field(config: Mapping[str, Any]) -> int:
    """LR pixels to each side that an output pixel depends on: the number of 3x3 convolutions, at the last exit."""
    return config["layers"] + 2


def split_exits(model: keras.Model, config: Mapping[str, Any]) -> list[tuple[keras.Model, dict[str, Any]]]:
    """Returns the exits of a network as networks of their own, (model, configuration), the one with the fewest layers first.

    Args:
        model: a network with exits.
        config: its configuration, with all arguments of `build`.
    """
    result = []
    for layers in (*config["exits"], config["layers"]):
        own = {key: value for key, value in config.items() if key not in ("exits", "shared_layers")}
        own |= {"layers": layers, "widths": list(config["widths"][:layers])}
        net = build(**{key: value for key, value in own.items() if key != "network"})
        for whole, layer in exit_layers(model, config, net, layers):
            layer.set_weights(whole.get_weights())
        result.append((net, {key: value for key, value in own.items() if value or key != "widths"}))
    return result


def exit_layers(
    model: keras.Model, config: Mapping[str, Any], net: keras.Model, layers: int
) -> Iterator[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """The pairs of layers with weights of a network with exits and of one of its exits as a network of its own.

    Args:
        model: the network with exits.
        config: its configuration, with all arguments of `build`.
        net: the exit.
        layers: its number of layers.
    """
    suffix = "" if layers == config["layers"] else f"_{layers}"
    for layer in net.layers:
        if layer.weights:
            shared = config["shared_layers"] and layer.name != "tail"
            yield model.get_layer(layer.name if shared else layer.name + suffix), layer
