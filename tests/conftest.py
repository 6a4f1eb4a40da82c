"""What tests run over: all cells, dtypes and instruction sets; arrays at the edge of memory."""

import ctypes
import importlib.util
import mmap
import os

import numpy as np
import pytest

import pyrnn
from pyrnn import _config, _core, functional

ISAS = [name for name, available in _config.isas().items() if available]
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]

# What the project does not install: its tests are in folders of their own, which .ci/run runs where it can.
ABSENT = [name for name in ("torch", "flax", "pyarrow", "keras") if importlib.util.find_spec(name) is None]
collect_ignore = ABSENT


def pytest_report_header():
    return [f"tests/{name}: not collected, since {name} is not installed" for name in ABSENT]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call):
    """With PYRNN_NO_SKIP=1, as in .ci/run, a skipped test has failed: a missing tool is not overlooked."""
    report = yield
    skipped = call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception)
    if skipped and os.environ.get("PYRNN_NO_SKIP") == "1":
        report.outcome, report.longrepr = "failed", f"skipped, against PYRNN_NO_SKIP: {report.longrepr[2]}"
    return report


@pytest.fixture(params=functional.CELLS)
def cell(request):
    return request.param


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request):
    return request.param


@pytest.fixture(params=ISAS)
def isa(request):
    """Weights are packed for this instruction set while the test runs."""
    before = _core.isa()
    _config.select_isa(request.param)
    yield request.param
    _config.select_isa(before)


@pytest.fixture
def lanes(isa, dtype):
    """L, the numbers in a vector register."""
    return _core.lanes(list(_config.isas()).index(isa), dtype)


@pytest.fixture
def rng():
    """Random numbers, the same in every test and every run."""
    return np.random.default_rng(7)


@pytest.fixture
def threads():
    """Sets the number of threads until the test ends."""
    before = pyrnn.get_num_threads()
    yield pyrnn.set_num_threads
    pyrnn.set_num_threads(before)


@pytest.fixture
def kernels_read(monkeypatch):
    """``kernels_read(layer, x)``: the array that the kernels read for x, of a layer of one direction."""

    def find(layer, x):
        calls = []
        run = _core.run
        with monkeypatch.context() as patch:
            patch.setattr(_core, "run", lambda *call: calls.append(call) or run(*call))
            layer(x)
        return calls[0][1]

    return find


class Edge:
    """Copies arrays to where memory ends: one element further lies a page that cannot be touched.

    ``at_edge(array)`` ends there, ``at_edge(array, start=True)`` begins there.
    """

    def __init__(self):
        self.protect = ctypes.CDLL(None, use_errno=True).mprotect
        self.protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

    def __call__(self, array, start=False, alignment=1):
        if array is None:
            return None
        if isinstance(array, tuple):
            return tuple(self(part, start, alignment) for part in array)
        size = -(-array.nbytes // alignment) * alignment
        inner = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = mmap.mmap(-1, inner + 2 * mmap.PAGESIZE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for page in (base, base + mmap.PAGESIZE + inner):
            if self.protect(page, mmap.PAGESIZE, 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        offset = mmap.PAGESIZE + (0 if start else inner - size)
        copy = np.ndarray(array.shape, array.dtype, memory, offset)
        copy[...] = array
        return copy


@pytest.fixture(scope="session")
def at_edge():
    return Edge()
