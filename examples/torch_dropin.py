"""Train a PyTorch model, and the same model with one line more that puts pyrnn's kernels under it.

    python examples/torch_dropin.py                    # handwritten digits, pixel by pixel, about a minute
    python examples/torch_dropin.py --cell LSTM --hidden 128

The line is ``pyrnn.torch.accelerate(model)``. Both runs begin with the same weights and see the same batches,
so that the loss curves are the same but for rounding, and the program prints the time of both. This training
amplifies rounding, some tenfold every 20 steps once it learns: PyTorch itself parts as fast from a run with
another last bit in one weight. In float64 the curves agree for the steps shown; ``--float32`` and
more epochs let them part. The digits are the 1797 of the UCI repository that scikit-learn carries, read as
sequences of 64 grey values. Needs PyTorch. Picture: OUT/torch_dropin.png.
"""

import time

import _common

try:
    import torch
    from sklearn.datasets import load_digits
except ImportError as error:
    raise SystemExit(f"{error.name} is missing; install it with pip") from error

import pyrnn.torch


class Reader(torch.nn.Module):
    """A recurrent layer over the pixels, and a class from its last output."""

    def __init__(self, cell, hidden):
        super().__init__()
        self.rnn = getattr(torch.nn, cell)(1, hidden, batch_first=True)
        self.head = torch.nn.Linear(hidden, 10)

    def forward(self, x):
        y, _ = self.rnn(x)
        return self.head(y[:, -1])


def load(dtype):
    """Sequences (N, 64, 1) and classes (N,): the first 1500 to train on, the others held out."""
    pixels, classes = load_digits(return_X_y=True)
    x = torch.tensor(pixels / 16, dtype=dtype)[:, :, None]
    y = torch.tensor(classes)
    return (x[:1500], y[:1500]), (x[1500:], y[1500:])


def train(name, accelerated, given, data):
    """The loss of every step, and the seconds that training took."""
    torch.manual_seed(given.seed)
    model = Reader(given.cell, given.hidden).to(data[0].dtype)
    if accelerated:
        pyrnn.torch.accelerate(model)
    optimizer = torch.optim.Adam(model.parameters(), given.lr)
    x, y = data
    batches = [b for _ in range(given.epochs) for b in torch.randperm(len(x)).split(given.batch)]
    losses, start = [], time.perf_counter()
    with _common.training(len(batches), name) as bar:
        for batch in batches:
            loss = torch.nn.functional.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
            bar.update()
    return model, losses, time.perf_counter() - start


def draw_curves(runs, given):
    figure = _common.Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for (name, (_, losses, seconds)), style in zip(runs.items(), ("-", "--"), strict=True):
        ax.plot(losses, style, label=f"{name}: {seconds:.1f} s")
    ax.set(xlabel="step", ylabel="cross entropy", title=f"{given.cell}, {given.hidden} units, 64 steps")
    ax.legend()
    _common.save(figure, given.out / "torch_dropin.png")


def parse(arguments=None):
    parser = _common.options(__doc__, "torch_dropin")
    positive = _common.positive
    parser.add_argument("--cell", choices=("GRU", "LSTM", "RNN"), default="GRU", help="default: GRU")
    parser.add_argument("--hidden", type=positive(int), default=64, help="units; default: 64")
    parser.add_argument("--epochs", type=positive(int), default=5, help="default: 5")
    parser.add_argument("--batch", type=positive(int), default=32, help="sequences a step; default: 32")
    parser.add_argument("--lr", type=positive(float), default=3e-3, help="step size; default: 0.003")
    parser.add_argument("--float32", action="store_true", help="compute in float32")
    return parser.parse_args(arguments)


def main(arguments=None):
    given = parse(arguments)
    _common.start(given)
    if given.threads:
        torch.set_num_threads(given.threads)
    data, (x, y) = load(torch.float32 if given.float32 else torch.float64)
    runs = {
        name: train(name, accelerated, given, data)
        for name, accelerated in (("torch.nn", False), ("pyrnn.torch", True))
    }
    for name, (model, losses, seconds) in runs.items():
        with torch.no_grad():
            right = (model(x).argmax(1) == y).float().mean().item()
        print(f"{name:11}  {seconds:6.1f} s  loss {losses[-1]:.4f}  held out {100 * right:.1f} % right")
    (_, theirs, slow), (_, ours, fast) = runs.values()
    apart = max((abs(a - b) for a, b in zip(theirs, ours, strict=False)), default=0.0)
    print(f"{slow / fast:.1f} times as fast; the loss curves are never further apart than {apart:.1e}")
    draw_curves(runs, given)
    return runs


if __name__ == "__main__":
    main()
