"""Weights from and to other libraries, each imported only when one of its own objects is made or read."""

from .flax import from_flax, to_flax
from .torch import from_torch, list_torch, to_torch

__all__ = ["from_flax", "from_torch", "list_torch", "to_flax", "to_torch"]
