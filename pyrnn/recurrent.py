"""The recurrent layers by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import _check
from ._noise import Extras, own_or_none
from ._stack import Recurrent
from .functional import ACTIVATIONS

__all__ = ["GRU", "LSTM", "RNN"]


class LSTM(Recurrent):
    """Long short-term memory, several layers, one or both directions.

    ::

        i, f, o = sigmoid(W x + b_ih + R h + b_hh)     g = tanh(likewise)
        c' = f*c + i*g     h' = o * tanh(c')     with a projection, h' = W_hr (o * tanh(c'))

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, at least 1.
    num_layers : int, default 1
        L; each layer reads the output of the one before.
    bias : bool, default True
        Whether there are biases.
    batch_first : bool, default False
        Whether x and y are (B, T, features) and not (T, B, features). Neither costs a copy.
    dropout : float, default 0.0
        Part of every layer's output but the last one's that `vjp` zeroes; the rest is scaled by 1 / (1 -
        dropout). A plain call drops nothing.
    bidirectional : bool, default False
        Whether a second set of weights runs from the end to the beginning; D is then 2, else 1.
    proj_size : int, default 0
        P, below H: h, and with it y and what the next layer reads, is projected to P numbers; c keeps H
        (Sak et al. 2014). 0 for no projection: P is H. Dropout and zoneout of h are those of the projected
        one.
    activation : str, default "tanh"
        Of g and of c' on its way into h': "tanh", "sigmoid", "relu", "hard_sigmoid" (x/6 + 1/2 between 0 and
        1), "softsign" (x / (1 + abs(x))) or "identity".
    recurrent_activation : str, default "sigmoid"
        Of the gates i, f and o.
    peepholes : bool, default False
        Whether i and f see c, and o sees c', each unit its own: ``i = sigmoid(... + p_i * c)`` and so on.
    coupled : bool, default False
        Whether f is 1 - i: three gates, in the order i g o.
    layer_norm : bool, default False
        Whether layer normalization runs inside the cell (Ba et al. 2016); not with coupled gates. LN(x) is
        (x - mean) / sqrt(variance + 1e-5) over a row's 4H pre-activations, or H values of c'::

            i, f, o = sigmoid(gain_ih * LN(W x) + b_ih + gain_hh * LN(R h) + b_hh)     g = tanh(likewise)
            c' = f*c + i*g     h' = o * tanh(gain_ch * LN(c') + bias_ch)

    cell_clip : float, optional
        c stays between -cell_clip and cell_clip; no gradient passes where it is at the limit.
    zoneout : float or tuple of two, default 0.0
        The probability that a unit keeps its state from the step before; two for h and c: drawn in `vjp` for
        every unit, row and step; a plain call takes the expectation (Krueger et al. 2017).
    input_dropout, recurrent_dropout : float, default 0.0
        Dropout in `vjp`, with one mask of each row for all steps, of what every layer reads and of the state
        that its products read (Gal & Ghahramani 2016). The rest is scaled by 1 / (1 - p).
    weight_dropout : float, default 0.0
        DropConnect in `vjp`: dropout of the recurrent weights, for a call at a time (Merity et al. 2018).
    dtype : float32 or float64, default float32
        The dtype of parameters, computation and outputs.
    rng : None, int or numpy.random.Generator
        Source of the initial weights, uniform between ±1/sqrt(H) as PyTorch draws them, and after them of
        dropout masks.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters, with PyTorch's names and layouts, gates in the order i f g o: ``weight_ih_l0`` (4H, I), from
    layer 1 on (4H, D*P), ``weight_hh_l0`` (4H, P), ``bias_ih_l0`` and ``bias_hh_l0`` (4H,), with peepholes
    ``weight_ch_l0`` (3, H) in the order i f o, and with a projection ``weight_hr_l0`` (P, H); the reverse
    direction's end in ``_reverse``. Coupled gates have 3 in place of 4, and peepholes i o. With layer
    normalization also ``gain_ih_l0`` and ``gain_hh_l0`` (4H,), ``gain_ch_l0`` and ``bias_ch_l0`` (H,); gains
    are 1 at first and ``bias_ch`` is 0.

    A sequence's result is the same, bit for bit, whatever batch it runs in, however its steps are cut into
    calls, and for any number of threads.

    References
    ----------
    Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; Gers et al. 2000,
    doi:10.1162/089976600300015015; Graves & Schmidhuber 2005, doi:10.1016/j.neunet.2005.06.042
    (bidirectional); Gers & Schmidhuber 2000, doi:10.1109/IJCNN.2000.861302 (peepholes); Greff et al. 2017,
    arXiv:1503.04069 (coupled); Ba et al. 2016, arXiv:1607.06450, equations 20-22 (layer normalization);
    Krueger et al. 2017, arXiv:1606.01305; Gal & Ghahramani 2016, arXiv:1512.05287; Merity et al. 2018,
    arXiv:1708.02182; Sak et al. 2014, arXiv:1402.1128, equations 7-13 (projection).

    Examples
    --------
    >>> lstm = LSTM(3, 5, rng=0)
    >>> y, (h, c) = lstm(np.ones((7, 2, 3)))
    >>> y.shape, h.shape, c.shape
    ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    >>> y, (h, c) = LSTM(3, 5, proj_size=2, rng=0)(np.ones((7, 2, 3)))
    >>> y.shape, h.shape, c.shape
    ((7, 2, 2), (1, 2, 2), (1, 2, 5))
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
        proj_size: int = 0,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        peepholes: bool = False,
        coupled: bool = False,
        layer_norm: bool = False,
        cell_clip: float | None = None,
        zoneout: float | tuple[float, float] = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.coupled = _check.flag(coupled, "coupled")
        self.layer_norm = _check.flag(layer_norm, "layer_norm")
        if self.coupled and self.layer_norm:
            raise ValueError("layer_norm must be False with coupled gates, got True")
        super().__init__(
            "lstm_coupled" if self.coupled else "lstm_norm" if self.layer_norm else "lstm",
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
                own_or_none(activation, "activation", "tanh"),
                own_or_none(recurrent_activation, "recurrent_activation", "sigmoid"),
                peepholes,
                cell_clip,
                zoneout,
                input_dropout,
                recurrent_dropout,
                weight_dropout,
                proj_size,
            ),
        )
        self.proj_size = self._told.projection

    def _options(self) -> dict[str, Any]:
        chosen = {"coupled": self.coupled, "layer_norm": self.layer_norm}
        return super()._options() | {name: True for name, value in chosen.items() if value}


class GRU(Recurrent):
    """Gated recurrent unit, several layers, one or both directions.

    ::

        r, z = sigmoid(W x + b_ih + R h + b_hh)     h' = (1-z)*n + z*h
        n = tanh(W_n x + b_ih_n + r * (R_n h + b_hh_n))        reset_after=True
        n = tanh(W_n x + b_ih_n + R_n (r * h) + b_hh_n)        reset_after=False

    Parameters
    ----------
    input_size, hidden_size, num_layers
        As for `LSTM`.
    reset_after : bool, default True
        Whether the reset gate applies after the recurrent product, as in cuDNN and PyTorch and by default in
        Keras; or before, as published and by default in ONNX.
    layer_norm : bool, default False
        Whether layer normalization runs inside the cell (Ba et al. 2016); with `reset_after` alone. LN as for
        `LSTM`: over the 2H pre-activations of r and z, and over the H of n::

            r, z = sigmoid(gain_ih * LN(W x) + b_ih + gain_hh * LN(R h) + b_hh)
            n = tanh(gain_ih_n * LN(W_n x) + b_ih_n + r * (gain_hh_n * LN(R_n h) + b_hh_n))

    activation, recurrent_activation
        Of n, and of r and z; as for `LSTM`.
    bias, batch_first, dropout, bidirectional, input_dropout, recurrent_dropout, weight_dropout, dtype, rng
        As for `LSTM`.
    zoneout : float, default 0.0
        As for `LSTM`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters as for `LSTM`, with 3H rows, gates in the order r z n; with layer normalization also
    ``gain_ih_l0`` and ``gain_hh_l0`` (3H,), 1 at first. The state is h alone.

    References
    ----------
    Cho et al. 2014, arXiv:1406.1078: version 1 has the reset after the product, version 3 before it. Ba et
    al. 2016, arXiv:1607.06450, equations 29-32 (layer normalization).

    Examples
    --------
    >>> gru = GRU(3, 5, bidirectional=True, rng=0)
    >>> y, h = gru(np.ones((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 10), (2, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        reset_after: bool = True,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        activation: str = "tanh",
        recurrent_activation: str = "sigmoid",
        layer_norm: bool = False,
        zoneout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.reset_after = _check.flag(reset_after, "reset_after")
        self.layer_norm = _check.flag(layer_norm, "layer_norm")
        if self.layer_norm and not self.reset_after:
            raise ValueError("layer_norm must be False with reset_after=False, got True")
        super().__init__(
            "gru_norm" if self.layer_norm else "gru" if self.reset_after else "gru_before",
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
                own_or_none(activation, "activation", "tanh"),
                own_or_none(recurrent_activation, "recurrent_activation", "sigmoid"),
                zoneout=zoneout,
                input_dropout=input_dropout,
                recurrent_dropout=recurrent_dropout,
                weight_dropout=weight_dropout,
            ),
        )

    def _options(self) -> dict[str, Any]:
        chosen = ({} if self.reset_after else {"reset_after": False}) | (
            {"layer_norm": True} if self.layer_norm else {}
        )
        return super()._options() | chosen


class RNN(Recurrent):
    """Elman network, ``h' = tanh(W x + b_ih + R h + b_hh)``, several layers, one or both directions.

    Parameters
    ----------
    input_size, hidden_size, num_layers
        As for `LSTM`.
    nonlinearity : str, default "tanh"
        The activation, as for `LSTM`. The derivative of relu at 0 is 0.
    bias, batch_first, dropout, bidirectional, input_dropout, recurrent_dropout, weight_dropout, dtype, rng
        As for `LSTM`.
    zoneout : float, default 0.0
        As for `LSTM`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters as for `LSTM`, with H rows. The state is h alone.

    References
    ----------
    Elman 1990, doi:10.1207/s15516709cog1402_1; Le et al. 2015, arXiv:1504.00941 (relu).

    Examples
    --------
    >>> RNN(3, 5, num_layers=2, nonlinearity="relu")
    RNN(3, 5, num_layers=2, nonlinearity='relu')
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        zoneout: float = 0.0,
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.nonlinearity = _check.choice(nonlinearity, ACTIVATIONS, "nonlinearity")
        own = self.nonlinearity in ("tanh", "relu")  # which are cells for themselves
        super().__init__(
            f"rnn_{self.nonlinearity}" if own else "rnn_tanh",
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
                None if own else self.nonlinearity,
                zoneout=zoneout,
                input_dropout=input_dropout,
                recurrent_dropout=recurrent_dropout,
                weight_dropout=weight_dropout,
            ),
        )

    def _options(self) -> dict[str, Any]:
        options = {name: value for name, value in super()._options().items() if name != "activation"}
        return options | ({} if self.nonlinearity == "tanh" else {"nonlinearity": self.nonlinearity})
