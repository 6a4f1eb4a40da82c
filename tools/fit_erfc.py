"""Print the Chebyshev coefficients of pyrnn/layers/_activations.py: (1 + 2x) exp(x^2) erfc(x) over x >= 0.

    python tools/fit_erfc.py

needs mpmath. The variable t = (x - K) / (x + K) takes x >= 0 to [-1, 1]: Shepherd & Laframboise 1981,
Mathematics of Computation 36:249-253, with their K = 3.75.
"""

import mpmath

K, TERMS = mpmath.mpf("3.75"), 60
mpmath.mp.dps = 60


def function(t):
    if t == 1:
        return 2 / mpmath.sqrt(mpmath.pi)
    x = K * (1 + t) / (1 - t)
    return (1 + 2 * x) * mpmath.exp(x * x) * mpmath.erfc(x)


def main():
    angles = [mpmath.pi * (2 * i + 1) / (2 * TERMS) for i in range(TERMS)]
    values = [function(mpmath.cos(angle)) for angle in angles]
    for n in range(TERMS):
        c = 2 * sum(v * mpmath.cos(n * a) for v, a in zip(values, angles, strict=True)) / TERMS
        c /= 2 if n == 0 else 1
        if abs(c) < mpmath.mpf("1e-17"):
            break
        print(f"    {float(c)!r},")


if __name__ == "__main__":
    main()
