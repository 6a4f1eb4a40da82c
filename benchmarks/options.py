"""What the options of a cell cost: each beside the plain cell, in turn, in one run.

"work" is the size of the products beside the plain cell's: what a projection, or one gate less, saves.

usage: python -m benchmarks.options [--rounds N] [--threads N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

import pyrnn

SHAPES = {"batch": (100, 32, 128, 256), "frames": (100, 1, 64, 64)}  # T, B, I, H
SMALL = 2e6  # operations below which a call is repeated
PLAIN = {"LSTM": pyrnn.LSTM, "GRU": pyrnn.GRU, "RNN": pyrnn.RNN}
VARIANTS = {
    "LSTM": {
        "activation='relu'": {"activation": "relu"},
        "recurrent_activation='hard_sigmoid'": {"recurrent_activation": "hard_sigmoid"},
        "peepholes=True": {"peepholes": True},
        "coupled=True": {"coupled": True},
        "cell_clip=3.0": {"cell_clip": 3.0},
        "zoneout=0.1": {"zoneout": 0.1},
        "recurrent_dropout=0.2": {"recurrent_dropout": 0.2},
        "weight_dropout=0.2": {"weight_dropout": 0.2},
        "layer_norm=True": {"layer_norm": True},
    },
    "GRU": {
        "reset_after=False": {"reset_after": False},
        "activation='relu'": {"activation": "relu"},
        "layer_norm=True": {"layer_norm": True},
    },
    "RNN": {"nonlinearity='softsign'": {"nonlinearity": "softsign"}},
}
LONG = (512, 8, 256, 256)
WITHOUT_PRODUCT = {"MinGRU": pyrnn.MinGRU, "MinLSTM": pyrnn.MinLSTM, "IndRNN": pyrnn.IndRNN}


def calls(layer: pyrnn.LSTM, T: int, B: int, inputs: int) -> dict[str, Callable[[], object]]:
    """Inference and a training step."""
    x = np.random.default_rng(0).standard_normal((T, B, inputs), np.float32)
    dy = np.ones((T, B, layer._widths[0]), np.float32)

    def train() -> object:
        _, pull = layer.vjp(x)
        return pull(dy)

    return {"inference": lambda: layer(x), "training": train}


def products(layer: pyrnn.LSTM) -> int:
    """Weights that each step multiplies."""
    names = ("weight_ih", "weight_hh", "weight_hr")
    return sum(array.size for name, array in layer.params.items() if name.startswith(names))


def seconds(call: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def best_of(
    layers: dict[str, pyrnn.LSTM], shape: tuple[int, int, int, int], rounds: int
) -> dict[str, dict[str, float]]:
    """The best time of each layer and mode, all of them in turn."""
    T, B, inputs, _ = shape
    made = {name: calls(layer, T, B, inputs) for name, layer in layers.items()}
    repeats = 1 if T * B * shape[3] > SMALL / 100 else 20
    best = {name: dict.fromkeys(modes, np.inf) for name, modes in made.items()}
    for _ in tqdm(range(rounds), desc=str(shape), leave=False):
        for name, modes in made.items():
            for mode, call in modes.items():
                best[name][mode] = min(best[name][mode], seconds(call, repeats))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10, help="how often each is timed; the best counts")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    pyrnn.set_num_threads(arguments.threads)
    print(f"{'(T, B, I, H)':20}  {'layer':40}  {'inference':>16}  {'training':>16}   times the plain cell's")
    for shape in SHAPES.values():
        for kind, variants in VARIANTS.items():
            make = PLAIN[kind]
            layers = {"plain": make(*shape[2:], rng=0)}
            layers |= {name: make(*shape[2:], rng=0, **options) for name, options in variants.items()}
            if kind == "LSTM":
                layers["proj_size=H/2"] = make(*shape[2:], rng=0, proj_size=shape[3] // 2)
            best = best_of(layers, shape, arguments.rounds)
            for name, modes in best.items():
                cells = (f"{1e6 * t:8.0f} us {t / best['plain'][m]:4.2f}" for m, t in modes.items())
                work = products(layers[name]) / products(layers["plain"])
                print(f"{shape!s:20}  {kind + ' ' + name:40}  " + "  ".join(cells) + f"   work {work:4.2f}")
    layers = {"GRU": pyrnn.GRU(*LONG[2:], rng=0)}
    layers |= {name: make(*LONG[2:], rng=0) for name, make in WITHOUT_PRODUCT.items()}
    best = best_of(layers, LONG, arguments.rounds)
    for name, modes in best.items():
        cells = (f"{1e6 * t:8.0f} us {best['GRU'][m] / t:4.2f}" for m, t in modes.items())
        print(f"{LONG!s:20}  {name:40}  " + "  ".join(cells) + "   times as fast as the GRU")


if __name__ == "__main__":
    main()
