/* The entries of affine maps: judge, pack, plan the work, share out over threads, call. */
#include <string.h>

#include "kernels.h"

static pyrnn_status judge(const pyrnn_linear *c)
{
    const ptrdiff_t most = PTRDIFF_MAX / 64, more = WIDEST_GROUP + LINEAR_ROWS;
    if (c->dtype != PYRNN_F32 && c->dtype != PYRNN_F64)
        return PYRNN_BAD_DTYPE;
    if (c->rows < 0 || c->inputs < 1 || c->outputs < 1)
        return PYRNN_BAD_DIMS;
    if (c->rows > most || c->inputs > most || c->outputs > most ||
        !fits(c->rows + more, c->inputs + more, 1024) || !fits(c->outputs + more, c->inputs + more, 1024) ||
        !fits(c->rows + more, c->outputs + more, 1024))
        return PYRNN_TOO_LARGE;
    return c->threads < 1 ? PYRNN_BAD_THREADS : PYRNN_OK;
}

/* Bytes of w as forward reads it, whatever the instruction set. */
static size_t packed_bytes(const pyrnn_linear *c)
{
    return (size_t)(padded(c->outputs, WIDEST_GROUP) * c->inputs) * (size_t)c->dtype / 8;
}

static size_t plan(const pyrnn_linear *c, int use, void *work, pyrnn_linear_job *job)
{
    const size_t size = (size_t)c->dtype / 8;
    const ptrdiff_t outputs = padded(c->outputs, WIDEST_GROUP), inputs = padded(c->inputs, WIDEST_GROUP),
                    rows = padded(c->rows, WIDEST);
    const size_t packed = c->packed ? 0 : packed_bytes(c);
    const double flops = 2. * (double)c->rows * (double)c->inputs * (double)c->outputs;
    *job = (pyrnn_linear_job){.call = c, .flops = use == PYRNN_FORWARD ? flops : 2 * flops};
    job->threads = pyrnn_useful_threads(c->threads, job->flops);
    job->work_w = use == PYRNN_FORWARD ? packed : (size_t)(outputs * inputs) * size;
    job->work_w = (size_t)padded((ptrdiff_t)job->work_w, ALIGNMENT);
    job->work_shared = job->work_w + (use == PYRNN_FORWARD ? 0 : (size_t)(rows * inputs) * size);
    job->work_thread = use == PYRNN_FORWARD ? 0 : (size_t)(LINEAR_BLOCK * (LINEAR_ROWS + inputs)) * size;
    job->seats = work;
    job->packed = job->work = (char *)work + (size_t)job->threads * sizeof(pyrnn_seat);
    return (size_t)job->threads * (sizeof(pyrnn_seat) + job->work_thread) + job->work_shared;
}

/* ---- Packed weights: a header, then what the kernels wrote ---- */

typedef struct {
    uint32_t magic;
    int16_t dtype, isa;
    ptrdiff_t inputs, outputs;
} header;

_Static_assert(sizeof(header) <= ALIGNMENT, "the header fills one aligned unit");
enum { MAGIC = 0x6c6e7270 }; /* "prnl" */

static header header_of(const pyrnn_linear *c, int isa)
{
    return (header){MAGIC, (int16_t)c->dtype, (int16_t)isa, c->inputs, c->outputs};
}

/* The instruction set that w was packed for; without a pack, the one that is selected. */
static pyrnn_status read_isa(const pyrnn_linear *c, int *isa)
{
    header found, wanted;
    *isa = pyrnn_isa_selected();
    if (!c->packed)
        return PYRNN_OK;
    if (!aligned(c->packed))
        return PYRNN_BAD_POINTER;
    memcpy(&found, c->packed, sizeof(found));
    *isa = found.isa;
    wanted = header_of(c, found.isa);
    return memcmp(&found, &wanted, sizeof(found)) == 0 && pyrnn_isa_available(found.isa) ? PYRNN_OK
                                                                                         : PYRNN_BAD_PACKED;
}

/* The call that packs: no rows and no pack. */
static pyrnn_linear alone(const pyrnn_linear *call)
{
    return (pyrnn_linear){
        .dtype = call->dtype, .threads = 1, .inputs = call->inputs, .outputs = call->outputs, .w = call->w};
}

pyrnn_status pyrnn_linear_packed_size(const pyrnn_linear *call, size_t *bytes)
{
    if (!call || !bytes)
        return PYRNN_BAD_POINTER;
    const pyrnn_linear its = alone(call);
    pyrnn_status status = judge(&its);
    if (!status)
        *bytes = ALIGNMENT + packed_bytes(&its);
    return status;
}

pyrnn_status pyrnn_linear_pack(const pyrnn_linear *call, void *packed)
{
    if (!call || !call->w || !packed || !aligned(packed))
        return PYRNN_BAD_POINTER;
    const pyrnn_linear its = alone(call);
    pyrnn_status status = judge(&its);
    if (status)
        return status;
    const int isa = pyrnn_isa_selected();
    const header head = header_of(&its, isa);
    const pyrnn_linear_job job = {.call = &its, .threads = 1, .packed = (char *)packed + ALIGNMENT};
    memset(packed, 0, ALIGNMENT);
    memcpy(packed, &head, sizeof(head));
    pyrnn_kernels_of(isa, its.dtype)->linear_forward(&job, 0, 0);
    return PYRNN_OK;
}

/* ---- Calls ---- */

pyrnn_status pyrnn_linear_work(const pyrnn_linear *call, int use, size_t *bytes)
{
    pyrnn_linear_job job;
    if (!call || !bytes)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge(call);
    if (!status)
        *bytes = plan(call, use, NULL, &job);
    return status;
}

pyrnn_status pyrnn_linear_forward(const pyrnn_linear *call, void *y, ptrdiff_t y_row, void *work)
{
    pyrnn_linear_job job;
    int isa;
    if (!call)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge(call);
    if (!status)
        status = read_isa(call, &isa);
    if (status)
        return status;
    if ((!call->w && !call->packed) || !work || !aligned(work) || ((!call->x || !y) && call->rows > 0))
        return PYRNN_BAD_POINTER;
    plan(call, PYRNN_FORWARD, work, &job);
    job.y = y, job.y_row = y_row;
    if (call->packed)
        job.packed = (const char *)call->packed + ALIGNMENT;
    pyrnn_run_parts(pyrnn_kernels_of(isa, call->dtype)->linear_forward, &job, 2, job.seats, job.threads,
                    job.flops);
    return PYRNN_OK;
}

pyrnn_status pyrnn_linear_backward(const pyrnn_linear *call, const pyrnn_linear_gradients *g)
{
    pyrnn_linear_job job;
    if (!call || !g)
        return PYRNN_BAD_POINTER;
    pyrnn_status status = judge(call);
    if (status)
        return status;
    if (!g->work || !aligned(g->work) || (g->dx && !call->w) || (g->dw && !call->x && call->rows > 0) ||
        (!g->dy && call->rows > 0))
        return PYRNN_BAD_POINTER;
    plan(call, PYRNN_BACKWARD, g->work, &job);
    job.dy = g->dy, job.dy_row = g->dy_row, job.dx = g->dx, job.dx_row = g->dx_row;
    job.dw = g->dw, job.db = g->db;
    pyrnn_run_parts(pyrnn_kernels_of(pyrnn_isa_selected(), call->dtype)->linear_backward, &job, 2, job.seats,
                    job.threads, job.flops);
    return PYRNN_OK;
}
