"""A network that is defined outside of this package, stored as Keras's own description of its layers.

`describe` turns the Keras model of somebody's build() into a configuration, {"network": "custom", "scale": s, "graph": ...},
where the graph is the `get_config()` of a functional model. `build` makes the network from it. A model file with such a
configuration therefore needs none of the author's code, and loading it runs none: a graph may only contain layers,
operations and initializers of Keras and of this package, and none of the Keras layers that load code or other files.
"""

from __future__ import annotations

import importlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from mobile_sr.models import layers
from mobile_sr.models.ntire2022 import blocks, mobilesr
from mobile_sr.models.ntire2022 import layers as challenge_layers
from mobile_sr.models.ntire2022.separable import bsrn

REGISTERED = (layers, challenge_layers, blocks, bsrn, mobilesr)  # modules whose import registers this package's layers
# Base classes of what a graph may contain. A Keras layer is an Operation.
_KINDS = (
    keras.Operation,
    keras.initializers.Initializer,
    keras.regularizers.Regularizer,
    keras.constraints.Constraint,
    keras.DTypePolicy,
)
# Layers of Keras that contain code, or load code or files.
_CODE = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer")
_VALUES = ("__keras_tensor__", "__ellipsis__", "__slice__", "__tuple__")  # class names that Keras gives to plain values
_HINT = "use layers of Keras and of mobile_sr.models.layers, and keras.ops"


def build(
    scale: int = 3,
    graph: Mapping[str, Any] | None = None,
    output_activation: str = "linear",
    receptive_field: int | None = None,
    smallest_side: int = 1,
    grouped_form: str | None = None,
    source: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Makes the network of a graph.

    Args:
        scale: upscaling factor, for the record: the graph has it built in.
        graph: `get_config()` of a functional Keras model, as `describe` returns it.
        output_activation: 'clipped_relu' keeps the ClippedReLU at the end of the graph; 'linear' leaves it out.
        receptive_field: LR pixels to each side that an output pixel depends on; None for the whole image.
        smallest_side: minimum height and width of an input in LR pixels.
        grouped_form: form of the GroupedConv2D layers in the graph, see models/layers.py.
        source: where the graph comes from, for the record.
    Returns: keras.Model, [N, H, W, 3] float32 RGB in 0..1 -> [N, H * scale, W * scale, 3].
    Raises: ValueError for a graph that contains anything but layers of Keras and of this package.
    """
    layers.check_output_activation(output_activation)
    for name, value, lowest in (("receptive_field", receptive_field, 0), ("smallest_side", smallest_side, 1)):
        if not (type(value) is int and value >= lowest) and not (value is None and name == "receptive_field"):
            raise ValueError(f"{name} is {value!r}; expected an integer of at least {lowest}")
    if not isinstance(graph, Mapping):
        raise ValueError(f"a custom network needs a graph, not {type(graph).__name__}")
    check(graph)
    graph = json.loads(json.dumps(graph))  # a copy to change
    clip = _final_clip(graph) if output_activation == "linear" else None
    for layer in _entries(graph) if clip else ():
        if layer["config"]["name"] == clip:
            layer.update(module="keras.layers", class_name="Activation", registered_name=None)
            layer["config"] = {"name": clip, "activation": "linear"}
    for layer in _entries(graph):
        if layer["class_name"] == "GroupedConv2D":
            layer["config"]["form"] = grouped_form
    return keras.Model.from_config(graph)


def receptive_field(config: Mapping[str, Any]) -> int | None:
    """Returns the receptive field that a configuration records; see `build`."""
    return config["receptive_field"]


def smallest_side(config: Mapping[str, Any]) -> int:
    """Returns the minimum side that a configuration records; see `build`."""
    return config["smallest_side"]


def has_groups(config: Mapping[str, Any]) -> bool:
    """Returns whether the graph has grouped convolutions."""
    return any(
        layer["class_name"] == "GroupedConv2D" or layer["config"].get("groups", 1) != 1 for layer in _entries(config["graph"])
    )


def describe(model: Any, scale: int, receptive_field: int | None = None, smallest_side: int = 1) -> dict[str, Any]:
    """Returns the configuration of a Keras model, after trying that the rebuilt network works.

    Layer names that Keras made are numbered from the start, so that every call of the same build() gives the same graph.

    Args:
        model: what somebody's build() returned.
        scale: upscaling factor that it has to have.
        receptive_field: what its author declares, in LR pixels; None for the whole image.
        smallest_side: minimum side of an input that its author declares, in LR pixels.
    Returns: the configuration, JSON-able, without `source`.
    Raises: ValueError when it is not a functional model from [N, H, W, 3] to [N, H * scale, W * scale, 3], contains layers
        that cannot be stored, or depends on pixels outside of its receptive field.
    """
    graph = _canonical(_graph(model))
    config: dict[str, Any] = {"network": "custom", "scale": scale, "graph": graph}
    config["output_activation"] = "clipped_relu" if _final_clip(graph) else "linear"
    config |= {"receptive_field": receptive_field, "smallest_side": smallest_side}
    arguments = {key: value for key, value in config.items() if key != "network"}
    _try_size(build(**arguments), scale, smallest_side)
    if receptive_field is not None:
        _try_field(build(**{**arguments, "output_activation": "linear"}), scale, receptive_field, smallest_side)
    return config


def check(graph: Any) -> None:
    """Checks that everything in a graph belongs to Keras or to this package, before anything is made of it.

    Raises: ValueError naming the first part that does not.
    """
    for entry in _entries(graph, every=True):
        name, module, registered = entry["class_name"], entry.get("module"), entry.get("registered_name")
        if name in _VALUES:
            continue
        inner = entry.get("config")
        where = f"{inner['name']!r}" if isinstance(inner, Mapping) and isinstance(inner.get("name"), str) else "a part"
        if name in _CODE or not isinstance(name, str) or not isinstance(inner, Mapping):
            raise ValueError(f"{where} of the network has the class {name}, which contains code; {_HINT}")
        kind = None
        if isinstance(registered, str) and registered.startswith("mobile_sr>"):
            kind = keras.saving.get_registered_object(registered)
        elif registered in (None, name) and isinstance(module, str) and re.fullmatch(r"keras(\.\w+)*", module):
            try:
                kind = getattr(importlib.import_module(module), name, None)
            except ImportError:
                kind = None
        if not (isinstance(kind, type) and issubclass(kind, _KINDS)):
            raise ValueError(f"{where} of the network has the class {name}, whose code a model file cannot contain; {_HINT}")


def _entries(value: Any, every: bool = False) -> Iterator[dict[str, Any]]:
    """Yields the dicts of a graph that describe a named layer or operation; with `every`, those of any object."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            config = value.get("config")
            named = isinstance(config, dict) and "name" in config and not str(value.get("class_name")).endswith("Policy")
            if "class_name" in value and (every or named):
                yield value
            waiting += value.values()
        elif isinstance(value, (list, tuple)):
            waiting += value


def _graph(model: Any) -> dict[str, Any]:
    """The JSON-able get_config() of a functional model."""
    inputs, outputs = (getattr(model, end, None) or [] for end in ("inputs", "outputs"))
    if not isinstance(model, keras.Model) or not inputs or not outputs:
        raise ValueError(f"expected a functional keras.Model (keras.Model(inputs, outputs)), not {type(model).__name__}")
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (*inputs, *outputs))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"expected one input and one output, not {len(inputs)} and {len(outputs)} ({shapes})")
    if tuple(inputs[0].shape) != (None, None, None, 3):
        raise ValueError(f"its input is {tuple(inputs[0].shape)}; expected keras.Input((None, None, 3))")
    try:  # the model of its ends has no subclass and no Sequential around it
        return json.loads(json.dumps(keras.Model(inputs[0], outputs[0]).get_config()))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"its layers cannot be described ({str(error).strip().splitlines()[0]}); {_HINT}") from None


def _canonical(graph: dict[str, Any]) -> dict[str, Any]:
    """A graph with Keras's automatic names numbered from the start, and without the float32 policy of each layer.

    Without it, layers follow the global policy, which is how a training in bfloat16 is built.
    """
    names = {entry["config"]["name"]: entry["class_name"] for entry in _entries(graph)}
    automatic = {name: re.sub(r"_\d+$", "", name) for name in names}
    automatic = {
        name: base for name, base in automatic.items() if base.replace("_", "") == names[name].lower().replace("_", "")
    }
    taken, counts, new = names.keys() - automatic.keys(), Counter[str](), {}
    for name in dict.fromkeys(name for name in _in_order(graph) if name in automatic):
        base = automatic[name]
        while (number := f"{base}_{counts[base]}" if counts[base] else base) in taken:
            counts[base] += 1
        new[name] = number
        counts[base] += 1

    def renamed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            policy = value.get("dtype")
            if isinstance(policy, dict) and policy.get("config") == {"name": "float32"}:
                value = {k: v for k, v in value.items() if k != "dtype"}
            return {k: renamed(v, k) for k, v in value.items()}
        if isinstance(value, list):
            if len(value) == 3 and isinstance(value[0], str) and type(value[1]) is int:  # a tensor: layer, node, index
                return [new.get(value[0], value[0]), *value[1:]]
            return [renamed(part) for part in value]
        return new.get(value, value) if key == "name" and isinstance(value, str) else value

    return {**renamed(graph), "name": "custom"}


def _in_order(graph: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of the layers in the order of the graph, those of nested models after the model's own."""
    for layer in graph["layers"]:
        yield layer["config"]["name"]
        if "layers" in layer["config"]:
            yield from _in_order(layer["config"])


def _final_clip(graph: Mapping[str, Any]) -> str | None:
    """Name of the ClippedReLU that ends the graph, perhaps before a depth to space; None if there is none."""
    by_name = {layer["config"].get("name"): layer for layer in graph.get("layers", ())}
    end = graph.get("output_layers")
    name = (end[0] if isinstance(end[0], str) else end[0][0]) if isinstance(end, list) and end else None
    for _ in range(2):
        layer: Any = by_name.get(name)
        if layer is None or layer["class_name"] == "ClippedReLU":
            break
        histories = re.findall(r'"keras_history": \["([^"]*)"', json.dumps(layer.get("inbound_nodes")))
        if layer["class_name"] != "DepthToSpace" or len(histories) != 1:
            return None
        name = histories[0]
    return name if name in by_name and by_name[name]["class_name"] == "ClippedReLU" else None


def _try_size(model: keras.Model, scale: int, smallest: int) -> None:
    """Runs a network on a small image. Raises: ValueError if its output's size is not as declared."""
    height, width = max(16, smallest), max(19, smallest)
    shape = tuple(model(np.zeros((1, height, width, 3), np.float32), training=False).shape)
    expected = (1, height * scale, width * scale, 3)
    if shape != expected:
        raise ValueError(f"maps (1, {height}, {width}, 3) to {shape}; expected {expected} for scale {scale}")


def _try_field(model: keras.Model, scale: int, field: int, smallest: int) -> None:
    """Changes a pixel and looks how far its effect reaches. Raises: ValueError if that is beyond `field`.

    With the positive weights that the network gets for it, no layer is dead and no two paths cancel.
    """
    rng, side = np.random.default_rng(0), max(2 * (field + 4) + 1, smallest)
    model.set_weights([rng.uniform(0.1, 1.9, w.shape) / max(np.prod(w.shape[:-1]), 1) for w in model.get_weights()])
    x, middle = rng.random((1, side, side, 3), np.float32), side // 2
    other = x.copy()
    other[0, middle, middle] += 0.5
    a, b = (keras.ops.convert_to_numpy(model(image, training=False))[0].astype(np.float64) for image in (x, other))
    difference = np.abs(a - b).max(axis=2)
    moved = np.argwhere(difference > 1e-5 * difference.max()) // scale  # far below a level, far above float noise
    reach = int(max(middle - moved.min(), moved.max() - middle)) if len(moved) else 0
    if reach > field:
        raise ValueError(f"declares a receptive field of {field} LR pixels, but an output pixel {reach} pixels away changes")
