"""Training steps of PyTorch's modules and of pyrnn.torch's in their place: equal first, then timed in turn.

A step is forward and backward, with gradients of the input and of every weight. An optimizer writes to the
weights before each, which is not timed, so that whatever is packed is packed anew.

usage: python -m benchmarks.torch_dropin [--rounds N] [--threads N ...] [--only CELL ...]
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from tqdm import tqdm

import pyrnn.torch

CELLS = ("GRU", "LSTM", "RNN")
SHAPES = ((100, 32, 128, 256), (100, 1, 64, 64))  # T, B, I, H
RAGGED = (200, 32, 128, 128)  # packed sequences, lengths uniform from 1 to T
SMALL = 1 << 18  # T*B*H below which a round has many steps
PAUSE = 0.03  # seconds in which threads of the other library fall asleep

Step = Callable[[], list[torch.Tensor]]


def step_of(module: torch.nn.RNNBase, shape: tuple[int, int, int, int], ragged: bool) -> Step:
    """A training step, which returns the output and, in their places, the gradients."""
    T, B, inputs, H = shape
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.standard_normal((T, B, inputs), np.float32))
    if ragged:
        lengths = torch.from_numpy(rng.integers(1, T + 1, B))
        x = pack_padded_sequence(x, lengths, enforce_sorted=False)
    leaf = x.data if ragged else x
    leaf.requires_grad_()
    leaves = [leaf, *module.parameters()]
    dy = torch.from_numpy(rng.standard_normal((*leaf.shape[:-1], H), np.float32))

    def step() -> list[torch.Tensor]:
        for one in leaves:
            one.grad = None
        y, _ = module(x)
        y = y.data if ragged else y
        y.backward(dy)
        return [y, *leaves]

    return step


def assert_equal(theirs: list[torch.Tensor], ours: list[torch.Tensor], terms: int) -> None:
    """Compare with the error of sums of that many terms, in the arithmetic of the largest result."""
    ours, theirs = ([y, *(leaf.grad for leaf in leaves)] for y, *leaves in (ours, theirs))
    for desired, found in zip(theirs, ours, strict=True):
        bound = (
            16
            * np.finfo(np.float32).eps
            * np.ceil(np.log2(terms))
            * max(1, float(desired.detach().abs().max()))
        )
        np.testing.assert_allclose(found.detach(), desired.detach(), rtol=0, atol=bound)


def race(
    steps: dict[str, Step], modules: dict[str, torch.nn.Module], rounds: int, many: int
) -> dict[str, float]:
    """The best seconds of a step of each, all in turn."""
    optimizers = {name: torch.optim.SGD(module.parameters(), 1e-9) for name, module in modules.items()}
    best = dict.fromkeys(steps, np.inf)
    for _ in range(rounds):
        for name, step in steps.items():
            time.sleep(PAUSE)
            for _ in range(many):
                step()
                optimizers[name].step()
                start = time.perf_counter()
                step()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="how often each is timed; the best counts")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", default=CELLS, choices=CELLS)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, pyrnn {pyrnn.__version__}, best of {arguments.rounds} rounds")
    cases = [(kind, shape, False) for shape in SHAPES for kind in arguments.only]
    cases += [(kind, RAGGED, True) for kind in arguments.only]
    progress = tqdm(total=len(cases) * len(arguments.threads), leave=False)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for kind, shape, ragged in cases:
            T, B, inputs, H = shape
            torch.manual_seed(0)
            theirs = getattr(torch.nn, kind)(inputs, H)
            modules = {"torch.nn": theirs, "pyrnn.torch": pyrnn.torch.accelerate(copy.deepcopy(theirs))}
            steps = {name: step_of(module, shape, ragged) for name, module in modules.items()}
            assert_equal(*(step() for step in steps.values()), terms=2 * T * B * (inputs + H))
            best = race(steps, modules, arguments.rounds, 1 if T * B * H >= SMALL else 40)
            times = "  ".join(f"{name} {1e6 * seconds:8.0f} us" for name, seconds in best.items())
            ratio = best["torch.nn"] / best["pyrnn.torch"]
            what = f"{kind:4} {shape!s:20} {'packed' if ragged else '':6}"
            progress.write(f"{what}  threads {threads}  {times}  {ratio:6.2f} times as fast")
            progress.update()
    progress.close()


if __name__ == "__main__":
    main()
