"""What LayerNorm costs, beside what memory allows and PyTorch's, in turn, in one run.

Inference reads x and writes y; the way back reads x and dy and writes dx. Before a line is written it is
read too, so that the bytes are those of 3 and 4 arrays; pyrnn saves that reading where arrays do not fit the
caches, and then may come out above 100 %. Beside their rate stands that at which as many threads read an
array, and read and write another, with no formula between, measured between its turns.

Arrays begin at a line of the cache, as those do that pyrnn's layers hand on. --offset moves them: NumPy's own
begin 16 bytes behind one, and then every vector lies in two lines.

usage: python -m benchmarks.layer_norm [--rows N] [--features N ...] [--rounds N] [--threads N ...]
                                       [--offset N]
"""

from __future__ import annotations

import argparse
import contextlib
import math

import numpy as np
from tqdm import tqdm

import pyrnn
from pyrnn import _core
from pyrnn.reference import layers as reference

from . import roof
from .optimizers import Step, seconds

TURN = 0.02  # seconds: long beside the time in which arrays come back to the caches after another turn
ARRAYS = {"inference": 3, "way back": 4}
Steps = dict[str, Step]


def by_pyrnn(x: np.ndarray, dy: np.ndarray) -> Steps:
    layer = pyrnn.LayerNorm(x.shape[-1])
    y, pull = layer.vjp(x)
    exact, one, zero = x.astype(np.float64), np.ones(x.shape[-1]), np.zeros(x.shape[-1])
    np.testing.assert_allclose(y, reference.layer_norm(exact, one, zero, layer.eps), atol=1e-5)
    wanted = reference.layer_norm_backward(exact, one, layer.eps, dy.astype(np.float64))
    np.testing.assert_allclose(pull(dy)[0], wanted[0], atol=1e-5)
    return {"inference": lambda: layer(x), "way back": lambda: pull(dy)}


def by_pytorch(x: np.ndarray, dy: np.ndarray, threads: int) -> Steps:
    import torch

    torch.set_num_threads(threads)
    layer = torch.nn.LayerNorm(x.shape[-1])
    values, wanted = torch.tensor(x, requires_grad=True), torch.tensor(dy)
    y = layer(values)

    def inference() -> None:
        with torch.no_grad():
            layer(values)

    def back() -> None:
        torch.autograd.grad(y, (values, *layer.parameters()), wanted, retain_graph=True)

    return {"inference": inference, "way back": back}


def normal(rng: np.random.Generator, shape: tuple[int, int], offset: int) -> np.ndarray:
    """Random numbers in memory as layers have it, moved by `offset` bytes."""
    skipped = offset // 4
    numbers = _core.empty((skipped + math.prod(shape),), np.dtype(np.float32))[skipped:].reshape(shape)
    rng.standard_normal(dtype=np.float32, out=numbers)
    return numbers


def compare(rows: int, features: int, threads: int, rounds: int, offset: int) -> None:
    rng = np.random.default_rng(0)
    x, dy = (normal(rng, (rows, features), offset) for _ in range(2))
    made = {"pyrnn": by_pyrnn(x, dy)}
    with contextlib.suppress(ImportError):
        made["PyTorch"] = by_pytorch(x, dy, threads)
    try:
        updates = roof.Updates(threads, x.nbytes, 1)
    except roof.NoCompiler:
        updates = None
    for what, arrays in ARRAYS.items():
        best, highest = dict.fromkeys(made, np.inf), 0.0
        for _ in tqdm(range(rounds), desc=what, leave=False):
            for peer, steps in made.items():
                best[peer] = min(best[peer], seconds(steps[what], TURN))
            highest = max(highest, updates.burst(TURN)) if updates else np.nan
        mine = best.pop("pyrnn")
        rate = arrays * x.nbytes / mine
        others = "".join(f"  {peer} {spent / mine:5.2f} x as long" for peer, spent in best.items())
        print(
            f"({rows}, {features:5})  threads {threads}  {what:9}  {1e6 * mine:7.0f} us"
            f"  {rate / 1e9:5.1f} GB/s = {100 * rate / highest:3.0f} % of {highest / 1e9:5.1f} GB/s{others}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=32768)
    parser.add_argument("--features", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--rounds", type=int, default=20, help="how often each is timed; the best counts")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--offset", type=int, default=0, help="bytes, a multiple of 4")
    arguments = parser.parse_args()
    for threads in arguments.threads:
        pyrnn.set_num_threads(threads)
        for features in arguments.features:
            compare(arguments.rows, features, threads, arguments.rounds, arguments.offset)


if __name__ == "__main__":
    main()
