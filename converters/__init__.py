"""Conversion of Keras and PyTorch networks to .tflite and ONNX, quantization algorithms and .tflite graph transformations."""
