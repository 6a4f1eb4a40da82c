"""Recurrent layers from flax's cells and parameter trees, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import recurrent
from .._parameters import as_array
from .._stack import Recurrent

Array = NDArray[Any]
Tree = dict[str, Any]

GATES = {"LSTM": "ifgo", "GRU": "rzn"}  # the order of pyrnn, and of flax where gates are in one matrix
CELLS = "SimpleCell", "GRUCell", "OptimizedLSTMCell", "LSTMCell"


def from_flax(
    source: Any,
    *,
    activation: str | None = None,
    recurrent_activation: str | None = None,
    batch_first: bool | None = None,
    dtype: DTypeLike | None = None,
) -> recurrent.LSTM | recurrent.GRU | recurrent.RNN:
    """Make the layer that a cell of flax is, with its weights.

    Parameters
    ----------
    source : flax.nnx cell, flax.nnx.RNN, or mapping
        An LSTMCell, OptimizedLSTMCell, GRUCell or SimpleCell, alone or in an RNN; or the tree of its
        parameters, ``{"dense_i": {"kernel": ...}, ...}``, as nnx or linen has it, for which flax need not be
        installed.
    activation, recurrent_activation : str, optional
        As for `LSTM`. A cell knows them; a tree does not, and has flax's defaults: tanh and sigmoid.
    batch_first : bool, optional
        By default that of an RNN, which is True unless it is time-major, and else False.
    dtype : float32 or float64, optional
        By default float64 for weights in it, else float32.

    Returns
    -------
    LSTM, GRU or RNN
        The state of the LSTM is (h, c), where flax has (c, h).

    Raises
    ------
    TypeError, ValueError
        `source` is no such thing, or has what pyrnn does not; the message names it.

    Examples
    --------
    >>> from_flax(to_flax(recurrent.GRU(3, 5, bias=False)))
    GRU(3, 5)
    """
    options: dict[str, Any] = {}
    if not isinstance(source, Mapping):
        source, options = _read_cell(source)
    for name, value in (("activation", activation), ("recurrent_activation", recurrent_activation)):
        if value is not None and options.setdefault(name, value) != value:
            raise ValueError(f"{name} must be that of the cell, {options[name]!r}, got {value!r}")
    if batch_first is not None:
        options["batch_first"] = batch_first
    kind, weights = _read_tree(_plain(source))
    if kind == "RNN":
        if options.pop("recurrent_activation", None) is not None:
            raise ValueError("recurrent_activation must be None for a SimpleCell, which has no gates")
        options["nonlinearity"] = options.pop("activation", "tanh")
    wide = any(array.dtype == np.float64 for array in weights.values())
    chosen = dtype if dtype is not None else np.float64 if wide else np.float32
    w_ih, w_hh = weights["weight_ih_l0"], weights["weight_hh_l0"]
    layer: Any = getattr(recurrent, kind)(w_ih.shape[1], w_hh.shape[1], **options, dtype=chosen, rng=0)
    layer.load_state_dict(weights)
    return layer  # type: ignore[no-any-return]


def to_flax(layer: Recurrent) -> Tree:
    """Return the parameters of a layer as those of flax's nnx cell, for ``nnx.update(cell, tree)``.

    Parameters
    ----------
    layer : LSTM, GRU or RNN
        Of one layer and direction.

    Returns
    -------
    dict
        ``{"dense_i": {"kernel": (I, G*H), ...}, "dense_h": {"kernel": (H, G*H), ...}}``, that of an
        OptimizedLSTMCell, GRUCell or SimpleCell.

    Raises
    ------
    TypeError
        `layer` is no such layer.
    ValueError
        It has what flax's cell lacks, such as several layers or a recurrent bias of a GRU's n, or what its
        parameters do not tell, such as an activation; the message names it.
    """
    kind = type(layer).__name__
    if type(layer) is not getattr(recurrent, kind, None):
        raise TypeError(f"layer must be an LSTM, GRU or RNN, got {kind}")
    free = "bias", "batch_first", "dropout"
    lacking = [f"{name}={value!r}" for name, value in layer._options().items() if name not in free]
    if lacking:
        raise ValueError(f"layer has what the parameters of a cell of flax lack: {', '.join(lacking)}")
    params, H = layer.state_dict(), layer.hidden_size
    rows = params["weight_ih_l0"].shape[0]
    b_ih, b_hh = (params.get(f"bias_{part}_l0", np.zeros(rows, layer.dtype)) for part in ("ih", "hh"))
    dense_i: Tree = {"kernel": params["weight_ih_l0"].T}
    dense_h: Tree = {"kernel": params["weight_hh_l0"].T}
    if kind == "GRU" and b_hh[2 * H :].any():
        raise ValueError(
            "layer has a bias_hh_l0 of n, which flax's GRUCell lacks: its rows from 2*H on must be 0"
        )
    (dense_h if kind == "LSTM" else dense_i)["bias"] = b_ih + b_hh
    return {"dense_i": dense_i, "dense_h": dense_h}


# ---- what the calls above are made of ----


def _read_cell(source: Any) -> tuple[Any, dict[str, Any]]:
    """The tree and the options of a live cell."""
    try:
        import jax
        from flax import nnx
    except ImportError as error:
        raise ImportError(f"reading a module of flax needs it: pip install flax ({error})") from error
    options: dict[str, Any] = {}
    if isinstance(source, nnx.RNN):
        for name in ("reverse", "keep_order"):
            if getattr(source, name):
                raise ValueError(f"source has {name}=True, which pyrnn has not: flip the sequences")
        options["batch_first"] = not source.time_major
        source = source.cell
    kind = type(source).__name__
    if kind not in CELLS or type(source) is not getattr(nnx, kind):
        raise TypeError(
            f"source must be one of flax.nnx's {', '.join(CELLS)}, an RNN or a mapping, got {kind}"
        )
    if getattr(source, "residual", False):
        raise ValueError("source has residual=True, which pyrnn has not")
    if source.dtype is not None and np.dtype(source.dtype) not in (np.float32, np.float64):
        raise ValueError(f"source has dtype={np.dtype(source.dtype)}: pyrnn computes in float32 and float64")
    functions = {
        "tanh": (jax.numpy.tanh, nnx.tanh),
        "sigmoid": (jax.nn.sigmoid, nnx.sigmoid),
        "relu": (jax.nn.relu, nnx.relu),
        "hard_sigmoid": (jax.nn.hard_sigmoid, nnx.hard_sigmoid),
        "softsign": (jax.nn.soft_sign, nnx.soft_sign),
    }
    for theirs, ours in (("activation_fn", "activation"), ("gate_fn", "recurrent_activation")):
        function = getattr(source, theirs, None)
        if function is None:
            continue
        name = next((n for n, known in functions.items() if any(function is f for f in known)), "")
        if not name:
            raise ValueError(f"source has {theirs}={function!r}; pyrnn has {', '.join(functions)}")
        options[ours] = name
    return nnx.to_pure_dict(nnx.state(source, nnx.Param)), options


def _plain(tree: Mapping[Any, Any], path: str = "") -> Tree:
    """The tree with arrays for leaves."""
    found: Tree = {}
    for key, value in tree.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            found[str(key)] = _plain(value, f"{name}.")
            continue
        array = as_array(value, name)
        if array.dtype.kind != "f":
            raise TypeError(f"{name} must hold floating-point numbers, got dtype {array.dtype}")
        found[str(key)] = array
    return found


def _read_tree(tree: Tree) -> tuple[str, dict[str, Array]]:
    """The kind of layer, and its weights by pyrnn's names."""
    if set(tree) == {"params"}:  # linen
        tree = tree["params"]
    tree = {key.removesuffix("_"): value for key, value in tree.items()}  # nnx writes if_
    wrong = [key for key, value in tree.items() if not isinstance(value, dict)]
    if wrong:
        raise ValueError(f"{wrong[0]} must be a mapping with a kernel, got an array")
    if set(tree) == {"i", "h"}:  # linen's SimpleCell
        tree = {"dense_i": tree["i"], "dense_h": tree["h"]}
    if set(tree) == {"dense_i", "dense_h"}:
        dense = [_dense(tree[name], name) for name in ("dense_i", "dense_h")]
    else:
        kind = next(
            (k for k, gates in GATES.items() if set(tree) == {s + g for s in "ih" for g in gates}), ""
        )
        if not kind:
            raise ValueError(
                f"source must have the parameters of a cell of flax, got {', '.join(tree) or 'none'}"
            )
        sides = ([_dense(tree[side + gate], side + gate) for gate in GATES[kind]] for side in "ih")
        dense = [
            (np.concatenate([w for w, _ in gates]), np.concatenate([b for _, b in gates])) for gates in sides
        ]
    dense_i, dense_h = dense
    blocks = dense_h[0].shape[0] / dense_h[0].shape[1]
    kinds = {4: "LSTM", 3: "GRU", 1: "RNN"}
    if blocks not in kinds:
        raise ValueError(
            f"dense_h.kernel must have 4, 3 or 1 times as many columns as rows, got {dense_h[0].T.shape}"
        )
    names = "weight_ih_l0", "bias_ih_l0", "weight_hh_l0", "bias_hh_l0"
    return kinds[int(blocks)], dict(zip(names, (*dense_i, *dense_h), strict=True))


def _dense(tree: Tree, name: str) -> tuple[Array, Array]:
    """A matrix in pyrnn's layout and a bias, zeros where there is none."""
    unknown = set(tree) - {"kernel", "bias"}
    if unknown or "kernel" not in tree:
        raise ValueError(f"{name} must have a kernel, and may have a bias, got {', '.join(tree) or 'none'}")
    kernel = tree["kernel"]
    if kernel.ndim != 2 or kernel.shape[0] == 0:
        raise ValueError(f"{name}.kernel must be a matrix, got shape {kernel.shape}")
    bias = tree.get("bias", np.zeros(kernel.shape[1], kernel.dtype))
    if bias.shape != kernel.shape[1:]:
        raise ValueError(f"{name}.bias must have shape {kernel.shape[1:]}, got {bias.shape}")
    return kernel.T, bias
