"""The networks whose published PyTorch checkpoints can be imported, see `architecture.Architecture`."""

from __future__ import annotations

from mobile_sr.converters.pytorch.architecture import Architecture
from mobile_sr.converters.pytorch.maps import adadsr, attention, compact, distillation, mobile, ntire2022, residual, transformer

ARCHITECTURES: dict[str, Architecture] = {
    **ntire2022.ARCHITECTURES,
    **distillation.ARCHITECTURES,
    **residual.ARCHITECTURES,
    **attention.ARCHITECTURES,
    **transformer.ARCHITECTURES,
    **mobile.ARCHITECTURES,
    **compact.ARCHITECTURES,
    **adadsr.ARCHITECTURES,
}
