"""Quantization: export to integer files, calibration images and the quantization debugger; training for it is in qat/."""
