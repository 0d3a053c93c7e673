""".tflite files without TensorFlow: reading, writing, auditing and transforming flatbuffers."""
