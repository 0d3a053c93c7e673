"""Networks in ONNX files: reading, trial runs and the operator table."""
