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
from functools import partial
from pathlib import Path

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

    def higher(self, other: Roof) -> Roof:
        """The better of two measurements, number by number: what disturbs one only ever lowers it."""
        read = {size: max(rate, other.read.get(size, 0)) for size, rate in self.read.items()}
        fma_f32, fma_f64 = max(self.fma_f32, other.fma_f32), max(self.fma_f64, other.fma_f64)
        return Roof(self.threads, fma_f32, fma_f64, read)

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
            held = 4.0 * (w_hh + (w_ih if mode == "step" else 0)) / self.threads
            per_byte = 1 / self.bandwidth(held)
            recurrent = max(2.0 * rows * w_hh / self.fma_f32, 4.0 * steps * w_hh * per_byte)
            inputs = max(2.0 * rows * w_ih / self.fma_f32, 4.0 * w_ih * per_byte)
            total += recurrent + inputs
            if mode == "training":
                total += recurrent + 2 * inputs + 2.0 * rows * w_hh / self.fma_f32
        return total


def measure(threads: Iterable[int], quick: bool = False) -> dict[int, Roof]:
    """The roofs for each number of threads. Raises NoCompiler where there is nothing to measure with."""
    seconds, repeats = (0.02, 2) if quick else (0.05, 4)
    with tempfile.TemporaryDirectory() as folder:
        library = _build(Path(folder))
        return {n: _roof(library, n, seconds, repeats) for n in threads}


def _roof(library: ctypes.CDLL, n: int, seconds: float, repeats: int) -> Roof:
    with ThreadPoolExecutor(n) as pool:  # ctypes releases the GIL

        def best(work: Callable[[], float]) -> float:
            return max(sum(pool.map(lambda _: work(), range(n))) for _ in range(repeats))

        best(partial(library.fma_f32, 0.1))  # brings the cores up to speed
        f32, f64 = (best(partial(work, seconds)) for work in (library.fma_f32, library.fma_f64))
        rates = {size: best(partial(library.read_rate, size, seconds)) for size in SIZES}
        return Roof(n, f32, f64, {size: rate for size, rate in rates.items() if rate > 0})


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
    library.read_rate.argtypes = [ctypes.c_size_t, ctypes.c_double]
    return library


def size_name(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"
