/*
 * The error of vexp, vsigmoid and vtanh in units in the last place, for the instruction set and dtype it is
 * compiled for. tools/measure_ulp.py compiles and runs it.
 *
 *     ulp exp|sigmoid|tanh step      float32: every step-th bit pattern (1: all of them)
 *     ulp exp|sigmoid|tanh points    float64: so many points, half spaced evenly, half by their bit patterns
 *
 * Both add the neighbourhoods of the points where something changes. Truth is libm in double (float32) or
 * long double (float64). Prints the largest error and its argument. A NaN or an infinity out of place, a
 * zero of the wrong sign, and a sigmoid or tanh beyond 1 count as infinite errors. Everything is tried twice: as
 * this program is started, and as kernels run, where zero is the right result below the smallest normal number.
 * Exit status: 0, 2 for a wrong call, 3 if this CPU lacks the instruction set.
 */
#include "../../csrc/denormals.h"
#include "../../csrc/vec.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if PYRNN_REAL == 32
typedef double wide;
#define WIDE(f) f
#define DIGITS FLT_MANT_DIG
#define SMALLEST FLT_TRUE_MIN
#define NORMAL FLT_MIN
#define EPSILON FLT_EPSILON
#define LARGEST FLT_MAX
#define SIGN 0x80000000u
#else
typedef long double wide;
#define WIDE(f) f##l
#define DIGITS DBL_MANT_DIG
#define SMALLEST DBL_TRUE_MIN
#define NORMAL DBL_MIN
#define EPSILON DBL_EPSILON
#define LARGEST DBL_MAX
#define SIGN 0x8000000000000000u
#endif

enum { BLOCK = 64 * L };

static V exp_v(V x) { return vexp(x); }

static V sigmoid_v(V x) { return vsigmoid(x); }

static V tanh_v(V x) { return vtanh(x); }

static wide sigmoid_wide(wide x)
{
    wide e = WIDE(exp)(-WIDE(fabs)(x));
    return (x < 0 ? e : 1) / (1 + e);
}

static int supported(void)
{
#if defined __AVX512F__
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
#elif defined __AVX2__
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return 1;
#endif
}

static const struct function {
    const char *name;
    V (*fast)(V);
    wide (*truth)(wide);
    int bounded; /* by 1 */
} functions[] = {
    {"exp", exp_v, WIDE(exp), 0},
    {"sigmoid", sigmoid_v, sigmoid_wide, 1},
    {"tanh", tanh_v, WIDE(tanh), 1},
};

static const struct function *function;
static real queue[BLOCK] __attribute__((aligned(64)));
static int queued;
static double worst;
static real worst_at;

static double ulps(real got, wide want)
{
    int exponent;

    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (function->bounded && WIDE(fabs)(got) > 1)
        return INFINITY;
    if (want == 0)
        return got == 0 && !signbit(got) == !signbit(want) ? 0 : INFINITY;
    if (isinf((real)want))
        return got == (real)want ? 0 : INFINITY;
    WIDE(frexp)(want, &exponent);
    wide ulp = WIDE(ldexp)(1, exponent - DIGITS);
    return (double)(WIDE(fabs)(got - want) / (ulp < SMALLEST ? SMALLEST : ulp));
}

static void measure(int as_kernels)
{
    real result[BLOCK] __attribute__((aligned(64)));
    fp_state before = 0;

    if (as_kernels)
        before = denormals_off();
    for (int i = 0; i < BLOCK; i += L)
        vstorea(result + i, function->fast(vloada(queue + i)));
    if (as_kernels)
        fp_restore(before);
    for (int i = 0; i < queued; i++) {
        wide want = function->truth(queue[i]);
        /* What is rounded to a smaller number than the truth may fall below the normal ones. */
        if (as_kernels && result[i] == 0 && WIDE(fabs)(want) < NORMAL * (1 + 3 * (wide)EPSILON))
            continue;
        /* An ulp is at least 2^-DIGITS of the value: most results need no closer look. */
        wide limit = worst * WIDE(fabs)(want) / ((real_int)1 << DIGITS);
        if (WIDE(fabs)(result[i] - want) < limit && !(function->bounded && WIDE(fabs)(result[i]) > 1))
            continue;
        double error = ulps(result[i], want);
        if (error > worst) {
            worst = error;
            worst_at = queue[i];
        }
    }
}

static void flush(void)
{
    for (int i = queued; i < BLOCK; i++)
        queue[i] = 0;
    measure(0);
    measure(1);
    queued = 0;
}

static void try(real x)
{
    queue[queued++] = x;
    if (queued == BLOCK)
        flush();
}

static void try_bits(real_uint bits)
{
    real x;
    memcpy(&x, &bits, sizeof x);
    try(x);
}

/* `count` numbers on either side of x. */
static void try_around(double center, int count)
{
    real x = (real)center;
    real_uint bits;
    memcpy(&bits, &x, sizeof bits);
    for (int i = -count; i <= count; i++) {
        try_bits((bits + (real_uint)i) & ~SIGN);
        try_bits((bits + (real_uint)i) | SIGN);
    }
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (argc == 3 && !strcmp(argv[1], functions[i].name))
            function = &functions[i];
    const long long n = argc == 3 ? atoll(argv[2]) : 0;
    if (!function || n < 1)
        return 2;
    if (!supported())
        return 3;

    /* Where n changes; 0 and infinity (NaNs are next to it); where results turn subnormal, 0, 1, infinite. */
    const double ln2 = 0.69314718055994531;
    for (int k = 1; k <= 17600; k++)
        try_around(k * ln2 / 32, 8);
    /* And where the pieces of tanh begin: a multiple of an eighth each, 0.125 to 7.375. */
    for (int k = 1; k <= 59; k++)
        try_around(k * 0.125, 2000);
    const double edges[] = {
        0,
        INFINITY,
        LARGEST,
        1,
        9.0109,
        9.25,
        10,
        16.64,
        17.33,
        19.07,
        20,
        36.74,
        37.43,
        52,
        87.34,
        88.7228394,
        89,
        103.28,
        103.972,
        104,
        372.6,
        708.4,
        709.7827128933841,
        710,
        744.44,
        745.13321910194122,
        745.2,
    };
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        try_around(edges[i], 2000);

#if PYRNN_REAL == 32
    for (long long bits = 0; bits <= UINT32_MAX; bits += n)
        try_bits((uint32_t)bits);
#else
    for (long long i = 0; i < n / 4; i++) {
        double x = 2.0 * (double)i / ((double)n / 4) - 1;
        try(x * 760);
        try(x * 20);
    }
    /* From 2^-64 to 2^11: outside there is nothing but x or 1 + x, and the limits. */
    const uint64_t first = 0x3bf0000000000000, step = (0x40a0000000000000 - first) / ((uint64_t)n / 4 + 1);
    for (uint64_t bits = first; bits < 0x40a0000000000000; bits += step) {
        try_bits(bits);
        try_bits(bits | SIGN);
    }
#endif
    flush();
    printf("%.4f %.17g\n", worst, (double)worst_at);
    return 0;
}
