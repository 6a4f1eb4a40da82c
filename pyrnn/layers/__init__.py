"""Layers without a recurrence, one a file.

Each is a `pyrnn._layer.Layer`, whose docstring says what that asks of it.
"""

from .embedding import Embedding
from .layer_norm import LayerNorm
from .linear import Linear

__all__ = ["Embedding", "LayerNorm", "Linear"]
