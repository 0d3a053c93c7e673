"""Runs .tflite files: LiteRT on this machine's CPU, and virtual devices: Arm kernels, NPU simulators and compilers, a GPU."""
