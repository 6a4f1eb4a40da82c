"""The figures that pyrnn is to reach, and those of them that are taken from the rows of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .results import Row
    from .shapes import Mode

_SHOWN = 4  # of the figures that miss a limit


@dataclass(frozen=True)
class Target:
    """A figure, its limit, and what was reached, by name where there are several."""

    bullet: str
    what: str
    sense: Literal["≥", "≤"]
    limit: float
    unit: str
    reached: dict[str, float]

    def _meets(self, value: float) -> bool:
        return value >= self.limit if self.sense == "≥" else value <= self.limit

    @property
    def met(self) -> bool:
        return all(map(self._meets, self.reached.values()))

    @property
    def asked(self) -> str:
        return f"{self.sense} {_short(self.limit)} {self.unit}".rstrip()

    @property
    def reached_text(self) -> str:
        """All where they are few; else the worst, and how many miss the limit."""
        worst = sorted(self.reached.items(), key=lambda pair: pair[1], reverse=self.sense == "≤")
        if len(worst) <= _SHOWN:
            return ", ".join(f"{name} {_short(value)}".strip() for name, value in self.reached.items())
        missed = sum(not self._meets(value) for _, value in worst)
        shown = worst[: max(1, min(missed, _SHOWN))]
        listed = ", ".join(f"{name} {_short(value)}" for name, value in shown)
        return f"{missed} of {len(worst)} rows miss it; worst: {listed}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def geometric_mean(values: Iterable[float]) -> float | None:
    logs = [log(v) for v in values]
    return exp(sum(logs) / len(logs)) if logs else None


def from_rows(rows: Sequence[Row]) -> list[Target]:
    """The targets that the rows decide; one without a row that it speaks of is left out."""
    groups = (_every_row, _means, _steps, _roof, _threads, _ragged)
    return [target for group in groups for target in group(rows) if target.reached]


def _named(rows: Iterable[Row], figure: Callable[[Row], float | None]) -> dict[str, float]:
    found = ((f"{row} {row.threads}t", figure(row)) for row in rows)
    return {name: value for name, value in found if value is not None}


def _every_row(rows: Sequence[Row]) -> Iterator[Target]:
    for threads in sorted({row.threads for row in rows}):
        mine = (row for row in rows if row.threads == threads)
        reached = _named(mine, lambda row: row.fastest[1] if row.fastest else None)
        yield Target("Fastest", f"every row, {_count(threads)}: fastest peer", "≥", 1.0, "times", reached)


def _means(rows: Sequence[Row]) -> Iterator[Target]:
    limits: list[tuple[Mode, int, float, float]] = [
        ("inference", 1, 1.25, 3),
        ("inference", 2, 1.6, 3),
        ("training", 1, 1.55, 3.5),
        ("training", 2, 2.2, 3.5),
    ]
    for mode, threads, fastest, torch in limits:
        mine = [row for row in rows if (row.mode, row.threads) == (mode, threads)]
        where = f"geometric mean, {mode}, {_count(threads)}"
        ratios = {
            f"{where}: fastest peer of each row": (fastest, [r.fastest[1] for r in mine if r.fastest]),
            f"{where}: PyTorch": (torch, [r.ratios["torch"] for r in mine if "torch" in r.ratios]),
        }
        for what, (limit, values) in ratios.items():
            mean = geometric_mean(values)
            yield Target("Fastest", what, "≥", limit, "times", {} if mean is None else {"": mean})


def _steps(rows: Sequence[Row]) -> Iterator[Target]:
    steps = [row for row in rows if row.mode == "step" and row.threads == 1]
    limits: list[tuple[str, Callable[[Row], bool], float]] = [
        ("LSTM and GRU up to H = 64", lambda r: r.shape.H <= 64 and not _elman(r), 4),
        ("RNN up to H = 64", lambda r: r.shape.H <= 64 and _elman(r), 2),
        ("all at H = 128 and 256", lambda r: r.shape.H in (128, 256), 1.3),
        ("all above H = 256", lambda r: r.shape.H > 256, 1.05),
    ]
    for what, chosen, limit in limits:
        reached = _named(filter(chosen, steps), lambda row: row.fastest[1] if row.fastest else None)
        yield Target("Steps", f"a step from Python, {what}: fastest peer", "≥", limit, "times", reached)
    audio = [row for row in steps if row.cell == "lstm" and row.shape.name == "step-1x40"]
    reached = _named(audio, lambda row: 1e6 * row.best)
    yield Target("Steps", "a step of an LSTM from Python, (I,H) = (1,40)", "≤", 0.9, "µs", reached)


def _elman(row: Row) -> bool:
    return row.cell.startswith("rnn")


def _roof(rows: Sequence[Row]) -> Iterator[Target]:
    limits: list[tuple[Mode, float]] = [("inference", 88), ("training", 82)]
    for mode, limit in limits:
        mine = [row for row in rows if row.mode == mode]
        large = [row for row in mine if row.shape.B > 1 and _forward_per_step(row) >= 1e6]
        reached = _named(large, lambda row: row.of_fma and 100 * row.of_fma)
        what = f"{mode}, batches of ≥ 1 MFLOP a step: multiply-add roof"
        yield Target("Roof", what, "≥", limit, "%", reached)
    single = [r for r in rows if r.shape.B == 1 and r.shape.H >= 128 and r.mode == "inference"]
    reached = _named(single, lambda row: row.of_roof and 100 * row.of_roof)
    what = (
        "inference of one sequence, H ≥ 128: multiply-adds, recurrent weights at the bandwidth of their level"
    )
    yield Target("Roof", what, "≥", 85, "%", reached)


def _forward_per_step(row: Row) -> float:
    return row.flops / (3 if row.mode == "training" else 1) / row.shape.T


def _threads(rows: Sequence[Row]) -> Iterator[Target]:
    two = [row for row in rows if row.threads == 2 and row.over_one is not None]
    long = [row for row in two if row.best * (row.over_one or 0) > 5e-3]
    what = "two threads against one, rows of more than 5 ms with one"
    yield Target("Scales", what, "≥", 1.85, "times", _named(long, lambda row: row.over_one))
    what = "two threads against one, every row (3 % are noise)"
    yield Target("Scales", what, "≥", 1 / 1.03, "times", _named(two, lambda row: row.over_one))
    stacks = [row for row in two if row.shape.layers > 1]
    what = "two threads against one, two layers"
    yield Target("Scales", what, "≥", 1.6, "times", _named(stacks, lambda row: row.over_one))


def _ragged(rows: Sequence[Row]) -> Iterator[Target]:
    reached = _named(rows, lambda row: row.over_dense)
    what = "time per valid step of a ragged batch relative to a dense one of the same work"
    yield Target("Ragged", what, "≤", 1.08, "", reached)


def _count(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"
