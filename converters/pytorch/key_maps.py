"""The networks whose published PyTorch checkpoints can be imported, see `architecture.Architecture`."""

from __future__ import annotations

from mobile_sr.converters.pytorch.architecture import Architecture
from mobile_sr.converters.pytorch.maps import (
    adadsr,
    aimet,
    attention,
    classic,
    compact,
    distillation,
    mobile,
    ntire2022,
    residual,
    sparse,
    transformer,
)

ARCHITECTURES: dict[str, Architecture] = {
    **ntire2022.ARCHITECTURES,
    **distillation.ARCHITECTURES,
    **residual.ARCHITECTURES,
    **attention.ARCHITECTURES,
    **transformer.ARCHITECTURES,
    **mobile.ARCHITECTURES,
    **compact.ARCHITECTURES,
    **aimet.ARCHITECTURES,
    **classic.ARCHITECTURES,
    **sparse.ARCHITECTURES,
    **adadsr.ARCHITECTURES,
}
