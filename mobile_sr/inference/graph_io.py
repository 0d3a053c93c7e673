"""Which inputs and outputs of a .tflite graph are the image, its picture and extra scalars, or why it is no such network."""

import dataclasses

IMAGE_DTYPES = ("float32", "uint8", "int8", "int16")
PICTURES = ("sr", "output_0")  # how the signatures of this project and of Keras call the picture among several outputs
SCALAR_DTYPES = ("float32", "float16", "uint8", "int8", "int16", "int32", "int64", "bool")


class EndsError(ValueError):
    """The graph is no network from one image to one larger image; the message says why."""


@dataclasses.dataclass
class Ends:
    """Tensor indices: `image` and `picture` are [1, H, W, 3]; `scalars` has the other inputs' by their name."""

    image: int
    picture: int
    scalars: dict


def find(graph):
    """The Ends of a tflite_file.Graph; outputs that are no pictures are left aside. Raises: EndsError."""
    tensors = graph.tensors
    scalars = {scalar_names(graph, i)[0]: i for i in graph.inputs if _is_scalar(tensors[i])}
    for name, index in scalars.items():
        if tensors[index].dtype not in SCALAR_DTYPES:
            raise EndsError(f"input {name} is {tensors[index].dtype}; a scalar may be {', '.join(SCALAR_DTYPES)}")
    image = _one(graph, [i for i in graph.inputs if i not in scalars.values()], "input", "in")
    outputs = [i for i in graph.outputs if _why_not(tensors[i]) is None] or graph.outputs
    named = [i for i in outputs if graph.output_names.get(i) in PICTURES]
    if len(outputs) > 1 and len(named) == 1:  # the other may be a map of three channels
        outputs = named
    return Ends(image, _one(graph, outputs, "output", "out"), scalars)


def scalar_names(graph, index):
    """The names by which a scalar input can be given: as in the signature, then the tensor's, shortened and whole."""
    full = graph.tensors[index].name
    short = full.removesuffix(":0")
    names = [graph.input_names.get(index), short.removeprefix("serving_default_"), short, full]
    return list(dict.fromkeys(name for name in names if name)) or [f"input{index}"]


def _is_scalar(tensor):
    sides = len(tensor.shape)
    return all(side == 1 for side in tensor.shape) or (sides < 4 and all(side in (1, -1) for side in tensor.shape))


def _one(graph, indices, what, direction):
    """The only one of the tensors, if it is an image."""
    images = [i for i in indices if _why_not(graph.tensors[i]) is None]
    if len(images) > 1:
        names = ", ".join(graph.tensors[i].name for i in images)
        raise EndsError(f"{len(images)} images {direction} ({names}); expected one")
    if not indices:
        raise EndsError(f"no image {direction}")
    for index in indices:
        tensor = graph.tensors[index]
        reason = _why_not(tensor)
        if reason:
            raise EndsError(f"{what} {tensor.name} is {tensor.dtype} {tensor.shape}: {reason}")
    return images[0]


def _why_not(tensor):
    """Why a tensor is no image, None when it is one."""
    shape = tensor.shape
    if len(shape) != 4:
        return "no image; expected [1, H, W, 3]"
    if shape[1] == 3 and shape[3] != 3:
        return "channels first (NCHW); expected [1, H, W, 3]"
    if shape[3] == 1 or (shape[1] == 1 and shape[3] != 3):
        return "1 channel: luma-only networks are not supported"
    if shape[3] not in (3, -1):
        return f"{shape[3]} channels; expected [1, H, W, 3]"
    if shape[0] not in (1, -1):
        return f"batch of {shape[0]}; expected [1, H, W, 3]"
    if tensor.dtype not in IMAGE_DTYPES:
        return f"an image must be {', '.join(IMAGE_DTYPES)}"
    if tensor.dtype != "float32" and len(tensor.scales) not in ((0, 1) if tensor.dtype == "uint8" else (1,)):
        return "it needs one scale and zero point"
    return None
