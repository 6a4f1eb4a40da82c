"""Equality first, then interleaved timing: all run in every round, so that a slow minute hits them all."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from statistics import median
from typing import Any

from .peers import Peer, Run
from .problem import Problem, assert_equal
from .shapes import Mode

ROUNDS = 5
_AGREE = 1.02  # times the best of all turns: as near to it must that of a second turn be
_PATIENCE = 2.0  # seconds that a row lasts longer at most until it is so
LIMIT = 5.0  # seconds: a peer whose call takes longer is left out of the row, and named
_FEWEST = 3
_ONCE = 2.0  # seconds: a longer call is timed once
_SAMPLE = 100e-6  # seconds a sample lasts at least: shorter calls are repeated within it
_SLOW = 0.05  # a call that takes longer needs no warm-up of its own in every round
_NAP = 0.01  # seconds between two looks at whether this process still computes
_SETTLE = 0.5  # seconds that are waited for it at most
_AT_REST = 0.1  # of one core


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the samples."""

    best: float
    median: float
    samples: int


@dataclass(frozen=True)
class Prepared:
    """The runs of the peers that solve a problem, what was wrong with others, seconds of those too slow."""

    runs: dict[str, Run]
    wrong: list[str]
    slow: dict[str, float]


def prepare(
    problem: Problem, mode: Mode, threads: int, peers: list[Peer], limit: float = float("inf")
) -> Prepared:
    """Make the peers' runs, and check them; one whose checked call takes longer than `limit` is left out."""
    done = Prepared({}, [], {})
    for peer in peers:
        peer.set_threads(threads)
        run = peer.prepare(problem, mode)
        if run is None:
            continue
        start = time.perf_counter()
        result = run.result()
        seconds = time.perf_counter() - start
        try:
            assert_equal(problem, peer.name, result)
        except AssertionError as failure:
            done.wrong.append(f"{mode}, threads {threads}: {failure}")
            continue
        if seconds > limit:  # it may have been the machine: once more
            seconds = min(seconds, _sample(run, 1))
        if seconds > limit:
            done.slow[peer.name] = seconds
        else:
            done.runs[peer.name] = run
    return done


@dataclass
class _Racer:
    """A run and its samples; of each turn the best."""

    run: Run
    samples: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    spent: float = 0.0
    number: int = 0  # calls in a sample

    @property
    def once(self) -> bool:
        return bool(self.samples) and self.samples[0] > _ONCE

    @property
    def agrees(self) -> bool:
        """Whether two turns reach the best: one alone may have met a quiet moment that others missed."""
        return self.once or sum(t <= _AGREE * min(self.turns) for t in self.turns) > 1

    def turn(self, share: float) -> None:
        _enter(self.run)
        start, before = time.perf_counter(), len(self.samples)
        if not self.number:
            self.number, first = _calls_per_sample(self.run)
            self.samples += [first] if first > share else []
        if not self.once:
            self.samples += _burst(self.run, self.number, share / ROUNDS)
        self.spent += time.perf_counter() - start
        self.turns.append(min(self.samples[before:]))


def race(runs: Mapping[str, Run], budget: float, threads: int = 1) -> dict[str, Timing]:
    """Time the runs in turn, A B C, C B A, ..., for about `budget` seconds in all.

    Each gets an equal share of the budget, and `_FEWEST` samples at least, but a single one of calls of
    more than `_ONCE` seconds. While somebody's best is that of one turn alone, all go on, for `_PATIENCE`
    seconds at most. With more than one thread each turn waits for the workers of the last
    peer to sleep: still spinning, they would take the core of the next one's.
    """
    racers = {name: _Racer(run) for name, run in runs.items()}
    share = budget / max(len(racers), 1)

    def take_turns(racers: Iterable[_Racer]) -> None:
        for racer in racers:
            if threads > 1:
                _settle()
            racer.turn(share)

    def in_order(turn: int) -> list[_Racer]:
        return list(racers.values())[:: 1 if turn % 2 == 0 else -1]

    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(ROUNDS):
            take_turns(
                r for r in in_order(turn) if r.spent < share or (len(r.samples) < _FEWEST and not r.once)
            )
        end = time.perf_counter() + _PATIENCE
        while not all(r.agrees for r in racers.values()) and time.perf_counter() < end:
            turn += 1
            take_turns(r for r in in_order(turn) if not r.once)
    finally:
        if collecting:
            gc.enable()
    return {n: Timing(min(r.samples), median(r.samples), len(r.samples)) for n, r in racers.items()}


def _settle() -> None:
    """Until no thread of this process computes: idle workers spin for 10 ms (OpenMP) to 120 ms (OpenBLAS)."""
    end = time.perf_counter() + _SETTLE
    while time.perf_counter() < end:
        wall, busy = time.perf_counter(), time.process_time()
        time.sleep(_NAP)
        if time.process_time() - busy < _AT_REST * (time.perf_counter() - wall):
            return


def _enter(run: Run) -> None:
    if run.enter is not None:
        run.enter()


def _calls_per_sample(run: Run) -> tuple[int, float]:
    """As many as make a sample long enough for the clock, one where something must happen before each.

    Also the seconds of the last call that was tried.
    """
    number, seconds = 1, _sample(run, 1)
    while run.before is None and seconds * number < _SAMPLE:
        number *= 2
        seconds = _sample(run, number)
    return number, seconds


def _sample(run: Run, number: int) -> float:
    call: Callable[[], Any] = run.call
    if run.before is not None:
        run.before()
    start = time.perf_counter()
    for _ in repeat(None, number):
        call()
    return (time.perf_counter() - start) / number


def _burst(run: Run, number: int, seconds: float) -> list[float]:
    """Samples for about `seconds`, after one that only warms the caches up unless calls are long."""
    end = time.perf_counter() + seconds
    first = _sample(run, number)
    samples = [first] if first > _SLOW else [_sample(run, number)]
    while time.perf_counter() < end:
        samples.append(_sample(run, number))
    return samples
