"""One call that says whether gradients vanish, explode or are healthy, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._call import State
from ._walk import Path, walk
from .gates import Saturation, saturation_of
from .gradients import own_gradients, squares
from .jacobian import of_path

Array = NDArray[Any]

JACOBIANS = 8  # steps whose Jacobian a report looks at: its medians hardly change with more, and each is slow


@dataclass(frozen=True)
class SlotReport:
    """What a `Report` found in one direction of one layer.

    Attributes
    ----------
    verdict : str
        "vanishes", "explodes" or "healthy".
    steps : int
        How many steps the gradient went back over: those of the longest row.
    flow : ndarray, shape (steps,)
        Norm of dL/dh, k steps before each row's last, over that at the last: ``flow[0]`` is 1.
    factor : float
        By how much it changes a step, the geometric mean over the steps where it is not zero.
    reach : float
        After how many steps it is at the threshold of vanishing if it goes on so; infinite if it does not
        shrink.
    spectral_radius, largest_singular_value : float
        Of the step Jacobian: medians over steps spread over the first row that is not empty.
    saturation : dict of str to Saturation
        As from `gate_saturation`.
    """

    verdict: str
    steps: int
    flow: Array
    factor: float
    reach: float
    spectral_radius: float
    largest_singular_value: float
    saturation: dict[str, Saturation]


@dataclass(frozen=True)
class Report:
    """What `report` found; printed, the verdict and the numbers that led to it.

    Attributes
    ----------
    verdict : str
        "explodes" if any direction of any layer does, else "vanishes" if any does, else "healthy".
    slots : dict of str to SlotReport
        Keys as of `hidden_states`.
    vanish, explode : float
        The thresholds.
    """

    verdict: str
    slots: dict[str, SlotReport]
    vanish: float
    explode: float

    def __str__(self) -> str:
        limits = (
            f"vanishes below {self.vanish:g} and explodes above {self.explode:g} of the last step's |dL/dh|"
        )
        described = [self._describe(name, slot) for name, slot in self.slots.items()]
        return "\n".join([f"{self.verdict} ({limits})", *described])

    def _describe(self, name: str, slot: SlotReport) -> str:
        went = f"{slot.flow[-1]:.1e} at the first of {slot.steps} steps"
        peak = slot.flow.max()
        if not math.isfinite(peak):
            went += ", not finite on the way"
        elif peak > max(1.0, slot.flow[-1]):
            went += f", {peak:.1e} on the way"
        pace = f"{slot.factor:.3g} a step"
        if math.isfinite(slot.reach):
            pace += f", {self.vanish:g} after {slot.reach:.0f} steps"
        saturated = ", ".join(f"{gate} {s.low:.0%} | {s.high:.0%}" for gate, s in slot.saturation.items())
        return (
            f"{name}: {slot.verdict}: {went} ({pace})\n"
            f"    step Jacobian: spectral radius {slot.spectral_radius:.3g},"
            f" largest singular value {slot.largest_singular_value:.3g}\n"
            f"    saturated low | high: {saturated or 'no gate has ends'}"
        )


def report(
    layer: object,
    x: ArrayLike,
    state: State = None,
    *,
    lengths: ArrayLike | None = None,
    vanish: float = 1e-3,
    explode: float = 1e3,
) -> Report:
    """Say whether gradients vanish or explode on their way back through time.

    In every direction of every layer for itself: L is the sum of its h at the last step that it takes, and
    dL/dh_t is compared with that at the last step. So nothing but this recurrence stands between the two, and
    no other layer covers up for it.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, IndRNN, MinGRU, MinLSTM or Bidirectional
        Nothing in it is changed.
    x : array_like
        Sequences as the layer takes them, of at least two steps; of the length that matters.
    state, lengths
        As in a call of the layer. There is no `reset`: no gradient passes one.
    vanish : float, default 1e-3
        "vanishes": the norm at the first step is below this part of that at the last. The gradient of a
        weight is a sum over the steps. What comes through a thousand times smaller than the nearest step's is
        below the noise that the choice of a batch puts on that sum, so that no optimizer can follow it.
    explode : float, default 1e3
        "explodes": somewhere it is above this multiple, or not finite. Clipped at the norm of the largest
        step, the others are then left with a thousandth.

    Returns
    -------
    Report
        ``print(report(...))``; the attribute `verdict` is "vanishes", "explodes" or "healthy".

    Raises
    ------
    TypeError, ValueError
        `layer` is no recurrent layer or refuses one of the others, x has less than two steps or no rows, or
        the thresholds are not ``0 < vanish < 1 < explode``.

    Examples
    --------
    >>> from pyrnn import RNN
    >>> rnn = RNN(1, 2, nonlinearity="identity", bias=False)
    >>> rnn.params["weight_hh_l0"] = [[0.5, 0], [0, 0.5]]
    >>> print(report(rnn, np.ones((21, 1, 1))))
    vanishes (vanishes below 0.001 and explodes above 1000 of the last step's |dL/dh|)
    l0: vanishes: 9.5e-07 at the first of 21 steps (0.5 a step, 0.001 after 10 steps)
        step Jacobian: spectral radius 0.5, largest singular value 0.5
        saturated low | high: no gate has ends
    """
    if not 0 < _check.number(vanish, "vanish") < 1:
        raise ValueError(f"vanish must lie between 0 and 1, got {vanish}")
    if not _check.number(explode, "explode") > 1:
        raise ValueError(f"explode must be above 1, got {explode}")
    stacks = walk(layer, x, state, lengths, None)
    steps = stacks[0].paths[0].active.sum(0).max(initial=0)
    if steps < 2:
        raise ValueError(f"x must have a row of at least two steps, got {steps}")
    slots = {path.name: _judge(path, vanish, explode) for stack in stacks for path in stack.paths}
    verdicts = [slot.verdict for slot in slots.values()]
    verdict = next((v for v in ("explodes", "vanishes") if v in verdicts), "healthy")
    return Report(verdict, slots, float(vanish), float(explode))


def _judge(path: Path, vanish: float, explode: float) -> SlotReport:
    flow = _flow(path)
    finite = bool(np.isfinite(flow).all())
    if not finite or flow.max() > explode:
        verdict = "explodes"
    else:
        verdict = "vanishes" if flow[-1] < vanish else "healthy"
    last = np.flatnonzero(flow)[-1]  # float32 has no number below 1e-38: zeros from there on
    factor = float(flow[last] ** (1 / last)) if last else 0.0
    reach = math.inf if not factor < 1 else math.log(vanish) / math.log(factor) if factor else 1.0
    row = int(np.argmax(path.active[0]))
    taken = np.flatnonzero(path.active[:, row])
    spread = np.unique(np.linspace(0, len(taken) - 1, JACOBIANS).astype(int))
    jacobian = of_path(path, row, [int(t) for t in taken[spread]])
    return SlotReport(
        verdict,
        len(flow),
        flow,
        factor,
        reach,
        float(np.median(jacobian.spectral_radius)),
        float(np.median(jacobian.singular_values[:, 0])),
        saturation_of(path, 0.05, 0.95),
    )


def _flow(path: Path) -> Array:
    """The norm of dL/dh by the number of steps to each row's last, over the rows that are so long."""
    squared = squares(own_gradients(path))
    lengths = path.active.sum(0)
    ends = lengths - 1
    flow = []
    for k in range(lengths.max()):
        rows = np.flatnonzero(lengths > k)
        at, last = (
            (np.full(len(rows), k), np.zeros(len(rows), int))
            if path.walker.reverse
            else (ends[rows] - k, ends[rows])
        )
        flow.append(np.sqrt(squared[at, rows].sum() / squared[last, rows].sum()))
    return np.array(flow)
