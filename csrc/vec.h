/*
 * The vector layer: one vector V of L reals, its loads and stores, and what it is turned and added up with.
 *
 * Compiled once per instruction set and dtype (-DPYRNN_REAL=32 or 64); whatever is special to either stands
 * here and in vec_math.h, its functions, and nowhere else. Compile with -ffp-contract=off: then a product and a sum are fused by
 * vfma and by nothing else, and an expression gives the same bits wherever it is inlined.
 */
#ifndef PYRNN_VEC_H
#define PYRNN_VEC_H

#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

/* ---- what the machine has ---- */

#if defined __AVX512F__ && defined __AVX512DQ__ && defined __AVX512VL__
#define PYRNN_BYTES 64
#define X86(op) PASTE(_mm512_, op, SUFFIX)
#elif defined __AVX2__ && defined __FMA__
#define PYRNN_BYTES 32
#define X86(op) PASTE(_mm256_, op, SUFFIX)
#else
#define PYRNN_BYTES 16
#define X86(op) PASTE(_mm_, op, SUFFIX)
#endif
#define PASTE(a, b, c) PASTE_EXPANDED(a, b, c)
#define PASTE_EXPANDED(a, b, c) a##b##c

#if PYRNN_REAL == 32
typedef float real;
typedef int32_t real_int; /* as wide as a real */
typedef uint32_t real_uint;
#define SUFFIX _ps
#define NEON(op) op##_f32
#elif PYRNN_REAL == 64
typedef double real;
typedef int64_t real_int;
typedef uint64_t real_uint;
#define SUFFIX _pd
#define NEON(op) op##_f64
#else
#error "compile with -DPYRNN_REAL=32 or -DPYRNN_REAL=64"
#endif

enum { L = PYRNN_BYTES / sizeof(real) };

#define TABLES (PYRNN_BYTES == 64 && PYRNN_REAL == 32) /* whether a vector can fetch from them */

typedef real V __attribute__((vector_size(PYRNN_BYTES)));
typedef real_int VI __attribute__((vector_size(PYRNN_BYTES)));
typedef real_uint VU __attribute__((vector_size(PYRNN_BYTES)));
typedef real unaligned_V __attribute__((vector_size(PYRNN_BYTES), aligned(sizeof(real))));

/* vmin, vmax: a NaN in b comes through; one in a need not. So a is the constant and b the argument.
 * vfma: a*b + c, rounded once where FUSED, else twice. */
#if defined __SSE2__
#include <immintrin.h>
#define FUSED (PYRNN_BYTES > 16)
INLINE V vmin(V a, V b) { return X86(min)(a, b); }
INLINE V vmax(V a, V b) { return X86(max)(a, b); }
#elif defined __aarch64__
#include <arm_neon.h>
#define FUSED 1
INLINE V vmin(V a, V b) { return NEON(vminq)(a, b); }
INLINE V vmax(V a, V b) { return NEON(vmaxq)(a, b); }
#else
#define FUSED 0
INLINE V vmin(V a, V b) { return (V)(((a < b) & (VI)a) | (~(a < b) & (VI)b)); }
INLINE V vmax(V a, V b) { return (V)(((a > b) & (VI)a) | (~(a > b) & (VI)b)); }
#endif

INLINE V vsqrt(V a)
{
#if defined __SSE2__
    return X86(sqrt)(a);
#elif defined __aarch64__
    return NEON(vsqrtq)(a);
#else
    for (int i = 0; i < L; i++)
        a[i] =
            (real)__builtin_sqrt((double)a[i]); /* of a float, rounded twice, it is the nearest float too */
    return a;
#endif
}

INLINE V vfma(V a, V b, V c)
{
#if !FUSED
    return a * b + c;
#elif defined __SSE2__
    return X86(fmadd)(a, b, c);
#else
    return NEON(vfmaq)(c, a, b);
#endif
}

/* acc + a*b, in the register of acc. In a long loop of many sums the compiler would load what comes later first, and then spill
 * sums or move them about. Where loops are short, or registers are 16, it does well: then it takes b from memory. */
INLINE V vaccumulate(V a, V b, V acc)
{
#if PYRNN_BYTES == 64 && PYRNN_REAL == 32
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
#else
    return vfma(a, b, acc);
#endif
}

/* ---- loads and stores ---- */

/* a - 0 is a for every a, so no instruction is needed for it; -0 + 0 would not be -0. */
INLINE V vset(real a) { return a - (V){0}; }

INLINE V vload(const real *p) { return *(const unaligned_V *)p; }
INLINE void vstore(real *p, V v) { *(unaligned_V *)p = v; }

/* p is aligned to sizeof(V). */
INLINE V vloada(const real *p) { return *(const V *)p; }
INLINE void vstorea(real *p, V v) { *(V *)p = v; }

/* The same, past the caches: a line that is written whole is not read before. Others see it once it is behind vstream_end. */
INLINE void vstream(real *p, V v)
{
#if defined __SSE2__
    X86(stream)(p, v);
#else
    vstorea(p, v);
#endif
}

INLINE void vstream_end(void)
{
#if defined __SSE2__
    _mm_sfence();
#endif
}

/* All bits set in the first n lanes, 0 <= n <= L. */
INLINE VI first_lanes(ptrdiff_t n)
{
    VI lane;
    for (int i = 0; i < L; i++)
        lane[i] = i;
    return lane < (real_int)n;
}

/* v, but +0 in the lanes from n on, whatever they held. n >= 0. */
INLINE V vkeep(V v, ptrdiff_t n) { return n >= L ? v : (V)((VI)v & first_lanes(n)); }

/* The first lanes, a half or a quarter of a vector, and zeros. */
#if PYRNN_BYTES == 64 && PYRNN_REAL == 32
enum { CAN_SPREAD = 1 };
INLINE V vload_low(const real *p, int lanes)
{
    return lanes == L / 2 ? (V)_mm512_zextps256_ps512(_mm256_loadu_ps(p))
                          : (V)_mm512_zextps128_ps512(_mm_loadu_ps(p));
}
#else
enum { CAN_SPREAD = 0 };
INLINE V vload_low(const real *p, int lanes)
{
    (void)lanes;
    return vload(p);
}
#endif

#if TABLES
/* For each lane one of 16 numbers of 4 bytes, which lie in one line: the low four bits of `at` say which. */
INLINE V fetch(const void *table, V at) { return _mm512_permutexvar_ps((__m512i)at, _mm512_load_ps(table)); }
#endif

/* p[0] ... p[min(n, L) - 1], then zeros; reads nothing else. n >= 1. */
INLINE V get(const real *p, ptrdiff_t n)
{
    if (n >= L)
        return vload(p);
#if PYRNN_BYTES == 64
    return X86(maskz_loadu)((1u << n) - 1, p);
#elif PYRNN_BYTES == 32
    return X86(maskload)(p, (__m256i)first_lanes(n));
#else
    V v = {p[0]};
    for (int i = 1; i < L - 1; i++)
        if (i < n)
            v[i] = p[i];
    return v;
#endif
}

/* The first min(n, L) lanes of v to p[0] ...; writes nothing else. n >= 1. */
INLINE void put(real *p, V v, ptrdiff_t n)
{
    if (n >= L) {
        vstore(p, v);
        return;
    }
#if PYRNN_BYTES == 64
    X86(mask_storeu)(p, (1u << n) - 1, v);
#elif PYRNN_BYTES == 32
    X86(maskstore)(p, (__m256i)first_lanes(n), v);
#else
    p[0] = v[0];
    for (int i = 1; i < L - 1; i++)
        if (i < n)
            p[i] = v[i];
#endif
}

/* ---- transposition ---- */

/* a0 b0 a1 b1 ...: of the first halves (low) and of the second halves. */
#if PYRNN_BYTES * 8 / PYRNN_REAL == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif PYRNN_BYTES * 8 / PYRNN_REAL == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif PYRNN_BYTES * 8 / PYRNN_REAL == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#else
#define LOW 0, 2
#define HIGH 1, 3
#endif

/* Element j of vector i to element i of vector j. Each pass brings what stands L/2 vectors apart side by side; after
 * log2(L) of them every element has gone where its two numbers, read as one, rotate it. */
INLINE void vtranspose(V *v)
{
#pragma GCC unroll 4
    for (int distance = 1; distance < L; distance *= 2) {
        V next[L];
#pragma GCC unroll 8
        for (int i = 0; i < L / 2; i++) {
            next[2 * i] = __builtin_shufflevector(v[i], v[i + L / 2], LOW);
            next[2 * i + 1] = __builtin_shufflevector(v[i], v[i + L / 2], HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < L; i++)
            v[i] = next[i];
    }
}

/* The sum of all lanes, in each of them. A pass adds what stands L/2 apart and doubles what is left. */
INLINE V vtotal(V v)
{
#pragma GCC unroll 4
    for (int left = L; left > 1; left /= 2)
        v = __builtin_shufflevector(v, v, LOW) + __builtin_shufflevector(v, v, HIGH);
    return v;
}

/* The largest of all lanes, in each of them; a NaN may go unseen. */
INLINE V vlargest(V v)
{
#pragma GCC unroll 4
    for (int left = L; left > 1; left /= 2)
        v = vmax(__builtin_shufflevector(v, v, LOW), __builtin_shufflevector(v, v, HIGH));
    return v;
}

#include "vec_math.h"

#undef LOW
#undef HIGH
#undef X86
#undef NEON
#undef PASTE
#undef PASTE_EXPANDED
#undef SUFFIX
#undef FUSED

#endif
