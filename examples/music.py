"""Predict the next chord of Bach's chorales: 88 keys, each of which may sound.

    python examples/music.py --data jsb_chorales.npz                  # GRU, LSTM and RNN: about a minute
    python examples/music.py --data jsb_chorales.npz --cells lstm

The file has the arrays train, valid and test, the rolls (steps of all pieces, 88) of all pieces one after
the other, np.packbits of each step, and train_lengths and so on, the steps of each piece
(Boulanger-Lewandowski et al. 2012). Without --data, pieces are drawn from a few chord progressions: enough to
see it run.

What counts is the negative log-likelihood of a step, in nats, summed over the keys: each is a coin with its
own probability. Bai et al. 2018 (arXiv:1803.01271, table 1) report 8.43 for a GRU, 8.45 for an LSTM and 8.91
for a tanh-RNN. Three regularizers do the work on so few pieces: dropout of the output, one mask for all steps
of the state (recurrent_dropout), and dropout of the recurrent weights (weight_dropout). Pictures:
OUT/loss.png and OUT/roll.png, a piece of the test set and what was expected before each of its steps.
"""

from pathlib import Path

import _common
import numpy as np

import pyrnn

CELLS = {"gru": pyrnn.GRU, "lstm": pyrnn.LSTM, "rnn": pyrnn.RNN}
# Step size, pieces a step, dropout of the state and of the recurrent weights: best in validation
GATED = {"lr": 0.01, "batch": 16, "recurrent": 0.1, "weights": 0.3}
SETTINGS = {"gru": GATED, "lstm": GATED, "rnn": {"lr": 0.003, "batch": 8, "recurrent": 0.2, "weights": 0.0}}
KEYS = 88
PARTS = ("train", "valid", "test")


def read(path):
    """Pieces (steps, 88) of each part."""
    try:
        with np.load(path) as file:
            found = {part: (file[part], file[f"{part}_lengths"]) for part in PARTS}
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"cannot read --data {path}: {error}") from error
    pieces = {}
    for part, (packed, lengths) in found.items():
        roll = np.unpackbits(packed, axis=1)[:, :KEYS].astype(np.float32)
        pieces[part] = np.split(roll, np.cumsum(lengths)[:-1])
    return pieces


def compose(rng):
    """Pieces of each part from three progressions of chords, in any key, each held for one to three steps."""
    progressions = ([0, 5, 7, 0], [0, 9, 5, 7], [0, 7, 9, 5])
    chord = np.array([0, 4, 7, 12])

    def piece():
        home, degrees = rng.integers(36, 48), progressions[rng.integers(3)]
        roots = np.repeat(np.resize(degrees, 12), rng.integers(1, 4, 12))
        roll = np.zeros((len(roots), KEYS), np.float32)
        roll[np.arange(len(roots))[:, None], home + roots[:, None] + chord - 21] = 1
        return roll

    return {part: [piece() for _ in range(count)] for part, count in zip(PARTS, (60, 20, 20), strict=True)}


def next_steps(pieces):
    return [piece[:-1] for piece in pieces], [piece[1:] for piece in pieces]


def settings(cell, given):
    """What a cell is trained with: what was given, else its own."""
    own = SETTINGS[cell]
    return {name: own[name] if getattr(given, name) is None else getattr(given, name) for name in own}


def make(cell, given, use, rng):
    layer = CELLS[cell](
        KEYS, given.hidden, recurrent_dropout=use["recurrent"], weight_dropout=use["weights"], rng=rng
    )
    head = pyrnn.Dropout(given.dropout, rng=rng), pyrnn.Linear(given.hidden, KEYS, rng=rng)
    return pyrnn.Sequential(layer, *head)


def train(cell, given, pieces, rng):
    use = settings(cell, given)
    model = make(cell, given, use, rng)
    steps = given.epochs * -(-len(pieces["train"]) // use["batch"])
    history = pyrnn.fit(
        model,
        *next_steps(pieces["train"]),
        loss="binary_cross_entropy",
        optimizer=pyrnn.Adam(model, lr=pyrnn.schedules.Cosine(use["lr"], steps, 1e-5)),
        clip_norm=1 / KEYS,  # the loss is a mean over the keys: 1 for the sum
        epochs=given.epochs,
        batch_size=use["batch"],
        validation_data=next_steps(pieces["valid"]),
        rng=rng,
    )
    return model, history


def nats(model, pieces):
    """Negative log-likelihood of a step: the loss is a mean over the keys."""
    return KEYS * pyrnn.evaluate(model, *next_steps(pieces), loss="binary_cross_entropy")["loss"]


def draw_losses(histories, given):
    figure = _common.Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for cell, history in histories.items():
        ax.plot(KEYS * np.array(history["val_loss"]), label=cell.upper())
    ax.set(xlabel="epoch", ylabel="nats a step, validation", title="The next chord")
    ax.legend()
    _common.save(figure, given.out / "loss.png")


def draw_roll(model, piece, given):
    """A piece, and the probability of each key before each step."""
    (logits,) = pyrnn.predict(model, [piece[:-1]])
    figure = _common.Figure(figsize=(9, 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, sharey=True)
    used = np.flatnonzero(piece.any(0))
    for ax, values, title in (
        (above, piece[1:], "what sounds"),
        (below, 1 / (1 + np.exp(-logits)), "what was expected"),
    ):
        image = ax.imshow(values.T, origin="lower", aspect="auto", vmin=0, vmax=1, cmap="viridis")
        ax.set(ylabel="key", title=title, ylim=(used[0] - 2, used[-1] + 2))
    below.set_xlabel("step")
    figure.colorbar(image, ax=[above, below], label="probability")
    _common.save(figure, given.out / "roll.png")


def parse(arguments=None):
    parser = _common.options(__doc__, "music")
    positive = _common.positive
    parser.add_argument("--data", type=Path, metavar="FILE", help="NPZ, see above; default: composed")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS), help="default: all three")
    parser.add_argument("--hidden", type=positive(int), default=200, help="units; default: 200")
    parser.add_argument("--epochs", type=positive(int), default=60, help="default: 60")
    parser.add_argument("--dropout", type=float, default=0.3, help="of the output; default: 0.3")
    parser.add_argument("--lr", type=positive(float), help="first step size; default: the cell's own")
    parser.add_argument("--batch", type=positive(int), help="pieces a step; default: the cell's own")
    parser.add_argument("--recurrent", type=float, help="dropout of the state; default: the cell's own")
    parser.add_argument("--weights", type=float, help="dropout of recurrent weights; default: the cell's own")
    return parser.parse_args(arguments)


def main(arguments=None):
    given = parse(arguments)
    rng = _common.start(given)
    pieces = compose(rng) if given.data is None else read(given.data)
    reached, histories, best = {}, {}, None
    for cell in given.cells:
        model, histories[cell] = train(cell, given, pieces, rng)
        valid, reached[cell] = nats(model, pieces["valid"]), nats(model, pieces["test"])
        print(f"{cell.upper():4} nats a step: validation {valid:.3f}, test {reached[cell]:.3f}", flush=True)
        if best is None or valid < best[0]:
            best = valid, model
        if histories[cell].stopped == "interrupted":
            break
    draw_losses(histories, given)
    draw_roll(best[1], pieces["test"][0], given)
    return reached


if __name__ == "__main__":
    main()
