"""The Markdown of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .harness import LIMIT
from .results import Merged, Row
from .roof import Roof, size_name
from .shapes import Mode
from .targets import Target, from_rows, geometric_mean


def markdown(merged: Merged, plots: Sequence[str], extra: Sequence[str] = ()) -> str:
    """The whole report."""
    rows, config = merged.rows, merged.runs[-1].config
    parts = ["# Benchmarks", "\n".join(f"- {line}" for line in merged.lines("head"))]
    parts += [f"```text\n{config}\n```", _LEGEND]
    if len(merged.runs) > 1:
        parts.append(
            f"Every figure is the median of {len(merged.runs)} runs' own; a ratio that of their ratios."
        )
    notes = [*merged.lines("notes"), *extra]
    parts += [f"- {note}" for note in notes]
    parts += [f"- **left out, result not equal**: {line}" for line in merged.lines("wrong")]
    parts += [f"![{name}]({name})" for name in plots]
    targets = all_targets(merged)
    if targets:
        parts += ["## Targets", _targets(targets)]
    parts += _if_any("## Rows in which a peer is faster", _slower(rows))
    for mode, title in _TITLES.items():
        for threads in sorted({row.threads for row in rows}):
            chosen = [row for row in rows if (row.mode, row.threads) == (mode, threads)]
            if chosen:
                parts += [f"## {title}, {_count(threads)}", _results(chosen)]
    parts += _if_any("## One thread and more", _scaling(rows))
    parts += _if_any("## Ragged batches", _ragged(rows))
    if merged.roofs:
        parts += ["## The roofs of this machine", _roofs(merged.roofs)]
    slow = merged.lines("slow")
    parts += _if_any(f"## Left out: a call takes more than {LIMIT:.0f} s", "\n".join(f"- {s}" for s in slow))
    return "\n\n".join(parts) + "\n"


def all_targets(merged: Merged) -> list[Target]:
    return [*from_rows(merged.rows), *merged.targets]


_TITLES: dict[Mode, str] = {
    "inference": "Inference",
    "training": "Training step (forward, all gradients)",
    "step": "Single step, state carried",
}

_LEGEND = """\
float32. All columns of a row come from the same run, the programs taking turns, on the same weights, after
their results were found equal to the float64 reference. Time: best and median. GFLOP/s: the matrix products
alone. Roof: the time that the products would take at the multiply-add rate, and the weights at the bandwidth
of the memory that holds them, as a share of the best time; both rates are measured in turns with the programs
of the row, since the clock of a machine may change. Last columns: best time of the other divided by ours.
`reference` is pyrnn's reference in NumPy, `numpy` what a user of NumPy would write. In a training step ours
includes packing the weights, which have changed since the step before. Shapes are (T,B,I,H), those of single
steps (I,H)."""


def _results(rows: Sequence[Row]) -> str:
    peers = list(dict.fromkeys(name for row in rows for name in row.ratios))
    roofed = any(row.of_roof is not None for row in rows)
    head = ["", "µs", "median µs", "GFLOP/s", *(["% of roof"] if roofed else []), *(f"× {p}" for p in peers)]
    lines = []
    for row in rows:
        cells = [f"{row.cell} {row.shape.name} {row.shape.dims}", micro(row.best)]
        cells += [micro(row.median), f"{row.flops / row.best / 1e9:.1f}"]
        cells += ["–" if row.of_roof is None else f"{100 * row.of_roof:.0f}"] if roofed else []
        cells += [times(row.ratios.get(peer)) for peer in peers]
        lines.append([*cells, _fastest(row)])
    means = [geometric_mean(row.ratios[p] for row in rows if p in row.ratios) for p in peers]
    mean_of_fastest = geometric_mean(row.fastest[1] for row in rows if row.fastest)
    last = ["**geometric mean**", "", "", "", *([""] if roofed else []), *(times(m) for m in means)]
    return table([*head, "× fastest of them"], [*lines, [*last, times(mean_of_fastest)]])


def _fastest(row: Row) -> str:
    return f"{times(row.fastest[1])} {row.fastest[0]}" if row.fastest else "–"


def _slower(rows: Sequence[Row]) -> str:
    below = sorted((row.fastest[1], str(row), row) for row in rows if row.fastest and row.fastest[1] < 1)
    lines = [[name, str(row.threads), micro(row.best), _fastest(row)] for _, name, row in below]
    return table(["", "threads", "µs", "× fastest of them"], lines) if lines else ""


def _scaling(rows: Sequence[Row]) -> str:
    """Rows of more than one thread beside one thread in the same race."""
    lines = [
        [f"{row} {row.shape.name}", str(row.threads), micro(row.best * row.over_one), times(row.over_one)]
        for row in rows
        if row.over_one is not None
    ]
    return table(["", "threads", "one thread, µs", "× faster"], lines) if lines else ""


def _ragged(rows: Sequence[Row]) -> str:
    """A ragged batch beside its twin, which has as many steps and the rows that are active on average."""
    lines = []
    for row in rows:
        if row.over_dense is not None:
            dense = row.best / row.shape.valid_steps / row.over_dense
            name = f"{row}, {_count(row.threads)}"
            per_step = [f"{1e9 * row.best / row.shape.valid_steps:.0f}", f"{1e9 * dense:.0f}"]
            lines.append([name, *per_step, row.shape.twin.dims, f"{row.over_dense:.2f}"])
    head = [
        "",
        "ragged, ns per valid step",
        "dense, ns per step",
        "dense batch of the same work",
        "ragged / dense",
    ]
    return table(head, lines) if lines else ""


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
    return table(["", *(_count(n) for n in roofs)], lines)


def _targets(targets: Sequence[Target]) -> str:
    lines = [[t.bullet, t.what, t.asked, t.reached_text, "yes" if t.met else "**no**"] for t in targets]
    return table(["", "", "asked", "reached", "met"], lines)


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
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


def micro(seconds: float) -> str:
    value = 1e6 * seconds
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def times(ratio: float | None) -> str:
    return "–" if ratio is None else f"{ratio:.2f}" if ratio < 100 else f"{ratio:.0f}"


def _count(threads: int) -> str:
    return "one thread" if threads == 1 else f"{threads} threads"
