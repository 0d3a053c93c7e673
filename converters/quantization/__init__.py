"""Post-training quantization of any float .tflite: equalization, GPTQ, calibration and the conversion itself."""
