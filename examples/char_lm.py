"""Train a character language model on a text, and let it write.

    python examples/char_lm.py                                  # the Python documentation, about a minute
    python examples/char_lm.py --text FILE --epochs 4           # any other text

Embedding -> LSTM, GRU or RNN -> dropout -> Linear -> softmax cross entropy, trained by Adam with truncated
backpropagation through time: the text is cut into parallel streams, and the state is carried from one piece
of a stream to the next. The last tenth of the text is held out, and measures what was learned. The best model
goes to OUT/model.safetensors, the loss curve to OUT/loss.png. Ctrl-C stops early and keeps the best model.
"""

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # NumPy's products here are small: its idle threads would only spin on the cores that pyrnn's compute on.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import pyrnn
from pyrnn import reference

try:
    from matplotlib.figure import Figure
    from safetensors.numpy import save_file
    from tqdm import tqdm
except ImportError as error:
    raise SystemExit(f'{error.name} is missing; install it with: pip install "pyrnn[examples]"') from error

CELLS = {"lstm": pyrnn.LSTM, "gru": pyrnn.GRU, "rnn": pyrnn.RNN}
PADDING = -1  # target of a position that is not there


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


def columns(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut a text into parallel streams: inputs (T, count) and next characters."""
    steps = -(-(len(codes) - 1) // count)
    padded = np.full(steps * count + 1, PADDING, codes.dtype)
    padded[: len(codes)] = codes
    inputs, targets = padded[:-1].reshape(count, steps).T, padded[1:].reshape(count, steps).T
    return np.maximum(inputs, 0), targets


class Network:
    """Embedding -> recurrent layers -> dropout -> Linear."""

    def __init__(self, options: argparse.Namespace, symbols: int, rng: np.random.Generator) -> None:
        self.embedding = pyrnn.Embedding(symbols, options.embedding, rng=rng)
        self.rnn = CELLS[options.cell](
            options.embedding, options.hidden, options.layers, dropout=options.dropout, rng=rng
        )
        self.linear = pyrnn.Linear(options.hidden, symbols, rng=rng)
        self.dropout, self.rng = options.dropout, rng

    @property
    def layers(self) -> dict[str, Any]:
        return {"embedding": self.embedding, "rnn": self.rnn, "linear": self.linear}

    def __call__(self, codes: np.ndarray, state: Any = None) -> tuple[np.ndarray, Any]:
        """Logits (T, B, symbols) of the next characters, and the state after them."""
        y, state = self.rnn(self.embedding(codes), state)
        return self.linear(y), state

    def gradients(self, codes: np.ndarray, targets: np.ndarray, state: Any) -> tuple[float, list[Any], Any]:
        """Loss, gradients of every layer, and the state after the last step."""
        x, pull_embedding = self.embedding.vjp(codes)
        (y, state), pull_rnn = self.rnn.vjp(x, state)
        keep = self._mask(y.shape)
        y = y * keep
        logits, pull_linear = self.linear.vjp(y)
        loss, pull_loss = pyrnn.cross_entropy.vjp(logits, targets, ignore_index=PADDING)
        dy, linear_grads = pull_linear(pull_loss())
        dy *= keep
        dx, _, rnn_grads = pull_rnn(dy)
        return loss, [pull_embedding(dx)[1], rnn_grads, linear_grads], state

    def _mask(self, shape: tuple[int, ...]) -> np.ndarray:
        """Inverted dropout (Srivastava et al. 2014), its rate rounded so that a byte a unit will do."""
        kept = max(1, 256 - round(256 * self.dropout))
        return (self.rng.integers(0, 256, shape, np.uint8) < kept) * np.float32(256 / kept)

    def state_dict(self) -> dict[str, np.ndarray]:
        return {
            f"{prefix}.{name}": array
            for prefix, layer in self.layers.items()
            for name, array in layer.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        for prefix, layer in self.layers.items():
            start = prefix + "."
            layer.load_state_dict(
                {name.removeprefix(start): array for name, array in state.items() if name.startswith(start)}
            )


class ReferenceRnn:
    """The recurrent layers of a network, computed by the NumPy reference, to compare with."""

    def __init__(self, rnn: Any, cell: str) -> None:
        self.params = rnn.params
        self.cell = reference.cells[{"rnn": "rnn_tanh"}.get(cell, cell)]

    def vjp(self, x: np.ndarray, state: Any) -> tuple[tuple[np.ndarray, Any], Callable[..., Any]]:
        pair = isinstance(state, tuple)  # (h, c) or h
        stacked = None if state is None else np.stack(state if pair else [state])
        y, final, tape = reference.stack_forward(self.cell, x, stacked, self.params)
        state = tuple(final) if len(final) > 1 else final[0]
        return (y, state), lambda dy: reference.stack_backward(self.cell, tape, dy)


def train_step(
    network: Network, adam: pyrnn.Adam, codes: np.ndarray, targets: np.ndarray, state: Any, clip: float
) -> tuple[float, Any]:
    loss, grads, state = network.gradients(codes, targets, state)
    pyrnn.clip_grad_norm(grads, clip)
    adam.step(grads)
    return loss, state


class Training:
    """Runs the steps, watches the held-out text, keeps the best model."""

    def __init__(self, network: Network, text: Text, options: argparse.Namespace) -> None:
        self.network, self.options = network, options
        self.inputs, self.targets = columns(text.train, options.batch_size)
        self.held_out = columns(text.held_out, min(64, len(text.held_out) - 1))
        self.vocabulary = text.vocabulary
        self.adam = pyrnn.Adam(list(network.layers.values()), lr=options.lr)
        self.losses: list[float] = []  # of every step
        self.history: list[tuple[int, float]] = []  # characters seen, held-out nats a character
        self.best: tuple[float, dict[str, np.ndarray]] = (math.inf, {})  # held-out nats, parameters
        self.characters, self.seconds = 0, 0.0  # trained on, and the time it took without the evaluations
        self.state: Any = None
        self.start, self.elapsed = time.perf_counter(), 0.0

    def run(self) -> None:
        """Train until the budget is spent, or Ctrl-C."""
        self.start = time.perf_counter()
        layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        with tqdm(total=1.0, bar_format=layout) as bar:
            try:
                for codes, targets in self._pieces():
                    self._step(codes, targets)
                    done = self.progress()
                    bar.update(min(done, 1.0) - bar.n)
                    if done >= (len(self.history) + 1) / self.options.evaluations:
                        self.evaluate()
                    self._show(bar)
                    if done >= 1:
                        break
            except KeyboardInterrupt:
                bar.write("stopped by Ctrl-C")
        if not self.history:
            self.evaluate()
        self.elapsed = time.perf_counter() - self.start

    def progress(self) -> float:
        """The share of the budget that is spent: 1 when the first of epochs, steps and minutes is."""
        steps, o = len(self.losses), self.options
        spent = [steps / o.steps] if o.steps else []
        if o.epochs:
            spent.append(steps / max(1, round(o.epochs * len(self.inputs) / o.seq_len)))
        if o.minutes:
            spent.append((time.perf_counter() - self.start) / (60 * o.minutes))
        return max(spent)

    def evaluate(self) -> None:
        """Measure the held-out text, and keep and save the model if it is the best so far."""
        inputs, targets = self.held_out
        total, state = 0.0, None
        for t in range(0, len(inputs), 256):
            logits, state = self.network(inputs[t : t + 256], state)
            piece = targets[t : t + 256]
            count = np.count_nonzero(piece != PADDING)
            total += count * pyrnn.cross_entropy(logits, piece, ignore_index=PADDING)
        nats = total / np.count_nonzero(targets != PADDING)
        nats = math.inf if math.isnan(nats) else nats  # diverged: any other model is better
        if not self.best[1] or nats < self.best[0]:
            state = self.network.state_dict()
            save_model(self.options, self.vocabulary, state, nats)
            self.best = nats, state
        self.history.append((self.characters, nats))

    def _pieces(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pieces of seq_len steps, epoch after epoch, each starting with no state and cut at other places."""
        length, total = self.options.seq_len, len(self.inputs)
        while True:
            self.state = None
            first = int(self.network.rng.integers(max(1, min(length, total - length + 1))))
            for t in range(first, max(first + 1, total - length + 1), length):
                yield self.inputs[t : t + length], self.targets[t : t + length]

    def _step(self, codes: np.ndarray, targets: np.ndarray) -> None:
        begin, steps = time.perf_counter(), len(self.losses)
        # Linear warm-up over 100 steps, then half a cosine down to a fiftieth.
        cosine = (1 + math.cos(math.pi * min(1.0, self.progress()))) / 2
        self.adam.lr = self.options.lr * min(1.0, (steps + 1) / 100) * (0.02 + 0.98 * cosine)
        loss, self.state = train_step(self.network, self.adam, codes, targets, self.state, self.options.clip)
        self.losses.append(loss)
        self.characters += codes.size
        self.seconds += time.perf_counter() - begin

    def _show(self, bar: Any) -> None:
        held_out = f"{self.history[-1][1] / math.log(2):.3f}" if self.history else "?"
        loss, speed = np.mean(self.losses[-50:]), self.characters / self.seconds
        bar.set_postfix_str(
            f"loss {loss:.3f} nats, held out {held_out} bits/char, {speed:,.0f} chars/s", False
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` in one move: `path` is never half written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_model(options: argparse.Namespace, vocabulary: str, state: dict[str, Any], nats: float) -> None:
    described = {key: str(getattr(options, key)) for key in ("cell", "embedding", "hidden", "layers")}
    described |= {"vocabulary": json.dumps(vocabulary), "held_out_nats": f"{nats:.6f}"}
    with replacing(options.out / "model.safetensors") as path:
        save_file(state, path, metadata=described)


def plot(training: Training, path: Path) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    losses = np.array(training.losses)
    width = max(1, len(losses) // 200)
    means = losses[: len(losses) // width * width].reshape(-1, width).mean(1)
    seen = (np.arange(len(means)) + 0.5) * width * training.characters / max(1, len(losses))
    axes.plot(seen / 1e6, means, label="training", linewidth=1)
    axes.plot(*zip(*((c / 1e6, nats) for c, nats in training.history), strict=True), "o-", label="held out")
    axes.set(xlabel="million characters seen", ylabel="nats per character", title="Character language model")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def sample(network: Network, text: Text, length: int, temperature: float, seed: int) -> str:
    """Let the network write: each character is drawn from its prediction, then fed back as its input."""
    rng, stream = np.random.default_rng(seed), network.rnn.stream(batch_size=1)
    code, written = int(text.held_out[0]), []
    for _ in range(length):
        logits = network.linear(stream(network.embedding([code])))[0].astype(np.float64)
        p = np.exp((logits - logits.max()) / temperature)
        code = int(rng.choice(len(p), p=p / p.sum()))
        written.append(code)
    return text.decode(written)


def time_reference(network: Network, options: argparse.Namespace, training: Training, steps: int = 5) -> str:
    """Time training steps on one thread, with pyrnn and with the NumPy reference for the recurrent layers."""
    threads = pyrnn.get_num_threads()
    pyrnn.set_num_threads(1)
    codes, targets = training.inputs[: options.seq_len], training.targets[: options.seq_len]
    best = {}
    for name in ("pyrnn", "NumPy reference"):
        other = copy.deepcopy(network)
        adam = pyrnn.Adam(list(other.layers.values()), lr=options.lr)
        if name != "pyrnn":
            other.rnn = ReferenceRnn(other.rnn, options.cell)
        seconds = []
        for _ in range(steps):
            begin = time.perf_counter()
            train_step(other, adam, codes, targets, None, options.clip)
            seconds.append(time.perf_counter() - begin)
        best[name] = min(seconds)
    pyrnn.set_num_threads(threads)
    fast, slow = best.values()
    return (
        f"training step on one thread: {fast * 1e3:.1f} ms, with the NumPy reference {slow * 1e3:.1f} ms: "
        f"{slow / fast:.1f} times as fast"
    )


def positive(kind: type) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"must be positive, got {text}")
        return value

    convert.__name__ = kind.__name__  # argparse says "invalid int value"
    return convert


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text}")
    return value


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, count, number = parser.add_argument, positive(int), positive(float)
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
    add("--seed", type=int, default=0, help="default: 0")
    add("--threads", type=count, help="default: all cores this process may use")
    add("--out", type=Path, default=Path("char_lm"), metavar="DIR", help="default: char_lm")
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
    if options.threads:
        pyrnn.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    network = Network(options, len(text.vocabulary), np.random.default_rng(options.seed))
    size = sum(layer.params.size for layer in network.layers.values())
    print(f"{len(text.train):,} characters, {len(text.held_out):,} held out, {len(text.vocabulary)} symbols")
    print(f"{network.rnn!r}: {size:,} parameters with embedding and output")
    training = Training(network, text, options)
    if options.time_reference:
        print(time_reference(network, options, training))
    training.run()
    network.load_state_dict(training.best[1])
    plot(training, options.out / "loss.png")
    if options.sample > 0:
        print(
            "-" * 72,
            sample(network, text, options.sample, options.temperature, options.seed),
            "-" * 72,
            sep="\n",
        )
    print(f"held out: {training.best[0]:.4f} nats/char = {training.best[0] / math.log(2):.4f} bits/char")
    print(
        f"{training.characters:,} characters in {training.elapsed:.1f} s with evaluations, "
        f"{training.characters / max(training.seconds, 1e-9):,.0f} chars/s in training"
    )
    print(f"wrote {options.out / 'model.safetensors'} and {options.out / 'loss.png'}")
    return training


if __name__ == "__main__":
    main()
