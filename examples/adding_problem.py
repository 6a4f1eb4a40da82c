"""The adding problem: two numbers of a long sequence are marked, and their sum is asked for at its end.

    python examples/adding_problem.py                       # GRU, LSTM and RNN over 200 steps, half a minute
    python examples/adding_problem.py --cells gru --steps 400

One of the marks lies in the first half and one in the second, so that a network must carry a number over a
hundred steps on average. Who always answers 1 has a mean squared error of 1/6. GRU and LSTM leave that level;
the tanh-RNN, whose gradient does not reach that far back, stays on it. The biases of the LSTM's gates begin
where its units remember for between one step and all of them (chrono initialization, Tallec & Ollivier 2018).
Picture: OUT/adding_problem.png. After Hochreiter & Schmidhuber 1997, section 5.4.
"""

import _common
import numpy as np

import pyrnn

CELLS = {"gru": pyrnn.GRU, "lstm": pyrnn.LSTM, "rnn": pyrnn.RNN}
CHANCE = 1 / 6  # variance of the sum of two numbers that are uniform in [0, 1)


def draw(count, steps, rng):
    """Sequences (steps, count, 2) of numbers and marks, and the sums (count, 1) of the marked numbers."""
    x = np.zeros((steps, count, 2), np.float32)
    x[:, :, 0] = rng.random((steps, count))
    rows, half = np.arange(count), steps // 2
    marked = rng.integers(0, half, count), rng.integers(half, steps, count)
    for at in marked:
        x[at, rows, 1] = 1
    return x, sum(x[at, rows, 0] for at in marked)[:, None]


def make(cell, given, rng):
    layer = CELLS[cell](2, given.hidden, rng=rng)
    if cell == "lstm":
        pyrnn.init.chrono(layer, given.steps, rng=rng)
    return pyrnn.Sequential(layer, pyrnn.LastStep(), pyrnn.Linear(given.hidden, 1, rng=rng))


def train(cell, given, data, held_out, rng):
    model = make(cell, given, rng)
    return pyrnn.fit(
        model,
        *data,
        loss="mse",
        optimizer=pyrnn.Adam(model, lr=given.lr),
        clip_norm=1.0,
        epochs=given.epochs,
        batch_size=given.batch,
        validation_data=held_out,
        rng=rng,
        callbacks=[lambda epoch, numbers: numbers["val_loss"] < given.enough],
    )


def draw_curves(histories, given):
    figure = _common.Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for cell, history in histories.items():
        seen = given.count * np.arange(1, history.epochs + 1)
        ax.plot(seen, history["val_loss"], marker="o", markersize=3, label=cell.upper())
    ax.axhline(CHANCE, color="0.5", linestyle=":", label="always 1")
    ax.set(
        yscale="log",
        xlabel="sequences trained on",
        ylabel="mean squared error, held out",
        title=f"The adding problem over {given.steps} steps",
    )
    ax.legend()
    _common.save(figure, given.out / "adding_problem.png")


def parse(arguments=None):
    parser = _common.options(__doc__, "adding_problem")
    positive = _common.positive
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="default: all three")
    parser.add_argument("--steps", type=positive(int), default=200, help="of a sequence; default: 200")
    parser.add_argument("--hidden", type=positive(int), default=32, help="units; default: 32")
    parser.add_argument("--count", type=positive(int), default=10_000, help="sequences; default: 10000")
    parser.add_argument("--epochs", type=positive(int), default=15, help="at most; default: 15")
    parser.add_argument("--enough", type=float, default=0.002, help="stop below this error; default: 0.002")
    parser.add_argument("--batch", type=positive(int), default=50, help="sequences a step; default: 50")
    parser.add_argument("--lr", type=positive(float), default=0.01, help="step size; default: 0.01")
    given = parser.parse_args(arguments)
    if given.steps < 2:
        parser.error(f"--steps must be at least 2, got {given.steps}")
    return given


def main(arguments=None):
    given = parse(arguments)
    rng = _common.start(given)
    data, held_out = draw(given.count, given.steps, rng), draw(1000, given.steps, rng)
    histories = {}
    for cell in given.cells:
        histories[cell] = history = train(cell, given, data, held_out, rng)
        reached = min(history["val_loss"], default=CHANCE)
        print(f"{cell.upper():4} mean squared error {reached:.4f} after {history.epochs} epochs", flush=True)
        if history.stopped == "interrupted":
            break
    print(f"who always answers 1: {CHANCE:.4f}")
    draw_curves(histories, given)
    return histories


if __name__ == "__main__":
    main()
