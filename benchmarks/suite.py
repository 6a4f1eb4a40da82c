"""What the pytest-benchmark files share: the cases, and how one is checked and timed."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from pyrnn import functional

from . import harness
from .peers import Peer, available
from .problem import Problem
from .shapes import Mode, Shape, select


class Case(NamedTuple):
    cell: str
    shape: Shape
    peer: Peer
    mode: Mode
    threads: int

    def __str__(self) -> str:
        return f"{self.cell}-{self.shape.name}-{self.peer.name}"


def cases(mode: Mode, group: str, threads: int) -> list[Case]:
    """Every cell of the registry in every shape of a group by every peer that has it."""
    return [
        Case(cell, shape, peer, mode, threads)
        for cell in functional.CELLS
        for shape in select([group], mode)
        for peer in available()
        if mode in peer.modes and peer.has(cell, shape)
    ]


_last: list[Problem] = []  # the cases of a problem follow each other, and its float64 solution takes time


def run(benchmark: Any, case: Case) -> None:
    """Assert that the peer solves the problem, then hand it to pytest-benchmark; a table a cell and shape."""
    if not _last or (_last[0].cell, _last[0].shape) != (case.cell, case.shape):
        _last[:] = [Problem(case.cell, case.shape)]
    problem = _last[0]
    for peer in available():  # all of them: NumPy's BLAS belongs to the reference, but is used by others too
        peer.set_threads(case.threads)
    checked = harness.prepare(problem, case.mode, case.threads, [case.peer])
    assert not checked.wrong, checked.wrong[0]
    prepared = checked.runs[case.peer.name]
    benchmark.group = f"{case.mode} {case.cell} {case.shape.name} {case.shape.dims}, threads {case.threads}"
    benchmark.extra_info.update(peer=case.peer.version, flops=problem.flops(case.mode))
    if prepared.before is None:
        benchmark(prepared.call)
        return
    start = time.perf_counter()
    prepared.call()
    rounds = 1 if benchmark.disabled else max(3, min(200, int(0.5 / (time.perf_counter() - start))))
    benchmark.pedantic(prepared.call, setup=prepared.before, rounds=rounds, iterations=1)
