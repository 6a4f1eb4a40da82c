"""Cores that are two, and near each other: a hypervisor moves those of a virtual machine.

Two cores may share a level-3 cache now and none some seconds later: what one waits for the other then takes
five times as long. Or they are one for a while, and no program is faster with two threads. That is not what a
row is to measure. So rows of several threads wait for two cores, as near as they were found before, and are
measured again if these were not two to the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from . import machine, roof

_TRIES = 5  # of a look: the best counts, for any other work on the cores disturbs it
_FAR = 2.0  # times the shortest way that was found
_PATIENCE = 15.0  # seconds that a row waits at most
_ENOUGH = 90.0  # and all of them
_LOOK = 0.5  # seconds between two looks
_TWO = 1.6  # times the speed of one core


class Neighbours:
    """Waits for the cores to be two and near each other; `far` rows have waited in vain."""

    def __init__(
        self, look: Callable[[], float] | None = None, speed: Callable[[], float] | None = None
    ) -> None:
        self._look, self._speed = look or _round_trip, speed or _speed_of_two
        self.nearest, self.waited, self.far = float("inf"), 0.0, 0

    def wait(self) -> bool:
        """Whether they came to be."""
        end = time.monotonic() + min(_PATIENCE, max(0.0, _ENOUGH - self.waited))
        begin = time.monotonic()
        while (far := self._are_far()) and time.monotonic() < end:
            time.sleep(_LOOK)
        self.far += far
        self.waited += time.monotonic() - begin
        return not far

    def are_two(self) -> bool:
        return self._speed() >= _TWO

    def _are_far(self) -> bool:
        if not self.are_two():  # threads of one core would be nearer than any two
            return True
        now = self._look()
        self.nearest = min(self.nearest, now)
        return now > _FAR * self.nearest


def _of_two(measure: Callable[[], float], otherwise: float) -> float:
    """What two cores do, or `otherwise` where there is one, or nothing to measure with."""
    if machine.cores() < 2:
        return otherwise
    try:
        return measure()
    except roof.NoCompiler:
        return otherwise


def _speed_of_two() -> float:
    """That of two threads, in threads."""

    def best() -> float:
        fastest = 0.0
        for _ in range(_TRIES):  # threads that have slept may begin on one core
            fastest = max(fastest, roof.speed_of_two())
            if fastest >= _TWO:
                break
        return fastest

    return _of_two(best, 2.0)


def _round_trip() -> float:
    """In seconds."""
    return _of_two(lambda: min(roof.round_trip() for _ in range(_TRIES)), 0.0)
