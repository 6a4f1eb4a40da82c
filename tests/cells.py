"""The layers and cells of the registry's names, and what they call a state."""

import functools

import numpy as np

import pyrnn

MAKERS = {
    "lstm": (pyrnn.LSTM, pyrnn.LSTMCell, {}),
    "gru": (pyrnn.GRU, pyrnn.GRUCell, {}),
    "gru_before": (pyrnn.GRU, pyrnn.GRUCell, {"reset_after": False}),
    "rnn_tanh": (pyrnn.RNN, pyrnn.RNNCell, {}),
    "rnn_relu": (pyrnn.RNN, pyrnn.RNNCell, {"nonlinearity": "relu"}),
    "lstm_coupled": (pyrnn.LSTM, None, {"coupled": True}),
    "indrnn": (pyrnn.IndRNN, None, {}),
    "mingru": (pyrnn.MinGRU, None, {}),
    "minlstm": (pyrnn.MinLSTM, None, {}),
    "lstm_norm": (pyrnn.LSTM, None, {"layer_norm": True}),
    "gru_norm": (pyrnn.GRU, None, {"layer_norm": True}),
}


def layer_of(cell):
    """The class of layers of a cell, with what makes them of that cell."""
    layer, _, options = MAKERS[cell]
    return functools.partial(layer, **options)


SINGLE = tuple(name for name, (_, single, _) in MAKERS.items() if single)
"""Names of the cells that have a class for one step."""


def cell_of(cell):
    """The same for one step."""
    _, single, options = MAKERS[cell]
    return functools.partial(single, **options)


def as_state(array):
    """(S, ...) as layers and cells take and return it: a tuple for the LSTM, else an array."""
    return tuple(array) if len(array) > 1 else array[0]


def as_array(state):
    """The way back: (S, ...)."""
    return np.stack(state) if isinstance(state, tuple) else state[None]
