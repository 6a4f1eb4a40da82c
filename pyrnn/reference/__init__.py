"""The recurrences in plain NumPy: slow, clear, and the truth that the fast kernels are tested against.

One file a cell, each holding its formula (``point``) and its derivative (``back``); `sequence` walks a cell
over time, `stack` builds layers and directions out of that, `layers`, `attention` and `transformer` have
what has no recurrence, `optimizers` the steps of training. Nothing here uses the compiled part of the
library. The gradients are proved by central differences and compared with PyTorch in the tests.
"""

from . import (
    attention,
    gru,
    gru_before,
    gru_norm,
    indrnn,
    layers,
    lstm,
    lstm_coupled,
    lstm_norm,
    mingru,
    minlstm,
    optimizers,
    rnn_relu,
    rnn_tanh,
    transformer,
)
from .common import Cell
from .options import options_of
from .sequence import Tape, backward, forward
from .stack import StackTape, names_of, own_names, stack_backward, stack_forward, weights_of

__all__ = [
    "Cell",
    "StackTape",
    "Tape",
    "attention",
    "backward",
    "cells",
    "forward",
    "layers",
    "names_of",
    "optimizers",
    "options_of",
    "own_names",
    "stack_backward",
    "stack_forward",
    "transformer",
    "weights_of",
]

# The names are those of the compiled registry, so that a test can walk both.
cells: dict[str, Cell] = {
    "lstm": lstm,
    "gru": gru,
    "gru_before": gru_before,
    "rnn_tanh": rnn_tanh,
    "rnn_relu": rnn_relu,
    "lstm_coupled": lstm_coupled,
    "indrnn": indrnn,
    "mingru": mingru,
    "minlstm": minlstm,
    "lstm_norm": lstm_norm,
    "gru_norm": gru_norm,
}
