"""``python -m benchmarks.report``: every cell in every shape beside the peers, as tables and plots."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyrnn import functional, reference

from . import harness, machine, peers, plots, roof, shapes, tables, targets
from .problem import Problem
from .tables import Row


@dataclass
class Report:
    """What has been measured so far."""

    roofs: dict[int, roof.Roof] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    targets: list[targets.Target] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """The report and its plots, each file whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        self.rows = [replace(row, roof=self._least(row)) for row in self.rows]
        if any((row.of_roof or 0) > 1 for row in self.rows):
            self.notes.append("rows above 100 % of the roof: the machine was busy when the roof was measured")
        pictures = {}
        try:
            if any(row.ratios for row in self.rows):
                pictures["speedup.png"] = plots.speedup(self.rows)
            if any(row.of_roof is not None for row in self.rows):
                pictures["roof.png"] = plots.roof(self.rows, self.roofs)
        except ImportError as missing:
            self.notes.append(f"no plots: {missing}")
        for name, content in pictures.items():
            _replace(folder / name, content)
        notes = [*self.notes, *(f"**left out, result not equal**: {line}" for line in self.wrong)]
        text = tables.markdown(
            machine.summary(), machine.config(), self.roofs, self.rows, self.targets, notes, list(pictures)
        )
        _replace(folder / "report.md", text.encode())

    def _least(self, row: Row) -> float | None:
        if row.threads not in self.roofs:
            return None
        return self.roofs[row.threads].seconds(row.shape, reference.cells[row.cell].gates, row.mode)


def _replace(path: Path, content: bytes) -> None:
    """Write beside the file and put it in its place: a reader never sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


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


def measure(report: Report, args: argparse.Namespace) -> None:
    """Fill the report. An interruption leaves what has been measured."""
    _measure_roofs(report, args)
    chosen = {mode: shapes.select(args.shapes, mode) for mode in shapes.MODES}
    sequences = list(dict.fromkeys([*chosen["inference"], *chosen["training"]]))
    both: tuple[shapes.Mode, ...] = ("inference", "training")
    step: tuple[shapes.Mode, ...] = ("step",)
    jobs = [(shape, cell, both) for shape in sequences for cell in args.cells]
    jobs += [(shape, cell, step) for shape in chosen["step"] for cell in args.cells]
    plan = targets.Plan(args.cells, args.budget, args.threads)
    figures = [] if args.no_targets else list(targets.measure(plan))
    progress = Progress(sum(len(modes) for *_, modes in jobs) * len(args.threads) + len(figures))
    try:
        for shape, cell, modes in jobs:
            problem = Problem(cell, shape)
            for mode in modes:
                for threads in args.threads:
                    progress.start(f"{mode} {problem}, threads {threads}")
                    _measure_row(report, problem, mode, threads, args)
                    progress.end()
        for figure in figures:
            progress.start("targets")
            report.targets.extend(figure())
            progress.end()
    finally:
        progress.close()
    if report.roofs:
        _measure_roofs(report, args)


def _measure_roofs(report: Report, args: argparse.Namespace) -> None:
    """At the start and again at the end: of two the higher, number by number."""
    try:
        found = roof.measure(args.threads, args.quick)
    except roof.NoCompiler as reason:
        report.notes.append(str(reason))
        print(reason, file=sys.stderr)
    else:
        report.roofs = {n: new.higher(report.roofs.get(n, new)) for n, new in found.items()}


def _measure_row(
    report: Report, problem: Problem, mode: shapes.Mode, threads: int, args: argparse.Namespace
) -> None:
    beside = {}
    if problem.shape.ragged:
        twin = targets.dense_twin(problem.shape)
        beside[targets.DENSE] = targets.our_run(problem.cell, twin, mode, threads)[1]
    found, wrong = harness.measure(problem, mode, threads, peers.available(args.peers), args.budget, beside)
    report.wrong += wrong
    if tables.OURS in found:
        report.rows.append(Row(mode, problem.cell, problem.shape, threads, found, problem.flops(mode)))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", help="each row once for each (1 2)")
    parser.add_argument("--cells", nargs="+", default=list(functional.CELLS), choices=list(functional.CELLS))
    parser.add_argument("--shapes", nargs="+", default=None, help="names and groups, see --list (default)")
    parser.add_argument(
        "--peers", nargs="+", choices=peers.known(), help="only these (all that are installed)"
    )
    parser.add_argument("--budget", type=float, help="seconds of timing a row (1.5; quick: 0.3)")
    parser.add_argument("--quick", action="store_true", help="fewer shapes, less time each")
    parser.add_argument("--no-targets", action="store_true", help="leave the section of targets out")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder (docs/benchmarks)")
    parser.add_argument("--list", action="store_true", help="print the shapes and their groups, and stop")
    args = parser.parse_args(argv)
    args.shapes = args.shapes or ["quick" if args.quick else "default"]
    args.budget = args.budget or (0.3 if args.quick else 1.5)
    try:
        shapes.select(args.shapes, "inference")
    except ValueError as unknown:
        parser.error(str(unknown))
    allowed = machine.cores()
    args.threads = args.threads or [n for n in (1, 2) if n <= allowed]
    if not all(1 <= n <= allowed for n in args.threads):
        parser.error(f"--threads: this process may use 1 to {allowed}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    if args.list:
        print("\n".join(shapes.listing()))
        return 0
    report, status = Report(), 0
    try:
        measure(report, args)
    except KeyboardInterrupt:
        report.notes.append("stopped before the end: the report is not complete")
        print("stopped, writing what there is", file=sys.stderr)
        status = 130
    finally:
        report.write(args.out)
    for target in report.targets:
        met = "met   " if target.met else "NOT MET"
        print(f"{met:8}{target.bullet}: {target.what}: asked {target.asked}, reached {target.reached_text}")
    for line in report.wrong:
        print(f"left out: {line}", file=sys.stderr)
    print(f"wrote {args.out / 'report.md'}")
    return status or (1 if report.wrong else 0)


if __name__ == "__main__":
    sys.exit(main())
