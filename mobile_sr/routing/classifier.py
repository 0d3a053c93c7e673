"""The classifier of a routed model: the .tflite that chooses the network of each patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mobile_sr.devices import engines
from mobile_sr.errors import UserError
from mobile_sr.inference import litert, tensor_values


class Classifier:
    """The classifier's .tflite: maps [H, W, 3] uint8 to logits [H / patch, W / patch, classes].

    H and W must be multiples of the patch.
    """

    def __init__(self, path: str | Path, patch: int, classes: int, multiply_adds: float, threads: int = 1) -> None:
        """Opens a file.

        Args:
            path: the .tflite file.
            patch: side of a patch in LR pixels.
            classes: number of networks.
            multiply_adds: multiply-adds of the classifier per LR pixel.
            threads: CPU threads.

        Raises:
            UserError: the file is unusable or not such a classifier.
        """
        self.name, self.patch, self.classes, self.multiply_adds = str(path), patch, classes, multiply_adds
        data = litert.read_file(path)
        graph = litert.parse_graph(data, path)
        ends = [[graph.tensors[i] for i in indices] for indices in (graph.inputs, graph.outputs)]
        for tensors, channels in zip(ends, (3, classes), strict=True):
            is_valid = len(tensors) == 1 and tensors[0].dtype in ("float32", "uint8", "int8") and len(tensors[0].shape) == 4
            if not is_valid or tensors[0].shape[3] not in (-1, channels):
                raise UserError(f"{path}: not a patch classifier for {classes} networks")
        (self._image,), (self._logits,) = ends
        self._input, self._output = graph.inputs[0], graph.outputs[0]
        self._interpreter = engines.open_interpreter(data, self.name, threads)
        self._size: tuple[int, int] | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns the float32 logits of an image's patches. Raises UserError if the runtime fails or returns another shape."""
        size = image.shape[:2]
        if size != self._size:
            engines.allocate(self._interpreter, self.name, (1, *size, 3), self._input)
            self._size = size
        self._interpreter.set_tensor(self._input, tensor_values.encode(image, self._image)[None])
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{self.name}: failed while running ({str(error).splitlines()[0]})") from None
        logits = tensor_values.real(self._interpreter.get_tensor(self._output)[0], self._logits)
        expected = (size[0] // self.patch, size[1] // self.patch, self.classes)
        if logits.shape != expected:
            raise UserError(f"{self.name}: returns {logits.shape} for {size[1]}x{size[0]}, expected {expected}")
        return logits


class Always:
    """A classifier that always chooses the same network, for nothing."""

    multiply_adds = 0.0

    def __init__(self, index: int, classes: int, patch: int) -> None:
        self._logits, self._patch = np.eye(classes, dtype=np.float32)[index], patch

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns logits, as `Classifier`."""
        rows, columns = (side // self._patch for side in image.shape[:2])
        return np.broadcast_to(self._logits, (rows, columns, len(self._logits)))
