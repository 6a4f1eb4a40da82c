"""The roofs of this machine, measured: multiply-adds and bytes a second; the time they leave a problem."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from threading import Barrier

import numpy as np

from pyrnn import _core

from .peers import Run
from .shapes import Mode, Shape

KIB, MIB = 1 << 10, 1 << 20
# Per core. The steps in between let a set of weights meet the bandwidth of the smallest size that holds it.
SIZES = [
    16 * KIB,
    32 * KIB,
    64 * KIB,
    128 * KIB,
    256 * KIB,
    512 * KIB,
    *(n * MIB for n in (1, 2, 4, 8, 16, 64, 256)),
]

_FLAGS = ["-O3", "-std=gnu11", "-ffp-contract=fast", "-funroll-loops", "-shared", "-fPIC"]
_SOURCE = Path(__file__).with_name("roof.c")


class NoCompiler(RuntimeError):
    """The roofs cannot be measured here."""


@dataclass(frozen=True)
class Roof:
    """What `threads` cores do together: FLOP/s in float32 and float64, bytes/s by each core's buffer size."""

    threads: int
    fma_f32: float
    fma_f64: float
    read: dict[int, float]

    def bandwidth(self, share: float) -> float:
        """Bytes/s when every core reads its own `share` bytes again and again."""
        fitting = [size for size in self.read if size >= share]
        return self.read[min(fitting) if fitting else max(self.read)]

    def seconds(self, shape: Shape, gates: int, mode: Mode) -> float:
        """The least time in float32 if arithmetic and reading the weights were all there is.

        Every step must do its recurrent product at the FMA rate and read the recurrent weights at the
        bandwidth of the level of the memory that holds each core's share; it takes the longer of the two. The
        input's product has all steps at once: it is arithmetic, and one reading of its weights (which is what
        counts in a single step). Training adds the backward products: dx, dW and dR have all steps at once
        too, dh is again one product a step. Latency, the gates' formulas and the other arrays are left out,
        so tiny layers cannot reach the roof.
        """
        steps = 1 if mode == "step" else shape.T
        rows = 1 if mode == "step" else shape.valid_steps
        total = 0.0
        for width in shape.passes():
            w_ih, w_hh = gates * shape.H * width, gates * shape.H * shape.H
            per_byte = 1 / self.bandwidth(held(shape, gates, mode, self.threads))
            recurrent = max(2.0 * rows * w_hh / self.fma_f32, 4.0 * steps * w_hh * per_byte)
            inputs = max(2.0 * rows * w_ih / self.fma_f32, 4.0 * w_ih * per_byte)
            total += recurrent + inputs
            if mode == "training":
                total += recurrent + 2 * inputs + 2.0 * rows * w_hh / self.fma_f32
        return total


class Gauge:
    """The roof of one problem, measured in turns with the programs that run it.

    The clock of a machine that is shared changes from minute to minute, and with it what can be reached: a
    roof measured at another time is no measure. A turn is a short burst of multiply-adds and one of reading
    as many bytes as each core has to hold; the highest rate of each is kept.
    """

    _SECONDS = 1e-3  # a burst

    def __init__(self, shape: Shape, gates: int, mode: Mode, threads: int) -> None:
        self._problem, self._threads = (shape, gates, mode), threads
        self._size = 1024 * max(1, round(held(shape, gates, mode, threads) / 1024))
        self._fma = self._read = 0.0

    def run(self) -> Run:
        return Run(self._burst, dict)

    def _burst(self) -> None:
        fma = _together(self._threads, partial(_library().fma_f32, self._SECONDS))
        read = read_rate(self._threads, self._size, self._SECONDS)
        self._fma, self._read = max(self._fma, fma), max(self._read, read)

    @property
    def fma(self) -> float:
        """FLOP/s of all threads."""
        return self._fma

    def seconds(self) -> float:
        """The least time of the problem."""
        return Roof(self._threads, self._fma, 0.0, {self._size: self._read}).seconds(*self._problem)


class Updates:
    """Memory's rate where threads update arrays, each a part of its own: one is read, the others written too.

    Parameters
    ----------
    threads : int
    size : int
        Bytes of an array, of all threads together.
    written : int
        How many arrays are read and written, 1 to 4.

    Raises
    ------
    NoCompiler
        There is nothing to measure with.
    """

    def __init__(self, threads: int, size: int, written: int) -> None:
        self._library, self._threads = _library(), threads
        self._size = max(1, size // threads // 1024) * 1024
        like = partial(_core.empty, (self._size // 4,), np.dtype(np.float32))  # memory as optimizers have it
        self._arrays = [[like() for _ in range(1 + written)] for _ in range(threads)]
        for part in self._arrays:
            for array in part:
                array.fill(1)

    def burst(self, seconds: float) -> float:
        """Bytes/s of all threads, which begin together."""
        barrier = Barrier(self._threads)

        def work(thread: int) -> float:
            own = self._arrays[thread]
            pointers = (ctypes.c_void_p * len(own))(*(array.ctypes.data for array in own))
            barrier.wait()
            return float(self._library.update_rate(pointers, len(own), self._size, seconds))

        return sum(_pool(self._threads).map(work, range(self._threads)))


def held(shape: Shape, gates: int, mode: Mode, threads: int) -> float:
    """The bytes of weights that each core reads in every step: its share of a layer's recurrent ones."""
    inputs = shape.I if mode == "step" else 0
    return 4.0 * gates * shape.H * (shape.H + inputs) / threads


def read_rate(threads: int, size: int, seconds: float) -> float:
    """Bytes/s of that many cores together, each reading `size` bytes of its own again and again.

    It reads 1 KiB at least. Raises NoCompiler where there is nothing to measure with.
    """
    return _together(threads, partial(_library().read_rate, max(size, 1024), seconds))


def round_trip(seconds: float = 2e-3) -> float:
    """Seconds in which one core sees what another has written, and that one its answer.

    Raises NoCompiler where there is nothing to measure with.
    """
    play, ball = _library().to_and_fro, ctypes.c_int(0)
    return max(_pool(2).map(lambda side: play(ctypes.addressof(ball), side, seconds), (0, 1)))


def speed_of_two(seconds: float = 0.02) -> float:
    """How much faster two threads are than one, by multiply-adds for longer than a thread has a core in turn.

    Raises NoCompiler where there is nothing to measure with.
    """
    fma = _library().fma_f32
    return _together(2, partial(fma, seconds)) / float(fma(seconds / 4))


def measure(threads: Iterable[int], quick: bool = False) -> dict[int, Roof]:
    """The roofs for each number of threads. Raises NoCompiler where there is nothing to measure with."""
    seconds, repeats = (0.02, 2) if quick else (0.05, 4)
    return {n: _roof(_library(), n, seconds, repeats) for n in threads}


def _roof(library: ctypes.CDLL, n: int, seconds: float, repeats: int) -> Roof:
    def best(work: Callable[[], float]) -> float:
        return max(_together(n, work) for _ in range(repeats))

    best(partial(library.fma_f32, 0.1))  # brings the cores up to speed
    f32, f64 = (best(partial(work, seconds)) for work in (library.fma_f32, library.fma_f64))
    rates = {size: best(partial(library.read_rate, size, seconds)) for size in SIZES}
    return Roof(n, f32, f64, {size: rate for size, rate in rates.items() if rate > 0})


def _together(n: int, work: Callable[[], float]) -> float:
    """The sum of what n threads reach at the same time: ctypes releases the GIL."""
    return work() if n == 1 else sum(_pool(n).map(lambda _: work(), range(n)))


@cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n)


@cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        return _build(Path(folder))


def _build(folder: Path) -> ctypes.CDLL:
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    compilers = [found for name in names if name and (found := shutil.which(name))]
    if not compilers:
        raise NoCompiler("no C compiler: the columns of the roof are left out")
    target, errors = folder / "roof.so", ""
    for tuning in (["-march=native"], ["-mcpu=native"], []):  # clang for ARM knows only the second
        command = [compilers[0], *_FLAGS, *tuning, str(_SOURCE), "-o", str(target)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            break
        errors = done.stderr
    else:
        raise NoCompiler(
            f"{compilers[0]} cannot build {_SOURCE.name}: the columns of the roof are left out\n{errors}"
        )
    library = ctypes.CDLL(str(target))
    for function in (library.fma_f32, library.fma_f64, library.read_rate):
        function.restype = ctypes.c_double
    library.fma_f32.argtypes = library.fma_f64.argtypes = [ctypes.c_double]
    library.update_rate.restype = ctypes.c_double
    library.update_rate.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_double]
    library.read_rate.argtypes = [ctypes.c_size_t, ctypes.c_double]
    library.to_and_fro.restype = ctypes.c_double
    library.to_and_fro.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_double]
    return library


def size_name(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
