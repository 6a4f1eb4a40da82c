"""The measurements of a run, row by row, each saved as soon as there is one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from . import figures, harness, machine, peers, roof, shapes
from .neighbours import Neighbours
from .peers import Run
from .problem import Problem
from .results import DENSE, ONE, OURS, Key, Measured, Results
from .targets import Target

_ATTEMPTS = 3  # at a row of several threads, until the cores were two from the beginning to the end


@dataclass(frozen=True)
class Options:
    """What to measure: cells, names of shapes, numbers of threads, peers (all if None), seconds a row."""

    cells: Sequence[str]
    shapes: Sequence[str]
    threads: Sequence[int]
    peers: Sequence[str] | None
    budget: float
    quick: bool
    targets: bool


class Progress:
    """On standard error: a bar by tqdm where it is installed and someone looks on, else a line a row."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.bar: Any = None
        if sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from tqdm import tqdm

                self.bar = tqdm(total=total, unit="row", dynamic_ncols=True)

    def start(self, label: str) -> None:
        self.done += 1
        if self.bar is None:
            print(f"{self.done}/{self.total} {label}", file=sys.stderr, flush=True)
        else:
            self.bar.set_postfix_str(label)

    def end(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def measure(
    results: Results, options: Options, path: Path | None, again: Collection[Key] | None = None
) -> None:
    """Fill the results with what they lack, or measure some rows again.

    After each row the results are saved to `path`, if there is one.
    """
    results.head, results.config = machine.summary(), machine.config()
    results.roofs |= _roofs(results, options)
    neighbours = Neighbours()
    jobs = list(_jobs(results, options, neighbours, again))
    progress = Progress(len(jobs))
    try:
        for label, job in jobs:
            progress.start(label)
            far = neighbours.far
            job()
            if neighbours.far > far:
                results.notes.append(f"{label}: its cores were one, or far from each other")
            if path is not None:
                results.save(path)
            progress.end()
        if again:
            results.notes.append(f"{len(jobs)} disturbed rows of a run were measured again")
    finally:
        progress.close()


def _jobs(
    results: Results, options: Options, neighbours: Neighbours, again: Collection[Key] | None
) -> Iterator[tuple[str, Callable[[], None]]]:
    """What is to be measured, by name: rows, the rows of a problem together, then single figures."""
    for key in _keys(options):
        if key not in results.rows if again is None else key in again:
            label = f"{key.mode} {key.cell} {key.shape}, threads {key.threads}"
            yield label, partial(_measure_row, results, key, options, neighbours)
    if options.targets and again is None:
        plan = figures.Plan(options.cells, options.budget, options.threads)
        for name, figure in figures.figures(plan).items():
            if name not in results.targets:
                yield f"targets: {name}", partial(_measure_figure, results, name, figure)


def _keys(options: Options) -> Iterator[Key]:
    chosen = {mode: shapes.select(list(options.shapes), mode) for mode in shapes.MODES}
    both: tuple[shapes.Mode, ...] = ("inference", "training")
    step: tuple[shapes.Mode, ...] = ("step",)
    for group, modes in ((chosen["inference"], both), (chosen["step"], step)):
        for shape, cell, mode, threads in product(group, options.cells, modes, options.threads):
            yield Key(mode, cell, shape.name, threads)


def _measure_figure(results: Results, name: str, figure: Callable[[], Iterator[Target]]) -> None:
    results.targets[name] = list(figure())


def _roofs(results: Results, options: Options) -> dict[int, roof.Roof]:
    """The roofs at the start, for the picture and the table: each row has its own."""
    try:
        return roof.measure([n for n in options.threads if n not in results.roofs], options.quick)
    except roof.NoCompiler as reason:
        print(reason, file=sys.stderr)
        if str(reason) not in results.notes:
            results.notes.append(str(reason))
        return {}


@lru_cache(maxsize=1)  # the rows of a problem follow each other, and its float64 solution takes time
def _problem(cell: str, shape: str) -> Problem:
    return Problem(cell, (shapes.SEQUENCES | shapes.STEPS)[shape])


def _known_slow(results: Results, peer: str, mode: shapes.Mode, problem: Problem) -> bool:
    """Whether it was too slow with another number of threads: it is not tried again."""
    return any(line.startswith(f"{peer} in {mode} {problem}:") for line in results.slow)


def _measure_row(results: Results, key: Key, options: Options, neighbours: Neighbours) -> None:
    """The programs of a row in turn, beside them the roof, one thread, the dense batch of the same work."""
    problem, threads = _problem(key.cell, key.shape), key.threads
    asked = [p for p in peers.available(options.peers) if not _known_slow(results, p.name, key.mode, problem)]
    done = harness.prepare(problem, key.mode, threads, asked, harness.LIMIT)
    results.wrong += done.wrong
    results.slow += [f"{name} in {key.mode} {problem}: {took:.0f} s" for name, took in done.slow.items()]
    if OURS not in done.runs:
        return
    beside: dict[str, Run] = {}
    if threads > 1:
        beside[ONE] = figures.our_run(problem, key.mode, 1)
    if problem.shape.ragged:
        beside[DENSE] = figures.our_run(Problem(key.cell, problem.shape.twin), key.mode, threads)
    gauge = None
    if threads in results.roofs:
        gauge = roof.Gauge(problem.shape, problem.formula.gates, key.mode, threads)
        beside["roof"] = gauge.run()
    ours = peers.available([OURS])[0]
    done.runs[OURS] = replace(done.runs[OURS], enter=partial(ours.set_threads, threads))
    for _ in range(_ATTEMPTS):
        hopeful = threads > 1 and neighbours.wait()  # where cores never are two, once must do
        timings = harness.race({**done.runs, **beside}, options.budget, threads)
        if not hopeful or neighbours.are_two():
            break
    else:
        neighbours.far += 1
    timings.pop("roof", None)
    reached = (gauge.seconds(), gauge.fma) if gauge else (None, None)
    measured = Measured(timings, *reached)
    results.rows[key] = results.rows[key].calmer(measured) if key in results.rows else measured
