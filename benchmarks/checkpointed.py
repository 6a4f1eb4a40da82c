"""What `Checkpointed` costs and saves: a training step of a layer, plain and checkpointed, in turn.

Times are of the processor, which other programs disturb less, and so of one thread. Beside them stands what
there is no way around: a plain step, and the layer run once more. Memory is what a step holds at most, beside
y and dx; four times as many steps hold 4 times as much if it grows with them, 2 if with their root.

usage: python -m benchmarks.checkpointed [--rounds N] [--shape T B I H]
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

import pyrnn
from pyrnn import GRU, LSTM, Checkpointed

SHAPES = [(1024, 16, 64, 128), (4096, 8, 64, 64), (1024, 32, 128, 256), (512, 64, 128, 128)]  # T, B, I, H
Layer = pyrnn.GRU | pyrnn.LSTM | Checkpointed


def arrays(shape: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    T, B, inputs, hidden = shape
    rng = np.random.default_rng(0)
    return rng.standard_normal((T, B, inputs), np.float32), rng.standard_normal((T, B, hidden), np.float32)


def train(layer: Layer, x: np.ndarray, dy: np.ndarray) -> None:
    _, pull = layer.vjp(x)
    pull(dy)


def seconds(call: Callable[[], object]) -> float:
    start = time.thread_time()
    call()
    return time.thread_time() - start


def times(layer: GRU | LSTM, shape: tuple[int, int, int, int], rounds: int) -> dict[str, float]:
    """The best time of each, all of them in turn."""
    x, dy = arrays(shape)
    checkpointed = Checkpointed(layer)
    calls: dict[str, Callable[[], object]] = {
        "plain": lambda: train(layer, x, dy),
        "checkpointed": lambda: train(checkpointed, x, dy),
        "once more": lambda: layer(x),
    }
    best = dict.fromkeys(calls, np.inf)
    for _ in tqdm(range(rounds + 1), desc=str(shape), leave=False):
        for name, call in calls.items():
            best[name] = min(best[name], seconds(call))
    return best


def peak(layer: Layer, shape: tuple[int, int, int, int]) -> int:
    """Bytes that a step holds at once, beside y and dx."""
    x, dy = arrays(shape)
    train(layer, x[:2], dy[:2])  # pack the weights
    pyrnn.empty_cache()
    tracemalloc.start()
    try:
        (y, _), pull = layer.vjp(x)
        dx, _, _ = pull(dy)
        return tracemalloc.get_traced_memory()[1] - y.nbytes - dx.nbytes
    finally:
        tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="how often each is timed; the best counts")
    parser.add_argument(
        "--shape", type=int, nargs=4, metavar=tuple("TBIH"), help="only this one, instead of four"
    )
    arguments = parser.parse_args()
    pyrnn.set_num_threads(1)
    for shape in [tuple(arguments.shape)] if arguments.shape else SHAPES:
        for kind in (GRU, LSTM):
            layer = kind(*shape[2:], rng=0)
            best = times(layer, shape, arguments.rounds)
            ratio, least = (best[name] / best["plain"] for name in ("checkpointed", "once more"))
            long = (4 * shape[0], *shape[1:])
            held = [[peak(one, s) for s in (shape, long)] for one in (layer, Checkpointed(layer))]
            grows = [longer / shorter for shorter, longer in held]
            plain, checkpointed = (1e3 * best[name] for name in ("plain", "checkpointed"))
            before, after = (sizes[0] / 2**20 for sizes in held)
            print(
                f"{shape!s:20} {kind.__name__:4}  {plain:6.1f} -> {checkpointed:6.1f} ms, {ratio:.3f} times "
                f"(least {1 + least:.3f});  {before:6.1f} -> {after:5.1f} MiB; "
                f"four times the steps: {grows[0]:.2f} -> {grows[1]:.2f} times"
            )


if __name__ == "__main__":
    main()
