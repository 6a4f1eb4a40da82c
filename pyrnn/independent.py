"""Recurrent layers without a recurrent product: a unit sees no state but its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from ._noise import Extras, own_or_none
from ._stack import Recurrent

__all__ = ["IndRNN", "MinGRU", "MinLSTM"]


class IndRNN(Recurrent):
    """Independently recurrent network, ``h' = relu(W x + b_ih + u * h)``: each unit sees its own state alone.

    Parameters
    ----------
    input_size, hidden_size, num_layers
        As for `LSTM`.
    activation : str, default "relu"
        As for `LSTM`.
    bias, batch_first, dropout, bidirectional, input_dropout, dtype, rng
        As for `LSTM`.
    zoneout : float, default 0.0
        As for `LSTM`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters as for `LSTM`: ``weight_ih_l0`` (H, I), ``weight_hh_l0`` (1, H), u, and ``bias_ih_l0`` (H,).
    The state is h alone. Without a recurrent product it trains several times as fast as an RNN of its size.

    References
    ----------
    Li et al. 2018, arXiv:1803.04831.

    Examples
    --------
    >>> IndRNN(3, 5).params["weight_hh_l0"].shape
    (1, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        activation: str = "relu",
        zoneout: float = 0.0,
        input_dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            "indrnn",
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            rng=rng,
            extras=Extras(
                own_or_none(activation, "activation", "relu"), zoneout=zoneout, input_dropout=input_dropout
            ),
        )


class _GatedByInput(Recurrent):
    """What MinGRU and MinLSTM share: all but the formula."""

    _cell_name: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        zoneout: float = 0.0,
        input_dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__(
            self._cell_name,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            rng=rng,
            extras=Extras(zoneout=zoneout, input_dropout=input_dropout),
        )


class MinGRU(_GatedByInput):
    """Gated recurrent unit whose gate and candidate see the input alone.

    ::

        z = sigmoid(W_z x + b_z)     n = g(W_n x + b_n)     h' = (1-z)*h + z*n
        g(x) = x + 1/2 from 0 on, else sigmoid(x)

    The candidate is positive, so the state is a mean of positive numbers: nothing cancels, and nothing
    overflows.

    Parameters
    ----------
    input_size, hidden_size, num_layers
        As for `LSTM`.
    bias, batch_first, dropout, bidirectional, input_dropout, dtype, rng
        As for `LSTM`.
    zoneout : float, default 0.0
        As for `LSTM`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters as for `LSTM`: ``weight_ih_l0`` (2H, I) and ``bias_ih_l0`` (2H,), in the order z n. The state
    is h alone.

    References
    ----------
    Feng et al. 2024, arXiv:2410.01201.

    Examples
    --------
    >>> y, h = MinGRU(3, 5, rng=0)(np.ones((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """

    _cell_name = "mingru"


class MinLSTM(_GatedByInput):
    """Long short-term memory whose gates and candidate see the input alone.

    ::

        f, i = sigmoid(W x + b)     n = g(W_n x + b_n)     h' = f/(f+i) * h + i/(f+i) * n

    with the g of `MinGRU`; the quotients are computed such that neither gate underflows.

    Parameters
    ----------
    input_size, hidden_size, num_layers
        As for `LSTM`.
    bias, batch_first, dropout, bidirectional, input_dropout, dtype, rng
        As for `LSTM`.
    zoneout : float, default 0.0
        As for `LSTM`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters as for `LSTM`: ``weight_ih_l0`` (3H, I) and ``bias_ih_l0`` (3H,), in the order f i n. The state
    is h alone.

    References
    ----------
    Feng et al. 2024, arXiv:2410.01201.

    Examples
    --------
    >>> y, h = MinLSTM(3, 5, rng=0)(np.ones((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """

    _cell_name = "minlstm"
