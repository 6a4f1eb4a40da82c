"""What runs of a report have measured, as files, and as rows whose figures are medians over the runs."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from pyrnn import reference

from .harness import Timing
from .roof import Roof
from .shapes import SEQUENCES, STEPS, Mode, Shape, flops
from .targets import Target

OURS = "pyrnn"
ONE = "pyrnn, one thread"  # runs beside a row of several threads
DENSE = "pyrnn, dense"  # runs beside a ragged row
_DISTURBED = 1.15  # times the best of all runs


class Key(NamedTuple):
    mode: Mode
    cell: str
    shape: str
    threads: int


@dataclass(frozen=True)
class Measured:
    """A row in one run: the timings by peer, the least time the machine allowed, its FLOP/s at that time."""

    timings: dict[str, Timing]
    roof: float | None = None
    fma: float | None = None

    @property
    def best(self) -> float:
        return self.timings[OURS].best

    def ratios(self) -> dict[str, float]:
        """How many times the best of each peer is longer than ours."""
        peers = (name for name in self.timings if name not in (OURS, ONE, DENSE))
        return {name: self.timings[name].best / self.best for name in peers}

    def calmer(self, other: Measured) -> Measured:
        """Of a row measured twice, whole, the one in which all programs together needed less."""
        both = self.timings.keys() & other.timings.keys()
        ratio = prod(self.timings[name].best / other.timings[name].best for name in both)
        return self if both and ratio <= 1 else other


class Row:
    """One cell in one shape. Every figure is the median of the runs' own."""

    def __init__(self, key: Key, runs: Sequence[Measured]) -> None:
        self.mode, self.cell, _, self.threads = key
        self.shape: Shape = (SEQUENCES | STEPS)[key.shape]
        self.runs = runs
        self.best = median(run.best for run in runs)
        self.median = median(run.timings[OURS].median for run in runs)
        names = list(dict.fromkeys(name for run in runs for name in run.ratios()))
        ratios = [run.ratios() for run in runs]
        self.ratios = {name: median(r[name] for r in ratios if name in r) for name in names}
        least = [min(r.values()) for r in ratios if r]
        self.fastest = (min(self.ratios, key=self.ratios.__getitem__), median(least)) if least else None

    def __str__(self) -> str:
        return f"{self.mode} {self.cell} {self.shape.dims}"

    @property
    def flops(self) -> float:
        formula = reference.cells[self.cell]
        return flops(self.shape, formula.gates, formula.recurrent, self.mode)

    @property
    def of_roof(self) -> float | None:
        """The share of the time that the machine allows."""
        return _median(run.roof / run.best for run in self.runs if run.roof)

    @property
    def of_fma(self) -> float | None:
        """The share of the multiply-adds that the machine can do, those of the gates not counted."""
        return _median(self.flops / run.best / run.fma for run in self.runs if run.fma)

    @property
    def over_one(self) -> float | None:
        """How many times one thread takes as long."""
        return _median(run.timings[ONE].best / run.best for run in self.runs if ONE in run.timings)

    @property
    def over_dense(self) -> float | None:
        """The time of a valid step of a ragged batch over that of its dense twin."""
        steps, twin = self.shape.valid_steps, self.shape.twin.valid_steps
        found = (run.best / run.timings[DENSE].best for run in self.runs if DENSE in run.timings)
        return _median(ratio * twin / steps for ratio in found)


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return median(found) if found else None


@dataclass
class Results:
    """One run. `targets` are by the name of the function that measures them."""

    head: list[str] = field(default_factory=list)
    config: str = ""
    roofs: dict[int, Roof] = field(default_factory=dict)
    rows: dict[Key, Measured] = field(default_factory=dict)
    targets: dict[str, list[Target]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def times(self) -> Iterator[tuple[Key, str, float]]:
        """The best of each program in each row."""
        for key, row in self.rows.items():
            for name, timing in row.timings.items():
                yield key, name, timing.best

    def save(self, path: Path) -> None:
        plain = asdict(self)
        plain["rows"] = [[*key, asdict(row)] for key, row in self.rows.items()]
        replace_file(path, json.dumps(plain, indent=1).encode())

    @classmethod
    def load(cls, path: Path) -> Results:
        plain: dict[str, Any] = json.loads(path.read_text())
        rows, roofs, targets = (plain.pop(name) for name in ("rows", "roofs", "targets"))
        found = cls(**plain)
        for *key, row in rows:
            timings = {name: Timing(**t) for name, t in row.pop("timings").items()}
            if key[2] in SEQUENCES or key[2] in STEPS:
                found.rows[Key(*key)] = Measured(timings, **row)
        for n, r in roofs.items():
            found.roofs[int(n)] = Roof(**{**r, "read": {int(s): rate for s, rate in r["read"].items()}})
        found.targets = {name: [Target(**t) for t in group] for name, group in targets.items()}
        return found


@dataclass(frozen=True)
class Merged:
    """Runs put together. Roofs: the highest of any run, number by number, for the picture and the table."""

    runs: Sequence[Results]

    @property
    def rows(self) -> list[Row]:
        keys = list(dict.fromkeys(key for run in self.runs for key in run.rows))
        return [Row(key, [run.rows[key] for run in self.runs if key in run.rows]) for key in keys]

    @property
    def disturbed(self) -> list[tuple[Results, Key]]:
        """The rows of each run in which some program took much longer than in the run that suited it best."""
        best: dict[tuple[Key, str], float] = {}
        for key, name, seconds in (t for run in self.runs for t in run.times()):
            best[key, name] = min(seconds, best.get((key, name), seconds))
        return [
            (run, key)
            for run in self.runs
            for key in dict.fromkeys(k for k, name, s in run.times() if s > _DISTURBED * best[k, name])
        ]

    @property
    def targets(self) -> list[Target]:
        found: dict[tuple[str, str], list[Target]] = {}
        for target in (t for run in self.runs for group in run.targets.values() for t in group):
            found.setdefault((target.bullet, target.what), []).append(target)
        return [merge_targets(same) for same in found.values()]

    @property
    def roofs(self) -> dict[int, Roof]:
        found: dict[int, list[Roof]] = {}
        for run in self.runs:
            for n, roof in run.roofs.items():
                found.setdefault(n, []).append(roof)
        return {n: _highest(same) for n, same in sorted(found.items())}

    def lines(self, name: str) -> list[str]:
        """What the runs have to say, each thing once: head, wrong, slow or notes."""
        return list(dict.fromkeys(line for run in self.runs for line in getattr(run, name)))


def _highest(roofs: Sequence[Roof]) -> Roof:
    read = {size: max(r.read.get(size, 0.0) for r in roofs) for size in roofs[0].read}
    f32, f64 = max(r.fma_f32 for r in roofs), max(r.fma_f64 for r in roofs)
    return Roof(roofs[0].threads, f32, f64, read)


def merge_targets(same: Sequence[Target]) -> Target:
    names = list(dict.fromkeys(name for t in same for name in t.reached))
    first = same[-1]
    reached = {name: median(t.reached[name] for t in same if name in t.reached) for name in names}
    return Target(first.bullet, first.what, first.sense, first.limit, first.unit, reached)


def replace_between(path: Path, begin: str, end: str, text: str) -> None:
    """Put a text between two marks of a page. Raises ValueError where the page has none."""
    before, found_begin, rest = path.read_text("utf-8").partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise ValueError(f"{path} has no lines {begin!r} and {end!r}")
    replace_file(path, f"{before}{begin}\n\n{text}\n\n{end}{after}".encode())


def replace_file(path: Path, content: bytes) -> None:
    """Write beside the file and put it in its place: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
