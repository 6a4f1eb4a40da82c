"""What `fit` costs beside the loop that one would write by hand: a character model by truncated BPTT.

Both take the same steps: the weights that they end with are compared, bit for bit, before any time counts.

usage: python -m benchmarks.fit [--rounds N] [--threads N] [--hidden N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

import pyrnn
from pyrnn import LSTM, Adam, Embedding, Linear, Sequential, clip_grad_norm, cross_entropy

SYMBOLS, EMBEDDING, STREAMS, PIECE, PIECES = 65, 64, 32, 64, 12
CLIP = 1.0


def model(hidden: int) -> Sequential:
    rng = np.random.default_rng(0)
    return Sequential(
        Embedding(SYMBOLS, EMBEDDING, rng=rng),
        LSTM(EMBEDDING, hidden, rng=rng),
        Linear(hidden, SYMBOLS, rng=rng),
    )


def by_hand(net: Sequential, x: np.ndarray, y: np.ndarray) -> None:
    embedding, lstm, linear = net
    adam, state = Adam(list(net)), None
    for t in range(0, len(x), PIECE):
        vectors, pull_embedding = embedding.vjp(x[t : t + PIECE])
        (h, state), pull_lstm = lstm.vjp(vectors, state)
        logits, pull_linear = linear.vjp(h)
        _, dloss = cross_entropy.vjp(logits, y[t : t + PIECE])
        dh, linear_grads = pull_linear(dloss())
        dx, _, lstm_grads = pull_lstm(dh)
        grads = [pull_embedding(dx)[1], lstm_grads, linear_grads]
        clip_grad_norm(grads, CLIP)
        adam.step(grads)


def by_fit(net: Sequential, x: np.ndarray, y: np.ndarray) -> None:
    net.fit(x, y, loss="cross_entropy", tbptt=PIECE, clip_norm=CLIP, shuffle=False, progress=False)


def timed(
    run: Callable[..., None], hidden: int, x: np.ndarray, y: np.ndarray
) -> tuple[Sequential, float, float]:
    """The trained model; seconds, and seconds of the processor, which other programs disturb less."""
    net = model(hidden)
    start, cpu = time.perf_counter(), time.process_time()
    run(net, x, y)
    return net, time.perf_counter() - start, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=256)
    options = parser.parse_args()
    pyrnn.set_num_threads(options.threads)
    codes = np.random.default_rng(0).integers(0, SYMBOLS, (PIECE * PIECES + 1, STREAMS))
    x, y = codes[:-1], codes[1:]
    first, second = (timed(run, options.hidden, x, y)[0] for run in (by_hand, by_fit))
    for name, array in first.params.items():
        np.testing.assert_array_equal(second.params[name], array, err_msg=name)
    samples: dict[str, list[tuple[float, float]]] = {"by hand": [], "fit": []}
    runs = [("by hand", by_hand), ("fit", by_fit)]
    for _ in tqdm(range(options.rounds)):
        runs.reverse()  # who comes second finds a warmer cache, or a busier machine
        for name, run in runs:
            samples[name].append(timed(run, options.hidden, x, y)[1:])
    best = {name: [min(column) for column in zip(*found, strict=True)] for name, found in samples.items()}
    print(f"{PIECES} steps of {PIECE} characters of {STREAMS} streams, LSTM({EMBEDDING}, {options.hidden}):")
    for name, (wall, cpu) in best.items():
        print(
            f"  {name:8} {wall / PIECES * 1e3:7.2f} ms a step, {cpu / PIECES * 1e3:7.2f} ms of the processor"
        )
    pairs = zip(samples["fit"], samples["by hand"], strict=True)
    each = np.median([[mine / hand for mine, hand in zip(*pair, strict=True)] for pair in pairs], 0)
    for i, what in enumerate(("the time", "the processor's time")):
        ratio = best["fit"][i] / best["by hand"][i]
        print(f"  fit takes {ratio:.3f} times {what} of the loop by hand; {each[i]:.3f}, the median pair")
    print("  same weights, bit for bit")


if __name__ == "__main__":
    main()
