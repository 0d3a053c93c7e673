"""Simplification of float .tflite files of other converters. Needs no TensorFlow."""
