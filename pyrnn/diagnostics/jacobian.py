"""What one step does to a small change of the state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._call import State
from ._walk import Path, walk

Array = NDArray[Any]


class StepJacobian(NamedTuple):
    """The step Jacobian of one direction of one layer, in float64.

    Attributes
    ----------
    singular_values : ndarray, shape (K, N)
        Of each of the K steps, from the largest on: by how much the step stretches a change of the state.
    spectral_radius : ndarray, shape (K,)
        The largest absolute value of its eigenvalues: by which factor a step such as this one, taken again
        and again, makes a change grow or shrink.
    """

    singular_values: Array
    spectral_radius: Array


def step_jacobian(
    layer: object,
    x: ArrayLike,
    state: State = None,
    *,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    row: int = 0,
    steps: Sequence[int] | None = None,
) -> dict[str, StepJacobian]:
    """Return singular values and spectral radius of d state_{t+1} / d state_t of steps on their way over x.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, IndRNN, MinGRU, MinLSTM or Bidirectional
        Nothing in it is changed.
    x, state, lengths, reset
        As in a call of the layer.
    row : int, default 0
        Which row of the batch.
    steps : sequence of int, optional
        The steps t of `x` to look at; all by default. A step takes time of the order of N**3.

    Returns
    -------
    dict of str to StepJacobian
        Keys as of `hidden_states`. The state is all of it: N = H, and 2*H for the LSTM (H + P
        where h is projected), h before c. Where a
        reset cuts a step off from the one before it, the Jacobian is zero; beyond the row's length there is
        none, and both are NaN.

    Raises
    ------
    TypeError, ValueError
        `layer` is no recurrent layer, or refuses one of the others; there is no such row or step.

    Notes
    -----
    Column by column, each through the `vjp` of the step itself: a batch of N rows that all take this step,
    pulled with the unit vectors. Dropout is left out, and of zoneout the expectation is taken, as in a plain
    call.

    References
    ----------
    Pascanu et al. 2013, arXiv:1211.5063, section 2: with the largest singular value below 1 at every step,
    gradients vanish; they can explode only where it is above 1.

    Examples
    --------
    >>> from pyrnn import RNN
    >>> rnn = RNN(1, 2, nonlinearity="identity", bias=False)
    >>> rnn.params["weight_hh_l0"] = [[0, -2], [0.5, 0]]
    >>> found = step_jacobian(rnn, np.ones((1, 1, 1)))["l0"]
    >>> found.singular_values, found.spectral_radius
    (array([[2. , 0.5]]), array([1.]))
    """
    stacks = walk(layer, x, state, lengths, reset)
    T, B, _ = stacks[0].call.x.shape
    _check.index(row, B, "row")
    wanted = range(T) if steps is None else [_check.index(t, T, f"steps[{i}]") for i, t in enumerate(steps)]
    return {path.name: of_path(path, row, wanted) for stack in stacks for path in stack.paths}


def of_path(path: Path, row: int, steps: Sequence[int]) -> StepJacobian:
    """What `step_jacobian` returns, of one path."""
    N = sum(path.walker.stack._widths)
    values, radius = np.full((len(steps), N), np.nan), np.full(len(steps), np.nan)
    for k, t in enumerate(steps):
        if path.active[t, row]:
            J = matrix(path, row, t)
            if not np.isfinite(J).all():  # it has no singular values
                continue
            values[k] = np.linalg.svd(J, compute_uv=False)
            radius[k] = np.abs(np.linalg.eigvals(J)).max()
    return StepJacobian(values, radius)


def matrix(path: Path, row: int, t: int) -> Array:
    """Return d state_{t+1} / d state_t, (N, N), of a step that is within the row's length."""
    widths, dtype = path.walker.stack._widths, path.h.dtype
    N = sum(widths)
    if not path.keep[t, row]:
        return np.zeros((N, N))
    x = np.tile(path.x[t, row], (N, 1))
    before = tuple(np.tile(part[t, row], (N, 1)) for part in path.before)
    _, pull = path.walker.step(x, before)
    units = np.split(np.eye(N, dtype=dtype), np.cumsum(widths)[:-1], axis=1)
    _, found = pull(tuple(np.ascontiguousarray(part) for part in units))
    return np.concatenate(found, axis=1).astype(np.float64)
