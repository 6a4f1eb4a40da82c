"""Recurrent layers from PyTorch's modules, state dicts and files, and back."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .. import _check, _files, cells, recurrent
from .._parameters import as_array
from .._stack import Recurrent

Array = NDArray[Any]

NAME = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l(\d+)(_reverse)?)?")
KINDS = {4: "LSTM", 3: "GRU", 1: "RNN"}  # by the blocks of rows in weight_ih
LAYERS: dict[str, Callable[..., Recurrent]] = {
    **{kind: getattr(recurrent, kind) for kind in KINDS.values()},
    **{f"{kind}Cell": getattr(cells, f"{kind}Cell") for kind in KINDS.values()},
}
SHARED = "num_layers", "bias", "batch_first", "dropout", "bidirectional", "nonlinearity", "proj_size"


class Found(NamedTuple):
    """A layer among the weights: what it is and what it was made with."""

    kind: str
    sizes: tuple[int, int]
    options: dict[str, Any]
    weights: dict[str, Any]

    def __str__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"{self.kind}({self.sizes[0]}, {self.sizes[1]}{options})"


def list_torch(source: Any) -> dict[str, str]:
    """List the recurrent layers among PyTorch's weights.

    Parameters
    ----------
    source
        As for `from_torch`.

    Returns
    -------
    dict of str to str
        What each layer is, by its prefix: ``{"encoder.rnn": "LSTM(64, 128)"}``; the prefix is empty for a
        source that is itself one.

    Raises
    ------
    ImportError, OSError, TypeError, ValueError
        As from `from_torch`.

    Examples
    --------
    >>> state_dict = {f"encoder.{name}": array for name, array in recurrent.GRU(3, 5).state_dict().items()}
    >>> list_torch(state_dict)
    {'encoder': 'GRU(3, 5)'}
    """
    return {prefix: str(found) for prefix, found in _find(source).items()}


def from_torch(
    source: Any,
    prefix: str | None = None,
    *,
    nonlinearity: str | None = None,
    batch_first: bool | None = None,
    dropout: float | None = None,
    dtype: DTypeLike | None = None,
) -> Recurrent:
    """Make the layer that a module of PyTorch is, with its weights.

    Parameters
    ----------
    source : torch.nn.Module, mapping of str to array_like, str or os.PathLike
        A module that is, or has, an LSTM, GRU or RNN or one of their cells; a state dict, of tensors or
        arrays, for which PyTorch need not be installed; or a file: ``.safetensors``, likewise without
        PyTorch, or ``.pt``, ``.pth`` and ``.bin``, read by ``torch.load(weights_only=True)``, which runs no
        code that a file holds.
    prefix : str, optional
        Which layer is meant, by what its weights' names begin with: ``"encoder.rnn"`` for
        ``encoder.rnn.weight_ih_l0``. Needed where there are several; `list_torch` lists them.
    nonlinearity : {"tanh", "relu"}, optional
        Of an RNN. A module knows it; weights alone do not, and it has to be given.
    batch_first : bool, optional
        As for `LSTM`; by default the module's, and False for weights alone.
    dropout : float, optional
        Likewise, 0.0 for weights alone.
    dtype : float32 or float64, optional
        By default float64 for weights in it, else float32, which holds half precision exactly.

    Returns
    -------
    LSTM, GRU, RNN, LSTMCell, GRUCell or RNNCell

    Raises
    ------
    ImportError
        The library that reads the source is not installed.
    OSError
        A file cannot be read.
    TypeError, ValueError
        There is no such layer, or several and no prefix; something beside its weights that pyrnn does not
        have; a file is damaged or holds more than weights. The message names it.

    Examples
    --------
    >>> gru = recurrent.GRU(3, 5, rng=0)
    >>> from_torch({f"encoder.{name}": array for name, array in gru.state_dict().items()})
    GRU(3, 5)
    """
    found = _pick(_find(source), prefix)
    options = dict(found.options)
    single = found.kind.endswith("Cell")
    if found.kind.startswith("RNN"):
        known = options.setdefault("nonlinearity", nonlinearity)
        if known is None:
            raise ValueError("nonlinearity must be given, tanh or relu: the weights of an RNN do not tell")
        if nonlinearity is not None and known != nonlinearity:
            raise ValueError(f"nonlinearity must be that of the module, {known!r}, got {nonlinearity!r}")
        _check.choice(known, ("tanh", "relu"), "nonlinearity")
    elif nonlinearity is not None:
        raise ValueError(f"nonlinearity must be None for {found.kind}, got {nonlinearity!r}")
    for name, value in (("batch_first", batch_first), ("dropout", dropout)):
        if value is not None and single:
            raise ValueError(f"{name} must be None for {found.kind}, got {value!r}")
        if value is not None:
            options[name] = value
    arrays = {name: _as_array(value, name) for name, value in found.weights.items()}
    wide = any(array.dtype == np.float64 for array in arrays.values())
    chosen = dtype if dtype is not None else np.float64 if wide else np.float32
    layer = LAYERS[found.kind](*found.sizes, **options, dtype=chosen, rng=0)
    layer.load_state_dict(arrays)
    return layer


def to_torch(layer: Recurrent) -> Any:
    """Make the module of PyTorch that a layer is, with its weights.

    Parameters
    ----------
    layer : LSTM, GRU, RNN, LSTMCell, GRUCell or RNNCell

    Returns
    -------
    torch.nn.LSTM, GRU, RNN or one of their cells
        In the layer's dtype, with copies of its weights.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    TypeError
        `layer` is no such layer.
    ValueError
        It has an option that PyTorch lacks; the message names it.
    """
    kind = next((kind for kind, made in LAYERS.items() if type(layer) is made), None)
    if kind is None:
        raise TypeError(
            f"layer must be an LSTM, GRU or RNN or one of their cells, got {type(layer).__name__}"
        )
    options = layer._options()
    lacking = [f"{n}={v!r}" for n, v in options.items() if n not in SHARED]
    if options.get("nonlinearity", "tanh") not in ("tanh", "relu"):
        lacking.append(f"nonlinearity={options['nonlinearity']!r}")
    if lacking:
        raise ValueError(f"layer has what PyTorch's {kind} lacks: {', '.join(lacking)}")
    torch = _torch()
    dtype = torch.float32 if layer.dtype == np.float32 else torch.float64
    module = getattr(torch.nn, kind)(layer.input_size, layer.hidden_size, **options, dtype=dtype)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in layer.state_dict().items()})
    return module


# ---- what the calls above are made of ----


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"this needs PyTorch: pip install torch ({error})") from error
    return torch


def _pick(found: dict[str, Found], prefix: str | None) -> Found:
    listed = ", ".join(f"{name!r}: {one}" for name, one in found.items()) or "none"
    if prefix is not None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a string, got {prefix!r}")
        if prefix.removesuffix(".") not in found:
            raise ValueError(f"no recurrent layer at prefix {prefix!r}; there are {listed}")
        return found[prefix.removesuffix(".")]
    if len(found) != 1:
        raise ValueError(f"source must have one recurrent layer, or prefix say which; there are {listed}")
    return next(iter(found.values()))


def _find(source: Any) -> dict[str, Found]:
    if isinstance(source, (str, os.PathLike)):
        source = _load(os.fspath(source))
    if isinstance(source, Mapping):
        return _in_mapping(source)
    if not hasattr(source, "named_modules"):
        raise TypeError(f"source must be a module, a mapping or a path, got {type(source).__name__}")
    torch = _torch()
    bases = torch.nn.RNNBase, torch.nn.RNNCellBase
    return {name: _in_module(m) for name, m in source.named_modules() if isinstance(m, bases)}


def _in_module(module: Any) -> Found:
    kinds = [kind for kind in LAYERS if any(base.__name__ == kind for base in type(module).__mro__)]
    if len(kinds) != 1:
        raise TypeError(f"source has a module of another kind than {', '.join(LAYERS)}: {module}")
    names = module._flat_weights_names if hasattr(module, "_flat_weights_names") else module.state_dict()
    weights = {name: getattr(module, name) for name in names}
    options = {name: getattr(module, name) for name in SHARED if hasattr(module, name)}
    defaults = {"num_layers": 1, "bias": True, "proj_size": 0, "nonlinearity": None}
    options = {n: v for n, v in options.items() if v != defaults.get(n, 0)}
    return Found(kinds[0], (module.input_size, module.hidden_size), options, weights)


def _in_mapping(weights: Mapping[Any, Any]) -> dict[str, Found]:
    groups: dict[str, dict[str, Any]] = {}
    for key, value in weights.items():
        if not isinstance(key, str):
            raise TypeError(f"source must have strings for keys, got {key!r}")
        prefix, _, name = key.rpartition(".")
        if NAME.fullmatch(name):
            groups.setdefault(prefix, {})[name] = value
    for prefix, group in groups.items():
        start = f"{prefix}." if prefix else ""
        for key in weights:
            rest = key[len(start) :]
            others = not prefix and "." in rest and not rest.startswith("parametrizations.")
            if key.startswith(start) and rest not in group and not others:
                raise ValueError(f"{key!r} is nothing that pyrnn's layers have beside {start}weight_ih...")
    return {prefix: _describe(prefix, group) for prefix, group in groups.items()}


def _describe(prefix: str, group: dict[str, Any]) -> Found:
    """A layer by the names and shapes of its weights; whether they are complete load_state_dict says."""
    parts = {name: match for name in group if (match := NAME.fullmatch(name)) is not None}
    numbers = {match[2] for match in parts.values()}
    single = numbers == {None}
    if None in numbers and not single:
        raise ValueError(f"prefix {prefix!r} has names with and without a layer: {', '.join(group)}")
    if not single and {int(n) for n in numbers if n} != set(range(len(numbers))):
        raise ValueError(f"prefix {prefix!r} lacks layers: there are {', '.join(sorted(group))}")
    ending = "" if single else "_l0"
    shapes = {name: np.shape(group[name]) for name in group}
    for name in ("weight_ih", "weight_hh"):
        if len(shapes.get(name + ending, ())) != 2:
            raise ValueError(f"{name + ending} must be a matrix, got {shapes.get(name + ending)}")
    (rows, inputs), (_, outputs) = shapes["weight_ih" + ending], shapes["weight_hh" + ending]
    options: dict[str, Any] = {} if single or len(numbers) == 1 else {"num_layers": len(numbers)}
    if any(match[3] for match in parts.values()):
        options["bidirectional"] = True
    if not any(name.startswith("bias") for name in group):
        options["bias"] = False
    units = outputs
    if "weight_hr" + ending in shapes:
        units, options["proj_size"] = shapes["weight_hr" + ending][-1], outputs
    if units == 0 or rows % units or rows // units not in KINDS:
        raise ValueError(
            f"weight_ih{ending} must have 4, 3 or 1 times as many rows as there are units, "
            f"got shape {(rows, inputs)} for {units} units"
        )
    kind = KINDS[rows // units]
    if "proj_size" in options and kind != "LSTM":
        raise ValueError(f"weight_hr{ending}: pyrnn has a projection in the LSTM alone, not in the {kind}")
    return Found(kind + ("Cell" if single else ""), (inputs, units), options, group)


def _as_array(value: Any, name: str) -> Array:
    if hasattr(value, "detach"):  # a tensor, of whatever device and precision
        value = value.detach().cpu()
        if value.dtype.is_floating_point and value.dtype.itemsize < 4:
            value = value.float()
    array = as_array(value, name)
    if array.dtype.kind != "f":
        raise TypeError(f"{name} must hold floating-point numbers, got dtype {array.dtype}")
    return array


def _load(path: str) -> Mapping[Any, Any]:
    suffix = os.path.splitext(path)[1]
    if suffix == ".safetensors":
        library = _files.safetensors()
        try:
            return dict(library.numpy.load_file(path))
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f"{path} is damaged or no safetensors file of numbers: {error}") from error
    if suffix not in (".pt", ".pth", ".bin"):
        raise ValueError(f"source must end in .safetensors, .pt, .pth or .bin, got {path!r}")
    torch = _torch()
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever its unpickler meets in bytes of any kind
        raise ValueError(f"{path} is damaged, or holds more than weights: {error}") from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{path} must hold a state dict, got {type(loaded).__name__}")
    nested = [key for key, value in loaded.items() if isinstance(value, Mapping)]
    if nested:
        raise ValueError(
            f"{path} holds several mappings; load it with torch.load(weights_only=True) and give one of "
            f"{', '.join(map(repr, nested))}"
        )
    return loaded
