"""Export of networks with AdaDSR's adapter: the sparse path, calibration with desired depths, checks at several depths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobile_sr import extensions, models
from mobile_sr.adadsr import depth_counts, files, sparse_integer
from mobile_sr.converters.tflite import audit, merge
from mobile_sr.errors import UserError

if TYPE_CHECKING:
    import keras

Sample = np.ndarray | tuple[np.ndarray, np.ndarray]  # image [1, H, W, 3], or (image, desired depth [1, 1])


class DepthExport(extensions.Export):
    """Hooks of the export for networks with depth maps, see `extensions.Export`. The second input is the desired depth."""

    def __init__(self, network: Mapping[str, Any]) -> None:
        """Keeps the configuration."""
        super().__init__(network)
        self.max_value = models.max_depth(network)

    def path(self, requested: str | None, precision: str, model: str | Path) -> str:
        """Prefers 'sparse' where the precision has it."""
        has_sparse = precision in files.SPARSE
        if requested == "sparse" and not has_sparse:
            raise UserError(f"--path sparse: not supported for {precision}; use {', '.join(files.SPARSE)}, or --path dense")
        return requested or ("sparse" if has_sparse else "dense")

    def samples(self, images: Sequence[np.ndarray]) -> Sequence[Sample]:
        """As `with_depths`."""
        return with_depths(images, self.max_value)

    def values(self) -> Sequence[float | None]:
        """Returns no, half and full depth."""
        return (None,) if self.max_value is None else (0, self.max_value / 2, self.max_value)

    def at(self, run: Callable[..., Any], value: float | None) -> Callable[[np.ndarray], Any]:
        """Returns the SR output alone of a runner with a desired depth."""
        return run if value is None else lambda image: run(image, value)[0]

    def options(self, value: float | None) -> dict[str, str]:
        """Returns the option that sets the desired depth."""
        return {} if value is None else {"desired_depth": str(value)}

    def convert(
        self,
        model: keras.Model | None,
        data: bytes,
        precision: str,
        samples: Sequence[Sample],
        per_tensor: bool,
        size: tuple[int, int] | None,
        path: str,
    ) -> tuple[bytes, bytes]:
        """As `files.convert_both` or, for the dense path, `files.convert_dense`."""
        if path == "dense":
            dense = files.convert_dense(data, precision, samples, per_tensor)
            return dense, dense
        assert model is not None  # only networks of ours have a sparse path
        try:
            return files.convert_both(model, data, precision, samples, per_tensor, size)
        except sparse_integer.NoSparseForm as error:
            raise extensions.ConversionFailed(str(error)) from None

    def checks(self, data: bytes, dense: bytes, sparse: Any, integer: bool) -> list[dict[str, Any]]:
        """Returns the checks of the sparse signature."""
        total, dense_only = (merge.constant_bytes(part) for part in (data, dense))
        return audit.check_sparse(sparse, total, dense_only, integer)

    def facts(self, model: keras.Model, precision: str) -> dict[str, Any]:
        """Returns the network's costs and the range of its desired depth."""
        costs = depth_counts.costs(model, precision in ("uint8", "int8"))
        return {"multiply_adds": costs, "desired_depth": None if self.max_value is None else [0, self.max_value]}


def with_depths(images: Sequence[np.ndarray], max_depth: float | None) -> Sequence[Sample]:
    """Returns calibration samples: the images, each with a desired depth if the network has one.

    Args:
        images: [1, H, W, 3] float32 each.
        max_depth: largest desired depth in blocks; the depths are spread evenly over 0..max_depth. None returns the images
            as they are.
    """
    if max_depth is None:
        return images
    steps = np.arange(len(images)) * 0.618 % 1  # different depths for consecutive images, which look alike
    depths = np.argsort(np.argsort(steps)) / max(1, len(images) - 1) * max_depth
    return [(image, np.full((1, 1), depth, np.float32)) for image, depth in zip(images, depths, strict=True)]
