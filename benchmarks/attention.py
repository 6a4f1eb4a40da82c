"""Multi-head attention beside PyTorch's, if that is installed: same weights and inputs, in turn, in one run.

usage: python -m benchmarks.attention [--rounds N] [--threads N [N ...]] [--shape T B E N]

NumPy's BLAS takes no part: OPENBLAS_NUM_THREADS should change nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

import pyrnn

Calls = dict[str, Callable[[], Any]]
FORWARD, WEIGHTS, TRAINING = "inference", "inference with weights", "training step"


def own(layer: pyrnn.MultiHeadAttention, x: np.ndarray, dy: np.ndarray) -> Calls:
    def train() -> Any:
        _, pull = layer.vjp(x)
        return pull(dy)[0]

    return {
        FORWARD: lambda: layer(x),
        WEIGHTS: lambda: layer(x, need_weights=True)[1],
        TRAINING: train,
    }


def pytorch(layer: pyrnn.MultiHeadAttention, x: np.ndarray, dy: np.ndarray) -> Calls:
    import torch

    module = torch.nn.MultiheadAttention(layer.embed_dim, layer.num_heads)
    module.load_state_dict({name: torch.tensor(array) for name, array in layer.state_dict().items()})
    input, doutput = torch.tensor(x), torch.tensor(dy)

    def infer(weights: bool) -> Any:
        with torch.no_grad():
            return module(input, input, input, need_weights=weights)[int(weights)].numpy()

    def train() -> Any:
        leaf = input.detach().requires_grad_()
        module.zero_grad(set_to_none=True)
        module(leaf, leaf, leaf, need_weights=False)[0].backward(doutput)
        return leaf.grad.numpy()

    return {FORWARD: lambda: infer(False), WEIGHTS: lambda: infer(True), TRAINING: train}


def best_of(contestants: dict[str, Calls], rounds: int) -> dict[str, dict[str, float]]:
    """The best time of each, all in turn; their results agree."""
    expected = {mode: call() for mode, call in contestants["pyrnn"].items()}
    for calls in contestants.values():
        for mode, call in calls.items():
            np.testing.assert_allclose(
                call(), expected[mode], rtol=0, atol=1e-4 * np.abs(expected[mode]).max()
            )
    best = {name: dict.fromkeys(calls, np.inf) for name, calls in contestants.items()}
    for _ in tqdm(range(rounds), leave=False):
        for mode in expected:
            for name, calls in contestants.items():
                start = time.perf_counter()
                calls[mode]()
                best[name][mode] = min(best[name][mode], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30, help="how often each is timed; the best counts")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--shape", type=int, nargs=4, metavar=tuple("TBEN"), default=[512, 4, 512, 8])
    arguments = parser.parse_args()
    T, B, E, N = arguments.shape
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((T, B, E), np.float32) for _ in range(2))
    layer = pyrnn.MultiHeadAttention(E, N, rng=0)
    contestants = {"pyrnn": own(layer, x, dy)}
    if importlib.util.find_spec("torch"):
        contestants["PyTorch"] = pytorch(layer, x, dy)
    print(
        f"T {T}, B {B}, E {E}, {N} heads; OPENBLAS_NUM_THREADS={os.environ.get('OPENBLAS_NUM_THREADS', '')}"
    )
    for threads in arguments.threads:
        pyrnn.set_num_threads(threads)
        if "PyTorch" in contestants:
            import torch

            torch.set_num_threads(threads)
        best = best_of(contestants, arguments.rounds)
        for mode, mine in best["pyrnn"].items():
            cells = (f"{name} {1e3 * times[mode]:7.2f} ms" for name, times in best.items())
            others = (f"{times[mode] / mine:.2f}" for name, times in best.items() if name != "pyrnn")
            print(f"{threads} threads  {mode:24}", "  ".join(cells), "  times as fast:", *others)


if __name__ == "__main__":
    main()
