"""Run a model that was trained with Keras 3, without Keras.

    python examples/from_keras.py                          # a small file that Keras wrote
    python examples/from_keras.py MODEL.keras --steps 50   # a file of yours

The file is read with h5py; nothing of it is run. The small one has an embedding that masks zeros, a
bidirectional LSTM, two GRUs and a softmax, and comes with the numbers that Keras computed.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import pyrnn
from pyrnn.interop import from_keras

DATA = Path(__file__).parent.parent / "tests" / "data"


RAW = argparse.RawDescriptionHelpFormatter


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", type=Path, default=DATA / "masked.keras", help="a .keras file")
    parser.add_argument("--steps", type=int, default=20, help="of the random input that is timed; default 20")
    parser.add_argument("--batch", type=int, default=8, help="rows of it; default 8")
    options = parser.parse_args(arguments)
    if min(options.steps, options.batch) < 1:
        parser.error(f"--steps and --batch must be at least 1, got {options.steps} and {options.batch}")
    return options


def random_input(model: pyrnn.Sequential, steps: int, batch: int) -> np.ndarray:
    """Tokens for a model that begins with an embedding, else features."""
    rng = np.random.default_rng(0)
    first = model[0] if isinstance(model, pyrnn.Sequential) else model
    if isinstance(first, pyrnn.Embedding):
        return rng.integers(1, max(first.num_embeddings, 2), (batch, steps))
    first = getattr(first, "forward_layer", first)
    size = getattr(first, "input_size", None) or getattr(first, "in_features", None)
    if size is None:
        raise SystemExit(f"what {first!r} takes is not known to this example")
    return rng.standard_normal((batch, steps, size)).astype(np.float32)


def main(arguments: list[str] | None = None) -> float | None:
    """Run the program; the largest difference from Keras' own numbers, where these are known."""
    options = parse(arguments)
    try:
        model = from_keras(options.model)
    except (OSError, ValueError) as error:
        raise SystemExit(f"cannot read {options.model}: {error}") from error
    print(f"{options.model.name}: {model!r}, {model.params.size} parameters")
    difference = None
    if options.model == DATA / "masked.keras":
        with np.load(DATA / "masked.npz") as known:
            difference = float(np.abs(model(known["x"]) - known["y"]).max())
        print(f"largest difference from what Keras computed: {difference:.1e}")
    x = random_input(model, options.steps, options.batch)
    start = time.perf_counter()
    model(x)
    seconds = time.perf_counter() - start
    print(f"a call on {options.batch} rows of {options.steps} steps: {1e3 * seconds:.2f} ms")
    return difference


if __name__ == "__main__":
    main()
