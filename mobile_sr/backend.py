"""Which Keras backend runs; decided before Keras is imported."""

import os
from importlib.util import find_spec

from mobile_sr.converters.quiet import quiet
from mobile_sr.errors import UserError

BACKENDS = ("tensorflow", "torch", "jax")


def choose_backend(name=None):
    """Set KERAS_BACKEND before Keras is imported: `name`, else the environment's, else the first one installed.

    TensorFlow comes first: it converts, and measured on CPUs it trains these networks fastest (docs/measurements/training.md).
    Raises: UserError when the backend is unknown or not installed.
    """
    name = name or os.environ.get("KERAS_BACKEND") or next(filter(find_spec, BACKENDS), BACKENDS[0])
    check_installed(name)
    os.environ["KERAS_BACKEND"] = name
    with quiet():
        import keras  # noqa: F401  its backend announces itself at length


def check_installed(name):
    """Raise UserError when a backend is unknown or not installed."""
    if name not in BACKENDS:
        raise UserError(f"Keras backend {name}: unknown; use {', '.join(BACKENDS)}")
    if find_spec(name) is None or find_spec("keras") is None:
        extra = "train" if name == "tensorflow" else name
        raise UserError(f"Keras with the {name} backend is not installed; pip install 'mobile-sr[{extra}]'")


def require_keras(what):
    """choose_backend for `what`, a model that only Keras can run. Raises: UserError when Keras is missing."""
    if find_spec("keras") is None:
        raise UserError(f"{what}: a Keras model needs Keras; pip install 'mobile-sr[train]', or use a .tflite")
    choose_backend()
