"""Measure the errors of exp, sigmoid and tanh in csrc/vec_math.h, for every instruction set this CPU has.

    python tools/measure_ulp.py                 a dense sample, seconds
    python tools/measure_ulp.py --exhaustive    every float32 there is, minutes; a denser sample of float64

Prints the largest error in units in the last place and the argument it was found at; fails above 2.5. Numbers
below the smallest normal one are computed with, and then, as kernels do, taken for zeros.
The compiler is $CC, or cc. The measuring program is tests/c/ulp.c.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

LIMIT = 2.5
FUNCTIONS = ("exp", "sigmoid", "tanh")
SOURCE = Path(__file__).parents[1] / "tests" / "c" / "ulp.c"
FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra"]
ISAS = {
    "avx512": "-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma",
    "avx2": "-mavx2 -mfma",
    "base": "",
}
NOT_ON_THIS_CPU = 3  # exit status of the measuring program


class Row(NamedTuple):
    function: str
    dtype: str
    isa: str
    ulp: float
    at: float  # an argument with that error


def isas() -> dict[str, str]:
    """The instruction sets to try, with the flags of the compiler."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return ISAS if x86 else {"base": ISAS["base"]}


def compiled(isa: str, bits: int, folder: str) -> Path:
    program = Path(folder) / f"ulp_{isa}_{bits}"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = [*FLAGS, *isas()[isa].split(), f"-DPYRNN_REAL={bits}"]
    subprocess.run([*compiler, *flags, SOURCE, "-o", program, "-lm"], check=True)
    return program


def run(program: Path, function: str, isa: str, bits: int, density: int) -> Row | None:
    done = subprocess.run([program, function, str(density)], capture_output=True, text=True, check=False)
    if done.returncode == NOT_ON_THIS_CPU:
        return None
    done.check_returncode()
    ulp, at = map(float, done.stdout.split())
    return Row(function, f"float{bits}", isa, ulp, at)


def measure(
    step32: int = 509, points64: int = 10_000_000, functions: tuple[str, ...] = FUNCTIONS
) -> list[Row]:
    """The largest errors found.

    Parameters
    ----------
    step32
        In float32, every so many-th bit pattern is tried: 1 tries all of them.
    points64
        In float64, so many points are tried.
    functions
        Some of "exp", "sigmoid", "tanh".
    """
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        builds = [(isa, bits) for isa in isas() for bits in (32, 64)]
        programs = list(pool.map(lambda build: compiled(*build, folder), builds))
        runs = [
            pool.submit(run, program, function, isa, bits, step32 if bits == 32 else points64)
            for program, (isa, bits) in zip(programs, builds, strict=True)
            for function in functions
        ]
        return [row for r in runs if (row := r.result()) is not None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exhaustive", action="store_true", help="all 2^32 float32")
    exhaustive = parser.parse_args().exhaustive
    rows = measure(step32=1, points64=200_000_000) if exhaustive else measure()
    print(f"{'function':10}{'dtype':10}{'isa':10}{'max ulp':>8}  at")
    for row in rows:
        print(f"{row.function:10}{row.dtype:10}{row.isa:10}{row.ulp:8.3f}  {row.at!r}")
    return 0 if all(row.ulp <= LIMIT for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
