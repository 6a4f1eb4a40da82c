"""Write a network to a file in the ONNX format, read it back, and compare numbers and times.

    python examples/onnx_roundtrip.py
    python examples/onnx_roundtrip.py --cell lstm --hidden 256 --layers 2 --out model.onnx

The network is Embedding -> LSTM, GRU or RNN in both directions -> LayerNorm -> Linear. What runs it: the
layers themselves, the file in pyrnn, and the file in ONNX Runtime where that is installed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import pyrnn
import pyrnn.onnx

CELLS = {"lstm": pyrnn.LSTM, "gru": pyrnn.GRU, "rnn": pyrnn.RNN}


RAW = argparse.RawDescriptionHelpFormatter


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cell", choices=CELLS, default="gru")
    for name, default in (("hidden", 128), ("layers", 1), ("steps", 100), ("batch", 16), ("repeats", 10)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--out", type=Path, help="where to keep the file; by default it is not kept")
    options = parser.parse_args(arguments)
    for name in ("hidden", "layers", "steps", "batch", "repeats"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(options, name)}")
    return options


def best(run: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def runners(model: pyrnn.Sequential, path: Path) -> dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]:
    """What runs the model, by name."""
    loaded = pyrnn.onnx.load(path)
    found = {
        "the layers": lambda x, lengths: model(x, lengths=lengths),
        "the file in pyrnn": lambda x, lengths: loaded(x, lengths)["y"],
    }
    try:
        import onnxruntime
    except ImportError:
        print("ONNX Runtime is not installed, and not compared with")
        return found
    session = onnxruntime.InferenceSession(path)
    found["the file in ONNX Runtime"] = lambda x, lengths: session.run(None, {"x": x, "lengths": lengths})[0]
    return found


def main(arguments: list[str] | None = None) -> float:
    """Run the program and return the largest difference between any two results."""
    options = parse(arguments)
    rng = np.random.default_rng(0)
    recurrent = CELLS[options.cell](32, options.hidden, options.layers, bidirectional=True, rng=rng)
    norm, head = pyrnn.LayerNorm(2 * options.hidden), pyrnn.Linear(2 * options.hidden, 10, rng=rng)
    model = pyrnn.Sequential(pyrnn.Embedding(50, 32, rng=rng), recurrent, norm, head)
    x = rng.integers(0, 50, (options.steps, options.batch))
    lengths = rng.integers(1, options.steps + 1, options.batch).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        path = options.out or Path(folder) / "model.onnx"
        pyrnn.onnx.save(model, path, lengths=True)
        print(f"{model!r}\n{path.name}: {path.stat().st_size / 1e6:.2f} MB, {pyrnn.onnx.load(path)!r}")
        truth, largest = model(x, lengths=lengths), 0.0
        for name, run in runners(model, path).items():
            difference = float(np.abs(run(x, lengths) - truth).max())
            largest = max(largest, difference)
            seconds = best(lambda run=run: run(x, lengths), options.repeats)
            print(f"{name:>25}: {1e3 * seconds:7.2f} ms a call, {difference:.1e} from the layers")
    return largest


if __name__ == "__main__":
    main()
