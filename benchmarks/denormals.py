"""What a decaying state costs: time of a step with normal numbers, and with numbers below the smallest one.

The weights are such that a state stays where it is: the LSTM's forget gate and the GRU's update gate are
open, the RNN's matrix is a rotation. So a small state stays small over all steps, as in the middle of a long
silence. Kernels that compute with such numbers take a hundred times as long in the columns "small".

usage: python -m benchmarks.denormals [--rounds N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pyrnn

Array = NDArray[Any]
I, H, B, T = 8, 64, 16, 40
CELLS = {"lstm": pyrnn.LSTM, "gru": pyrnn.GRU, "rnn": pyrnn.RNN}
KINDS = ("normal", "small state", "small state and x")
SMALL = {"float32": 1e-40, "float64": 1e-310}


def best(call: Callable[[], object], steps: int, rounds: int) -> float:
    """Microseconds a step, the best of many calls."""
    call()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * min(times) / steps


def lasting(cell: str, dtype: str) -> Any:
    """A layer whose state stays where it is."""
    layer = CELLS[cell](I, H, dtype=dtype, rng=0)
    biases = {name: np.zeros_like(array) for name, array in layer.params.items() if name.startswith("bias")}
    if cell == "rnn":
        rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((H, H)))
        layer.params["weight_hh_l0"] = rotation
    else:
        biases["bias_ih_l0"][H : 2 * H] = 20
    layer.params.update(biases)
    return layer


def calls(cell: str, dtype: str, kind: str) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed, and how many steps it takes."""
    layer, rng = lasting(cell, dtype), np.random.default_rng(1)
    small = SMALL[dtype]

    def drawn(*shape: int, scale: float) -> Array:
        return (rng.uniform(0.5, 1, shape) * scale).astype(dtype)

    x_scale = {"normal": 0.1, "small state": 0.0, "small state and x": small}[kind]
    scale = 0.1 if kind == "normal" else small
    x, h = drawn(T, B, I, scale=x_scale), drawn(1, B, H, scale=scale)
    state = (h, h) if cell == "lstm" else h
    one = tuple(part[:, :1] for part in state) if isinstance(state, tuple) else state[:, :1]
    dy, stream = drawn(T, B, H, scale=scale), layer.stream()
    steps = [np.ascontiguousarray(row[:1]) for row in x]

    def step() -> None:
        stream.state = one
        for x_t in steps:
            stream(x_t)

    _, pull = layer.vjp(x, state)
    return {
        "step, B = 1": (step, T),
        f"forward, B = {B}": (lambda: layer(x, state), T),
        f"backward, B = {B}": (lambda: pull(dy), T),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60, help="how often each is timed; the best counts")
    rounds = parser.parse_args().rounds
    pyrnn.set_num_threads(1)
    print(f"us a step, I = {I}, H = {H}, T = {T}, one thread\n")
    print(f"{'':32}" + "".join(f"{kind:>20}" for kind in KINDS))
    for dtype in SMALL:
        for cell in CELLS:
            timed = {kind: calls(cell, dtype, kind) for kind in KINDS}
            for what in timed["normal"]:
                row = [best(*timed[kind][what], rounds) for kind in KINDS]
                shown = [f"{us:.3f} ({us / row[0]:.2f})" for us in row]
                print(f"{cell:6}{dtype:9}{what:17}" + "".join(f"{text:>20}" for text in shown))


if __name__ == "__main__":
    main()
