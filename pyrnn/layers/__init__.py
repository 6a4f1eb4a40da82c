"""Layers without a recurrence, one a file.

Each is a `pyrnn._layer.Layer`, whose docstring says what that asks of it.
"""

from .dropout import Dropout
from .embedding import Embedding
from .layer_norm import LayerNorm
from .linear import Linear
from .positional_encoding import PositionalEncoding

__all__ = ["Dropout", "Embedding", "LayerNorm", "Linear", "PositionalEncoding"]
