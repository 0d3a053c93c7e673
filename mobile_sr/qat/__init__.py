"""Quantization-aware training (QAT): fine-tunes a trained network with fake quantization and writes an audited uint8 .tflite.

There are two engines. `keras` (keras_trainer.py, keras_fine_tune.py) trains any functional Keras 3 network in this process and
exports the result as any other network is exported. `tfmot` is tensorflow-model-optimization, which replaces tf.keras by
tf_keras for its whole process. It therefore trains in a worker process (worker.py, net.py, quantizers.py, fine_tune.py) on a
description of the network (description.py); the main process (trainer.py) never imports it. Method and results:
docs/reference/qat.md.
"""
