"""What a peer is: something that runs the same problems, so that it can be checked and timed beside pyrnn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..problem import Array, Problem
from ..shapes import Mode, Shape

Arrays = dict[str, Array]


@dataclass(frozen=True)
class Run:
    """A problem made ready by a peer: `call` is what is timed.

    `result` computes what is compared with the truth: "y", "h", "c" and, for training, "dx" and the gradients
    under the names of the parameters; whatever of these the peer yields. Outside the timed part, `before` is
    run before each call, `enter` before each turn of calls, where there is one.
    """

    call: Callable[[], Any]
    result: Callable[[], Arrays]
    before: Callable[[], Any] | None = None
    enter: Callable[[], Any] | None = None


class Peer:
    """Base of the peers: a subclass sets `name`, imports its package in `__init__`, and defines its modes.

    A mode is a method of its name, which takes a `Problem` and returns a `Run`:

    - `inference`: the whole sequence from a zero state, nothing kept for a way back.
    - `training`: forward, and the gradients of (y * dy).sum() with respect to the input and every parameter.
    - `step`: one step of a batch of one, the state carried from call to call: see `step_run`.

    A subclass that lacks some of them, or is not timed in them, sets `modes` to the others.
    """

    name: ClassVar[str]
    modes: ClassVar[tuple[Mode, ...]] = ("inference", "training", "step")
    version: str
    bounded = True  # set_threads can do what it says

    def __init__(self) -> None:
        """Import the package; an ImportError means that the peer is absent. Set `version`."""

    def set_threads(self, n: int) -> None:
        """Use n threads from now on, in what is prepared and in what is called."""

    def has(self, cell: str, shape: Shape) -> bool:
        """Whether the peer can compute this cell in this shape."""
        return True

    def prepare(self, problem: Problem, mode: Mode) -> Run | None:
        """The run of a mode, None where the peer has none."""
        if mode not in self.modes or not self.has(problem.cell, problem.shape):
            return None
        make: Callable[[Problem], Run] = getattr(self, mode)
        return make(problem)


def step_run(fresh: Callable[[], Callable[[Any], Any]], inputs: list[Any]) -> Run:
    """A run of single steps. `fresh` makes a function from x_t to y_t (1, H) that starts from zero."""

    def result() -> Arrays:
        step = fresh()
        return {"y": np.stack([np.asarray(step(x_t)).reshape(1, -1).copy() for x_t in inputs])}

    return Run(partial(fresh(), inputs[0]), result)
