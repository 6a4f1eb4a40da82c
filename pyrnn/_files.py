"""Files of named arrays: safetensors that are written whole or not at all, and checked when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._parameters import as_array

if sys.platform != "win32":
    import fcntl

Arrays = dict[str, NDArray[Any]]
Document = dict[str, Any]

KEY = "pyrnn"  # of the metadata that is the library's own
FORMAT = 1
KINDS = "fiub"  # of dtypes that may be stored


def write(path: str | os.PathLike[str], arrays: Mapping[str, ArrayLike], document: Document) -> None:
    """Write arrays and a document to a file that is at no time half written.

    Parameters
    ----------
    path : path-like
        Replaced in one move, when everything is on the disk.
    arrays : mapping of str to array_like
        Real numbers or booleans.
    document : dict
        What json can say. Under "metadata" it may have a dict of str, which goes to the file as it is.

    Raises
    ------
    ImportError
        safetensors is not installed.
    OSError
        The file cannot be written; what was there before is unchanged.
    TypeError
        An array is not of real numbers.
    """
    library = safetensors()
    stored = {name: _storable(name, array) for name, array in arrays.items()}
    told: Document = {"format": FORMAT} | document
    metadata: dict[str, str] = told.pop("metadata", {})
    told["sha256"] = _digest(stored, told, metadata)
    text = json.dumps(told)
    data: bytes = library.numpy.save(stored, metadata={KEY: text} | metadata)
    replace(Path(path), data)


def read(path: str | os.PathLike[str]) -> tuple[Arrays, Document]:
    """Read what `write` has written.

    Raises
    ------
    ImportError
        safetensors is not installed.
    OSError
        The file cannot be read.
    ValueError
        It is no such file, or damaged: anything that is not as it was written.
    """
    library = safetensors()
    try:
        with library.safe_open(os.fspath(path), "numpy") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(f"{path} is damaged or no safetensors file: {error}") from error
    if KEY not in metadata:
        raise ValueError(
            f"{path} was not written by pyrnn.save; read it with safetensors.numpy.load_file and give the "
            "arrays to load_state_dict"
        )
    document = _parsed(path, metadata.pop(KEY))
    if document.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {document.get('format')!r}; this version of pyrnn reads {FORMAT}"
        )
    digest = document.pop("sha256", None)
    if digest != _digest(arrays, document, metadata):
        raise ValueError(f"{path} is damaged: its contents are not those that were written")
    return arrays, document | {"metadata": metadata}


def _parsed(path: str | os.PathLike[str], text: str) -> Document:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} is damaged: its description is no object")
    return document


def _storable(name: str, value: ArrayLike) -> NDArray[Any]:
    array = as_array(value, name)
    if array.dtype.kind not in KINDS or array.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold real numbers of at most 64 bits, got dtype {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def _digest(arrays: Mapping[str, NDArray[Any]], document: Document, metadata: Mapping[str, str]) -> str:
    """SHA-256 of all that a file says, in an order that does not depend on how it is laid out."""
    found = hashlib.sha256(json.dumps([document, metadata], sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def replace(path: Path, data: bytes) -> None:
    """Put `data` in the place of a file: in another file first, until all of it is on the disk.

    That other file, ``.<name>.<process>.<thread>``, is locked while it is written. If its process is killed,
    the lock is gone, and the next one that writes to `path` removes it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with _locked(temporary) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            if sys.platform == "win32":
                file.close()  # an open file cannot be moved there
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):  # so that the move itself outlives a power cut
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    _remove_orphans(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """A new file, locked if the file system knows locks."""
    while True:
        with open(path, "wb") as file:
            if sys.platform != "win32":
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)  # nobody but _remove_orphans has it, for a moment
                if not os.fstat(file.fileno()).st_nlink:
                    continue  # and has taken it for an orphan
            yield file
            return


def _remove_orphans(path: Path) -> None:
    """Remove what processes that were killed have left beside `path`: what nobody has locked."""
    if sys.platform == "win32":
        return
    kind = re.compile(rf"\.{re.escape(path.name)}\.\d+\.\d+")
    with contextlib.suppress(OSError):
        for found in filter(kind.fullmatch, os.listdir(path.parent)):
            with contextlib.suppress(OSError), open(path.with_name(found), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or BlockingIOError: its writer lives
                if os.path.samestat(os.fstat(file.fileno()), path.with_name(found).stat()):  # and not moved
                    path.with_name(found).unlink()


def safetensors() -> Any:
    """Return the library, or raise an ImportError that says how to install it."""
    try:
        import safetensors as library
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            'files of models need safetensors; install it with: pip install "pyrnn[train]"'
        ) from error
    return library
