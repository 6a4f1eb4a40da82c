/* The translation unit of the kernels, compiled once for each instruction set and dtype (CMakeLists.txt). It
 * turns the list of cells into functions and exports one table. */
#include <string.h>

#include "kernels.h"
#include "vec.h"

#include "cell.h"

#include "cells/gru.h"
#include "cells/gru_before.h"
#include "cells/lstm.h"
#include "cells/rnn_relu.h"
#include "cells/rnn_tanh.h"

static const cell *const cells[] = {
#define CELL(name, ...) &name,
#include "cells.def"
#undef CELL
};

#include "panels.h"

#include "gemm.h"
#include "packing.h"

#include "threads.h"

#include "forward.h"

#include "step.h"

#include "backward.h"

#include "gradients.h"

#include "norm.h"

/* The list says in numbers what the cell file says in formulas. */
#define CELL(name, gates_, states_, saves_)                                                                  \
    static void name##_forward(const pyrnn_job *job, pyrnn_walk *me, int number)                             \
    {                                                                                                        \
        forward(&name, name##_point, job, me, number);                                                       \
    }                                                                                                        \
    static void name##_backward(const pyrnn_job *job, const pyrnn_block *block, pyrnn_walk *me, int number)  \
    {                                                                                                        \
        backward(&name, name##_back, job, block, me, number);                                                \
    }                                                                                                        \
    static void name##_step(pyrnn_prepared *prepared, const void *x, const void *const *state0,              \
                            void *const *state, void *y)                                                     \
    {                                                                                                        \
        step(&name, name##_point, name##_forward, prepared, x, state0, state, y);                            \
    }
#include "cells.def"
#undef CELL

extern const pyrnn_kernels PYRNN_TABLE;
const pyrnn_kernels PYRNN_TABLE = {
    .lanes = L,
    .cells =
        {
#define CELL(name, ...) {name##_forward, name##_backward, name##_step},
#include "cells.def"
#undef CELL
        },
    .packed_size = packed_size,
    .pack = pack,
    .plan_forward = plan_forward,
    .plan_backward = plan_backward,
    .gather = gather_pairs,
    .products = products,
    .finish = finish,
    .step_size = sizeof(step_memory),
    .step_init = step_init,
    .norm_forward = norm_forward,
    .norm_backward = norm_backward,
    .norm_finish = norm_finish,
};
