/* The floating-point environment that kernels compute in, whatever the caller's is: rounding to nearest, no traps,
 * and numbers below the smallest normal one read and written as zeros. A state that decays goes through such
 * numbers for hundreds of steps, and a multiply-add on one of them costs a hundred cycles and more.
 *
 * Set in every thread that computes, and put back as it was, exception flags included. Where it cannot be set,
 * results differ in those numbers alone. */
#ifndef PYRNN_DENORMALS_H
#define PYRNN_DENORMALS_H

#include <stdint.h>

#if defined __SSE2__
#include <xmmintrin.h>

typedef unsigned fp_state;

static inline fp_state denormals_off(void)
{
    const unsigned flush_results = 1u << 15, flush_operands = 1u << 6, no_traps = 0x1f80;
    fp_state before = _mm_getcsr();
    _mm_setcsr(flush_results | flush_operands | no_traps);
    return before;
}

static inline void fp_restore(fp_state before) { _mm_setcsr(before); }

#elif defined __aarch64__

typedef uint64_t fp_state; /* the control register; flags are in another one, and are left to grow */

static inline fp_state denormals_off(void)
{
    const uint64_t flush = (uint64_t)1 << 24; /* operands and results */
    fp_state before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(flush) : "memory");
    return before;
}

static inline void fp_restore(fp_state before)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory");
}

#else

typedef int fp_state;

static inline fp_state denormals_off(void) { return 0; }
static inline void fp_restore(fp_state before) { (void)before; }

#endif

#endif
