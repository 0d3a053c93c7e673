"""Selects the Keras backend before Keras is imported."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError

BACKENDS = ("tensorflow", "torch", "jax")


def choose_backend(name: str | None = None) -> None:
    """Set KERAS_BACKEND and import Keras.

    Args:
        name: one of BACKENDS; None keeps the environment's KERAS_BACKEND, or else chooses the first backend installed.
            TensorFlow comes first: export needs it, and on CPUs it trains these networks fastest
            (docs/measurements/training.md).

    Raises:
        UserError: the backend is unknown or not installed.
    """
    name = name or os.environ.get("KERAS_BACKEND") or next(filter(find_spec, BACKENDS), BACKENDS[0])
    check_installed(name)
    os.environ["KERAS_BACKEND"] = name
    with quiet():
        import keras  # noqa: F401  quiet: its backend prints start-up messages
    if name == "tensorflow":
        correct_tensorflow()


def correct_tensorflow() -> None:
    """Keep TensorFlow from fusing operators in its graphs.

    TensorFlow 2.21 with oneDNN, its default on x86 CPUs, turns a convolution, a sum and a LeakyReLU into one operator that
    computes something else, in `tf.function` and `predict`, but not when it runs eagerly or with XLA. The blocks of RFDN are of
    this form.
    """
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"remapping": False})


def is_bfloat16_fast(devices: Path = Path("/dev"), cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """False on an x86 CPU without AMX and without a GPU: there, layers in bfloat16 are slower than in float32.

    Args:
        devices: the folder with the nodes of GPUs.
        cpu: Linux's description of the CPU.
    """
    if any((devices / gpu).exists() for gpu in ("nvidia0", "kfd")) or not cpu.exists():
        return True
    flags = cpu.read_text()
    return "amx_bf16" in flags or "flags" not in flags  # Arm's list has another name


def check_installed(name: str) -> None:
    """Raise UserError if a backend is unknown or not installed."""
    if name not in BACKENDS:
        raise UserError(f"Keras backend {name}: unknown; use {', '.join(BACKENDS)}")
    if find_spec(name) is None or find_spec("keras") is None:
        extra = "train" if name == "tensorflow" else name
        raise UserError(f"Keras with the {name} backend is not installed; pip install 'mobile-sr[{extra}]'")


def require_keras(what: object) -> None:
    """Choose the default backend for a model that only Keras can run.

    Args:
        what: name of the model in the error message.

    Raises:
        UserError: Keras or its backend is not installed.
    """
    if find_spec("keras") is None:
        raise UserError(f"{what}: a Keras model needs Keras; pip install 'mobile-sr[train]', or use a .tflite")
    choose_backend()


def require_tensorflow(what: str) -> None:
    """Select the TensorFlow backend of Keras.

    Args:
        what: the command, for the error message.
    Raises: UserError when TensorFlow or Keras is not installed, or KERAS_BACKEND names another backend.
    """
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        raise UserError(f"{what} needs TensorFlow and Keras: pip install 'mobile-sr[train]'")
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise UserError(f"{what} needs the TensorFlow backend; KERAS_BACKEND is {os.environ['KERAS_BACKEND']}")
