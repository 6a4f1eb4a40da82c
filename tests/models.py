"""Models and problems for the tests of training."""

import numpy as np

from pyrnn import GRU, LSTM, Dropout, Embedding, LastStep, Linear, Sequential


def classifier(rng=0, p=0.0, **options):
    """(T, B, 3) -> (B, 2)."""
    rng = np.random.default_rng(rng)
    batch_first = options.get("batch_first", False)
    return Sequential(
        GRU(3, 5, rng=rng, **options), LastStep(batch_first), Dropout(p, rng=rng), Linear(5, 2, rng=rng)
    )


def tagger(rng=0, **options):
    """(T, B, 3) -> (T, B, 2)."""
    rng = np.random.default_rng(rng)
    return Sequential(LSTM(3, 5, rng=rng, **options), Linear(5, 2, rng=rng))


def reader(rng=0):
    """Tokens (T, B) -> (T, B, 7)."""
    rng = np.random.default_rng(rng)
    return Sequential(Embedding(7, 4, rng=rng), GRU(4, 5, rng=rng), Linear(5, 7, rng=rng))


def sequences(count=20, steps=6, seed=0):
    """Arrays (T, N, 3), and the class of each sequence (N,)."""
    x = np.random.default_rng(seed).standard_normal((steps, count, 3)).astype(np.float32)
    return x, (x[..., 0].sum(0) > 0).astype(int)


def ragged(count=20, longest=9, seed=0):
    """A list of arrays (T_i, 3), and of the classes of their steps (T_i,)."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, longest + 1, count)
    x = [rng.standard_normal((length, 3)).astype(np.float32) for length in lengths]
    return x, [(part[:, 0] > 0).astype(int) for part in x]


def same(first, second):
    """Whether two mappings hold the same bits."""
    assert list(first) == list(second)
    return all(np.array_equal(first[name], second[name]) for name in first)


class Scale:
    """A model of one's own: y = w * x, one float64 weight, whatever the shape of x."""

    def __init__(self, w=1.0):
        self.params = {"w": np.array([w])}
        self.seen = []  # the inputs of its training

    def __call__(self, x):
        return self.params["w"] * x

    def vjp(self, x):
        self.seen.append(x.copy())
        return self(x), lambda dy: {"w": np.array([(dy * x).sum()])}


class Descent:
    """An optimizer of one's own, for such a model."""

    def __init__(self, model, lr=0.1):
        self.model, self.lr, self.steps = model, lr, 0

    def step(self, grads):
        self.steps += 1
        for name, g in grads.items():
            self.model.params[name] -= self.lr * g
