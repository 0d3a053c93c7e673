"""Reading, checking, auditing and transforming .tflite files without TensorFlow."""
