"""Cores that are near each other: a hypervisor moves those of a virtual machine.

Two cores may share a level-3 cache now and none some seconds later. What one then waits for the other takes
five times as long, which is not what a row is to measure: rows of several threads wait for the cores to be
as near as they were found before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from . import machine, roof

_TRIES = 5  # of a look: the shortest counts, for any other work on the cores makes it longer
_FAR = 2.0  # times the shortest way that was found
_PATIENCE = 15.0  # seconds that a row waits at most
_ENOUGH = 90.0  # and all of them
_LOOK = 0.5  # seconds between two looks


class Neighbours:
    """Waits for the cores to be near each other; `far` rows have waited in vain."""

    def __init__(self, look: Callable[[], float] | None = None) -> None:
        self._look = look or _round_trip
        self.nearest, self.waited, self.far = float("inf"), 0.0, 0

    def wait(self) -> None:
        end = time.monotonic() + min(_PATIENCE, max(0.0, _ENOUGH - self.waited))
        begin = time.monotonic()
        while self._are_far():
            if time.monotonic() >= end:
                self.far += 1
                break
            time.sleep(_LOOK)
        self.waited += time.monotonic() - begin

    def _are_far(self) -> bool:
        now = self._look()
        self.nearest = min(self.nearest, now)
        return now > _FAR * self.nearest


def _round_trip() -> float:
    """In seconds; 0 where there is one core, or nothing to measure with."""
    if machine.cores() < 2:
        return 0.0
    try:
        return min(roof.round_trip() for _ in range(_TRIES))
    except roof.NoCompiler:
        return 0.0
