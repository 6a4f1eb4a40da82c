"""What a model of Keras says of itself: its layers in their order, their options, where their weights are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._keras_file import Weights

Array = NDArray[Any]
Fetch = Callable[[str], list[Array]]

# What decides nothing but training by Keras itself, or how it computes and not what.
QUIET = {"name", "trainable", "seed", "unroll", "implementation", "unit_forget_bias", "activity_regularizer"}
ENDINGS = ("_initializer", "_regularizer", "_constraint")
KERNELS = {"linear": "identity"} | {n: n for n in ("tanh", "sigmoid", "relu", "hard_sigmoid", "softsign")}


class Names:
    """What Keras calls the layers of a file: by their kind, the second with ``_1`` and so on."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.used: set[str] = set()

    def next(self, kind: str) -> str:
        """Return the next name of a kind."""
        count = self.counts[kind] = self.counts.get(kind, -1) + 1
        name = f"{kind}_{count}" if count else kind
        self.used.add(name)
        return name


class Entry(NamedTuple):
    """A layer as the configuration has it."""

    kind: str
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.kind} {self.config.get('name', '')!r}"


def entry_of(told: Any) -> Entry:
    """Read one layer."""
    if not isinstance(told, dict) or not isinstance(told.get("config"), dict):
        raise ValueError(f"a layer must have a class and a configuration, got {str(told)[:80]}")
    if told.get("registered_name") not in (None, told.get("class_name")):
        raise ValueError(f"{told.get('registered_name')} is a class of its own, and is not known")
    return Entry(str(told.get("class_name")), told["config"])


def entries_of(told: Any) -> list[Entry]:
    """The layers of a model in their order."""
    model = entry_of(told)
    parts = model.config.get("layers")
    if model.kind not in ("Sequential", "Functional", "Model") or not isinstance(parts, list):
        raise ValueError(f"{model.label} must be a Sequential or a functional model")
    found = []
    before: Any = None
    for part in parts:
        entry = entry_of(part)
        if model.kind != "Sequential":
            _follows(part, before, entry)
            before = part.get("name")
        if entry.kind == "Sequential":
            found += entries_of(part)
        elif entry.kind != "InputLayer":
            found.append(entry)
    if not found:
        raise ValueError(f"{model.label} has no layers")
    return found


def _follows(part: dict[str, Any], before: Any, entry: Entry) -> None:
    """Refuse a functional model that is no chain."""
    nodes = part.get("inbound_nodes")
    if before is None and nodes in ([], None):
        return
    try:
        (node,) = nodes  # type: ignore[misc]
        (tensor,) = node["args"]
        came, index, number = tensor["config"]["keras_history"]
        more = {name: value for name, value in node.get("kwargs", {}).items() if value not in (None, False)}
    except (TypeError, ValueError, KeyError):
        raise ValueError(f"{entry.label} must have one input: only chains of layers are known") from None
    if (came, index, number) != (before, 0, 0) or more:
        raise ValueError(f"{entry.label} must follow the layer before it: only chains of layers are known")


def live(source: Any) -> tuple[list[Entry], list[Fetch]]:
    """The layers of a live layer or model, and their weights."""
    if not callable(getattr(source, "get_config", None)) or not hasattr(source, "weights"):
        raise TypeError(f"source must be a layer or model of Keras, or a path, got {type(source).__name__}")
    parts = _flattened(source)
    told = {"class_name": type(source).__name__, "config": source.get_config()}
    entries = entries_of(told) if hasattr(source, "layers") else [entry_of(told)]
    live = [part for part in parts if type(part).__name__ != "InputLayer"]
    return entries, [_fetch_live(part) for part in live]


def _flattened(source: Any) -> list[Any]:
    if not hasattr(source, "layers"):
        return [source]
    return [leaf for part in source.layers for leaf in _flattened(part)]


def _fetch_live(layer: Any) -> Fetch:
    def fetch(part: str) -> list[Array]:
        place = layer
        for name in part.split("/"):
            place = getattr(place, name) if name and name != "cell" else place
        return [np.asarray(weight) for weight in place.weights]

    return fetch


def from_file(entries: list[Entry], weights: Weights) -> list[Fetch]:
    names = Names()

    def fetch(name: str) -> Fetch:
        return lambda part: weights.arrays(f"{name}/{part}" if part else name)

    return [fetch(names.next(_snake(entry.kind))) for entry in entries]


def _snake(kind: str) -> str:
    kind = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", kind)
    return re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()


class Options:
    """The options of a layer: each is taken once, or known to decide nothing, or refused by name."""

    def __init__(self, entry: Entry) -> None:
        self.label, self._left = entry.label, dict(entry.config)
        self.dtype = self._dtype()

    def take(self, name: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """Return an option of a type that is known."""
        value = self._left.pop(name, default)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{self.label}: {name} is {value!r}, which is not known")
        return value

    def refuse(self, **defaults: Any) -> None:
        """Refuse options that are not these."""
        for name, default in defaults.items():
            value = self._left.pop(name, default)
            if value != default or isinstance(value, bool) != isinstance(default, bool):
                raise ValueError(f"{self.label}: {name}={value!r} is not supported")

    def activation(self, name: str, default: str = "linear") -> str:
        value = self._left.pop(name, default)
        if isinstance(value, dict) and value.get("class_name") == "function":
            value = value.get("config")
        if value is None:
            return "linear"
        if not isinstance(value, str):
            raise ValueError(f"{self.label}: {name}={str(value)[:80]} is not supported")
        return value

    def kernel(self, name: str, default: str) -> str:
        """An activation that the kernels have."""
        value = self.activation(name, default)
        if value not in KERNELS:
            raise ValueError(
                f"{self.label}: {name}={value!r} is not supported; there are {', '.join(KERNELS)}"
            )
        return KERNELS[value]

    def done(self) -> None:
        """Refuse what is left."""
        for name, value in self._left.items():
            if name not in QUIET and not name.endswith(ENDINGS) and value is not None:
                raise ValueError(f"{self.label}: {name}={str(value)[:80]} is not known")

    def _dtype(self) -> np.dtype[Any]:
        told = self._left.pop("dtype", "float32")
        if isinstance(told, dict):
            told = told.get("config", {}).get("name") if isinstance(told.get("config"), dict) else None
        if told not in ("float32", "float64"):
            raise ValueError(f"{self.label}: dtype must be float32 or float64, got {str(told)[:80]}")
        dtype: np.dtype[Any] = np.dtype(told)
        return dtype
