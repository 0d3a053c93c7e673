"""Quantization-aware training (QAT): fine-tunes a trained network with fake quantization and writes an audited uint8 .tflite.

tensorflow-model-optimization (tfmot) replaces tf.keras by tf_keras for its whole process. Training therefore runs in a worker
process (worker.py, net.py, quantizers.py, fine_tune.py) on a description of the network (description.py). The main process
never imports tfmot. It prepares the job, shows the progress, and audits and writes the files (trainer.py). Method and results:
docs/reference/qat.md.
"""
