"""The recurrences in plain NumPy: slow, clear, and the truth that the fast kernels are tested against.

One file a cell, each holding its formula (``point``) and its derivative (``back``); `sequence` walks a cell
over time, `stack` builds layers and directions out of that, `layers` has what has no recurrence. Nothing here
uses the compiled part of the library. The gradients are proved by central differences and compared with
PyTorch in the tests.
"""

from . import gru, gru_before, layers, lstm, rnn_relu, rnn_tanh
from .common import Cell
from .sequence import Tape, backward, forward
from .stack import StackTape, stack_backward, stack_forward

__all__ = [
    "Cell",
    "StackTape",
    "Tape",
    "backward",
    "cells",
    "forward",
    "layers",
    "stack_backward",
    "stack_forward",
]

# The names are those of the compiled registry, so that a test can walk both.
cells: dict[str, Cell] = {
    "lstm": lstm,
    "gru": gru,
    "gru_before": gru_before,
    "rnn_tanh": rnn_tanh,
    "rnn_relu": rnn_relu,
}
