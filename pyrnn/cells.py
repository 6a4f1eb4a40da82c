"""One step of one layer: the cells by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _check, _core
from ._call import State
from ._layer import Gradients
from ._parameters import as_array
from ._stack import Recurrent
from ._threads import get_num_threads

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]

Array = NDArray[Any]

NONLINEARITIES = ("tanh", "relu")


class _Cell(Recurrent):
    """One step of one layer: a sequence of length 1; the parameters' names have no layer number."""

    def __init__(
        self, cell: str, input_size: int, hidden_size: int, bias: bool, dtype: DTypeLike, rng: Any
    ) -> None:
        super().__init__(
            cell,
            input_size,
            hidden_size,
            1,
            bias=bias,
            batch_first=False,
            dropout=0.0,
            bidirectional=False,
            dtype=dtype,
            rng=rng,
        )

    def _names(self, slot: int) -> list[str | None]:
        return [None if name is None else name.removesuffix("_l0") for name in super()._names(slot)]

    def __call__(self, x: ArrayLike, state: State = None, out: State = None) -> State:  # type: ignore[override]
        """Take one step.

        Parameters
        ----------
        x : array_like, shape (B, I) or (I,)
            The step's input.
        state : ndarray, shape (B, H) or (H,), optional
            State before the step, zeros by default. For the LSTM, a tuple (h, c).
        out : ndarray, shape (B, H) or (H,), optional
            Where the state after the step goes: C-contiguous, writeable, of the layer's dtype; for the LSTM,
            a tuple of two. It may be `state` itself.

        Returns
        -------
        ndarray, shape (B, H) or (H,), or tuple of two for the LSTM
            State after the step: `out`, or new arrays.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong type or shape; the message names it.
        """
        derived = self._packed  # as `_derived` looks it up, but here a lambda costs as much as the step
        fresh = derived is not None and derived[0] == self._params._version
        step = (derived[1].get("step") if fresh else None) or self._step()
        after = step.take(x, state, out)
        if after is not None:
            return after
        _, after = super().__call__(self._one_step(x), self._with_layer(state))
        after = self._without_layer(after)
        return after if out is None else self._put(after, out)

    def vjp(  # type: ignore[override]
        self, x: ArrayLike, state: State = None
    ) -> tuple[State, Callable[[State], tuple[Array, State, Gradients]]]:
        """Take one step and return the way back.

        Parameters
        ----------
        x, state
            As in a call; leave them unchanged until `pull` has been called.

        Returns
        -------
        state : ndarray or tuple
            As a call returns it.
        pull : callable
            ``pull(dstate) -> dx, dstate0, grads``: from the gradient with respect to the state after the step
            (for the LSTM a tuple, a None in it for zeros) to those with respect to x, the state before it,
            and the parameters.

        Raises
        ------
        TypeError, ValueError
            An argument has the wrong type or shape; the message names it.
        """
        (y, after), pull = super().vjp(self._one_step(x), self._with_layer(state))

        def pull_step(dstate: State) -> tuple[Array, State, Gradients]:
            dx, dstate0, grads = pull(np.zeros_like(y), self._with_layer(dstate, "dstate"))
            return dx[0], self._without_layer(dstate0), grads

        return self._without_layer(after), pull_step

    def _step(self) -> _core.Step:
        """The short way to the kernels, prepared once for each version of the parameters."""
        sizes = self.dtype, self.input_size, self.hidden_size, self._cell.states
        step: _core.Step = self._derived(
            "step", lambda: _core.Step(self._packs(_core.FORWARD)[0], *sizes, get_num_threads)
        )
        return step

    def _put(self, after: State, out: State) -> State:
        """Copy a state to where the caller wants it."""
        parts = after if isinstance(after, tuple) else (after,)
        places = out if len(parts) > 1 else (out,)
        if not isinstance(places, tuple) or len(places) != len(parts):
            raise TypeError(f"out must be a tuple of {len(parts)} arrays, got {type(out).__name__}")
        for q, (part, place) in enumerate(zip(parts, places, strict=True)):
            _check.out(place, self.dtype, part.shape, f"out[{q}]" if len(parts) > 1 else "out")
        if len(places) > 1 and np.may_share_memory(*places):
            raise ValueError("out must be arrays that share no memory")
        for part, place in zip(parts, places, strict=True):
            place[...] = part
        return out

    def _one_step(self, x: ArrayLike) -> Array:
        array = as_array(x, "x")
        if array.ndim not in (1, 2) or array.shape[-1] != self.input_size:
            raise ValueError(
                f"x must have shape (B, {self.input_size}) or ({self.input_size},), got {array.shape}"
            )
        return array[None]

    def _with_layer(self, state: State, name: str = "state") -> State:
        """A cell's state as a layer's: with an axis for the layers."""
        if self._cell.states > 1 and isinstance(state, (tuple, list)):
            return tuple(
                None if part is None else as_array(part, f"{name}[{i}]")[None] for i, part in enumerate(state)
            )
        if self._cell.states > 1 or state is None:
            return state
        return as_array(state, name)[None]

    def _without_layer(self, state: State) -> State:
        return tuple(part[0] for part in state) if isinstance(state, tuple) else state[0]


class LSTMCell(_Cell):
    """One step of an LSTM: ``h, c = cell(x, (h, c))``.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, at least 1.
    bias, dtype, rng
        As for `LSTM`.

    Notes
    -----
    Parameters ``weight_ih`` (4H, I), ``weight_hh`` (4H, H), ``bias_ih`` and ``bias_hh`` (4H,), gates i f g o.
    To run many steps, ``LSTM.stream`` costs less a step.

    Examples
    --------
    >>> h, c = LSTMCell(3, 5, rng=0)(np.ones((2, 3)))
    >>> h.shape
    (2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__("lstm", input_size, hidden_size, bias, dtype, rng)


class GRUCell(_Cell):
    """One step of a GRU: ``h = cell(x, h)``.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, at least 1.
    reset_after : bool, default True
        As for `GRU`.
    bias, dtype, rng
        As for `LSTM`.

    Notes
    -----
    Parameters as for `LSTMCell`, with 3H rows, gates r z n.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        reset_after: bool = True,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.reset_after = _check.flag(reset_after, "reset_after")
        super().__init__(
            "gru" if self.reset_after else "gru_before", input_size, hidden_size, bias, dtype, rng
        )

    def _options(self) -> dict[str, Any]:
        return super()._options() | ({} if self.reset_after else {"reset_after": False})


class RNNCell(_Cell):
    """One step of an Elman network: ``h = cell(x, h)``.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H, at least 1.
    nonlinearity : {"tanh", "relu"}, default "tanh"
        The activation.
    bias, dtype, rng
        As for `LSTM`.

    Notes
    -----
    Parameters as for `LSTMCell`, with H rows.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.nonlinearity = _check.choice(nonlinearity, NONLINEARITIES, "nonlinearity")
        super().__init__(f"rnn_{self.nonlinearity}", input_size, hidden_size, bias, dtype, rng)

    def _options(self) -> dict[str, Any]:
        return super()._options() | (
            {} if self.nonlinearity == "tanh" else {"nonlinearity": self.nonlinearity}
        )
