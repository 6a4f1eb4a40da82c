/* What one core can do at most: multiply-adds a second on registers, and bytes a second read from a buffer of a given
 * size. Compiled by roof.py for the very CPU it runs on; each function works for about `seconds` and returns the rate.
 */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

#define CHAINS                                                                                               \
    12 /* independent sums: two ports of latency 4 need 8; with the two factors they fit 16 registers */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* a = a * m + c tends to 1: neither overflow nor denormals slow it down. m and c come from memory, or the compiler would see
 * that a chain that begins with 1 stays there, and leave out one of the twelve that are counted. */
#define FMA(real, name)                                                                                      \
    double name(double seconds)                                                                              \
    {                                                                                                        \
        typedef real V __attribute__((vector_size(BYTES)));                                                  \
        const int turns = 4096, lanes = BYTES / sizeof(real);                                                \
        volatile real sink, half = (real)0.5;                                                                \
        V a[CHAINS], m = (V){0} + half, c = (V){0} + half, sum = {0};                                        \
        double start = now(), end, rounds = 0;                                                               \
        for (int i = 0; i < CHAINS; i++)                                                                     \
            a[i] = (V){0} + (real)i;                                                                         \
        do {                                                                                                 \
            for (int k = 0; k < turns; k++)                                                                  \
                for (int i = 0; i < CHAINS; i++)                                                             \
                    a[i] = a[i] * m + c;                                                                     \
            rounds++;                                                                                        \
            end = now();                                                                                     \
        } while (end - start < seconds);                                                                     \
        for (int i = 0; i < CHAINS; i++)                                                                     \
            sum += a[i];                                                                                     \
        sink = sum[0];                                                                                       \
        (void)sink;                                                                                          \
        return 2.0 * rounds * turns * CHAINS * lanes / (end - start);                                        \
    }

FMA(float, fma_f32)
FMA(double, fma_f64)

/* `bytes` is a multiple of 1024. Returns 0 when there is no memory for it. */
double read_rate(size_t bytes, double seconds)
{
    typedef uint64_t V __attribute__((vector_size(BYTES)));
    const size_t n = bytes / BYTES, passes = bytes < (1 << 20) ? (1 << 20) / bytes : 1;
    V *buffer = aligned_alloc(1024, bytes), a[8] = {0};
    volatile uint64_t sink = 0;
    double start, end, rounds = 0;
    if (!buffer)
        return 0;
    memset(buffer, 1, bytes);
    start = now();
    do {
        for (size_t p = 0; p < passes; p++) {
            for (size_t k = 0; k < n; k += 8)
                for (int i = 0; i < 8; i++)
                    a[i] ^= buffer[k + i];
            __asm__ volatile("" : "+r"(buffer)); /* the next pass reads again: it could be another buffer */
        }
        rounds++;
        end = now();
    } while (end - start < seconds);
    for (int i = 0; i < 8; i++)
        sink ^= a[i][0];
    free(buffer);
    return rounds * passes * bytes / (end - start);
}

/* Seconds in which a ball goes from one core to another and back: called in two threads at once, with side 0 and 1. */
double to_and_fro(atomic_int *ball, int side, double seconds)
{
    enum { OVER = -1, TURNS = 100 };
    double start = now(), end = start;
    int at = side, rounds = 0;
    do {
        for (int turn = 0; turn < TURNS; turn++, at += 2, rounds++) {
            int seen;
            while ((seen = atomic_load_explicit(ball, memory_order_acquire)) != at)
                if (seen == OVER)
                    return 0;
            atomic_store_explicit(ball, at + 1, memory_order_release);
        }
        end = now();
    } while (side || end - start < seconds);
    while (atomic_load_explicit(ball, memory_order_acquire) != at)
        ; /* the last answer would overwrite the end */
    atomic_store(ball, OVER);
    return (end - start) / rounds;
}

/* Bytes a second, read and written, of what an optimizer moves: `count` arrays of `bytes` each, a multiple of 1024, of
 * which all are read and all but the first are written. No arithmetic but what the compiler cannot leave out. */
double update_rate(char *const *arrays, int count, size_t bytes, double seconds)
{
    typedef uint64_t V __attribute__((vector_size(BYTES), aligned(4))); /* small arrays lie anywhere */
    const size_t n = bytes / BYTES;
    const V *g = (const V *)arrays[0];
    V *p = (V *)arrays[1], *m = (V *)arrays[count > 2 ? 2 : 1], *v = (V *)arrays[count > 3 ? 3 : 1];
    V *u = (V *)arrays[count > 4 ? 4 : 1];
    double start = now(), end, rounds = 0;
    do {
        for (size_t k = 0; k < n; k++) {
            const V x = g[k];
            p[k] ^= x;
            if (count > 2)
                m[k] ^= x;
            if (count > 3)
                v[k] ^= x;
            if (count > 4)
                u[k] ^= x;
        }
        rounds++;
        end = now();
    } while (end - start < seconds);
    return rounds * (2 * count - 1) * bytes / (end - start);
}
