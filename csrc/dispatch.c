/* The library's entries: judge what the caller passed, choose the table of kernels, plan, share out over
 * threads, call. Compiled for the baseline alone; everything that may fail fails here. */
#include <string.h>

#include "denormals.h"
#include "kernels.h"

enum { MAGIC = 0x6e72 }; /* begins every pack */

/* ---- Threads ---- */

int pyrnn_threads_possible(void) { return pyrnn_crew_possible(); }

static void walk(void *context, int number)
{
    const pyrnn_call *c = context;
    int parts = c->job.threads;
    pyrnn_walk me = parts > 1 ? walk_with(c->job.seats, parts, number) : walk_alone();
    fp_state before = denormals_off();
    c->work(&me, c->kernels, &c->job);
    fp_restore(before);
}

/* In as many threads as the job has, if they come. */
static void run(pyrnn_call *call)
{
    const double flops = call->job.flops;
    pyrnn_crew_run(walk, call, call->job.threads, call->work == pyrnn_backward_rounds ? 2 * flops : flops);
}

void pyrnn_call_run_here(const pyrnn_call *call)
{
    walk((void *)call, 0); /* which only reads it */
    if (call->job.tells) /* rows may all be shorter than T, or empty */
        progress_tell(call->job.tells, call->job.T);
}

/* ---- Judging ---- */

static const pyrnn_cell_info infos[] = {
#define CELL(name, ...) {#name, __VA_ARGS__},
#include "cells.def"
#undef CELL
};

const char *pyrnn_message(int status)
{
    switch (status) {
    case PYRNN_OK: return "no error";
    case PYRNN_BAD_CELL: return "there is no cell of this number";
    case PYRNN_BAD_DTYPE: return "the dtype is neither PYRNN_F32 nor PYRNN_F64";
    case PYRNN_BAD_DIMS: return "a dimension is negative, or I or H is zero";
    case PYRNN_TOO_LARGE: return "the sizes are too large to be addressed";
    case PYRNN_BAD_LENGTHS: return "a length is negative or above T";
    case PYRNN_BAD_THREADS: return "the number of threads is below one";
    case PYRNN_BAD_POINTER: return "a required pointer is NULL, or packed or work is not aligned to 64 bytes";
    case PYRNN_BAD_PACKED: return "the packed weights were not written for this layer or map and this use";
    case PYRNN_BAD_OPTION: return "an option is out of range";
    case PYRNN_BAD_ISA: return "this instruction set does not exist or this CPU lacks it";
    }
    return "unknown status";
}

pyrnn_status pyrnn_describe(int cell, pyrnn_cell_info *info)
{
    if (cell < 0 || cell >= PYRNN_CELLS)
        return PYRNN_BAD_CELL;
    *info = infos[cell];
    return PYRNN_OK;
}

static pyrnn_status judge_layer(const pyrnn_layer *layer)
{
    if (layer->cell < 0 || layer->cell >= PYRNN_CELLS)
        return PYRNN_BAD_CELL;
    if (layer->dtype != PYRNN_F32 && layer->dtype != PYRNN_F64)
        return PYRNN_BAD_DTYPE;
    if (layer->inputs < 1 || layer->units < 1)
        return PYRNN_BAD_DIMS;
    if (layer->activation < 0 || layer->activation >= PYRNN_ACTIVATIONS || layer->recurrent_activation < 0 ||
        layer->recurrent_activation >= PYRNN_ACTIVATIONS || !(layer->clip >= 0))
        return PYRNN_BAD_OPTION;
    for (int q = 0; q < PYRNN_MAX_STATES; q++)
        if (!(layer->zoneout[q] >= 0 && layer->zoneout[q] <= 1))
            return PYRNN_BAD_OPTION;
    /* A cell that mixes h with other values cannot have it of another width. */
    if (layer->projection < 0 || (layer->projection > 0 && infos[layer->cell].states < 2) ||
        layer->projection >= layer->units)
        return PYRNN_BAD_OPTION;
    /* Padding adds up to 64 units; four gates of eight bytes. */
    if (layer->inputs > PTRDIFF_MAX / 64 || layer->units > PTRDIFF_MAX / 64 ||
        !fits(layer->inputs + 64, layer->units + 64, 32) || !fits(layer->units + 64, layer->units + 64, 32))
        return PYRNN_TOO_LARGE;
    return PYRNN_OK;
}

/* ---- Packed weights: a header, then what the kernels wrote ---- */

typedef struct {
    uint16_t magic;
    int8_t use, isa;
    pyrnn_layer layer;
} header;

_Static_assert(sizeof(header) <= ALIGNMENT, "the header fills one aligned unit");

pyrnn_status pyrnn_packed_size(const pyrnn_layer *layer, int use, size_t *bytes)
{
    if (!layer || !bytes)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge_layer(layer);
    if (status)
        return status;
    const pyrnn_kernels *kernels = pyrnn_kernels_of(pyrnn_isa_selected(), layer->dtype);
    *bytes = ALIGNMENT + kernels->packed_size(layer, use);
    return PYRNN_OK;
}

/* Whether units have weights for themselves. */
static int has_units(const pyrnn_layer *layer)
{
    return infos[layer->cell].units > 0 || (layer->peepholes && infos[layer->cell].peepholes > 0);
}

/* In memory's time: reading and writing a byte takes as long as six operations of a product. */
static void share_packing(const pyrnn_kernels *kernels, pyrnn_pack_job *job, int threads)
{
    enum { MOST_THREADS = 32 };
    pyrnn_seat seats[MOST_THREADS];
    const int most = threads < MOST_THREADS ? threads : MOST_THREADS;
    const double flops = 6.0 * (double)kernels->packed_size(job->layer, job->use);
    job->parts = pyrnn_useful_threads(most, flops);
    pyrnn_run_parts(kernels->pack, job, 1, seats, job->parts, flops);
}

pyrnn_status pyrnn_pack_shared(const pyrnn_layer *layer, int use, int threads, const void *w_ih,
                               const void *w_hh, const void *b_ih, const void *b_hh, const void *units,
                               const void *w_hr, void *packed)
{
    if (!layer || !w_ih || !packed || !aligned(packed))
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge_layer(layer);
    if (status)
        return status;
    if (threads < 1)
        return PYRNN_BAD_THREADS;
    if ((!w_hh && infos[layer->cell].recurrent > 0) || (!units && has_units(layer)) ||
        (!w_hr && layer->projection))
        return PYRNN_BAD_POINTER;
    if (use != PYRNN_FORWARD && use != PYRNN_BACKWARD)
        return PYRNN_BAD_PACKED;
    header *head = packed;
    memset(packed, 0, ALIGNMENT); /* what lies between members too: the same weights make the same bytes */
    head->magic = MAGIC, head->use = (int8_t)use, head->isa = (int8_t)pyrnn_isa_selected(),
    head->layer = *layer;
    pyrnn_pack_job job = {layer, use, 1, w_ih, w_hh, b_ih, b_hh, units, w_hr, (char *)packed + ALIGNMENT};
    share_packing(pyrnn_kernels_of(head->isa, layer->dtype), &job, threads);
    return PYRNN_OK;
}

pyrnn_status pyrnn_pack(const pyrnn_layer *layer, int use, const void *w_ih, const void *w_hh,
                        const void *b_ih, const void *b_hh, const void *units, const void *w_hr, void *packed)
{
    return pyrnn_pack_shared(layer, use, 1, w_ih, w_hh, b_ih, b_hh, units, w_hr, packed);
}

static pyrnn_status read_header(const void *packed, int use, header *head)
{
    if (!packed || !aligned(packed))
        return PYRNN_BAD_POINTER;
    memcpy(head, packed, sizeof(*head));
    if (head->magic != MAGIC || head->use != use || !pyrnn_isa_available(head->isa) ||
        judge_layer(&head->layer))
        return PYRNN_BAD_PACKED;
    return PYRNN_OK;
}

pyrnn_status pyrnn_open_packed(const void *packed, int use, pyrnn_layer *layer, int *isa)
{
    header head;
    if (!layer || !isa)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = read_header(packed, use, &head);
    if (!status)
        *layer = head.layer, *isa = head.isa;
    return status;
}

static pyrnn_status judge_sequence(const pyrnn_sequence *seq, const pyrnn_layer *layer)
{
    ptrdiff_t T = seq->T, B = seq->B;
    const pyrnn_cell_info *info = &infos[layer->cell];
    if (T < 0 || B < 0)
        return PYRNN_BAD_DIMS;
    if (!fits(T, B, 8 * layer->inputs) || !fits(T, B, 8 * (info->states + info->saves + 2) * layer->units) ||
        !fits(B, layer->units + 64, 64) || !fits(T, 1, 16) || !fits(B, 1, 128))
        return PYRNN_TOO_LARGE;
    if (seq->threads < 1)
        return PYRNN_BAD_THREADS;
    for (ptrdiff_t b = 0; seq->lengths && b < B; b++)
        if (seq->lengths[b] < 0 || seq->lengths[b] > T)
            return PYRNN_BAD_LENGTHS;
    return PYRNN_OK;
}

static pyrnn_status work_of(const void *packed, const pyrnn_sequence *seq, int use, size_t *bytes)
{
    header head;
    pyrnn_job job;
    if (!seq || !bytes)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = read_header(packed, use, &head);
    if (!status)
        status = judge_sequence(seq, &head.layer);
    if (status)
        return status;
    *bytes = pyrnn_plan(seq, head.isa, &head.layer, use == PYRNN_BACKWARD, NULL, &job);
    return PYRNN_OK;
}

pyrnn_status pyrnn_saved_size(const pyrnn_layer *layer, ptrdiff_t T, ptrdiff_t B, size_t *bytes)
{
    if (!layer || !bytes)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge_layer(layer);
    if (!status)
        status = judge_sequence(&(pyrnn_sequence){.T = T, .B = B, .threads = 1}, layer);
    if (status)
        return status;
    const pyrnn_cell_info *info = &infos[layer->cell];
    size_t pairs = (size_t)T * (size_t)B, outputs = (size_t)layer_outputs(layer);
    size_t of_units = (size_t)(info->states - 1 + info->saves + (layer->projection > 0));
    size_t numbers = pairs * (outputs + of_units * (size_t)layer->units);
    if (layer->masked)
        numbers += (pairs + (size_t)B) * outputs;
    *bytes = numbers * (size_t)layer->dtype / 8;
    return PYRNN_OK;
}

pyrnn_status pyrnn_forward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes)
{
    return work_of(packed, seq, PYRNN_FORWARD, bytes);
}

pyrnn_status pyrnn_backward_work(const void *packed, const pyrnn_sequence *seq, size_t *bytes)
{
    return work_of(packed, seq, PYRNN_BACKWARD, bytes);
}

/* ---- Calls ---- */

static pyrnn_status start(const pyrnn_sequence *seq, const void *packed, int use, void *work,
                          pyrnn_call *call)
{
    header head;
    pyrnn_job *job = &call->job;
    pyrnn_status status = read_header(packed, use, &head);
    if (!status)
        status = judge_sequence(seq, &head.layer);
    if (status)
        return status;
    if (!work || !aligned(work))
        return PYRNN_BAD_POINTER;
    pyrnn_plan(seq, head.isa, &head.layer, use == PYRNN_BACKWARD, work, job);
    call->kernels = pyrnn_kernels_of(head.isa, head.layer.dtype);
    job->packed = (const char *)packed + ALIGNMENT;
    if (!seq->x && job->pairs > 0)
        return PYRNN_BAD_POINTER;
    return PYRNN_OK;
}

static void set_mask(pyrnn_job *job, const void *mask)
{
    job->mask = mask;
    if (job->form == PLAIN_CELL)
        job->form = OPTIONS;
}

pyrnn_status pyrnn_prepare_forward(const pyrnn_sequence *seq, const pyrnn_outputs *out, pyrnn_call *call)
{
    pyrnn_job *job = &call->job;
    if (!seq || !out)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = start(seq, out->packed, PYRNN_FORWARD, out->work, call);
    if (status)
        return status;
    if (!out->y && seq->T > 0 && seq->B > 0)
        return PYRNN_BAD_POINTER;
    for (int q = 0; q < infos[job->layer.cell].states && seq->B > 0; q++)
        if (!out->state[q])
            return PYRNN_BAD_POINTER;
    job->y = out->y, job->y_step = out->y_step, job->y_row = out->y_row;
    job->saved = out->saved;
    memcpy(job->state, out->state, sizeof(job->state));
    if (job->saved && job->layer.masked) {
        if (!seq->mask)
            return PYRNN_BAD_POINTER;
        set_mask(job, seq->mask);
    }
    call->work = pyrnn_forward_rounds;
    return PYRNN_OK;
}

pyrnn_status pyrnn_forward(const pyrnn_sequence *seq, const pyrnn_outputs *out)
{
    pyrnn_call call;
    pyrnn_status status = pyrnn_prepare_forward(seq, out, &call);
    if (!status)
        run(&call);
    return status;
}

pyrnn_status pyrnn_prepare_backward(const pyrnn_sequence *seq, const pyrnn_gradients *grads, pyrnn_call *call)
{
    pyrnn_job *job = &call->job;
    if (!seq || !grads)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = start(seq, grads->packed, PYRNN_BACKWARD, grads->work, call);
    if (status)
        return status;
    if (!grads->dw_ih || (!grads->dw_hh && infos[job->layer.cell].recurrent > 0) ||
        (!grads->dw_hr && job->layer.projection) || (job->layer.masked && !seq->mask) ||
        ((!grads->dy || !grads->saved) && job->pairs > 0))
        return PYRNN_BAD_POINTER;
    job->saved = (void *)grads->saved; /* only read: forward and backward share the job's fields */
    job->dy = grads->dy, job->dy_step = grads->dy_step, job->dy_row = grads->dy_row;
    memcpy(job->dstate, grads->dstate, sizeof(job->dstate));
    memcpy(job->dstate0, grads->dstate0, sizeof(job->dstate0));
    job->dx = grads->dx, job->dx_step = grads->dx_step, job->dx_row = grads->dx_row;
    job->dw_ih = grads->dw_ih, job->dw_hh = grads->dw_hh, job->db_ih = grads->db_ih,
    job->db_hh = grads->db_hh;
    job->dunits = grads->dunits, job->dw_hr = grads->dw_hr;
    if (job->layer.masked)
        set_mask(job, seq->mask);
    call->work = pyrnn_backward_rounds;
    return PYRNN_OK;
}

pyrnn_status pyrnn_backward(const pyrnn_sequence *seq, const pyrnn_gradients *grads)
{
    pyrnn_call call;
    pyrnn_status status = pyrnn_prepare_backward(seq, grads, &call);
    if (!status)
        run(&call);
    return status;
}
