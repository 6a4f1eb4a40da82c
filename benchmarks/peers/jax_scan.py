"""JAX: the formulas in jax.numpy, lax.scan over the steps, jit, gradients by vjp."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..problem import Problem
from ..shapes import Shape
from .base import Arrays, Peer, Run, step_run


class Jax(Peer):
    """XLA's pool has as many threads as there were cores when it was made, and no way to change them.

    So they are bounded from outside: every thread that JAX has started is given n cores to run on. They are
    the ones that compute; where they are as many as the cores, one core makes the call a single thread's.
    Elsewhere than on Linux the peer is absent unless all cores are asked for.
    """

    name = "jax"

    def __init__(self) -> None:
        self._workers: set[int] = set()
        with self._started():
            import jax

            jax.devices()
        self.jax: Any = jax
        self.version = f"jax {jax.__version__}"
        self.bounded = hasattr(os, "sched_setaffinity")
        self._cores = sorted(os.sched_getaffinity(0)) if self.bounded else list(range(os.cpu_count() or 1))
        self._threads = len(self._cores)

    @contextlib.contextmanager
    def _started(self) -> Iterator[None]:
        """Take note of the threads that are started inside the block."""
        before = _threads()
        yield
        self._workers |= _threads() - before

    def workers(self) -> set[int]:
        """Those of the threads that are still there."""
        return self._workers & _threads()

    def set_threads(self, n: int) -> None:
        self._threads = n
        if self.bounded:
            for worker in self.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(worker, self._cores[-n:])

    def has(self, cell: str, shape: Shape) -> bool:
        able = self.bounded or self._threads == len(self._cores)
        return able and cell in _CELLS and not (shape.ragged and shape.directions == 2)

    def _ready(self, function: Callable[..., Any], *arguments: Any) -> tuple[Callable[[], Any], Any]:
        """The compiled call of a function, and its first result; the compiler's threads are bounded too."""
        compiled, wait = self.jax.jit(function), self.jax.block_until_ready
        with self._started():
            first = wait(compiled(*arguments))
        self.set_threads(self._threads)
        return lambda: wait(compiled(*arguments)), first

    def inference(self, problem: Problem) -> Run:
        forward = _forward(self.jax, problem)
        call, _ = self._ready(forward, *self._put(_turned(problem.params), problem.x))
        return Run(call, lambda: _named(*call()))

    def training(self, problem: Problem) -> Run:
        forward, vjp = _forward(self.jax, problem), self.jax.vjp

        def train(params: Any, x: Any, dy: Any) -> Any:
            y, pull, state = vjp(forward, params, x, has_aux=True)
            return y, state, *pull(dy)

        call, _ = self._ready(train, *self._put(_turned(problem.params), problem.x, problem.dy))

        def result() -> Arrays:
            y, state, grads, dx = call()
            return _named(y, state) | {
                name: np.asarray(a) for name, a in {"dx": dx, **_turned(grads)}.items()
            }

        return Run(call, result)

    def step(self, problem: Problem) -> Run:
        jax, cell = self.jax, _CELLS[problem.cell]
        params = self._put(*(_turned(problem.params)[name] for name in _NAMES))
        zero = self._put(*(np.zeros((1, problem.shape.H), np.float32) for _ in range(problem.formula.states)))

        def one(state: Any, x: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
            return cell(jax, x @ w_ih + b_ih, state, w_hh, b_hh)

        step_of, wait = jax.jit(one), jax.block_until_ready
        inputs = self._put(*problem.x)
        self._ready(one, zero, inputs[0], *params)

        def fresh() -> Callable[[Any], Any]:
            state = zero

            def step(x_t: Any) -> Any:
                nonlocal state
                state = wait(step_of(state, x_t, *params))
                return state[0]

            return step

        return step_run(fresh, list(inputs))

    def _put(self, *values: Any) -> tuple[Any, ...]:
        return tuple(self.jax.device_put(values))


_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def _turned(params: Any) -> Any:
    """The weights as a program on JAX would hold them: (I, G * H) and (H, G * H)."""
    return {name: a.T if name.startswith("weight") else a for name, a in params.items()}


def _threads() -> set[int]:
    try:
        return {int(name) for name in os.listdir("/proc/self/task")}
    except FileNotFoundError:
        return set()


def _forward(jax: Any, problem: Problem) -> Callable[[Any, Any], Any]:
    """From the parameters and x to y and the final states, each (L * D, B, H)."""
    np_, shape, cell = jax.numpy, problem.shape, _CELLS[problem.cell]
    states, lengths = problem.formula.states, problem.lengths
    valid = None if lengths is None else np.arange(shape.T)[:, None, None] < lengths[:, None]

    def one_way(params: Any, x: Any, end: str) -> Any:
        w_ih, w_hh, b_ih, b_hh = (params[name.removesuffix("_l0") + end] for name in _NAMES)

        def step(state: Any, given: Any) -> Any:
            ax, here = given
            new = cell(jax, ax, state, w_hh, b_hh)
            if here is None:
                return new, new[0]
            new = tuple(np_.where(here, a, b) for a, b in zip(new, state, strict=True))
            return new, np_.where(here, new[0], 0)

        zero = (np_.zeros((shape.B, shape.H), np_.float32),) * states
        return jax.lax.scan(step, zero, (x @ w_ih + b_ih, valid), reverse=end.endswith("reverse"))

    def forward(params: Any, x: Any) -> Any:
        last = []
        for layer in range(shape.layers):
            ends = [f"_l{layer}{suffix}" for suffix in ("", "_reverse")[: shape.directions]]
            found = [one_way(params, x, end) for end in ends]
            last += [state for state, _ in found]
            x = found[0][1] if len(found) == 1 else np_.concatenate([y for _, y in found], 2)
        return x, tuple(np_.stack(parts) for parts in zip(*last, strict=True))

    return forward


def _named(y: Any, state: Any) -> Arrays:
    return {name: np.asarray(a) for name, a in zip("yhc", (y, *state), strict=False)}


def _lstm(jax: Any, ax: Any, state: Any, w: Any, b: Any) -> Any:
    i, f, g, o = jax.numpy.split(ax + state[0] @ w + b, 4, axis=1)
    sigmoid, tanh = jax.nn.sigmoid, jax.numpy.tanh
    c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _gru(jax: Any, ax: Any, state: Any, w: Any, b: Any) -> Any:
    (h,), split = state, jax.numpy.split
    (xr, xz, xn), (hr, hz, hn) = split(ax, 3, axis=1), split(h @ w + b, 3, axis=1)
    z = jax.nn.sigmoid(xz + hz)
    n = jax.numpy.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return ((1 - z) * n + z * h,)


def _gru_before(jax: Any, ax: Any, state: Any, w: Any, b: Any) -> Any:
    (h,), split = state, jax.numpy.split
    H = h.shape[1]
    xrz, xn = split(ax, [2 * H], axis=1)
    r, z = split(jax.nn.sigmoid(xrz + h @ w[:, : 2 * H] + b[: 2 * H]), 2, axis=1)
    n = jax.numpy.tanh(xn + (r * h) @ w[:, 2 * H :] + b[2 * H :])
    return ((1 - z) * n + z * h,)


def _rnn(activation: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda jax, ax, state, w, b: (activation(jax, ax + state[0] @ w + b),)


_CELLS: dict[str, Callable[..., Any]] = {
    "lstm": _lstm,
    "gru": _gru,
    "gru_before": _gru_before,
    "rnn_tanh": _rnn(lambda jax, a: jax.numpy.tanh(a)),
    "rnn_relu": _rnn(lambda jax, a: jax.nn.relu(a)),
}
