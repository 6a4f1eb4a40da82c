"""NumPy as a user would write it: fused gate products, one product of all inputs, vectorised way back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from ..problem import Array, Problem
from ..shapes import Shape
from .base import Arrays, Peer, Run, step_run


class NumPyThreads(Peer):
    """A peer whose products are those of NumPy's BLAS."""

    def __init__(self) -> None:
        self.version = f"numpy {np.__version__}"
        self._pools: Any = None
        try:
            from threadpoolctl import ThreadpoolController
        except ImportError:
            self.bounded = False
            self.version += " (BLAS threads left alone: threadpoolctl is not installed)"
        else:
            self._pools = ThreadpoolController()

    def set_threads(self, n: int) -> None:
        if self._pools is not None:
            self._pools.limit(limits=n, user_api="blas")


class NumPy(NumPyThreads):
    """Weights transposed and biases added up beforehand; one layer in one direction, dense batches."""

    name = "numpy"

    def has(self, cell: str, shape: Shape) -> bool:
        return cell in _CELLS and shape.layers == shape.directions == 1 and not shape.ragged

    def inference(self, problem: Problem) -> Run:
        forward, x = _CELLS[problem.cell](problem).forward, problem.x
        return Run(lambda: forward(x), lambda: _named(*forward(x)[:2]))

    def training(self, problem: Problem) -> Run:
        cell, x, dy = _CELLS[problem.cell](problem), problem.x, problem.dy

        def call() -> Any:
            y, state, saved = cell.forward(x)
            return y, state, cell.backward(x, y, dy, saved)

        def result() -> Arrays:
            y, state, gradients = call()
            named: Arrays = gradients
            return _named(y, state) | named

        return Run(call, result)

    def step(self, problem: Problem) -> Run:
        cell = _CELLS[problem.cell](problem)

        def fresh() -> Callable[[Array], Array]:
            state = cell.zero(1)

            def step(x_t: Array) -> Array:
                nonlocal state
                state, _ = cell.point(x_t @ cell.w + cell.bx, state)
                return state[0]

            return step

        return step_run(fresh, list(problem.x))


def _named(y: Array, state: tuple[Array, ...]) -> Arrays:
    return {"y": y, **{name: a[None] for name, a in zip("hc", state, strict=False)}}


def _sigmoid(a: Array) -> Array:
    return 1 / (1 + np.exp(-a))


class _Cell(ABC):
    """A cell's weights and its loops; a subclass has the formula and its way back, one step each."""

    gates = 1
    states = 1
    shared = 0  # gates, counted from the first, whose two biases only ever occur as a sum

    def __init__(self, problem: Problem) -> None:
        p, H = problem.params, problem.shape.H
        self.H, self.plain_w, self.plain_u = H, p["weight_ih_l0"], p["weight_hh_l0"]
        self.w, self.u = np.ascontiguousarray(self.plain_w.T), np.ascontiguousarray(self.plain_u.T)
        self.bx, self.bh = p["bias_ih_l0"].copy(), p["bias_hh_l0"]
        self.bx[: self.shared * H] += self.bh[: self.shared * H]
        self.rest = self.bh[self.shared * H :]

    def zero(self, B: int) -> tuple[Array, ...]:
        return (np.zeros((B, self.H), np.float32),) * self.states

    @abstractmethod
    def point(self, ax: Array, s: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        """From what the input contributes, (B, G * H), and the states: new states, and what `back` needs."""

    @abstractmethod
    def back(self, saved: Any, h1: Array, ds: tuple[Array, ...]) -> tuple[Array, Array, tuple[Array, ...]]:
        """The gradients of what the input and what h contributed, and of the states."""

    def recurrent_operands(self, before: Array, saved: list[Any]) -> list[tuple[Array, slice]]:
        """What the recurrent weights multiply, (T, B, H), and the columns of the gates that it goes into."""
        return [(before, slice(None))]

    def forward(self, x: Array) -> tuple[Array, tuple[Array, ...], list[Any]]:
        T, B, inputs = x.shape
        ax = (x.reshape(-1, inputs) @ self.w + self.bx).reshape(T, B, -1)
        y, s, saved = np.empty((T, B, self.H), np.float32), self.zero(B), []
        for t in range(T):
            s, kept = self.point(ax[t], s)
            y[t] = s[0]
            saved.append(kept)
        return y, s, saved

    def backward(self, x: Array, y: Array, dy: Array, saved: list[Any]) -> Arrays:
        T, B, inputs = x.shape
        dax = np.empty((T, B, self.gates * self.H), np.float32)
        dah, ds = np.empty_like(dax), self.zero(B)
        for t in reversed(range(T)):
            dax[t], dah[t], ds = self.back(saved[t], y[t], (ds[0] + dy[t], *ds[1:]))
        flat = dax.reshape(T * B, -1)
        before, du = np.concatenate([np.zeros_like(y[:1]), y[:-1]]), np.empty_like(self.plain_u)
        for operand, columns in self.recurrent_operands(before, saved):
            du[columns] = dah[..., columns].reshape(T * B, -1).T @ operand.reshape(T * B, -1)
        return {
            "dx": (flat @ self.plain_w).reshape(x.shape),
            "weight_ih_l0": flat.T @ x.reshape(T * B, inputs),
            "weight_hh_l0": du,
            "bias_ih_l0": flat.sum(0),
            "bias_hh_l0": dah.reshape(T * B, -1).sum(0),
        }


class _Lstm(_Cell):
    gates, states, shared = 4, 2, 4

    def point(self, ax: Array, s: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        (h, c), H = s, self.H
        a = h @ self.u
        a += ax
        gates = _sigmoid(a)
        np.tanh(a[:, 2 * H : 3 * H], out=gates[:, 2 * H : 3 * H])
        new = gates[:, H : 2 * H] * c
        new += gates[:, :H] * gates[:, 2 * H : 3 * H]
        tanh = np.tanh(new)
        return (gates[:, 3 * H :] * tanh, new), (gates, c, tanh)

    def back(self, saved: Any, h1: Array, ds: tuple[Array, ...]) -> tuple[Array, Array, tuple[Array, ...]]:
        (gates, c, tanh), (dh, dc), H = saved, ds, self.H
        i, f, g, o = (gates[:, n * H : (n + 1) * H] for n in range(4))
        dc = dc + dh * o * (1 - tanh * tanh)
        da = gates * (1 - gates)
        da[:, :H] *= dc * g
        da[:, H : 2 * H] *= dc * c
        da[:, 2 * H : 3 * H] = dc * i * (1 - g * g)
        da[:, 3 * H :] *= dh * tanh
        return da, da, (da @ self.plain_u, dc * f)


class _Gru(_Cell):
    gates, shared = 3, 2

    def point(self, ax: Array, s: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        (h,), H = s, self.H
        ah = h @ self.u
        rz = _sigmoid(ax[:, : 2 * H] + ah[:, : 2 * H])
        hn = ah[:, 2 * H :] + self.rest
        n = np.tanh(ax[:, 2 * H :] + rz[:, :H] * hn)
        return (n + rz[:, H:] * (h - n),), (rz, n, hn, h)

    def back(self, saved: Any, h1: Array, ds: tuple[Array, ...]) -> tuple[Array, Array, tuple[Array, ...]]:
        (rz, n, hn, h), (dh,), H = saved, ds, self.H
        r, z = rz[:, :H], rz[:, H:]
        dn = dh * (1 - z) * (1 - n * n)
        drz = rz * (1 - rz)
        drz[:, :H] *= dn * hn
        drz[:, H:] *= dh * (h - n)
        dah = np.concatenate([drz, dn * r], axis=1)
        return np.concatenate([drz, dn], axis=1), dah, (dah @ self.plain_u + dh * z,)


class _GruBefore(_Cell):
    gates, shared = 3, 3

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.u_rz, self.u_n = (np.ascontiguousarray(part) for part in np.split(self.u, [2 * self.H], axis=1))

    def point(self, ax: Array, s: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        (h,), H = s, self.H
        rz = _sigmoid(ax[:, : 2 * H] + h @ self.u_rz)
        rh = rz[:, :H] * h
        n = np.tanh(ax[:, 2 * H :] + rh @ self.u_n)
        return (n + rz[:, H:] * (h - n),), (rz, n, rh, h)

    def back(self, saved: Any, h1: Array, ds: tuple[Array, ...]) -> tuple[Array, Array, tuple[Array, ...]]:
        (rz, n, _, h), (dh,), H = saved, ds, self.H
        r, z = rz[:, :H], rz[:, H:]
        dn = dh * (1 - z) * (1 - n * n)
        drh = dn @ self.plain_u[2 * H :]
        drz = rz * (1 - rz)
        drz[:, :H] *= drh * h
        drz[:, H:] *= dh * (h - n)
        da = np.concatenate([drz, dn], axis=1)
        return da, da, (drz @ self.plain_u[: 2 * H] + drh * r + dh * z,)

    def recurrent_operands(self, before: Array, saved: list[Any]) -> list[tuple[Array, slice]]:
        H = self.H
        return [(before, slice(2 * H)), (np.stack([rh for _, _, rh, _ in saved]), slice(2 * H, 3 * H))]


class _Tanh(_Cell):
    shared = 1

    def point(self, ax: Array, s: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        a = s[0] @ self.u
        a += ax
        return (np.tanh(a, out=a),), None

    def back(self, saved: Any, h1: Array, ds: tuple[Array, ...]) -> tuple[Array, Array, tuple[Array, ...]]:
        da = ds[0] * (1 - h1 * h1)
        return da, da, (da @ self.plain_u,)


class _Relu(_Cell):
    shared = 1

    def point(self, ax: Array, s: tuple[Array, ...]) -> tuple[tuple[Array, ...], Any]:
        a = s[0] @ self.u
        a += ax
        return (np.maximum(a, 0, out=a),), None

    def back(self, saved: Any, h1: Array, ds: tuple[Array, ...]) -> tuple[Array, Array, tuple[Array, ...]]:
        da = ds[0] * (h1 > 0)
        return da, da, (da @ self.plain_u,)


_CELLS: dict[str, type[_Cell]] = {
    "lstm": _Lstm,
    "gru": _Gru,
    "gru_before": _GruBefore,
    "rnn_tanh": _Tanh,
    "rnn_relu": _Relu,
}
