"""A transformer encoder of two layers against a GRU, on the same task.

    python examples/transformer.py                # about a minute

Of every symbol of a text, it shall be said whether the same symbol is elsewhere in the text as well. A GRU
has to carry all that it has read, forward and backward; attention can look it up. Both are fed from
embeddings and trained alike. Picture: OUT/history.png, the accuracy on new texts after every epoch.
"""

import time

import _common
import numpy as np

import pyrnn


def texts(given, count, rng):
    """Symbols, and whether each is there more than once; (T, N) both."""
    symbols = rng.integers(0, given.symbols, (given.steps, count))
    counts = np.apply_along_axis(np.bincount, 0, symbols, minlength=given.symbols)
    return symbols, (np.take_along_axis(counts, symbols, 0) > 1).astype(int)


def make(name, given, rng):
    size = given.size
    embedding = pyrnn.Embedding(given.symbols, size, rng=rng)
    if name == "GRU":
        gru = pyrnn.GRU(size, size, bidirectional=True, rng=rng)
        return pyrnn.Sequential(embedding, gru, pyrnn.Linear(2 * size, 2, rng=rng))
    layers = [
        pyrnn.TransformerEncoderLayer(size, given.heads, 2 * size, dropout=0.0, norm_first=True, rng=rng)
        for _ in range(2)
    ]
    return pyrnn.Sequential(
        embedding, pyrnn.PositionalEncoding(), *layers, pyrnn.LayerNorm(size), pyrnn.Linear(size, 2, rng=rng)
    )


def main(argv=None):
    parser = _common.options(__doc__, "transformer")
    count = _common.positive(int)
    parser.add_argument("--size", type=count, default=64, help="of embeddings and layers (default: 64)")
    parser.add_argument("--heads", type=count, default=4, help="of the attention (default: 4)")
    parser.add_argument("--steps", type=count, default=20, help="length of a text (default: 20)")
    parser.add_argument("--symbols", type=count, default=24, help="that there are (default: 24)")
    parser.add_argument("--lr", type=_common.positive(float), default=2e-3, help="default: 2e-3")
    parser.add_argument("--texts", type=count, default=8000, help="to train on (default: 8000)")
    parser.add_argument("--epochs", type=count, default=12, help="default: 12")
    given = parser.parse_args(argv)
    if given.size % given.heads:
        parser.error("--size must be a multiple of --heads")
    rng = _common.start(given)
    x, y = texts(given, given.texts, rng)
    new = texts(given, 1000, rng)
    reached, lines = {}, {}
    for name in ("transformer", "GRU"):
        model, begin = make(name, given, rng), time.perf_counter()
        lines[name] = pyrnn.fit(
            model, x, y, loss="cross_entropy", optimizer=pyrnn.Adam(model, lr=given.lr), epochs=given.epochs,
            batch_size=64, validation_data=new, metrics=["accuracy"], clip_norm=1.0, rng=rng, progress=True,
        )  # fmt: skip
        reached[name] = pyrnn.metrics.accuracy(model(new[0]), new[1])
        print(
            f"{name}: {reached[name]:.2%} of the symbols of new texts,"
            f" {model.params.size:,} parameters, {time.perf_counter() - begin:.0f} s"
        )
    print(f"the more frequent answer alone: {max(np.mean(new[1]), 1 - np.mean(new[1])):.2%}")
    _common.draw_histories(lines, "accuracy", "accuracy", given.out / "history.png")
    return reached


if __name__ == "__main__":
    main()
