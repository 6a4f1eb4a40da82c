/* exp, sigmoid, tanh and relu of vectors: the second half of vec.h, which includes it.
 *
 * The errors stated at the functions are the largest over all arguments, those with subnormal results
 * included, in units in the last place; tools/measure_ulp.py measures them. Kernels take what is below the
 * smallest normal number for zero (denormals.h): there such a result is 0, and the others err no more.
 *
 * Each takes x = n ln2 + r with an integer n and |r| <= ln2/2, and s = exp(r) - 1 from a polynomial; its
 * result is put together from s and 2^n.
 *
 * MAGIC has no bits to spare for a fraction: a small number added to it is rounded to an integer, which then
 * stands in the low bits of the sum. Shifted to the place of the exponent, these are a power of two. What is
 * added to MAGIC itself (the bias of the exponent, say) needs no instruction.
 *
 * A vector of 16 floats can fetch from tables (vec_tables.h). Then n is a multiple of 1/16, and the sum's last four bits
 * say which; the polynomial has three terms in the place of six. tanh needs no exp: it is a polynomial of its own in each of 16
 * pieces. An LSTM's unit takes 61 cycles of a Zen 4 in the place of 89, for the ports of multiply-adds have less to do.
 */
#if PYRNN_REAL == 32
#define FRACTION 23 /* bits of a real's fraction; the exponent is left of them */
#define BIAS 127
#if TABLES
#define MAGIC 0x1.8p19f
#define TANH_HIGH 9.25f /* tanh(9.02) is rounded to 1 */
#else
#define MAGIC 0x1.8p23f
#define TANH_HIGH 10.0f
#endif
#define EXP_LOW -104.0f /* exp(-104) < 2^-150, half of the smallest real: rounded to 0 */
#define EXP_HIGH 89.0f  /* exp(89) > 2^128: infinite */
#define SCALE 24        /* see vsigmoid: exp(104) 2^-24 is finite, and exp(-52) 2^-24 a normal number */

/* From here to the end of the tables: printed by tools/fit_math.py, for float64 too. */
#define LOG2E 0x1.715476p0f
#if FUSED
#define LN2_HI 0x1.62e43p-1f
#define LN2_LO -0x1.05c61p-29f
#else
#define LN2_HI 0x1.62e4p-1f /* 16 bits: n * LN2_HI is exact */
#define LN2_LO 0x1.7f7d1cp-20f
#endif
#if TABLES
#include "vec_tables.h"
#else
/* expm1 of degree 6, relative error 1.5e-8 */
static const real expm1_table[] = {
    0x1p-1f, 0x1.5554b6p-3f, 0x1.5555bap-5f, 0x1.1223eap-7f, 0x1.6c558p-10f,
};
#endif
#else
#define FRACTION 52
#define BIAS 1023
#define MAGIC 0x1.8p52
#define EXP_LOW -745.2 /* exp(-745.2) < 2^-1075 */
#define EXP_HIGH 710.0
#define TANH_HIGH 20.0
#define SCALE 54

#define LOG2E 0x1.71547652b82fep0
#if FUSED
#define LN2_HI 0x1.62e42fefa39efp-1
#define LN2_LO 0x1.abc9e3b39803fp-56
#else
#define LN2_HI 0x1.62e42fefa38p-1 /* 42 bits: n * LN2_HI is exact */
#define LN2_LO 0x1.ef35793c7673p-45
#endif
/* expm1 of degree 11, relative error 2.6e-17 */
static const real expm1_table[] = {
    0x1p-1,
    0x1.555555555553ep-3,
    0x1.5555555553aep-5,
    0x1.1111111118debp-7,
    0x1.6c16c17a109f5p-10,
    0x1.a01a017170654p-13,
    0x1.a019b35a000abp-16,
    0x1.71de97c28b611p-19,
    0x1.2897b24b62df9p-22,
    0x1.ae4903e2fb236p-26,
};
#endif

/* C(i) + r C(i+1) */
#define TERMS(i) vfma(vset(expm1_table[i + 1]), r, vset(expm1_table[i]))

/* (exp(r) - 1 - r) / r^2, by halves (Estrin) and not term after term (Horner): a shorter wait. */
INLINE V expm1_tail(V r)
{
#if TABLES
    return TERMS(0);
#elif PYRNN_REAL == 32
    V r2 = r * r;
    return vfma(vfma(vset(expm1_table[4]), r2, TERMS(2)), r2, TERMS(0));
#else
    V r2 = r * r, r4 = r2 * r2, high = vfma(TERMS(8), r4, vfma(TERMS(6), r2, TERMS(4)));
    return vfma(high, r4, vfma(TERMS(2), r2, TERMS(0)));
#endif
}

/* exp(x - n ln2) - 1 */
INLINE V expm1_reduced(V x, V n)
{
    V rough = vfma(n, vset(-LN2_HI), x), r = vfma(n, vset(-LN2_LO), rough);
    /* In float32 the tail need not wait for r; in float64, |n| up to 1075, that would cost 4 ulp. */
    V tail = expm1_tail(FUSED && PYRNN_REAL == 32 && !TABLES ? rough : r);
    return vfma(r * r, tail, r);
}

/* 2^n of a sum MAGIC + BIAS + n */
INLINE V power(V t)
{
#if TABLES
    return (V)(((VU)t << (FRACTION - 4)) + (VU)fetch(power_bits, t));
#else
    return (V)((VU)t << FRACTION);
#endif
}

/* Error 1.1 ulp. */
INLINE V vexp(V x)
{
    x = vmin(vset(EXP_HIGH), vmax(vset(EXP_LOW), x));
    V t = vfma(x, vset(LOG2E), vset(MAGIC + 2 * BIAS)), n = t - (MAGIC + 2 * BIAS);
    V s = expm1_reduced(x, n);
#if TABLES
    V a = fetch(power_table, t);
    return X86(scalef)(vfma(s, a, a), n);
#elif PYRNN_BYTES == 64
    return X86(scalef)(s + 1, n);
#else
    /* 2^n need not be a normal number: multiply by 2^k, k about n/2, and 2^(n-k). */
    VU both = (VU)t, half = both >> 1;
    V a = (V)(half << FRACTION), b = (V)((both - half) << FRACTION);
    return vfma(s, a, a) * b;
#endif
}

/* 1 / (1 + exp(-x)), numerator and denominator times 2^-SCALE: so exp(-x) is finite even where the result is
 * subnormal. Never above 1. Error 2.5 ulp with tables, 2.0 without. The divider works beside the multipliers, which an
 * estimate and a step of Newton's would take three more turns of. */
INLINE V vsigmoid(V x)
{
    const real one = (real)1 / ((real_int)1 << SCALE);
    x = vmin(vset(-(EXP_LOW) / 2), vmax(vset(EXP_LOW), x));
    V t = vfma(x, vset(-LOG2E), vset(MAGIC + BIAS - SCALE)), n = t - (MAGIC + BIAS - SCALE);
    V s = expm1_reduced(-x, n),
      a = power(t); /* of the two sums below the inner one hardly errs where a is large */
    return vset(one) / (a + vfma(s, a, vset(one)));
}

#if TABLES
/* Never beyond 1. Error 1.6 ulp. */
INLINE V vtanh(V x)
{
    const VU minus = (VU)vset(-0.0), three_bits = ~((1u << (FRACTION - 2)) - 1) + (VU){0};
    V y = vmin(vset(TANH_HIGH), (V)((VU)x & ~minus)), place = y + TANH_SHIFT;
    V piece = (V)((VU)place >> (FRACTION - 2)), r = y - ((V)((VU)place & three_bits) - TANH_SHIFT);
    V z = fetch(tanh_table[5], piece);
#pragma GCC unroll 5
    for (int k = 4; k >= 0; k--)
        z = vfma(z, r, fetch(tanh_table[k], piece));
    return (V)((VU)z | ((VU)x & minus)); /* z is +0 or more, so its sign bit is free */
}
#else
/* -m / (m + 2) with m = expm1(-2|x|), and the sign of x. Never beyond 1. Error 2.3 ulp. */
INLINE V vtanh(V x)
{
    const VU minus = (VU)vset(-0.0);
    V y = vmax(vset(-TANH_HIGH), (V)((VU)x | minus));
    V t = vfma(y, vset(2 * LOG2E), vset(MAGIC + BIAS)), n = t - (MAGIC + BIAS), a = power(t);
#if FUSED
    /* LN2_LO would not matter: where n is large, exp(y) is small. */
    V r = vfma(n, vset(-LN2_HI), y + y), s = vfma(r * r, expm1_tail(r), r);
#else
    V s = expm1_reduced(y + y, n);
#endif
    V z = vfma(-s, a, 1 - a) / vfma(s, a, a + 1); /* +0 or more, so its sign bit is free */
    return (V)((VU)z | ((VU)x & minus));
}
#endif

/* max(x, 0). */
INLINE V vrelu(V x) { return vmax(vset(0), x); }

#undef FRACTION
#undef BIAS
#undef MAGIC
#undef EXP_LOW
#undef EXP_HIGH
#undef TANH_HIGH
#undef SCALE
#undef LOG2E
#undef LN2_HI
#undef LN2_LO
#undef TERMS
