"""Recurrent layers as functions of their weights: one direction of one layer, stateless.

`CELLS` names the cells; `forward` runs one, `vjp` runs it and returns the way back. Weights have PyTorch's
layout and gate order (i f g o; r z n), G*H rows in blocks of H. The layers in `pyrnn.recurrent` stack these
functions and keep the weights packed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check, _core
from ._parameters import as_array, as_real
from ._registry import ACTIVATIONS, CELLS, MOST, PLAIN, Cell, Options, count_units, find, read_options, widths
from ._states import Stacked, States, apart, read_projection, together
from ._threads import get_num_threads

__all__ = ["ACTIVATIONS", "CELLS", "forward", "vjp"]

Array = NDArray[Any]
Given = tuple[Array | None, ...]  # states of which some may be left out, for zeros
SURELY_FITS = 1 << 40  # numbers; no cell makes a thousand of one, and 2**53 bytes can be addressed


class Sequence(NamedTuple):
    """The checked arguments of one call, batch and time in their own axes."""

    x: Array  # (T, B, I)
    state: Given | None  # S arrays (B, H), h (B, P)
    lengths: NDArray[np.int64] | None
    reset: NDArray[np.bool_] | None
    reverse: bool
    mask: Array | None = None  # (B, P), for training
    seed: int = 0


class Weights(NamedTuple):
    """The weights of one direction of one layer, checked and contiguous."""

    w_ih: Array  # (G*H, I)
    w_hh: Array  # (recurrent*H, P)
    b_ih: Array | None  # (G*H,)
    b_hh: Array | None  # (recurrent*H,)
    units: Array | None = None  # (U, H)
    hr: Array | None = None  # (P, H), of a projection


def pack(cell: Cell, use: int, weights: Weights, options: Options = PLAIN) -> Array:
    """Weights as the kernels read them, an opaque snapshot; `use` is _core.FORWARD or _core.BACKWARD."""
    H = len(weights.w_ih) // cell.gates
    return _core.pack(cell.number, use, H, *weights, options, get_num_threads())


class Layer(NamedTuple):
    """One direction of one layer on checked arguments, to be run beside others of its kind."""

    packed: Array
    back: Array | None  # None for inference
    seq: Sequence
    y: Array | None = None  # (T, B, P), e.g. half of a wider array; None for a new one


class Kept(NamedTuple):
    """What the way back of a layer needs; its output is not among it."""

    back: Array
    seq: Sequence
    saved: Array


class Ran(NamedTuple):
    """A layer that has run: its output, the states after it and, in training, what its way back needs."""

    y: Array
    state: States
    kept: Kept | None


def run(layers: list[Layer], chain: bool = False) -> list[Ran]:
    """Run layers side by side if there are threads for it.

    They do not depend on each other; or, in a chain, each reads the y of the one before.
    """
    ran, calls = [], []
    for packed, back, seq, y in layers:
        y, state, saved = found = _core.outputs(packed, seq.x, y, back is not None)
        ran.append(Ran(y, state, None if back is None else Kept(back, seq, saved)))
        calls.append((packed, *seq, *found))
    _core.forward(calls, get_num_threads(), chain)
    return ran


def chained(packs: list[Array], use: int, x: Array, lengths: NDArray[np.int64] | None) -> list[range]:
    """The layers of a stack in groups to be run together, as a chain where it is more than one."""
    return _core.chained(packs, use, x, lengths, get_num_threads())


def pull(
    kept: list[Kept | None],
    dys: list[Array | None],
    dstates: list[Given | None],
    chain: bool = False,
    into: Array | None = None,
) -> list[tuple[Array, States, Weights]]:
    """The way back of layers that ran: of each dx, dstate0 and the gradients of the weights.

    In a chain the dy of each is the dx of the one before, whatever is given. `into` is where dx of the last
    goes, None for a new array.
    """
    results: list[tuple[Array, States, Weights]] = []
    calls = []
    for one, dy, dstate in zip(kept, dys, dstates, strict=True):
        assert one is not None  # it ran in training
        back, seq, saved = one
        dx, dstate0, *weights = found = _core.gradients(back, seq.x, into if one is kept[-1] else None)
        if chain and results:
            dy = results[-1][0]
        calls.append((back, *seq, saved, dy, dstate, *found))
        results.append((dx, dstate0, Weights(*weights)))
    _core.backward(calls, get_num_threads(), chain)
    return results


def check_size(cell: Cell, dtype: np.dtype[Any], shape: tuple[int, ...], units: int, name: str) -> None:
    """Refuse inputs of `shape` (T, B, I) whose outputs could not be addressed.

    A broadcast array has no size of its own, so x may be there where y cannot.
    """
    T, B, inputs = shape
    width = inputs + units
    if max((T + 1) * (B + 1), width) * width < SURELY_FITS:
        return
    try:
        _core.saved_size(cell.number, dtype, inputs, units, T, B, MOST)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{name} is too large, {shape} as (T, B, I): {error}") from None


def forward(
    cell: str,
    x: ArrayLike,
    state: ArrayLike | None,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    reverse: bool = False,
    *,
    w_units: ArrayLike | None = None,
    w_hr: ArrayLike | None = None,
    activation: str | None = None,
    recurrent_activation: str | None = None,
    cell_clip: float | None = None,
    zoneout: float | tuple[float, float] = 0.0,
) -> tuple[Array, Stacked]:
    """Run a cell over a batch of sequences.

    Parameters
    ----------
    cell : str
        One of `CELLS`.
    x : array_like, shape (T, B, I)
        Inputs. Any strides; copied only if the last axis is not contiguous or the dtype is another.
    state : array_like, shape (S, B, H), or None
        State before the first step: h, and c for the LSTM (S = 2). None for zeros. Where h is projected, a
        tuple of h (B, P) and c (B, H).
    w_ih : array_like, shape (G*H, I)
        Input weights. Their dtype, float32 or float64, is that of the computation.
    w_hh : array_like, shape (G*H, H)
        Recurrent weights; (G*H, P) where h is projected.
    b_ih, b_hh : array_like, shape (G*H,), or None
        Biases of the two products; None for zeros.
    lengths : array_like of int, shape (B,), or None
        Steps of each sequence, 0 to T, in any order. Beyond them x is not read and y is zero.
    reset : array_like of bool, shape (T, B), or None
        True at the first step of an episode: the state that would pass between step t-1 and step t is zero,
        in either direction. Forward, ``reset[0]`` also drops the initial state; reversed it does nothing.
    reverse : bool, default False
        Run from each sequence's last step back to its first; ``y[t]`` still belongs to ``x[t]``.
    w_units : array_like, shape (U, H), or None
        Weights that each unit has for itself: the LSTM's peepholes, in the order i f o (i o where the gates
        are coupled), None for none; indrnn's recurrent weights, u; lstm_norm's gain_ih (four rows, i f g o),
        gain_hh (four), gain_ch and bias_ch, and then its peepholes, if any; gru_norm's gain_ih and gain_hh
        (three rows each, r z n). See `LSTM` and `GRU`.
    w_hr : array_like, shape (P, H), or None
        Of the LSTM: h is ``w_hr`` times what it would be without it; P is below H.
    activation, recurrent_activation : str, one of `ACTIVATIONS`, or None
        Of the candidate and the output, and of the gates; None for the cell's own. Not for mingru and
        minlstm.
    cell_clip : float above 0, or None
        Of the LSTM: c stays between -cell_clip and cell_clip, None for no limit. No gradient passes where it
        is at the limit.
    zoneout : float or tuple of two, default 0.0
        The probability that a unit keeps its state from the step before; two for the LSTM's h and c. Without
        training it is the expectation that is taken.

    Returns
    -------
    y : ndarray, shape (T, B, H), or (T, B, P)
        h after each step.
    state : ndarray, shape (S, B, H), or tuple
        State after the last step of each sequence, as it is taken; the initial one where there is none.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, shape or value; the message names it.

    References
    ----------
    Hochreiter & Schmidhuber 1997; Gers et al. 2000; Cho et al. 2014, arXiv:1406.1078; Elman 1990; Gers &
    Schmidhuber 2000 (peepholes); Greff et al. 2017 (coupled gates); Li et al. 2018, arXiv:1803.04831
    (indrnn); Feng et al. 2024, arXiv:2410.01201 (mingru, minlstm); Krueger et al. 2017, arXiv:1606.01305
    (zoneout); Sak et al. 2014, arXiv:1402.1128 (projection).
    """
    entry = find(cell)
    peepholes = _has_peepholes(entry, w_units)
    options = read_options(entry, activation, recurrent_activation, peepholes, cell_clip, zoneout)
    matrices = w_ih, w_hh, b_ih, b_hh, w_units, w_hr
    weights, seq, options = _read(entry, x, state, *matrices, options, lengths, reset, reverse)
    packed = pack(entry, _core.FORWARD, weights, options)
    (done,) = run([Layer(packed, None, seq)])
    return done.y, together(done.state)


def vjp(
    cell: str,
    x: ArrayLike,
    state: ArrayLike | None,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None = None,
    b_hh: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    reverse: bool = False,
    *,
    w_units: ArrayLike | None = None,
    w_hr: ArrayLike | None = None,
    activation: str | None = None,
    recurrent_activation: str | None = None,
    cell_clip: float | None = None,
    zoneout: float | tuple[float, float] = 0.0,
    mask: ArrayLike | None = None,
    seed: int = 0,
) -> tuple[tuple[Array, Stacked], Callable[..., dict[str, Any]]]:
    """Run a cell over a batch of sequences and return the way back.

    Parameters
    ----------
    cell, x, state, w_ih, w_hh, b_ih, b_hh, lengths, reset, reverse
        As in `forward`. `x`, `state`, `lengths` and `reset` are not copied if they fit as they are: leave
        them unchanged until `pull` has been called. Weights are.
    w_units, w_hr, activation, recurrent_activation, cell_clip
        As in `forward`.
    zoneout : float or tuple of two, default 0.0
        As in `forward`, but drawn at random for every unit, row and step.
    mask : array_like, shape (B, H), or (B, P), or None
        What h is multiplied with, in every step, before the recurrent products read it: for dropout at
        probability p, zeros and ``1 / (1 - p)``. Not copied either.
    seed : int, default 0
        From 0 to 2**64 - 1: where the random numbers of zoneout start.

    Returns
    -------
    (y, state) : tuple of ndarray
        As from `forward`, bit for bit; free to be changed.
    pull : callable
        ``pull(dy, dstate=None)`` takes the gradients of a scalar with respect to y and the final state, of
        their shapes, and returns a dict: `dx` (zero beyond the lengths), `dstate` (of the initial state),
        `dw_ih`, `dw_hh`, `db_ih`, `db_hh`, `dw_units`, `dw_hr`, each of its argument's shape, biases also
        where they were None. It may be called again.

    Raises
    ------
    TypeError, ValueError
        An argument has the wrong type, shape or value; the message names it.

    References
    ----------
    Back-propagation through time: Werbos 1990, doi:10.1109/5.58337. Dropout with one mask for all steps: Gal
    & Ghahramani 2016, arXiv:1512.05287.
    """
    entry, masked = find(cell), mask is not None
    peepholes = _has_peepholes(entry, w_units)
    options = read_options(entry, activation, recurrent_activation, peepholes, cell_clip, zoneout, masked)
    matrices = w_ih, w_hh, b_ih, b_hh, w_units, w_hr
    weights, seq, options = _read(entry, x, state, *matrices, options, lengths, reset, reverse)
    units, (T, B), dtype = len(weights.w_ih) // entry.gates, seq.x.shape[:2], seq.x.dtype
    sizes = widths(entry, units, options)
    read = None if mask is None else _check.contiguous(mask, dtype, "mask", (B, sizes[0]))
    seq = seq._replace(mask=read, seed=_check.seed(seed, "seed"))
    packed, back = (pack(entry, use, weights, options) for use in (_core.FORWARD, _core.BACKWARD))
    ((y, state, kept),) = run([Layer(packed, back, seq)])

    def pull_arrays(dy: ArrayLike, dstate: Stacked | None = None) -> dict[str, Any]:
        dy = _check.strided(dy, dtype, "dy", (T, B, sizes[0]))
        ((dx, dstate0, back),) = pull([kept], [dy], [apart(dstate, dtype, "dstate", B, sizes)])
        names = ("dw_ih", "dw_hh", "db_ih", "db_hh", "dw_units", "dw_hr")
        grads = {name: a for name, a in zip(names, back, strict=True) if a is not None}
        return {"dx": dx, "dstate": together(dstate0), **grads}

    return (y, together(state)), pull_arrays


def _has_peepholes(entry: Cell, w_units: ArrayLike | None) -> bool:
    """Whether there are more of them than the cell has without."""
    if w_units is None or not entry.peepholes:
        return False
    shape = as_array(w_units, "w_units").shape
    return shape[:1] != (entry.units,)


def _read(
    entry: Cell,
    x: ArrayLike,
    state: ArrayLike | None,
    w_ih: ArrayLike,
    w_hh: ArrayLike,
    b_ih: ArrayLike | None,
    b_hh: ArrayLike | None,
    w_units: ArrayLike | None,
    w_hr: ArrayLike | None,
    options: Options,
    lengths: ArrayLike | None,
    reset: ArrayLike | None,
    reverse: bool,
) -> tuple[Weights, Sequence, Options]:
    """Check the arguments of `forward`, in their order."""
    dtype = as_array(w_ih, "w_ih").dtype.newbyteorder("=")
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"w_ih must be float32 or float64, got dtype {dtype}")
    x = _check.strided(x, dtype, "x", (None, None, None))
    T, B, inputs = x.shape
    w_hh = as_real(w_hh, dtype, "w_hh")
    outputs = units = w_hh.shape[-1] if w_hh.ndim else 0
    if inputs < 1:
        raise ValueError(f"x must have at least one feature, got shape {x.shape}")
    if units < 1:
        raise ValueError(f"w_hh must have shape ({entry.recurrent}*H, H) with H at least 1, got {w_hh.shape}")
    if w_hr is not None:
        w_hr = read_projection(entry, w_hr, dtype, outputs)
        units = w_hr.shape[1]
        options = options._replace(projection=outputs)
    rows, rows_hh = entry.gates * units, entry.recurrent * units
    check_size(entry, dtype, x.shape, units, "x")
    state = apart(state, dtype, "state", B, widths(entry, units, options))
    own = count_units(entry, options)
    if w_units is None and own:
        raise ValueError(f"w_units must have shape ({own}, {units}), got None")
    if w_units is not None and not own:
        raise ValueError(f"w_units must be None for {entry.name}")
    weights = Weights(
        _check.contiguous(w_ih, dtype, "w_ih", (rows, inputs)),
        _check.contiguous(w_hh, dtype, "w_hh", (rows_hh, outputs)),
        None if b_ih is None else _check.contiguous(b_ih, dtype, "b_ih", (rows,)),
        None if b_hh is None else _check.contiguous(b_hh, dtype, "b_hh", (rows_hh,)),
        None if w_units is None else _check.contiguous(w_units, dtype, "w_units", (own, units)),
        w_hr,
    )
    steps, episodes = _check.lengths(lengths, T, B), _check.reset(reset, (T, B))
    return weights, Sequence(x, state, steps, episodes, _check.flag(reverse, "reverse")), options
