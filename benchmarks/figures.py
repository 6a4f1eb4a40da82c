"""The targets that have measurements of their own: memory, and threads on a machine that is busy."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyrnn

from . import harness
from .peers import Run, available
from .peers.ours import Pyrnn, make_layer
from .problem import Array, Problem, named_state
from .shapes import SEQUENCES, Mode
from .targets import Target


@dataclass(frozen=True)
class Plan:
    cells: Sequence[str]
    budget: float  # seconds a race
    threads: Sequence[int]


def figures(plan: Plan) -> dict[str, Callable[[], Iterator[Target]]]:
    """The figures by name, each still to be measured: a caller can count them and stop between them."""
    return {"busy": lambda: _busy(plan), "memory": lambda: _memory(plan)}


def our_run(problem: Problem, mode: Mode, threads: int = 1) -> Run:
    """pyrnn's run of a problem, checked; its turns set the number of threads."""
    peer = available([Pyrnn.name])[0]
    done = harness.prepare(problem, mode, threads, [peer])
    assert not done.wrong, done.wrong[0]
    return replace(done.runs[Pyrnn.name], enter=lambda: peer.set_threads(threads))


def _busy(plan: Plan) -> Iterator[Target]:
    """Medians of one thread and of two while another process spins on every core."""
    if not {1, 2} <= set(plan.threads) or not hasattr(os, "sched_setaffinity"):
        return
    cases: list[tuple[Mode, str]] = [
        ("inference", "frames-256"),
        ("inference", "batch-256"),
        ("training", "batch-256"),
    ]
    for mode, name in cases:
        reached = {}
        for cell in plan.cells:
            problem = Problem(cell, SEQUENCES[name])
            runs = {str(n): our_run(problem, mode, n) for n in (1, 2)}
            with _spinners():
                times = harness.race(runs, max(plan.budget, 0.5), threads=2)
            reached[cell] = times["2"].median / times["1"].median
        what = f"all cores busy: two threads' median over one's, {mode} {SEQUENCES[name].dims}"
        yield Target("Busy", what, "≤", 1.5, "", reached)


# Bound to a core; ends by itself when the process that started it is gone.
_SPIN = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
parent = os.getppid()
print(flush=True)
while os.getppid() == parent:
    for _ in range(100000):
        pass
"""


@contextlib.contextmanager
def _spinners() -> Iterator[None]:
    """A process on each core that this one may use, which does nothing but keep it busy."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for core in sorted(os.sched_getaffinity(0)):
            command = [sys.executable, "-c", _SPIN, str(core)]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        time.sleep(0.1)  # the scheduler has noticed them
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.communicate()


def _memory(plan: Plan) -> Iterator[Target]:
    for name in ("batch-512", "pixels"):
        shape = SEQUENCES[name]
        reached = {cell: inference_bytes(Problem(cell, shape)) / 1e6 for cell in plan.cells}
        limit = 8 + 64e-6 * shape.T * shape.B
        what = f"inference allocates beyond its output and its packed weights, {shape.dims}"
        yield Target("Memory", what, "≤", limit, "MB", reached)
    shape = SEQUENCES["batch-256"]
    for cell in plan.cells:
        problem = Problem(cell, shape)
        what = f"training keeps between forward and backward, besides the output, {cell} {shape.dims}"
        limit = problem.formula.gates + 2
        yield Target("Memory", what, "≤", limit, "numbers per T·B·H", {"": saved_numbers(problem)})


def inference_bytes(problem: Problem) -> int:
    """The most that the first call of a layer allocates, less its outputs and weights of the plain size."""
    layer = make_layer(problem)
    with _Traced() as memory:
        y, state = layer(problem.x, lengths=problem.lengths)
    weights = sum(a.nbytes for a in problem.params.values())
    return memory.peak - _bytes(y, state) - weights


def saved_numbers(problem: Problem) -> float:
    """The numbers that are alive between forward and backward, besides the outputs, for each of T * B * H."""
    layer, shape = make_layer(problem), problem.shape
    layer.vjp(problem.x, lengths=problem.lengths)[1](problem.dy)  # packs the weights
    with _Traced() as memory:
        (y, state), pull = layer.vjp(problem.x, lengths=problem.lengths)
    held = memory.held - _bytes(y, state)
    del pull
    return round(held / (shape.T * shape.B * shape.H * problem.x.itemsize), 2)  # less the closure's own size


def _bytes(y: Array, state: Any) -> int:
    return y.nbytes + sum(a.nbytes for a in named_state(state).values())


class _Traced:
    """What Python and NumPy allocate inside the block: `peak` bytes at the most, `held` at its end."""

    peak = held = 0

    def __enter__(self) -> _Traced:
        gc.collect()
        pyrnn.empty_cache()
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        _, self.peak = tracemalloc.get_traced_memory()
        pyrnn.empty_cache()
        self.held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
