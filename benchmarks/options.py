"""What the options of a cell cost: each beside the plain cell, in one run.

Plain calls go before those with an option, the best of a few counts, and of the ratios of all such pairs the
median: a clock that changes disturbs both of a pair, and a busy neighbour few pairs. "work" is the size of
the products beside the plain cell's: what a projection, one gate less, or a shorter sequence saves, and what
a second direction adds. --docs writes the tables into docs/options.md.

usage: python -m benchmarks.options [--rounds N] [--threads N] [--quick] [--docs [FILE]]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from tqdm import tqdm

import pyrnn

from . import machine
from .results import replace_between
from .tables import micro, table, times

Shape = tuple[int, int, int, int]  # T, B, I, H
SHAPES: dict[str, Shape] = {"batch": (100, 32, 128, 256), "frames": (100, 1, 64, 64)}
LONG: list[Shape] = [(512, 8, 128, 256), (512, 8, 256, 256)]  # a layer that widens, and one of a stack
QUICK: dict[str, Shape] = {"batch": (8, 3, 5, 6), "frames": (8, 1, 5, 6)}
SMALL = 2e4  # numbers in an output below which a call is repeated more often
HALF = "H/2"  # of the units
MODES = ("inference", "training")
BEGIN = "<!-- options: begin (python -m benchmarks.options --docs writes this) -->"
END = "<!-- options: end -->"


@dataclass(frozen=True)
class Variant:
    """Options of a layer, and those of its calls."""

    layer: dict[str, Any] = field(default_factory=dict)
    call: str = ""

    def __str__(self) -> str:
        options = [f"{name}={value if value == HALF else repr(value)}" for name, value in self.layer.items()]
        return ", ".join([*options, *self.call.split()])


OF_CALLS = [
    *(Variant(call=name) for name in ("lengths=", "reset=")),
    Variant({"batch_first": True}),
    Variant({"dtype": "float64"}),
    Variant({"bidirectional": True}),
    Variant({"num_layers": 2}),
]
OF_LSTM = [
    {"activation": "relu"},
    {"recurrent_activation": "hard_sigmoid"},
    {"peepholes": True},
    {"coupled": True},
    {"cell_clip": 3.0},
    {"proj_size": HALF},
    {"zoneout": 0.1},
    {"input_dropout": 0.2},
    {"recurrent_dropout": 0.2},
    {"weight_dropout": 0.2},
    {"layer_norm": True},
]
OF_GRU = [
    {"reset_after": False},
    {"activation": "relu"},
    {"zoneout": 0.1},
    {"recurrent_dropout": 0.2},
    {"layer_norm": True},
]
VARIANTS: dict[str, list[Variant]] = {
    "LSTM": [*map(Variant, OF_LSTM), *OF_CALLS],
    "GRU": [*map(Variant, OF_GRU), *OF_CALLS],
    "RNN": [Variant({"nonlinearity": "softsign"})],
}
OTHERS = ("MinGRU", "MinLSTM", "IndRNN")


@dataclass
class Row:
    """Of each mode the best seconds, and the median ratio to the plain cell's; the ratio of the products."""

    name: str
    best: dict[str, float]
    ratio: dict[str, float]
    work: float


def make(kind: str, shape: Shape, variant: Variant) -> tuple[Any, dict[str, Callable[[], object]], float]:
    """A layer, its inference and its training step, and the products of a call."""
    T, B, inputs, units = shape
    given = {name: units // 2 if value == HALF else value for name, value in variant.layer.items()}
    layer = getattr(pyrnn, kind)(inputs, units, rng=0, **given)
    x = np.random.default_rng(0).standard_normal((T, B, inputs)).astype(given.get("dtype", "float32"))
    if given.get("batch_first"):
        x = np.ascontiguousarray(x.swapaxes(0, 1))
    lengths = np.linspace(T // 2, T, B).astype(int)
    reset = np.zeros((T, B), bool)
    reset[T // 2] = True
    call: dict[str, Any] = {"": {}, "lengths=": {"lengths": lengths}, "reset=": {"reset": reset}}[
        variant.call
    ]
    dy = np.ones_like(layer(x)[0])

    def train() -> object:
        _, pull = layer.vjp(x, **call)
        return pull(dy)

    steps = lengths.sum() if "lengths" in call else T * B
    return layer, {"inference": lambda: layer(x, **call), "training": train}, products(layer) * float(steps)


def products(layer: Any) -> int:
    """Weights that each step multiplies."""
    names = ("weight_ih", "weight_hh", "weight_hr")
    return sum(array.size for name, array in layer.params.items() if name.startswith(names))


def seconds(call: Callable[[], object], repeats: int) -> float:
    """The best of a few calls."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def measure(contestants: Sequence[tuple[str, str, Variant]], shape: Shape, rounds: int) -> list[Row]:
    """Of each (name, class, options) the times beside the first one's, in pairs of calls."""
    made = [make(kind, shape, variant)[1:] for _, kind, variant in contestants]
    (plain, unit), repeats = made[0], 2 if shape[0] * shape[1] * shape[3] > SMALL else 10
    pairs: list[dict[str, list[tuple[float, float]]]] = [{mode: [] for mode in MODES} for _ in made]
    for _ in tqdm(range(rounds), desc=f"{contestants[0][1]} {shape}", leave=False):
        for taken, (calls, _) in zip(pairs, made, strict=True):
            for mode, call in calls.items():
                before = seconds(plain[mode], repeats)
                taken[mode].append((before, before if calls is plain else seconds(call, repeats)))
    return [
        Row(
            name,
            {mode: min(own for _, own in taken[mode]) for mode in MODES},
            {mode: median(own / other for other, own in taken[mode]) for mode in MODES},
            work / unit,
        )
        for (name, _, _), taken, (_, work) in zip(contestants, pairs, made, strict=True)
    ]


def options_of(kind: str, shapes: dict[str, Shape], rounds: int) -> str:
    """A table of one class: times of the plain cell, and those of each option beside them."""
    contestants = [("plain", kind, Variant()), *((f"`{v}`", kind, v) for v in VARIANTS[kind])]
    measured = [measure(contestants, shape, rounds) for shape in shapes.values()]
    head = [kind, *(f"{shape}: {mode}" for shape in shapes for mode in MODES), "work"]
    first = ["plain", *(f"{micro(rows[0].best[mode])} µs" for rows in measured for mode in MODES), "1"]
    lines = [first]
    for rows in zip(*(rows[1:] for rows in measured), strict=True):
        ratios = [times(row.ratio[mode]) for row in rows for mode in MODES]
        work = list(dict.fromkeys(times(row.work) for row in rows))
        lines.append([rows[0].name, *ratios, ", ".join(work)])
    return table(head, lines)


def without_product(shape: Shape, rounds: int) -> str:
    """A table of the layers whose recurrence has no product, beside the GRU."""
    rows = measure([(f"`{kind}`", kind, Variant()) for kind in ("GRU", *OTHERS)], shape, rounds)
    lines = []
    for row in rows:
        cells = ((micro(row.best[mode]), times(1 / row.ratio[mode])) for mode in MODES)
        lines.append([row.name, *(text for cell in cells for text in cell), times(row.work)])
    head = [f"T, B, I, H = {', '.join(map(str, shape))}", "inference µs", "times as fast", "training µs"]
    return table([*head, "times as fast", "work"], lines)


def tables(rounds: int, threads: int, quick: bool) -> Iterator[str]:
    """What was measured on, and the tables, in Markdown."""
    shapes = QUICK if quick else SHAPES
    dims = " and ".join(f"{name} ({', '.join(map(str, shape))})" for name, shape in shapes.items())
    count = "One thread" if threads == 1 else f"{threads} threads"
    yield (
        f"{count}, float32, {machine.cpu()}; pyrnn {pyrnn.__version__}, numpy {np.__version__};\n"
        f"(T, B, I, H): {dims}. In the first line the best time; below it, medians of {rounds} ratios\n"
        "to plain calls just before."
    )
    for kind in VARIANTS:
        yield options_of(kind, shapes, rounds)
    for shape in [QUICK["batch"]] if quick else LONG:
        yield without_product(shape, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.options",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--rounds", type=int, default=10, help="how often each pair is timed (10)")
    add("--threads", type=int, default=1, help="(1)")
    add("--quick", action="store_true", help="tiny shapes, to see it run")
    add("--docs", nargs="?", type=Path, const=Path("docs/options.md"), help="rewrite the tables of this page")
    given = parser.parse_args()
    if min(given.rounds, given.threads) < 1:
        parser.error("--rounds and --threads must be at least 1")
    pyrnn.set_num_threads(given.threads)
    parts = []
    for part in tables(given.rounds, given.threads, given.quick):
        print(part + "\n", flush=True)
        parts.append(part)
    if given.docs:
        replace_between(given.docs, BEGIN, END, "\n\n".join(parts))
        print(f"wrote {given.docs}")


if __name__ == "__main__":
    main()
