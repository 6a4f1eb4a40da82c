"""Equality first, then interleaved timing: all run in every round, so that a slow minute hits them all."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat
from statistics import median
from typing import Any

from .peers import Peer, Run
from .problem import Problem, assert_equal
from .shapes import Mode

ROUNDS = 6
_SAMPLE = 100e-6  # seconds a sample lasts at least: shorter calls are repeated within it
_SLOW = 0.05  # a call that takes longer needs no warm-up of its own in every round
_SETTLE = 0.03  # idle worker threads of OpenMP and of the others spin for some 10 ms before they sleep


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the samples."""

    best: float
    median: float
    samples: int


def prepare(
    problem: Problem, mode: Mode, threads: int, peers: list[Peer]
) -> tuple[dict[str, Run], list[str]]:
    """The runs of the peers that have this problem and solve it, and what was wrong with the others."""
    runs, wrong = {}, []
    for peer in peers:
        peer.set_threads(threads)
        run = peer.prepare(problem, mode)
        if run is None:
            continue
        try:
            assert_equal(problem, peer.name, run.result())
        except AssertionError as failure:
            wrong.append(f"{mode}, threads {threads}: {failure}")
        else:
            runs[peer.name] = run
    return runs, wrong


def race(runs: Mapping[str, Run], budget: float, threads: int = 1) -> dict[str, Timing]:
    """Time the runs in turn, A B C, C B A, ..., for about `budget` seconds in all.

    Each gets an equal share of the budget, and two samples at least. With more than one thread there is a
    pause before each turn: otherwise the workers of the last peer, still spinning, would take the core of the
    next one's.
    """
    names, pause = list(runs), _SETTLE if threads > 1 else 0.0
    number = {name: _calls_per_sample(runs[name]) for name in names}
    samples: dict[str, list[float]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0.0)
    share = budget / max(len(names), 1)
    gc.collect()
    collecting = gc.isenabled()
    gc.disable()
    try:
        for turn in range(ROUNDS):
            for name in names if turn % 2 == 0 else reversed(names):
                if spent[name] < share or len(samples[name]) < 2:
                    time.sleep(pause)
                    start = time.perf_counter()
                    samples[name] += _burst(runs[name], number[name], share / ROUNDS)
                    spent[name] += time.perf_counter() - start
    finally:
        if collecting:
            gc.enable()
    return {name: Timing(min(s), median(s), len(s)) for name, s in samples.items()}


def measure(
    problem: Problem,
    mode: Mode,
    threads: int,
    peers: list[Peer],
    budget: float,
    beside: Mapping[str, Run] | None = None,
) -> tuple[dict[str, Timing], list[str]]:
    """Check, then time, for about `budget` seconds, also the runs `beside` the peers'.

    Returns the timings, and what was wrong with the peers that are left out because they do not solve the
    problem.
    """
    runs, wrong = prepare(problem, mode, threads, peers)
    return race({**runs, **(beside or {})}, budget, threads), wrong


def _calls_per_sample(run: Run) -> int:
    """As many as make a sample long enough for the clock; one where something must happen before each."""
    if run.before is not None:
        return 1
    number = 1
    _sample(run, number)
    while _sample(run, number) * number < _SAMPLE:
        number *= 2
    return number


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
