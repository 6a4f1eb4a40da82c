/* Numbers of either dtype behind one pointer. */
#include "check.h"

static double at(int dtype, const void *p, ptrdiff_t i)
{
    return dtype == PYRNN_F32 ? (double)((const float *)p)[i] : ((const double *)p)[i];
}

static void *numbers(int dtype, ptrdiff_t n)
{
    static unsigned seed = 1;
    void *p = buffer((size_t)n * (size_t)dtype / 8);
    for (ptrdiff_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        double v = (double)(seed >> 8) / (1 << 23) - 1;
        if (dtype == PYRNN_F32)
            ((float *)p)[i] = (float)v;
        else
            ((double *)p)[i] = v;
    }
    return p;
}
