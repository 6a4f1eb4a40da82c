"""Recurrent networks at the speed of the CPU: NumPy in, NumPy out, no framework."""

from . import _core, functional, layers, losses, optim, reference
from ._config import choose_isa, show_config
from ._threads import get_num_threads, set_num_threads
from .cells import GRUCell, LSTMCell, RNNCell
from .layers import Embedding, Linear
from .losses import cross_entropy
from .optim import Adam, clip_grad_norm
from .recurrent import GRU, LSTM, RNN

__version__: str = _core.VERSION

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Adam",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "Linear",
    "RNNCell",
    "__version__",
    "clip_grad_norm",
    "cross_entropy",
    "functional",
    "get_num_threads",
    "layers",
    "losses",
    "optim",
    "reference",
    "set_num_threads",
    "show_config",
]

choose_isa()
