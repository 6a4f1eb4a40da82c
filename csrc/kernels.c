/* The translation unit of the kernels, compiled once for each instruction set and dtype (CMakeLists.txt). It
 * turns the list of cells into functions and exports one table. */
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "vec.h"

#include "cell.h"

#include "activation.h"
#include "statistics.h"

#include "cells/gru.h"
#include "cells/gru_before.h"
#include "cells/gru_norm.h"
#include "cells/indrnn.h"
#include "cells/lstm.h"
#include "cells/lstm_norm.h"
#include "cells/mingru.h"
#include "cells/minlstm.h"
#include "cells/rnn.h"

static const cell *const cells[] = {
#define CELL(name, ...) &name,
#include "cells.def"
#undef CELL
};

static point_function *const points[] = {
#define CELL(name, ...) name##_point,
#include "cells.def"
#undef CELL
};

static back_function *const backs[] = {
#define CELL(name, ...) name##_back,
#include "cells.def"
#undef CELL
};

/* A layer's cell, with its options. Without options it is the plain cell but for that. */
NOINLINE static cell cell_of(const pyrnn_layer *layer)
{
    cell c = *cells[layer->cell];
    c.general = 1;
    if (layer->peepholes) {
        c.peeps = 1;
        c.units = (tiny)(c.units + c.peepholes);
    }
    c.first_own = c.slots;
    c.slots = (tiny)(c.slots + c.units);
    if (layer->projection > 0) {
        const int last = c.phases++; /* as lstm_projected */
        c.projected = 1;
        c.phase[last - 1].saves |= 1u << c.saves;
        c.phase[last].first = c.slots++;
        c.phase[last].count = 1;
        c.phase[last].source = c.saves++;
    }
    return c;
}

/* The same, and the layer's activations no longer by default. */
ONCE static cell resolved(pyrnn_layer *layer)
{
    cell c = cell_of(layer);
    if (layer->activation == PYRNN_DEFAULT)
        layer->activation = c.activation;
    if (layer->recurrent_activation == PYRNN_DEFAULT)
        layer->recurrent_activation = c.recurrent_activation;
    return c;
}

#include "panels.h"

#include "gemm.h"
#include "gemm_row.h"
#include "packing.h"

#include "threads.h"

#include "noise.h"

#include "states.h"

/* What is compiled for itself of a cell without a recurrent product. */
typedef struct forward_row forward_row;
typedef struct backward_row backward_row;
typedef struct {
    void (*forward)(const pyrnn_job *job, share panels, const forward_row *row, const real *ax,
                    ptrdiff_t ax_panel);
    void (*backward)(const pyrnn_job *job, share panels, const backward_row *row, int more,
                     ptrdiff_t panel_step);
} pass_alone;
static const pass_alone alones[PYRNN_CELLS];

#include "coming.h"

#include "forward_row.h"

#include "forward_single.h"

#include "forward.h"

#include "step.h"

#include "backward_space.h"

#include "backward_row.h"

#include "backward_single.h"

#include "backward.h"

#include "gradients.h"

#include "matrix.h"

#include "attention.h"

#include "linear.h"

#include "norm.h"

#include "update.h"

/* A plain cell runs in a driver of its own, and so do options that are asked for often, but where code is to be small:
 * OWN(cell, form, constants), the latter what the compiler knows. Of ALONE cells, only their pass over a row's units. */
#ifndef PYRNN_ONE_DRIVER
#define WITH_OPTIONS                                                                                         \
    OWN(lstm, OPTIONS, lstm_options)                                                                         \
    OWN(lstm, PEEPHOLES, lstm_peephole)                                                                      \
    OWN(lstm, PROJECTED, lstm_projected)                                                                     \
    OWN(gru, OPTIONS, gru_options)                                                                           \
    OWN(lstm_norm, PLAIN_CELL, lstm_norm_own)
#define PLAIN(name, ...) OWN(name, PLAIN_CELL, name)
#define CELL(name, ...)
#define OWN(cell, form, constants)                                                                           \
    static void constants##_forward(const pyrnn_job *job, pyrnn_walk *me, int number, share steps)           \
    {                                                                                                        \
        forward(&constants, cell##_point, job, me, number, steps);                                           \
    }                                                                                                        \
    static void constants##_backward(const pyrnn_job *job, const pyrnn_block *block, pyrnn_walk *me,         \
                                     int number)                                                             \
    {                                                                                                        \
        backward(&constants, cell##_back, job, block, me, number);                                           \
    }                                                                                                        \
    static void constants##_step(pyrnn_prepared *prepared, const void *x, const void *const *state0,         \
                                 void *const *state, void *y)                                                \
    {                                                                                                        \
        step(&constants, cell##_point, constants##_forward, prepared, x, state0, state, y);                  \
    }
#define ALONE(name, ...)                                                                                     \
    static void name##_forward_alone(const pyrnn_job *job, share panels, const forward_row *row,             \
                                     const real *ax, ptrdiff_t ax_panel)                                     \
    {                                                                                                        \
        forward_alone(&name, name##_point, 0, job, NULL, panels, row, ax, ax_panel);                         \
    }                                                                                                        \
    static void name##_backward_alone(const pyrnn_job *job, share panels, const backward_row *row, int more, \
                                      ptrdiff_t panel_step)                                                  \
    {                                                                                                        \
        backward_alone(&name, name##_back, 0, job, NULL, panels, row, more, panel_step);                     \
    }
#include "cells.def"
WITH_OPTIONS
#undef ALONE
#undef OWN
#undef PLAIN

#define PLAIN(...)
#define ALONE(name, ...) [PYRNN_##name] = {name##_forward_alone, name##_backward_alone},
static const pass_alone alones[PYRNN_CELLS] = {
#include "cells.def"
};
#undef ALONE
#undef PLAIN
#undef CELL
#endif

/* All others, and cells with options, share one. */
static void any_forward(const pyrnn_job *job, pyrnn_walk *me, int number, share steps)
{
    const cell c = cell_of(&job->layer);
    forward(&c, points[job->layer.cell], job, me, number, steps);
}

static void any_backward(const pyrnn_job *job, const pyrnn_block *block, pyrnn_walk *me, int number)
{
    const cell c = cell_of(&job->layer);
    backward(&c, backs[job->layer.cell], job, block, me, number);
}

static void any_step(pyrnn_prepared *prepared, const void *x, const void *const *state0, void *const *state,
                     void *y)
{
    step_rows(any_forward, prepared, x, state0, state, y);
}

extern const pyrnn_kernels PYRNN_TABLE;
const pyrnn_kernels PYRNN_TABLE = {
    .lanes = L,
#ifndef PYRNN_ONE_DRIVER
#define CELL(name, ...)
#define PLAIN(name, ...) OWN(name, PLAIN_CELL, name)
#define OWN(cell, form, constants)                                                                           \
    [PYRNN_##cell][form] = {constants##_forward, constants##_backward, constants##_step},
    .own =
        {
#include "cells.def"
            WITH_OPTIONS},
#undef OWN
#undef PLAIN
#undef CELL
#endif
    .any = {any_forward, any_backward, any_step},
    .packed_size = packed_size,
    .pack = pack,
    .plan_forward = plan_forward,
    .plan_backward = plan_backward,
    .project = project_ahead,
    .gather = gather_pairs,
    .products = products,
    .finish = finish,
    .attend = attend,
    .attend_weights = attend_weights,
    .attend_back = attend_back,
    .linear_forward = linear_forward,
    .linear_backward = linear_backward,
    .step_size = sizeof(step_memory),
    .step_init = step_init,
    .norm_forward = norm_forward,
    .norm_backward = norm_backward,
    .norm_finish = norm_finish,
    .update = update,
};
