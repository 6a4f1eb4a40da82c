"""The table of speed in README.md, made of a report's rows and written between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .results import Merged, Row, replace_between
from .shapes import SEQUENCES, STEPS, Mode, Shape
from .tables import micro, table, times
from .targets import geometric_mean

BEGIN, END = "<!-- speed: begin (python -m benchmarks.report --readme writes this) -->", "<!-- speed: end -->"
_SHAPES = ["frames-64", "frames-256", "batch-256", "text", "sensor", "ragged", "step-1x40", "step-128x128"]
_CELLS = {"lstm": "LSTM", "gru": "GRU"}
_PEERS = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "jax": "JAX",
}
_MODES: dict[Mode, str] = {"inference": "inference", "training": "training step", "step": "one step"}


def rewrite(path: Path, merged: Merged) -> None:
    """Put the table between the marks. Raises ValueError where the file has none."""
    replace_between(path, BEGIN, END, section(merged))


def section(merged: Merged) -> str:
    """What was measured on, the table of the rows with one thread, the means over all rows."""
    rows = merged.rows
    cpu = next((line for line in merged.lines("head") if line.startswith("CPU: ")), "CPU: unknown")
    runs = f", medians of {len(merged.runs)} runs" if len(merged.runs) > 1 else ""
    versions = next((line for line in merged.lines("head") if line.startswith("Versions: ")), "")
    intro = (
        f"One thread, float32, {cpu.removeprefix('CPU: ')}{runs}; {versions.removeprefix('Versions: ')}.\n"
        "Best time in µs, and how many times longer the fastest of the peers and each of them takes. A\n"
        "training step is forward plus all gradients, with the packing of weights that changed."
    )
    return "\n\n".join([intro, _table(rows), "\n".join(_means(rows))])


def _table(rows: Sequence[Row]) -> str:
    known = SEQUENCES | STEPS
    peers = [name for name in _PEERS if any(name in row.ratios for row in rows)]
    by_key = {(row.mode, row.cell, row.shape.name): row for row in rows if row.threads == 1}
    lines = []
    for shape in (known[name] for name in _SHAPES):
        for mode, text in _MODES.items():
            for cell, title in _CELLS.items():
                row = by_key.get((mode, cell, shape.name))
                if row is not None and row.fastest is not None:
                    values = [
                        micro(row.best),
                        times(row.fastest[1]),
                        *(times(row.ratios.get(p)) for p in peers),
                    ]
                    lines.append([_dims(shape), f"{title} {text}", *values])
    head = ["(T, B, I, H)", "", "µs", "× fastest", *(f"× {_PEERS[p]}" for p in peers)]
    return table(head, lines) if lines else ""


def _dims(shape: Shape) -> str:
    return shape.dims.replace(",", ", ") + (" ragged" if shape.ragged else "")


def _means(rows: Sequence[Row]) -> Iterator[str]:
    """A line a mode and number of threads."""
    yield "Geometric means over all rows of the report (every cell and shape):\n"
    for mode, text in _MODES.items():
        for threads in sorted({row.threads for row in rows if row.mode == mode}):
            mine = [row for row in rows if (row.mode, row.threads) == (mode, threads) and row.fastest]
            found = {"the fastest of each row": geometric_mean(r.fastest[1] for r in mine if r.fastest)}
            for name, title in _PEERS.items():
                found[title] = geometric_mean(r.ratios[name] for r in mine if name in r.ratios)
            listed = ", ".join(f"{times(mean)} × {title}" for title, mean in found.items() if mean)
            yield f"- {text}, {threads} thread{'s' if threads > 1 else ''}: {listed}"
