"""The named workloads, in groups, and how many floating-point operations each asks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Mode = Literal["inference", "training", "step"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Shape:
    """T steps of B sequences, I inputs, H units. For single steps T is how many are checked before timing."""

    name: str
    T: int
    B: int
    I: int
    H: int
    ragged: bool = False
    layers: int = 1
    directions: int = 1
    step: bool = False

    @property
    def dims(self) -> str:
        if self.step:
            return f"({self.I},{self.H})"
        text = f"({self.T},{self.B},{self.I},{self.H})"
        text += f" {self.layers} layers" if self.layers > 1 else ""
        return text + (" bidirectional" if self.directions > 1 else "")

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Uniform in 1..T, the same at every call; None for a dense batch."""
        return np.random.default_rng(1).integers(1, self.T + 1, self.B) if self.ragged else None

    @property
    def valid_steps(self) -> int:
        lengths = self.lengths
        return self.T * self.B if lengths is None else int(lengths.sum())

    @property
    def twin(self) -> Shape:
        """A dense batch with as many valid steps, give or take half of T, of as many rows as are active.

        On average over the steps, that is: its B is the mean number of sequences that have not ended. Every
        step of it costs what an average step of the ragged batch does.
        """
        return replace(
            self, name=f"{self.name}-dense", B=max(1, round(self.valid_steps / self.T)), ragged=False
        )

    def passes(self) -> Iterator[int]:
        """The input width of every layer and direction."""
        for layer in range(self.layers):
            for _ in range(self.directions):
                yield self.directions * self.H if layer else self.I


def flops(shape: Shape, gates: int, recurrent: int, mode: Mode) -> float:
    """Operations of the matrix products, two per multiply-add; the formulas of the gates are not counted.

    Every valid step of every sequence multiplies I numbers with gates * H columns, and H with recurrent * H.
    The way back has twice the products of the way there: the gradients of the operand and of the weights. A
    step is one step of one sequence.
    """
    rows = 1 if mode == "step" else shape.valid_steps
    widths = (gates * width + recurrent * shape.H for width in shape.passes())
    forward = sum(2.0 * rows * shape.H * width for width in widths)
    return 3 * forward if mode == "training" else forward


SEQUENCES = {
    s.name: s
    for s in [
        Shape("frames-64", 100, 1, 64, 64),
        Shape("frames-128", 100, 1, 128, 128),
        Shape("frames-256", 100, 1, 256, 256),
        Shape("frames-512", 100, 1, 512, 512),
        Shape("frames-1024", 100, 1, 1024, 1024),
        Shape("batch-128", 50, 8, 128, 128),
        Shape("batch-256", 50, 16, 256, 256),
        Shape("batch-512", 50, 32, 512, 512),
        Shape("batch-1024", 25, 64, 1024, 1024),
        Shape("sensor", 1000, 1, 40, 40),
        Shape("audio", 44100, 1, 1, 40),  # one second
        Shape("series", 10, 32, 1, 50),
        Shape("text", 100, 64, 128, 256),
        Shape("pixels", 784, 32, 1, 128),  # a 28x28 image, pixel by pixel
        Shape("words", 128, 32, 256, 256),
        Shape("ragged", 200, 32, 64, 128, ragged=True),
        Shape("stack-both", 100, 16, 128, 128, layers=2, directions=2),
        Shape("stack-one", 100, 1, 256, 256, layers=2),
        Shape("smoke-one", 5, 1, 3, 5),
        Shape("smoke-batch", 4, 3, 2, 17),
        Shape("smoke-ragged", 6, 4, 3, 8, ragged=True),
        Shape("smoke-stack", 3, 2, 3, 5, layers=2, directions=2),
    ]
}

_CHECKED = 8  # steps whose outputs are compared before one is timed


def _step(inputs: int, units: int) -> Shape:
    return Shape(f"step-{inputs}x{units}", _CHECKED, 1, inputs, units, step=True)


STEPS = {
    s.name: s
    for s in [
        *(_step(*size) for size in [(1, 20), (1, 40), (32, 32), (64, 64), (128, 128), (256, 256)]),
        *(_step(*size) for size in [(512, 512), (1024, 1024), (3, 5)]),
    ]
}

# A group is a selection of the names above; --shapes takes groups and names.
GROUPS: dict[str, list[str]] = {
    "default": [
        *[
            "frames-64",
            "frames-256",
            "batch-128",
            "batch-256",
            "batch-512",
            "text",
            "pixels",
            "sensor",
            "ragged",
        ],
        *["step-1x40", "step-32x32", "step-64x64", "step-128x128", "step-256x256"],
    ],
    "quick": ["frames-64", "frames-256", "batch-128", "batch-256", "ragged", "step-1x40", "step-128x128"],
    "stack": ["stack-both", "stack-one"],
    "smoke": [name for name in SEQUENCES if name.startswith("smoke")] + ["step-3x5"],
}
GROUPS["grid"] = [name for name in (*SEQUENCES, *STEPS) if name not in GROUPS["smoke"]]


def select(names: list[str], mode: Mode) -> list[Shape]:
    """The shapes of a mode among `names`, which may be names of groups or of shapes, in the order given."""
    table = STEPS if mode == "step" else SEQUENCES
    chosen: dict[str, Shape] = {}
    for name in names:
        if name not in GROUPS and name not in SEQUENCES and name not in STEPS:
            known = ", ".join([*GROUPS, *SEQUENCES, *STEPS])
            raise ValueError(f"no shape or group is called {name!r}; there are {known}")
        for member in GROUPS.get(name, [name]):
            if member in table:
                chosen[member] = table[member]
    return list(chosen.values())


def listing() -> Iterator[str]:
    """A line a shape: its name, (T,B,I,H) or (I,H), and the groups it is in."""
    for name, shape in (SEQUENCES | STEPS).items():
        groups = ", ".join(group for group, names in GROUPS.items() if name in names)
        yield f"{name:14} {shape.dims:34} {groups}"
