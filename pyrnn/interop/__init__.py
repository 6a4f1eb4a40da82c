"""Weights from and to other libraries, each imported only when one of its own objects is made or read."""

from .flax import from_flax, to_flax
from .keras import from_keras, load_keras_weights
from .torch import from_torch, list_torch, to_torch

__all__ = [
    "from_flax",
    "from_keras",
    "from_torch",
    "list_torch",
    "load_keras_weights",
    "to_flax",
    "to_torch",
]
