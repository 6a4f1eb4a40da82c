"""Gradient checkpointing over time: less memory for the way back, and a second way forth."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._call import Call, State
from .._layer import Container, Gradients, as_size
from .._random import as_generator
from .._stack import Recurrent, Tape
from ..cells import _Cell

Array = NDArray[Any]

ROWS = 2048  # the fewest, steps times sequences, for which the products of a segment are efficient
PER_STEP = ("dropout", "zoneout")  # noise that is drawn for every step
PER_SEQUENCE = ("input_dropout", "recurrent_dropout", "weight_dropout")  # ... once for all steps


class Checkpointed(Container):
    """A recurrent layer that keeps for the way back only its states at the borders of segments of time.

    What backward needs of the steps between is computed anew, segment by segment, when `pull` comes there;
    that of the last segment, with which it begins, is kept. With as many segments as each has steps, memory
    beside inputs and outputs grows with the square root of the steps, at the cost of one more pass forward.

    Parameters
    ----------
    layer : LSTM, GRU or another recurrent layer of one direction
        It is not copied.
    segments : int, optional
        In how many segments the steps are cut; by default the square root of their number, or fewer if
        that makes segments of less than 2048 steps times sequences.

    Raises
    ------
    TypeError, ValueError
        `layer` is no recurrent layer, reads backwards, or has noise of both kinds (see Notes); `segments` is
        no size.

    Notes
    -----
    Outputs have the same bits as those of `layer`; gradients differ from its own by rounding, because those
    of the parameters are summed segment by segment. Parameters have the names that they have in `layer`.

    Noise is drawn anew for every segment and drawn again, the same, on the way back. That is right for noise
    that is drawn for every step, `dropout` and `zoneout`. What is drawn once for a sequence, `input_dropout`,
    `recurrent_dropout` and `weight_dropout`, is the same in all segments. A layer with both kinds is refused.

    References
    ----------
    Chen et al. 2016, arXiv:1604.06174; Gruslys et al. 2016, arXiv:1606.03401 (over time).

    Examples
    --------
    >>> from pyrnn import LSTM
    >>> layer = Checkpointed(LSTM(3, 4, rng=0))
    >>> (y, state), pull = layer.vjp(np.ones((900, 80, 3)))  # 30 segments of 30 steps
    >>> dx, dstate0, grads = pull(np.ones_like(y))
    >>> dx.shape
    (900, 80, 3)
    """

    def __init__(self, layer: Recurrent, segments: int | None = None) -> None:
        if not isinstance(layer, Recurrent) or isinstance(layer, _Cell):
            raise TypeError(f"layer must be a recurrent layer, got {layer!r}")
        if layer.bidirectional or layer._backwards:
            raise ValueError(f"layer must read forwards, got {layer!r}")
        self.layer = layer
        self.segments = None if segments is None else as_size(segments, "segments")
        self._noise()
        super().__init__([("{}", layer)])

    def __call__(
        self,
        x: ArrayLike,
        state: State = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
    ) -> tuple[Array, State]:
        """Run the layer, as it runs itself; see `LSTM`.

        Raises
        ------
        TypeError, ValueError
            As the layer's.
        """
        return self.layer(x, state, lengths=lengths, reset=reset)

    def vjp(
        self,
        x: ArrayLike,
        state: State = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
    ) -> tuple[tuple[Array, State], Callable[..., tuple[Array, State, Gradients]]]:
        """Run the layer, keep the states at the borders, and return the way back.

        Parameters
        ----------
        x, state, lengths, reset, rng
            As for the layer's `vjp`.

        Returns
        -------
        (y, state) : tuple
            As a call returns them.
        pull : callable
            ``pull(dy, dstate=None) -> dx, dstate0, grads``, as the layer's.

        Raises
        ------
        TypeError, ValueError
            As the layer's.
        """
        layer, version, weights = self.layer, self.layer.params.version, self.layer.params.copy()
        call = layer._read(x, state, lengths, reset)
        T, B, inputs = call.x.shape
        parts = _segments(T, B, self.segments)
        seeds = self._seeds(layer._generator if rng is None else as_generator(rng), len(parts))
        y, borders = layer._output(call), [call.states]

        def train(own: Recurrent, segment: int, y: Array | None = None) -> tuple[Array, State, Tape]:
            seed = seeds[segment]
            noise = own._generator if seed is None else as_generator(seed)  # the former is not drawn from
            return own._train(_cut(call, parts[segment], borders[segment]), noise, y)

        for segment, steps in enumerate(parts[:-1]):
            if seeds[segment] is None:
                _, state = layer._infer(_cut(call, steps, borders[segment]), y[steps])
            else:
                _, state = train(layer, segment, y[steps])[:2]
            borders.append(layer._state_in(state, "state", B, call.batched))
        _, state, tape = train(layer, len(parts) - 1, y[parts[-1]])
        last = [tape]  # with which the first pull begins; another one computes it anew
        del tape

        def pull(dy: ArrayLike, dstate: State = None) -> tuple[Array, State, Gradients]:
            own = layer
            if layer.params.version != version:  # an optimizer has stepped
                own = copy.deepcopy(layer)
                own.load_state_dict(weights)
            dy = layer._gradient_in(call, dy)
            dx = layer._output(call, inputs)
            grads: Gradients = {}
            for segment in reversed(range(len(parts))):
                steps = parts[segment]
                try:
                    tape = last.pop()
                except IndexError:
                    tape = train(own, segment)[2]
                given = layer._return(call, dy[steps])
                _, dstate, found = own._pull(tape, given, dstate, dx[steps])
                del tape  # before the next is made
                for name, array in found.items():
                    grads[name] = array if name not in grads else np.add(grads[name], array, out=grads[name])
            return layer._return(call, dx), dstate, grads

        return (layer._return(call, y), state), pull

    @property
    def batch_first(self) -> bool:
        """Whether arrays have the batch as their first axis."""
        return self.layer.batch_first

    def _seeds(self, generator: np.random.Generator, count: int) -> list[int | None]:
        """What each segment draws its noise from, None where there is none."""
        each, once = self._noise()
        if not each and not once:
            return [None] * count
        drawn: list[int | None] = generator.integers(2**63, size=count).tolist()
        return drawn if each else drawn[:1] * count

    def _noise(self) -> tuple[bool, bool]:
        """Whether noise is drawn for every step, and for every sequence."""
        layer = self.layer
        found = layer._extras._asdict() | {"dropout": layer.dropout}
        each, once = (
            bool(np.any([np.any(found[name]) for name in names])) for names in (PER_STEP, PER_SEQUENCE)
        )
        if each and once:
            raise ValueError(
                f"layer must have noise of steps ({', '.join(PER_STEP)}) or of sequences "
                f"({', '.join(PER_SEQUENCE)}), not both, got {layer!r}"
            )
        return each, once

    def __repr__(self) -> str:
        segments = "" if self.segments is None else f", segments={self.segments}"
        return f"Checkpointed({self.layer!r}{segments})"


def _cut(call: Call, steps: slice, states: tuple[Array | None, ...] | None) -> Call:
    """Some steps of a call, which begin with these states."""
    left, reset = call.lengths, call.reset
    return call._replace(
        x=call.x[steps],
        states=states,
        lengths=None if left is None else np.clip(left, steps.start, steps.stop) - steps.start,
        reset=None if reset is None else reset[steps],
    )


def _segments(T: int, B: int, count: int | None) -> list[slice]:
    """Segments of about the same number of steps; by default as many as each has."""
    if count is None:
        root = math.isqrt(max(T - 1, 0)) + 1  # rounded up
        size = max(root, -(-ROWS // max(B, 1)))
    else:
        size = max(1, -(-T // count))
    return [slice(at, min(at + size, T)) for at in range(0, max(T, 1), size)]
