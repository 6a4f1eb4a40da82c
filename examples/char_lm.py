"""Train a character language model on a text, and let it write.

    python examples/char_lm.py                                  # the Python documentation, about a minute
    python examples/char_lm.py --text FILE --epochs 4           # any other text

Embedding -> LSTM, GRU or RNN -> dropout -> Linear -> softmax cross entropy, trained by `fit` with Adam and
truncated backpropagation through time: the text is cut into parallel streams, and the state is carried from
one piece of a stream to the next. A call of `fit` takes a stretch of the streams, of so many pieces; between
stretches the last tenth of the text, which is held out, measures what was learned. The best model goes to
OUT/model.safetensors, the loss curve to OUT/loss.png. Ctrl-C stops early and keeps the best model.
"""

import argparse
import copy
import json
import math
import time
from pathlib import Path
from typing import Any

import _common
import numpy as np

import pyrnn
from pyrnn import reference

try:
    import safetensors  # noqa: F401  # for pyrnn.save
    from tqdm import tqdm
except ImportError as error:
    raise SystemExit(f'{error.name} is missing; install it with: pip install "pyrnn[examples]"') from error

CELLS = {"lstm": pyrnn.LSTM, "gru": pyrnn.GRU, "rnn": pyrnn.RNN}
STRETCH = 50  # pieces of a call of fit, at most
WARM_UP = 100  # steps until the learning rate is at its peak


class Text:
    """A text as numbers, cut into a part to train on and a part held out."""

    def __init__(self, text: str) -> None:
        self.vocabulary = "".join(sorted(set(text)))
        index = {character: code for code, character in enumerate(self.vocabulary)}
        codes = np.array([index[character] for character in text], np.int32)
        self.train, self.held_out = np.split(codes, [len(codes) * 9 // 10])

    def decode(self, codes: list[int]) -> str:
        return "".join(self.vocabulary[code] for code in codes)


def read_text(path: Path | None) -> str:
    if path is not None:
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SystemExit(f"cannot read --text {path}: {error}") from error
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def columns(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a text into parallel streams: inputs (T, count), next characters, and the streams' lengths."""
    steps = -(-(len(codes) - 1) // count)
    padded = np.zeros(steps * count + 1, codes.dtype)
    padded[: len(codes)] = codes
    inputs, targets = padded[:-1].reshape(count, steps).T, padded[1:].reshape(count, steps).T
    return inputs, targets, np.clip(len(codes) - 1 - steps * np.arange(count), 0, steps)


def build(options: argparse.Namespace, symbols: int, rng: np.random.Generator) -> pyrnn.Sequential:
    return pyrnn.Sequential(
        pyrnn.Embedding(symbols, options.embedding, rng=rng),
        CELLS[options.cell](
            options.embedding, options.hidden, options.layers, dropout=options.dropout, rng=rng
        ),
        pyrnn.Dropout(options.dropout, rng=rng),
        pyrnn.Linear(options.hidden, symbols, rng=rng),
    )


class Training:
    """Runs the stretches, watches the held-out text, keeps the best model."""

    def __init__(
        self, network: pyrnn.Sequential, text: Text, options: argparse.Namespace, rng: np.random.Generator
    ) -> None:
        self.network, self.options, self.rng = network, options, rng
        self.inputs, self.targets, lengths = columns(text.train, options.batch_size)
        whole = max(1, int(lengths.min()))  # the steps that every stream has
        self.inputs, self.targets = self.inputs[:whole], self.targets[:whole]
        # Of a long text, more streams and not longer ones: memory is that of a batch of them.
        self.held_out = columns(
            text.held_out, min(max(64, len(text.held_out) // 1024), len(text.held_out) - 1)
        )
        self.vocabulary = text.vocabulary
        self.start, self.elapsed = time.perf_counter(), 0.0
        self.adam = pyrnn.Adam(network, lr=self._rate)
        self.losses: list[tuple[int, float]] = []  # steps of a stretch, and its mean loss
        self.history: list[tuple[int, float]] = []  # characters seen, held-out nats a character
        self.best: tuple[float, dict[str, np.ndarray]] = (math.inf, {})  # held-out nats, parameters
        self.seconds = 0.0  # of training, without the evaluations
        self.position = len(self.inputs)  # in the streams; at their end another epoch begins

    @property
    def steps(self) -> int:
        return self.adam.steps

    @property
    def characters(self) -> int:
        """How many were trained on."""
        return self.steps * min(self.options.seq_len, len(self.inputs)) * self.options.batch_size

    def _measured(self) -> int:
        """How many characters had been trained on when the held-out text was last measured."""
        return self.history[-1][0] if self.history else 0

    def run(self) -> None:
        """Train until the budget is spent, or Ctrl-C."""
        self.start = time.perf_counter()
        layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        with tqdm(total=1.0, bar_format=layout) as bar:
            try:
                while self.progress(self.steps) < 1 and self._stretch(bar):
                    done = self.progress(self.steps)
                    bar.update(min(done, 1.0) - bar.n)
                    if done >= (len(self.history) + 1) / self.options.evaluations:
                        self.evaluate()
                    self._show(bar)
                if self.progress(self.steps) >= 1 and self.characters > self._measured():
                    self.evaluate()  # minutes ended after a stretch that had seemed to end before them
            except pyrnn.DivergenceError as error:
                bar.write(str(error))
            except KeyboardInterrupt:
                bar.write("stopped by Ctrl-C")
        if not self.history:
            self.evaluate()
        self.elapsed = time.perf_counter() - self.start

    def progress(self, steps: int) -> float:
        """The share of the budget that is spent: 1 when the first of epochs, steps and minutes is."""
        return max(steps / self._steps(), self._minutes())

    def _steps(self) -> float:
        """How many steps there may be."""
        o = self.options
        epochs = max(1, round(o.epochs * len(self.inputs) / o.seq_len)) if o.epochs else math.inf
        return min(o.steps or math.inf, epochs)

    def _minutes(self) -> float:
        """The share of the time that is over."""
        return (
            (time.perf_counter() - self.start) / (60 * self.options.minutes) if self.options.minutes else 0.0
        )

    def _rate(self, steps: int) -> float:
        """Linear warm-up, then half a cosine down to a fiftieth."""
        cosine = (1 + math.cos(math.pi * min(1.0, self.progress(steps)))) / 2
        return self.options.lr * min(1.0, (steps + 1) / WARM_UP) * (0.02 + 0.98 * cosine)

    def _pieces(self) -> int:
        """Steps until the held-out text is to be measured, or a few if that is far away."""
        share = (len(self.history) + 1) / self.options.evaluations
        pieces = min(STRETCH, share * self._steps() - self.steps)
        if self.options.minutes:
            left = 60 * self.options.minutes * (share - self._minutes())
            pieces = min(pieces, left * self.steps / self.seconds if self.steps else 5)
        return max(1, math.ceil(pieces))

    def _stretch(self, bar: Any) -> bool:
        """Train on a stretch of the streams; whether to go on."""
        total, length = len(self.inputs), self.options.seq_len
        if total - self.position < length:  # another epoch, cut at other places
            self.position = int(self.rng.integers(max(1, min(length, total - length + 1))))
        pieces = min(self._pieces(), max(1, (total - self.position) // length))
        part = slice(self.position, self.position + pieces * length)
        self.position = part.stop
        begin, steps = time.perf_counter(), self.steps
        history = self.network.fit(
            self.inputs[part],
            self.targets[part],
            loss="cross_entropy",
            optimizer=self.adam,
            batch_size=self.options.batch_size,
            tbptt=length,
            clip_norm=self.options.clip,
            shuffle=False,
            progress=False,
            rng=self.rng,
        )
        self.seconds += time.perf_counter() - begin
        self.losses += [(self.steps - steps, loss) for loss in history.get("loss", [])]
        if history.stopped == "interrupted":
            bar.write("stopped by Ctrl-C")
        return history.stopped != "interrupted"

    def evaluate(self) -> None:
        """Measure the held-out text, and keep and save the model if it is the best so far."""
        inputs, targets, lengths = self.held_out
        found = self.network.evaluate(inputs, targets, loss="cross_entropy", batch_size=64, lengths=lengths)
        nats = math.inf if math.isnan(found["loss"]) else found["loss"]  # any other model is better
        if not self.best[1] or nats < self.best[0]:
            told = {"vocabulary": json.dumps(self.vocabulary), "held_out_nats": f"{nats:.6f}"}
            pyrnn.save(self.network, self.options.out / "model.safetensors", metadata=told)
            self.best = nats, self.network.state_dict()
        self.history.append((self.characters, nats))

    def _show(self, bar: Any) -> None:
        held_out = f"{self.history[-1][1] / math.log(2):.3f}" if self.history else "?"
        loss, speed = self.losses[-1][1], self.characters / self.seconds
        bar.set_postfix_str(
            f"loss {loss:.3f} nats, held out {held_out} bits/char, {speed:,.0f} chars/s", False
        )


def plot(training: Training, path: Path) -> None:
    figure = _common.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    if training.losses:
        steps, means = np.array(training.losses).T
        seen = (np.cumsum(steps) - steps / 2) * training.characters / max(1, training.steps)
        axes.plot(seen / 1e6, means, label="training", linewidth=1)
    axes.plot(*zip(*((c / 1e6, nats) for c, nats in training.history), strict=True), "o-", label="held out")
    axes.set(xlabel="million characters seen", ylabel="nats per character", title="Character language model")
    axes.grid(alpha=0.3)
    axes.legend()
    with _common.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def sample(network: pyrnn.Sequential, text: Text, length: int, temperature: float, seed: int) -> str:
    """Let the network write: each character is drawn from its prediction, then fed back as its input."""
    embedding, rnn, _, linear = network
    rng, stream = np.random.default_rng(seed), rnn.stream(batch_size=1)
    code, written = int(text.held_out[0]), []
    for _ in range(length):
        logits = linear(stream(embedding([code])))[0].astype(np.float64)
        p = np.exp((logits - logits.max()) / temperature)
        code = int(rng.choice(len(p), p=p / p.sum()))
        written.append(code)
    return text.decode(written)


class ReferenceNetwork:
    """A network whose recurrent layers the NumPy reference computes, to compare with."""

    def __init__(self, network: pyrnn.Sequential, cell: str) -> None:
        self.network, self.params = network, network.params
        self.cell = reference.cells[{"rnn": "rnn_tanh"}.get(cell, cell)]

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        return self.network(codes)

    def vjp(self, codes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Any]:
        embedding, rnn, dropout, linear = self.network
        x, pull_embedding = embedding.vjp(codes)
        y, _, tape = reference.stack_forward(self.cell, x, None, rnn.params)
        kept, pull_dropout = dropout.vjp(y, rng)
        logits, pull_linear = linear.vjp(kept)

        def pull(dlogits: np.ndarray) -> dict[str, np.ndarray]:
            dkept, of_linear = pull_linear(dlogits)
            dx, _, of_rnn = reference.stack_backward(self.cell, tape, pull_dropout(dkept)[0])
            found = {0: pull_embedding(dx)[1], 1: of_rnn, 3: of_linear}
            return {f"{i}.{name}": g for i, grads in found.items() for name, g in grads.items()}

        return logits, pull


def time_reference(training: Training, cell: str, steps: int = 5) -> dict[str, tuple[float, list[float]]]:
    """Seconds of a training step on one thread, and the losses, with pyrnn and with the NumPy reference."""
    threads = pyrnn.get_num_threads()
    pyrnn.set_num_threads(1)
    x, y = (array[: training.options.seq_len] for array in (training.inputs, training.targets))
    found = {}
    for name in ("pyrnn", "NumPy reference"):
        network = copy.deepcopy(training.network)
        ends = [time.perf_counter()]
        history = pyrnn.fit(
            network if name == "pyrnn" else ReferenceNetwork(network, cell),
            x,
            y,
            loss="cross_entropy",
            optimizer=pyrnn.Adam(network, lr=training.options.lr),
            batch_size=training.options.batch_size,
            clip_norm=training.options.clip,
            epochs=steps,
            progress=False,
            callbacks=[lambda epoch, numbers: ends.append(time.perf_counter())],  # noqa: B023
            shuffle=False,
            rng=0,
        )
        found[name] = float(np.diff(ends).min()), history["loss"]
    pyrnn.set_num_threads(threads)
    return found


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = _common.options(__doc__, "char_lm")
    add, count, number = parser.add_argument, _common.positive(int), _common.positive(float)
    add("--text", type=Path, metavar="FILE", help="UTF-8 text to learn (default: the Python documentation)")
    add("--cell", choices=CELLS, default="lstm", help="default: lstm")
    add("--embedding", type=count, default=64, help="numbers per character at the input (default: 64)")
    add("--hidden", type=count, default=256, help="units a layer (default: 256)")
    add("--layers", type=count, default=1, help="default: 1")
    add("--dropout", type=share, default=0.1, help="after every recurrent layer (default: 0.1)")
    add("--seq-len", type=count, default=64, help="steps backpropagated through (default: 64)")
    add("--batch-size", type=count, default=32, help="parallel streams (default: 32)")
    add("--lr", type=number, default=1e-2, help="peak learning rate (default: 1e-2)")
    add("--clip", type=number, default=1.0, help="largest norm of the gradients (default: 1)")
    add("--epochs", type=number, help="stop after so many passes over the text,")
    add("--minutes", type=number, help="... so many minutes (default: 1, if neither of the others is given),")
    add("--steps", type=count, help="... or so many steps, whichever comes first")
    add("--evaluations", type=count, default=10, help="how often to measure the held-out text (default: 10)")
    add("--sample", type=int, default=400, metavar="N", help="characters to write at the end (default: 400)")
    add("--temperature", type=number, default=0.8, help="below 1: bolder, above: wilder (default: 0.8)")
    add("--time-reference", action="store_true", help="also time the NumPy reference")
    options = parser.parse_args(argv)
    if not (options.epochs or options.minutes or options.steps):
        options.minutes = 1.0
    return options


def main(argv: list[str] | None = None) -> Training:
    options = parse(argv)
    text = Text(read_text(options.text))
    if len(text.held_out) < 2 or len(text.train) <= options.batch_size:
        raise SystemExit(f"the text is too short: {len(text.train) + len(text.held_out)} characters")
    rng = _common.start(options)
    network = build(options, len(text.vocabulary), rng)
    print(f"{len(text.train):,} characters, {len(text.held_out):,} held out, {len(text.vocabulary)} symbols")
    print(f"{network[1]!r}: {network.params.size:,} parameters with embedding and output")
    training = Training(network, text, options, rng)
    if options.time_reference:
        fast, slow = (seconds for seconds, _ in time_reference(training, options.cell).values())
        print(f"training step on one thread: {fast * 1e3:.1f} ms, ", end="")
        print(f"with the NumPy reference {slow * 1e3:.1f} ms: {slow / fast:.1f} times as fast")
    training.run()
    network.load_state_dict(training.best[1])
    plot(training, options.out / "loss.png")
    if options.sample > 0:
        written = sample(network, text, options.sample, options.temperature, options.seed)
        print("-" * 72, written, "-" * 72, sep="\n")
    print(f"held out: {training.best[0]:.4f} nats/char = {training.best[0] / math.log(2):.4f} bits/char")
    print(
        f"{training.characters:,} characters in {training.elapsed:.1f} s with evaluations, "
        f"{training.characters / max(training.seconds, 1e-9):,.0f} chars/s in training"
    )
    print(f"wrote {options.out / 'model.safetensors'} and {options.out / 'loss.png'}")
    return training


if __name__ == "__main__":
    main()
