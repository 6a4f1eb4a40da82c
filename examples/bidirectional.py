"""Tagging where the future decides: a bidirectional LSTM against one that reads forward only.

    python examples/bidirectional.py              # five seconds

Sentences of random words end in a full stop, a question mark or an exclamation mark, and every word shall be
tagged with how its sentence ends. Who reads forward cannot know before the mark is there; who reads both ways
can. Pictures: OUT/tags.png, what both say to each word of a text, and OUT/history.png.
"""

import _common
import numpy as np

import pyrnn
from pyrnn import plot

WORDS = "abcdefgh"
MARKS = ".?!"
SYMBOLS = MARKS + WORDS


def texts(steps, count, rng):
    """Symbols and tags, (T, N) both: sentences of 2 to 11 words, the last of which is cut to end in time."""
    symbols = np.zeros((steps, count), int)
    tags = np.zeros((steps, count), int)
    for n in range(count):
        start = 0
        while start < steps:
            end = min(start + int(rng.integers(2, 12)), steps - 1)  # where the mark is
            tags[start : end + 1, n] = mark = rng.integers(len(MARKS))
            symbols[start:end, n] = rng.integers(len(MARKS), len(SYMBOLS), end - start)
            symbols[end, n] = mark
            start = end + 1
    return symbols, tags


def make(bidirectional, given, rng):
    """About as many parameters in both: one direction gets more units."""
    units = given.hidden if bidirectional else given.hidden * 3 // 2
    lstm = pyrnn.LSTM(16, units, bidirectional=bidirectional, rng=rng)
    return pyrnn.Sequential(
        pyrnn.Embedding(len(SYMBOLS), 16, rng=rng),
        lstm,
        pyrnn.Linear(lstm.directions * units, len(MARKS), rng=rng),
    )


def draw(models, symbols, tags):
    """The probability that each model gives to the right tag, word by word."""
    axes = _common.Figure(figsize=(10, 3.6), layout="constrained").add_subplot()
    for number, (name, model) in enumerate(models.items()):
        logits = model(symbols[:, None])[:, 0].astype(np.float64)
        p = np.exp(logits - logits.max(1, keepdims=True))
        right = (p / p.sum(1, keepdims=True))[np.arange(len(tags)), tags]
        axes.plot(right, label=name, marker="os"[number], color=plot.COLOURS[number], linewidth=1)
    for t in np.flatnonzero(symbols < len(MARKS)):
        axes.axvline(t + 0.5, color="0.7", linewidth=1)
    axes.set_xticks(range(len(symbols)), [SYMBOLS[s] for s in symbols])
    axes.set(xlabel="text", ylabel="probability of the right tag", ylim=(-0.03, 1.03))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    return axes


def main(argv=None):
    parser = _common.options(__doc__, "bidirectional")
    count = _common.positive(int)
    parser.add_argument("--hidden", type=count, default=32, help="units a direction (default: 32)")
    parser.add_argument("--steps", type=count, default=40, help="symbols of a text (default: 40)")
    parser.add_argument("--texts", type=count, default=2000, help="to train on (default: 2000)")
    parser.add_argument("--epochs", type=count, default=5, help="default: 5")
    given = parser.parse_args(argv)
    rng = _common.start(given)
    x, y = texts(given.steps, given.texts, rng)
    new_x, new_y = texts(given.steps, 500, rng)
    models, losses, reached = {}, {}, {}
    for name in ("bidirectional", "forward only"):
        models[name] = model = make(name == "bidirectional", given, rng)
        history = pyrnn.fit(
            model, x, y, loss="cross_entropy", optimizer=pyrnn.Adam(model, lr=5e-3), epochs=given.epochs,
            validation_data=(new_x, new_y), metrics=["accuracy"], clip_norm=1.0, rng=rng, progress=True,
        )  # fmt: skip
        losses[name] = history
        reached[name] = pyrnn.metrics.accuracy(model(new_x), new_y)
        print(f"{name}: {reached[name]:.2%} of the tags of new texts ({model.params.size:,} parameters)")
    marks = np.mean(new_x < len(MARKS))
    print(
        f"forward only can be sure at the marks, and guess elsewhere: {marks + (1 - marks) / len(MARKS):.2%}"
    )
    _common.save(draw(models, new_x[:, 0], new_y[:, 0]), given.out / "tags.png")
    _common.draw_histories(losses, "loss", "cross entropy (nats)", given.out / "history.png")
    return reached


if __name__ == "__main__":
    main()
