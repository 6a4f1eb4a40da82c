"""The rows of a report and the Markdown made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, log

from .harness import Timing
from .roof import Roof, size_name
from .shapes import Mode, Shape
from .targets import DENSE, Target

OURS = "pyrnn"


@dataclass(frozen=True)
class Row:
    """One cell in one shape: the timings by peer, the operations, the least time that the machine allows."""

    mode: Mode
    cell: str
    shape: Shape
    threads: int
    timings: dict[str, Timing]
    flops: float
    roof: float | None = None

    @property
    def best(self) -> float:
        return self.timings[OURS].best

    @property
    def of_roof(self) -> float | None:
        return None if self.roof is None else self.roof / self.best

    @property
    def ratios(self) -> dict[str, float]:
        """How many times the best of each peer is longer than ours."""
        peers = (name for name in self.timings if name not in (OURS, DENSE))
        return {name: self.timings[name].best / self.best for name in peers}


def markdown(
    head: Sequence[str],
    config: str,
    roofs: dict[int, Roof],
    rows: Sequence[Row],
    targets: Sequence[Target],
    notes: Sequence[str],
    plots: Sequence[str],
) -> str:
    """The whole report."""
    parts = ["# Benchmarks", "\n".join(f"- {line}" for line in head), f"```\n{config}\n```", _LEGEND]
    parts += [f"- {note}" for note in notes]
    parts += [f"![{name}]({name})" for name in plots]
    if targets:
        parts += ["## Targets", _targets(targets)]
    for mode, title in _TITLES.items():
        for threads in sorted({row.threads for row in rows}):
            chosen = [row for row in rows if (row.mode, row.threads) == (mode, threads)]
            if chosen:
                parts += [f"## {title}, {_count(threads)}", _results(chosen)]
    parts += _if_any("## One thread and more", _scaling(rows))
    parts += _if_any("## Ragged batches", _ragged(rows))
    if roofs:
        parts += ["## The roofs of this machine", _roofs(roofs)]
    return "\n\n".join(parts) + "\n"


_TITLES: dict[Mode, str] = {
    "inference": "Inference",
    "training": "Training step (forward, all gradients)",
    "step": "Single step, state carried",
}

_LEGEND = """\
float32. All columns of a row come from the same run, the programs taking turns, on the same weights, after
their results were found equal to the float64 reference. Time: best and median. GFLOP/s: the matrix products
alone. Roof: the time that the products would take at this machine's measured multiply-add rate, and the
weights at the bandwidth of the memory that holds them, as a share of the best time. Last columns: best time
of the other divided by ours. In a training step ours includes packing the weights, which have changed since
the step before. Shapes are (T,B,I,H), those of single steps (I,H)."""


def _results(rows: Sequence[Row]) -> str:
    peers = list(dict.fromkeys(name for row in rows for name in row.ratios))
    roofed = any(row.roof is not None for row in rows)
    head = ["", "µs", "median µs", "GFLOP/s", *(["% of roof"] if roofed else []), *(f"× {p}" for p in peers)]
    lines = []
    for row in rows:
        cells = [f"{row.cell} {row.shape.name} {row.shape.dims}", _micro(row.best)]
        cells += [_micro(row.timings[OURS].median), f"{row.flops / row.best / 1e9:.1f}"]
        cells += ["–" if row.of_roof is None else f"{100 * row.of_roof:.0f}"] if roofed else []
        cells += [_times(row.ratios.get(peer)) for peer in peers]
        lines.append([*cells, _fastest(row)])
    means = [geometric_mean(row.ratios[p] for row in rows if p in row.ratios) for p in peers]
    mean_of_fastest = geometric_mean(min(row.ratios.values()) for row in rows if row.ratios)
    last = ["**geometric mean**", "", "", "", *([""] if roofed else []), *(_times(m) for m in means)]
    return _table([*head, "× fastest of them"], [*lines, [*last, _times(mean_of_fastest)]])


def _fastest(row: Row) -> str:
    if not row.ratios:
        return "–"
    name = min(row.ratios, key=row.ratios.__getitem__)
    return f"{_times(row.ratios[name])} {name}"


def _scaling(rows: Sequence[Row]) -> str:
    """Rows measured with one thread and with more."""
    by_key = {(row.mode, row.cell, row.shape.name, row.threads): row for row in rows}
    more = sorted({row.threads for row in rows if row.threads > 1})
    lines = []
    for row in rows:
        others = [by_key.get((row.mode, row.cell, row.shape.name, n)) for n in more]
        if row.threads == 1 and row.mode != "step" and any(others):
            name = f"{row.mode} {row.cell} {row.shape.name} {row.shape.dims}"
            lines.append(
                [name, _micro(row.best), *(_times(row.best / o.best if o else None) for o in others)]
            )
    return _table(["", "1 thread, µs", *(f"{n} threads, × faster" for n in more)], lines) if lines else ""


def _ragged(rows: Sequence[Row]) -> str:
    """Time per valid step of a ragged batch beside the dense batch of the same shape."""
    lines = []
    for row in rows:
        if DENSE in row.timings:
            shape = row.shape
            ragged, dense = row.best / shape.valid_steps, row.timings[DENSE].best / (shape.T * shape.B)
            name = f"{row.mode} {row.cell} {shape.dims}, {_count(row.threads)}"
            lines.append([name, f"{1e9 * ragged:.0f}", f"{1e9 * dense:.0f}", f"{ragged / dense:.2f}"])
    head = ["", "ragged, ns per valid step", "dense, ns per step", "ragged / dense"]
    return _table(head, lines) if lines else ""


def _roofs(roofs: dict[int, Roof]) -> str:
    lines = []
    for name, field in (("float32", "fma_f32"), ("float64", "fma_f64")):
        lines.append(
            [f"multiply-add, {name}, GFLOP/s", *(f"{getattr(r, field) / 1e9:.0f}" for r in roofs.values())]
        )
    for size in next(iter(roofs.values())).read:
        rates = (r.read.get(size) for r in roofs.values())
        lines.append(
            [f"read {size_name(size)} per core, GB/s", *(f"{x / 1e9:.0f}" if x else "–" for x in rates)]
        )
    return _table(["", *(_count(n) for n in roofs)], lines)


def _targets(targets: Sequence[Target]) -> str:
    lines = [[t.bullet, t.what, t.asked, t.reached_text, "yes" if t.met else "**no**"] for t in targets]
    return _table(["", "", "asked", "reached", "met"], lines)


def geometric_mean(values: Iterable[float]) -> float | None:
    logs = [log(v) for v in values]
    return exp(sum(logs) / len(logs)) if logs else None


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    marks = [
        ":--" if i == 0 or not _numeric(column) else "--:"
        for i, column in enumerate(zip(*lines, strict=True))
    ]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, marks, *lines))


def _numeric(column: Sequence[str]) -> bool:
    return all(text == "" or text[0].isdigit() or text == "–" for text in column)


def _if_any(title: str, body: str) -> Iterator[str]:
    if body:
        yield title
        yield body


def _micro(seconds: float) -> str:
    value = 1e6 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def _count(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"
