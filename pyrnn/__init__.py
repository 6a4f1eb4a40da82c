"""Recurrent networks at the speed of the CPU: NumPy in, NumPy out, no framework."""

try:
    from . import _core
except ImportError as error:
    raise ImportError(
        f"pyrnn's compiled part cannot be loaded ({error}). In a source checkout: pip install it, and run "
        "Python from another directory, so that it does not find the sources first."
    ) from error

from importlib import import_module
from typing import TYPE_CHECKING

from . import functional, init, layers, losses, metrics, optim, training
from ._config import choose_isa, show_config
from ._memory import empty_cache
from ._summary import summary
from ._threads import get_num_threads, set_num_threads
from .cells import GRUCell, LSTMCell, RNNCell
from .independent import IndRNN, MinGRU, MinLSTM
from .layers import (
    AdditiveAttention,
    Bidirectional,
    Checkpointed,
    DotAttention,
    Dropout,
    Embedding,
    LastStep,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    PositionalEncoding,
    Sequential,
    TransformerEncoderLayer,
)
from .losses import cross_entropy
from .optim import SGD, Adam, AdamW, RMSprop, clip_grad_adaptive, clip_grad_norm, clip_grad_value
from .recurrent import GRU, LSTM, RNN
from .saving import load, load_metadata, save
from .training import DivergenceError, History, evaluate, fit, predict

if TYPE_CHECKING:
    from . import diagnostics, interop, plot, reference, schedules, text

__version__: str = _core.VERSION

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "AdditiveAttention",
    "Bidirectional",
    "Checkpointed",
    "DivergenceError",
    "DotAttention",
    "Dropout",
    "Embedding",
    "GRUCell",
    "History",
    "IndRNN",
    "LSTMCell",
    "LastStep",
    "LayerNorm",
    "Linear",
    "MinGRU",
    "MinLSTM",
    "MultiHeadAttention",
    "PositionalEncoding",
    "RMSprop",
    "RNNCell",
    "Sequential",
    "TransformerEncoderLayer",
    "__version__",
    "clip_grad_adaptive",
    "clip_grad_norm",
    "clip_grad_value",
    "cross_entropy",
    "diagnostics",
    "empty_cache",
    "evaluate",
    "fit",
    "functional",
    "get_num_threads",
    "init",
    "interop",
    "layers",
    "load",
    "load_metadata",
    "losses",
    "metrics",
    "optim",
    "plot",
    "predict",
    "reference",
    "save",
    "schedules",
    "set_num_threads",
    "show_config",
    "summary",
    "text",
    "training",
]

# Imported when they are used: they would take a third of the time of `import pyrnn`.
_ON_USE = {"diagnostics", "interop", "plot", "reference", "schedules", "text"}


def __getattr__(name: str) -> object:
    if name not in _ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ON_USE})


choose_isa()
