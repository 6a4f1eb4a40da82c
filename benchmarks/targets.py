"""Single figures that pyrnn is to reach, each measured by itself: what was asked, what was reached."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from . import harness
from .peers import Peer, Run, available
from .peers.ours import Pyrnn, make_layer
from .problem import Array, Problem, named_state
from .shapes import SEQUENCES, STEPS, Mode, Shape

DENSE = "pyrnn, dense"  # the run that a ragged row is compared with


@dataclass(frozen=True)
class Target:
    """A figure, its limit, and what was reached, by cell where there are several."""

    bullet: str
    what: str
    sense: Literal["≥", "≤"]
    limit: float
    unit: str
    reached: dict[str, float]

    @property
    def met(self) -> bool:
        return all(v >= self.limit if self.sense == "≥" else v <= self.limit for v in self.reached.values())

    @property
    def asked(self) -> str:
        return f"{self.sense} {_short(self.limit)} {self.unit}".rstrip()

    @property
    def reached_text(self) -> str:
        return ", ".join(f"{name} {_short(value)}".strip() for name, value in self.reached.items())


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@dataclass(frozen=True)
class Plan:
    cells: Sequence[str]
    budget: float  # seconds a figure
    threads: Sequence[int]


def measure(plan: Plan) -> Iterator[Callable[[], Iterator[Target]]]:
    """The figures, each still to be called: a caller can count them and stop between them."""
    for group in (_recurrent, _speedups, _per_flop, _stream, _ragged, _scaling, _memory):
        yield lambda group=group: group(plan)  # type: ignore[misc]


def dense_twin(shape: Shape) -> Shape:
    return replace(shape, name=f"{shape.name}-dense", ragged=False)


def our_run(cell: str, shape: Shape, mode: Mode, threads: int = 1) -> tuple[Problem, Run]:
    """A problem and pyrnn's run of it, checked."""
    problem = Problem(cell, shape)
    runs, wrong = harness.prepare(problem, mode, threads, _ours())
    assert not wrong, wrong[0]
    return problem, runs[Pyrnn.name]


def _ours(*others: str) -> list[Peer]:
    return available([Pyrnn.name, *others])


def _recurrent(plan: Plan) -> Iterator[Target]:
    """With one input little but the recurrent products is left, so their rate is at least what is counted."""
    shape = replace(SEQUENCES["batch-256"], name="recurrent", I=1)
    problem, run = our_run("lstm", shape, "inference")
    best = harness.race({"lstm": run}, plan.budget)["lstm"].best
    rate = 2.0 * shape.T * shape.B * problem.formula.gates * shape.H**2 / best / 1e9
    what = f"recurrent products of the LSTM, {shape.dims}, gates included"
    yield Target("Fast", what, "≥", 85, "GFLOP/s", {"": rate})


def _speedups(plan: Plan) -> Iterator[Target]:
    limits: list[tuple[Mode, str, float]] = [
        ("inference", "frames-64", 10),
        ("inference", "text", 1.4),
        ("training", "frames-64", 6),
        ("training", "text", 1.3),
    ]
    for mode, name, limit in limits:
        shape = SEQUENCES[name]
        times, wrong = harness.measure(Problem("lstm", shape), mode, 1, _ours("reference"), plan.budget)
        assert not wrong, wrong[0]
        what = f"LSTM {mode} against the NumPy reference, {shape.dims}"
        yield Target("Fast", what, "≥", limit, "times", {"": times["reference"].best / times["pyrnn"].best})


def _per_flop(plan: Plan) -> Iterator[Target]:
    """The time per floating-point operation of the other cells, that of the LSTM being 1."""
    for mode in ("inference", "training"):
        for name in ("batch-256", "text", "frames-256"):
            pairs = {
                cell: our_run(cell, SEQUENCES[name], mode) for cell in dict.fromkeys(["lstm", *plan.cells])
            }
            times = harness.race({cell: run for cell, (_, run) in pairs.items()}, plan.budget)
            cost = {cell: times[cell].best / problem.flops(mode) for cell, (problem, _) in pairs.items()}
            reached = {cell: value / cost["lstm"] for cell, value in cost.items() if cell != "lstm"}
            what = f"time per operation relative to the LSTM's, {mode}, {SEQUENCES[name].dims}"
            if reached:
                yield Target("Fast", what, "≤", 1.15, "", reached)


def _stream(plan: Plan) -> Iterator[Target]:
    shape = STEPS["step-1x40"]
    runs = {cell: our_run(cell, shape, "step")[1] for cell in dict.fromkeys(["lstm", *plan.cells])}
    times = harness.race(runs, plan.budget)
    what = f"a step of a stream from Python, (I,H) = {shape.dims}"
    yield Target("Fast", what, "≤", 2, "µs", {cell: 1e6 * t.best for cell, t in times.items()})


def _ragged(plan: Plan) -> Iterator[Target]:
    shape = SEQUENCES["ragged"]
    dense = dense_twin(shape)
    for mode in ("inference", "training"):
        reached = {}
        for cell in plan.cells:
            runs = {s.name: our_run(cell, s, mode)[1] for s in (shape, dense)}
            times = harness.race(runs, plan.budget)
            per_step = {s: times[s.name].best / s.valid_steps for s in (shape, dense)}
            reached[cell] = per_step[shape] / per_step[dense]
        what = f"time per valid step of a ragged batch relative to a dense one, {mode}, {dense.dims}"
        yield Target("Fast", what, "≤", 1.25, "", reached)


def _scaling(plan: Plan) -> Iterator[Target]:
    """One thread and two in turn: the number of threads is set outside the timed part."""
    if not {1, 2} <= set(plan.threads):
        return
    shape, peer = SEQUENCES["batch-512"], _ours()[0]
    for mode in ("inference", "training"):
        reached = {}
        for cell in dict.fromkeys(["lstm", *plan.cells]):
            _, run = our_run(cell, shape, mode, threads=2)
            runs = {str(n): replace(run, before=_both(run.before, peer, n)) for n in (1, 2)}
            times = harness.race(runs, plan.budget, threads=2)
            reached[cell] = times["1"].best / times["2"].best
        peer.set_threads(1)
        yield Target("Scales", f"two threads against one, {mode}, {shape.dims}", "≥", 1.7, "times", reached)


def _both(before: Callable[[], Any] | None, peer: Peer, threads: int) -> Callable[[], None]:
    def both() -> None:
        peer.set_threads(threads)
        if before is not None:
            before()

    return both


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
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.held, self.peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
