"""Virtual devices: .tflite files on Arm kernels, NPU simulators and compilers, and a GPU accelerator on this machine."""
