"""A block of a transformer: attention and a network of two layers, with residuals and normalization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .. import _check
from .._layer import Container, Gradients, as_size
from .._parameters import as_real
from .._random import as_generator, dropout_mask
from ._activations import ACTIVATIONS
from .attention import MultiHeadAttention
from .layer_norm import LayerNorm
from .linear import Linear

Array = NDArray[Any]
Pull = Callable[[Array], tuple[Array, Gradients]]
Branch = Callable[[Array], tuple[Array, Pull]]  # output and the way back, grads under the names of the layer


class TransformerEncoderLayer(Container):
    """Self-attention, then a network of two layers at every step; each added to its input and normalized.

    ``x = norm1(x + attention(x)); y = norm2(x + linear2(activation(linear1(x))))``, or with `norm_first`
    ``x = x + attention(norm1(x)); y = x + linear2(activation(linear1(norm2(x))))``.

    Training is what calls `vjp`; a plain call drops nothing.

    Parameters
    ----------
    d_model : int
        Size of the last axis of input and output, at least 1.
    nhead : int
        Heads of the attention; `d_model` is a multiple of it.
    dim_feedforward : int, default 2048
        Units of the first layer of the network.
    dropout : float, default 0.1
        The probability of zeroing, 0 to 1: in the weights of the attention, its output, that of the
        activation and that of the network, as in PyTorch.
    activation : {"relu", "gelu"}, default "relu"
        gelu is exact, not the approximation by tanh.
    layer_norm_eps : float, default 1e-5
        What is added to variances.
    batch_first : bool, default False
        Whether arrays are (B, T, d_model) rather than (T, B, d_model).
    norm_first : bool, default False
        Whether the input of attention and network is normalized, and not the sum.
    bias : bool, default True
        Whether the layers have biases.
    dtype : float32 or float64, default float32
        The dtype of parameters and outputs; inputs are cast to it.
    rng : None, int or numpy.random.Generator
        Source of the initial values, drawn as `MultiHeadAttention` and `Linear` do, and then of the dropout
        masks.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong type or out of range; the message names it.

    Notes
    -----
    Parameters, with the names and layouts of PyTorch's ``nn.TransformerEncoderLayer``: those of `self_attn`,
    `linear1`, `linear2`, `norm1` and `norm2`, such as ``self_attn.in_proj_weight``.

    References
    ----------
    Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762; `norm_first`: Xiong et al. 2020,
    arXiv:2002.04745.

    Examples
    --------
    >>> layer = TransformerEncoderLayer(8, 2, 16, rng=0)
    >>> y, pull = layer.vjp(np.ones((5, 3, 8)), causal=True)
    >>> dx, grads = pull(y)
    >>> y.shape, dx.shape
    ((5, 3, 8), (5, 3, 8))
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        self.d_model, self.nhead = as_size(d_model, "d_model"), as_size(nhead, "nhead")
        if self.d_model % self.nhead:
            raise ValueError(f"nhead must divide d_model {self.d_model}, got {nhead}")
        self.dim_feedforward = as_size(dim_feedforward, "dim_feedforward")
        self.dropout = _check.fraction(dropout, "dropout")
        self.activation = _check.choice(activation, tuple(ACTIVATIONS), "activation")
        self.layer_norm_eps = _check.at_least_zero(layer_norm_eps, "layer_norm_eps")
        self.batch_first = _check.flag(batch_first, "batch_first")
        self.norm_first, self.bias = _check.flag(norm_first, "norm_first"), _check.flag(bias, "bias")
        self._generator = as_generator(rng)
        D, F, common = self.d_model, self.dim_feedforward, (self.bias, dtype, self._generator)
        options = self.dropout, self.bias, self.batch_first
        self.self_attn = MultiHeadAttention(D, self.nhead, *options, *common[1:])
        self.linear1, self.linear2 = Linear(D, F, *common), Linear(F, D, *common)
        self.norm1 = LayerNorm(D, self.layer_norm_eps, bias=self.bias, dtype=dtype)
        self.norm2 = LayerNorm(D, self.layer_norm_eps, bias=self.bias, dtype=dtype)
        names = "self_attn", "linear1", "linear2", "norm1", "norm2"
        super().__init__([(name + ".{}", getattr(self, name)) for name in names])

    def __call__(
        self,
        src: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        causal: bool = False,
        lengths: ArrayLike | None = None,
    ) -> Array:
        """Compute the output, without dropout.

        Parameters
        ----------
        src : array_like, shape (T, B, d_model), or (B, T, d_model) with `batch_first`
        mask, causal, lengths
            As for `MultiHeadAttention`: what no step attends to. The outputs of the steps beyond a length
            are still computed, from those before it.

        Returns
        -------
        ndarray, shape of `src`

        Raises
        ------
        TypeError, ValueError
            An argument is of the wrong type or shape; the message names it.
        """
        x, act = self._input(src), ACTIVATIONS[self.activation]
        options: dict[str, Any] = {"mask": mask, "causal": causal, "lengths": lengths}
        if self.norm_first:
            x = x + self.self_attn(self.norm1(x), **options)
            y: Array = x + self.linear2(act(self.linear1(self.norm2(x)))[0])
            return y
        x = self.norm1(x + self.self_attn(x, **options))
        y = self.norm2(x + self.linear2(act(self.linear1(x))[0]))
        return y

    def vjp(
        self,
        src: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        causal: bool = False,
        lengths: ArrayLike | None = None,
        rng: int | np.random.Generator | None = None,
    ) -> tuple[Array, Callable[[ArrayLike], tuple[Array, Gradients]]]:
        """Compute the output, with dropout, and return the way back.

        Parameters
        ----------
        src, mask, causal, lengths
            As in a call. Not copied where they fit as they are: leave them unchanged until `pull`.
        rng : None, int or numpy.random.Generator
            Source of the dropout masks; None goes on with the generator that the layer was made with.

        Returns
        -------
        y : ndarray, shape of `src`
        pull : callable
            ``pull(dy) -> dsrc, grads`` with the shapes of `src` and of `params`.

        Raises
        ------
        TypeError, ValueError
            An argument (or `dy`, from `pull`) is of the wrong type or shape; the message names it.
        """
        generator = self._generator if rng is None else as_generator(rng)
        x = self._input(src)

        def attention(x: Array) -> tuple[Array, Pull]:
            y, pull = self.self_attn.vjp(x, mask=mask, causal=causal, lengths=lengths, rng=generator)
            y, drop = self._drop(y, generator)

            def back(dy: Array) -> tuple[Array, Gradients]:
                dx, _, _, grads = pull(drop(dy))
                return dx, _named("self_attn", grads)

            return y, back

        x, pull1 = self._residual("norm1", attention, x)
        y, pull2 = self._residual("norm2", lambda x: self._network(x, generator), x)
        shape, names = y.shape, list(self.params)

        def pull(dy: ArrayLike) -> tuple[Array, Gradients]:
            dy = _check.shaped(dy, self.dtype, "dy", shape)
            dx, grads2 = pull2(dy)
            dx, grads1 = pull1(dx)
            grads = grads1 | grads2
            return dx, {name: grads[name] for name in names}

        return y, pull

    def _input(self, src: ArrayLike) -> Array:
        x = as_real(src, self.dtype, "src")
        if x.ndim != 3 or x.shape[-1] != self.d_model:
            raise ValueError(f"src must have shape (*, *, {self.d_model}), got {x.shape}")
        return x

    def _drop(self, x: Array, generator: np.random.Generator) -> tuple[Array, Callable[[Array], Array]]:
        """Dropout, and the way back."""
        if self.dropout == 0:
            return x, lambda d: d
        kept = dropout_mask(self.dropout, x.shape, x.dtype, generator)
        return x * kept, lambda d: d * kept

    def _network(self, x: Array, generator: np.random.Generator) -> tuple[Array, Pull]:
        inner, pull1 = self.linear1.vjp(x)
        active, slope = ACTIVATIONS[self.activation](inner)
        active, drop_inner = self._drop(active, generator)
        y, pull2 = self.linear2.vjp(active)
        y, drop = self._drop(y, generator)

        def back(dy: Array) -> tuple[Array, Gradients]:
            d, grads2 = pull2(drop(dy))
            dx, grads1 = pull1(drop_inner(d) * slope)
            return dx, _named("linear1", grads1) | _named("linear2", grads2)

        return y, back

    def _residual(self, name: str, branch: Branch, x: Array) -> tuple[Array, Pull]:
        """A branch added to x, with its normalization before or after."""
        norm: LayerNorm = getattr(self, name)
        if self.norm_first:
            z, pull_norm = norm.vjp(x)
            d, pull = branch(z)

            def back_before(dy: Array) -> tuple[Array, Gradients]:
                dz, grads = pull(dy)
                dx, own = pull_norm(dz)
                return dy + dx, grads | _named(name, own)

            return x + d, back_before
        d, pull = branch(x)
        y, pull_norm = norm.vjp(x + d)

        def back_after(dy: Array) -> tuple[Array, Gradients]:
            dsum, own = pull_norm(dy)
            dx, grads = pull(dsum)
            return dsum + dx, grads | _named(name, own)

        return y, back_after

    def __repr__(self) -> str:
        options = [f"{self.d_model}, {self.nhead}"]
        for name, default in (
            ("dim_feedforward", 2048),
            ("dropout", 0.1),
            ("activation", "relu"),
            ("layer_norm_eps", 1e-5),
            ("batch_first", False),
            ("norm_first", False),
            ("bias", True),
        ):
            if getattr(self, name) != default:
                options.append(f"{name}={getattr(self, name)!r}")
        if self.dtype != np.float32:
            options.append(f"dtype=np.{self.dtype}")
        return f"TransformerEncoderLayer({', '.join(options)})"


def _named(part: str, grads: Gradients) -> Gradients:
    return {f"{part}.{name}": array for name, array in grads.items()}
