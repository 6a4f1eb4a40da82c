"""Any cell over time: one layer, one direction."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .common import Array, Cell, State, is_normalized
from .options import Options, options_of, zoned

Stacked = Any  # states in one array (S, B, H), or a tuple of arrays where h is of another width


class Tape(NamedTuple):
    """What `backward` needs from `forward`."""

    x: Array  # (T, B, I), zero where not active
    w_ih: Array  # (G * H, I)
    w_hh: Array  # (G * H, P)
    w_hr: Array | None  # (P, H)
    # By time: state before (after any reset), the cell's next state, its saved, which units keep their state.
    steps: list[tuple[State, State, State, list[NDArray[np.bool_] | None]]]
    active: NDArray[np.bool_] | None  # (T, B, 1): the step is within the row's length
    keep: NDArray[np.bool_] | None  # (T, B, 1): active, and the state before it was not zeroed by a reset
    reverse: bool
    options: Options
    mask: Array | float


def forward(
    cell: Cell,
    x: Array,
    state: Stacked | None,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    lengths: NDArray[np.integer[Any]] | None = None,
    reset: NDArray[np.bool_] | None = None,
    reverse: bool = False,
    *,
    w_units: Array | None = None,
    w_hr: Array | None = None,
    activation: str | None = None,
    recurrent_activation: str | None = None,
    cell_clip: float | None = None,
    zoneout: float | tuple[float, ...] = 0.0,
    mask: Array | None = None,
    seed: int = 0,
    training: bool = True,
) -> tuple[Array, Stacked, Tape]:
    """Run one layer in one direction.

    Parameters
    ----------
    cell : Cell
        One of the values of `cells`: G gates and S states.
    x : ndarray, shape (T, B, I)
        Input. All arrays have one dtype, float32 or float64, which is also that of the results.
    state : ndarray, shape (S, B, H), or None
        State before the first step that is processed: h, then c for the LSTM. None means zeros. With `w_hr`,
        a tuple of h (B, P) and c (B, H).
    w_ih, w_hh : ndarray, shapes (G * H, I) and (G * H, H), or (G * H, P)
        Weights, gates stacked in the cell's order.
    b_ih, b_hh : ndarray, shape (G * H,), or None
        Biases of the input part and of the recurrent part. None means zeros.
    lengths : ndarray of int, shape (B,), or None
        Number of valid steps of each row, 0 to T. Whatever `x` holds beyond them has no effect.
    reset : ndarray of bool, shape (T, B), or None
        True at the first step of an episode: nothing flows between it and the step before, in either
        direction. Forward, the state before that step is zeroed, the initial state included. In reverse, the
        state that leaves that step is zeroed, so that ``reset[0]`` has no effect. Nor has a reset at or
        beyond a row's length.
    reverse : bool
        Process a row of length n in the order n - 1, ..., 0. ``y[t]`` still belongs to ``x[t]``.
    w_units : ndarray, shape (U, H), or None
        Weights that each unit has for itself: peepholes, the recurrent weights of indrnn; with layer
        normalization the gains, and what else the cell's file names.
    w_hr : ndarray, shape (P, H), or None
        Projection: what the LSTM's formula calls h' is multiplied with it, and the product is h' (Sak et al.
        2014, arXiv:1402.1128).
    activation, recurrent_activation : str or None
        Keys of `options.activations`, None for the cell's own: of the candidate and the output, and of the
        gates.
    cell_clip : float or None
        Limit of the LSTM's c.
    zoneout : float or tuple of S floats
        Probability that a unit keeps its state: drawn from `seed` in training, else by its expectation.
    mask : ndarray, shape (B, H), or (B, P), or None
        What h is multiplied with before the recurrent products read it.
    training : bool
        Whether zoneout is drawn; without it the tape is of no use.

    Returns
    -------
    y : ndarray, shape (T, B, H), or (T, B, P)
        h after each step, zeros at and beyond a row's length.
    final_state : ndarray, shape (S, B, H), or tuple, as `state`
        State after the last step processed; the initial state of a row that has none.
    tape : Tape
        For `backward`. Holds references to the weights, not copies.
    """
    T, B = x.shape[:2]
    H = w_ih.shape[0] // cell.gates
    active, keep = _masks(T, B, lengths, reset, reverse)
    if active is not None:
        x = np.where(active, x, 0)  # in dw_ih even a zero gradient times NaN would be NaN

    if is_normalized(cell):
        w_units, b_ih, b_hh = _with_biases(cell, w_units, b_ih, b_hh), None, None
    ax = x.reshape(T * B, w_ih.shape[1]) @ w_ih.T
    if b_ih is not None:
        ax += b_ih
    ax = ax.reshape(T, B, cell.gates, H).swapaxes(1, 2)

    options = options_of(cell, w_units, activation, recurrent_activation, cell_clip)
    factor = 1.0 if mask is None else mask
    keeps = zoneout if isinstance(zoneout, tuple) else (zoneout,) * cell.states

    def recurrent(v: Array, first: int = 0, last: int | None = None) -> Array:
        rows = _rows(cell, H, first, last)
        a: Array = (v * factor).astype(v.dtype) @ w_hh[rows].T
        if b_hh is not None:
            a += b_hh[rows]
        return a.reshape(B, a.shape[1] // H, H).swapaxes(0, 1)

    zeros = _zeros(cell, B, H, w_hh.shape[1], x.dtype)
    s: State = zeros if state is None else tuple(state)
    y = np.zeros((T, *zeros[0].shape), x.dtype)
    steps = []
    for t in _order(T, reverse):
        s0 = s if keep is None else _select(keep[t], s, zeros)
        candidate, saved = cell.point(ax[t], s0, recurrent, options)
        zones: list[NDArray[np.bool_] | None] = [None] * cell.states
        s1 = candidate if w_hr is None else (candidate[0] @ w_hr.T, *candidate[1:])
        if training:
            zones = [zoned(p, seed, q, t, *s0[q].shape) if p else None for q, p in enumerate(keeps)]
            s1 = tuple(b if z is None else np.where(z, a, b) for z, a, b in zip(zones, s0, s1, strict=True))
        elif any(keeps):
            s1 = tuple(p * a + (1 - p) * b for p, a, b in zip(keeps, s0, s1, strict=True))
        s = s1 if active is None else _select(active[t], s1, s)
        y[t] = s1[0] if active is None else np.where(active[t], s1[0], 0)
        steps.append((s0, candidate, saved, zones))
    by_time = steps[::-1] if reverse else steps
    return y, together(s), Tape(x, w_ih, w_hh, w_hr, by_time, active, keep, reverse, options, factor)


def backward(cell: Cell, tape: Tape, dy: Array, dstate: Stacked | None = None) -> dict[str, Any]:
    """Gradients of ``(y * dy).sum() + (final_state * dstate).sum()``.

    Parameters
    ----------
    cell : Cell
        The cell given to `forward`.
    tape : Tape
        From `forward`; not changed, so it may be used again.
    dy : ndarray, of y's shape
        Gradient of `y`. What it holds at and beyond a row's length has no effect.
    dstate : ndarray, shape (S, B, H), or tuple, or None
        Gradient of the final state. None means zeros.

    Returns
    -------
    dict
        ``dx`` (T, B, I), zero at and beyond a row's length; ``dstate``, of the initial state; ``dw_ih``
        (G * H, I), ``dw_hh`` (G * H, H), ``db_ih`` and ``db_hh`` (G * H,), the last two also where the bias
        was None, that is at zero; ``dw_units`` (U, H) and ``dw_hr`` (P, H) where there are such weights.
    """
    x, w_ih, w_hh, w_hr, steps, active, keep, reverse, options, factor = tape
    T, B = x.shape[:2]
    H = w_ih.shape[0] // cell.gates
    if active is not None:
        dy = np.where(active, dy, 0)

    # Each product in the loop leaves its result's gradient and its argument: dw_hh is one product of those.
    products: dict[tuple[int, int | None], list[tuple[Array, Array]]] = {}

    def pull(d: Array, v: Array, first: int = 0, last: int | None = None) -> Array:
        products.setdefault((first, last), []).append((d, (v * factor).astype(v.dtype)))
        dv: Array = (d @ w_hh[_rows(cell, H, first, last)]) * factor
        return dv.astype(d.dtype)

    zeros = _zeros(cell, B, H, w_hh.shape[1], x.dtype)
    ds: State = zeros if dstate is None else tuple(dstate)
    dax = np.zeros((T, B, cell.gates * H), x.dtype)
    own = {} if options.units is None else {"dw_units": np.zeros_like(options.units)}
    own |= {} if w_hr is None else {"dw_hr": np.zeros_like(w_hr)}
    for t in _order(T, not reverse):
        ds1 = ds if active is None else _select(active[t], ds, zeros)
        s0, s1, saved, zones = steps[t]
        ds1 = (ds1[0] + dy[t], *ds1[1:])
        past = tuple(np.zeros_like(d) if z is None else d * z for z, d in zip(zones, ds1, strict=True))
        ds1 = tuple(d if z is None else d * ~z for z, d in zip(zones, ds1, strict=True))
        if w_hr is not None:
            own["dw_hr"] += ds1[0].T @ s1[0]
            ds1 = (ds1[0] @ w_hr, *ds1[1:])
        dax[t], ds0, of_units = cell.back(saved, s0, s1, ds1, pull, options)
        ds0 = tuple(a + b for a, b in zip(ds0, past, strict=True))
        if options.units is not None:
            own["dw_units"] += np.stack(of_units).sum(1)
        # A row that is not active passes its gradient on, a reset stops it.
        ds = ds0 if active is None or keep is None else _select(active[t], _select(keep[t], ds0, zeros), ds)

    dw_hh = np.zeros(w_hh.shape, x.dtype)
    db_hh = np.zeros(w_hh.shape[0], x.dtype)
    for (first, last), pairs in products.items():
        d, v = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
        dw_hh[_rows(cell, H, first, last)] = d.T @ v
        db_hh[_rows(cell, H, first, last)] = d.sum(0)
    dax = dax.reshape(T * B, cell.gates * H)
    db_ih = dax.sum(0)
    if is_normalized(cell):
        db_ih, db_hh, own["dw_units"] = _without_biases(cell, own["dw_units"])
    return own | {
        "dx": (dax @ w_ih).reshape(x.shape),
        "dstate": together(ds),
        "dw_ih": dax.T @ x.reshape(T * B, w_ih.shape[1]),
        "dw_hh": dw_hh,
        "db_ih": db_ih,
        "db_hh": db_hh,
    }


def _with_biases(cell: Cell, w_units: Array | None, b_ih: Array | None, b_hh: Array | None) -> Array:
    """The weights that each unit of a normalized cell has for itself, biases first."""
    assert w_units is not None
    H = w_units.shape[1]
    both = ((b_ih, cell.gates), (b_hh, cell.recurrent))
    shifts = [np.zeros((n, H), w_units.dtype) if b is None else b.reshape(n, H) for b, n in both]
    return np.concatenate([*shifts, w_units])


def _without_biases(cell: Cell, own: Array) -> tuple[Array, Array, Array]:
    """The way back."""
    shifts = cell.gates + cell.recurrent
    return own[: cell.gates].reshape(-1), own[cell.gates : shifts].reshape(-1), own[shifts:]


def _masks(
    T: int,
    B: int,
    lengths: NDArray[np.integer[Any]] | None,
    reset: NDArray[np.bool_] | None,
    reverse: bool,
) -> tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]:
    """Which steps are processed, and which of those take over the state of the step before them."""
    if lengths is None and reset is None:
        return None, None
    active = np.arange(T)[:, None] < (np.full(B, T) if lengths is None else lengths)
    cut = np.zeros((T, B), bool)
    if reset is not None and reverse:
        cut[:-1] = (reset & active)[1:]  # the gap before step t + 1 is crossed on the way into step t
    elif reset is not None:
        cut = reset
    return active[:, :, None], (active & ~cut)[:, :, None]


def _zeros(cell: Cell, B: int, H: int, P: int, dtype: np.dtype[Any]) -> State:
    return (np.zeros((B, P), dtype), *[np.zeros((B, H), dtype)] * (cell.states - 1))


def together(states: State) -> Stacked:
    """States in one array, if they are of one width."""
    return np.stack(states) if len({part.shape for part in states}) == 1 else states


def _order(T: int, reverse: bool) -> range:
    return range(T - 1, -1, -1) if reverse else range(T)


def _rows(cell: Cell, H: int, first: int, last: int | None) -> slice:
    return slice(first * H, (cell.gates if last is None else last) * H)


def _select(mask: NDArray[np.bool_], yes: State, no: State) -> State:
    return tuple(np.where(mask, a, b) for a, b in zip(yes, no, strict=True))
