"""Writes integer .tflite files as QDQ ONNX files with the same scales, zero points and integer weights."""
