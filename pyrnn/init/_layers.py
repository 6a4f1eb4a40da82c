"""Initial values for the parameters of a layer, in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .. import _check
from .._layer import Container, Layer
from .._random import as_generator
from .._stack import Recurrent
from ._arrays import Array, Rng

Initializer = Callable[..., Array]

# The gates of each cell in the order of its rows (csrc/cells), and those that say how much is remembered,
# with the sign of a forget bias in theirs, or of the logarithm of a time: a coupled i, and the z of a minGRU,
# say how much is displaced.
GATES = {
    "lstm": "ifgo",
    "lstm_coupled": "igo",
    "gru": "rzn",
    "gru_before": "rzn",
    "mingru": "zn",
    "minlstm": "fin",
}
FORGET = {"lstm": {"f": 1}, "lstm_coupled": {"i": -1}, "minlstm": {"f": 1}}
CHRONO = {
    "lstm": {"f": 1, "i": -1},
    "lstm_coupled": {"i": -1},
    "gru": {"z": 1},
    "gru_before": {"z": 1},
    "mingru": {"z": -1},
    "minlstm": {"f": 1, "i": -1},
}


def fill(layer: Layer, names: str, initializer: Initializer, rng: Rng = None, **options: Any) -> None:
    """Draw the parameters whose names match a pattern anew, in place.

    The matrices and biases of recurrent layers are drawn gate by gate: for ``weight_hh_l0`` (4H, H) of an
    LSTM, `initializer` is asked four times for (H, H), so that every gate gets an orthogonal square, say,
    and Glorot's fan_out is H.

    Parameters
    ----------
    layer : Layer
        A layer, or one made of layers, such as `Sequential`. It is changed in place.
    names : str
        A pattern for names in ``layer.params``: ``*`` stands for anything, ``?`` for one character.
    initializer : callable
        ``initializer(shape, rng, dtype, **options)`` returns an array of that shape.
    rng : None, int or numpy.random.Generator
        Source of the numbers: one stream for all parameters, in the order of ``layer.params``.
    **options
        Passed on, e.g. ``gain=0.5``.

    Raises
    ------
    TypeError
        `layer` is no layer, or `initializer` no function.
    ValueError
        No name matches, or the initializer refuses a shape or returns another. Nothing has been changed.

    Examples
    --------
    >>> from pyrnn import LSTM
    >>> from pyrnn.init import orthogonal
    >>> lstm = LSTM(3, 4, num_layers=2)
    >>> fill(lstm, "weight_hh*", orthogonal, rng=0)
    >>> forget = lstm.params["weight_hh_l1"][4:8]
    >>> np.allclose(forget @ forget.T, np.eye(4), atol=1e-6)
    True
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer, got {layer!r}")
    if not isinstance(names, str):
        raise TypeError(f"names must be a str, got {names!r}")
    if not callable(initializer):
        raise TypeError(f"initializer must be a function, got {initializer!r}")
    generator, blocks = as_generator(rng), _blocks(layer)
    found: dict[str, Array] = {}
    for name, array in layer.params.items():
        if fnmatchcase(name, names):
            count = blocks.get(name, 1)
            shape = (array.shape[0] // count, *array.shape[1:])
            drawn = [np.asarray(initializer(shape, generator, array.dtype, **options)) for _ in range(count)]
            if any(part.shape != shape for part in drawn):
                raise ValueError(f"initializer must return shape {shape}, got {drawn[0].shape}")
            found[name] = np.concatenate(drawn)
    if not found:
        raise ValueError(f"names must match a parameter, got {names!r}; there are {', '.join(layer.params)}")
    layer.params.update(found)


def forget_bias(layer: Layer, value: float = 1.0) -> None:
    """Set the bias of the forget gates, in place: of every LSTM in a layer, all its layers and directions.

    A gate has two biases, of which only the sum counts: `value` goes into ``bias_ih``, and 0 into
    ``bias_hh``. Of an LSTM with coupled gates, whose f is 1 - i, i gets -value; a `MinLSTM` has one bias.

    Parameters
    ----------
    layer : Layer
        A recurrent layer, a cell, or a layer made of layers, such as `Sequential`. It is changed in place;
        recurrent layers without a forget gate are left alone.
    value : float, default 1.0
        With 1.0 a gate starts by keeping sigmoid(1) = 73 % of its state a step.

    Raises
    ------
    TypeError
        `layer` is no layer, or `value` no number.
    ValueError
        There is no LSTM, or one has no biases. Nothing has been changed.

    References
    ----------
    Gers, Schmidhuber & Cummins 2000, doi:10.1162/089976600300015015; Jozefowicz, Zaremba & Sutskever 2015,
    "An Empirical Exploration of Recurrent Network Architectures", ICML.

    Examples
    --------
    >>> from pyrnn import LSTM
    >>> lstm = LSTM(3, 2, rng=0)
    >>> forget_bias(lstm)
    >>> (lstm.params["bias_ih_l0"] + lstm.params["bias_hh_l0"])[2:4]
    array([1., 1.], dtype=float32)
    """
    number = _check.number(value, "value")
    if not math.isfinite(number):
        raise ValueError(f"value must be finite, got {value}")
    _set_biases(layer, FORGET, "an LSTM", lambda units: np.full(units, number))


def chrono(layer: Layer, t_max: float, rng: Rng = None) -> None:
    """Let gates start with memories of 1 to `t_max` steps, in place: of every LSTM and GRU in a layer.

    Each unit draws u between 1 and t_max - 1 and gets the bias log(u) where it forgets by it, so that it
    keeps u / (1 + u) of its state a step; the LSTM's input gate gets -log(u).

    Parameters
    ----------
    layer : Layer
        As for `forget_bias`: an `LSTM`, `GRU`, `MinGRU` or `MinLSTM`, or what contains them.
    t_max : float
        The longest dependency that is expected, in steps, at least 2.
    rng : None, int or numpy.random.Generator
        Source of the numbers.

    Raises
    ------
    TypeError
        `layer` is no layer, or `t_max` no number.
    ValueError
        `t_max` is below 2 or not finite, there is no LSTM or GRU, or one has no biases. Nothing has been
        changed.

    Notes
    -----
    LSTM: b_f = log(u), b_i = -log(u). GRU: b_z = log(u), for here, as in PyTorch, z is the part of the state
    that is kept; of a gate that lets in, as the paper writes it, the sign is the other one. So it is for the
    i of an LSTM with coupled gates and the z of a `MinGRU`: -log(u). `MinLSTM`: as LSTM, so that f / (f + i)
    is u / (1 + u). These go into ``bias_ih``, and 0 into ``bias_hh``.

    References
    ----------
    Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", arXiv:1804.11188.

    Examples
    --------
    >>> from pyrnn import GRU
    >>> gru = GRU(3, 100, rng=0)
    >>> chrono(gru, t_max=50, rng=0)
    >>> u = np.exp(gru.params["bias_ih_l0"][100:200])
    >>> bool(u.min() >= 1 and u.max() <= 49)
    True
    """
    longest, generator = _check.number(t_max, "t_max"), as_generator(rng)
    if not 2 <= longest < math.inf:
        raise ValueError(f"t_max must be finite and at least 2, got {t_max}")
    _set_biases(
        layer, CHRONO, "an LSTM or GRU", lambda units: np.log(generator.uniform(1, longest - 1, units))
    )


def _leaves(layer: Layer) -> Iterator[tuple[str, Layer]]:
    """The layers that are not made of others, each with a pattern of its parameters' names."""
    if not isinstance(layer, Container):
        yield "{}", layer
        return
    for pattern, part in layer._layers:
        for inner, leaf in _leaves(part):
            yield pattern.format(inner), leaf


def _recurrent(layer: Layer) -> Iterator[tuple[Recurrent, list[str | None]]]:
    """Each slot of each recurrent layer: the layer, and the slot's w_ih, w_hh, b_ih and b_hh by name."""
    for pattern, leaf in _leaves(layer):
        if isinstance(leaf, Recurrent):
            for slot in range(leaf._slot_count):
                names = leaf._names(slot)[:4]
                yield leaf, [None if name is None else pattern.format(name) for name in names]


def _blocks(layer: Layer) -> dict[str, int]:
    """How many gates the parameters of recurrent layers have, by name."""
    found: dict[str, int] = {}
    for leaf, (w_ih, w_hh, b_ih, b_hh) in _recurrent(layer):
        counts = {w_ih: leaf._cell.gates, b_ih: leaf._cell.gates}
        counts |= {w_hh: leaf._cell.recurrent, b_hh: leaf._cell.recurrent}
        found |= {name: count for name, count in counts.items() if name is not None}
    return found


def _set_biases(
    layer: Layer, signs: Mapping[str, Mapping[str, int]], what: str, draw: Callable[[int], Array]
) -> None:
    """Give gates the biases of `draw`, times their signs: the same to all gates of a unit."""
    if not isinstance(layer, Layer):
        raise TypeError(f"layer must be a layer, got {layer!r}")
    found: dict[str, Array] = {}
    for leaf, (_, _, b_ih, b_hh) in _recurrent(layer):
        cell, H = leaf._cell.name, leaf.hidden_size
        if cell not in signs:
            continue
        if b_ih is None or b_ih not in layer.params:
            raise ValueError(f"layer must have biases, got {leaf!r}")
        values = draw(H)
        for name, part in ((b_ih, values), (b_hh, np.zeros(H))):
            if name is not None:
                bias = layer.params[name].copy()
                for gate, sign in signs[cell].items():
                    start = GATES[cell].index(gate) * H
                    bias[start : start + H] = sign * part
                found[name] = bias
    if not found:
        raise ValueError(f"layer must be or contain {what}, got {layer!r}")
    layer.params.update(found)
