"""Compute the constants of exp, sigmoid and tanh in csrc/vec_math.h and csrc/vec_tables.h.

    python tools/fit_math.py            print them as they stand there, with the error of the fit
    python tools/fit_math.py --check    fail if they do not stand there (layout aside), and print them

exp, sigmoid and, without tables, tanh rest on  expm1(r) = r + r^2/2 + r^3 p(r)  for |r| <= ln2/2; where the
powers 2^(j/16) are a table, for |r| <= ln2/32. p is the minimax polynomial for the error relative to expm1,
which is what tanh of a small argument needs (the error relative to exp is at most 0.42 of it).

With tables tanh is  tanh(c) + r p(r)  from c to the next piece. There are 16 of them, and each c + 5/8 has
three bits: pieces are short where tanh bends. p is minimax for the error relative to tanh.

Remez's exchange algorithm finds each p in 60 digits; its coefficients are then rounded to the dtype.
"""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import mpmath as mp
import numpy as np

mp.mp.dps = 60

Numbers = list[mp.mpf]

CSRC = Path(__file__).parents[1] / "csrc"
FILES = [CSRC / "vec_math.h", CSRC / "vec_tables.h"]

# Rounding x*log2(e) to an integer happens with an error of its own, so r may pass ln2/2 by a little.
EDGE = mp.log(2) / 2 * (1 + mp.mpf(2) ** -10)

ENTRIES = 16  # of a table: a vector's lanes
SHIFT = mp.mpf(5) / 8
TANH_DEGREE = 5


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


def largest_of_each_sign(error: Numbers, count: int) -> list[int]:
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


def grid(low: mp.mpf, high: mp.mpf) -> Numbers:
    """Points of an interval, falling, close to each other at its ends; none is in its middle."""
    return [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / 1000) for i in range(500)]


def errors(points: Numbers, values: Numbers, weights: Numbers, p: Numbers) -> Numbers:
    return [w * (v - mp.polyval(p[::-1], r)) for r, v, w in zip(points, values, weights, strict=True)]


def largest(points: Numbers, values: Numbers, weights: Numbers, p: Numbers) -> mp.mpf:
    return max(map(abs, errors(points, values, weights, p)))


def remez(points: Numbers, values: Numbers, weights: Numbers, terms: int) -> Numbers:
    """Coefficients, lowest first, of the polynomial with the least max |weights * (values - polynomial)|."""
    chosen = [round((len(points) - 1) * (1 - math.cos(math.pi * i / terms)) / 2) for i in range(terms + 1)]
    while True:
        rows = [
            [points[i] ** k for k in range(terms)] + [(-1) ** j / weights[i]] for j, i in enumerate(chosen)
        ]
        coefficients = list(mp.lu_solve(mp.matrix(rows), mp.matrix([values[i] for i in chosen])))[:terms]
        found = largest_of_each_sign(errors(points, values, weights, coefficients), terms + 1)
        if found == chosen:
            return coefficients
        chosen = found


def fit_expm1(dtype: Dtype, edge: mp.mpf, degree: int) -> tuple[Numbers, mp.mpf]:
    """The coefficients of r^2, r^3, ... in expm1, and the largest error relative to expm1."""
    points = grid(-edge, edge)
    values = [(mp.expm1(r) - r - r**2 / 2) / r**3 for r in points]
    weights = [abs(r**3 / mp.expm1(r)) for r in points]
    p = [rounded(c, dtype.digits) for c in remez(points, values, weights, degree - 2)]
    return [mp.mpf(1) / 2, *p], largest(points, values, weights, p)


def tanh_edges() -> Numbers:
    """Where the pieces of tanh begin, and the last one ends."""
    numbers = [mp.ldexp(4 + q, exponent) for exponent in range(-3, 2) for q in range(4)]
    first = numbers.index(SHIFT)
    return [number - SHIFT for number in numbers[first : first + ENTRIES + 1]]


def fit_tanh(low: mp.mpf, high: mp.mpf, digits: int) -> tuple[Numbers, mp.mpf]:
    """The coefficients of 1, r, r^2, ... in tanh(low + r), and the largest error relative to it."""
    points = grid(mp.mpf(0), high - low)
    # Around 0 what follows r, which is then as exact as its last sum.
    known = [mp.tanh(low)] if low else [mp.mpf(0), mp.mpf(1)]
    values = [(mp.tanh(low + r) - mp.polyval(known[::-1], r)) / r ** len(known) for r in points]
    weights = [r ** len(known) / mp.tanh(low + r) for r in points]
    p = remez(points, values, weights, TANH_DEGREE + 1 - len(known))
    return [rounded(c, digits) for c in known + p], largest(points, values, weights, p)


def lines(texts: list[str]) -> list[str]:
    return ["    " + ", ".join(texts[i : i + 4]) + "," for i in range(0, len(texts), 4)]


def constants(dtype: Dtype) -> list[str]:
    """The lines of vec_math.h for one dtype."""
    ln2, short = mp.log(2), rounded(mp.log(2), dtype.short)
    high = rounded(ln2, dtype.digits)
    return [
        f"#define LOG2E {literal(1 / ln2, dtype)}",
        "#if FUSED",
        f"#define LN2_HI {literal(high, dtype)}",
        f"#define LN2_LO {literal(ln2 - high, dtype)}",
        "#else",
        f"#define LN2_HI {literal(short, dtype)} /* {dtype.short} bits: n * LN2_HI is exact */",
        f"#define LN2_LO {literal(ln2 - short, dtype)}",
        "#endif",
    ]


def polynomial(dtype: Dtype, degree: int, edge: mp.mpf = EDGE) -> list[str]:
    """Those of expm1, for one dtype or with a table."""
    q, error = fit_expm1(dtype, edge, degree)
    return [
        f"/* expm1 of degree {degree}, relative error {mp.nstr(error, 2)} */",
        "static const real expm1_table[] = {",
        *lines([literal(c, dtype) for c in q]),
        "};",
    ]


def bits(x: mp.mpf) -> int:
    """Those of a float32."""
    return int(np.float32(float(rounded(x, 24))).view(np.int32))


def tables(dtype: Dtype) -> list[list[str]]:
    """The lines of vec_tables.h, but for comments between them."""
    powers = [mp.mpf(2) ** (mp.mpf(j) / ENTRIES) for j in range(ENTRIES)]
    steps = [bits(power) - bits(mp.mpf(1)) - (j << 19) for j, power in enumerate(powers)]
    fits = [fit_tanh(low, high, dtype.digits) for low, high in itertools.pairwise(tanh_edges())]
    first = (bits(SHIFT) >> 21) % ENTRIES  # the place of the first piece
    fits = fits[-first:] + fits[:-first]
    rows = [[literal(c[power], dtype) for c, _ in fits] for power in range(TANH_DEGREE + 1)]
    return [
        polynomial(dtype, 3, EDGE / ENTRIES),
        ["static const real power_table[] WHOLE = {", *lines([literal(p, dtype) for p in powers]), "};"],
        ["static const real_int power_bits[] WHOLE = {", *lines([str(step) for step in steps]), "};"],
        [
            f"#define TANH_SHIFT {literal(SHIFT, dtype)}",
            f"/* relative error {mp.nstr(max(error for _, error in fits), 2)} */",
            "static const real tanh_table[][16] WHOLE = {",
            *(line for row in rows for line in ["    {", *("    " + line for line in lines(row)), "    },"]),
            "};",
        ],
    ]


def main() -> int:
    blocks = [block for dtype in DTYPES for block in (constants(dtype), polynomial(dtype, dtype.degree))]
    blocks += tables(DTYPES[0])
    texts = ["\n".join(block) for block in blocks]
    if sys.argv[1:] == ["--check"]:
        present = "".join("".join(file.read_text() for file in FILES).split())
        stale = [text for text in texts if "".join(text.split()) not in present]
        print("\n\n".join(stale), end="\n" if stale else "")
        return 1 if stale else 0
    print("\n\n".join(texts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
