"""File formats and graph transformations: Keras, ONNX and PyTorch to .tflite; quantization algorithms."""
