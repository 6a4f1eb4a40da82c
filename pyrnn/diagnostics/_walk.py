"""A recurrent layer taken step by step: what each step read, and the way back through one step at a time.

All of it is of a plain call: dropout is left out, and of zoneout the expectation is taken. So what is
measured is one function, the one that the layer computes after training, and the same in every run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core, functional
from .._call import Call, State, of_slot
from .._stack import Recurrent
from ..cells import _Cell
from ..layers import Bidirectional

Array = NDArray[Any]
States = tuple[Array, ...]  # h (B, H), or (B, P) if it is projected, and c of an LSTM (B, H)
PullStep = Callable[[States], tuple[Array, States]]


class Walker:
    """One direction of one layer of a stack, which takes single steps.

    `number` is that of the slot, `zoneout` the probabilities of which the expectation is taken.
    """

    def __init__(self, stack: Recurrent, number: int, reverse: bool, zoneout: tuple[float, ...]) -> None:
        self.stack, self.number, self.reverse = stack, number, reverse
        self.zoneout = zoneout
        self.name = f"l{number // stack.directions}" + ("_reverse" if reverse else "")
        mirrored = number % stack.directions == 1  # which the half of a Bidirectional is not
        self.suffix = f"_l{number // stack.directions}" + ("_reverse" if mirrored else "")

    def step(self, x: Array, state: States) -> tuple[States, PullStep]:
        """Take one step: x (B, I) and the state before it in, the state after it and the way back out."""
        stack = self.stack
        forward, back = (stack._packs(use)[self.number] for use in (_core.FORWARD, _core.BACKWARD))
        seq = functional.Sequence(x[None], state, None, None, False)
        (ran,) = functional.run([functional.Layer(forward, back, seq)])
        mixed = any(self.zoneout)
        after = ran.state
        if mixed:
            after = tuple(p * a + (1 - p) * b for p, a, b in zip(self.zoneout, state, ran.state, strict=True))

        def pull(dstate: States) -> tuple[Array, States]:
            through = dstate
            if mixed:
                through = tuple((1 - p) * d for p, d in zip(self.zoneout, dstate, strict=True))
            ((dx, before, _),) = functional.pull([ran.kept], [np.zeros_like(ran.y)], [through])
            if mixed:
                before = tuple(p * d + b for p, d, b in zip(self.zoneout, dstate, before, strict=True))
            return dx[0], before

        return after, pull


class Path(NamedTuple):
    """What a walker saw on its way over a batch of sequences; t counts as in x, whatever the direction."""

    walker: Walker
    x: Array  # (T, B, I), zeros where not active
    before: States  # (T, B, H) each: the state that step t read, after any reset
    h: Array  # (T, B, H), zeros where not active
    pulls: list[PullStep]
    active: NDArray[np.bool_]  # (T, B): the step is within the row's length
    keep: NDArray[np.bool_]  # (T, B): and it read the state that the step before it left

    @property
    def order(self) -> range:
        """The steps as they are taken."""
        T = len(self.x)
        return range(T - 1, -1, -1) if self.walker.reverse else range(T)

    @property
    def name(self) -> str:
        """l0, l0_reverse, l1, ...: how the names of the weights end."""
        return self.walker.name

    def back(self, dh: Array | None, dstate: States) -> tuple[States, Array]:
        """Go back over all steps: BPTT, cut into single steps.

        Parameters
        ----------
        dh : ndarray, shape (T, B, H), or None
            What each h has in the gradient besides what comes from later steps: dy, or dx of the next layer.
        dstate : tuple of S ndarrays, shape (B, H)
            The gradient of the final state.

        Returns
        -------
        gradients : tuple of S ndarrays, shape (T, B, H)
            Of the state after each step; zeros where not active.
        dx : ndarray, shape (T, B, I)
        """
        gradients = tuple(np.zeros_like(part) for part in self.before)
        dx = np.zeros_like(self.x)
        ds = dstate
        for t in reversed(self.order):
            active, keep = self.active[t][:, None], self.keep[t][:, None]
            now = ds if dh is None else (ds[0] + dh[t], *ds[1:])
            now = tuple(np.where(active, d, 0) for d in now)
            for part, d in zip(gradients, now, strict=True):
                part[t] = d
            dx[t], before = self.pulls[t](tuple(np.ascontiguousarray(d) for d in now))
            ds = tuple(
                np.where(active, np.where(keep, b, 0), d) for b, d in zip(before, ds, strict=True)
            )  # a row that is not active passes its gradient on, a reset stops it
        dx[~self.active] = 0
        return gradients, dx


class Stack(NamedTuple):
    """A stack of layers that has been walked over: the paths of its slots, and the call."""

    layer: Recurrent  # without noise
    call: Call
    paths: list[Path]

    def layers(self) -> Iterator[list[Path]]:
        """The paths of each layer's directions, from the first layer on."""
        D = self.layer.directions
        for first in range(0, len(self.paths), D):
            yield self.paths[first : first + D]


def stacks_of(layer: object) -> list[Recurrent]:
    """The stacks that a layer is made of: itself, or the two halves of a Bidirectional.

    Raises
    ------
    TypeError
        It is no recurrent layer for whole sequences.
    """
    if isinstance(layer, Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    if not isinstance(layer, Recurrent) or isinstance(layer, _Cell):
        raise TypeError(f"layer must be a recurrent layer such as LSTM or Bidirectional, got {layer!r}")
    return [layer]


def states_of(layer: object, state: State, name: str) -> list[State]:
    """The states of the stacks of a layer, from what the caller calls a state of it."""
    if not isinstance(layer, Bidirectional):
        return [state]
    if state is None:
        return [None, None]
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(
            f"{name} must be a tuple of two states (forward, backward), got {type(state).__name__}"
        )
    return list(state)


def walk(
    layer: object, x: ArrayLike, state: State, lengths: ArrayLike | None, reset: ArrayLike | None
) -> list[Stack]:
    """Take every step of every direction of every layer."""
    stacks = stacks_of(layer)
    return [
        _walk_stack(stack, x, part, lengths, reset)
        for stack, part in zip(stacks, states_of(layer, state, "state"), strict=True)
    ]


def _walk_stack(
    layer: Recurrent, x: ArrayLike, state: State, lengths: ArrayLike | None, reset: ArrayLike | None
) -> Stack:
    quiet = copy.copy(layer)  # has the same parameters, and packs of its own
    # The kernels know probabilities in float32.
    zoneout = tuple(float(np.float32(p)) for p in layer._told.zoneout[: layer._cell.states])
    quiet._told = layer._told._replace(masked=False, zoneout=(0.0, 0.0))
    quiet._extras = layer._extras._replace(
        zoneout=0.0, input_dropout=0.0, recurrent_dropout=0.0, weight_dropout=0.0
    )
    quiet.dropout = 0.0
    call = quiet._read(x, state, lengths, reset)
    T, B, _ = call.x.shape
    active = np.arange(T)[:, None] < (np.full(B, T) if call.lengths is None else call.lengths)
    cut = np.zeros((T, B), bool) if call.reset is None else call.reset & active
    read, paths = call.x, []
    for number in range(quiet._slot_count):
        direction = number % quiet.directions
        reverse = quiet._backwards != (direction == 1)
        walker = Walker(quiet, number, reverse, zoneout)
        # Reversed, the gap before step t + 1 is crossed on the way into step t.
        shut = np.concatenate([cut[1:], np.zeros((1, B), bool)])[:T] if reverse else cut
        paths.append(_walk_slot(walker, call, read, active, active & ~shut))
        if direction == quiet.directions - 1:
            read = np.concatenate([path.h for path in paths[-quiet.directions :]], axis=2)
    return Stack(quiet, call, paths)


def _walk_slot(
    walker: Walker, call: Call, x: Array, active: NDArray[np.bool_], keep: NDArray[np.bool_]
) -> Path:
    stack = walker.stack
    T, B, _ = x.shape
    widths, dtype = stack._widths, stack.dtype
    given = of_slot(call.states, walker.number) or (None,) * len(widths)
    now: States = tuple(
        np.zeros((B, width), dtype) if part is None else part
        for part, width in zip(given, widths, strict=True)
    )
    x = np.where(active[:, :, None], x, 0).astype(dtype, copy=False)
    before = tuple(np.zeros((T, B, width), dtype) for width in widths)
    h = np.zeros((T, B, widths[0]), dtype)
    pulls: list[Any] = [None] * T
    path = Path(walker, x, before, h, pulls, active, keep)
    for t in path.order:
        inside, kept = active[t][:, None], keep[t][:, None]
        for part, held in zip(before, now, strict=True):
            part[t] = np.where(kept, held, 0)
        after, pulls[t] = walker.step(x[t], tuple(part[t] for part in before))
        now = tuple(np.where(inside, a, b) for a, b in zip(after, now, strict=True))
        h[t] = np.where(inside, now[0], 0)
    return path
