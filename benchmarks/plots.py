"""The pictures of a report: speed-up against each peer, and how near the roofs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from .results import Row
from .roof import Roof, size_name

_PEER_COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#000000"]
_CELL_COLOURS = ["#004488", "#bb5566", "#ddaa33", "#117733", "#882255", "#44aa99", "#999933", "#332288"]
_MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def speedup(rows: Sequence[Row]) -> bytes:
    """A panel a mode and cell, a line a shape, a mark a peer, which is hollow with several threads."""
    rows = [row for row in rows if row.ratios]
    modes, cells = (list(dict.fromkeys(getattr(row, field) for row in rows)) for field in ("mode", "cell"))
    peers = list(dict.fromkeys(name for row in rows for name in row.ratios))
    shapes = {mode: list(dict.fromkeys(row.shape for row in rows if row.mode == mode)) for mode in modes}
    heights = [len(shapes[mode]) + 1.0 for mode in modes]
    figure = _figure(2.0 + 2.6 * len(cells), 1.6 + 0.27 * sum(heights))
    grid = figure.subplots(len(modes), len(cells), squeeze=False, sharex=True, height_ratios=heights)
    for mode, line in zip(modes, grid, strict=True):
        for cell, axes in zip(cells, line, strict=True):
            chosen = [row for row in rows if (row.mode, row.cell) == (mode, cell)]
            for row in chosen:
                for name, ratio in row.ratios.items():
                    index = peers.index(name)
                    place = shapes[mode].index(row.shape) + (0.15 if row.threads > 1 else -0.15)
                    axes.plot(
                        ratio, place, **_mark(_MARKERS[index % 8], _PEER_COLOURS[index % 8], row.threads == 1)
                    )
            _shape_axis(axes, [f"{s.name} {s.dims}" for s in shapes[mode]], named=cell == cells[0])
            axes.axvline(1, color="black", linewidth=1)
            axes.set_title(f"{cell}, {mode}", fontsize=9)
            axes.set_xscale("log")
            axes.grid(axis="x", which="both", color="0.92")
            if mode == modes[-1]:
                axes.set_xlabel("time of peer / time of pyrnn", fontsize=8)
    _log_ticks(grid[0][0], [ratio for row in rows for ratio in row.ratios.values()])
    labels = [(_MARKERS[i % 8], _PEER_COLOURS[i % 8], True, name) for i, name in enumerate(peers)]
    _legend(figure, labels, {row.threads for row in rows})
    return _png(figure)


def roof(rows: Sequence[Row], roofs: dict[int, Roof]) -> bytes:
    """First the classical picture, GFLOP/s over operations per byte; then the shares, a panel a mode."""
    rows = [row for row in rows if row.of_roof is not None]
    cells, modes = (list(dict.fromkeys(getattr(row, field) for row in rows)) for field in ("cell", "mode"))
    lengths = [12, *(len({row.shape for row in rows if row.mode == mode}) for mode in modes)]
    heights = [max(lengths[n : n + 2]) + 1.5 for n in range(0, len(lengths), 2)]
    figure = _figure(13, 0.8 + 0.29 * sum(heights))
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    first = min(roofs)
    found = [row for row in rows if (row.mode, row.threads) == ("inference", first)]
    _roofline(figure.add_subplot(grid[0, 0]), found, roofs[first], cells)
    for index, mode in enumerate(modes, start=1):
        chosen = [row for row in rows if row.mode == mode]
        _shares(figure.add_subplot(grid[index // 2, index % 2]), chosen, mode, cells)
    labels = [(_MARKERS[i % 8], _CELL_COLOURS[i % 8], True, cell) for i, cell in enumerate(cells)]
    _legend(figure, labels, {row.threads for row in rows})
    return _png(figure)


def _roofline(axes: Any, rows: Sequence[Row], roof: Roof, cells: list[str]) -> None:
    """Inference: what the bandwidths and the multiply-adds allow, and what was reached."""
    rates = [row.flops / row.best / 1e9 for row in rows]
    left, right = 0.12, 1.5 * max([_intensity(row) for row in rows] + [8.0])
    top = roof.fma_f32 / 1e9
    sizes = [size for size in roof.read if size in (32 << 10, 256 << 10, 4 << 20, 64 << 20)]
    for size, shade in zip(sizes, ("0.2", "0.4", "0.55", "0.7"), strict=False):
        slope = roof.read[size] / 1e9
        label = f"read {size_name(size)} per core"
        axes.plot([left, top / slope], [left * slope, top], color=shade, linewidth=1, label=label)
    axes.axhline(top, color="black", linewidth=1)
    axes.text(right / 1.05, top * 1.05, f"multiply-add {top:.0f}", fontsize=8, ha="right")
    for row, rate in zip(rows, rates, strict=True):
        number = cells.index(row.cell)
        spread = 1 + 0.06 * (number - (len(cells) - 1) / 2)  # else the cells would hide each other
        axes.plot(
            _intensity(row) * spread, rate, **_mark(_MARKERS[number % 8], _CELL_COLOURS[number % 8], True)
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(min([*rates, top / 10]) / 1.5, top * 1.3)
    axes.legend(loc="lower right", fontsize=8)
    axes.set_xlabel("operations per byte of recurrent weights, read once a step", fontsize=8)
    axes.set_ylabel("GFLOP/s", fontsize=8)
    axes.set_title(
        f"inference, {'one thread' if roof.threads == 1 else f'{roof.threads} threads'}", fontsize=9
    )
    axes.tick_params(which="both", labelsize=8)
    axes.grid(color="0.92")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")


def _shares(axes: Any, rows: Sequence[Row], mode: str, cells: list[str]) -> None:
    """The per cent of the roof that each cell reaches in each shape of a mode."""
    shapes = list(dict.fromkeys(row.shape for row in rows))
    for row in rows:
        place = shapes.index(row.shape) + (0.15 if row.threads > 1 else -0.15)
        number = cells.index(row.cell)
        style = _mark(_MARKERS[number % 8], _CELL_COLOURS[number % 8], row.threads == 1)
        axes.plot(100 * (row.of_roof or 0), place, **style)
    _shape_axis(axes, [f"{s.name} {s.dims}" for s in shapes], named=True)
    axes.set_title(mode, fontsize=9)
    axes.set_xlim(0, max([100 * (row.of_roof or 0) for row in rows] + [100]) * 1.05)
    axes.grid(axis="x", color="0.92")
    axes.set_xlabel("% of the roof", fontsize=8)


def _intensity(row: Row) -> float:
    """A step multiplies as many rows as are valid with (I + H) x G*H weights, of which H x G*H are read."""
    widths = list(row.shape.passes())
    share = sum(width + row.shape.H for width in widths) / (len(widths) * row.shape.H)
    return 0.5 * share * row.shape.valid_steps / row.shape.T


def _mark(marker: str, colour: str, filled: bool) -> dict[str, Any]:
    face = colour if filled else "white"
    return {"marker": marker, "color": colour, "markerfacecolor": face, "markersize": 5, "linestyle": "none"}


def _shape_axis(axes: Any, names: list[str], named: bool) -> None:
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names if named else [""] * len(names), fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.tick_params(axis="y", length=0)
    for place in range(1, len(names)):
        axes.axhline(place - 0.5, color="0.92", linewidth=0.8)


def _log_ticks(axes: Any, values: list[float]) -> None:
    ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    low, high = min([*values, 0.8]) / 1.2, max([*values, 2]) * 1.2
    shown = [t for t in ticks if low <= t <= high]
    if len(shown) > 7:
        shown = [t for t in shown if t in (0.1, 1, 10, 100, 1000)]
    axes.set_xlim(low, high)
    axes.set_xticks(shown, [f"{t:g}" for t in shown])
    axes.minorticks_off()


def _legend(figure: Any, labels: list[tuple[str, str, bool, str]], threads: set[int]) -> None:
    from matplotlib.lines import Line2D

    if len(threads) > 1:
        labels = [*labels, ("o", "0.3", True, "one thread"), ("o", "0.3", False, "several threads")]
    handles = [Line2D([], [], label=label, **_mark(m, colour, filled)) for m, colour, filled, label in labels]
    columns = min(len(handles), max(1, int(figure.get_figwidth() / 1.5)))  # a label takes about 1.5 inches
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=9, frameon=False)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
