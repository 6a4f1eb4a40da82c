/* What the machine is, as far as the way that a call is cut up depends on it: asked for once. */
#include <stdatomic.h>
#include <unistd.h>

#include "kernels.h"

#if defined __x86_64__ || defined __i386__
#include <cpuid.h>
#endif

/* What sysconf says of a cache, and something usual where it does not; `known` is 0 before the first call. */
static size_t cache_size(atomic_size_t *known, int name, size_t usual)
{
    size_t bytes = atomic_load(known);
    if (!bytes) {
        const long found = sysconf(name);
        bytes = found > 0 ? (size_t)found : usual;
        atomic_store(known, bytes);
    }
    return bytes;
}

#ifndef _SC_LEVEL1_DCACHE_SIZE /* a number that no system has a meaning for */
enum { _SC_LEVEL1_DCACHE_SIZE = -1, _SC_LEVEL2_CACHE_SIZE = -1 };
#endif

/* Bytes of a core's level-1 cache for data. */
size_t pyrnn_level1(void)
{
    static atomic_size_t size;
    return cache_size(&size, _SC_LEVEL1_DCACHE_SIZE, 1u << 15);
}

/* Bytes of a core's level-2 cache. */
size_t pyrnn_level2(void)
{
    static atomic_size_t size;
    return cache_size(&size, _SC_LEVEL2_CACHE_SIZE, 1u << 20);
}

/* Not sysconf: on AMD's CPUs it counts the caches of all neighbourhoods. Intel's say it in leaf 4, AMD's in 0x8000001d, in the
 * same bits. */
static size_t level3(void)
{
#if defined __x86_64__ || defined __i386__
    static const unsigned leaves[] = {4, 0x8000001d};
    enum { NO_MORE = 0, LEVEL = 3 };
    enum { CACHES = 16 }; /* at most: an emulator may not say where they end */
    for (int l = 0; l < 2; l++) {
        unsigned type, sizes, sets, other;
        for (unsigned i = 0; i < CACHES; i++) {
            if (!__get_cpuid_count(leaves[l], i, &type, &sizes, &sets, &other) || (type & 31) == NO_MORE)
                break;
            if ((type >> 5 & 7) == LEVEL)
                return (size_t)((sizes >> 22) + 1) * ((sizes >> 12 & 1023) + 1) * ((sizes & 4095) + 1) *
                       ((size_t)sets + 1);
        }
    }
#endif
    return SIZE_MAX;
}

/* Bytes of the level-3 cache that the cores of this one's neighbourhood share; SIZE_MAX where the CPU does not say. */
size_t pyrnn_level3(void)
{
    static atomic_size_t size;
    size_t bytes = atomic_load(&size);
    if (!bytes) {
        bytes = level3();
        atomic_store(&size, bytes);
    }
    return bytes;
}

/* How many operations of a step each thread must have for units to be shared: the time of a round's end. Cores around one
 * level-3 cache of a few dozen MB hand a line over in 0.1 us; across the mesh of a large CPU, or where nobody says how far it
 * is, it takes several times as long. */
double pyrnn_round_flops(void)
{
    const size_t neighbourhood = (size_t)64 << 20;
    return pyrnn_level3() <= neighbourhood ? 1e4 : 6e4;
}
