"""Keras' files without Keras: a zip of JSON and HDF5, nothing of which is run."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LARGEST_CONFIG = 1 << 24  # bytes


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Weights]:
    """Read a `.keras` file: the model's configuration and its weights.

    Raises
    ------
    ImportError
        h5py is not installed.
    OSError
        The file cannot be read.
    ValueError
        It is no such file, or damaged.
    """
    size = Path(path).stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            # Keras compresses nothing: what is larger than the file is no weights of Keras.
            config = _member(archive, "config.json", LARGEST_CONFIG)
            weights = _member(archive, "model.weights.h5", size)
    except (zipfile.BadZipFile, KeyError, EOFError, RuntimeError, ValueError, zlib.error) as error:
        raise ValueError(f"{path} is no .keras file: {error}") from None
    try:
        found = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its config.json cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: its config.json describes no model")
    return found, Weights(weights, str(path))


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > most:
        raise ValueError(f"{name} says that it has {info.file_size} bytes, more than {most}")
    with archive.open(info) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{name} has more than {most} bytes")
    return data


class Weights:
    """The arrays of a file in Keras' HDF5 layout."""

    def __init__(self, data: bytes, name: str) -> None:
        try:
            import h5py
        except ImportError as error:
            raise ImportError('Keras files need h5py; install it with: pip install "pyrnn[keras]"') from error
        self._h5py, self._name, self._left = h5py, name, len(data)
        try:
            self._file = h5py.File(io.BytesIO(data), "r")
        except Exception as error:  # whatever HDF5 makes of it
            raise ValueError(f"{name} holds no HDF5 file: {error}") from None

    def names(self) -> list[str]:
        """Return the names of the layers."""
        return [str(name) for name in self._group("layers") or ()]

    def arrays(self, path: str) -> list[Array]:
        """Return the arrays of a layer, ``layers/<path>/vars``, in their order.

        Raises
        ------
        ValueError
            One is damaged, or is not what Keras writes.
        """
        group = self._group(f"layers/{path}/vars")
        if group is None:
            return []
        try:
            names = sorted(group, key=int)
        except Exception as error:
            raise ValueError(f"{self._name}: the arrays of {path} cannot be listed: {error}") from None
        return [self._array(group, name, f"{path}/{name}") for name in names]

    def _group(self, path: str) -> Any:
        """A group, every step to which is one inside the file; None where there is none."""
        place = self._file
        try:
            for part in path.split("/"):
                link = place.get(part, getlink=True)
                if link is None:
                    return None
                if not isinstance(link, self._h5py.HardLink):
                    raise ValueError(f"{part} is a link to elsewhere")
                place = place[part]
                if not isinstance(place, self._h5py.Group):
                    raise ValueError(f"{part} is no group")
        except Exception as error:
            raise ValueError(f"{self._name}: {path} cannot be read: {error}") from None
        return place

    def _array(self, group: Any, name: str, label: str) -> Array:
        try:
            if not isinstance(group.get(name, getlink=True), self._h5py.HardLink):
                raise ValueError("it is a link to elsewhere")
            found = group[name]
            if not isinstance(found, self._h5py.Dataset) or found.is_virtual or found.external:
                raise ValueError("it is no array of this file")
            if found.id.get_create_plist().get_nfilters():
                raise ValueError("it is compressed, which Keras' arrays are not")
            if found.dtype not in (np.float32, np.float64):
                raise ValueError(f"it must be float32 or float64, got {found.dtype}")
            self._left -= int(found.nbytes)
            if found.shape is None or self._left < 0:
                raise ValueError(f"it has the shape {found.shape}, more than the file can hold")
            array: Array = np.asarray(found[()])
        except Exception as error:
            raise ValueError(f"{self._name}: the array {label} cannot be read: {error}") from None
        return array
