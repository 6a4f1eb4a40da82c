"""What a step of each optimizer costs, beside what memory allows, NumPy and PyTorch, in turn, in one run.

A step reads the gradient, and reads and writes the parameters and each array that is kept for them: the
bytes of 7 arrays for Adam. Beside their rate stands that at which as many threads read and write as many
arrays of that size with no formula between, measured between its turns. PyTorch is there where it can be
imported: its fused step, but for RMSprop, which has none.

usage: python -m benchmarks.optimizers [--size N] [--rounds N] [--threads N] [--dtype float32|float64]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

import pyrnn
from pyrnn.reference import optimizers as reference

from . import roof

OPTIMIZERS: dict[str, tuple[str, dict[str, Any], int]] = {  # class, options, arrays that are kept
    "SGD": ("SGD", {"lr": 1e-3}, 0),
    "SGD, momentum": ("SGD", {"lr": 1e-3, "momentum": 0.9}, 1),
    "RMSprop": ("RMSprop", {"lr": 1e-3}, 1),
    "RMSprop, centered, momentum": ("RMSprop", {"lr": 1e-3, "centered": True, "momentum": 0.9}, 3),
    "Adam": ("Adam", {"lr": 1e-3}, 2),
    "AdamW": ("AdamW", {"lr": 1e-3}, 2),
}
SECONDS = 2e-3  # of a burst that measures the roof, and of a turn at least
Step = Callable[[], object]


def by_pyrnn(kind: str, options: dict[str, Any], start: np.ndarray, g: np.ndarray) -> tuple[Step, Any]:
    """A step, and the parameters it moves."""
    layer = pyrnn.Linear(start.shape[1], start.shape[0], bias=False, dtype=start.dtype)
    layer.params["weight"] = start
    optimizer = getattr(pyrnn, kind)(layer, **options)
    return lambda: optimizer.step({"weight": g}), layer.params["weight"]


def by_numpy(kind: str, options: dict[str, Any], start: np.ndarray, g: np.ndarray) -> tuple[Step, Any]:
    """The formulas of `pyrnn.reference`, an array at a time."""
    p, zero, t = [start], np.zeros_like(start), 0
    m = v = u = zero
    lr, momentum = options["lr"], options.get("momentum", 0.0)

    def step() -> None:
        nonlocal m, v, u, t
        t += 1
        if kind == "SGD":
            p[0], u = reference.sgd(p[0], g, u, lr, momentum)
        elif kind == "RMSprop":
            centered = options.get("centered", False)
            p[0], (m, v, u) = reference.rmsprop(p[0], g, (m, v, u), lr, 0.99, 1e-8, momentum, centered)
        else:
            decay = {"weight_decay": 1e-2, "decoupled": True} if kind == "AdamW" else {}
            p[0], (m, v) = reference.adam(p[0], g, (m, v), t, lr, (0.9, 0.999), 1e-8, **decay)

    return step, p


def by_pytorch(kind: str, options: dict[str, Any], start: np.ndarray, g: np.ndarray) -> tuple[Step, Any]:
    import torch

    parameter = torch.nn.Parameter(torch.tensor(start))
    parameter.grad = torch.tensor(g)
    fused = {"fused": True} if kind != "RMSprop" else {}
    optimizer = getattr(torch.optim, kind)([parameter], **options, **fused)
    return optimizer.step, parameter.detach().numpy()


def peers(threads: int) -> dict[str, Callable[..., tuple[Step, Any]]]:
    found = {"pyrnn": by_pyrnn, "NumPy": by_numpy}
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(threads)
    return found | {"PyTorch": by_pytorch}


def seconds(step: Step, turn: float = SECONDS) -> float:
    """Of the fastest step in a turn of so many at least: other programs disturb one more than the other."""
    best, start = np.inf, time.perf_counter()
    end = start
    while end - start < turn:
        begin = time.perf_counter()
        step()
        end = time.perf_counter()
        best = min(best, end - begin)
    return best


def compare(name: str, start: np.ndarray, g: np.ndarray, rounds: int, threads: int) -> dict[str, float]:
    """The best time of each, in turn, and the roof in bytes a second; once they have agreed on two steps."""
    kind, options, kept = OPTIMIZERS[name]
    made = {peer: make(kind, options, start, g) for peer, make in peers(threads).items()}
    for step, _ in made.values():
        step()
        step()
    truth = made["NumPy"][1][0]
    for peer, (_, p) in made.items():
        if peer != "NumPy":
            np.testing.assert_allclose(p, truth, rtol=0, atol=32 * np.finfo(start.dtype).eps, err_msg=peer)
    best = dict.fromkeys(made, np.inf) | {"roof": 0.0}
    try:
        updates = roof.Updates(threads, start.nbytes, 1 + kept)
    except roof.NoCompiler:
        updates = None
    for _ in tqdm(range(rounds), desc=name, leave=False):
        for peer, (step, _) in made.items():
            best[peer] = min(best[peer], seconds(step))
        best["roof"] = max(best["roof"], updates.burst(SECONDS)) if updates else np.nan
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1000, help="of the square matrix that is trained")
    parser.add_argument("--rounds", type=int, default=20, help="how often each is timed; the best counts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    arguments = parser.parse_args()
    pyrnn.set_num_threads(arguments.threads)
    rng, shape = np.random.default_rng(0), (arguments.size, arguments.size)
    start, g = (rng.uniform(-1, 1, shape).astype(arguments.dtype) for _ in range(2))
    print(f"{start.size:,} parameters, {start.dtype}, {arguments.threads} thread(s)")
    for name, (_, _, kept) in OPTIMIZERS.items():
        best = compare(name, start, g, arguments.rounds, arguments.threads)
        mine, highest = best.pop("pyrnn"), best.pop("roof")
        rate = (3 + 2 * kept) * start.nbytes / mine
        bandwidth = f"{rate / 1e9:5.1f} GB/s = {100 * rate / highest:3.0f} % of {highest / 1e9:5.1f} GB/s"
        others = ", ".join(f"{peer} {spent / mine:5.2f} x as long" for peer, spent in best.items())
        print(f"{name:28} {1e6 * mine:8.0f} us  {bandwidth}  {others}")


if __name__ == "__main__":
    main()
