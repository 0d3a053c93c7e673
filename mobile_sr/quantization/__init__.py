"""Quantization: calibration images, the export pipeline, the quantization debugger; qat/ holds quantization-aware training."""
