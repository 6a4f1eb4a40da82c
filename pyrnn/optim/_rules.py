"""The optimizers: their numbers, what they keep, and the formula of csrc/update.h that they choose."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import _check, _core
from .._layer import Layer
from ._optimizer import Optimizer, Rate, Rule
from ._read import ABOVE_ZERO, BELOW_ONE, number


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, in the form and with the defaults of PyTorch.

    ::

        g = g + weight_decay * p
        u = momentum * u + g                           with momentum
        p = p - lr * u,   p - lr * (g + momentum * u)  with nesterov,   p - lr * g  without momentum

    Parameters
    ----------
    layers : Layer or sequence of Layer
        What to train, a `Sequential` among them. The layers are updated in place.
    lr : float or callable, default 1e-3
        Learning rate, at least 0, or a schedule: ``lr(k)`` is the rate after k steps; see `pyrnn.schedules`.
    momentum : float, default 0.0
        Share of the velocity u that a step keeps, in [0, 1).
    nesterov : bool, default False
        Whether to step by the gradient and what will be left of the velocity after it; needs momentum.
    weight_decay : float, default 0.0
        L2 penalty, at least 0, of every parameter, biases included.

    Raises
    ------
    TypeError
        `layers` is no layer or sequence of layers, or a number none.
    ValueError
        A layer comes twice, a number is out of range, or `nesterov` is without momentum.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep learning",
    ICML 2013: u here is their velocity over -lr.

    Examples
    --------
    >>> import pyrnn
    >>> layer = pyrnn.Linear(1, 1, bias=False)
    >>> layer.params["weight"] = [[1.0]]
    >>> sgd = SGD(layer, lr=0.5, momentum=0.9)
    >>> for _ in range(2):
    ...     sgd.step({"weight": np.array([[1.0]])})
    >>> round(float(layer.params["weight"][0, 0]), 6)  # 1 - 0.5 * 1 - 0.5 * 1.9
    -0.45
    """

    _kind = _core.SGD

    def __init__(
        self,
        layers: Layer | Sequence[Layer],
        lr: Rate = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self._set(momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
        super().__init__(layers, lr, ["velocity"] if self._momentum else [])

    def _options(self) -> dict[str, Any]:
        return {
            "momentum": self._momentum,
            "nesterov": self._nesterov,
            "weight_decay": self._weight_decay,
        }

    def _set(self, *, momentum: float, nesterov: bool, weight_decay: float) -> None:
        checked = (
            number(momentum, "momentum", 0.0, BELOW_ONE),
            _check.flag(nesterov, "nesterov"),
            number(weight_decay, "weight_decay", 0.0, math.inf),
        )
        if checked[1] and not checked[0]:
            raise ValueError(f"nesterov needs a momentum above 0, got momentum {momentum!r}")
        self._momentum, self._nesterov, self._weight_decay = checked

    def _rule(self, step: int, lr: float) -> Rule:
        return Rule(step, lr, self._weight_decay, self._momentum, nesterov=self._nesterov)


class RMSprop(Optimizer):
    """RMSprop, the gradient over a running root mean square of it, in the form and with PyTorch's defaults.

    ::

        g = g + weight_decay * p
        v = alpha * v + (1 - alpha) * g**2
        d = g / (sqrt(v) + eps)                        centered: sqrt(v - m**2), m = alpha*m + (1 - alpha)*g
        p = p - lr * d                                 with momentum: p - lr * u, u = momentum * u + d

    Parameters
    ----------
    layers : Layer or sequence of Layer
        What to train, as for `SGD`.
    lr : float or callable, default 1e-2
        Learning rate or schedule, as for `SGD`.
    alpha : float, default 0.99
        Decay of the running means, in [0, 1).
    eps : float, default 1e-8
        Added to the root, greater than 0.
    momentum : float, default 0.0
        Share of the velocity u that a step keeps, in [0, 1).
    centered : bool, default False
        Whether to divide by the running standard deviation, not the root mean square.
    weight_decay : float, default 0.0
        L2 penalty, at least 0.

    Raises
    ------
    TypeError, ValueError
        As for `SGD`.

    References
    ----------
    Tieleman and Hinton, Lecture 6.5 of "Neural Networks for Machine Learning", Coursera 2012; centered and
    with momentum: Graves, "Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850.

    Examples
    --------
    >>> import pyrnn
    >>> RMSprop(pyrnn.Linear(2, 3), alpha=0.9)
    <RMSprop lr=0.01 alpha=0.9 eps=1e-08 momentum=0.0 centered=False weight_decay=0.0: 9 parameters, 0 steps>
    """

    _kind = _core.RMSPROP

    def __init__(
        self,
        layers: Layer | Sequence[Layer],
        lr: Rate = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self._set(alpha=alpha, eps=eps, momentum=momentum, centered=centered, weight_decay=weight_decay)
        slots = {"m": self._centered, "v": True, "velocity": self._momentum > 0}
        super().__init__(layers, lr, [slot for slot, kept in slots.items() if kept])

    def _options(self) -> dict[str, Any]:
        return {
            "alpha": self._alpha,
            "eps": self._eps,
            "momentum": self._momentum,
            "centered": self._centered,
            "weight_decay": self._weight_decay,
        }

    def _set(self, *, alpha: float, eps: float, momentum: float, centered: bool, weight_decay: float) -> None:
        checked = (
            number(alpha, "alpha", 0.0, BELOW_ONE),
            number(eps, "eps", ABOVE_ZERO, math.inf),
            number(momentum, "momentum", 0.0, BELOW_ONE),
            _check.flag(centered, "centered"),
            number(weight_decay, "weight_decay", 0.0, math.inf),
        )
        self._alpha, self._eps, self._momentum, self._centered, self._weight_decay = checked

    def _rule(self, step: int, lr: float) -> Rule:
        return Rule(step, lr, self._weight_decay, self._momentum, self._eps, (self._alpha, self._alpha))


class Adam(Optimizer):
    """Adam, in the form and with the defaults of PyTorch.

    ::

        g = g + weight_decay * p
        m = beta1 * m + (1 - beta1) * g          v = beta2 * v + (1 - beta2) * g**2
        p = p - lr / (1 - beta1**t) * m / (sqrt(v / (1 - beta2**t)) + eps)

    Parameters
    ----------
    layers : Layer or sequence of Layer
        What to train, as for `SGD`.
    lr : float or callable, default 1e-3
        Learning rate or schedule, as for `SGD`.
    betas : (float, float), default (0.9, 0.999)
        Decay of the running means of the gradient and of its square, in [0, 1).
    eps : float, default 1e-8
        Added to the root, greater than 0.
    weight_decay : float, default 0.0
        L2 penalty, at least 0; see `AdamW` for a decay that the root does not scale.

    Raises
    ------
    TypeError, ValueError
        As for `SGD`.

    References
    ----------
    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv:1412.6980.

    Examples
    --------
    >>> import pyrnn
    >>> layer = pyrnn.GRU(3, 4, rng=0)
    >>> adam = Adam(layer, lr=pyrnn.schedules.Cosine(0.01, steps=100))
    >>> (y, h), pull = layer.vjp(np.ones((5, 2, 3)))
    >>> dx, dh, grads = pull(y)
    >>> adam.step(grads)
    >>> adam.steps
    1
    """

    _kind = _core.ADAM
    _decoupled = False

    def __init__(
        self,
        layers: Layer | Sequence[Layer],
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self._set(betas=betas, eps=eps, weight_decay=weight_decay)
        super().__init__(layers, lr, ["m", "v"])

    @property
    def betas(self) -> tuple[float, float]:
        """Decay of the running means of the gradient and of its square."""
        return self._betas

    @property
    def eps(self) -> float:
        """The number added to the root."""
        return self._eps

    def _options(self) -> dict[str, Any]:
        return {"betas": self._betas, "eps": self._eps, "weight_decay": self._weight_decay}

    def _set(self, *, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ValueError(f"betas must be two numbers, got {betas!r}")
        checked = (
            (number(betas[0], "betas[0]", 0.0, BELOW_ONE), number(betas[1], "betas[1]", 0.0, BELOW_ONE)),
            number(eps, "eps", ABOVE_ZERO, math.inf),
            number(weight_decay, "weight_decay", 0.0, math.inf),
        )
        self._betas, self._eps, self._weight_decay = checked

    def _rule(self, step: int, lr: float) -> Rule:
        return Rule(step, lr, self._weight_decay, eps=self._eps, decay=self._betas, decoupled=self._decoupled)


class AdamW(Adam):
    """Adam with a decoupled weight decay, in the form and with the defaults of PyTorch.

    ::

        p = p - lr * weight_decay * p,   then as Adam, without a penalty in g

    Parameters
    ----------
    layers, lr, betas, eps
        As for `Adam`.
    weight_decay : float, default 1e-2
        Share of every parameter, biases included, that a step with lr 1 would take away; at least 0.

    Raises
    ------
    TypeError, ValueError
        As for `SGD`.

    References
    ----------
    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101: what is
    lr * weight_decay here is their eta * lambda.

    Examples
    --------
    >>> import pyrnn
    >>> AdamW(pyrnn.Linear(2, 3))
    <AdamW lr=0.001 betas=(0.9, 0.999) eps=1e-08 weight_decay=0.01: 9 parameters, 0 steps>
    """

    _decoupled = True

    def __init__(
        self,
        layers: Layer | Sequence[Layer],
        lr: Rate = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(layers, lr, betas, eps, weight_decay)
