"""Quantization-aware training: a trained network in, an audited uint8 .tflite out.

tensorflow-model-optimization turns tf.keras into tf_keras for its whole process. So a child process trains (child.py, net.py,
quantizers.py, fine_tune.py) on a description of the network (description.py), and the main one never imports tfmot: it
prepares the job, shows the progress, and builds, audits and writes the files (parent.py). How and why: docs/reference/qat.md.
"""
