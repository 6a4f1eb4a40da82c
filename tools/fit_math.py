"""Compute the constants of exp, sigmoid and tanh in csrc/vec_math.h.

    python tools/fit_math.py            print them as they stand there, with the error of the fit
    python tools/fit_math.py --check    fail if they do not stand there (layout aside), and print them

All three functions rest on  expm1(r) = r + r^2/2 + r^3 p(r)  for |r| <= ln2/2. p is the minimax polynomial
for the error relative to expm1(r), which is what tanh of a small argument needs (the error relative to exp(r)
is at most 0.42 of it). Remez's exchange algorithm finds it in 60 digits; its coefficients are then rounded to
the dtype.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import mpmath as mp

mp.mp.dps = 60

VEC_MATH_H = Path(__file__).parents[1] / "csrc" / "vec_math.h"

# Rounding x*log2(e) to an integer happens with an error of its own, so r may pass ln2/2 by a little.
EDGE = mp.log(2) / 2 * (1 + mp.mpf(2) ** -10)
GRID = [EDGE * mp.cos(mp.pi * (2 * i + 1) / 1000) for i in range(500)]


@dataclass
class Dtype:
    name: str
    digits: int  # of the significand
    suffix: str  # of a literal in C
    degree: int  # of the polynomial for expm1
    short: int  # bits of ln2 that, times any n that occurs, give an exact product


DTYPES = [Dtype("float32", 24, "f", 6, 16), Dtype("float64", 53, "", 11, 42)]


def rounded(x: mp.mpf, digits: int) -> mp.mpf:
    """x to so many binary digits."""
    exponent = mp.frexp(x)[1]
    return mp.ldexp(mp.nint(mp.ldexp(x, digits - exponent)), exponent - digits)


def literal(x: mp.mpf, dtype: Dtype) -> str:
    mantissa, exponent = float(rounded(x, dtype.digits)).hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{int(exponent)}{dtype.suffix}"


def largest_of_each_sign(error: list[mp.mpf], count: int) -> list[int]:
    """The index of the largest error in each run of equal signs, for `count` neighbouring runs."""
    best: list[int] = []
    for i, e in enumerate(error):
        if not best or mp.sign(error[best[-1]]) != mp.sign(e):
            best.append(i)
        elif abs(e) > abs(error[best[-1]]):
            best[-1] = i
    while len(best) > count:
        best.pop(0 if abs(error[best[0]]) < abs(error[best[-1]]) else -1)
    return best


def remez(values: list[mp.mpf], weights: list[mp.mpf], terms: int) -> list[mp.mpf]:
    """Coefficients, lowest first, of the polynomial with the least max |weights * (values - polynomial)|."""
    points = [round((len(GRID) - 1) * (1 - math.cos(math.pi * i / terms)) / 2) for i in range(terms + 1)]
    while True:
        rows = [[GRID[i] ** k for k in range(terms)] + [(-1) ** j / weights[i]] for j, i in enumerate(points)]
        coefficients = list(mp.lu_solve(mp.matrix(rows), mp.matrix([values[i] for i in points])))[:terms]
        error = [
            w * (v - mp.polyval(coefficients[::-1], r)) for r, v, w in zip(GRID, values, weights, strict=True)
        ]
        found = largest_of_each_sign(error, terms + 1)
        if found == points:
            return coefficients
        points = found


def fit(dtype: Dtype) -> tuple[list[mp.mpf], mp.mpf]:
    """The coefficients of r^2, r^3, ... in expm1, and the largest error relative to expm1."""
    values = [(mp.expm1(r) - r - r**2 / 2) / r**3 for r in GRID]
    weights = [abs(r**3 / mp.expm1(r)) for r in GRID]
    p = [rounded(c, dtype.digits) for c in remez(values, weights, dtype.degree - 2)]
    error = max(abs(w * (v - mp.polyval(p[::-1], r))) for r, v, w in zip(GRID, values, weights, strict=True))
    return [mp.mpf(1) / 2, *p], error


def constants(dtype: Dtype) -> list[str]:
    """The lines of vec_math.h for one dtype."""
    q, error = fit(dtype)
    ln2, short = mp.log(2), rounded(mp.log(2), dtype.short)
    high = rounded(ln2, dtype.digits)
    texts = [literal(c, dtype) for c in q]
    lines = ["    " + ", ".join(texts[i : i + 4]) for i in range(0, len(texts), 4)]
    return [
        f"#define LOG2E {literal(1 / ln2, dtype)}",
        "#if FUSED",
        f"#define LN2_HI {literal(high, dtype)}",
        f"#define LN2_LO {literal(ln2 - high, dtype)}",
        "#else",
        f"#define LN2_HI {literal(short, dtype)} /* {dtype.short} bits: n * LN2_HI is exact */",
        f"#define LN2_LO {literal(ln2 - short, dtype)}",
        "#endif",
        f"/* expm1 of degree {dtype.degree}, relative error {mp.nstr(error, 2)} */",
        "static const real expm1_table[] = {",
        *(line + "," for line in lines),
        "};",
    ]


def main() -> int:
    blocks = ["\n".join(constants(dtype)) for dtype in DTYPES]
    if sys.argv[1:] == ["--check"]:
        present = "".join(VEC_MATH_H.read_text().split())
        stale = [block for block in blocks if "".join(block.split()) not in present]
        print("\n\n".join(stale), end="\n" if stale else "")
        return 1 if stale else 0
    print("\n\n".join(blocks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
