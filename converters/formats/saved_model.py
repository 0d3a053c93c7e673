"""Converts SavedModel folders of TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mobile_sr.converters.formats import tf_function
from mobile_sr.converters.formats.float_model import FloatModel, FormatError, first_line, fixed_size, image_ends
from mobile_sr.converters.formats.keras_model import only_image
from mobile_sr.converters.quiet import quiet

# Operators that reach outside of the graph: files and Python functions. RestoreV2 and SaveV2 belong to every SavedModel.
_REACHING = ("ReadFile", "WriteFile", "MatchingFiles", "PyFunc", "PyFuncStateless", "EagerPyFunc", "DeleteFile", "RpcCall")


def is_saved_model(path: Path) -> bool:
    """Whether a path is a SavedModel folder."""
    return (path / "saved_model.pb").is_file()


def convert(path: Path, name: str, size: tuple[int, int] | None) -> FloatModel:
    """Convert the signature 'serving_default' of a SavedModel, or its only signature.

    Args:
        path: the folder.
        name: its name.
        size: (H, W) of a fixed input, None for a dynamic one.

    Raises:
        FormatError: the folder is damaged, its graph uses files or Python code, or it is not a network from one image to one.
    """
    tf_function.require_tensorflow(str(path))
    _check_operators(path)
    with quiet():
        import tensorflow as tf

        try:
            loaded = tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow raises many types
            raise FormatError(f"{path}: not usable as a SavedModel ({first_line(error)})") from None
    signatures = dict(loaded.signatures)
    key = next(iter(signatures)) if len(signatures) == 1 else "serving_default"
    if key not in signatures:
        raise FormatError(f"{path}: has no signature 'serving_default'; it has {', '.join(signatures) or 'none'}")
    signature = signatures[key]
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise FormatError(f"{path}: has {len(inputs)} inputs ({', '.join(sorted(inputs))}); expected one image")
    ((argument, spec),) = inputs.items()
    if spec.dtype != tf.float32 or spec.shape.rank != 4:
        raise FormatError(f"{path}: its input is {spec.dtype.name} {spec.shape}; expected a float32 image")
    notes: list[str] = []
    layout, channels, own = image_ends(str(path), spec.shape.as_list())
    size = fixed_size(str(path), own, size, notes)
    if layout == "NCHW":
        notes.append("channels first: the .tflite is channels last (NHWC)")

    def run(image: Any, loaded: Any = loaded) -> Any:  # `loaded` keeps the variables alive
        return only_image(str(path), signature(**{argument: image}), notes)

    data = tf_function.convert(run, str(path), channels, size, layout)
    return FloatModel(data, name, "saved_model", tf_function.reference(run, layout), size, channels, notes=notes)


def _check_operators(path: Path) -> None:
    """Refuse a graph that reads or writes files or calls Python, before anything of it runs."""
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # a DecodeError of protobuf, or OSError
        raise FormatError(f"{path}: damaged saved_model.pb ({first_line(error)})") from None
    if not proto.meta_graphs:
        raise FormatError(f"{path}: damaged saved_model.pb (it has no graph)")
    for meta_graph in proto.meta_graphs:
        graph = meta_graph.graph_def
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        for node in nodes:
            if node.op in _REACHING:
                raise FormatError(f"{path}: its operator {node.op} reaches outside of the network; refused")
