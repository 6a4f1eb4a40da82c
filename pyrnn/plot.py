"""Pictures of what a network does and how it learns, with Matplotlib.

Every function draws into `ax`, or into a new figure if there is none, and returns the Axes:
``attention(weights).figure.savefig("attention.png")``. The figures are no part of pyplot's state, so nothing
has to be closed. Colours can be told apart without seeing red and green, and in grey.

Matplotlib comes with ``pip install "pyrnn[plot]"``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _check
from ._parameters import as_real

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["attention", "forecast", "gates", "gradient_flow", "hidden_states", "history"]

Array = NDArray[Any]

# Okabe & Ito 2008, "Color Universal Design", without the yellow, which is hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")  # one for each round of the colours


def hidden_states(h: ArrayLike, ax: Axes | None = None, *, row: int = 0) -> Axes:
    """Draw hidden states over time as a heat map: a column a step, a line a unit.

    Parameters
    ----------
    h : array_like, shape (T, H) or (T, B, H)
        Such as y of a layer, or one of `pyrnn.diagnostics.hidden_states`.
    ax : matplotlib.axes.Axes, optional
        A new figure's by default.
    row : int, default 0
        Which sequence of a batch.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Matplotlib is missing.
    TypeError, ValueError
        An argument has the wrong type or shape, or there is no such row.

    Examples
    --------
    >>> import pyrnn
    >>> y, _ = pyrnn.RNN(3, 5, rng=0)(np.ones((7, 2, 3)))
    >>> hidden_states(y, row=1).get_ylabel()
    'unit'
    """
    states = _sequence(h, "h", row)
    axes = _axes(ax, (7.0, 3.6))
    limit = max(np.abs(states[np.isfinite(states)]).max(initial=0), np.finfo(float).tiny)
    image = axes.imshow(
        states.T, aspect="auto", interpolation="nearest", cmap="PuOr", vmin=-limit, vmax=limit
    )
    axes.set(xlabel="step t", ylabel="unit")
    _whole_numbers(axes.xaxis, axes.yaxis)
    _bar(axes, image, "h")
    return axes


def gradient_flow(norms: Mapping[str, ArrayLike], ax: Axes | None = None) -> Axes:
    """Draw how the norms of gradients change over time, on a logarithmic scale.

    A straight line is a constant factor a step: falling to the left where gradients vanish on their way back,
    rising where they explode.

    Parameters
    ----------
    norms : mapping of str to array_like, shape (T,)
        A line each, such as `pyrnn.diagnostics.gradient_norms` returns, or several layers' under names of
        your own. Zeros, infinities and NaN leave gaps.
    ax : matplotlib.axes.Axes, optional
        A new figure's by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Matplotlib is missing.
    TypeError, ValueError
        `norms` is no mapping or empty, or holds something else than one axis of numbers.

    Examples
    --------
    >>> gradient_flow({"RNN": 0.5 ** np.arange(9.0, -1, -1)}).get_yscale()
    'log'
    """
    lines = {name: _line(values, f"norms[{name!r}]") for name, values in _named(norms, "norms").items()}
    axes = _axes(ax, (7.0, 4.0))
    for number, (name, line) in enumerate(lines.items()):
        seen = np.isfinite(line) & (line > 0)
        axes.plot(np.where(seen, line, np.nan), label=name, **_style(number))
    axes.set(xlabel="step t", ylabel=r"$\Vert \partial L / \partial h_t \Vert$", yscale="log")
    return _finish(axes)


def gates(activations: Mapping[str, ArrayLike], ax: Axes | None = None, *, row: int | None = None) -> Axes:
    """Draw the activations of gates over time: the mean over the units, in a band of the middle 80 %.

    Parameters
    ----------
    activations : mapping of str to array_like, shape (T, B, H) or (T, H)
        Of one layer and direction, such as ``pyrnn.diagnostics.gate_activations(lstm, x)["l0"]``.
    ax : matplotlib.axes.Axes, optional
        A new figure's by default.
    row : int, optional
        Which sequence of a batch; by default all of them. NaN does not count.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Matplotlib is missing.
    TypeError, ValueError
        `activations` is no mapping or empty, holds arrays of another shape, or there is no such row.

    Examples
    --------
    >>> import pyrnn
    >>> found = pyrnn.diagnostics.gate_activations(pyrnn.GRU(3, 5, rng=0), np.ones((7, 2, 3)))
    >>> [text.get_text() for text in gates(found["l0"]).get_legend().get_texts()]
    ['r', 'z', 'n']
    """
    flat = {}
    for name, values in _named(activations, "activations").items():
        array = as_real(values, np.dtype(np.float64), f"activations[{name!r}]")
        if row is not None:
            array = _sequence(array, f"activations[{name!r}]", row)
        if array.ndim not in (2, 3):
            raise ValueError(f"activations[{name!r}] must have shape (T, H) or (T, B, H), got {array.shape}")
        flat[name] = array.reshape(len(array), -1)
    axes = _axes(ax, (7.0, 4.0))
    for number, (name, array) in enumerate(flat.items()):
        steps = np.flatnonzero(~np.isnan(array).all(axis=1))
        style = _style(number)
        axes.plot(steps, np.nanmean(array[steps], axis=1), label=name, **style)
        if steps.size:
            low, high = np.nanpercentile(array[steps], [10, 90], axis=1)
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.set(xlabel="step t", ylabel="activation (mean, middle 80 % of units)")
    return _finish(axes)


def attention(
    weights: ArrayLike,
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw weights of attention: a line a query, a column a key.

    Parameters
    ----------
    weights : array_like, shape (Tq, T)
        Such as `AdditiveAttention` returns for one row of a batch, ``weights[b]``.
    queries, keys : sequence of str, optional
        Labels of the lines and columns, one each: tokens. A str is a sequence of its characters.
    ax : matplotlib.axes.Axes, optional
        A new figure's by default, which grows with the number of tokens.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Matplotlib is missing.
    TypeError, ValueError
        `weights` has another shape, or there are more or fewer labels.

    Examples
    --------
    >>> axes = attention(np.eye(3)[::-1], "cba", "abc")
    >>> [text.get_text() for text in axes.get_xticklabels()]
    ['a', 'b', 'c']
    """
    array = as_real(weights, np.dtype(np.float64), "weights")
    if array.ndim != 2:
        raise ValueError(f"weights must have shape (Tq, T), got {array.shape}")
    for labels, size, name in ((queries, array.shape[0], "queries"), (keys, array.shape[1], "keys")):
        if labels is not None and len(labels) != size:
            raise ValueError(f"{name} must be {size} labels, got {len(labels)}")
    sides = [min(16.0, 2.2 + 0.3 * size) for size in array.shape]
    axes = _axes(ax, (max(4.0, sides[1] + 0.8), max(3.2, sides[0])))
    image = axes.imshow(array, cmap="cividis", vmin=0, vmax=max(1e-9, array.max(initial=0)))
    axes.set(xlabel="key (input)", ylabel="query (output)")
    _whole_numbers(axes.xaxis, axes.yaxis)
    turned = keys is not None and max(map(len, keys), default=0) > 2
    if queries is not None:
        axes.set_yticks(range(len(queries)), list(queries))
    if keys is not None:
        axes.set_xticks(range(len(keys)), list(keys), rotation=90 if turned else 0)
    _bar(axes, image, "weight")
    return axes


def history(history: Mapping[str, Sequence[float]], ax: Axes | None = None, *, metric: str = "loss") -> Axes:
    """Draw how a metric went over the epochs, in training and, where it is known, in validation.

    Parameters
    ----------
    history : mapping of str to sequence of float
        A list a metric with a number an epoch, such as ``{"loss": [...], "val_loss": [...]}``.
    ax : matplotlib.axes.Axes, optional
        A new figure's by default.
    metric : str, default "loss"
        Which one; ``"val_" + metric`` is drawn beside it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Matplotlib is missing.
    TypeError, ValueError
        `history` is no mapping, has no such metric, or holds something else than one axis of numbers.

    Examples
    --------
    >>> history({"loss": [2.0, 1.0, 0.5], "val_loss": [2.1, 1.2, 0.9]}).get_ylabel()
    'loss'
    """
    found = _named(history, "history")
    names = [name for name in (metric, f"val_{metric}") if name in found]
    if not names:
        raise ValueError(f"metric must be one of {', '.join(map(str, found))}, got {metric!r}")
    lines = [_line(found[name], f"history[{name!r}]") for name in names]
    axes = _axes(ax, (7.0, 4.0))
    for number, (name, line) in enumerate(zip(names, lines, strict=True)):
        label = "training" if name == metric else "validation"
        marker = "o" if len(line) <= 50 else ""
        axes.plot(np.arange(1, len(line) + 1), line, label=label, marker=marker, ms=3, **_style(number))
    axes.set(xlabel="epoch", ylabel=metric)
    _whole_numbers(axes.xaxis)
    return _finish(axes)


def forecast(
    truth: ArrayLike,
    prediction: ArrayLike,
    ax: Axes | None = None,
    *,
    start: int | None = None,
    time: ArrayLike | None = None,
) -> Axes:
    """Draw a forecast against the truth, with its root mean square error.

    Parameters
    ----------
    truth : array_like, shape (N,)
    prediction : array_like, shape (M,)
        Forecasts of ``truth[start : start + M]``; they may go on where the truth ends.
    ax : matplotlib.axes.Axes, optional
        A new figure's by default.
    start : int, optional
        Where the forecast begins, N - M by default: both end together.
    time : array_like, shape (N,), optional
        What stands on the axis of the truth; 0, 1, ... by default. Where the forecast goes on, so does its
        last interval.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        Matplotlib is missing.
    TypeError, ValueError
        An argument has the wrong type or shape, or the forecast does not begin within the truth.

    Examples
    --------
    >>> axes = forecast([1.0, 2.0, 3.0, 4.0], [3.0, 5.0])
    >>> [text.get_text() for text in axes.get_legend().get_texts()]
    ['truth', 'forecast (RMSE 0.707)']
    """
    true, predicted = _line(truth, "truth"), _line(prediction, "prediction")
    N, M = len(true), len(predicted)
    begin = N - M if start is None else start
    if start is None and begin < 0:
        raise ValueError(
            f"prediction must have at most {N} elements, as truth, unless start is given; got {M}"
        )
    begin = _check.index(begin, N + 1, "start")
    when = np.arange(N, dtype=float) if time is None else _line(time, "time")
    if len(when) != N:
        raise ValueError(f"time must have shape ({N},), got {when.shape}")
    beyond = max(0, begin + M - N)
    interval = when[-1] - when[-2] if N > 1 else 1.0
    last = when[-1] if N else -1.0
    longer = np.concatenate([when, last + interval * np.arange(1, beyond + 1)])
    seen = min(M, N - begin)
    label = "forecast"
    if seen:
        label += f" (RMSE {np.sqrt(np.mean((true[begin : begin + seen] - predicted[:seen]) ** 2)):.3g})"
    axes = _axes(ax, (8.0, 3.6))
    axes.plot(when, true, color="0.45", linewidth=1, label="truth")
    axes.plot(longer[begin : begin + M], predicted, label=label, **_style(1))
    if 0 < begin < N:
        axes.axvline(when[begin], color="0.7", linewidth=1, linestyle=":")
    axes.set(xlabel="time" if time is not None else "step", ylabel="value")
    return _finish(axes)


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """`ax`, or that of a new figure."""
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('Matplotlib is missing; install it with: pip install "pyrnn[plot]"') from error
    return Figure(figsize=size, layout="constrained").add_subplot()


def _bar(axes: Axes, image: Any, label: str) -> None:
    """A scale of the colours."""
    axes.figure.colorbar(image, ax=axes, label=label)


def _whole_numbers(*sides: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    for side in sides:
        side.set_major_locator(MaxNLocator(integer=True))


def _style(number: int) -> dict[str, Any]:
    colour, style = number % len(COLOURS), number // len(COLOURS) % len(STYLES)
    return {"color": COLOURS[colour], "linestyle": STYLES[style], "linewidth": 1.5}


def _finish(axes: Axes) -> Axes:
    axes.grid(alpha=0.3)
    axes.legend()
    return axes


def _named(value: object, name: str) -> Mapping[str, Any]:
    """Read a mapping that is not empty."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping of names to arrays, got {type(value).__name__}")
    if not value:
        raise ValueError(f"{name} must not be empty")
    return value


def _line(value: ArrayLike, name: str) -> Array:
    """Read one axis of numbers."""
    array = as_real(value, np.dtype(np.float64), name)
    if array.ndim != 1:
        raise ValueError(f"{name} must have one axis, got shape {array.shape}")
    return array


def _sequence(value: ArrayLike, name: str, row: int) -> Array:
    """Read (T, H), which may be a row of (T, B, H)."""
    array = as_real(value, np.dtype(np.float64), name)
    if array.ndim not in (2, 3):
        raise ValueError(f"{name} must have shape (T, H) or (T, B, H), got {array.shape}")
    if array.ndim == 2:
        return array
    return array[:, _check.index(row, array.shape[1], "row")]
