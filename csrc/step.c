/* The entries for single steps: everything is judged by pyrnn_step_init, so that pyrnn_step only computes. */
#include "denormals.h"
#include "kernels.h"

/* The memory of a step: the prepared step, h, the work of the job. */
typedef struct {
    pyrnn_layer layer;
    const pyrnn_kernels *kernels;
    size_t h, work, bytes; /* where h and work begin, and where the memory ends */
} parts;

static size_t rounded(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* Judges, and plans the job in `memory`, or only its size if that is NULL. */
static pyrnn_status prepare(const void *packed, ptrdiff_t B, char *memory, parts *of, pyrnn_job *job)
{
    int isa;
    size_t saved;
    pyrnn_sequence seq = {.T = 1, .B = B, .threads = 1};
    pyrnn_status status = pyrnn_open_packed(packed, PYRNN_FORWARD, &of->layer, &isa);
    if (!status)
        status = pyrnn_saved_size(&of->layer, 1, B, &saved);
    if (status)
        return status;
    seq.x_row = of->layer.inputs;
    of->kernels = pyrnn_kernels_of(isa, of->layer.dtype);
    of->h = rounded(of->kernels->step_size);
    of->work = of->h + rounded((size_t)B * (size_t)layer_outputs(&of->layer) * (size_t)of->layer.dtype / 8);
    of->bytes = of->work + pyrnn_plan(&seq, isa, &of->layer, 0, memory ? memory + of->work : NULL, job);
    return PYRNN_OK;
}

pyrnn_status pyrnn_step_size(const void *packed, ptrdiff_t B, size_t *bytes)
{
    parts of;
    pyrnn_job job;
    if (!bytes)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = prepare(packed, B, NULL, &of, &job);
    if (!status)
        *bytes = of.bytes;
    return status;
}

pyrnn_status pyrnn_step_init(const void *packed, ptrdiff_t B, void *memory)
{
    parts of;
    pyrnn_job job;
    pyrnn_prepared *step = memory;
    if (!memory || (uintptr_t)memory % ALIGNMENT != 0)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = prepare(packed, B, memory, &of, &job);
    if (status)
        return status;
    job.packed = (const char *)packed + ALIGNMENT;
    job.y_row = layer_outputs(&of.layer);
    step->run = kernels_of_job(of.kernels, &job)->step;
    step->job = job;
    step->h = (char *)memory + of.h;
    of.kernels->step_init(step);
    return PYRNN_OK;
}

void pyrnn_step(void *step, const void *x, const void *const *state0, void *const *state, void *y)
{
    pyrnn_prepared *prepared = step;
    fp_state before = denormals_off();
    prepared->run(prepared, x, state0 ? state0 : (const void *const *)state, state, y);
    fp_restore(before);
}
