/* The instruction sets that were built, and which of them this CPU has. isa.def, written by CMakeLists.txt,
 * lists them. */
#include <stdatomic.h>
#include <stddef.h>

#include "kernels.h"

#define ISA(name, test) extern const pyrnn_kernels pyrnn_##name##_f32, pyrnn_##name##_f64;
#include "isa.def"
#undef ISA

static const struct {
    const char *name;
    const pyrnn_kernels *f32, *f64;
} isas[] = {
#define ISA(name, test) {#name, &pyrnn_##name##_f32, &pyrnn_##name##_f64},
#include "isa.def"
#undef ISA
};

enum { ISAS = sizeof(isas) / sizeof(isas[0]) };

static int cpu_has(int isa)
{
#if defined __x86_64__ || defined __i386__
    __builtin_cpu_init();
#endif
    const int has[] = {
#define ISA(name, test) (test) != 0,
#include "isa.def"
#undef ISA
    };
    return has[isa];
}

static atomic_int selected = -1; /* -1: the best one, not looked up yet */

int pyrnn_isa_count(void) { return ISAS; }

const char *pyrnn_isa_name(int isa) { return isa >= 0 && isa < ISAS ? isas[isa].name : NULL; }

int pyrnn_isa_available(int isa) { return isa >= 0 && isa < ISAS && cpu_has(isa); }

int pyrnn_isa_lanes(int isa, int dtype)
{
    if (isa < 0 || isa >= ISAS || (dtype != PYRNN_F32 && dtype != PYRNN_F64))
        return 0;
    return dtype == PYRNN_F32 ? isas[isa].f32->lanes : isas[isa].f64->lanes;
}

int pyrnn_isa_selected(void)
{
    int isa = atomic_load(&selected);
    if (isa < 0) {
        for (isa = 0; !cpu_has(isa); isa++) /* the last one is what the compiler assumes anyway */
            ;
        atomic_store(&selected, isa);
    }
    return isa;
}

pyrnn_status pyrnn_isa_select(int isa)
{
    if (!pyrnn_isa_available(isa))
        return PYRNN_BAD_ISA;
    atomic_store(&selected, isa);
    return PYRNN_OK;
}

const pyrnn_kernels *pyrnn_kernels_of(int isa, int dtype)
{
    return dtype == PYRNN_F32 ? isas[isa].f32 : isas[isa].f64;
}
