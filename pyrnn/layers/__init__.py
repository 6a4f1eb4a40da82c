"""Layers without a recurrence of their own, one a file.

Each is a `pyrnn._layer.Layer`, whose docstring says what that asks of it.
"""

from .alignment import AdditiveAttention, DotAttention
from .attention import MultiHeadAttention
from .bidirectional import Bidirectional
from .checkpointed import Checkpointed
from .dropout import Dropout
from .embedding import Embedding
from .last_step import LastStep
from .layer_norm import LayerNorm
from .linear import Linear
from .positional_encoding import PositionalEncoding
from .sequential import Sequential
from .transformer import TransformerEncoderLayer

__all__ = [
    "AdditiveAttention",
    "Bidirectional",
    "Checkpointed",
    "DotAttention",
    "Dropout",
    "Embedding",
    "LastStep",
    "LayerNorm",
    "Linear",
    "MultiHeadAttention",
    "PositionalEncoding",
    "Sequential",
    "TransformerEncoderLayer",
]
