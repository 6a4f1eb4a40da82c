"""Models in files: the weights as safetensors, and beside them, as JSON, what layers they belong to."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _files
from ._layer import Layer
from ._parameters import limited

__all__ = ["load", "load_metadata", "save"]

Path = str | os.PathLike[str]
RUN = "run/"  # begins the names of arrays in a checkpoint that are not the model's


def save(
    model: Layer | Mapping[str, ArrayLike], path: Path, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a model to a file.

    Parameters
    ----------
    model : Layer, or mapping of str to array_like
        A layer of the library, such as `Sequential`; or one of a class of one's own that derives from them,
        whose arguments are numbers, strings, None, layers, and tuples of such. For any other model its
        `state_dict`, or that of an optimizer.
    path : path-like
        Where to. The file is written beside it and moved there when it is whole: if the disk is full or the
        program is killed, what was there before is still there; what a killed one had begun goes with the
        next save.
    metadata : mapping of str to str, optional
        More to put beside the weights, such as a tokenizer's JSON; see `load_metadata`.

    Raises
    ------
    ImportError
        safetensors is not installed.
    OSError
        The file cannot be written.
    TypeError, ValueError
        `model` is neither, or a layer has an argument that JSON cannot say.

    Notes
    -----
    The file is a safetensors file with the names of `state_dict`. Under "pyrnn" its metadata have the classes
    and arguments of the layers as JSON, and a SHA-256 sum of everything. Seeds and generators are not
    written: a layer that was loaded draws its dropout masks from fresh entropy.

    Examples
    --------
    >>> import pyrnn, tempfile, os
    >>> model = pyrnn.Sequential(pyrnn.GRU(3, 4), pyrnn.Linear(4, 2))
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> pyrnn.save(model, path)
    >>> pyrnn.load(path)
    Sequential(GRU(3, 4), Linear(4, 2))
    """
    given = dict(metadata or {})
    if not all(isinstance(text, str) for item in given.items() for text in item) or _files.KEY in given:
        raise TypeError(f"metadata must map str to str, without {_files.KEY!r}, got {metadata!r}")
    if isinstance(model, Layer):
        _files.write(path, model.params, {"model": describe(model), "metadata": given})
    elif isinstance(model, Mapping):
        _files.write(path, model, {"model": None, "metadata": given})
    else:
        raise TypeError(f"model must be a layer or a mapping of names to arrays, got {model!r}")


def load(path: Path, *, custom_layers: Sequence[type[Layer]] = ()) -> Any:
    """Read what `save` has written, or the best model of a checkpoint of `fit`.

    No code is executed, whatever the file holds: it can only name layers of the library.

    Parameters
    ----------
    path : path-like
    custom_layers : sequence of classes
        Layers of one's own that the file may name, too.

    Returns
    -------
    Layer, or dict of str to ndarray
        What was saved: a layer, or arrays.

    Raises
    ------
    ImportError
        safetensors is not installed.
    OSError
        The file cannot be read.
    ValueError
        It was not written by `save` or is not as it was written, names another layer, or holds arrays that
        do not fit the layers.
    """
    arrays, document = _files.read(path)
    state = {name: array for name, array in arrays.items() if not name.startswith(RUN)}
    if document.get("model") is None:
        return state
    for layer in custom_layers:
        if not isinstance(layer, type) or not issubclass(layer, Layer):
            raise TypeError(f"custom_layers must be classes of layers, got {layer!r}")
    known = library() | {layer.__name__: layer for layer in custom_layers}
    try:
        # Before there is anything to compare, a file may ask for no more than it brings.
        with limited(sum(array.size for array in state.values())):
            model = build(document["model"], known, len(state))
        if not isinstance(model, Layer):
            raise ValueError("it describes no layer")
        model.load_state_dict(state)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} holds no model that can be built: {error}") from error
    return model


def load_metadata(path: Path) -> dict[str, str]:
    """Read the metadata that were given to `save`.

    Raises
    ------
    ImportError, OSError, ValueError
        As for `load`.
    """
    metadata: dict[str, str] = _files.read(path)[1]["metadata"]
    return metadata


def library() -> dict[str, type[Layer]]:
    """The layers that a file may name."""
    import pyrnn

    public = {name: getattr(pyrnn, name) for name in pyrnn.__all__}
    return {n: c for n, c in public.items() if isinstance(c, type) and issubclass(c, Layer)}


def describe(value: Any) -> Any:
    """A layer, or an argument of one, in the words of JSON."""
    if isinstance(value, Layer):
        if getattr(value, "_backwards", False):
            raise ValueError(f"{value!r} is the backward half of a Bidirectional, which alone can be saved")
        arguments = {name: describe(argument) for name, argument in value._arguments().items()}
        return {"class": type(value).__name__, "arguments": arguments}
    if isinstance(value, (tuple, list)):
        return [describe(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (np.dtype, type)):
        return np.dtype(value).name
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a layer with the argument {value!r} cannot be saved; save its state_dict()")


def build(told: Any, known: Mapping[str, type[Layer]], arrays: int) -> Any:
    """What `describe` was given, with weights of no meaning; it has so many `arrays`."""
    if isinstance(told, list):
        return tuple(build(part, known, arrays) for part in told)
    if not isinstance(told, dict):
        return told
    name, arguments = told.get("class"), told.get("arguments")
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"{name!r} is no layer of pyrnn; give classes of your own as custom_layers")
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of {name} are no object, but {arguments!r}")
    if isinstance(count := arguments.get("num_layers"), int) and count > arrays:
        raise ValueError(f"{name} has {count} layers, but the file only {arrays} arrays")
    built = {key: build(value, known, arrays) for key, value in arguments.items()}
    parameters = inspect.signature(known[name]).parameters
    several = [key for key, p in parameters.items() if p.kind is p.VAR_POSITIONAL]
    rest = built.pop(several[0], ()) if several else ()
    return known[name](*rest, **built)
